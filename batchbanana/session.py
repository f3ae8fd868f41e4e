"""One execution of `run`: the steps from a loaded manifest to the exit code, in the order in which they happen."""

import contextlib
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import anyio
from anyio import to_thread

from batchbanana.allowances import build_limits
from batchbanana.beginning import Beginning
from batchbanana.deadline import Deadline
from batchbanana.engines.links import Fetcher
from batchbanana.engines.local import LocalEngine
from batchbanana.errors import BatchError, DiskError, Exit, FencedError, UsageError
from batchbanana.estimate import dearest, estimate
from batchbanana.feed import Feed, Selection
from batchbanana.job import JobDirectory
from batchbanana.ledger import PAUSE, Caps, Fence, Ledger, Money, Store, explained
from batchbanana.limits import Limits, Pause
from batchbanana.manifest import LimitSettings
from batchbanana.matrix import Matrix
from batchbanana.plan import Plan
from batchbanana.policy import Stop
from batchbanana.recovery import Recovered, recover
from batchbanana.runner import Runner, Watcher
from batchbanana.service import provider
from batchbanana.shelf import Shelf
from batchbanana.signals import Interrupts
from batchbanana.spool import FencedFiles, Spool
from batchbanana.standing import note_begin, note_end
from batchbanana.summary import Summary, counts, exit_code, money
from batchbanana.task import Outcome
from batchbanana.transport import Endpoint, Lanes
from batchbanana.watchdog import Watchdog

COUNT_LIMIT = 5.0  # seconds; within a service manager's patience after a drain
TICK = 5.0  # seconds between chances to say something
REHEARSAL = "rehearsal"  # in the ledger: whether the job is a rehearsal in the sandbox
RESUMED = {Exit.PAUSED, Exit.MONEY, Exit.INTERRUPTED, Exit.TERMINATED}  # where running again goes on
POSSIBLY_BILLED_FLOOR = 5_000_000  # micro-dollars; the default bound is the larger of this and 2 % of the plan


class Console(Watcher, Protocol):
    """Where a run speaks to people."""

    def begin(self, total: int, spent: Callable[[], Money], pauses: Callable[[], Sequence[Pause]]) -> None:
        """The run begins; `total` cells are planned, and `pauses` says what requests wait for."""
        ...

    def recovered(self, found: Recovered) -> None:
        """Something was left by a dead run."""
        ...

    def tick(self) -> None:
        """Some seconds have passed."""
        ...

    def skipped(self, count: int) -> None:
        """So many more tasks of the plan are not this run's to make."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a run is to do.

    Attributes:
        output: the job directory.
        limits: with the command's options worked in.
        endpoint: where to send, with the key.
        is_rehearsal: the endpoint is a sandbox that was started for this run.
        deadline: when to send nothing more; None for as long as it takes.
        waits_for_quota: whether to wait for a new day's quota instead of pausing.
        beside: directories of jobs that have used the same service earlier in the same command.
    """

    matrix: Matrix
    output: Path
    limits: LimitSettings
    endpoint: Endpoint
    selection: Selection
    is_rehearsal: bool = False
    deadline: Deadline | None = None
    waits_for_quota: bool = False
    beside: tuple[Path, ...] = ()


async def run(order: Order, console: Console) -> Summary:
    """Make what is missing. Always returns a summary once the job directory is held and readable.

    Raises:
        BatchError: nothing could be begun: the directory is held, or the ledger or the disk is not usable.
    """
    interrupts = Interrupts()
    watchdog = Watchdog(lambda: interrupts.run)
    with watchdog.guarding():
        result = await _watched(order, console, interrupts, watchdog)
    if isinstance(result, BatchError):
        raise result
    first = interrupts.first
    if first is not None and result.stopped is None:  # too late to stop this job, in time for what would come after it
        return replace(result, exit_code=int(first.exit_code), stopped=first.reason, is_cut_short=True)
    return result


async def _watched(order: Order, console: Console, interrupts: Interrupts, watchdog: Watchdog) -> Summary | BatchError:
    """Run beside those who watch and listen."""
    result: Summary | BatchError
    async with anyio.create_task_group() as group:
        group.start_soon(interrupts.heed)
        group.start_soon(watchdog.watch)
        group.start_soon(_tick, console)
        try:
            result = await _run(order, console, interrupts)
        except BatchError as error:  # carried out of the group by hand, which would wrap it
            result = error
        group.cancel_scope.cancel()
    return result


async def _tick(console: Console) -> None:
    while True:
        await anyio.sleep(TICK)
        console.tick()


async def _run(order: Order, console: Console, interrupts: Interrupts) -> Summary:
    began = time.monotonic()
    lanes = Lanes(order.endpoint)  # first of all: an environment that cannot work must not leave a folder behind
    job = JobDirectory(order.output)
    with job.held():
        async with _opened(order, job) as (ledger, fence):
            spool = Spool(order.output, FencedFiles(fence.check))
            fetcher = Fetcher(lanes.downloads(), spool)
            with contextlib.closing(Shelf(spool, ledger, order.matrix.registry.are_different)) as shelf:
                found = await _recovered(ledger, spool, shelf, fetcher, interrupts.beginning)
                console.recovered(found)
                before = ledger.money.settled
                runner, feed = await _work(order, lanes, ledger, spool, shelf, console, found, interrupts)
                trouble = await _tidied(shelf)
            runner.trouble = runner.trouble or trouble
            await _count(feed, ledger, order.matrix)
            summary = _summarise(order, runner, feed, ledger, began, before)
            await _note_end(ledger, summary)
        return _written(job, _with_fault(summary, ledger.broken), fence, console)


