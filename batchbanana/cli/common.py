"""What the commands that read a manifest have in common."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from batchbanana.cli.options import LimitOptions, say
from batchbanana.errors import UsageError
from batchbanana.estimate import estimate, mean_latency, too_few_workers
from batchbanana.job import JobDirectory
from batchbanana.ledger import Store
from batchbanana.manifest import LimitSettings
from batchbanana.matrix import Matrix, load
from batchbanana.record import usd


def load_matrix(path: Path, max_tasks: int, models: Path | None = None) -> Matrix:
    """Load a manifest with the models that are known; `models` is a registry of the user's."""
    return load(path, models=models, max_tasks=max_tasks)


def with_options(limits: LimitSettings, options: LimitOptions) -> LimitSettings:
    """Let the command's limits win over the manifest's."""
    return replace(
        limits,
        concurrency=options.concurrency or limits.concurrency,
        requests_per_minute=options.rpm or limits.requests_per_minute,
        max_cost=options.max_cost or limits.max_cost,
        max_possibly_billed=options.max_possibly_billed or limits.max_possibly_billed,
    )


@contextlib.contextmanager
def read_ledger(folder: Path) -> Iterator[Store | None]:
    """Open a job's ledger for reading; None when there is none yet."""
    store = JobDirectory(folder).read_store()
    with contextlib.closing(store) if store is not None else contextlib.nullcontext():
        yield store


def manifest_of(folder: Path) -> Path:
    """Give the manifest of a job directory's last run, which may be gone by now.

    Raises:
        UsageError: no run is known that was there.
    """
    with read_ledger(folder) as store:
        last = store.last_run() if store is not None else None
        has_images = store is not None and any(store.count_outcomes().values())
    if last is None and has_images:
        raise UsageError(f"The ledger of {folder} was rebuilt and knows no manifest yet; name the manifest")
    if last is None:
        raise UsageError(
            f"{folder} is not a job directory: it has no ledger; name a manifest or a folder that 'run' made"
        )
    return Path(last.manifest)


def warn_of_limits(matrix: Matrix, limits: LimitSettings) -> None:
    """Say so if the workers are too few for the rate that is allowed, or the money for the plan."""
    if limits.requests_per_minute is not None and (lack := too_few_workers(limits, mean_latency(matrix))) is not None:
        say(f"warning: {lack}")
    planned = estimate(matrix)
    if limits.max_cost is not None and limits.max_cost < planned:
        enough = matrix.cells * limits.max_cost // planned
        say(
            f"warning: max_cost ${usd(limits.max_cost):.2f} is enough for about {enough} of {matrix.cells} images, "
            f"which are listed at ${usd(planned):.2f}"
        )


def warn(matrix: Matrix, base_url: str | None = None) -> None:
    """Say what is odd about a manifest; `base_url` is where requests go if not where the manifest says."""
    for warning in matrix.warnings_at(base_url):
        say(f"warning: {warning}")
