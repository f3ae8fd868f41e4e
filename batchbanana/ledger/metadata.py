"""`metadata.jsonl`: one line an image, kept in step with the ledger without ever being read back.

The ledger remembers up to which outcome and byte the file is right and synced. After a crash or a power loss the file
is cut there and the missing lines are appended; after a replaced image it is written anew. So its state never depends
on when a run died.
"""

import contextlib
import os
from collections.abc import Callable, Iterable
from itertools import chain, repeat
from pathlib import Path
from typing import BinaryIO

from batchbanana.ledger.older import BYTES, SEQ, right_up_to
from batchbanana.ledger.store import STALE, Store
from batchbanana.plain import open_plain, refuse_odd

SYNC_EVERY = (
    1000  # lines: so many are written again at most after a crash, and a sync for them all costs next to nothing
)


class Metadata:
    """The file in the job directory. All methods run in the ledger's thread.

    Args:
        check: raises when the job is another run's by now; comes before what would put a file in that one's place.
    """

    def __init__(self, path: Path, store: Store, check: Callable[[], None] = lambda: None) -> None:
        self._path = path
        self._store = store
        self._check = check
        self._seq = store.get(SEQ) or 0
        self._bytes = store.get(BYTES) or 0
        self._safe = self._seq, self._bytes  # what a power loss leaves
        self._told = self._safe
        self._handle: BinaryIO | None = None
        self._made: list[tuple[int, str]] = []  # images since the file was opened, whose lines it does not have yet

    def catch_up(self) -> None:
        """Append the lines of images that the file does not have yet; what they belong to is committed."""
        if self._handle is None:
            if not self._has_begun():
                return
            self._handle = self._reopen()
            self._append(self._handle, self._store.image_records(self._seq))
            self._made = self._store.follow()  # so that the ledger need not be asked after each commit
        elif self._made:
            self._append(self._handle, self._made)
            self._made.clear()

    def _append(self, handle: BinaryIO, images: Iterable[tuple[int, str]]) -> None:
        for seq, line in images:
            self._bytes += handle.write(line.encode() + b"\n")
            self._seq = seq
        handle.flush()

    def remember(self) -> None:
        """Leave in the ledger how far the file is right for certain, in the transaction that is open."""
        if self._handle is not None and self._seq - self._safe[0] >= SYNC_EVERY:
            os.fsync(self._handle.fileno())
            self._safe = self._seq, self._bytes
        if self._safe != self._told:
            self._store.put(SEQ, self._safe[0])
            self._store.put(BYTES, self._safe[1])
            self._told = self._safe

    def close(self) -> None:
        """Bring the file up to date, anew if a line of it no longer holds, and wait for the disk."""
        if self._store.get(STALE):
            self._rewrite()
        self.catch_up()
        if self._handle is not None:
            os.fsync(self._handle.fileno())
            self._handle.close()
            self._handle = None
        self._safe = self._seq, self._bytes
        self._store.execute("BEGIN IMMEDIATE")
        self._check()  # what is written on the way may have taken long
        self.remember()
        if self._store.get(STALE):
            self._store.put(STALE, 0)
        self._store.execute("COMMIT")

    def renew(self) -> None:
        """Write the file anew from the ledger, whole or not at all, and wait for the disk."""
        self._store.put(STALE, 1)
        self.close()

    def drop(self) -> None:
        """Let go of the file as it is; the next run cuts it where it is right."""
        handle, self._handle = self._handle, None
        if handle is not None:
            with contextlib.suppress(OSError):  # why it is let go of is known
                handle.close()

    def _has_begun(self) -> bool:
        return self._path.exists() or next(iter(self._store.image_records(0)), None) is not None

    def _reopen(self) -> BinaryIO:
        is_right = right_up_to(self._store, self._path) > 0
        if self._bytes and not self._store.get(STALE) and not (is_right and self._is_ours_from(self._bytes)):
            self._keep_aside()  # somebody has edited it, and that is work, too
            is_right = False
        if not is_right:
            self._seq = self._bytes = 0
            self._safe = 0, 0
        handle = self._path.open("ab")
        try:
            if handle.tell() != self._bytes:  # a finished job's file is not touched at all
                handle.truncate(self._bytes)
        except OSError:
            handle.close()
            raise
        return handle

    def _is_ours_from(self, start: int) -> bool:
        """Whether a byte and what follows are lines of the ledger, or the beginning of one that a crash has cut."""
        wanted = (line.encode() + b"\n" for _, line in self._store.image_records(self._seq))
        with open_plain(self._path) as handle:
            handle.seek(start)
            return all(
                right.startswith(found) for found, right in zip(handle, chain(wanted, repeat(b"")), strict=False)
            )

    def _keep_aside(self) -> None:
        aside, number = self._path.parent / ".batchbanana" / "superseded" / self._path.name, 0
        while aside.exists():
            number += 1
            aside = aside.with_name(f"{self._path.stem}~{number}{self._path.suffix}")
        self._check()
        aside.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # it was not edited but removed
            self._path.rename(aside)

    def _rewrite(self) -> None:
        if self._handle is not None:
            self._handle.close()
        aside = self._path.with_name(".metadata.jsonl.new")
        self._seq = self._bytes = 0
        self._safe = 0, 0
        refuse_odd(aside)
        with aside.open("wb") as handle:
            self._append(handle, self._store.image_records(0))
            self._made.clear()  # those are among them
            os.fsync(handle.fileno())
        self._check()
        refuse_odd(self._path)
        aside.replace(self._path)
        _sync_folder(self._path.parent)  # else a power loss could bring the old file back
        self._handle = self._path.open("ab")


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows has no way to sync a folder, and needs none
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
