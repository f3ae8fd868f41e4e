"""`batchbanana status`."""

import json
from pathlib import Path

import click

from batchbanana import tables
from batchbanana.cli import options
from batchbanana.cli.common import load_matrix, manifest_of
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
    if target.is_dir():
        manifest = manifest_of(target)
        matrix = load_matrix(manifest, max_tasks, models) if manifest.is_file() else None
        data = read_status(JobDirectory(target), matrix)
    else:
        matrix = load_matrix(target, max_tasks, models)
        data = read_status(JobDirectory(options.folder(matrix.manifest.name, output)), matrix)
    click.echo(json.dumps(data, ensure_ascii=False) if as_json else tables.status_text(data))
    return Exit.MADE
