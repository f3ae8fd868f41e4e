"""The engine that works on this event loop: request, stream, decode, spool, check; fetch what is only pointed to."""

import contextlib
import errno
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from functools import partial

import anyio
from anyio import CapacityLimiter, to_thread

from batchbanana.engines.inbox import EXPECTED, EXPECTED_UNKNOWN, Inbox, Steps
from batchbanana.engines.landing import Landing, Permit
from batchbanana.engines.links import Fetcher
from batchbanana.engines.references import ReferenceChangedError, References, size, stream
from batchbanana.errors import DiskError
from batchbanana.providers import Choice, Link, Provider
from batchbanana.providers.errors import longest_hint
from batchbanana.spool import FULL, Linked, Spool
from batchbanana.task import Attempt, Billed, Delivery, Failure, FailureKind, Held, StoredImage
from batchbanana.together import Together, tried
from batchbanana.transport import Answer, End, Lane, Lanes, Sink

__all__ = ["EXPECTED", "EXPECTED_UNKNOWN", "LocalEngine", "LocalWorker"]

SYNCS = 8  # turns of syncing under way at once; more only queue in the kernel
CLOSING = 5.0  # seconds for room to be given back at the end: a disk that hangs must not keep a run, nor its report
STEPS = 2  # turns of making files, and of naming them, which wait for little but the file system's own journal
MOST_LINKED_EXTRAS = 8  # further images of one answer that are fetched; the others are passed over
EXTRAS_TIMEOUT = 60.0  # seconds for all of them together: the one that counts waits for them


