"""`batchbanana status`."""

import json
from pathlib import Path

import click

from batchbanana import tables
from batchbanana.cli import options
from batchbanana.cli.target import Named, find
from batchbanana.errors import Exit
from batchbanana.job import JobDirectory
from batchbanana.status import read_status


@click.command("status")
@click.argument("target", metavar="MANIFEST|DIR", type=click.Path(path_type=Path))
@options.output
@options.max_tasks
@options.models
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(target: Path, *, output: Path | None, max_tasks: int, models: Path | None, as_json: bool) -> int:
    """Tell how a job stands: counts, money, and whether a run is at work."""
    job = find(Named(command="status", target=target, output=output, max_tasks=max_tasks, models=models))
    data = read_status(JobDirectory(job.folder), job.matrix)
    options.tell(json.dumps(data, ensure_ascii=False) if as_json else tables.status_text(data))
    return Exit.MADE
