"""Whether the ledger's file is whole, told before anything relies on it."""

import contextlib
import sqlite3
from pathlib import Path

from batchbanana.errors import DiskError, LedgerError
from batchbanana.ledger.schema import identify, lacking, refuse_odd_ledger
from batchbanana.ledger.store import is_disk_fault

DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
MOST_TOLD = 3  # faults of a file; one is enough to distrust all of it


def flaw(path: Path) -> str | None:
    """Read a ledger's whole file and say what is wrong with it; None when nothing is.

    Raises:
        LedgerError: it is another program's, a newer one's, or cannot be opened.
        DiskError: the disk refuses, or it is no file.
    """
    refuse_odd_ledger(path)
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            identify(db, path)
            told = [str(row[0]) for row in db.execute(f"PRAGMA integrity_check({MOST_TOLD})")]
            if told == ["ok"]:
                return lacking(db)
    except sqlite3.Error as error:
        if is_damage(error):
            return str(error)
        if is_disk_fault(error):
            remedy = "make room, or look at the disk and at its rights"
            raise DiskError(f"The ledger {path} cannot be read ({error}); {remedy}") from error
        raise LedgerError(f"The ledger {path} cannot be opened ({error}); look at its rights") from error
    return " ".join("; ".join(told).split())


def is_damage(error: Exception) -> bool:
    """Whether SQLite complains of what the file holds."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGED
