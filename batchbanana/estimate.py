"""What a plan costs, told from its axes alone: for decisions that must not wait until a million tasks are walked."""

from collections.abc import Iterator
from itertools import product

from batchbanana.draft import ladder
from batchbanana.errors import UsageError
from batchbanana.manifest import Job, LimitSettings
from batchbanana.matrix import Matrix, cells_of
from batchbanana.record import usd
from batchbanana.task import Rung

# Seconds an image takes, as seen in the field: about 10 at 1K, 20 at 2K, 30 to 60 at 4K.
LATENCY = {"512": 8.0, "1K": 10.0, "2K": 20.0, "4K": 45.0}
LATENCY_UNKNOWN = 45.0


def too_few_workers(limits: LimitSettings, latency: float) -> str | None:
    """Say that a rate is allowed which the workers cannot reach; None when they can.

    In flight is rate times latency (Little's law).

    Args:
        limits: the run's.
        latency: seconds an image takes.
    """
    rate, reach = limits.requests_per_minute, limits.concurrency * 60 / latency
    if rate is None or rate <= reach:
        return None
    return (
        f"{limits.concurrency} workers make about {reach:.0f} images a minute at {latency:.0f} s an image, so "
        f"{rate} a minute are never reached; `concurrency: {-int(-rate * latency // 60)}` would"
    )


def mean_latency(matrix: Matrix) -> float:
    """Give the seconds that an image of a plan takes on average, told from its resolutions alone."""
    count, seconds = 0, 0.0
    for kind in matrix.manifest.kinds():
        count += kind.jobs * len(kind.job.resolutions)
        seconds += kind.jobs * sum(LATENCY.get(size, LATENCY_UNKNOWN) for size in kind.job.resolutions)
    return seconds / count if count else LATENCY_UNKNOWN


def estimate(matrix: Matrix) -> int:
    """Give the micro-dollars of the whole plan, unknown prices as nothing.

    Exact where nothing is excluded or picked; else each job's cells count with its mean price.
    """
    total = 0
    for kind in matrix.manifest.kinds():
        prices = [rungs[0].price or 0 for rungs in _ladders(kind.job)]
        total += kind.jobs * cells_of(kind.job) * sum(prices) // max(1, len(prices))
    return total


def unpriced(matrix: Matrix) -> list[str]:
    """Name each model and resolution that a task may ask for at an unknown price, as `model at size`."""
    found = {
        f"{model} at {rung.resolution}"
        for kind in matrix.manifest.kinds()
        for part in (kind.job, *kind.job.include)
        for model, rungs in _named_ladders(part)
        for rung in rungs
        if rung.price is None
    }
    return sorted(found)


def dearest(matrix: Matrix) -> int:
    """Give the micro-dollars of the dearest image that a plan may ask for; 0 when no price is known."""
    found = (rung.price or 0 for kind in matrix.manifest.kinds() for rungs in _ladders(kind.job) for rung in rungs)
    return max(found, default=0)


def check_prices(matrix: Matrix, limits: LimitSettings) -> None:
    """Refuse a money limit that cannot be kept.

    Raises:
        UsageError: there is a limit, and the price of some image is unknown or above what may be spent at once.
    """
    names = ("max_cost", "spend_per_10_minutes", "max_possibly_billed")
    given = [name for name in names if getattr(limits, name) is not None]
    if not given:
        return
    if unknown := unpriced(matrix):
        raise UsageError(
            f"No price is known for {', '.join(unknown)}, so a money limit cannot be kept; "
            f"set `provider.price`, give the model a price under `models:` or in a file for --models, "
            f"or leave out {' and '.join(given)}"
        )
    spend, most = limits.spend_per_10_minutes, dearest(matrix)
    if spend is not None and spend < most:
        raise UsageError(
            f"spend_per_10_minutes is ${usd(spend):.2f}, but one image of this plan may cost ${usd(most):.3f}; raise it"
        )


def _ladders(job: Job) -> Iterator[tuple[Rung, ...]]:
    for part in (job, *job.include):
        yield from (rungs for _, rungs in _named_ladders(part))


def _named_ladders(job: Job) -> Iterator[tuple[str, tuple[Rung, ...]]]:
    for model, size in product(job.models, job.resolutions):
        yield model.id, ladder(job, model, size)
