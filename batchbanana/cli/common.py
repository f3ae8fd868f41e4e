"""What the commands that read a manifest have in common."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from batchbanana.cli.options import LimitOptions, say
from batchbanana.job import JobDirectory
from batchbanana.ledger import Store
from batchbanana.manifest import LimitSettings
from batchbanana.matrix import Matrix, load
from batchbanana.models import Registry


def load_matrix(path: Path, max_tasks: int) -> Matrix:
    """Load a manifest with the models that are known."""
    return load(path, Registry.builtin(), max_tasks=max_tasks)


def with_options(limits: LimitSettings, options: LimitOptions) -> LimitSettings:
    """Let the command's limits win over the manifest's."""
    return replace(
        limits,
        concurrency=options.concurrency or limits.concurrency,
        requests_per_minute=options.rpm or limits.requests_per_minute,
        max_cost=options.max_cost or limits.max_cost,
    )


@contextlib.contextmanager
def read_ledger(folder: Path) -> Iterator[Store | None]:
    """Open a job's ledger for reading; None when there is none yet."""
    store = JobDirectory(folder).read_store()
    with contextlib.closing(store) if store is not None else contextlib.nullcontext():
        yield store


def warn(matrix: Matrix) -> None:
    """Say what is odd about a manifest."""
    for warning in matrix.warnings:
        say(f"warning: {warning}")
