"""Reference images on their way into requests: checked against the hash that the task's key rests on, encoded once.

A job sends the same few files with thousands of requests. Their base64 is kept in memory, within a bound that does not
grow with the job; a file that is larger than the bound is checked once and then encoded as it is sent.
"""

import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import pybase64
from anyio import CapacityLimiter, to_thread

from batchbanana.task import Reference

BLOCK = 3 * 64 * 1024  # bytes of a file a piece; a multiple of 3, so that the pieces of base64 join
PIECE = 256 * 1024  # bytes of base64 handed over at once, so that the event loop comes round in between
ROOM = 48 << 20  # bytes of base64 that are kept: five of the largest files that are not warned of
LOADS = 4  # files loaded at once: each is in memory whole, raw and encoded, for a moment
MOST_MARKS = 4096  # files whose check is remembered, a few hundred bytes each

Mark = tuple[int, int, str]
"""A file's size, its time of change and the hash it must have."""


class ReferenceChangedError(Exception):
    """A file is not what it was when the manifest was loaded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Checked:
    """A file that was what it should be; `encoded` is None when it is too large to be kept."""

    mark: Mark
    encoded: bytes | None


class References:
    """Knows which files are still what they were, and their base64; shared by all workers.

    Args:
        room: bytes of base64 that are kept; what was used longest ago goes first.
    """

    def __init__(self, room: int = ROOM) -> None:
        self._room = room
        self._checked: OrderedDict[Path, _Checked] = OrderedDict()
        self._held = 0
        self._locks: dict[Path, anyio.Lock] = {}
        self._loads = CapacityLimiter(LOADS)

    async def load(self, pieces: Iterable[bytes | Reference]) -> tuple[bytes | Reference, ...]:
        """Put base64 in the place of a body's references, but for those too large to be kept.

        Raises:
            ReferenceChangedError: one is gone or is not the file any more that was hashed.
        """
        return tuple([piece if isinstance(piece, bytes) else await self._encoded(piece) for piece in pieces])

    @property
    def held(self) -> int:
        """Bytes of base64 that are kept now."""
        return self._held

    async def _encoded(self, reference: Reference) -> bytes | Reference:
        async with self._alone(reference.path):
            mark = await to_thread.run_sync(_mark, reference)
            known = self._checked.get(reference.path)
            if known is None or known.mark != mark:
                look = _read if size([reference]) <= self._room else _check
                encoded = await to_thread.run_sync(look, reference, limiter=self._loads)
                known = _Checked(mark=mark, encoded=encoded)
            self._keep(reference.path, known)
            return known.encoded if known.encoded is not None else reference

    @asynccontextmanager
    async def _alone(self, path: Path) -> AsyncIterator[None]:
        """Let one worker at a time load a file; the others find it loaded."""
        lock = self._locks.setdefault(path, anyio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.statistics().tasks_waiting and not lock.locked():
                self._locks.pop(path, None)

    def _keep(self, path: Path, checked: _Checked) -> None:
        """Make a file the one used last, and forget others until all that is kept fits."""
        self._forget(path)
        self._checked[path] = checked
        self._held += len(checked.encoded or b"")
        while self._held > self._room or len(self._checked) > MOST_MARKS:
            self._forget(next(iter(self._checked)))

    def _forget(self, path: Path) -> None:
        gone = self._checked.pop(path, None)
        if gone is not None:
            self._held -= len(gone.encoded or b"")


def _mark(reference: Reference) -> Mark:
    try:
        state = reference.path.stat()
    except OSError as error:
        raise _unreadable(reference, error) from error
    return state.st_size, state.st_mtime_ns, reference.sha256


def _read(reference: Reference) -> bytes:
    """Read a file whole, check it and encode it."""
    try:
        data = reference.path.read_bytes()
    except OSError as error:
        raise _unreadable(reference, error) from error
    if hashlib.sha256(data).hexdigest() != reference.sha256:
        raise _changed(reference)
    return pybase64.b64encode(data)


def _check(reference: Reference) -> None:
    """Check a file that is too large to be held."""
    try:
        with reference.path.open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(reference, error) from error
    if digest != reference.sha256:
        raise _changed(reference)


def _unreadable(reference: Reference, error: OSError) -> ReferenceChangedError:
    return ReferenceChangedError(
        f"{reference.path} cannot be read any more ({error.strerror}); put it back and run again with --retry failed"
    )


def _changed(reference: Reference) -> ReferenceChangedError:
    return ReferenceChangedError(f"{reference.path} has changed since the run began; run again")


def size(pieces: Iterable[bytes | Reference]) -> int:
    """Give the body's length, so that it need not be sent in chunks, which not every relay takes."""
    return sum(len(piece) if isinstance(piece, bytes) else (piece.size + 2) // 3 * 4 for piece in pieces)


async def stream(pieces: Iterable[bytes | Reference]) -> AsyncIterator[bytes]:
    """Give a body's bytes in pieces, references as base64."""
    for piece in pieces:
        if isinstance(piece, bytes):
            for part in _cut(piece):
                yield part
            continue
        try:
            async with await anyio.open_file(piece.path, "rb") as handle:
                while block := await handle.read(BLOCK):
                    yield pybase64.b64encode(block)
        except OSError as error:
            raise _unreadable(piece, error) from error


def _cut(data: bytes) -> Iterator[bytes]:
    """Cut into pieces; what is small anyway stays as it is."""
    return (data[at : at + PIECE] for at in range(0, len(data), PIECE)) if len(data) > PIECE else iter((data,))
