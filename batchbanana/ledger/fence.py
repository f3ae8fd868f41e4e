"""Whether a run still owns its job directory: the ledger at its path is the one it opened, and no later run began.

A lock can be got round: its file is removed by hand, or the folder is put back from a copy. A process that was stopped
meanwhile wakes and knows nothing of it, so it asks here before each thing that it would change.
"""

import contextlib
import sqlite3
import threading
from pathlib import Path
from types import TracebackType

from batchbanana.errors import FencedError

TAKEN = "A later run has taken over this job directory; this one stops here"
NEWEST = "SELECT max(id) FROM runs"


def place(path: Path) -> tuple[int, int] | None:
    """Tell one file from another that has its name; None when there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


class Fence:
    """Asks from any thread; use as a context manager.

    Args:
        path: the ledger's.
        run: whose.
    """

    def __init__(self, path: Path, run: int) -> None:
        self._path = path
        self._place = place(path)
        self._run = run
        self._turn = threading.Lock()
        uri = f"{path.absolute().as_uri()}?mode=ro"
        self._db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)

    def __enter__(self) -> "Fence":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def check(self) -> None:
        """Come before every change of a file.

        Where nobody can tell, the run is trusted: a disk that fails now and then must not cost a paid image, and the
        ledger has the last word at the next commit.

        Raises:
            FencedError: the job directory is another run's, or another one than was opened.
        """
        try:
            now = place(self._path)
            with self._turn, contextlib.closing(self._db.execute(NEWEST)) as rows:
                newest = rows.fetchone()[0]
        except (sqlite3.Error, OSError):
            return
        if now != self._place:
            raise FencedError(moved(self._path))
        if newest != self._run:
            raise FencedError(TAKEN)


def moved(path: Path) -> str:
    """Say that a ledger is not where it was."""
    return f"{path} was moved or replaced while a run wrote it; this run stops here, look at the folder and run again"
