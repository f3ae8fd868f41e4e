"""A disk that fails at the n-th call: below the whole program, where the system's own calls are.

Everything that a run does to its job directory goes through a few functions of the standard library; while a failing
disk is in place, each of them is counted, and the n-th fails as the system would have it fail.
"""

import errno
import io
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

# What SQLite says when the system said that to it.
SQLITE = {
    errno.ENOSPC: (sqlite3.SQLITE_FULL, "database or disk is full"),
    errno.EIO: (sqlite3.SQLITE_IOERR, "disk I/O error"),
    errno.EACCES: (sqlite3.SQLITE_READONLY, "attempt to write a readonly database"),
}
OPENING = {"open", "read", "connect"}  # what they give would be nobody's to close
LEDGER = {"connect", "statement", "commit"}


class Spread(StrEnum):
    """How much fails once the n-th call has failed."""

    ONCE = "once"  # only that one
    ALIKE = "alike"  # from then on every call of its kind
    ALL = "all"  # from then on every call


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A call that was made.

    Attributes:
        kind: `open`, `write`, `fsync`, `rename`, …; `connect`, `statement` and `commit` are SQLite's.
        what: the file's name or the statement's first words, for people.
    """

    kind: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind} {self.what}"


class FailingDisk:
    """Counts the calls that concern one folder, and lets one of them fail.

    Args:
        root: the folder.
        nth: which call fails, counted from 1; None for none.
        number: the error, such as `errno.EIO`.
        kind: which kind of call is counted; None for all.
        is_done: whether the call that fails has taken effect nevertheless, as a commit may whose sync failed.

    Attributes:
        steps: what was called so far.
        failed: the first call that failed.
        ready: images that have become ready in the spool.
    """

    def __init__(
        self,
        root: Path,
        nth: int | None = None,
        number: int = errno.EIO,
        spread: Spread = Spread.ONCE,
        *,
        kind: str | None = None,
        is_done: bool = False,
    ) -> None:
        self._root = str(root)
        self._nth = nth
        self._number = number
        self._spread = spread
        self._kind = kind
        self._is_done = is_done
        self._count = 0
        self._lock = threading.Lock()
        self.steps: list[Step] = []
        self.failed: Step | None = None
        self.ready: list[str] = []

    @contextmanager
    def in_place(self) -> Iterator["FailingDisk"]:
        """Let everything in this process that concerns the folder go over this disk."""
        calls = {"mkdir": "mkdir", "unlink": "unlink", "link": "link", "replace": "rename"}
        kept = [patch.object(os, name, partial(self._on_path, kind, getattr(os, name))) for name, kind in calls.items()]
        kept += [
            patch.object(os, name, partial(self._on_file, name, getattr(os, name)))
            for name in ("fsync", "posix_fallocate")
            if hasattr(os, name)
        ]
        kept.append(patch.object(os, "open", partial(self._on_path, "open", os.open)))
        kept.append(patch.object(io, "open", partial(self._open, io.open)))
        kept.append(patch.object(sqlite3, "connect", partial(self._connect, sqlite3.connect)))
        try:
            for one in kept:
                one.start()
            yield self
        finally:
            for one in reversed(kept):
                one.stop()

    def take(self, kind: str, what: str, act: Callable[[], Any]) -> Any:
        """Count a call, and carry it out or let it fail."""
        with self._lock:
            self.steps.append(Step(kind=kind, what=what))
            fails = self._fails(self.steps[-1])
        if fails is None:
            return act()
        if self._is_done and kind not in OPENING:
            act()
        raise fails

    def _fails(self, step: Step) -> Exception | None:
        if self.failed is None:
            self._count += self._kind in {None, step.kind}
            if self._count != self._nth or self._kind not in {None, step.kind}:
                return None
            self.failed = step
        elif self._spread is Spread.ONCE or (self._spread is Spread.ALIKE and step.kind != self.failed.kind):
            return None
        if step.kind not in LEDGER:
            return OSError(self._number, os.strerror(self._number), step.what)
        code, words = SQLITE[self._number]
        fault = sqlite3.OperationalError(words)
        fault.sqlite_errorcode = code
        return fault

    def _is_ours(self, path: object) -> bool:
        return isinstance(path, str | os.PathLike) and str(path).startswith(self._root)

    def _on_path(self, kind: str, true: Callable[..., Any], path: Any, *more: Any, **named: Any) -> Any:
        if not self._is_ours(path):
            return true(path, *more, **named)

        def act() -> Any:
            result = true(path, *more, **named)
            if kind == "rename" and str(more[0]).endswith(".ready"):
                self.ready.append(Path(more[0]).name)
            return result

        return self.take(kind, Path(path).name, act)

    def _on_file(self, kind: str, true: Callable[..., Any], descriptor: int, *more: Any) -> Any:
        return self.take(kind, "", partial(true, descriptor, *more))

    def _open(self, true: Callable[..., Any], file: Any, mode: str = "r", buffering: int = -1, *more: Any) -> Any:
        if not self._is_ours(file):
            return true(file, mode, buffering, *more)
        if not set(mode) & set("wxa+"):
            return self.take("read", Path(file).name, partial(true, file, mode, buffering, *more))
        raw = self.take("open", Path(file).name, partial(_Raw, self, file, mode.replace("b", "").replace("t", "")))
        if buffering == 0:
            return raw
        buffered = io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, *more)

    def _connect(self, true: Callable[..., Any], name: str, **named: Any) -> Any:
        return self.take("connect", "", lambda: true(name, factory=partial(_Connection, self), **named))


class _Raw(io.FileIO):
    """A file whose writes go over the failing disk."""

    def __init__(self, disk: FailingDisk, file: Any, mode: str) -> None:
        super().__init__(file, mode)
        self._disk = disk

    def write(self, data: Any, /) -> int:
        written: int = self._disk.take("write", Path(str(self.name)).name, lambda: super(_Raw, self).write(data))
        return written

    def truncate(self, size: int | None = None, /) -> int:
        cut: int = self._disk.take("truncate", Path(str(self.name)).name, lambda: super(_Raw, self).truncate(size))
        return cut


class _Connection(sqlite3.Connection):
    """A ledger whose statements go over the failing disk."""

    def __init__(self, disk: FailingDisk, *more: Any, **named: Any) -> None:
        super().__init__(*more, **named)
        self._disk = disk

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        kind = "commit" if sql == "COMMIT" else "statement"
        cursor: sqlite3.Cursor = self._disk.take(
            kind, " ".join(sql.split()[:4]), lambda: super(_Connection, self).execute(sql, parameters)
        )
        return cursor

    def executescript(self, sql: str, /) -> sqlite3.Cursor:
        cursor: sqlite3.Cursor = self._disk.take(
            "statement", "script", lambda: super(_Connection, self).executescript(sql)
        )
        return cursor