class Disk:
    """What all workers want of the disk, each in a thread, and together where they want the same."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.threads = CapacityLimiter(SYNCS)
        # Each has lanes of its own: an image that is paid for must not wait while room is made for others.
        self.reserving: Steps = Together(partial(tried, _step), STEPS)
        self.naming: Steps = Together(partial(tried, _step), STEPS)
        self.keeping = Together(spool.keep_all, SYNCS)

    async def aclose(self) -> None:
        """Give back the room that was kept for images, and let the threads end."""
        for together in (self.reserving, self.naming, self.keeping):
            together.close()
        with anyio.move_on_after(CLOSING, shield=True):
            await to_thread.run_sync(self.spool.rooms.drop_idle, abandon_on_cancel=True)


def _step(step: Callable[[], None]) -> None:
    step()


class LocalEngine:
    """Makes images over HTTP in this process."""

    def __init__(self, provider: Provider, lanes: Lanes, spool: Spool) -> None:
        self._provider = provider
        self._lanes = lanes
        self._disk = Disk(spool)
        self._landing = Landing()
        self._references = References()
        self._fetcher = Fetcher(lanes.downloads(), spool, disk=self._disk.threads)

    def worker(self) -> "LocalWorker":
        """Make one more worker with a lane of its own."""
        return LocalWorker(
            self._provider,
            self._lanes.open(),
            disk=self._disk,
            permit=self._landing.permit(),
            references=self._references,
            fetcher=self._fetcher,
        )

    async def aclose(self) -> None:
        """Let go of what the workers shared, when none of them is at work any more."""
        await self._disk.aclose()


class LocalWorker:
    """One lane and what runs over it."""

    def __init__(
        self,
        provider: Provider,
        lane: Lane,
        *,
        disk: Disk,
        permit: Permit,
        references: References,
        fetcher: Fetcher,
    ) -> None:
        self._provider = provider
        self._lane = lane
        self._disk = disk
        self._permit = permit
        self._references = references
        self._fetcher = fetcher
        self._inbox: Inbox | None = None
        self._holds = False
        self._spent: Linked | None = None

    async def close(self) -> None:
        """Drop the connection."""
        await self._lane.close()

    async def settled(self) -> None:
        """Drop the note of an image that will never come: only now would a crash not make the next run buy it anew."""
        spent, self._spent = self._spent, None
        if spent is not None:
            with anyio.CancelScope(shield=True), contextlib.suppress(OSError):  # the next start drops it, too
                await to_thread.run_sync(self._disk.spool.forget, spent.path, limiter=self._disk.threads)

    @property
    def holds(self) -> bool:
        """Whether the last attempt has left an image or the note of one in the spool."""
        return self._holds

    async def prepare(self, attempt: Attempt) -> Failure | None:
        """Reserve disk space."""
        inbox = Inbox(self._disk.spool, attempt, self._provider.reader(), self._lane.secret)
        try:
            try:
                await self._disk.reserving.do(inbox.reserve)
            except OSError as error:
                if error.errno not in FULL:
                    raise
                self._disk.spool.rooms.make_way()
                await self._disk.reserving.do(inbox.reserve)
        except OSError as error:
            return _disk_failure(error, inbox)
        self._inbox = inbox
        return None

    async def abandon(self) -> None:
        """Give the space back."""
        inbox, self._inbox = self._inbox, None
        if inbox is None:
            return
        inbox.end()
        if inbox.has_leftovers:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(inbox.discard, limiter=self._disk.threads)
        inbox.leave()

    async def carry_out(self, attempt: Attempt, departs: Callable[[], None]) -> Delivery | Failure | Held:
        """Make one image; it is synced before this returns."""
        inbox = self._inbox
        assert inbox is not None  # noqa: S101 -- the runner prepares every attempt
        self._holds = False
        try:
            result = await self._exchange(attempt, inbox, departs)
            return self._without_key(result) if isinstance(result, Failure) else result
        except ReferenceChangedError as changed:  # the body was not complete, so nobody can have acted on it
            return Failure(kind=FailureKind.REFERENCE, message=str(changed), signature="reference")
        except OSError as error:
            return _disk_failure(error, inbox)
        finally:
            self._permit.give()
            await self.abandon()

    async def _exchange(self, attempt: Attempt, inbox: Inbox, departs: Callable[[], None]) -> Delivery | Failure | Held:
        request = self._provider.request(attempt)
        body = await self._references.load(request.body)
        started = anyio.current_time()
        answer = await self._lane.post(
            request.path,
            (*request.headers, ("content-length", str(size(body)))),
            lambda: _announced(stream(body), departs),
            attempt.rung,
            Sink(inbox.feed, inbox.in_image, partial(self._permit.take, inbox.is_whole)),
        )
        inbox.end()
        seconds = anyio.current_time() - started
        if inbox.disk_error is not None:
            raise inbox.disk_error
        is_empty = answer.end is End.WHOLE and not inbox.has_begun  # not a byte came: no image, and no timeout either
        if answer.status != 200 or is_empty:
            return self._failure(answer)
        verdict = inbox.judge(attempt)
        if isinstance(verdict, Failure):
            return _hinted(answer, verdict) if answer.end is End.WHOLE else _broken_off(answer, verdict)
        choice = self._told(verdict)
        try:
            return await self._bring_home(attempt, inbox, choice, seconds)
        except OSError as error:  # the answer is whole, so what it has cost is known, although it cannot be kept
            return replace(_disk_failure(error, inbox), billed=choice.billed, charge=choice.charge)

    async def _bring_home(
        self, attempt: Attempt, inbox: Inbox, choice: Choice, seconds: float
    ) -> Delivery | Failure | Held:
        """Make what an answer delivered durable. It is paid for: nothing may keep it from the disk."""
        if isinstance(choice.main, Link):
            self._permit.give()  # fetching takes its own time
            main = await self._fetch(attempt, inbox, choice.main.url, choice)
        else:
            main = await inbox.keep(choice.main, self._disk.naming, self._disk.keeping)
        if not isinstance(main, StoredImage):
            return main
        self._holds = True
        self._permit.give()  # before the extras, of which some may have to be fetched
        return Delivery(
            image=main,
            extras=tuple(await self._extras(attempt, inbox, choice.extras, main)),
            model_version=choice.model_version,
            billed=choice.billed,
            charge=choice.charge,
            seconds=seconds,
        )

    async def _fetch(self, attempt: Attempt, inbox: Inbox, url: str, choice: Choice) -> StoredImage | Failure | Held:
        with anyio.CancelScope(shield=True):
            with contextlib.suppress(OSError):  # on a full disk, its room is the note's; else it is no matter
                await to_thread.run_sync(inbox.trim, limiter=self._disk.threads)
            cost = attempt.rung.cost(choice.charge)
            note = await self._fetcher.note(attempt.id, url, choice.model_version, choice.billed, cost)
        if isinstance(note, Failure):
            return note
        self._holds = note.is_written
        result = await self._fetcher.bring(note, attempt.rung)
        if isinstance(result, Failure):
            self._spent = note
        if isinstance(result, Held) and not note.is_written:
            message = f"{result.reason}, and the disk does not take a note of where it is; look at the disk"
            return Failure(kind=FailureKind.DISK, message=message, billed=choice.billed, charge=choice.charge)
        return result

    async def _extras(
        self, attempt: Attempt, inbox: Inbox, extras: Sequence[int | Link], main: StoredImage
    ) -> list[StoredImage]:
        """Keep what else an answer delivered, each picture once; what cannot be kept must not cost the main image."""
        kept: dict[str, StoredImage] = {main.sha256: main}
        until = anyio.current_time() + EXTRAS_TIMEOUT
        fetched = 0
        with contextlib.suppress(OSError, DiskError):
            for rank, extra in enumerate(extras, 1):
                if isinstance(extra, Link):
                    fetched += 1
                    if fetched > MOST_LINKED_EXTRAS:
                        continue
                    image = await self._fetcher.bring_extra(extra.url, attempt, rank, kept, until)
                else:
                    with anyio.CancelScope(shield=True):
                        image = await to_thread.run_sync(
                            inbox.keep_extra, extra, rank, kept, limiter=self._disk.threads
                        )
                if image is not None:
                    kept[image.sha256] = image
        return list(kept.values())[1:]

    def _without_key(self, failure: Failure) -> Failure:
        hide = self._lane.secret.hide
        return replace(failure, message=hide(failure.message), signature=hide(failure.signature))

    def _told(self, choice: Choice) -> Choice:
        told = choice.model_version
        shown = told and self._lane.secret.hide(told)
        return choice if shown == told else replace(choice, model_version=shown)

    def _failure(self, answer: Answer) -> Failure:
        if answer.status is not None:
            return self._provider.failure(answer.status, answer.headers, self._lane.secret.cut_from(answer.body))
        kind, billed = UNANSWERED[answer.end]
        signature = answer.signature or answer.problem
        return Failure(kind=kind, message=_sentence(answer), billed=billed, signature=signature)


async def _announced(body: AsyncIterator[bytes], departs: Callable[[], None]) -> AsyncIterator[bytes]:
    """Tell when a request's body is asked for: by then the connection stands and the head has just gone out."""
    departs()
    async for piece in body:
        yield piece


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


