"""The spool: nothing false under a final name, nothing whole ever lost."""

import errno
import hashlib
import os
from pathlib import Path
from typing import BinaryIO

import pytest

from batchbanana.errors import DiskError
from batchbanana.spool import Files, Spool
from batchbanana.task import Billed


def opened(job: Path, files: Files | None = None) -> Spool:
    spool = Spool(job, files)
    spool.open()
    return spool


def ready(spool: Spool, data: bytes = b"picture", attempt: int = 1) -> tuple[Path, str]:
    part = spool.part(attempt, 0, 1 << 20)
    part.write(data)
    return part.keep(0)


def test_a_kept_file_has_its_true_size_and_its_hash_in_its_name(tmp_path: Path) -> None:
    path, digest = ready(opened(tmp_path))
    assert path.read_bytes() == b"picture"
    assert digest == hashlib.sha256(b"picture").hexdigest()
    assert path.name == f"1.0.{digest}.ready"


def test_what_was_not_whole_is_dropped_at_the_next_start_and_what_was_is_found(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    path, digest = ready(spool, attempt=7)
    half = spool.part(8, 0, 10)
    half.write(b"half")
    half.close()
    [found] = opened(tmp_path).recover()
    assert (found.path, found.attempt, found.rank, found.sha256, found.size) == (path, 7, 0, digest, 7)
    assert [path.name for path in spool.folder.iterdir()] == [path.name]


def test_publishing_twice_is_harmless_and_a_foreign_file_is_never_overwritten(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    path, _ = ready(spool)
    assert spool.publish(path, Path("images/a/b.png"))
    assert spool.publish(path, Path("images/a/b.png"))
    (tmp_path / "images/c.png").write_bytes(b"foreign")
    assert not spool.publish(path, Path("images/c.png"))
    assert (tmp_path / "images/c.png").read_bytes() == b"foreign"
    assert (tmp_path / "images/a/b.png").read_bytes() == b"picture"


class Told(Files):
    """The real disk, which also remembers what it was told to do."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def sync(self, handle: BinaryIO, size: int) -> None:
        self.log.append("sync file")
        super().sync(handle, size)

    def sync_folder(self, path: Path) -> None:
        self.log.append(f"sync {path.name}")
        super().sync_folder(path)

    def rename(self, source: Path, target: Path) -> None:
        self.log.append("rename")
        super().rename(source, target)

    def link(self, source: Path, target: Path) -> None:
        self.log.append("link")
        super().link(source, target)


def test_bytes_are_synced_before_they_get_a_name_and_names_before_anybody_relies_on_them(tmp_path: Path) -> None:
    files = Told()
    spool = opened(tmp_path, files)
    files.log.clear()
    path, _ = ready(spool)
    # The first name is for the next run, should this one end while the disk takes its time.
    assert files.log == ["rename", "sync file", "rename", "sync spool"]
    files.log.clear()
    spool.publish(path, Path("images/new/a.png"))
    assert files.log == ["sync images", "link", "sync new"]


def test_a_file_that_could_not_be_synced_keeps_none_of_its_turn_from_being_ready(tmp_path: Path) -> None:
    class Spotted(Files):
        """A disk that syncs all files but those of attempt 2."""

        def sync(self, handle: BinaryIO, size: int) -> None:
            if Path(str(handle.name)).name.startswith("2."):
                raise OSError(errno.EIO, "Input/output error")
            super().sync(handle, size)

    spool = opened(tmp_path, Spotted())
    parts = [spool.part(number, 0, 1 << 20) for number in (1, 2, 3)]
    for part in parts:
        part.write(b"picture")
    kept = spool.keep_all([(part, 0) for part in parts])
    for part in parts:
        part.discard()
    assert [isinstance(one, OSError) for one in kept] == [False, True, False]
    names = sorted(path.name.split(".")[0] + path.suffix for path in spool.folder.iterdir())
    assert names == ["1.ready", "2.whole", "3.ready"]


def test_a_folder_that_cannot_be_synced_makes_no_file_of_its_turn_pass_for_durable(tmp_path: Path) -> None:
    class Forgetful(Files):
        """A disk that syncs no names of the spool."""

        def sync_folder(self, path: Path) -> None:
            if path.name == "spool":
                raise OSError(errno.EIO, "Input/output error")
            super().sync_folder(path)

    spool = Spool(tmp_path, Forgetful())
    (tmp_path / ".batchbanana/spool").mkdir(parents=True)
    spool.open()
    parts = [spool.part(number, 0, 1 << 20) for number in (1, 2)]
    for part in parts:
        part.write(b"picture")
    kept = spool.keep_all([(part, 0) for part in parts])
    assert [isinstance(one, OSError) for one in kept] == [True, True]
    assert all(part.is_ready for part in parts), "the next start finds them nevertheless"


@pytest.mark.parametrize("name", ["images/..", "images/a/.."])
def test_an_image_gets_no_name_that_is_a_folders(tmp_path: Path, name: str) -> None:
    spool = opened(tmp_path)
    path, _ = ready(spool)
    with pytest.raises(OSError, match="no name of an image"):
        spool.publish(path, Path(name))
    assert path.exists()


def test_room_that_was_reserved_never_ends_up_in_an_image(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    part = spool.part(1, 0, 1 << 20)
    part.write(b"picture")
    path, _ = part.keep(0)
    assert path.read_bytes() == b"picture"


def test_an_image_set_aside_never_takes_the_place_of_another(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    for number in range(3):
        (tmp_path / "images/a.png").write_bytes(b"%d" % number)
        spool.set_aside("images/a.png")
    aside = tmp_path / ".batchbanana/superseded/images"
    assert sorted(path.read_bytes() for path in aside.iterdir()) == [b"0", b"1", b"2"]
    assert not (tmp_path / "images/a.png").exists()


def test_files_of_others_in_the_spool_are_left_alone(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    (spool.folder / "foo.ready").write_bytes(b"?")
    (spool.folder / "x.part").mkdir()
    assert spool.recover() == []
    assert (spool.folder / "foo.ready").exists()


class NoHardLinks(Files):
    """A file system such as exFAT."""

    def link(self, source: Path, target: Path) -> None:
        self._copy(source, target)


def test_without_hard_links_it_is_the_same(tmp_path: Path) -> None:
    spool = opened(tmp_path, NoHardLinks())
    path, _ = ready(spool)
    assert spool.publish(path, Path("images/a.png"))
    assert spool.publish(path, Path("images/a.png"))
    (tmp_path / "images/c.png").write_bytes(b"foreign")
    assert not spool.publish(path, Path("images/c.png"))
    assert sorted(path.name for path in tmp_path.rglob("*.*") if path.is_file()) == sorted(
        ["a.png", "c.png", path.name]
    )


class Full(Files):
    """A disk with no room."""

    def create(self, path: Path, size: int) -> object:  # type: ignore[override]
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_shows_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space"):
        opened(tmp_path, Full()).part(1, 0, 10)


def test_room_is_reserved_before_and_given_back_after(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    part = spool.part(1, 0, 1 << 20)
    assert part.path.stat().st_size == 1 << 20
    part.write(b"small")
    path, _ = part.keep(0)
    assert path.stat().st_size == 5


def test_a_job_directory_that_cannot_be_made_is_a_disk_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DiskError, match="choose another --output"):
        Spool(tmp_path / "file").open()


def test_discarding_after_keeping_keeps(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    part = spool.part(1, 0, 10)
    part.write(b"picture")
    path, _ = part.keep(0)
    part.discard()
    assert path.exists()


def test_a_note_of_where_an_image_is_survives_and_is_synced_before_anybody_relies_on_it(tmp_path: Path) -> None:
    files = Told()
    spool = opened(tmp_path, files)
    files.log.clear()
    note = spool.note(7, "https://cdn.example/a?b=c", "a-model", Billed.NO)
    assert files.log == ["sync file", "rename", "sync spool"]
    assert note.path.name == "7.0.link"
    again = opened(tmp_path)
    assert again.recover() == []
    assert again.notes() == [note]
    again.forget(note.path)
    assert again.notes() == []


class Looking(Files):
    """The real disk, which also remembers what was there when bytes were synced."""

    names: tuple[str, ...] = ()

    def sync(self, handle: BinaryIO, size: int) -> None:
        self.names = tuple(path.name for path in Path(handle.name).parent.iterdir())
        super().sync(handle, size)


def test_a_note_has_a_name_that_recovery_drops_until_it_is_whole(tmp_path: Path) -> None:
    files = Looking()
    opened(tmp_path, files).note(7, "https://cdn.example/a", None, Billed.YES)
    assert files.names == ("7.0.link.part",)


def test_half_a_note_is_dropped(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    (spool.folder / "7.0.link.part").write_bytes(b"{")
    assert spool.recover() == []
    assert spool.notes() == []
    assert list(spool.folder.iterdir()) == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"url": "x", "model_version": null, "billed": "perhaps"}', "\x00"])
def test_a_note_that_is_not_as_it_was_written_is_told(tmp_path: Path, text: str) -> None:
    spool = opened(tmp_path)
    (spool.folder / "7.0.link").write_text(text)
    with pytest.raises(DiskError, match=r"7\.0\.link cannot be read as it was written"):
        spool.notes()


class Unsure(Files):
    """A disk that syncs no file."""

    def sync(self, handle: BinaryIO, size: int) -> None:
        raise OSError(errno.EIO, "Input/output error")


def unsynced(job: Path) -> tuple[Spool, Path]:
    spool = opened(job, Unsure())
    part = spool.part(1, 0, 1 << 20)
    part.write(b"picture")
    with pytest.raises(OSError, match="Input/output"):
        part.keep(0)
    part.discard()
    assert part.is_ready
    [whole] = spool.folder.iterdir()
    return spool, whole


def test_a_whole_file_that_could_not_be_synced_is_written_anew_at_the_next_start(tmp_path: Path) -> None:
    spool, _ = unsynced(tmp_path)
    with pytest.raises(OSError, match="Input/output"):
        spool.recover()
    assert [path.suffix for path in spool.folder.iterdir()] == [".whole"], "as long as the disk fails it waits"
    [found] = opened(tmp_path).recover()
    assert (found.size, found.path.read_bytes()) == (7, b"picture")
    assert list(spool.folder.iterdir()) == [found.path]


class Refusing(Files):
    """A disk that refuses one name."""

    def rename(self, source: Path, target: Path) -> None:
        if source.name.endswith(".whole.part"):
            raise OSError(errno.ENOSPC, "No space left on device")
        super().rename(source, target)


def test_a_whole_file_waits_as_it_is_when_its_new_writing_cannot_be_named(tmp_path: Path) -> None:
    unsynced(tmp_path)
    with pytest.raises(OSError, match="No space"):
        opened(tmp_path, Refusing()).recover()
    [found] = opened(tmp_path).recover()
    assert (found.size, found.path.read_bytes()) == (7, b"picture")


def test_a_file_that_could_not_be_synced_and_has_lost_bytes_since_is_dropped(tmp_path: Path) -> None:
    spool, whole = unsynced(tmp_path)
    whole.write_bytes(b"pict\0\0\0" + bytes(100))
    assert opened(tmp_path).recover() == []
    assert list(spool.folder.iterdir()) == []


def test_a_disk_that_fails_to_reserve_room_is_told_and_one_that_cannot_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = opened(tmp_path)
    for number, fails in ((errno.EIO, True), (errno.EOPNOTSUPP, False)):

        def refuse(*_: int, number: int = number) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "posix_fallocate", refuse)
        if fails:
            with pytest.raises(OSError, match="Input/output"):
                spool.part(1, 0, 10)
        else:
            spool.part(1, 0, 10).close()


@pytest.mark.parametrize("count", [1, 3])
def test_all_images_of_a_turn_are_known_as_whole_before_the_first_may_wait_for_the_disk(
    tmp_path: Path, count: int
) -> None:
    """And the disk has begun with all of them by then, so that its journal is not written for each."""

    class Looking(Files):
        def begin_sync(self, handle: BinaryIO, size: int) -> None:
            begun.append(size)
            super().begin_sync(handle, size)

        def sync(self, handle: BinaryIO, size: int) -> None:
            seen.append((len(begun), sorted(path.suffix for path in spool.folder.iterdir())))
            super().sync(handle, size)

    begun: list[int] = []
    seen: list[tuple[int, list[str]]] = []
    spool = opened(tmp_path, Looking())
    parts = [spool.part(number, 0, 1 << 20) for number in range(count)]
    for part in parts:
        part.write(b"picture")
    kept = [one for one in spool.keep_all([(part, 0) for part in parts]) if not isinstance(one, Exception)]
    assert seen == [(count if count > 1 else 0, [".whole"] * count)] * count, "one by itself has nothing to share"
    assert [(path.suffix, path.read_bytes()) for path, _ in kept] == [(".ready", b"picture")] * count
