"""The worker pool and the order of effects. Decides nothing: the policy does.

For each task: leave of the limits, a durable row with its money, the engine, then either the shelf or what the policy
says. Stopping means: hand out nothing more, let what is in flight finish, because it is paid for.
"""

import random
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

import anyio
from anyio.lowlevel import checkpoint

from batchbanana.engines import Engine, Worker
from batchbanana.errors import BatchError, DiskError, Exit
from batchbanana.feed import Feed, Work, after_attempt
from batchbanana.grants import Granted, Grants
from batchbanana.ledger import Known, Ledger
from batchbanana.limits import LONG_WAIT, OUTAGE_LIMIT, Limits, Pause, until_quota, wall_clock
from batchbanana.policy import (
    GiveUp,
    Retry,
    SetModelAside,
    Stop,
    Streaks,
    decide,
    differs_for_good,
    remember,
    rung_of,
    verdict,
)
from batchbanana.record import span
from batchbanana.settling import cost_of, differed, ending, parcel, settlement
from batchbanana.shelf import ConflictError, Shelf
from batchbanana.task import Attempt, Billed, Delivery, Failure, FailureKind, Held, Outcome

OUTAGE_REST = 3600.0  # seconds after which it is worth to look whether a long outage is over
MOST_PARKED = 10_000  # tasks that wait for a model while others go on; about a kilobyte each
NEVER_SENT = {FailureKind.NOT_SENT, FailureKind.REFERENCE}  # such an attempt was no request
INTERRUPTED = Failure(kind=FailureKind.TIMEOUT, message="given up when the run was interrupted", billed=Billed.UNKNOWN)
UNSENT = Failure(kind=FailureKind.NOT_SENT, message="given up before a byte of it had left", billed=Billed.NO)
MOST_CONFLICTS = 3  # one foreign file under a final name is odd; more of them may be a job that is already made


class Watcher(Protocol):
    """Is told what happens, for the bar and the log."""

    def ended(self, work: Work, outcome: Outcome, reason: str) -> None:
        """A task has its outcome."""
        ...

    def failed(self, work: Work, failure: Failure, wait: float | None) -> None:
        """An attempt failed and will be made again after `wait` seconds, or, None, not in this run."""
        ...

    def stopping(self, stop: Stop) -> None:
        """The run begins to stop."""
        ...

    def warn(self, message: str) -> None:
        """Something a person should know, once."""
        ...


