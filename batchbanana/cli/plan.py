"""`batchbanana plan`."""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from batchbanana import tables
from batchbanana.cli import options
from batchbanana.cli.common import load_matrix, read_ledger, warn, warn_of_limits, with_options
from batchbanana.errors import Exit
from batchbanana.estimate import check_prices
from batchbanana.matrix import Matrix
from batchbanana.record import usd
from batchbanana.survey import survey


@click.command("plan")
@options.manifests
@options.output
@options.limits
@options.max_tasks
@options.models
@click.option("--json", "as_json", is_flag=True, help="One JSON object a manifest.")
@click.option("--csv", "as_csv", is_flag=True, help="One row a task.")
def command(
    manifests: Sequence[Path],
    *,
    output: Path | None,
    max_tasks: int,
    models: Path | None,
    as_json: bool,
    as_csv: bool,
    **limits: int | None,
) -> int:
    """Expand and price manifests; sends nothing."""
    for path in manifests:
        matrix = load_matrix(path, max_tasks, models)
        warn(matrix)
        if as_csv:
            _print_csv(matrix)
            continue
        folder = options.folder(matrix.manifest.name, output, len(manifests))
        settings = with_options(matrix.manifest.limits, options.LimitOptions(**limits))
        check_prices(matrix, settings)
        warn_of_limits(matrix, settings)
        with read_ledger(folder) as store:
            found = survey(matrix, store)
        if as_json:
            options.tell_in_pieces(tables.plan_json(matrix, found, settings, str(folder)))
        else:
            options.tell(tables.plan_text(matrix, found, settings, str(folder)))
    return Exit.MADE


def _print_csv(matrix: Matrix) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("key", "job", "model", "ratio", "resolution", "sample", "price_usd", "name", "prompt"))
    for task in matrix:
        price = task.rungs[0].price
        cost = "" if price is None else usd(price)
        writer.writerow(
            (task.key, task.job, task.model, task.ratio, task.resolution, task.sample, cost, task.name, task.prompt)
        )