def _hinted(answer: Answer, verdict: Failure) -> Failure:
    """Add the pause that the head of a 200 asks for, in whose body an error stands."""
    if verdict.kind not in {FailureKind.RATE_LIMITED, FailureKind.UNAVAILABLE}:
        return verdict
    return replace(verdict, hint=longest_hint(answer.headers, verdict.hint))


def _broken_off(answer: Answer, verdict: Failure) -> Failure:
    # The document did not end, so what its beginning seems to say is not an answer yet.
    if verdict.kind is FailureKind.TIMEOUT and answer.end is End.UNREADABLE:
        return Failure(
            kind=FailureKind.NO_IMAGE,
            message=f"{_sentence(answer)}; check `base_url` and the proxy if this goes on",
            billed=Billed.UNKNOWN,
            status=answer.status,
            signature=answer.problem,
        )
    if verdict.kind is FailureKind.TIMEOUT:
        return Failure(kind=FailureKind.TIMEOUT, message=_sentence(answer), billed=Billed.UNKNOWN, status=answer.status)
    return verdict


def _disk_failure(error: OSError, inbox: "Inbox") -> Failure:
    if error.errno in {errno.EMFILE, errno.ENFILE} and not inbox.has_begun:
        return Failure(kind=FailureKind.NOT_SENT, message="No file descriptor is free", signature="EMFILE")
    remedy = "make room and run again"
    if error.errno not in FULL:
        what = f"The job directory cannot be written ({error.strerror})"
    elif inbox.has_begun:
        what = "The disk is full"
    else:  # there may be much room, but not for one more of those on their way
        what = f"The disk is full: it cannot promise {inbox.expected >> 20} MB to each image that is on its way"
        remedy = "make room, or lower concurrency, and run again"
    billed = Billed.UNKNOWN if inbox.has_begun else Billed.NO
    return Failure(kind=FailureKind.DISK, message=f"{what}; {remedy}", billed=billed)
