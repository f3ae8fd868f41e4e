"""The engine that works on this event loop: request, stream, decode, spool, check."""

import contextlib
import errno
from collections.abc import Iterable
from dataclasses import replace

import anyio
from anyio import CapacityLimiter, to_thread

from batchbanana.engines.references import ReferenceChangedError, References, size, stream
from batchbanana.errors import DiskError
from batchbanana.images import ImageError, Inspector
from batchbanana.providers import Choice, Event, ImageBytes, ImageEnded, ImageStarted, Provider, Reader, Received
from batchbanana.spool import FULL, Part, Spool
from batchbanana.task import (
    Attempt,
    Billed,
    Delivery,
    Failure,
    FailureKind,
    StoredImage,
)
from batchbanana.transport import Answer, End, Lane, Lanes, Sink

DISK_THREADS = 16  # syncs under way at once; more only queue in the kernel

# Bytes reserved before anything is paid, about what large answers of each size take. Cut to the true size afterwards.
EXPECTED = {"512": 1 << 20, "1K": 3 << 20, "2K": 8 << 20, "4K": 24 << 20}
EXPECTED_UNKNOWN = 24 << 20


class LocalEngine:
    """Makes images over HTTP in this process."""

    def __init__(self, provider: Provider, lanes: Lanes, spool: Spool) -> None:
        self._provider = provider
        self._lanes = lanes
        self._spool = spool
        self._disk = CapacityLimiter(DISK_THREADS)
        self._references = References()

    def worker(self) -> "LocalWorker":
        """Make one more worker with a lane of its own."""
        return LocalWorker(self._provider, self._lanes.open(), self._spool, self._disk, self._references)


class LocalWorker:
    """One lane and what runs over it."""

    def __init__(
        self, provider: Provider, lane: Lane, spool: Spool, disk: CapacityLimiter, references: References
    ) -> None:
        self._provider = provider
        self._lane = lane
        self._references = references
        self._inbox: _Inbox | None = None
        self._spool = spool
        self._disk = disk

    async def close(self) -> None:
        """Drop the connection."""
        await self._lane.close()

    @property
    def holds(self) -> bool:
        """Whether the last attempt has left something paid for in the spool."""
        return False

    async def prepare(self, attempt: Attempt) -> Failure | None:
        """Reserve disk space."""
        inbox = _Inbox(self._spool, attempt, self._provider.reader())
        try:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(inbox.reserve, limiter=self._disk)
        except OSError as error:
            return _disk_failure(error, inbox)
        self._inbox = inbox
        return None

    async def abandon(self) -> None:
        """Give the space back."""
        inbox, self._inbox = self._inbox, None
        if inbox is not None:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(inbox.discard, limiter=self._disk)

    async def carry_out(self, attempt: Attempt) -> Delivery | Failure:
        """Make one image; it is synced before this returns."""
        inbox = self._inbox
        assert inbox is not None  # noqa: S101 -- the runner prepares every attempt
        try:
            return self._without_key(await self._exchange(attempt, inbox))
        except ReferenceChangedError as changed:  # the body was not complete, so nobody can have acted on it
            return Failure(kind=FailureKind.REFERENCE, message=str(changed), signature="reference")
        except OSError as error:
            return _disk_failure(error, inbox)
        finally:
            await self.abandon()

    async def _exchange(self, attempt: Attempt, inbox: "_Inbox") -> Delivery | Failure:
        request = self._provider.request(attempt)
        await self._references.check(request.body)
        started = anyio.current_time()
        answer = await self._lane.post(
            request.path,
            (*request.headers, ("content-length", str(size(request.body)))),
            lambda: stream(request.body),
            attempt.rung,
            Sink(inbox.feed, inbox.in_image),
        )
        seconds = anyio.current_time() - started
        if inbox.disk_error is not None:
            raise inbox.disk_error
        if answer.status != 200:
            return self._failure(answer)
        verdict = inbox.judge(attempt)
        if isinstance(verdict, Failure):
            return verdict if answer.end is End.WHOLE else _broken_off(answer, verdict)
        # From here the image is whole and paid for: nothing may keep it from the disk.
        with anyio.CancelScope(shield=True):
            images = await to_thread.run_sync(inbox.keep, verdict, limiter=self._disk)
        return Delivery(
            image=images[0],
            extras=tuple(images[1:]),
            model_version=verdict.model_version,
            billed=verdict.billed,
            seconds=seconds,
        )

    def _without_key(self, result: Delivery | Failure) -> Delivery | Failure:
        if isinstance(result, Failure):
            return replace(result, message=self._lane.hide(result.message), signature=self._lane.hide(result.signature))
        told = result.model_version
        return replace(result, model_version=told and told.replace(self._lane.key, "[key]"))

    def _failure(self, answer: Answer) -> Failure:
        if answer.status is not None:
            body = answer.body.replace(self._lane.key.encode(), b"[key]")  # before anything is cut or quoted
            return self._provider.failure(answer.status, answer.headers, body)
        kind, billed = UNANSWERED[answer.end]
        signature = answer.signature or answer.problem
        return Failure(kind=kind, message=_sentence(answer), billed=billed, signature=signature)


