"""What to do next: tasks that still lack an image, in the manifest's order, with waiting retries coming first.

A retry that waits holds no worker.
"""

import heapq
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import anyio

from batchbanana.ledger import Known
from batchbanana.plan import Block, Plan
from batchbanana.policy import History, differs_for_good, recall
from batchbanana.task import Outcome, Task

PENDING = "pending"


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A task to make.

    Attributes:
        known: what the ledger said when it was read.
        tries: attempts so far.
        passed: how many images the run had made at this task's first server error.
        is_taken: whether a file had its image's name already when it was taken on.
    """

    task: Task
    known: Known = field(default_factory=Known)
    history: History = field(default_factory=History)
    tries: int = 0
    passed: int | None = None
    is_taken: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which tasks of the plan a run takes on.

    Attributes:
        retry: outcomes that are asked again.
        accepts: whether a task with such an outcome (None: pending) is wanted at all.
        limit: no more than so many.
    """

    retry: frozenset[Outcome] = frozenset()
    accepts: Callable[[Task, Outcome | None], bool] = lambda _task, _outcome: True
    limit: int | None = None


class Tally:
    """How the plan stands: distinct tasks by outcome."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, outcome: Outcome | None, count: int = 1) -> None:
        """Count one more task of the plan, or several."""
        self._counts[outcome or PENDING] += count

    def change(self, before: Outcome | None, after: Outcome) -> None:
        """Move a task from one count to another."""
        self._counts[before or PENDING] -= 1
        self._counts[after] += 1

    def count(self, outcome: Outcome | None) -> int:
        """Give one count; None is pending."""
        return self._counts[outcome or PENDING]

    def fill(self, cells: int, known: Mapping[Outcome, int]) -> None:
        """Take the uncounted rest of a plan of so many cells from the ledger's counts; what they lack is pending."""
        for outcome, count in known.items():
            self._counts[outcome] = max(self._counts[outcome], min(count, self._counts[outcome] + cells - self.total))
        self._counts[PENDING] += max(0, cells - self.total)

    @property
    def total(self) -> int:
        """All tasks counted so far."""
        return self._counts.total()


