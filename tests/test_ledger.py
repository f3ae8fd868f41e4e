"""The ledger: durable when a call returns, one writer, money exact at every commit."""

import json
import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchbanana.errors import BatchError, DiskError, LedgerError
from batchbanana.ledger import Ahead, Caps, Ending, Grant, Ledger, Sending, Settlement, Store, ahead, starts_since
from batchbanana.task import Billed, Outcome

MANIFEST = ("0" * 64, "spring.yaml", "jobs: []")


def opened(job: Path, caps: Caps | None = None) -> Store:
    store = Store.open(job / "ledger.db", caps or Caps())
    store.start_run(MANIFEST)
    return store


def key(number: int) -> str:
    return f"{number:032x}"


def sending(number: int, *, task: int = 1, price: int | None = 100) -> Sending:
    return Sending(id=number, key=key(task), resolution="1K", price=price, errand={"key": key(task)})


def image(number: int, *, task: int = 1, file: str = "images/a.png") -> Settlement:
    ending = Ending(
        key=key(task), outcome=Outcome.DONE, attempt=number, record={"file_name": file, "n": number}, file=file, size=3
    )
    return Settlement(attempt=number, result="image", billed=Billed.YES, cost=100, ending=ending)


def failed(number: int, *, task: int = 1, outcome: Outcome | None = None) -> Settlement:
    ending = None
    if outcome is not None:
        ending = Ending(key=key(task), outcome=outcome, attempt=number, record={"reason": "no"})
    return Settlement(attempt=number, result="timeout", billed=Billed.UNKNOWN, ending=ending)