async def _tidied(shelf: Shelf) -> Stop | None:
    """Let the spool forget what is left of this run; what keeps it from that must not cost the summary."""
    try:
        trouble, code = await shelf.tidy(), Exit.DISK
    except BatchError as error:
        trouble, code = str(error), error.exit_code
    return Stop(exit_code=code, reason=trouble) if trouble else None


@asynccontextmanager
async def _opened(order: Order, job: JobDirectory) -> AsyncIterator[tuple[Ledger, Fence]]:
    """Open spool and ledger, and begin a run in it, which fences off every earlier one."""
    store = await to_thread.run_sync(job.open_store, _caps(order))
    await to_thread.run_sync(Spool(order.output).open)
    run = await to_thread.run_sync(_begin, store, order, job)
    with explained():
        ledger, fence = Ledger(order.output, store), Fence(job.ledger, job.lock, job.holding, run)
    async with ledger:
        yield ledger, fence


def _begin(store: Store, order: Order, job: JobDirectory) -> int:
    manifest = order.matrix.manifest
    with explained():
        job.refuse_older(store)
        _keep_apart(store, order)
        note_begin(store, order.matrix)
        job.check_lock()
        return store.start_run((manifest.copy.sha256, str(manifest.path.absolute()), manifest.copy.content))


def _keep_apart(store: Store, order: Order) -> None:
    """A rehearsal's pictures and prices must never pass for real ones, nor real ones be taken for a rehearsal's."""
    was_rehearsal = store.get(REHEARSAL)
    if was_rehearsal is None:
        store.put(REHEARSAL, int(order.is_rehearsal))
    elif bool(was_rehearsal) != order.is_rehearsal:
        made = "in the sandbox" if was_rehearsal else "for real"
        raise UsageError(f"{order.output} was made {made}; choose another --output for this run, or remove that folder")


async def _recovered(ledger: Ledger, spool: Spool, shelf: Shelf, fetcher: Fetcher, beginning: Beginning) -> Recovered:
    with explained():
        return await recover(ledger, spool, shelf, fetcher, beginning)