class Feed:
    """Hands out work to many workers."""

    def __init__(self, plan: Plan, selection: Selection, skipped: Callable[[int], None] = lambda _count: None) -> None:
        self._plan = plan
        self._skipped = skipped
        self._selection = selection
        self._left = selection.limit
        self._fresh: deque[Work] = deque()
        self._waiting: list[tuple[float, int, Work]] = []
        self._active = 0
        self._pushed = 0
        self._exhausted = False
        self._fault: Exception | None = None  # why a block of the plan was lost, and those after it are not asked for
        self._closed = False
        self._let_go = 0
        self._changed = anyio.Event()
        self._refilling = anyio.Lock()
        self.tally = Tally()

    async def next(self) -> Work | None:
        """Wait for the next work; None when there is no more and never will be."""
        while not self._closed:
            if (work := self._take()) is not None:
                self._active += 1
                return work
            if not self._exhausted and self._left != 0:
                await self._refill()
            elif not self._waiting and not self._active:
                break
            else:
                await self._sleep()
        self._wake()
        return None

    def again(self, work: Work, delay: float) -> None:
        """Take work back and hand it out again after `delay` seconds."""
        self._active -= 1
        self._pushed += 1
        heapq.heappush(self._waiting, (anyio.current_time() + delay, self._pushed, work))
        self._wake()

    def improve(self, work: Work, known: Known) -> None:
        """Hand work out again at once, whose task has got an image that is not good enough."""
        self.tally.change(work.known.outcome, Outcome.MISMATCH)
        task = replace(work.task, rungs=work.task.rungs[:1])  # as another run would ask, for what was asked for first
        history = replace(work.history, rung=0, in_a_row=0)  # its timeouts still count
        self.again(replace(work, task=task, known=known, history=history, tries=work.tries + 1, is_taken=False), 0.0)

    @property
    def parked(self) -> int:
        """How many wait to be handed out again."""
        return len(self._waiting)

    @property
    def due(self) -> float:
        """Seconds until the next of those is handed out; 0 when none waits."""
        return max(0.0, self._waiting[0][0] - anyio.current_time()) if self._waiting else 0.0

    def finish(self, work: Work, outcome: Outcome | None, *, is_left: bool = False) -> None:
        """Say that work has ended, with an outcome or, None, still pending; `is_left` if it was to go on."""
        self._active -= 1
        if outcome is not None:
            self.tally.change(work.known.outcome, outcome)
        self._let_go += outcome is None or is_left
        if not self._active:
            self._wake()

    @property
    def is_exhausted(self) -> bool:
        """Whether the whole plan has been seen."""
        return self._exhausted

    @property
    def is_worked_off(self) -> bool:
        """Whether nothing that this run was to take on is left."""
        return self._exhausted and not (self._let_go or self._active or self._fresh or self._waiting)

    def close(self) -> None:
        """Hand out nothing more."""
        self._closed = True
        self._wake()

    async def count_rest(self) -> None:
        """Count the part of the plan that was never reached, so that the six counts add up."""
        while not self._exhausted and self._fault is None:
            await self._refill()

    def _take(self) -> Work | None:
        if self._waiting and self._waiting[0][0] <= anyio.current_time():
            return heapq.heappop(self._waiting)[2]
        return self._fresh.popleft() if self._fresh else None

    async def _refill(self) -> None:
        async with self._refilling:
            if self._fresh and not self._closed:
                return
            if self._fault is not None:
                raise self._fault
            with anyio.CancelScope(shield=True):  # a block that is taken from the matrix must be counted
                block = None if self._exhausted else await self._block()
                if block is None:
                    self._exhausted = True
                    return
                self.tally.add(Outcome.DONE, block.done)
                wanted = self._wanted(block)
                if not self._closed:
                    wanted = await self._marked(wanted)
                if self._closed:
                    self._let_go += len(wanted)
                    wanted = []
                self._fresh.extend(wanted)
                self._skipped(block.done + len(block.others) - len(wanted))

    async def _block(self) -> Block | None:
        try:
            return await self._plan.block()
        except Exception as error:
            self._fault = error
            raise

    def _wanted(self, block: Block) -> list[Work]:
        """Count the tasks of a block that are not done, and choose of them what this run is to make."""
        wanted = []
        for task, known in block.others:
            self.tally.add(known.outcome)
            if self._wants(task, known):
                wanted.append(_work(task, known))
        return wanted

    async def _marked(self, wanted: list[Work]) -> list[Work]:
        """Mark the work whose image, once it is paid for, may find its name taken."""
        # Of a task that has an image, a later one bears the number of its attempt.
        taken = await self._plan.taken([work.task.name for work in wanted if work.known.file is None])
        is_taken = [work.known.file is None and work.task.name in taken for work in wanted]
        return [replace(work, is_taken=one) if one else work for work, one in zip(wanted, is_taken, strict=True)]

    def _wants(self, task: Task, known: Known) -> bool:
        is_final = known.is_final or differs_for_good(task.on_mismatch, known.outcome, known.differed)
        if known.outcome is not None and known.outcome not in self._selection.retry and is_final:
            return False
        if self._left == 0 or not self._selection.accepts(task, known.outcome):
            return False
        if self._left is not None:
            self._left -= 1
        return True

    async def _sleep(self) -> None:
        wait = self._waiting[0][0] - anyio.current_time() if self._waiting else None
        with anyio.move_on_after(wait):
            await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


def _work(task: Task, known: Known) -> Work:
    if known.file is not None:
        # An image is there already: what is asked for again is what was asked for first, not something smaller.
        task = replace(task, rungs=task.rungs[:1])
    return Work(task=task, known=known, history=recall(known.results, len(task.rungs)), tries=len(known.results))


def after_attempt(work: Work, **changes: object) -> Work:
    """Give work after one more attempt."""
    return replace(work, tries=work.tries + 1, **changes)  # type: ignore[arg-type]  # fields of Work by name
