"""`batchbanana verify`."""

import contextlib
import json
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

import click

from batchbanana.cli import options
from batchbanana.cli.target import Named, find
from batchbanana.errors import DiskError, Exit, UsageError
from batchbanana.job import JobDirectory
from batchbanana.ledger import explained
from batchbanana.verify import Finding, Kind, Looking, exit_code, mend

MOST_LISTED = 1000  # findings that one JSON object lists; all are counted


@dataclass(slots=True, kw_only=True)
class Told:
    """What was found so far.

    Attributes:
        found: all findings by kind, and of them `left` those that are not mended.
        listed: the first of them as plain data.
        mendable: how many `--repair` would do something about.
    """

    found: Counter[Kind] = field(default_factory=Counter)
    left: Counter[Kind] = field(default_factory=Counter)
    listed: list[dict[str, object]] = field(default_factory=list)
    mendable: int = 0

    def add(self, finding: Finding) -> None:
        """Count one more."""
        self.found[finding.kind] += 1
        self.left[finding.kind] += not finding.is_mended
        self.mendable += finding.can_mend
        if len(self.listed) < MOST_LISTED:
            one = {"kind": str(finding.kind), "place": finding.place, "message": str(finding)}
            self.listed.append({**one, "mended": finding.is_mended})

    @property
    def exit_code(self) -> Exit:
        """What the command ends with."""
        return exit_code(+self.left)


@click.command("verify")
@click.argument("target", metavar="MANIFEST|DIR", type=click.Path(path_type=Path))
@options.output
@options.max_tasks
@options.models
@click.option("--repair", is_flag=True, help="Mend what can be mended without sending a request.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(
    target: Path, *, output: Path | None, max_tasks: int, models: Path | None, repair: bool, as_json: bool
) -> int:
    """Hash and check every image against the ledger; changes nothing without --repair.

    Ends with 0 when all is right, with 14 when the ledger itself is lost, damaged or wrong or has attempts without an
    end, and with 13 when files are not as it says. --repair puts tasks whose image is missing or damaged back, to be
    made again by the next run, writes a wrong metadata.jsonl anew, rebuilds a lost ledger from it, and takes over what
    an older copy of the ledger does not know.
    """
    named = Named(command="verify", target=target, output=output, max_tasks=max_tasks, models=models)
    folder = target if target.is_dir() else find(named).folder
    job = JobDirectory(folder)
    if not (job.own.is_dir() or job.has_images()):
        raise UsageError(f"{folder} is not a job directory; name a manifest or a folder that 'run' made")
    looking = Looking(job, is_at_work=not repair and job.own.is_dir() and job.is_held())
    if looking.is_at_work:
        options.say(f"A run works in {folder}: only images are checked; verify again when it has ended")
    told = Told()
    with contextlib.closing(_findings(looking, repair=repair)) as findings:
        for finding in findings:
            told.add(finding)
            if not as_json:
                options.tell(str(finding))
    data = json.dumps(_data(looking, told), ensure_ascii=False) if as_json else None
    options.tell(data or _summary(looking, told, repair=repair))
    return told.exit_code


def _findings(looking: Looking, *, repair: bool) -> Generator[Finding, None, None]:
    """Give what is found; faults of the disk and of the ledger's file become sentences."""
    folder = looking.job.path
    with explained():
        try:
            if repair:
                with looking.job.held():
                    yield from mend(looking)
            else:
                yield from looking.all()
        except OSError as error:
            done = "mended" if repair else "read"
            raise DiskError(f"{folder} cannot be {done} ({error}); look at the disk and verify again") from error


def _data(looking: Looking, told: Told) -> dict[str, object]:
    return {
        "output": str(looking.job.path),
        "checked": looking.checked,
        "running": looking.is_at_work,
        "found": {str(kind): told.found[kind] for kind in Kind},
        "left": {str(kind): told.left[kind] for kind in Kind},
        "findings": told.listed,
        "not_listed": told.found.total() - len(told.listed),
        "exit_code": int(told.exit_code),
    }


def _summary(looking: Looking, told: Told, *, repair: bool) -> str:
    folder, checked = looking.job.path, looking.checked
    begin = f"{checked} image{'' if checked == 1 else 's'} checked in {folder}"
    found, left = told.found.total(), told.left.total()
    if not found:
        return f"{begin}: all is right"
    findings = "1 finding" if found == 1 else f"{found} findings"
    if repair:
        others = "; what to do about the others stands beside them" if left else ""
        return f"{begin}: {found - left} of {findings} mended{others}"
    if told.mendable:
        return f"{begin}: {findings}; `{looking.job.repair}` mends what can be mended"
    return f"{begin}: {findings}; what to do stands beside {'it' if found == 1 else 'each'}"
