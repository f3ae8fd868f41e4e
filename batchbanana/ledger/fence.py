"""Whether a run still owns its job directory: the lock at its path is the one it holds, or else no later run began.

A lock can be got round: its file is removed by hand, or the folder is put back from a copy. A process that was stopped
meanwhile wakes and knows nothing of it, so it asks here before each thing that it would change.
"""

import contextlib
import sqlite3
from pathlib import Path

from batchbanana.errors import FencedError

TAKEN = "A later run has taken over this job directory; this one stops here"
NEWEST = "SELECT max(id) FROM runs"


def identity(path: Path) -> tuple[int, int] | None:
    """Tell one file from another that has its name; None when there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


class Fence:
    """Asks from any thread.

    Args:
        ledger: the ledger's path.
        lock: the path of the lock that this run holds.
        held: the identity of that lock, from the moment it was taken.
        run: whose.
    """

    def __init__(self, ledger: Path, lock: Path, held: tuple[int, int] | None, run: int) -> None:
        self._ledger, self._opened = ledger, identity(ledger)
        self._lock, self._held = lock, held
        self._run = run

    def check(self) -> None:
        """Come before every change of a file.

        As long as the lock that is held is the one that stands there, no other run can have begun, and one look is
        enough. Where nobody can tell, the run is trusted: a disk that fails now and then must not cost a paid image,
        and the ledger has the last word at the next commit.

        Raises:
            FencedError: the job directory is another run's, or another one than was opened.
        """
        try:
            if self._held is not None and identity(self._lock) == self._held:
                return
            if identity(self._ledger) != self._opened:
                raise FencedError(moved(self._ledger))
            if newest_run(self._ledger) != self._run:
                raise FencedError(TAKEN)
        except (sqlite3.Error, OSError):
            return


def newest_run(path: Path) -> int | None:
    """Read from a ledger which run began last.

    Raises:
        sqlite3.Error: it cannot be read.
    """
    uri = f"{path.absolute().as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as db:
        newest: int | None = db.execute(NEWEST).fetchone()[0]
        return newest


def moved(path: Path) -> str:
    """Say that a ledger is not where it was."""
    return f"{path} was moved or replaced while a run wrote it; this run stops here, look at the folder and run again"
