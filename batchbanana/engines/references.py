"""Reference images on their way into requests: checked against the hash that the task's key rests on, then streamed."""

import hashlib
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import anyio
import pybase64
from anyio import to_thread

from batchbanana.task import Reference

BLOCK = 3 * 64 * 1024  # bytes of a file a piece; a multiple of 3, so that the pieces of base64 join


class ReferenceChangedError(Exception):
    """A file is not what it was when the manifest was loaded."""


class References:
    """Knows which files are still what they were; shared by all workers."""

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[int, int, str]] = {}

    async def check(self, pieces: Iterable[bytes | Reference]) -> None:
        """Make sure that a body's references are the very bytes that were hashed; each file is read once.

        Raises:
            ReferenceChangedError: one is gone or has changed.
        """
        for piece in pieces:
            if isinstance(piece, Reference):
                await to_thread.run_sync(self._check, piece)

    def _check(self, reference: Reference) -> None:
        try:
            state = reference.path.stat()
            mark = (state.st_size, state.st_mtime_ns, reference.sha256)
            if self._seen.get(reference.path) == mark:
                return
            with reference.path.open("rb") as handle:
                same = hashlib.file_digest(handle, "sha256").hexdigest() == reference.sha256
        except OSError as error:
            raise ReferenceChangedError(f"{reference.path} cannot be read any more ({error.strerror})") from error
        if not same:
            raise ReferenceChangedError(f"{reference.path} has changed since the run began; run again")
        self._seen[reference.path] = mark


def size(pieces: Iterable[bytes | Reference]) -> int:
    """Give the body's length, so that it need not be sent in chunks, which not every relay takes."""
    return sum(len(piece) if isinstance(piece, bytes) else (piece.size + 2) // 3 * 4 for piece in pieces)


async def stream(pieces: Iterable[bytes | Reference]) -> AsyncIterator[bytes]:
    """Give a body's bytes, references as base64."""
    for piece in pieces:
        if isinstance(piece, bytes):
            yield piece
            continue
        try:
            async with await anyio.open_file(piece.path, "rb") as handle:
                while block := await handle.read(BLOCK):
                    yield pybase64.b64encode(block)
        except OSError as error:
            raise ReferenceChangedError(f"{piece.path} cannot be read any more ({error.strerror})") from error
