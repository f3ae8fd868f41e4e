"""A file of the spool on its way from its first byte to a name that nothing takes away."""

import contextlib
import errno
import hashlib
from collections.abc import Iterator
from pathlib import Path

from batchbanana.spool.files import FULL, Files
from batchbanana.spool.rooms import Room


class Part:
    """A file of the spool that is being written. Hashes as it goes.

    Args:
        expected: bytes that are reserved in the file itself.
        room: where it goes on instead, when the disk is full.
    """

    def __init__(self, files: Files, path: Path, expected: int, room: Room | None = None) -> None:
        self._files = files
        self._handle = files.create(path, expected)
        self._hash = hashlib.sha256()
        self._attempt = path.name.split(".")[0]
        self._is_put_by = False
        self._has_moved = False
        self._room = room
        self.path = path
        self.size = 0
        self.is_open = True  # more may come
        self.is_ready = False  # it has a name under which the next start looks for it
        if room is not None:
            room.guest = self

    def write(self, data: bytes) -> None:
        """Append; only into the system's cache, so it does not wait for the disk, unless that is full.

        Raises:
            OSError: the disk is full, and all room that was kept is used up, or it is failing.
        """
        self._hash.update(data)
        view, has_made_way = memoryview(data), False
        while view:
            try:
                view = view[self._handle.write(view) :]
            except OSError as error:
                if error.errno not in FULL or self._room is None or has_made_way:
                    raise
                has_made_way = True
                self._room.make_way()
        self.size += len(data)

    def move(self) -> None:
        """Go on in the room that was kept for this, as the disk is full; one that is of no use is given up.

        A disk that refuses changes nothing: what is to be written will tell.
        """
        room = self._room
        if room is None or not room.is_free:
            return
        with contextlib.suppress(OSError):
            if self.is_open and self._handle.tell() <= room.size:
                self._move_into(room)
            else:
                room.discard()

    def _move_into(self, room: Room) -> None:
        self._handle = room.take_in(self._handle, self.path)
        self._has_moved = True

    @property
    def sha256(self) -> str:
        """The hash of what has been written, 64 hex digits."""
        return self._hash.hexdigest()

    def keep(self, rank: int) -> tuple[Path, str]:
        """Make the file durable and ready; from here it cannot be lost. Returns its path and SHA-256.

        Args:
            rank: 0 for the image that counts, 1… for extras.

        Raises:
            OSError: the disk refuses; `is_ready` says whether the next start finds it nevertheless.
        """
        self.sync(rank)
        kept = self.make_ready(rank)
        self._files.sync_folder(self.path.parent)
        return kept

    def sync(self, rank: int) -> None:
        """Do the first half of `keep`: wait until the bytes are on the disk.

        A file is synced once only: a disk that fails forgets it. What has moved into a room is another file.

        Raises:
            OSError: as from `keep`.
        """
        with contextlib.suppress(OSError):  # a disk that refuses this may take the rest, and is asked once more if not
            self.put_by(rank)
        with self._found_by_the_next_start(rank):
            self._sync()

    def make_ready(self, rank: int) -> tuple[Path, str]:
        """Do the second half, but for the spool's folder, which who has several files syncs once.

        Raises:
            OSError: as from `keep`.
        """
        digest = self.sha256
        ready = self.path.with_name(f"{self._attempt}.{rank}.{digest}.ready")
        with self._found_by_the_next_start(rank, ready):
            self._rename(ready)
        return ready, digest

    @contextlib.contextmanager
    def _found_by_the_next_start(self, rank: int, ready: Path | None = None) -> Iterator[None]:
        """See that a file which the disk refuses has a name, at least."""
        try:
            yield
        except OSError:
            # It may be renamed after all, though the disk said no.
            self.is_ready = self.is_ready or (ready is not None and ready.exists())
            if not self.is_ready:
                with contextlib.suppress(OSError):  # what made us come here is told
                    self.put_by(rank)
            raise

    def begin_sync(self) -> None:
        """Have the system begin to write the file to the disk, before anybody waits for it."""
        self._files.begin_sync(self._handle, self.size)

    def put_by(self, rank: int) -> None:
        """Give the file a name by which the next start can tell that it is whole, though not yet durable.

        It waits for no disk, so it is done before anything that may: a run that ends in the meantime loses nothing.

        Raises:
            OSError: the disk refuses.
        """
        if self._is_put_by:
            return
        whole = self.path.with_name(f"{self._attempt}.{rank}.{self.sha256}.{self.size}.whole")
        try:
            self._files.rename(self.path, whole)
        except OSError:
            if not whole.exists():
                raise
        self.path = whole
        self.is_ready = self._is_put_by = True

    def settle(self, target: Path) -> None:
        """Make the file durable under another name of the same folder."""
        self._sync()
        self._rename(target)
        self._files.sync_folder(target.parent)

    def _sync(self) -> None:
        try:
            self._files.sync(self._handle, self.size)
        except OSError as error:  # some disks tell only now that there was no space
            if error.errno not in FULL or self._room is None or self._has_moved or self.size > self._room.size:
                raise
            try:
                self._move_into(self._room)
            except OSError as refused:
                raise error from refused  # a full disk has a remedy
            self._files.sync(self._handle, self.size)
        if self._has_moved and not self._is_as_written():
            raise OSError(errno.EIO, "the disk has forgotten what it took before it was full")
        self._handle.close()

    def _is_as_written(self) -> bool:
        self._handle.seek(0)
        found = hashlib.sha256()
        while block := self._handle.read(1 << 20):
            found.update(block)
        return found.hexdigest() == self.sha256

    def _rename(self, target: Path) -> None:
        self._files.rename(self.path, target)
        self.is_ready = True

    def trim(self) -> None:
        """Give back the room that was reserved beyond what has been written."""
        self._handle.truncate(self.size)

    def close(self) -> None:
        """Stop writing; the file stays what it is."""
        self._handle.close()

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing to discard: it is ready, and closed."""
        return self.is_ready and self._handle.closed

    def discard(self) -> None:
        """Forget the file, unless it is ready. One that the disk does not let go is dropped by the next start."""
        self._room = None
        with contextlib.suppress(OSError):
            self.close()
            if not self.is_ready:
                self._files.unlink(self.path)
