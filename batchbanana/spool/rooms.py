"""Room on the disk for images on their way, reserved before they are asked for and used only if the disk gets full.

Each image is written to a small file of its own, which grows with it. Room that was not used goes to the next image: to
look for megabytes in one piece, and to give most of them back, takes a file system longer than to write an image. When
the disk has no more for one of the small files, every image on its way moves into its room, and rooms that are idle are
given up: then the disk has all that it would have if room had been reserved in each file from the beginning.
"""

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Protocol

from batchbanana.errors import BatchError
from batchbanana.spool.files import Files

BLOCK = 1 << 20  # bytes copied at once


class Guest(Protocol):
    """An image on its way, which has a room."""

    def move(self) -> None:
        """Go on in the room, or give it up where it is of no use."""
        ...


class Room:
    """A file of the spool that only takes up space; the disk has promised that so much can be written into it.

    Args:
        make_way: has all images of the job move into their rooms.

    Attributes:
        size: bytes.
        is_free: whether it is still there, and no image has gone into it.
        guest: whose room it is just now.
    """

    def __init__(self, files: Files, path: Path, size: int, make_way: Callable[[], None]) -> None:
        self._files = files
        self._path = path
        self._handle = files.create(path, size)
        self._lock = threading.Lock()  # an image that is being synced may want it while the event loop gives it up
        self.make_way = make_way
        self.size = size
        self.is_free = True
        self.guest: Guest | None = None

    @property
    def is_promised(self) -> bool:
        """Whether the disk has reserved it; many systems, and some file systems, cannot."""
        return os.fstat(self._handle.fileno()).st_size >= self.size

    def take_in(self, begun: BinaryIO, target: Path) -> BinaryIO:
        """Go on for another file, with what that one holds and under its name, so that its own space is free again.

        Args:
            begun: no larger than the room; it is read from its beginning, and closed in the end.
            target: its path.

        Returns:
            What is to be written on instead of `begun`.

        Raises:
            OSError: the room is gone, or the disk refuses; `begun` can be written on.
        """
        with self._lock:
            if not self.is_free or not os.path.samestat(os.fstat(self._handle.fileno()), self._path.lstat()):
                raise FileNotFoundError(f"{self._path} is not what was reserved")
            self._copy(begun)
            try:
                self._files.rename(self._path, target)
            except OSError:
                if not os.path.samestat(os.fstat(self._handle.fileno()), target.lstat()):  # else it was, after all
                    raise
            self.is_free = False
        with contextlib.suppress(OSError):  # a full disk may tell it once more; its bytes are wanted no longer
            begun.close()
        return self._handle

    def _copy(self, begun: BinaryIO) -> None:
        begun.seek(0)
        self._handle.seek(0)
        try:
            while block := begun.read(BLOCK):
                view = memoryview(block)
                while view:
                    view = view[self._handle.write(view) :]
        finally:
            begun.seek(0, os.SEEK_END)

    def discard(self) -> None:
        """Give the space back, unless an image has it.

        Raises:
            OSError: the disk does not let it go; the next start drops it.
        """
        with self._lock:
            if self.is_free:
                self.is_free = False
                try:
                    self._handle.close()
                finally:
                    self._files.unlink(self._path)


class Rooms:
    """The rooms of one job. `make_way` belongs to the event loop, as writing does; threads may call the rest."""

    def __init__(self, files: Files, folder: Path) -> None:
        self._files = files
        self._folder = folder
        self._idle: dict[int, list[Room]] = {}
        self._lent: set[Room] = set()
        self._can_promise = True

    def take(self, attempt: int, size: int) -> Room | None:
        """Give room for an attempt's image, a new one if need be; blocks on the disk.

        Returns:
            It, or None where the file system promises nothing: then an image finds out when it is written.

        Raises:
            OSError: the disk is full, or failing.
        """
        room = None
        with contextlib.suppress(IndexError):
            room = self._idle.setdefault(size, []).pop()
        if room is None and self._can_promise:
            self.drop_idle()  # mostly of other sizes: nobody may want them again, and the ledger wants space, too
            room = self._new(attempt, size)
        if room is not None:
            self._lent.add(room)
        return room

    def _new(self, attempt: int, size: int) -> Room | None:
        # Attempts have numbers of their own in all runs, and what ends so is dropped by the next start.
        room = Room(self._files, self._folder / f"{attempt}.room.part", size, self.make_way)
        if room.is_promised:
            return room
        self._can_promise = False
        room.discard()
        return None

    def give(self, room: Room) -> None:
        """Take back what is still free of a room."""
        room.guest = None
        self._lent.discard(room)
        if room.is_free:
            self._idle[room.size].append(room)

    def make_way(self) -> None:
        """Leave the disk all but what images on their way were promised.

        It blocks, for as long as it takes to copy what they have got, but only a full disk asks for it.
        """
        self.drop_idle()
        for guest in [room.guest for room in list(self._lent)]:
            if guest is not None:
                guest.move()

    def drop_idle(self) -> None:
        """Give the space of idle rooms back to the disk; blocks."""
        for idle in list(self._idle.values()):
            with contextlib.suppress(IndexError):  # others may take some meanwhile
                while True:
                    room = idle.pop()
                    with contextlib.suppress(OSError, BatchError):  # then the next start drops it
                        room.discard()
