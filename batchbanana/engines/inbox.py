"""Takes an answer's body apart: image bytes into the spool, the rest to the reader's judgement."""

import contextlib
from collections.abc import Callable, Container, Iterable
from functools import partial
from pathlib import Path

from batchbanana.errors import DiskError
from batchbanana.images import ImageError, Inspector
from batchbanana.providers import Choice, Event, ImageBytes, ImageEnded, ImageStarted, Reader, Received
from batchbanana.spool import Part, Room, Spool
from batchbanana.task import Attempt, Failure, StoredImage
from batchbanana.together import Together
from batchbanana.transport import Secret
from batchbanana.transport.secret import SHORTEST_SECRET

# Bytes reserved before anything is paid, about what large answers of each size take.
EXPECTED = {"512": 1 << 20, "1K": 3 << 20, "2K": 8 << 20, "4K": 24 << 20}
EXPECTED_UNKNOWN = 24 << 20
Steps = Together[Callable[[], None], None]  # small things, which wait for little but the file system itself
Keeping = Together[tuple[Part, int], tuple[Path, str]]  # parts with their ranks, to their paths and hashes


def fault_of(error: ImageError, secret: Secret) -> str:
    """Say why bytes are no picture; the few of them that it quotes may be the key's."""
    return secret.hide(str(error), run=SHORTEST_SECRET)


class Inbox:
    """Takes an answer's body apart: image bytes into the spool, the rest to the reader's judgement."""

    def __init__(self, spool: Spool, attempt: Attempt, reader: Reader, secret: Secret) -> None:
        self._spool = spool
        self._room: Room | None = None
        self._attempt = attempt
        self._reader = reader
        self._secret = secret
        self.expected = EXPECTED.get(attempt.rung.resolution, EXPECTED_UNKNOWN)
        self._parts: list[Part] = []
        self._inspectors: list[Inspector] = []
        self._faults: list[str | None] = []
        self._open = False
        self.has_begun = False
        self.disk_error: OSError | None = None

    def reserve(self) -> None:
        """Take room for a large image, and make the first file.

        Raises:
            OSError: the disk is full or failing.
        """
        self._room = self._spool.rooms.take(self._attempt.id, self.expected)
        try:
            self._begin_part()
        except BaseException:
            if self._room is not None:
                with contextlib.suppress(OSError):  # what kept the file from being made is told
                    self._room.discard()
            self.leave()
            raise

    def feed(self, data: bytes) -> bool:
        """Take the next bytes of the body; False when the document is complete or can no longer be kept."""
        self.has_begun = True
        try:
            self._take(self._reader.feed(data))
        except OSError as error:
            self.disk_error = error
        return not self.is_whole()

    def in_image(self) -> bool:
        """Whether image data is arriving."""
        return self._open

    def is_whole(self) -> bool:
        """Whether the document is complete, or can no longer be kept."""
        return self._reader.complete or self.disk_error is not None

    def judge(self, attempt: Attempt) -> Choice | Failure:
        """Ask the provider what the answer meant."""
        self._take(self._reader.finish())
        received = [self._received(index) for index in range(len(self._inspectors))]
        return self._reader.judge(attempt, received)

    def trim(self) -> None:
        """Let the disk have the room of an image that did not come, if it is not in use."""
        if self._room is not None and self._room.is_free:
            self._room.discard()
        else:
            self._parts[-1].trim()

    def end(self) -> None:
        """Say that nothing more comes."""
        for part in self._parts:
            part.is_open = False

    def leave(self) -> None:
        """Give the room on to another image, if this one did not need it and will not."""
        room, self._room = self._room, None
        if room is not None:
            self._spool.rooms.give(room)

    async def keep(self, index: int, steps: Steps, keeping: Keeping) -> StoredImage:
        """Make the image that counts durable.

        Args:
            index: of the image.
            steps: gives the part a name that the next run finds, before it waits for the disk.
            keeping: makes parts with their ranks durable.

        Raises:
            OSError: the image could not be kept.
            DiskError: it is in the spool, but the disk may not know; its attempt must stay open to be adopted.
        """
        part = self._parts[index]
        if not keeping.is_free:  # it may have to wait for a disk that is slow, or hangs
            with contextlib.suppress(OSError):  # `keeping` tries again, and tells
                await steps.do(partial(part.put_by, 0))
        try:
            return self._stored(index, await keeping.do((part, 0)))
        except OSError as error:
            if part.is_ready:
                raise DiskError(f"The spool cannot be synced ({error.strerror}); the image is adopted later") from error
            raise

    def keep_extra(self, index: int, rank: int, known: Container[str]) -> StoredImage | None:
        """Make a further image durable, unless its hash is known: the same picture twice is no deliverable more.

        Raises:
            OSError: it could not be kept.
        """
        part = self._parts[index]
        return None if part.sha256 in known else self._stored(index, part.keep(rank))

    @property
    def has_leftovers(self) -> bool:
        """Whether there is something to discard."""
        return not all(part.is_settled for part in self._parts)

    def discard(self) -> None:
        """Forget everything that was not kept."""
        for part in self._parts:
            part.discard()

    def _take(self, events: Iterable[Event]) -> None:
        for event in events:
            match event:
                case ImageStarted():
                    self._start()
                case ImageBytes(data):
                    self._parts[len(self._inspectors) - 1].write(data)
                    self._inspectors[-1].feed(data)
                case ImageEnded(fault):
                    self._open = False
                    self._faults[-1] = fault

    def _start(self) -> None:
        index = len(self._inspectors)
        if index == len(self._parts):  # what came before was a draft or a thought: the room it leaves is for this one
            self._parts[-1].trim()
            self._begin_part()
        self._inspectors.append(Inspector())
        self._faults.append(None)
        self._open = True

    def _begin_part(self) -> None:
        self._parts.append(self._spool.part(self._attempt.id, len(self._parts), room=self._room))

    def _received(self, index: int) -> Received:
        if (fault := self._faults[index]) is not None:
            return Received(picture=None, fault=fault)
        try:
            return Received(picture=self._inspectors[index].result(), fault=None)
        except ImageError as error:
            return Received(picture=None, fault=fault_of(error, self._secret))

    def _stored(self, index: int, kept: tuple[Path, str]) -> StoredImage:
        path, digest = kept
        picture = self._inspectors[index].result()
        return StoredImage(path=path, size=self._parts[index].size, sha256=digest, picture=picture)