UNANSWERED = {
    End.UNSENT: (FailureKind.NOT_SENT, Billed.NO),
    End.TLS: (FailureKind.FATAL, Billed.NO),
    End.REFUSED_HERE: (FailureKind.INTERNAL, Billed.NO),
    End.BROKEN: (FailureKind.TIMEOUT, Billed.UNKNOWN),
    End.LATE: (FailureKind.TIMEOUT, Billed.UNKNOWN),
    End.WHOLE: (FailureKind.TIMEOUT, Billed.UNKNOWN),
}


def _sentence(answer: Answer) -> str:
    remedy = "; check base_url, or set SSL_CERT_FILE to your network's CA file" if answer.end is End.TLS else ""
    return f"{answer.problem[:1].upper()}{answer.problem[1:]}{remedy}"


def _broken_off(answer: Answer, verdict: Failure) -> Failure:
    # The document did not end, so what its beginning seems to say is not an answer yet.
    if verdict.kind is FailureKind.TIMEOUT:
        return Failure(kind=FailureKind.TIMEOUT, message=_sentence(answer), billed=Billed.UNKNOWN, status=answer.status)
    return verdict


def _disk_failure(error: OSError, inbox: "_Inbox") -> Failure:
    if error.errno in {errno.EMFILE, errno.ENFILE} and not inbox.has_begun:
        return Failure(kind=FailureKind.NOT_SENT, message="No file descriptor is free", signature="EMFILE")
    full = error.errno in FULL
    what = "The disk is full" if full else f"The job directory cannot be written ({error.strerror})"
    billed = Billed.UNKNOWN if inbox.has_begun else Billed.NO
    return Failure(kind=FailureKind.DISK, message=f"{what}; make room and run again", billed=billed)


class _Inbox:
    """Takes an answer's body apart: image bytes into the spool, the rest to the reader's judgement."""

    def __init__(self, spool: Spool, attempt: Attempt, reader: Reader) -> None:
        self._spool = spool
        self._attempt = attempt
        self._reader = reader
        self._expected = EXPECTED.get(attempt.rung.resolution, EXPECTED_UNKNOWN)
        self._parts: list[Part] = []
        self._inspectors: list[Inspector] = []
        self._faults: list[str | None] = []
        self._open = False
        self.has_begun = False
        self.disk_error: OSError | None = None

    def reserve(self) -> None:
        """Make the first file with room for a large image."""
        self._parts.append(self._spool.part(self._attempt.id, 0, self._expected))

    def feed(self, data: bytes) -> bool:
        """Take the next bytes of the body; False when the document is complete or can no longer be kept."""
        self.has_begun = True
        try:
            self._take(self._reader.feed(data))
        except OSError as error:
            self.disk_error = error
            return False
        return not self._reader.complete

    def in_image(self) -> bool:
        """Whether image data is arriving."""
        return self._open

    def judge(self, attempt: Attempt) -> Choice | Failure:
        """Ask the provider what the answer meant."""
        self._take(self._reader.finish())
        received = [self._received(index) for index in range(len(self._inspectors))]
        return self._reader.judge(attempt, received)

    def keep(self, choice: Choice) -> list[StoredImage]:
        """Make the chosen images durable, the one that counts first.

        Raises:
            OSError: the image could not be kept.
            DiskError: it is ready in the spool, but the disk may not know; its attempt must stay open to be adopted.
        """
        try:
            images = [self._store(choice.main, 0)]
        except OSError as error:
            if self._parts[choice.main].is_ready:
                raise DiskError(f"The spool cannot be synced ({error.strerror}); the image is adopted later") from error
            raise
        with contextlib.suppress(OSError):  # an extra that cannot be kept must not cost the image that counts
            images += [self._store(index, rank) for rank, index in enumerate(choice.extras, 1)]
        return images

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
            self._parts.append(self._spool.part(self._attempt.id, index))
        self._inspectors.append(Inspector())
        self._faults.append(None)
        self._open = True

    def _received(self, index: int) -> Received:
        if (fault := self._faults[index]) is not None:
            return Received(picture=None, fault=fault)
        try:
            return Received(picture=self._inspectors[index].result(), fault=None)
        except ImageError as error:
            return Received(picture=None, fault=str(error))

    def _store(self, index: int, rank: int) -> StoredImage:
        part = self._parts[index]
        path, digest = part.keep(rank)
        return StoredImage(path=path, size=part.size, sha256=digest, picture=self._inspectors[index].result())