def _caps(order: Order) -> Caps:
    limits = order.limits
    possibly = limits.max_possibly_billed
    if possibly is None:
        possibly = max(POSSIBLY_BILLED_FLOOR, estimate(order.matrix) // 50)
    return Caps(max_cost=limits.max_cost, max_possibly_billed=possibly, unpriced=dearest(order.matrix))


async def _work(  # noqa: PLR0913, PLR0917 -- what the pool is put together from
    order: Order,
    lanes: Lanes,
    ledger: Ledger,
    spool: Spool,
    shelf: Shelf,
    console: Console,
    found: Recovered,
    interrupts: Interrupts,
) -> tuple[Runner, Feed]:
    """Put the pool together and let it work, under the eye of the signals."""
    limits = await build_limits(order.limits, ledger, order.beside, is_patient=order.waits_for_quota)
    matrix = order.matrix
    plan = Plan(matrix.drafts(), ledger, order.output, is_distinct=matrix.is_distinct)
    feed = Feed(plan, _without(order.selection, found.held), console.skipped)
    speaks = provider(order.matrix.manifest.provider, order.matrix.registry, order.endpoint)
    async with contextlib.aclosing(LocalEngine(speaks, lanes, spool)) as engine:
        runner = Runner(
            feed=feed,
            engine=engine,
            limits=limits,
            ledger=ledger,
            shelf=shelf,
            watcher=console,
            # An older copy of the ledger would give a number again that an image in the spool bears.
            next_attempt=max(found.newest + 1, await ledger.do(lambda store: store.next_attempt())),
            models=len(order.matrix.manifest.models),
            is_same_model=order.matrix.registry.are_same,
            waits_for_quota=order.waits_for_quota,
        )
        interrupts.attach(runner)
        if found.waiting:
            runner.trouble = Stop(exit_code=Exit.PAUSED, reason=f"{found.waiting[0]}; run again to fetch it")
            console.warn(runner.trouble.reason)
        if found.problems:
            runner.trouble = Stop(exit_code=Exit.DISK, reason=found.problems[0])
        console.begin(order.matrix.cells, lambda: ledger.money, limits.pauses)
        async with anyio.create_task_group() as group:
            if order.deadline is not None:
                group.start_soon(order.deadline.keep, runner)
            group.start_soon(_note_pauses, limits, ledger)
            await runner.run(min(order.limits.concurrency, max(1, order.matrix.cells)))
            group.cancel_scope.cancel()
    if plan.damaged:
        reason = (
            f"{plan.damaged} images that are paid for are missing or have another size in {order.output}, "
            f"the first is {plan.first_damaged}; put them back from a copy, "
            f"or let `{JobDirectory(order.output).repair}` put their tasks back to be made again"
        )
        console.warn(reason)
        runner.trouble = runner.trouble or Stop(exit_code=Exit.DISK, reason=reason)
    return runner, feed


async def _note_pauses(limits: Limits, ledger: Ledger) -> None:
    """Leave word of what requests wait for, so that `status` can tell it."""
    told: tuple[object, ...] = ()
    while ledger.broken is None:
        pauses = limits.pauses()
        words = tuple((pause.model, pause.why) for pause in pauses)
        if words != told:
            told = words
            until = time.time() + min((pause.seconds for pause in pauses), default=0.0)
            text = json.dumps({"pauses": [str(pause) for pause in pauses], "since": time.time(), "until": until})
            with contextlib.suppress(BatchError):  # whoever writes next is told of it
                await ledger.do(partial(Store.note, name=PAUSE, text=text))
        await anyio.sleep(TICK)


def _without(selection: Selection, held: frozenset[str]) -> Selection:
    """Leave out tasks whose paid image waits in the spool for a person."""
    if not held:
        return selection
    accepts = selection.accepts
    return Selection(
        retry=selection.retry,
        accepts=lambda task, outcome: task.key not in held and accepts(task, outcome),
        limit=selection.limit,
    )


async def _count(feed: Feed, ledger: Ledger, matrix: Matrix) -> None:
    """Count what a stopped run never reached; a very large rest is taken from the ledger's own counts."""
    known: dict[Outcome, int] = {}
    if ledger.broken is None:
        with anyio.move_on_after(COUNT_LIMIT):
            await feed.count_rest()
        with contextlib.suppress(BatchError):  # the ledger remembers what broke it, and the summary tells it
            if feed.is_exhausted:
                await ledger.do(partial(note_end, matrix=matrix, tally=feed.tally))
            known = await ledger.do(lambda store: store.count_outcomes())
    if not feed.is_exhausted:
        feed.tally.fill(matrix.cells, known)


async def _note_end(ledger: Ledger, summary: Summary) -> None:
    if ledger.broken is None:
        with contextlib.suppress(BatchError):  # the ledger remembers what broke it, and the summary tells it
            await ledger.do(lambda store: store.end_run(summary.to_json()))


def _with_fault(summary: Summary, fault: BatchError | None) -> Summary:
    """Say so if the ledger or `metadata.jsonl` could not be brought to an end."""
    if fault is None or summary.exit_code == fault.exit_code:
        return summary
    return replace(summary, exit_code=int(fault.exit_code), stopped=str(fault))


def _written(job: JobDirectory, summary: Summary, fence: Fence, console: Console) -> Summary:
    """Write `summary.json`; a disk that refuses even that is told in the summary that is printed."""
    try:
        job.write_summary(summary.to_json(), fence.check)
    except FencedError as lost:
        return _with_fault(summary, lost)
    except OSError as error:
        console.warn(f"summary.json cannot be written ({error.strerror}); make room and run again")
        return _with_fault(summary, DiskError(summary.stopped or "summary.json cannot be written"))
    return summary


def _told(end: Stop, order: Order, runner: Runner, feed: Feed) -> str:
    """Say why a run ended, what it waited for, and what must be said again for the next one to go on with the same."""
    waits = [f"; it waited ({pause})" for pause in runner.paused if end.resume_in is None and end is runner.stopped]
    left = [outcome for outcome in sorted(order.selection.retry) if feed.tally.count(outcome)]
    again = f"; give --retry {','.join(left)} again, too" if left and not feed.is_worked_off else ""
    return f"{end.reason}{''.join(waits)}{again if end.exit_code in RESUMED else ''}"


def _resume_in(end: Stop, runner: Runner) -> float | None:
    """Say when running again makes sense: as the stop says, or when what it waited for is over."""
    if end.resume_in is not None or end is not runner.stopped:
        return end.resume_in
    return min((pause.seconds for pause in runner.paused), default=None)


def _summarise(order: Order, runner: Runner, feed: Feed, ledger: Ledger, began: float, before: int) -> Summary:
    stopped = runner.stopped
    if stopped is not None and stopped.exit_code is Exit.PAUSED and feed.is_worked_off:
        stopped = None  # what was in flight when the time was up has brought all that was wanted
    end = stopped or runner.trouble
    spent = ledger.money
    return Summary(
        name=order.matrix.manifest.name,
        **counts(feed.tally),
        **money(spent),  # type: ignore[arg-type]  # the names are Summary's own
        attempts=runner.attempts,
        run_cost_usd=(spent.settled - before) / 1_000_000,
        seconds=round(time.monotonic() - began, 3),
        stopped=_told(end, order, runner, feed) if end else None,
        resume_in=_resume_in(end, runner) if end else None,
        exit_code=int(exit_code(feed.tally, stopped, runner.trouble)),
        output=os.fspath(order.output),
        is_cut_short=stopped is not None and not stopped.is_own,
    )