class Runner:
    """Makes all the work that the feed hands out.

    Args:
        next_attempt: the first attempt id that is free.
        models: how many the plan has.
        is_same_model: whether a model that was asked for and one that answers are the same under two names.
        waits_for_quota: whether a pause until the quota is there again is waited for, instead of ending the run.
        chance: gives a number from 0 to 1 for the jitter.
    """

    def __init__(  # noqa: PLR0913 -- the places where a run's effects go, each its own
        self,
        *,
        feed: Feed,
        engine: Engine,
        limits: Limits,
        ledger: Ledger,
        shelf: Shelf,
        watcher: Watcher,
        next_attempt: int,
        models: int,
        is_same_model: Callable[[str, str], bool],
        waits_for_quota: bool = False,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._feed = feed
        self._engine = engine
        self._limits = limits
        self._ledger = ledger
        self._shelf = shelf
        self._watcher = watcher
        self._grants = Grants(limits, ledger, next_attempt, self.stop)
        self._models = models
        self._is_same_model = is_same_model
        self._waits_for_quota = waits_for_quota
        self._chance = chance
        self._streaks = Streaks()
        self._aside: set[str] = set()
        self._warned: set[str] = set()
        self._images = 0
        self._conflicts = 0
        self._steps = 0  # attempts begun and ended, tasks concluded
        self._scope = anyio.CancelScope()
        self.longest = 0.0  # seconds, of the timeouts of attempts so far
        self.stopped: Stop | None = None
        self.paused: tuple[Pause, ...] = ()  # what requests waited for when the run was stopped
        self.trouble: Stop | None = None  # ends the run with this code, but lets it finish first

    @property
    def attempts(self) -> int:
        """How many requests this run has made."""
        return self._grants.count

    async def run(self, workers: int) -> None:
        """Work until nothing is left or a stop is under way and nothing is in flight."""
        with self._scope:
            async with anyio.create_task_group() as group:
                for _ in range(workers):
                    group.start_soon(self._work)

    @property
    def pulse(self) -> object:
        """Something that changes with every attempt that begins or ends, and with every task that is looked at."""
        return self._steps, self._feed.tally.total

    @property
    def waits(self) -> float:
        """Seconds that what all wait for lasts still, as far as that is known; a breaker's probe is no such thing.

        What is in flight has a deadline of its own, so nothing excuses it. What is parked for moments, again and again,
        waits for somebody else.
        """
        if self._limits.concurrency.in_flight:
            return 0.0
        known = (*(pause.seconds for pause in self._limits.pauses()), self._feed.due)
        return max((seconds for seconds in known if seconds > LONG_WAIT), default=0.0)

    @property
    def is_cancelled(self) -> bool:
        """Whether what was in flight was abandoned."""
        return self._scope.cancel_called

    def stop(self, stop: Stop) -> None:
        """Send nothing more; the first reason counts."""
        if self.stopped is None:
            self.stopped = stop
            self.paused = tuple(self._limits.pauses())
            self._watcher.stopping(stop)
        self._feed.close()
        self._limits.close()
        self._grants.close()

    def cancel(self) -> None:
        """Abandon what is in flight; it is written down as possibly billed."""
        self._scope.cancel()

    async def _work(self) -> None:
        worker = self._engine.worker()
        try:
            while (work := await self._feed.next()) is not None:
                await self._handle(work, worker)
        except BatchError as error:
            # The ledger is gone: whatever comes back now is safe in the spool, and the next run adopts it.
            fault = Stop(exit_code=error.exit_code, reason=str(error))
            self.stop(fault)
            if self.stopped is not None and self.stopped.reason != fault.reason:  # this one is to be told all the same
                self._warn_once(fault.reason)
        except Exception as error:  # noqa: BLE001 -- a fault of ours must not cost the images that are in flight
            reason = f"An internal error ({_signature(error)}); what is paid is kept; please report it"
            self.stop(Stop(exit_code=Exit.UNEXPECTED, reason=reason))
        finally:
            await worker.close()

    async def _handle(self, work: Work, worker: Worker) -> None:
        if work.task.model in self._aside:
            self._feed.finish(work, None)
            return
        if (end := verdict(work.history)) is not None:
            await self._conclude(work, end)
            return
        # A model that has to wait must not keep the workers from the others.
        can_park = self._models > 1 and self._feed.parked < MOST_PARKED
        if can_park and (hold := self._limits.hold(work.task.model)):
            self._feed.again(work, hold)
            await checkpoint()  # thousands may be parked one after the other
            return
        if work.is_taken and not await self._has_place(work):
            return
        rung = rung_of(work.task.rungs, work.history)
        if not await self._grants.money(rung.price or 0):
            self._feed.finish(work, None)
            return
        granted = await self._grants.attempt(work, rung, worker, can_wait_elsewhere=can_park)
        if isinstance(granted, Granted):
            await self._carry_out(work, granted, worker)
        elif granted is not None:
            self._postpone(work, granted)
        elif self.stopped is not None:
            self._feed.finish(work, None)
        else:  # what was left of the money went to others meanwhile, or the model has to wait
            self._feed.again(work, 0.0)

    async def _has_place(self, work: Work) -> bool:
        """Look whether an image would find its name free: one that would not is not bought."""
        try:
            await self._shelf.look_ahead(work.task.name, work.task.key)
        except ConflictError as conflict:
            self._collide(work, conflict)
            return False
        return True

    def _postpone(self, work: Work, failure: Failure) -> None:
        """Do what the policy says of an attempt for which there was no room, and which was never written down."""
        self._limits.observe(work.task.model, failure, 0.0)
        history = remember(work.history, failure.kind, len(work.task.rungs))
        self._act(replace(work, history=history), failure, decide(failure, history, others_pass=False))

    async def _carry_out(self, work: Work, granted: Granted, worker: Worker) -> None:
        attempt, cost = granted.attempt, None
        self._steps += 1
        self.longest = max(self.longest, attempt.rung.timeout)
        try:
            result = await self._guarded(granted, worker)
            self._steps += 1
            cost = cost_of(attempt, result)
            if isinstance(result, Failure) and result.kind in NEVER_SENT:
                self._grants.count -= 1
            if self._ledger.broken is None:
                self._limits.observe(
                    attempt.task.model,
                    result if isinstance(result, Failure) else None,
                    result.seconds if isinstance(result, Delivery) else 0.0,
                    is_probe=granted.leave.is_probe,
                )
            with anyio.CancelScope(shield=True):  # what is paid for is written down, whoever is in a hurry
                if isinstance(result, Delivery):
                    await self._put(work, granted, result)
                elif isinstance(result, Held):
                    self._hold(work, result)
                else:
                    await self._follow(work, granted, result)
                    await worker.settled()
        except anyio.get_cancelled_exc_class():
            if not worker.holds:
                failure, word = (INTERRUPTED, "lost") if granted.leave.departed else (UNSENT, str(FailureKind.NOT_SENT))
                with anyio.CancelScope(shield=True):
                    await self._ledger.settle(settlement(attempt, failure, word, granted.leave.departed))
            raise
        finally:
            self._grants.back(granted, cost)

    def _hold(self, work: Work, held: Held) -> None:
        """Leave an attempt open, whose image is paid for: the next run brings it home before it buys anything."""
        self._feed.finish(work, None)
        self._note(Stop(exit_code=Exit.PAUSED, reason=f"{held.reason}; run again to fetch it"))
        self._warn_once(held.reason)
        unfetched = Failure(kind=FailureKind.DOWNLOAD, message=held.reason)
        if (streak := self._streaks.observe(unfetched)) is not None:
            self.stop(streak)

    async def _guarded(self, granted: Granted, worker: Worker) -> Delivery | Failure | Held:
        try:
            return await worker.carry_out(granted.attempt, partial(self._limits.departs, granted.leave))
        except BatchError:  # the run cannot go on, and the attempt stays open for the next one to settle
            raise
        except Exception as error:  # noqa: BLE001 -- a fault of ours costs this task only, and is counted
            signature = _signature(error)
            message = f"An internal error ({signature}); please report it"
            if worker.holds:  # the image that counts is safe: what failed came after it
                return Held(reason=message)
            return Failure(kind=FailureKind.INTERNAL, message=message, billed=Billed.UNKNOWN, signature=signature)

    async def _put(self, work: Work, granted: Granted, delivery: Delivery) -> None:
        """Bring an image to its place."""
        self._images += 1
        self._streaks.observe(None)
        attempt, told = granted.attempt, delivery.model_version
        if told is not None and not self._is_same_model(attempt.task.model, told):
            self._warn_once(f"{attempt.task.model} was asked for; the server says that {told} answers")
        try:
            placed = await self._shelf.put(parcel(work, attempt, delivery, granted.leave.departed))
        except ConflictError as conflict:
            self._collide(work, conflict)
            return
        except OSError as error:
            self._feed.finish(work, None)
            reason = f"An image could not be put in its place ({error.strerror or error}); it is safe in the spool"
            raise DiskError(f"{reason}; make room, or look at the disk, and run again") from error
        if placed.trouble:
            self.stop(Stop(exit_code=Exit.DISK, reason=placed.trouble))
        known = Known(
            outcome=placed.outcome, file=placed.file, size=placed.size, differed=differed(work, placed.outcome)
        )
        is_good = differs_for_good(work.task.on_mismatch, placed.outcome, known.differed)
        if not is_good and self.stopped is None:
            self._feed.improve(work, known)
            return
        self._feed.finish(work, placed.outcome, is_left=not is_good)
        self._watcher.ended(work, placed.outcome, placed.note)

    def _collide(self, work: Work, conflict: ConflictError) -> None:
        """Leave a task whose image has no place, or would have none, to a person."""
        self._feed.finish(work, None)
        self.trouble = Stop(exit_code=Exit.DISK, reason=str(conflict))
        self._warn_once(str(conflict))
        self._conflicts += 1
        if self._conflicts >= MOST_CONFLICTS:
            self.stop(self.trouble)

    async def _follow(self, work: Work, granted: Granted, failure: Failure) -> None:
        """Do what the policy says of a failure."""
        attempt, task = granted.attempt, granted.attempt.task
        first = self._images if work.passed is None and failure.kind is FailureKind.SERVER_ERROR else work.passed
        history = remember(work.history, failure.kind, len(task.rungs))
        work = after_attempt(work, history=history, passed=first)
        decision = decide(failure, history, others_pass=first is not None and self._images > first)
        end = ending(work, attempt, decision) if isinstance(decision, GiveUp) else None
        await self._ledger.settle(settlement(attempt, failure, failure.kind, granted.leave.departed, end))
        self._act(work, failure, decision)
        if (streak := self._streaks.observe(failure)) is not None:
            self.stop(streak)
        if self._limits.outage > OUTAGE_LIMIT:
            reason = f"No answer for {span(self._limits.outage)} ({failure.message})"
            pause = Stop(exit_code=Exit.PAUSED, reason=reason, resume_in=OUTAGE_REST)
            self.stop(pause.dated(wall_clock()))

    def _act(self, work: Work, failure: Failure, decision: GiveUp | Retry | Stop | SetModelAside) -> None:
        match decision:
            case GiveUp():
                self._end(work, decision)
            case Retry(floor=floor, spread=spread, gate=gate):
                wait = floor + spread * self._chance()
                if gate:
                    self._limits.gate(work.task.model, wait, failure.message, is_guess=failure.hint is None)
                self._watcher.failed(work, failure, wait)
                self._feed.again(work, 0.0 if gate else wait)
            case SetModelAside(reason=reason):
                self._without_model(work, Stop(exit_code=Exit.PERSON, reason=reason, is_own=True))
            case Stop(resume_in=None) if failure.kind is not FailureKind.DAY_QUOTA:
                self._feed.finish(work, None)
                self.stop(decision)
            case Stop():
                self._pause(work, failure, decision)

    def _pause(self, work: Work, failure: Failure, decision: Stop) -> None:
        """Wait for a quota, or set its model aside for this run: quotas are a model's own."""
        now = wall_clock()
        is_day = failure.kind is FailureKind.DAY_QUOTA
        stop = replace(decision, resume_in=until_quota(now, decision.resume_in)) if is_day else decision
        if self._waits_for_quota and stop.resume_in is not None:
            self._limits.rest(work.task.model, stop.resume_in, failure.message)
            self._watcher.failed(work, failure, stop.resume_in)
            self._feed.again(work, 0.0)
        else:
            self._without_model(work, stop.dated(now))

    def _without_model(self, work: Work, trouble: Stop) -> None:
        """Send nothing more for a model in this run; its tasks stay pending, and the others, if any, go on."""
        if self._models == 1:
            self._feed.finish(work, None)
            self.stop(trouble)
            return
        if work.task.model not in self._aside:
            self._aside.add(work.task.model)
            self._limits.set_aside(work.task.model)
            reason = f"{work.task.model} stays pending, the other models go on: {trouble.reason}"
            trouble = replace(trouble, reason=reason)
            self._warn_once(reason)
            self._note(trouble)
        self._feed.finish(work, None)

    def _note(self, trouble: Stop) -> None:
        """Remember what gives the run its exit code: a person's task first, then what is over soonest."""
        before = self.trouble
        is_sooner = before is not None and (trouble.resume_in or 0.0) < (before.resume_in or 0.0)
        if before is None or (before.exit_code is Exit.PAUSED and (trouble.exit_code is not Exit.PAUSED or is_sooner)):
            self.trouble = trouble

    def _end(self, work: Work, end: GiveUp) -> None:
        # An image of an earlier run stays what it is when asking for a better one fails.
        self._steps += 1
        self._feed.finish(work, work.known.outcome if work.known.file else end.outcome)
        self._watcher.ended(work, end.outcome, end.reason)

    async def _conclude(self, work: Work, end: GiveUp) -> None:
        """End a task that earlier runs have tried often enough."""
        # An outcome rests on all attempts up to its number; a retry counts only its own, which come after.
        last = ending(work, Attempt(id=self._grants.newest, task=work.task, rung=work.task.rungs[0]), end)
        await self._ledger.do(lambda store: store.conclude(last))
        self._end(work, end)

    def _warn_once(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            self._watcher.warn(message)


def _signature(error: Exception) -> str:
    """Say where an error of ours came from; never its text, which may quote anything."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {place.name}, {Path(place.filename).name} line {place.lineno}"
