"""What a plan costs, told from its axes alone: for decisions that must not wait until a million tasks are walked."""

from collections.abc import Iterator
from itertools import product

from batchbanana.manifest import Job
from batchbanana.matrix import Matrix, ladder
from batchbanana.task import Rung


def estimate(matrix: Matrix) -> int:
    """Give the micro-dollars of the whole plan, unknown prices as nothing.

    Exact where nothing is excluded or picked; else each job's cells count with its mean price.
    """
    jobs = {job.id: job.cells for job in matrix.jobs}
    total = 0
    for id_, cells in jobs.items():
        prices = [rungs[0].price or 0 for job in matrix.manifest.jobs if job.id == id_ for rungs in _ladders(job)]
        total += cells * sum(prices) // max(1, len(prices))
    return total


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
