"""How a job stands by its plan and its ledger: what is made and missing, what that costs and takes."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice, product

from batchbanana.draft import Draft, drafts, ladder, numbered
from batchbanana.estimate import LATENCY, LATENCY_UNKNOWN
from batchbanana.feed import Tally
from batchbanana.ledger import Ahead, Known, Store
from batchbanana.manifest import Job, LimitSettings
from batchbanana.marks import Marks
from batchbanana.matrix import Matrix
from batchbanana.plan import LARGEST_BLOCK, is_new
from batchbanana.policy import differs_for_good, images_at_worst, worst_case
from batchbanana.task import Outcome, Rung, Task


@dataclass(slots=True)
class PerJob:
    """Counts by the number of a job, in few bytes each: every row of a sheet may be one."""

    _counts: "array[int]" = field(default_factory=lambda: array("Q"))

    def add(self, number: int, count: int = 1) -> None:
        """Count some more of a job."""
        lacking = number + 1 - len(self._counts)
        self._counts.extend([0] * lacking)
        self._counts[number] += count

    def __getitem__(self, number: int) -> int:
        return self._counts[number] if number < len(self._counts) else 0

    @property
    def total(self) -> int:
        """Of all jobs."""
        return sum(self._counts)


@dataclass(slots=True, kw_only=True)
class Survey:
    """What was found.

    Attributes:
        tally: distinct tasks by outcome.
        pending: those that a run would make, by job: without an outcome, or to be asked again by `on_mismatch`.
        by_job: distinct tasks by job.
        repeated: cells that ask for the very same image as an earlier one.
        low: micro-dollars if every missing image comes at the first request.
        high: micro-dollars if all goes wrong that can: timeouts that are billed, and images that are not as asked.
        unpriced: missing images whose price is unknown.
        seconds_of_work: latency of all missing images one after the other.
    """

    tally: Tally = field(default_factory=Tally)
    pending: PerJob = field(default_factory=PerJob)
    by_job: PerJob = field(default_factory=PerJob)
    repeated: int = 0
    low: int = 0
    high: int = 0
    unpriced: int = 0
    seconds_of_work: float = 0.0

    @property
    def missing(self) -> int:
        """How many images are still to be made."""
        return self.pending.total

    def add(self, task: Task | Draft, known: Known, number: int = 0) -> None:
        """Count one more task, of the job of that number."""
        self.tally.add(known.outcome)
        self.by_job.add(number)
        is_final = known.is_final or differs_for_good(task.on_mismatch, known.outcome, known.differed)
        if known.outcome is None or not is_final:
            self.pending.add(number)
            rungs = task.rungs if known.file is None else task.rungs[:1]
            self._price(rungs, images_at_worst(task.on_mismatch, known.differed), 1)

    def add_done(self, number: int) -> None:
        """Count one more task of a job, one that is done."""
        self.tally.add(Outcome.DONE)
        self.by_job.add(number)

    def add_all(self, job: Job, number: int) -> None:
        """Count all cells of a job that nothing is excluded from, and of whose tasks nothing is known."""
        cells = job.spanned // (len(job.models) * len(job.resolutions))
        for model, resolution in product(job.models, job.resolutions):
            self.tally.add(None, cells)
            self.by_job.add(number, cells)
            self.pending.add(number, cells)
            self._price(ladder(job, model, resolution), images_at_worst(job.on_mismatch, 0), cells)

    def _price(self, rungs: tuple[Rung, ...], images: int, times: int) -> None:
        self.low += times * (rungs[0].price or 0)
        self.high += times * _at_worst(rungs, images)
        self.unpriced += times * (rungs[0].price is None)
        self.seconds_of_work += times * LATENCY.get(rungs[0].resolution, LATENCY_UNKNOWN)


@lru_cache(maxsize=256)  # tasks share their ladders
def _at_worst(rungs: tuple[Rung, ...], images: int) -> int:
    return sum(rung.price or 0 for rung in worst_case(rungs, images))


def survey(matrix: Matrix, store: Store | None) -> Survey:
    """Count and price the whole plan; a store that is None knows nothing.

    Walked is what has to be: cells that may repeat others, that something is excluded from, or that are known of.
    """
    found = Survey()
    if not matrix.is_distinct or (store is not None and not store.is_blank):
        _walk(matrix.drafts(), store, found, Marks() if not matrix.is_distinct else None)
        return found
    for number, job in numbered(matrix.manifest.jobs):
        if job.exclude or job.pick:
            _walk(drafts([job]), None, found, None, number)
        else:
            found.add_all(job, number)
    return found


def _walk(tasks: Iterator[Draft], store: Store | None, found: Survey, seen: Marks | None, first: int = 0) -> None:
    """Count tasks one by one; `seen` is None where none comes twice, and `first` is the number of the first job."""
    ahead = Ahead()
    while block := list(islice(tasks, LARGEST_BLOCK)):
        fresh = block if seen is None else [draft for draft in block if is_new(draft, seen)]
        found.repeated += len(block) - len(fresh)
        done = ahead.done(store, [draft.key for draft in fresh]) if store is not None else {}
        others = [draft for draft in fresh if draft.key not in done]
        known = store.lookup([draft.key for draft in others]) if store is not None else {}
        for draft in fresh:
            if draft.key in done:
                found.add_done(first + draft.number)
            else:
                found.add(draft, known.get(draft.key, Known()), first + draft.number)


def duration(found: Survey, limits: LimitSettings) -> tuple[float, str]:
    """Estimate the seconds that the missing images take at the given limits, and name the limit that decides."""
    per_second = {
        "concurrency": found.seconds_of_work / limits.concurrency,
        "requests_per_minute": _window(found.missing, limits.requests_per_minute, 60),
        "images_per_minute": _window(found.missing, limits.images_per_minute, 60),
        "requests_per_day": _window(found.missing, limits.requests_per_day, 86400),
        "spend_per_10_minutes": _window(found.low, limits.spend_per_10_minutes, 600),
    }
    name = max(per_second, key=lambda limit: per_second[limit])
    return per_second[name], name


def _window(units: int, most: int | None, seconds: int) -> float:
    """A window's first allowance leaves at once; each further one waits a whole window."""
    return 0.0 if not most or not units else (units - 1) // most * float(seconds)
