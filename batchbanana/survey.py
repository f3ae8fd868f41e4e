"""How a job stands, by walking its plan against the ledger: what is made and missing, what that costs and takes."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from batchbanana.estimate import LATENCY, LATENCY_UNKNOWN
from batchbanana.feed import BLOCK, Tally
from batchbanana.ledger import Known, Store
from batchbanana.manifest import LimitSettings
from batchbanana.matrix import Matrix
from batchbanana.policy import differs_for_good, images_at_worst, worst_case
from batchbanana.task import Rung, Task


@dataclass(slots=True, kw_only=True)
class Survey:
    """What a walk found.

    Attributes:
        tally: distinct tasks by outcome.
        pending: those that a run would make, by job id: without an outcome, or to be asked again by `on_mismatch`.
        by_job: distinct tasks by job id.
        repeated: cells that ask for the very same image as an earlier one.
        low: micro-dollars if every missing image comes at the first request.
        high: micro-dollars if all goes wrong that can: timeouts that are billed, and images that are not as asked.
        unpriced: missing images whose price is unknown.
        seconds_of_work: latency of all missing images one after the other.
    """

    tally: Tally = field(default_factory=Tally)
    pending: Counter[str] = field(default_factory=Counter)
    by_job: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    low: int = 0
    high: int = 0
    unpriced: int = 0
    seconds_of_work: float = 0.0

    @property
    def missing(self) -> int:
        """How many images are still to be made."""
        return self.pending.total()

    def add(self, task: Task, known: Known) -> None:
        """Count one more task."""
        self.tally.add(known.outcome)
        self.by_job[task.job] += 1
        is_final = known.is_final or differs_for_good(task.on_mismatch, known.outcome, known.differed)
        if known.outcome is None or not is_final:
            self.pending[task.job] += 1
            rungs = task.rungs if known.file is None else task.rungs[:1]
            self._price(rungs, images_at_worst(task.on_mismatch, known.differed))

    def _price(self, rungs: tuple[Rung, ...], images: int) -> None:
        self.low += rungs[0].price or 0
        self.high += sum(rung.price or 0 for rung in worst_case(rungs, images))
        self.unpriced += rungs[0].price is None
        self.seconds_of_work += LATENCY.get(rungs[0].resolution, LATENCY_UNKNOWN)


def survey(matrix: Matrix, store: Store | None) -> Survey:
    """Walk the whole plan; a store that is None knows nothing."""
    found = Survey()
    seen: set[str] = set()
    for block in _blocks(matrix):
        fresh = [task for task in block if task.key not in seen]
        known = store.lookup([task.key for task in fresh]) if store is not None else {}
        for task in fresh:
            if task.key in seen:
                found.repeated += 1
            else:
                seen.add(task.key)
                found.add(task, known.get(task.key, Known()))
        found.repeated += len(block) - len(fresh)
    return found


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


def _blocks(matrix: Matrix) -> Iterator[list[Task]]:
    tasks = iter(matrix)
    while block := list(islice(tasks, BLOCK)):
        yield block
