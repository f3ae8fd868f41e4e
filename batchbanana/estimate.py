"""What a plan costs, told from its axes alone: for decisions that must not wait until a million tasks are walked."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import product

from batchbanana.manifest import Job
from batchbanana.matrix import Matrix, ladder
from batchbanana.task import Rung


def estimate(matrix: Matrix) -> int:
    """Give the micro-dollars of the whole plan, unknown prices as nothing.

    Exact where nothing is excluded or picked; else each job's cells count with its mean price.
    """
    prices: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])  # of a job's ladders: their sum and their number
    for job in matrix.manifest.jobs:
        sums = prices[job.id]
        for rungs in _ladders(job):
            sums[0] += rungs[0].price or 0
            sums[1] += 1
    totals = ((plan.cells, *prices[plan.id]) for plan in matrix.jobs)
    return sum(cells * total // max(1, count) for cells, total, count in totals)


def unpriced(matrix: Matrix) -> list[str]:
    """Name each model and resolution that a task may ask for at an unknown price, as `model at size`."""
    found = {
        f"{model} at {rung.resolution}"
        for job in matrix.manifest.jobs
        for part in (job, *job.include)
        for model, rungs in _named_ladders(part)
        for rung in rungs
        if rung.price is None
    }
    return sorted(found)


def _ladders(job: Job) -> Iterator[tuple[Rung, ...]]:
    for part in (job, *job.include):
        yield from (rungs for _, rungs in _named_ladders(part))


def _named_ladders(job: Job) -> Iterator[tuple[str, tuple[Rung, ...]]]:
    for model, size in product(job.models, job.resolutions):
        yield model.id, ladder(job, model, size)
