"""The tables of the ledger's file, and how the file is opened."""

import contextlib
import sqlite3
from pathlib import Path

from batchbanana.errors import LedgerError
from batchbanana.plain import refuse_odd

APPLICATION_ID = 0x62616E61  # "bana"
VERSION = 1

SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE manifests (
    sha256 TEXT PRIMARY KEY, path TEXT NOT NULL,
    text TEXT NOT NULL           -- a blob is zlib's packing of a text above a megabyte
) WITHOUT ROWID;
CREATE TABLE runs (
    id INTEGER PRIMARY KEY, started REAL NOT NULL, ended REAL, pid INTEGER NOT NULL, host TEXT NOT NULL,
    manifest TEXT NOT NULL, summary TEXT);
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY, run INTEGER NOT NULL, key BLOB NOT NULL, resolution TEXT NOT NULL,
    sent REAL NOT NULL,          -- unix seconds: when this row was made; once settled, when the bytes left
    price INTEGER,               -- micro-dollars at worst; NULL when unknown
    errand TEXT,                 -- only while unsettled: what it takes to finish the image without the manifest
    ended REAL, result TEXT,     -- NULL while in flight; then image, lost, or a failure kind
    billed TEXT, cost INTEGER, status INTEGER, message TEXT);
CREATE INDEX attempts_open ON attempts (id) WHERE result IS NULL;
CREATE INDEX attempts_failed ON attempts (key, id) WHERE result <> 'image';
CREATE TABLE outcomes (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB NOT NULL UNIQUE, outcome TEXT NOT NULL,
    attempt INTEGER NOT NULL,    -- the last one that this outcome rests on; a retry counts only what came after
    file TEXT, size INTEGER, sha256 TEXT,
    record TEXT NOT NULL);       -- the line of metadata.jsonl, or what a failure is told with
"""
# Beside a million images that are done, those that are not must not take a walk through all rows. Made on opening, too,
# since the first ledgers had none.
OTHERS = "CREATE INDEX IF NOT EXISTS outcomes_others ON outcomes (seq, outcome) WHERE outcome <> 'done'"

# What all attempts up to an id have cost, and that id. Older programs of this version do not know of them, but whoever
# changes one of those attempts takes them back.
MONEY, MONEY_UP_TO = "money", "money_up_to"
_EVENTS = (("INSERT", "NEW.id"), ("UPDATE", "min(OLD.id, NEW.id)"), ("DELETE", "OLD.id"))
FORGETTING = tuple(
    f"CREATE TRIGGER IF NOT EXISTS money_after_{event} AFTER {event} ON attempts"  # noqa: S608 -- constants alone
    f" WHEN {row} <= (SELECT value FROM meta WHERE name = '{MONEY_UP_TO}')"
    f" BEGIN DELETE FROM meta WHERE name IN ('{MONEY}', '{MONEY_UP_TO}'); END"
    for event, row in _EVENTS
)

BESIDE = ("-wal", "-shm", "-journal")  # what SQLite keeps beside a file


def refuse_odd_ledger(path: Path) -> None:
    """Look before SQLite opens a ledger, which would wait for a pipe for ever.

    Raises:
        DiskError: what stands there, or beside it, is no file.
    """
    for ending in ("", *BESIDE):
        refuse_odd(path.with_name(path.name + ending))


def prepare(db: sqlite3.Connection, path: Path, *, read_only: bool) -> None:
    """Check that a file is a ledger of ours and has all its tables, and set it up to be written.

    Raises:
        LedgerError: it is another program's, a newer one's, or has lost a table.
        sqlite3.Error: it cannot be read or written.
    """
    tables = identify(db, path)
    if tables and (lack := lacking(db)) is not None:
        raise LedgerError(f"{path} is damaged ({lack}); put it back from a copy, or let `verify --repair` rebuild it")
    if read_only:
        return
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    if not tables:
        db.executescript(
            f"BEGIN IMMEDIATE; {SCHEMA} {'; '.join((OTHERS, *FORGETTING))};"
            f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}; COMMIT;"
        )
    for statement in (OTHERS, *FORGETTING):  # one by one: a transaction that begins with a look waits for no other
        db.execute(statement)


def identify(db: sqlite3.Connection, path: Path) -> int:
    """Check that a file is a ledger of ours, or as good as new; gives how many tables and the like it has.

    Raises:
        LedgerError: it is another program's, or a newer one's.
        sqlite3.Error: it cannot be read.
    """
    db.execute("PRAGMA busy_timeout = 10000")  # milliseconds; readers of `status` hold locks for far less
    application = db.execute("PRAGMA application_id").fetchone()[0]
    version = db.execute("PRAGMA user_version").fetchone()[0]
    tables = int(db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
    if tables and application != APPLICATION_ID:
        raise LedgerError(f"{path} is not a batchbanana ledger; move it away")
    if version > VERSION:
        raise LedgerError(f"{path} was written by a newer batchbanana (ledger version {version}); upgrade the program")
    return tables


def lacking(db: sqlite3.Connection) -> str | None:
    """Say which table or column a ledger has lost; None when all are there.

    Raises:
        sqlite3.Error: it cannot be read.
    """
    with contextlib.closing(sqlite3.connect(":memory:")) as whole:
        whole.executescript(SCHEMA)
        for (table,) in whole.execute("SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE TABLE%'").fetchall():
            there = _columns(db, table)
            if not there:
                return f"it has no table {table}"
            if lost := _columns(whole, table) - there:
                return f"its table {table} has no {min(lost)}"
    return None


def _columns(db: sqlite3.Connection, table: str) -> set[str]:
    return {str(row[0]) for row in db.execute("SELECT name FROM pragma_table_info(?)", (table,))}
