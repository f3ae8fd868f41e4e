"""Room on the disk for images on their way, reserved before they are asked for and used only if the disk gets full.

Each image is written to a small file of its own, which grows with it. Where the disk has no more for that one, the
image goes on in the room that was kept for it. Room that was not used goes to the next image: to look for megabytes in
one piece, and to give most of them back, takes a file system longer than to write an image.
"""

import contextlib
import threading
from pathlib import Path
from typing import BinaryIO

from batchbanana.errors import BatchError
from batchbanana.spool.files import FULL, Files


class Room:
    """A file of the spool that only takes up space; the disk has promised that so much can be written into it.

    Attributes:
        size: bytes.
        is_free: whether it is still there, and no image has gone into it.
    """

    def __init__(self, files: Files, path: Path, size: int) -> None:
        self._files = files
        self._path = path
        files.create(path, size).close()  # no worker needs one more descriptor for what is hardly ever opened
        self.size = size
        self.is_free = True

    @property
    def is_promised(self) -> bool:
        """Whether the disk has reserved it; many systems, and some file systems, cannot."""
        return self._path.stat().st_size >= self.size

    def take_in(self, begun: BinaryIO, target: Path) -> BinaryIO:
        """Go on for another file, with what that one holds and under its name, so that its own space is free again.

        Args:
            begun: is read from its beginning, and closed.
            target: its path.

        Returns:
            What is to be written on instead of `begun`.

        Raises:
            OSError: the disk refuses; what is at `target` is still what it was.
        """
        begun.seek(0)
        with self._path.open("r+b", buffering=0) as handle:
            while block := begun.read(1 << 20):
                view = memoryview(block)
                while view:
                    view = view[handle.write(view) :]
            size = handle.tell()
        begun.close()  # not every system lets a file that is open be renamed or replaced
        try:
            self._files.rename(self._path, target)
        except OSError:
            if self._path.exists():  # else it was renamed after all, though the disk said no
                raise
        self.is_free = False
        taken = target.open("r+b", buffering=0)
        taken.seek(size)
        return taken

    def discard(self) -> None:
        """Give the space back, unless an image has it.

        Raises:
            OSError: the disk does not let it go; the next start drops it.
        """
        if self.is_free:
            self.is_free = False
            self._files.unlink(self._path)


class Rooms:
    """The rooms of one job that no image has just now."""

    def __init__(self, files: Files, folder: Path) -> None:
        self._files = files
        self._folder = folder
        self._idle: dict[int, list[Room]] = {}
        self._can_promise = True
        self._making_way = threading.Lock()

    def take(self, attempt: int, size: int) -> Room | None:
        """Give room for an attempt's image, a new one if need be; blocks on the disk.

        Returns:
            It, or None where the file system promises nothing: then an image finds out when it is written.

        Raises:
            OSError: the disk is full, or failing.
        """
        with contextlib.suppress(IndexError):
            return self._idle.setdefault(size, []).pop()
        if not self._can_promise:
            return None
        try:
            return self._new(attempt, size)
        except OSError as error:
            if error.errno not in FULL:
                raise
        with self._making_way:  # whoever comes second waits until the idle ones are gone, and tries again, too
            self.drop_idle()
            return self._new(attempt, size)

    def _new(self, attempt: int, size: int) -> Room | None:
        # Attempts have numbers of their own in all runs, and what ends so is dropped by the next start.
        room = Room(self._files, self._folder / f"{attempt}.room.part", size)
        if room.is_promised:
            return room
        self._can_promise = False
        room.discard()
        return None

    def give(self, room: Room) -> None:
        """Take back what is still free of a room."""
        if room.is_free:
            self._idle[room.size].append(room)

    def drop_idle(self) -> int:
        """Give the space of idle rooms back to the disk; blocks. Returns how many there were."""
        count = 0
        for idle in list(self._idle.values()):
            with contextlib.suppress(IndexError):
                while True:
                    room, count = idle.pop(), count + 1
                    with contextlib.suppress(OSError, BatchError):  # then the next start drops it
                        room.discard()
        return count
