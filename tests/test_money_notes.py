"""What a job has cost is counted from the last note on, and is what counting all rows comes to."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchbanana.ledger import Caps, Ending, Restored, Sending, Settlement, Store, restore
from batchbanana.ledger.counting import count_money
from batchbanana.ledger.schema import MONEY, MONEY_UP_TO
from batchbanana.task import Billed, Outcome

MANIFEST = ("0" * 64, "job.yaml", "")


class Job:
    """A ledger with runs that begin, die or end, and attempts that are settled early, late or never."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.open: list[int] = []

    @property
    def noted(self) -> int:
        """Up to which attempt the sums are noted."""
        return self.store.get(MONEY_UP_TO) or 0

    def starts(self, *_: int) -> None:
        self.store.start_run(MANIFEST)

    def ends(self, *_: int) -> None:
        self.store.end_run({})

    def sends(self, price: int, *_: int) -> None:
        number = self.store.next_attempt()
        sending = Sending(id=number, key=f"{number:032x}", resolution="1K", price=price or None, errand={})
        self.store.begin(sending)
        self.open.append(number)

    def settles(self, which: int, billed: int, cost: int) -> None:
        if not self.open:
            return
        number = self.open.pop(which % len(self.open))
        how = list(Billed)[billed % len(Billed)]
        self.store.settle(Settlement(attempt=number, result="image", billed=how, cost=cost or None))

    def makes_one(self) -> None:
        self.starts()
        self.sends(5)
        self.settles(0, 0, 4)

    def restores(self, cost: int, *_: int) -> None:
        ending = Ending(key=f"{self.store.next_attempt():032x}", outcome=Outcome.DONE, attempt=0, record={})
        restore(self.store, Restored(ending=ending, resolution="1K", created=0.0, billed=Billed.YES, cost=cost))

    def is_edited(self, cost: int, which: int, _: int) -> None:
        """By hand, or by a program that knows nothing of notes."""
        last = self.store.next_attempt() - 1
        self.store.rows("UPDATE attempts SET cost = ? WHERE id = ?", (cost, which % (last + 1)))

    def loses(self, which: int, *_: int) -> None:
        last = self.store.next_attempt() - 1
        number = which % (last + 1)
        if number not in self.open:
            self.store.rows("DELETE FROM attempts WHERE id = ?", (number,))

    def gets_back(self, which: int, cost: int, _: int) -> None:
        values = (which + 1, b"k", "1K", 0.0, "image", "yes", cost)
        self.store.rows(
            "INSERT OR IGNORE INTO attempts (id, run, key, resolution, sent, result, billed, cost)"
            " VALUES (?, 0, ?, ?, ?, ?, ?, ?)",
            values,
        )

    @contextmanager
    def refusing_notes(self) -> Iterator[None]:
        """Have SQLite refuse to write to where notes are."""
        self.store._db.set_authorizer(
            lambda action, table, *_: (
                sqlite3.SQLITE_DENY if (action, table) == (sqlite3.SQLITE_INSERT, "meta") else sqlite3.SQLITE_OK
            )
        )
        try:
            yield
        finally:
            self.store._db.set_authorizer(None)

    def check(self) -> None:
        """Compare what is told with what all rows say."""
        db = self.store._db
        told = count_money(db)
        db.execute("SAVEPOINT look")
        db.execute("DELETE FROM meta WHERE name IN (?, ?)", (MONEY, MONEY_UP_TO))
        whole = count_money(db)
        db.execute("ROLLBACK TO look")
        db.execute("RELEASE look")
        assert told == whole


@contextmanager
def job() -> Iterator[Job]:
    with TemporaryDirectory() as folder, closing(Store.open(Path(folder) / "ledger.db", Caps())) as store:
        yield Job(store)


NUMBER = st.integers(0, 12)
DEEDS = (Job.starts, Job.ends, Job.sends, Job.settles, Job.restores, Job.is_edited, Job.loses, Job.gets_back)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(DEEDS), NUMBER, NUMBER, NUMBER), max_size=40))
def test_whatever_happens_the_sums_are_those_of_all_rows(deeds: list[tuple[object, int, int, int]]) -> None:
    with job() as one:
        one.starts()
        for deed, *numbers in deeds:
            deed(one, *numbers)  # type: ignore[operator]  # one of `DEEDS`
            one.check()


def test_a_run_s_end_and_the_next_one_s_start_note_what_is_settled() -> None:
    with job() as one:
        one.starts()
        for _ in range(3):
            one.sends(5)
        one.settles(0, 0, 4)
        assert one.noted == 0, "nothing was noted since the start"
        one.ends()
        assert one.noted == 1, "the second attempt is open"
        one.settles(0, 0, 4)
        one.starts()
        assert one.noted == 2


@pytest.mark.parametrize("change", [Job.is_edited, Job.loses])
def test_a_note_goes_when_an_attempt_changes_that_it_sums_up(change: object) -> None:
    with job() as one:
        one.makes_one()
        one.ends()
        assert one.noted == 1
        change(one, 1, 1, 0)  # type: ignore[operator]  # likewise
        assert one.noted == 0
        one.check()


def test_what_is_noted_is_not_read_again() -> None:
    with job() as one:
        one.makes_one()
        one.ends()
        one.store.note(MONEY, '{"up_to": 1, "settled": 1000000}')
        one.sends(7)
        money = count_money(one.store._db)
        assert (money.settled, money.reserved) == (1_000_000, 7)


@pytest.mark.parametrize(
    "text", ["{", "[]", "null", '{"up_to": 1, "settled": 9, "of_a_newer_program": 1}', '{"settled": 9}']
)
def test_a_note_that_cannot_be_read_says_nothing(text: str) -> None:
    with job() as one:
        one.makes_one()
        one.ends()
        one.store.note(MONEY, text)
        one.check()
        one.store.forget(MONEY)
        one.check()


def test_a_note_is_made_in_one_transaction_with_what_goes_with_it() -> None:
    with job() as one:
        one.makes_one()
        with pytest.raises(sqlite3.DatabaseError), one.refusing_notes():
            one.store.start_run(MANIFEST)
        assert len(list(one.store.rows("SELECT 1 FROM runs"))) == 1
        assert one.noted == 0


def test_a_ledger_without_triggers_waits_for_another_writer_as_any_other_does(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    Store.open(path, Caps()).close()
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as writer:
        for (name,) in writer.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            writer.execute(f"DROP TRIGGER {name}")
        writer.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(0.2, writer.execute, ["COMMIT"])  # real, since the other side is SQLite's own waiting
        timer.start()
        store = Store.open(path, Caps())
        timer.join()
    assert len(list(store.rows("SELECT 1 FROM sqlite_master WHERE type = 'trigger'"))) == 3
    store.close()
