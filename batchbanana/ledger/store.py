"""The ledger's file: attempts and outcomes in SQLite. Synchronous; used by one thread for writing.

There is no list of things to do and no running state: the plan is the manifest, and what it still lacks are the keys
without an outcome here.
"""

import contextlib
import json
import os
import socket
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from batchbanana.errors import DiskError, FencedError, LedgerError
from batchbanana.ledger.counting import count_money, note_money
from batchbanana.ledger.fence import NEWEST, TAKEN, identity, moved
from batchbanana.ledger.schema import prepare, refuse_odd_ledger
from batchbanana.ledger.values import (
    ASIDE,
    Caps,
    Ending,
    Grant,
    Known,
    Money,
    Run,
    Sending,
    Settlement,
    Unsettled,
    per_mille,
)
from batchbanana.task import Billed, Outcome

# A file beside the ledger that cannot be made, on a disk without room for another name, is one that cannot be opened.
DISK_FAULTS = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}
STALE = "metadata_stale"  # a line of metadata.jsonl no longer holds
UNKNOWN_PRICE = 250_000  # micro-dollars; about the dearest list price, so that unpriced silence is bounded too
INTO_OUTCOMES = "INTO outcomes (key, outcome, attempt, file, size, sha256, record) VALUES (?, ?, ?, ?, ?, ?, ?)"
_dump = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode  # `json.dumps` makes one for every row
LOOKUP_BLOCK = 500  # keys a SELECT; far below SQLite's limit on parameters


