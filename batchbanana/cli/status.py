"""`batchbanana status`."""

import json
from pathlib import Path

import click

from batchbanana import tables
from batchbanana.cli import options
from batchbanana.cli.common import load_matrix, read_ledger
from batchbanana.errors import Exit, UsageError
from batchbanana.job import JobDirectory
from batchbanana.status import read_status


@click.command("status")
@click.argument("target", metavar="MANIFEST|DIR", type=click.Path(path_type=Path))
@options.output
@options.max_tasks
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(target: Path, *, output: Path | None, max_tasks: int, as_json: bool) -> int:
    """Tell how a job stands: counts, money, and whether a run is at work."""
    if target.is_dir():
        manifest = _manifest_of(target)
        matrix = load_matrix(manifest, max_tasks) if manifest.is_file() else None
        data = read_status(JobDirectory(target), matrix)
    else:
        matrix = load_matrix(target, max_tasks)
        data = read_status(JobDirectory(options.folder(matrix.manifest.name, output)), matrix)
    click.echo(json.dumps(data, ensure_ascii=False) if as_json else tables.status_text(data))
    return Exit.MADE


def _manifest_of(folder: Path) -> Path:
    with read_ledger(folder) as store:
        last = store.last_run() if store is not None else None
    if last is None:
        raise UsageError(
            f"{folder} is not a job directory: it has no ledger; name a manifest or a folder that 'run' made"
        )
    return Path(last.manifest)
