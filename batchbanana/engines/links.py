"""The second phase: an image that an answer only points to is fetched, and no trouble with that buys it again.

Where the image is to be had is written down before anything is asked, so that a kill loses nothing: the next run
fetches it. The note goes when the image is ready in the spool.
"""

import contextlib
import errno
import random
from collections.abc import Callable, Container
from functools import partial
from typing import TypeVar
from urllib.parse import urlsplit

import anyio
from anyio import CapacityLimiter, to_thread

from batchbanana.engines.inbox import EXPECTED, EXPECTED_UNKNOWN, fault_of
from batchbanana.engines.tries import TRIES, Rest, Sign, Trial, decide, read
from batchbanana.errors import DiskError
from batchbanana.images import ImageError, Inspector
from batchbanana.spool import FULL, Linked, Part, Spool
from batchbanana.task import Attempt, Billed, Failure, FailureKind, Held, Rung, StoredImage
from batchbanana.transport import Answer, Downloads, RefusedError, Secret, Sink

IMAGE_LIMIT = 128 * 1024 * 1024  # bytes, as for images within answers
FIRST_PART = 1000  # number of a download's file; those within answers count from 0
ROOM = 120.0  # seconds that the tries for an image have together at least, whatever its rung's timeout
FETCH_THREADS = 8  # syncs under way at once, where nobody else bounds them
NO_DESCRIPTOR = {errno.EMFILE, errno.ENFILE}
Result = TypeVar("Result")


class Fetcher:
    """Brings images home from the addresses that answers gave.

    Args:
        disk: bounds the syncs that are under way at once.
        limit: bytes of one image.
        chance: gives a number from 0 to 1 for the jitter.
        room: seconds that the tries for an image have together at least.
    """

    def __init__(
        self,
        downloads: Downloads,
        spool: Spool,
        *,
        disk: CapacityLimiter | None = None,
        limit: int = IMAGE_LIMIT,
        chance: Callable[[], float] = random.random,
        room: float = ROOM,
    ) -> None:
        self._downloads = downloads
        self._spool = spool
        self._disk = disk or CapacityLimiter(FETCH_THREADS)
        self._limit = limit
        self._chance = chance
        self._room = room

    async def note(
        self, attempt: int, url: str, model_version: str | None, billed: Billed, cost: int | None = None
    ) -> Linked | Failure:
        """Write down where the image that counts is, before anything is asked; run it shielded from cancellation.

        Returns:
            The note, perhaps one that the disk would not take: the image is then to be had only now. Or a failure
            for an address that must never be asked, which is not written down: it may hold the key.

        Raises:
            DiskError: as `Spool.note` does.
        """
        try:
            url = self._downloads.check(url)
        except RefusedError as refused:
            return self._lost(url, billed, Trial(sign=Sign.FINAL, reason=str(refused)))
        facts = (attempt, url, model_version, billed, cost)
        try:
            return await self._on_disk(partial(self._spool.note, *facts))
        except OSError:
            return self._spool.unwritten(*facts)

    async def bring(self, note: Linked, rung: Rung, tries: int = TRIES) -> StoredImage | Failure | Held:
        """Fetch the image that counts, with tries of its own.

        Args:
            note: where it is; it is gone when the image is ready, else it stays.
            rung: its timeout and stall bound each try, and its timeout all of them, unless there is more room.
            tries: at most so many.

        Returns:
            The image, synced; a failure when it will never come; or held when a later run may bring it.

        Raises:
            DiskError: it cannot be kept now; the note stays.
        """
        try:
            self._downloads.check(note.url)
        except RefusedError:  # it was allowed when it was written down, by the base URL of that run
            return Held(
                reason=f"{self._where(note.url)} may not be asked with this base_url; run with the one of that run"
            )
        with anyio.move_on_after(max(rung.timeout, self._room)):
            return await self._bring(note, rung, tries)
        return self._held(note.url, "it takes too long")

    async def _bring(self, note: Linked, rung: Rung, tries: int) -> StoredImage | Failure | Held:
        trials: list[Trial] = []
        while True:
            result = await self._try(note.url, note.attempt, 0, rung)
            if isinstance(result, StoredImage):
                await self._forget(note)
                return result
            trials.append(result)
            step = decide(trials, tries)
            if step is Rest.LOST:
                return self._lost(note.url, note.billed, result)
            if step is Rest.HELD:
                return self._held(note.url, result.reason)
            await anyio.sleep(step.floor + step.spread * self._chance())

    async def bring_extra(
        self, url: str, attempt: Attempt, rank: int, known: Container[str], until: float
    ) -> StoredImage | None:
        """Fetch a further image in one try; None when that brings none, or one whose hash is known.

        Args:
            url: as the server wrote it.
            attempt: whose answer named it.
            rank: its number among the further images, from 1.
            known: hashes of images that are there already.
            until: when to give up, by the event loop's clock.

        Raises:
            DiskError: it cannot be kept now.
        """
        with anyio.CancelScope(deadline=until):
            result = await self._try(url, attempt.id, rank, attempt.rung, known)
            return result if isinstance(result, StoredImage) else None
        return None

    async def _try(
        self, url: str, attempt: int, rank: int, rung: Rung, known: Container[str] = ()
    ) -> StoredImage | Trial:
        landing = _Arrival(self._spool, attempt, rank, self._limit, self._downloads.secret)
        expected = EXPECTED.get(rung.resolution, EXPECTED_UNKNOWN) if rank == 0 else 0
        try:
            with anyio.CancelScope(shield=True):
                await self._on_disk(partial(landing.open, expected))
            answer = await self._downloads.fetch(url, rung, Sink(landing.feed, lambda: True))
            with anyio.CancelScope(shield=True):
                result = await to_thread.run_sync(landing.judge, answer, known, limiter=self._disk)
        except OSError as error:
            if error.errno in NO_DESCRIPTOR:
                return Trial(sign=Sign.PASSING, reason="no file descriptor is free")
            raise DiskError(
                f"An image that is paid for cannot be written ({error.strerror}); make room and run again to fetch it"
            ) from error
        else:
            return result
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(landing.discard, limiter=self._disk)

    async def _on_disk(self, step: Callable[[], Result]) -> Result:
        """Do something in a thread; where the disk is full, once more when images on their way have made room."""
        try:
            return await to_thread.run_sync(step, limiter=self._disk)
        except OSError as error:
            if error.errno not in FULL:
                raise
        self._spool.rooms.make_way()
        return await to_thread.run_sync(step, limiter=self._disk)

    async def _forget(self, note: Linked) -> None:
        with anyio.CancelScope(shield=True), contextlib.suppress(OSError):  # then the next start drops it
            await to_thread.run_sync(self._spool.forget, note.path, limiter=self._disk)

    def _held(self, url: str, reason: str) -> Held:
        return Held(reason=f"{self._where(url)} does not give an image that is paid for ({reason})")

    def _lost(self, url: str, billed: Billed, trial: Trial) -> Failure:
        where = self._where(url)
        message = f"{where} never gives the image that was made ({trial.reason}); --retry failed buys it again"
        return Failure(kind=FailureKind.DOWNLOAD, message=message, billed=billed, signature=trial.sign.name)

    def _where(self, url: str) -> str:
        """Name an address's host alone: what follows it may hold a signature, and all of it the key."""
        try:
            host = urlsplit(url).hostname
        except ValueError:
            host = None
        if self._downloads.secret.hide(url) != url:
            host = None
        shown = "".join(char for char in host or "" if char.isprintable())[:100]
        return shown or "The address in the answer"


