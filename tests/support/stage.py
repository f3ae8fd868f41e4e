"""A whole run without a process, a socket or real time, which can be killed at any moment and run again.

Runner, limits, ledger, spool, shelf and recovery are the real ones, on real files. Only the engine is a stand-in, since
it is the one seam to the outside: here it speaks to a service that is a function and that keeps its own bill.
"""

import asyncio
import errno
import os
import struct
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import anyio
from anyio import to_thread
from anyio.lowlevel import checkpoint
from PIL import Image

from batchbanana import together
from batchbanana.allowances import build_limits
from batchbanana.engines.links import Fetcher
from batchbanana.errors import BatchError, Exit
from batchbanana.feed import Feed, Selection, Work
from batchbanana.images import Inspector
from batchbanana.ledger import Caps, Fence, Ledger, Money, Store, explained
from batchbanana.ledger.fence import identity
from batchbanana.manifest import LimitSettings
from batchbanana.plan import Plan
from batchbanana.policy import Stop
from batchbanana.recovery import recover
from batchbanana.runner import Runner
from batchbanana.shelf import Shelf
from batchbanana.spool import FencedFiles, Part, Spool
from batchbanana.task import (
    Attempt,
    Billed,
    Charge,
    Delivery,
    Failure,
    FailureKind,
    Outcome,
    StoredImage,
    Task,
)
from batchbanana.transport import Downloads, Guard
from batchbanana.watchdog import Watchdog
from tests.support.clock import VirtualLoop
from tests.support.disk import Recorder

Result = TypeVar("Result")
EPOCH = 1_800_000_000.0  # unix seconds at virtual zero
FOREVER = 40 * 3600.0  # virtual seconds after which a run that should have ended is a hang


class PowerError(Exception):
    """The program is dead: nothing that it still tries reaches the disk."""


class Power:
    """Whether the program is alive."""

    def __init__(self, steps: int | None = None) -> None:
        self._left = steps
        self.is_on = True

    def check(self) -> None:
        """Come before each step that lasts: a file operation, or a commit."""
        if self._left is not None:
            self._left -= 1
            self.is_on = self.is_on and self._left >= 0
        if not self.is_on:
            raise PowerError


@dataclass(frozen=True, kw_only=True)
class Room:
    """What a disk that is filling up has left.

    Attributes:
        names: files and links that can still be made.
        pages: by which the ledger can still grow.
    """

    names: int
    pages: int


class MortalFiles(FencedFiles):
    """The real disk, which hears nothing more from a dead program, and which may fill up."""

    def __init__(self, power: Power, fence: Callable[[], None], room: Room | None) -> None:
        super().__init__(fence)
        self._power = power
        self._names = None if room is None else room.names

    def _take_room(self) -> None:
        if self._names is not None:
            self._names -= 1
            if self._names < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def create(self, path: Path, size: int) -> BinaryIO:
        self._power.check()
        self._take_room()
        return super().create(path, size)

    def sync(self, handle: BinaryIO, size: int) -> None:
        self._power.check()
        handle.truncate(size)  # a kill loses nothing of what the system has: syncing would only take time

    def sync_folder(self, path: Path) -> None:
        self._power.check()

    def rename(self, source: Path, target: Path) -> None:
        self._power.check()
        super().rename(source, target)

    def link(self, source: Path, target: Path) -> None:
        self._power.check()
        self._take_room()
        super().link(source, target)

    def unlink(self, path: Path) -> None:
        self._power.check()
        super().unlink(path)