class Store:
    """One job's ledger file.

    Raises:
        LedgerError: from `open`, when the file is not a ledger, is newer than this program, or cannot be opened.
        sqlite3.Error: from everything else; the caller ends the run.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, caps: Caps) -> None:
        self._db = connection
        self._path = path
        self._opened = identity(path)
        self._caps = caps
        self._run = 0
        self._flying: dict[int, int | None] = {}  # the prices of this run's open attempts
        self._followed: list[tuple[int, str]] | None = None
        self._money: Money | None = None

    @classmethod
    def open(cls, path: Path, caps: Caps, *, read_only: bool = False) -> "Store":
        """Open the ledger at `path`, making it when it is missing and may be written."""
        refuse_odd_ledger(path)
        mode = "ro" if read_only else "rwc"
        try:
            uri = f"{path.absolute().as_uri()}?mode={mode}"
            db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
            prepare(db, path, read_only=read_only)
            store = cls(db, path, caps)
            if not read_only:
                store.recount()  # before anything is written: from then on, each change is added up
        except sqlite3.Error as error:
            if is_disk_fault(error):
                remedy = "make room, or look at its rights, and try again"
                raise DiskError(f"The ledger {path} cannot be opened ({error}); {remedy}") from error
            raise LedgerError(
                f"The ledger {path} cannot be opened: {error}; "
                "restore it from a copy, or let `verify --repair` rebuild it"
            ) from error
        return store

    @property
    def money(self) -> Money:
        """What the job has cost; a mere reader has it counted when he asks for it first."""
        if self._money is None:
            self._money = count_money(self._db)
        return self._money

    @property
    def caps(self) -> Caps:
        """The money limits of this run."""
        return self._caps

    def close(self) -> None:
        """Close the file; SQLite folds the write-ahead log into it."""
        self._db.close()

    # Runs

    def start_run(self, manifest: tuple[str, str, str | bytes]) -> int:
        """Begin a run; from now on every earlier one is fenced off.

        Args:
            manifest: its sha256, its path, and its text, or zlib's packing of that.
        """
        with self._at_once():
            is_kept = self._db.execute("SELECT 1 FROM manifests WHERE (sha256, path) = (?, ?)", manifest[:2]).fetchone()
            if not is_kept:
                self._db.execute("INSERT OR REPLACE INTO manifests VALUES (?, ?, ?)", manifest)
            row = self._db.execute(
                "INSERT INTO runs (started, pid, host, manifest) VALUES (?, ?, ?, ?) RETURNING id",
                (time.time(), os.getpid(), socket.gethostname(), manifest[0]),
            ).fetchone()
            note_money(self._db)
        self._run = row[0]
        return self._run

    @contextlib.contextmanager
    def _at_once(self) -> Iterator[None]:
        """Let what is done in the block be one transaction: the caller's, or one of its own."""
        if self._db.in_transaction:
            yield
            return
        try:
            self._db.execute("BEGIN IMMEDIATE")  # a disk may take it and say no
            yield
            self._db.execute("COMMIT")
        except BaseException:
            self._db.rollback()
            raise

    def end_run(self, summary: dict[str, object]) -> None:
        """Write down how this run ended."""
        with self._at_once():
            self._db.execute(
                "UPDATE runs SET ended = ?, summary = ? WHERE id = ?", (time.time(), _dump(summary), self._run)
            )
            note_money(self._db)

    def last_run(self) -> Run | None:
        """Give the newest run; None when there was none."""
        row = self._db.execute(
            "SELECT r.started, r.ended, m.path, r.summary FROM runs r"
            " JOIN manifests m ON m.sha256 = r.manifest ORDER BY r.id DESC LIMIT 1"
        ).fetchone()
        if row is None:
            return None
        return Run(started=row[0], ended=row[1], manifest=row[2], summary=json.loads(row[3]) if row[3] else None)

    def check_fence(self) -> None:
        """Raise FencedError when a later run has taken over, or this file is no longer where it was opened."""
        if identity(self._path) != self._opened:
            raise FencedError(moved(self._path))
        if self._db.execute(NEWEST).fetchone()[0] != self._run:
            raise FencedError(TAKEN)

    def next_attempt(self) -> int:
        """Give an attempt id that no run has used."""
        return int(self._db.execute("SELECT coalesce(max(id), 0) + 1 FROM attempts").fetchone()[0])

    # Attempts

    @property
    def possible(self) -> int:
        """What attempts without an answer may cost, unknown prices taken as high ones; micro-dollars."""
        return self.money.possible + self.money.possible_unpriced * UNKNOWN_PRICE

    def room(self, price: int) -> Grant:
        """Say whether the money limits leave room for one more attempt at `price` micro-dollars."""
        caps = self._caps
        if caps.max_possibly_billed is not None and self._is_silent(price, caps.max_possibly_billed):
            return Grant.POSSIBLY_BILLED
        if caps.max_cost is not None and self.money.at_worst(price, caps.unpriced) > caps.max_cost:
            return Grant.CAP
        return Grant.GRANTED

    def _is_silent(self, price: int, limit: int) -> bool:
        """Say whether too many attempts have got no answer to send one more at `price`.

        What is in flight counts once half of the limit is reached: a service may fall silent for all of it at once, but
        before that, one lost answer would slow a large pool down for nothing.
        """
        possible = self.possible
        if 2 * possible < limit:
            return False
        flying = tuple(self._flying.values())  # at one stroke: the event loop looks, too
        return possible >= limit or possible + sum(each or UNKNOWN_PRICE for each in (*flying, price)) > limit

    def begin(self, sending: Sending) -> Grant:
        """Reserve money for an attempt and write it down, in the caller's transaction, or refuse."""
        price = sending.price or 0
        if (grant := self.room(price)) is not Grant.GRANTED:
            return grant
        key, errand = bytes.fromhex(sending.key), _dump(sending.errand)
        self._db.execute(
            "INSERT INTO attempts (id, run, key, resolution, sent, price, errand) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (sending.id, self._run, key, sending.resolution, time.time(), sending.price, errand),
        )
        self._flying[sending.id] = sending.price
        self.money.reserved += price
        return Grant.GRANTED

    def settle(self, settlement: Settlement) -> None:
        """Write down how an attempt ended, with the task's outcome if it decided it."""
        known = self._price_of(settlement.attempt)
        price = known or 0
        cost = settlement.cost if settlement.billed is Billed.YES else None
        written = self._db.execute(
            "UPDATE attempts SET errand = NULL, sent = coalesce(?, sent), ended = ?, result = ?, billed = ?, cost = ?,"
            " status = ?, message = ? WHERE id = ? AND result IS NULL",
            (
                settlement.departed,
                time.time(),
                settlement.result,
                str(settlement.billed),
                cost,
                settlement.status,
                settlement.message,
                settlement.attempt,
            ),
        )
        if written.rowcount != 1:
            raise LedgerError(f"Attempt {settlement.attempt} was settled twice; please report this")
        self._flying.pop(settlement.attempt, None)
        money = self.money
        money.reserved -= price
        money.settled += cost or 0
        money.unpriced += settlement.billed is Billed.YES and cost is None
        money.dearest = max(money.dearest, per_mille(cost, price))
        if settlement.billed is Billed.UNKNOWN:
            money.possible += price
            money.possible_count += 1
            money.possible_unpriced += known is None
        if settlement.ending is not None:
            self.conclude(settlement.ending)

    def _price_of(self, attempt: int) -> int | None:
        if attempt in self._flying:
            return self._flying[attempt]
        row = self._db.execute("SELECT price FROM attempts WHERE id = ?", (attempt,)).fetchone()  # an earlier run's
        return row[0] if row else None

    def conclude(self, ending: Ending) -> None:
        """Write down a task's outcome; one without an image never takes the place of one with an image."""
        key, record = bytes.fromhex(ending.key), _dump(ending.record)
        row = (key, str(ending.outcome), ending.attempt, ending.file, ending.size, ending.sha256, record)
        try:  # hardly any task has an outcome before, so nobody looks for one first
            seq = self._db.execute(f"INSERT {INTO_OUTCOMES}", row).lastrowid
        except sqlite3.IntegrityError:
            if not self._makes_way(key, ending):
                return
            seq = self._db.execute(f"INSERT OR REPLACE {INTO_OUTCOMES}", row).lastrowid
        if ending.file is not None and self._followed is not None and seq is not None:
            self._followed.append((seq, record))

    def _makes_way(self, key: bytes, ending: Ending) -> bool:
        """Say whether the outcome that stands is to be replaced, and write down what comes with that, or without."""
        held = self._db.execute("SELECT 1 FROM outcomes WHERE key = ? AND file IS NOT NULL", (key,)).fetchone()
        final = f"final:{key.hex().upper()}"
        if held is not None and ending.file is None:
            self._db.execute("UPDATE outcomes SET attempt = ? WHERE key = ?", (ending.attempt, key))
            self.put(final, 1)
            return False
        if held is not None:
            self.put(STALE, 1)
            self.forget(final)
        return True

    def unsettled(self) -> list[Unsettled]:
        """List the attempts that an earlier run left in flight."""
        rows = self._db.execute("SELECT id, price, errand FROM attempts WHERE result IS NULL ORDER BY id")
        return [Unsettled(id=row[0], price=row[1], errand=json.loads(row[2])) for row in rows]

    # Reading

    @property
    def is_blank(self) -> bool:
        """Whether nothing is known of any task."""
        query = "SELECT EXISTS (SELECT 1 FROM outcomes) OR EXISTS (SELECT 1 FROM attempts WHERE result <> 'image')"
        return not self._db.execute(query).fetchone()[0]

    def lookup(self, keys: Sequence[str]) -> dict[str, Known]:
        """Tell what is known of tasks; keys never heard of are left out."""
        found: dict[str, Known] = {}
        for start in range(0, len(keys), LOOKUP_BLOCK):
            found |= self._lookup([bytes.fromhex(key) for key in keys[start : start + LOOKUP_BLOCK]])
        return found

    def _lookup(self, keys: list[bytes]) -> dict[str, Known]:
        marks = ",".join("?" * len(keys))
        query = (
            "SELECT key, outcome, file, attempt, size, iif(outcome = 'mismatch', record, NULL),"  # noqa: S608 -- only question marks are put in
            " iif(outcome = 'mismatch', (SELECT 1 FROM meta WHERE name = 'final:' || hex(key)), NULL)"
            f" FROM outcomes WHERE key IN ({marks})"
        )
        ended = {row[0]: row[1:] for row in self._db.execute(query, keys)}
        results: dict[bytes, list[str]] = {}
        query = f"SELECT key, result, id FROM attempts WHERE result <> 'image' AND key IN ({marks}) ORDER BY id"  # noqa: S608 -- only question marks are put in
        for key, result, attempt in self._db.execute(query, keys):
            if key not in ended or attempt > ended[key][2]:
                results.setdefault(key, []).append(result)
        return {
            key.hex(): Known(
                outcome=Outcome(ended[key][0]) if key in ended else None,
                file=ended[key][1] if key in ended else None,
                size=ended[key][3] if key in ended else None,
                results=tuple(results.get(key, ())),
                differed=json.loads(ended[key][4]).get("differed", 1) if key in ended and ended[key][4] else 0,
                is_final=key in ended and bool(ended[key][5]),
            )
            for key in ended.keys() | results.keys()
        }

    def has_image(self, attempt: int, sha256: str | None) -> bool:
        """Whether an attempt is settled with an image, and, where a hash is given, its task's image has that hash."""
        settled = self._db.execute("SELECT 1 FROM attempts WHERE id = ? AND result = 'image'", (attempt,)).fetchone()
        if settled is None or sha256 is None:
            return settled is not None
        return self._record_of(attempt, sha256) is not None

    def is_aside(self, attempt: int) -> bool:
        """Whether an attempt's image takes no place and belongs outside `images/`."""
        row = self._db.execute("SELECT 1 FROM attempts WHERE id = ? AND result = ?", (attempt, ASIDE)).fetchone()
        return row is not None

    def replaced_by(self, attempt: int, sha256: str) -> str | None:
        """Name the file that an attempt's image of this hash has replaced, if it did."""
        record = self._record_of(attempt, sha256)
        replaced = json.loads(record).get("replaces") if record else None
        return str(replaced) if replaced else None

    def _record_of(self, attempt: int, sha256: str) -> str | None:
        # By the attempt's task: two tasks may have got the very same bytes.
        row = self._db.execute(
            "SELECT o.record FROM outcomes o JOIN attempts a ON a.key = o.key WHERE a.id = ? AND o.sha256 = ?",
            (attempt, sha256),
        ).fetchone()
        return None if row is None else str(row[0])

    def owns(self, file: str) -> bool:
        """Whether a file, relative to the job directory, is the image of some task."""
        return self._db.execute("SELECT 1 FROM outcomes WHERE file = ?", (file,)).fetchone() is not None

    def file_of(self, key: str) -> tuple[str, str] | None:
        """Name the image of a task, relative to the job directory, and its sha256."""
        query = "SELECT file, sha256 FROM outcomes WHERE key = ? AND file IS NOT NULL"
        row: tuple[str, str] | None = self._db.execute(query, (bytes.fromhex(key),)).fetchone()
        return row

    def last_record(self, seq: int) -> str:
        """Give the metadata line of the last image up to `seq`; empty when there is none."""
        row = self._db.execute(
            "SELECT record FROM outcomes WHERE seq <= ? AND file IS NOT NULL ORDER BY seq DESC LIMIT 1", (seq,)
        ).fetchone()
        return "" if row is None else str(row[0])

    def files_with(self, sha256: str) -> list[str]:
        """List the images with a hash, relative to the job directory; reads the whole table."""
        return [str(row[0]) for row in self._db.execute("SELECT file FROM outcomes WHERE sha256 = ?", (sha256,))]

    def count_outcomes(self) -> dict[Outcome, int]:
        """Count the ledger's outcomes, whether or not their tasks are still in the manifest."""
        rows = self._db.execute(
            "SELECT outcome, count(*) FROM outcomes WHERE outcome <> 'done' GROUP BY outcome"
            " UNION ALL SELECT NULL, count(*) FROM outcomes"  # in one statement: of one moment
        )
        *others, (_, total) = rows
        counts = {Outcome(outcome): count for outcome, count in others}
        done = total - sum(counts.values())
        return {**counts, Outcome.DONE: done} if done else counts

    def image_records(self, after: int = 0) -> Iterable[tuple[int, str]]:
        """Give sequence number and metadata line of every image after `after`, in the order they were made."""
        return self._db.execute(
            "SELECT seq, record FROM outcomes WHERE seq > ? AND file IS NOT NULL ORDER BY seq", (after,)
        )

    def follow(self) -> list[tuple[int, str]]:
        """Give what `image_records` would, of every image from now on, as a list that grows and is the caller's."""
        self._followed = []
        return self._followed

    # Small facts

    def get(self, name: str) -> int | None:
        """Read a number that `put` left."""
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else int(row[0])

    def put(self, name: str, value: int) -> None:
        """Leave a number for later runs."""
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def note(self, name: str, text: str) -> None:
        """Leave words for readers."""
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, text))

    def forget(self, name: str) -> None:
        """Take words back that `note` left."""
        self._db.execute("DELETE FROM meta WHERE name = ?", (name,))

    def noted(self, name: str) -> str | None:
        """Read words that `note` left."""
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def pragma(self, name: str) -> object:
        """Read one of SQLite's settings."""
        return self._db.execute(f"PRAGMA {name}").fetchone()[0]

    def rows(self, query: str, parameters: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        """Read row by row; for the ledger's own modules, where SQL is spoken."""
        return iter(self._db.execute(query, parameters))

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._db.in_transaction

    def execute(self, statement: str) -> None:
        """Begin, commit or roll back a transaction."""
        self._db.execute(statement)

    def recount(self) -> None:
        """Count the money anew from the file, after a transaction was rolled back."""
        self._money = count_money(self._db)
        if self._followed is not None:
            self._followed.clear()


def is_disk_fault(error: Exception) -> bool:
    """Whether SQLite complains of the disk, full, failing or forbidden, and not of what the file holds."""
    # The lowest byte is the kind of fault; the others say where it happened.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in DISK_FAULTS
