"""The fence: no file of a job directory is changed by a run that has lost it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest

from batchbanana.errors import FencedError, JobHeldError
from batchbanana.job import JobDirectory
from batchbanana.ledger import Caps, Fence, Ledger, Store
from batchbanana.ledger.fence import identity
from batchbanana.ledger.store import STALE
from batchbanana.spool import FencedFiles, Spool

MANIFEST = ("0" * 64, "job.yaml", "")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path / "ledger.db", Caps())
    yield store
    store.close()


def held(folder: Path, store: Store) -> Fence:
    """Begin a run that holds the lock."""
    (folder / "lock").touch()
    return Fence(folder / "ledger.db", folder / "lock", identity(folder / "lock"), store.start_run(MANIFEST))


def remove_lock(folder: Path) -> None:
    """Somebody thinks that it is a leftover."""
    (folder / "lock").rename(folder / "held elsewhere")  # as by whoever holds it, its file lives on


def take_over(folder: Path) -> None:
    remove_lock(folder)
    (folder / "lock").touch()
    take_over_row(folder)


def take_over_row(folder: Path) -> None:
    other = Store.open(folder / "ledger.db", Caps())
    other.start_run(MANIFEST)
    other.close()


def move_away(folder: Path) -> None:
    remove_lock(folder)
    (folder / "ledger.db").rename(folder / "elsewhere.db")


@pytest.mark.parametrize("lose", [take_over, move_away])
def test_every_change_of_a_file_is_refused_once_the_job_is_lost(
    tmp_path: Path, store: Store, lose: Callable[[Path], None]
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(b"x")
    fence = held(tmp_path, store)
    files = FencedFiles(fence.check)
    files.create(new, 0).close()
    files.unlink(new)
    lose(tmp_path)
    before = sorted(tmp_path.iterdir())
    changes: list[Callable[[], object]] = [
        lambda: files.create(new, 0),
        lambda: files.rename(old, new),
        lambda: files.link(old, new),
        lambda: files.unlink(old),
        lambda: files.make_folders(new),
    ]
    for change in changes:
        with pytest.raises(FencedError):
            change()
    with pytest.raises(FencedError):
        store.check_fence()
    assert sorted(tmp_path.iterdir()) == before


def test_a_whole_image_is_not_made_ready_in_a_spool_that_is_another_runs(tmp_path: Path, store: Store) -> None:
    Spool(tmp_path).open()
    fence = held(tmp_path, store)
    spool = Spool(tmp_path, FencedFiles(fence.check))
    part = spool.part(1, 0)
    part.write(b"image")
    take_over(tmp_path)
    with pytest.raises(FencedError):
        part.keep(0)
    with pytest.raises(FencedError):
        part.discard()
    assert [path.name for path in spool.folder.iterdir()] == ["1.0.part"]


def test_a_run_that_was_stopped_between_its_question_and_its_deed_leaves_no_file(tmp_path: Path) -> None:
    answers = iter([None, FencedError("lost meanwhile")])

    def check() -> None:
        if (answer := next(answers)) is not None:
            raise answer

    with pytest.raises(FencedError, match="lost meanwhile"):
        FencedFiles(check).create(tmp_path / "part", 10)
    assert not list(tmp_path.iterdir())


def test_metadata_of_another_run_is_not_touched_by_one_that_was_stopped_in_its_commit(tmp_path: Path) -> None:
    """The other run takes over while this one's commit waits for the disk."""

    async def main() -> None:
        store = Store.open(tmp_path / "ledger.db", Caps())
        store.start_run(MANIFEST)
        metadata = tmp_path / "metadata.jsonl"
        async with Ledger(tmp_path, store) as ledger:
            execute = store.execute

            def slow(statement: str) -> None:
                execute(statement)
                if statement == "COMMIT":
                    take_over_row(tmp_path)
                    metadata.write_text("a line of the other run\n")

            store.execute = slow  # type: ignore[method-assign]  # a disk that takes long
            await ledger.do(lambda _: None)
            store.execute = execute  # type: ignore[method-assign]
            with pytest.raises(FencedError):
                await ledger.do(lambda _: None)
        assert metadata.read_text() == "a line of the other run\n"
        assert isinstance(ledger.broken, FencedError)

    anyio.run(main)


@pytest.mark.parametrize("is_lock_there", [True, False], ids=["anew", "gone"])
def test_a_lock_that_was_removed_is_no_reason_to_stop_as_long_as_no_other_run_began(
    tmp_path: Path, store: Store, *, is_lock_there: bool
) -> None:
    fence = held(tmp_path, store)
    remove_lock(tmp_path)
    if is_lock_there:
        (tmp_path / "lock").touch()  # as by `status`, which asks whether somebody holds it
    fence.check()


def test_a_ledger_that_cannot_be_read_is_no_reason_to_lose_a_paid_image(tmp_path: Path, store: Store) -> None:
    Spool(tmp_path).open()
    fence = held(tmp_path, store)
    part = Spool(tmp_path, FencedFiles(fence.check)).part(1, 0)
    part.write(b"image")
    remove_lock(tmp_path)
    store.close()
    (tmp_path / "ledger.db").write_bytes(b"no database")
    path, _ = part.keep(0)
    assert path.read_bytes() == b"image"


def test_metadata_that_is_written_anew_does_not_take_the_place_of_another_runs(tmp_path: Path) -> None:
    """The other run takes over while this one writes all lines again, which takes as long as there are many."""

    async def main() -> None:
        store = Store.open(tmp_path / "ledger.db", Caps())
        store.start_run(MANIFEST)
        store.put(STALE, 1)
        async with Ledger(tmp_path, store) as ledger:
            records = store.image_records

            def slow(after: int) -> Iterator[tuple[int, str]]:
                take_over_row(tmp_path)
                (tmp_path / "metadata.jsonl").write_text("a line of the other run\n")
                yield from records(after)

            store.image_records = slow  # type: ignore[method-assign, assignment]  # a long list
        assert (tmp_path / "metadata.jsonl").read_text() == "a line of the other run\n"
        assert isinstance(ledger.broken, FencedError)

    anyio.run(main)


def test_a_run_does_not_begin_whose_lock_was_removed_while_it_opened_its_job(tmp_path: Path) -> None:
    """Its fence would take the lock of whoever came after it for its own."""
    job = JobDirectory(tmp_path)
    with job.held():
        job.check_lock()
        job.lock.rename(tmp_path / "held elsewhere")
        with pytest.raises(JobHeldError, match="was removed"):
            job.check_lock()
        job.lock.touch()
        with pytest.raises(JobHeldError, match="was removed"):
            job.check_lock()


def test_a_fence_knows_its_lock_from_when_it_was_taken(tmp_path: Path, store: Store) -> None:
    (tmp_path / "lock").touch()
    taken, run = identity(tmp_path / "lock"), store.start_run(MANIFEST)
    take_over(tmp_path)
    with pytest.raises(FencedError):
        Fence(tmp_path / "ledger.db", tmp_path / "lock", taken, run).check()