class _Arrival:
    """Takes a download's bytes into a part of the spool."""

    def __init__(self, spool: Spool, attempt: int, rank: int, limit: int, secret: Secret) -> None:
        self._spool = spool
        self._attempt = attempt
        self._rank = rank
        self._limit = limit
        self._secret = secret
        self._part: Part | None = None
        self._inspector = Inspector()
        self._error: OSError | None = None
        self._is_too_large = False

    def open(self, expected: int) -> None:
        """Make the file with room for an image."""
        self._part = self._spool.part(self._attempt, FIRST_PART + self._rank, expected)

    def feed(self, data: bytes) -> bool:
        """Take the next bytes; False when no more are wanted."""
        part = self._opened
        if part.size + len(data) > self._limit:
            self._is_too_large = True
            return False
        try:
            part.write(data)
        except OSError as error:
            self._error = error
            return False
        self._inspector.feed(data)
        return True

    def judge(self, answer: Answer, known: Container[str]) -> StoredImage | Trial:
        """Make a whole image durable whose hash is not known, or say why there is none.

        Raises:
            OSError: what the disk said.
        """
        if self._error is not None:
            raise self._error
        if self._is_too_large:
            return Trial(sign=Sign.FINAL, reason=f"it is larger than {self._limit >> 20} MiB")
        if answer.status != 200:
            return read(answer, "")
        try:
            picture = self._inspector.result()
        except ImageError as error:
            return read(answer, fault_of(error, self._secret))
        if self._opened.sha256 in known:
            return Trial(sign=Sign.FINAL, reason="it is the same image again")
        path, digest = self._opened.keep(self._rank)
        return StoredImage(path=path, size=self._opened.size, sha256=digest, picture=picture)

    def discard(self) -> None:
        """Forget the file, unless it was kept."""
        if self._part is not None:
            self._part.discard()

    @property
    def _opened(self) -> Part:
        assert self._part is not None  # noqa: S101 -- for the type checker: it is opened first
        return self._part