class InlineLedger(Ledger):
    """The real ledger without its thread: each operation is a commit of its own."""

    def __init__(self, job: Path, store: Store, power: Power, stage: "Stage") -> None:
        super().__init__(job, store)
        self._power = power
        self._recorder = stage.recorder
        self._reading = stage.reading

    async def __aenter__(self) -> "InlineLedger":
        self._loop = asyncio.get_running_loop()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._power.is_on:
            self._finish()
        elif self._metadata._handle is not None:
            self._metadata._handle.close()
        self._store.close()

    async def do(self, operation: Callable[[Store], Result]) -> Result:
        if seconds := self._reading():
            await anyio.sleep(seconds)
        self._power.check()
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._commit([(operation, future)])
        if self._recorder is not None:
            self._recorder.commit(self._store._db.serialize())
        return await future


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What the service does with one request.

    Attributes:
        kind: None for an image.
        seconds: after which the answer is there; one that comes after the deadline is never seen.
        is_billed: whether it costs money, which the client may or may not be told.
        cost: micro-dollars that the answer tells; None for none.
    """

    kind: FailureKind | None = None
    seconds: float = 10.0
    is_billed: bool = True
    hint: float | None = None
    cost: int | None = None


@dataclass(kw_only=True)
class Service:
    """Answers, and keeps its own books.

    Attributes:
        answer: gives the reply to the n-th request, counted from 0.
        arrivals: when each came, in virtual seconds, with the task's key.
        bill: micro-dollars of all that it charges.
        whole: keys of tasks whose whole image a client has received.
    """

    answer: Callable[[int, Attempt], Reply]
    arrivals: list[tuple[float, str]] = field(default_factory=list)
    bill: int = 0
    whole: set[str] = field(default_factory=set)
    refused: dict[str, int] = field(default_factory=dict)  # keys of tasks, with the requests for each until then
    silent: Counter[str] = field(default_factory=Counter)  # requests that got no answer in time, by key
    troubled: Counter[str] = field(default_factory=Counter)  # requests with an answer that is to be asked again, by key
    again: list[str] = field(default_factory=list)  # asked for although a whole image had been received
    clock: Callable[[], float] = anyio.current_time

    def arrive(self, attempt: Attempt) -> Reply:
        reply = self.answer(len(self.arrivals), attempt)
        self.arrivals.append((anyio.current_time(), attempt.task.key))
        if attempt.task.key in self.whole:
            self.again.append(attempt.task.key)
        if reply.kind is FailureKind.REFUSED:
            self.refused[attempt.task.key] = sum(key == attempt.task.key for _, key in self.arrivals)
        is_silent = reply.seconds > attempt.rung.timeout
        self.silent[attempt.task.key] += is_silent
        self.troubled[attempt.task.key] += is_silent or reply.kind not in {None, FailureKind.REFUSED}
        if reply.is_billed:
            self.bill += (attempt.rung.price or 0) if reply.cost is None else reply.cost
        return reply


class StageWorker:
    """An engine's worker that speaks to the service."""

    def __init__(self, stage: "Stage", spool: Spool) -> None:
        self._stage = stage
        self._service = stage.service
        self._spool = spool
        self._part: Part | None = None
        self.holds = False

    async def prepare(self, attempt: Attempt) -> Failure | None:
        try:
            self._part = self._spool.part(attempt.id, 0)
        except OSError as error:
            return Failure(kind=FailureKind.DISK, message=str(error))
        return None

    async def abandon(self) -> None:
        part, self._part = self._part, None
        if part is not None:
            part.discard()

    async def carry_out(self, attempt: Attempt, departs: Callable[[], None]) -> Delivery | Failure:
        assert self._part is not None
        self.holds = False
        try:
            await anyio.sleep(self._stage.connecting())
            if self._stage.refuses():
                return Failure(kind=FailureKind.NOT_SENT, message="nobody answers there")
            departs()
            reply = self._service.arrive(attempt)
            if self._stage.swallows(attempt):
                self._stage.has_swallowed = True
                await anyio.sleep_forever()
            await anyio.sleep(min(reply.seconds, attempt.rung.timeout))
            if reply.seconds > attempt.rung.timeout:
                return Failure(kind=FailureKind.TIMEOUT, message="no answer in time", billed=Billed.UNKNOWN)
            if reply.kind is not None:
                return _failure(reply)
            return self._delivery(attempt, self._part, reply)
        finally:
            await self.abandon()

    def _delivery(self, attempt: Attempt, part: Part, reply: Reply) -> Delivery:
        data = picture(attempt.id)
        part.write(data)
        try:
            path, sha256 = part.keep(0)
        finally:
            self.holds = part.is_ready
            if self.holds:  # even if the program dies before it knows
                self._service.whole.add(attempt.task.key)
        inspector = Inspector()
        inspector.feed(data)
        image = StoredImage(path=path, size=len(data), sha256=sha256, picture=inspector.result())
        charge = Charge(micro_usd=reply.cost)
        billed = Billed.YES if reply.is_billed else Billed.NO
        return Delivery(image=image, extras=(), model_version=None, billed=billed, charge=charge, seconds=reply.seconds)

    async def settled(self) -> None:
        """There are no notes here."""

    async def close(self) -> None:
        """There is no lane here."""


