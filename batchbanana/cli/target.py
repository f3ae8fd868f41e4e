"""What `status` and `failures` look at: a manifest, or a job directory that must do without one if need be."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from batchbanana.cli import options
from batchbanana.cli.common import load_matrix, manifest_of
from batchbanana.errors import ManifestError, UsageError
from batchbanana.matrix import Matrix


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A job that is looked at.

    Attributes:
        folder: the job directory; need not be there.
        manifest: as the user named it, or as the last run was given it.
        matrix: None when the manifest is gone or has faults, so that only the ledger can tell.
    """

    folder: Path
    manifest: Path
    matrix: Matrix | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What the user named; the names are those of the options.

    Attributes:
        command: that was called, for a remedy.
    """

    command: str
    target: Path
    output: Path | None
    max_tasks: int
    models: Path | None


def find(named: Named) -> Target:
    """Find a job by its manifest or its directory; of a directory whose manifest cannot be used, it says so.

    Raises:
        UsageError: the manifest that was named has faults, or the directory is no job's.
    """
    if named.target.is_dir():
        manifest = manifest_of(named.target)
        return Target(folder=named.target, manifest=manifest, matrix=_matrix_if_any(manifest, named))
    try:
        matrix = load_matrix(named.target, named.max_tasks, named.models)
    except ManifestError as error:
        shown = "output/NAME" if named.output is None else shlex.quote(str(named.output))
        remedy = f"`batchbanana {named.command} {shown}`, of the job directory, tells what is known all the same"
        raise UsageError(f"{error}\n{remedy}") from error
    folder = options.folder(matrix.manifest.name, named.output)
    return Target(folder=folder, manifest=named.target, matrix=matrix)


def _matrix_if_any(manifest: Path, named: Named) -> Matrix | None:
    if not manifest.is_file():
        options.say(f"warning: {manifest} is gone; told from the ledger alone")
        return None
    try:
        return load_matrix(manifest, named.max_tasks, named.models)
    except ManifestError as error:
        others = len(error.faults) - 1
        more = f" (and {others} more)" if others else ""
        options.say(f"warning: {error.faults[0]}{more}; told from the ledger alone")
        return None