def test_what_was_begun_and_settled_is_there_after_reopening(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.begin(sending(1))
    store.settle(image(1))
    store.begin(sending(2, task=2))
    store.close()
    store = opened(tmp_path)
    assert store.lookup([key(1), key(2), key(3)])[key(1)].outcome is Outcome.DONE
    assert key(3) not in store.lookup([key(3)])
    assert [attempt.id for attempt in store.unsettled()] == [2]
    assert (store.money.settled, store.money.reserved, store.money.possible) == (100, 100, 0)
    assert store.next_attempt() == 3
    store.close()


def test_a_task_that_failed_tells_how_its_attempts_ended_and_a_retry_starts_afresh(tmp_path: Path) -> None:
    store = opened(tmp_path)
    for number in (1, 2):
        store.begin(sending(number))
        store.settle(failed(number))
    assert store.lookup([key(1)])[key(1)].results == ("timeout", "timeout")
    store.begin(sending(3))
    store.settle(failed(3, outcome=Outcome.FAILED))
    assert store.lookup([key(1)])[key(1)].results == ()
    store.begin(sending(4))
    store.settle(failed(4))
    assert store.lookup([key(1)])[key(1)].results == ("timeout",)
    store.close()


def test_a_failure_never_takes_the_place_of_an_image(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.begin(sending(1))
    store.settle(image(1))
    store.begin(sending(2))
    store.settle(failed(2, outcome=Outcome.FAILED))
    known = store.lookup([key(1)])[key(1)]
    assert (known.outcome, known.file, known.results) == (Outcome.DONE, "images/a.png", ())
    store.close()


def test_an_attempt_is_settled_once(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.begin(sending(1))
    store.settle(failed(1))
    with pytest.raises(LedgerError, match="settled twice"):
        store.settle(failed(1))
    store.close()


step = st.tuples(st.sampled_from(["begin", "image", "free", "lost", "reopen"]), st.integers(1, 60))


@settings(max_examples=40)  # every step is a commit with its sync
@given(st.lists(step, max_size=40), st.integers(50, 300))
def test_no_order_of_sending_answering_and_dying_finds_a_way_past_the_cap(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]], cap: int
) -> None:
    """Settled, reserved and possibly billed never pass max_cost, and the sums in memory are those of the file."""
    job = tmp_path_factory.mktemp("job")
    store = opened(job, Caps(max_cost=cap))
    flying: dict[int, int] = {}
    number = 0
    for what, price in steps:
        if what == "begin":
            number += 1
            if store.begin(sending(number, task=number, price=price)) is Grant.GRANTED:
                flying[number] = price
        elif what == "reopen":
            store.close()
            store = opened(job, Caps(max_cost=cap))
        elif flying:
            attempt, cost = flying.popitem()
            billed = {"image": Billed.YES, "free": Billed.NO, "lost": Billed.UNKNOWN}[what]
            store.settle(Settlement(attempt=attempt, result="x", billed=billed, cost=cost))
        money = store.money
        assert money.settled + money.reserved + money.possible <= cap
        assert money.reserved == sum(flying.values())
    before = (store.money.settled, store.money.reserved, store.money.possible, store.money.possible_count)
    store.close()
    store = opened(job)
    assert before == (store.money.settled, store.money.reserved, store.money.possible, store.money.possible_count)
    store.close()


def test_attempts_without_answer_are_bounded_by_max_possibly_billed(tmp_path: Path) -> None:
    store = opened(tmp_path, Caps(max_possibly_billed=200))
    for number in (1, 2):
        assert store.begin(sending(number)) is Grant.GRANTED
        store.settle(failed(number))
    assert store.begin(sending(3)) is Grant.POSSIBLY_BILLED
    store.close()


def test_recent_starts_are_told_with_their_prices(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.begin(sending(1, price=7))
    assert [start.price for start in starts_since(store, 0)] == [7]
    assert starts_since(store, 4e9) == []
    store.close()


def test_a_file_that_is_no_ledger_or_a_newer_one_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"not a database at all, but long enough to be read as one" * 20)
    before = (tmp_path / "ledger.db").read_bytes()
    with pytest.raises(LedgerError):
        opened(tmp_path)
    assert (tmp_path / "ledger.db").read_bytes() == before
    for statement in ("CREATE TABLE other (x)", "PRAGMA user_version = 99"):
        path = tmp_path / f"{len(statement)}.db"
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE IF NOT EXISTS runs (id)")
            db.execute("PRAGMA application_id = 1650552417" if "user_version" in statement else statement)
            db.execute(statement if "PRAGMA" in statement else "SELECT 1")
        db.close()
        with pytest.raises(LedgerError, match=r"newer|not a batchbanana ledger"):
            Store.open(path, Caps())


def test_many_operations_share_commits_and_each_is_answered_with_its_own_result(tmp_path: Path) -> None:
    async def main() -> list[Grant]:
        grants: list[Grant] = []
        async with Ledger(tmp_path, opened(tmp_path, Caps(max_cost=500))) as ledger:

            async def one(number: int) -> None:
                grants.append(await ledger.begin(sending(number, task=number)))

            async with anyio.create_task_group() as group:
                for number in range(1, 21):
                    group.start_soon(one, number)
        return grants

    grants = anyio.run(main)
    assert grants.count(Grant.GRANTED) == 5
    assert grants.count(Grant.CAP) == 15


def test_a_run_that_was_taken_over_writes_nothing_more(tmp_path: Path) -> None:
    """A zombie that wakes after another run has begun is fenced off."""

    async def main() -> None:
        async with Ledger(tmp_path, opened(tmp_path)) as old:
            await old.begin(sending(1))
            opened(tmp_path).close()
            with pytest.raises(LedgerError, match="taken over"):
                await old.begin(sending(2))
            with pytest.raises(LedgerError):
                await old.settle(image(1))

    anyio.run(main)
    store = opened(tmp_path)
    assert [attempt.id for attempt in store.unsettled()] == [1]
    store.close()


def test_a_fault_inside_an_operation_breaks_the_ledger_instead_of_hanging(tmp_path: Path) -> None:
    async def main() -> None:
        async with Ledger(tmp_path, opened(tmp_path)) as ledger:
            with pytest.raises(BatchError, match="ZeroDivisionError"):
                await ledger.do(lambda _store: 1 / 0)
            with pytest.raises(BatchError):
                await ledger.begin(sending(1))
            assert ledger.broken is not None

    anyio.run(main)


def metadata(job: Path) -> list[int]:
    return [json.loads(line)["n"] for line in (job / "metadata.jsonl").read_text().splitlines()]


def make(job: Path, *settlements: Settlement) -> None:
    async def main() -> None:
        async with Ledger(job, opened(job)) as ledger:
            for settlement in settlements:
                ending = settlement.ending
                assert ending is not None
                await ledger.begin(sending(settlement.attempt, task=int(ending.key, 16)))
                await ledger.settle(settlement)

    anyio.run(main)


def test_metadata_has_a_line_an_image_in_the_order_made(tmp_path: Path) -> None:
    make(tmp_path, image(1, task=1), failed(2, task=2, outcome=Outcome.FAILED), image(3, task=3))
    make(tmp_path, image(4, task=4))
    assert metadata(tmp_path) == [1, 3, 4]


@pytest.mark.parametrize("damage", ["torn", "cut", "gone", "fresh"])
def test_metadata_is_right_again_after_whatever_a_crash_left(tmp_path: Path, damage: str) -> None:
    make(tmp_path, image(1, task=1), image(2, task=2))
    path = tmp_path / "metadata.jsonl"
    whole = path.read_bytes()
    path.write_bytes({"torn": whole + b'{"n": 3, "half', "cut": whole[:-5], "gone": b"", "fresh": whole}[damage])
    make(tmp_path, image(3, task=3))
    assert metadata(tmp_path) == [1, 2, 3]


def test_metadata_of_a_run_that_died_after_its_commit_is_caught_up(tmp_path: Path) -> None:
    make(tmp_path, image(1, task=1))
    store = opened(tmp_path)
    store.begin(sending(2, task=2))
    store.settle(image(2, task=2))
    store.close()
    make(tmp_path)
    assert metadata(tmp_path) == [1, 2]


def test_an_image_that_replaces_another_has_the_only_line(tmp_path: Path) -> None:
    make(tmp_path, image(1, task=1), image(2, task=2))
    make(tmp_path, image(3, task=1))
    assert metadata(tmp_path) == [2, 3]


def test_metadata_that_somebody_has_edited_is_written_anew(tmp_path: Path) -> None:
    make(tmp_path, image(1, task=1), image(2, task=2))
    path = tmp_path / "metadata.jsonl"
    path.write_text(path.read_text().replace('"n":1', '"n":100000'))
    make(tmp_path, image(3, task=3))
    assert metadata(tmp_path) == [1, 2, 3]


def test_every_commit_is_synced(tmp_path: Path) -> None:
    """Power loss is the one thing that killing the program does not rehearse."""
    store = opened(tmp_path)
    assert store.pragma("synchronous") == 2  # FULL
    assert store.pragma("journal_mode") == "wal"
    store.close()


def test_a_finished_jobs_metadata_is_not_touched(tmp_path: Path) -> None:
    make(tmp_path, image(1, task=1))
    before = (tmp_path / "metadata.jsonl").stat().st_mtime_ns
    make(tmp_path)
    assert (tmp_path / "metadata.jsonl").stat().st_mtime_ns == before


def test_a_disk_that_refuses_metadata_is_told_as_a_disk_fault(tmp_path: Path) -> None:
    (tmp_path / "metadata.jsonl").mkdir()

    async def main() -> None:
        async with Ledger(tmp_path, opened(tmp_path)) as ledger:
            await ledger.begin(sending(1))  # committed, and told so, although the line for it cannot be written
            with pytest.raises(DiskError, match="is a folder, not a file"):
                await ledger.settle(image(1))

    anyio.run(main)


def test_recent_starts_weigh_what_they_cost_or_cost_at_worst_and_those_that_never_left_nothing(tmp_path: Path) -> None:
    store = opened(tmp_path)
    for number in range(1, 7):
        assert store.begin(sending(number, price=100)) is Grant.GRANTED
    store.settle(Settlement(attempt=1, result="image", billed=Billed.YES, cost=150, departed=7.0))
    store.settle(Settlement(attempt=2, result="refused", billed=Billed.NO))
    store.settle(Settlement(attempt=3, result="timeout", billed=Billed.UNKNOWN))
    store.settle(Settlement(attempt=4, result="not_sent", billed=Billed.NO))
    store.settle(Settlement(attempt=5, result="lost", billed=Billed.UNKNOWN))
    starts = starts_since(store, 1.0)
    assert [start.price for start in starts] == [150, 0, 150, 150, 150], "the dearest answer was half as much again"
    assert [start.is_exact for start in starts] == [True, True, True, False, False], "who died may have left later"
    assert starts[0].sent == 7.0
    store.close()


def test_images_of_an_unknown_price_count_for_a_cap_at_the_dearest_of_the_plan(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.begin(sending(1, price=None))
    store.settle(Settlement(attempt=1, result="image", billed=Billed.YES))
    assert store.money.unpriced == 1
    store.close()
    store = opened(tmp_path, Caps(max_cost=500, unpriced=300))
    assert store.money.unpriced == 1
    assert store.room(200) is Grant.GRANTED
    assert store.room(201) is Grant.CAP
    store.close()


def test_what_only_waits_to_be_fetched_is_no_silence(tmp_path: Path) -> None:
    """Attempts of an earlier run that are still open hold an image that is paid for."""
    store = opened(tmp_path)
    for number in (1, 2, 3):
        assert store.begin(sending(number, price=100)) is Grant.GRANTED
    store.settle(Settlement(attempt=3, result="timeout", billed=Billed.UNKNOWN))
    store.close()
    store = opened(tmp_path, Caps(max_possibly_billed=200))
    assert store.money.reserved == 200
    assert store.begin(sending(4, price=100)) is Grant.GRANTED
    assert store.room(100) is Grant.POSSIBLY_BILLED, "from half of it on, what is in flight counts"
    store.close()


ORDERS = st.lists(st.integers(0, 59), unique=True, max_size=60)
KEYS = [f"{number:032x}" for number in range(60)]


@settings(deadline=None)  # it writes files
@given(ORDERS, st.lists(st.integers(0, 59), max_size=20), st.integers(1, 20))
def test_reading_ahead_finds_what_is_done_in_whatever_order_it_was(
    order: list[int], failing: list[int], size: int
) -> None:
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(ahead, "SLACK", 3)
        store = opened(Path(name))
        store.execute("BEGIN IMMEDIATE")
        for number, task in enumerate(order, start=1):
            store.begin(sending(number, task=task))
            end = failed(number, task=task, outcome=Outcome.FAILED) if task in failing else image(number, task=task)
            store.settle(end)
        store.execute("COMMIT")
        reader = Ahead()
        for start in range(0, 60, size):
            block = KEYS[start : start + size]
            assert reader.done(store, block) == ahead.done(store, block)
        assert ahead.done(store, KEYS) == {KEYS[task]: ("images/a.png", 3) for task in order if task not in failing}
        store.close()


def test_reading_ahead_goes_on_when_some_images_were_made_long_after_their_turn(tmp_path: Path) -> None:
    late = list(range(0, 2000, 7))
    order = [task for task in range(2000) if task % 7] + late
    store = opened(tmp_path)
    store.execute("BEGIN IMMEDIATE")
    for number, task in enumerate(order, start=1):
        store.begin(sending(number, task=task))
        store.settle(image(number, task=task))
    store.execute("COMMIT")
    queries: list[str] = []
    store._db.set_trace_callback(queries.append)
    reader = Ahead()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ahead, "SLACK", 20)
        for start in range(0, 2000, 100):
            assert len(reader.done(store, [key(task) for task in range(start, start + 100)])) == 100
    assert sum(query.count("x'") + query.count("X'") for query in queries) == len(late), "all others are read in order"
    store.close()