def _failure(reply: Reply) -> Failure:
    assert reply.kind is not None
    silent = reply.kind is FailureKind.TIMEOUT
    billed = Billed.UNKNOWN if silent else Billed.YES if reply.is_billed else Billed.NO
    charge = Charge(micro_usd=reply.cost)
    return Failure(kind=reply.kind, message="as scripted", billed=billed, hint=reply.hint, charge=charge)


@cache
def _plain() -> bytes:
    held = BytesIO()
    Image.new("RGB", (1024, 1024), "yellow").save(held, "PNG")
    return held.getvalue()


def picture(number: int) -> bytes:
    """Make a whole PNG of 1024 x 1024 that is unlike any other."""
    text = b"tEXt" + f"Comment\0attempt {number}".encode()
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    return _plain()[:-12] + chunk + _plain()[-12:]


@dataclass(kw_only=True)
class Log:
    """Where a run speaks to people."""

    lines: list[str] = field(default_factory=list)

    def ended(self, work: Work, outcome: Outcome, reason: str) -> None:
        self.lines.append(f"{outcome} {work.task.name} {reason}")

    def failed(self, work: Work, failure: Failure, wait: float | None) -> None:
        self.lines.append(f"{failure.kind} {work.task.name} {wait}")

    def stopping(self, stop: Stop) -> None:
        self.lines.append(stop.reason)

    def warn(self, message: str) -> None:
        self.lines.append(message)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a run ended that was not killed."""

    stopped: Stop | None
    trouble: Stop | None
    counts: dict[str, int]
    is_worked_off: bool
    money: Money
    log: list[str]

    @property
    def lacks_room(self) -> bool:
        """Whether it ended for want of room on the disk; then what it could not put in its place waits in the spool."""
        return any(stop is not None and stop.exit_code is Exit.DISK for stop in (self.stopped, self.trouble))


@dataclass(frozen=True, kw_only=True)
class Events:
    """What befalls a run, in seconds after its start where it is a number; see `Stage.run`."""

    stop: float | None = None
    cancel: float | None = None
    taken: float | None = None
    room: Room | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """A task where the plan expects one that is still to be made."""

    made: Task

    @property
    def key(self) -> str:
        return self.made.key

    def task(self) -> Task:
        return self.made


class Stage:
    """One job directory and the service; runs follow one another on one clock."""

    def __init__(
        self,
        folder: Path,
        service: Service,
        tasks: Sequence[Task],
        *,
        limits: LimitSettings,
        caps: Caps,
        is_patient: bool = False,
    ) -> None:
        self.folder = folder
        self.service = service
        self.tasks = tasks
        self.limits = limits
        self.caps = caps
        self.connecting: Callable[[], float] = lambda: 0.0  # seconds
        self.refuses: Callable[[], bool] = lambda: False
        self.swallows: Callable[[Attempt], bool] = lambda _: (
            False
        )  # whether an attempt never comes back: a fault of ours
        self.has_swallowed = False
        self.reading: Callable[[], float] = lambda: 0.0  # seconds that the ledger takes for each thing
        self.is_watched = is_patient  # nobody else waits for longer than the watchdog allows without a word
        self.is_patient = is_patient
        self.clock_is_off = 0.0  # seconds by which the time of day has been set
        self.recorder: Recorder | None = None  # of what is asked of the disk
        self.now = 1000.0
        self.when_taken: dict[Path, tuple[int, int]] = {}  # the files as they were when another run took over

    def run(
        self,
        *,
        kill_after: float | None = None,
        kill_at: int | None = None,
        stop_after: float | None = None,
        cancel_after: float | None = None,
        taken_after: float | None = None,
        room: Room | None = None,
    ) -> Ended | None:
        """Run once; None when it was killed.

        Args:
            kill_after: so many virtual seconds after its start.
            kill_at: before the step that lasts with this number, counted from 0.
            stop_after: seconds after which the run is told to stop, as by a signal.
            cancel_after: seconds after which it is told twice, so that what is in flight is given up.
            taken_after: seconds after which another run takes over its job.
            room: what the disk has left; None for enough.

        Raises:
            BatchError: the ledger broke, or nothing could be begun.
        """
        power = Power(kill_at)
        events = Events(stop=stop_after, cancel=cancel_after, taken=taken_after, room=room)
        with _threadless():
            loop = VirtualLoop(self.now)
            try:
                with _wall(loop, self), self.recorder.watching() if self.recorder else nullcontext():
                    return loop.run_until_complete(self._until_dead(power, kill_after, events))
            finally:
                self.now = loop.time()
                loop.close()

    async def _until_dead(self, power: Power, kill_after: float | None, events: Events) -> Ended | None:
        ended: list[Ended | BatchError] = []

        async def work(scope: anyio.CancelScope) -> None:
            try:
                ended.append(await self._work(power, events))
            except BatchError as error:
                ended.append(error)
            except Exception:
                if power.is_on:
                    raise
            scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(work, group.cancel_scope)
            await anyio.sleep(FOREVER if kill_after is None else kill_after)
            power.is_on = kill_after is None  # from now on nothing that a dead program does counts
            group.cancel_scope.cancel()
        if not power.is_on:
            return None
        assert ended, "the run never ended"
        if isinstance(ended[0], BatchError):
            raise ended[0]
        return ended[0]

    async def _work(self, power: Power, events: Events) -> Ended:
        path = self.folder / ".batchbanana" / "ledger.db"
        path.parent.mkdir(exist_ok=True)
        store = Store.open(path, self.caps)
        store.execute("PRAGMA synchronous = OFF")  # the kills here are of a program, which loses nothing by that
        with explained(), closing(store):
            if events.room is not None:
                [(pages,)] = store._db.execute("PRAGMA page_count")
                store.execute(f"PRAGMA max_page_count = {pages + events.room.pages}")
            self._lock.touch()
            fence = Fence(path, self._lock, identity(self._lock), store.start_run(("0" * 64, "job.yaml", "")))
            spool = Spool(self.folder, self.recorder or MortalFiles(power, fence.check, events.room))
            spool.open()
            async with InlineLedger(self.folder, store, power, self) as ledger:
                ended = await self._run(ledger, spool, events)
            if ledger.broken is not None and power.is_on:
                raise ledger.broken
        return ended

    @property
    def _lock(self) -> Path:
        return self.folder / ".batchbanana" / "lock"

    async def _run(self, ledger: Ledger, spool: Spool, events: Events) -> Ended:
        log = Log()
        shelf = Shelf(spool, ledger)
        await recover(ledger, spool, shelf, Fetcher(Downloads(Guard("http://127.0.0.1:9")), spool))
        feed = Feed(Plan(map(Ready, self.tasks), ledger, self.folder), Selection())
        runner = Runner(
            feed=feed,
            engine=StageEngine(self, spool),
            limits=await build_limits(self.limits, ledger, (), is_patient=self.is_patient),
            ledger=ledger,
            shelf=shelf,
            watcher=log,
            next_attempt=await ledger.do(lambda store: store.next_attempt()),
            models=len({task.model for task in self.tasks}),
            is_same_model=lambda one, other: one == other,
            waits_for_quota=self.is_patient,
            chance=lambda: 0.5,
        )
        async with anyio.create_task_group() as group:
            group.start_soon(self._befall, runner, events)
            if self.is_watched:
                group.start_soon(Watchdog(lambda: runner).watch)
            await runner.run(self.limits.concurrency)
            group.cancel_scope.cancel()
        with suppress(BatchError):  # as a session does at its end
            await shelf.tidy()
        is_hung = runner.stopped is not None and runner.stopped.exit_code is Exit.WATCHDOG
        assert not is_hung or self.has_swallowed, "every wait here is known"
        if ledger.broken is None:
            await feed.count_rest()
        counts = {str(outcome): feed.tally.count(outcome) for outcome in Outcome}
        counts["pending"] = feed.tally.count(None)
        return Ended(
            stopped=runner.stopped,
            trouble=runner.trouble,
            counts=counts,
            is_worked_off=feed.is_worked_off,
            money=ledger.money,
            log=log.lines,
        )

    async def _befall(self, runner: Runner, events: Events) -> None:
        """Let happen what is to happen, each at its time."""
        deeds: list[tuple[float | None, Callable[[], None]]] = [
            (events.stop, lambda: runner.stop(Stop(exit_code=Exit.PAUSED, reason="the time is up"))),
            (events.cancel, runner.cancel),
            (events.taken, self._take_over),
        ]
        began = anyio.current_time()
        for after, deed in sorted(((after, deed) for after, deed in deeds if after is not None), key=lambda it: it[0]):
            await anyio.sleep(began + after - anyio.current_time())
            deed()

    def _take_over(self) -> None:
        """Begin another run, as when somebody has removed the lock of one that sleeps, and let it do nothing."""
        self._lock.rename(self._lock.with_name("lock.removed"))
        self._lock.touch()
        with closing(Store.open(self.folder / ".batchbanana" / "ledger.db", self.caps)) as store:
            store.start_run(("1" * 64, "job.yaml", ""))
        self.when_taken = self.files()

    def files(self) -> dict[Path, tuple[int, int]]:
        """Give size and age of all in the job directory but the ledger, and what only its writer has a handle of."""
        every = (path for path in self.folder.rglob("*") if path.suffix not in {".db", ".db-wal", ".db-shm", ".part"})
        return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in every if path.is_file()}


class StageEngine:
    """Makes workers that speak to the service."""

    def __init__(self, stage: Stage, spool: Spool) -> None:
        self._make = partial(StageWorker, stage, spool)

    def worker(self) -> StageWorker:
        return self._make()


class Inline(Executor):
    """Threads that are none."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> "Future[Result]":
        done: Future[Result] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


@contextmanager
def _threadless() -> Iterator[None]:
    """Carry out on the loop what would be done in threads, since a virtual clock cannot wait for them."""

    async def inline(function: Callable[..., Any], *args: Any, **_: Any) -> Any:
        await checkpoint()
        return function(*args)

    places: tuple[tuple[dict[str, Any], str, object], ...] = (
        (vars(to_thread), "run_sync", inline),
        (vars(together), "ThreadPoolExecutor", Inline),
    )
    true = [module[name] for module, name, _ in places]
    try:
        for module, name, instead in places:
            module[name] = instead
        yield
    finally:
        for (module, name, _), was in zip(places, true, strict=True):
            module[name] = was


@contextmanager
def _wall(loop: VirtualLoop, stage: Stage) -> Iterator[None]:
    """Let the time of day follow the virtual clock, unless somebody sets it."""
    true = time.time
    time.time = lambda: EPOCH + loop.time() + stage.clock_is_off
    try:
        yield
    finally:
        time.time = true
