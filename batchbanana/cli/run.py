"""`batchbanana run`."""

import gc
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import click

from batchbanana import descriptors, tables
from batchbanana.cli import options
from batchbanana.cli.common import load_matrix, read_ledger, warn, warn_of_limits, with_options
from batchbanana.deadline import Deadline, after, until
from batchbanana.errors import Exit, UsageError
from batchbanana.estimate import check_prices, estimate
from batchbanana.feed import Selection
from batchbanana.manifest import LimitSettings, Manifest
from batchbanana.matrix import Matrix
from batchbanana.progress import Bar, Lines, Silent
from batchbanana.record import usd
from batchbanana.selection import accepts, outcomes
from batchbanana.service import endpoint, find_key
from batchbanana.session import Order, run
from batchbanana.summary import Summary
from batchbanana.survey import survey
from batchbanana.transport import Endpoint

ASK_TASKS = 100  # above so many tasks …
ASK_MICRO_USD = 5_000_000  # … or $5, a person at a terminal is asked first


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What the command line says beyond manifests and limits; the names are those of the options."""

    models: Path | None
    sandbox: bool
    base_url: str | None
    limit: int | None
    only: tuple[str, ...]
    retry: str
    upgrade: bool
    yes: bool
    as_json: bool
    quiet: bool
    until: str | None
    max_duration: str | None
    wait_quota: bool


@click.command("run", epilog=options.EXIT_CODES)
@options.manifests
@options.output
@options.limits
@options.max_tasks
@options.models
@click.option("--sandbox", is_flag=True, help="Use a local API that costs nothing, for this run.")
@click.option("--base-url", metavar="URL", help="Where the API is.")
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="Only the first N missing tasks.")
@click.option("--only", multiple=True, metavar="KEY=VALUE", help="Only these: an axis, a variable, job or outcome.")
@click.option("--retry", metavar="OUTCOMES", default="", help="Ask again: failed,refused,mismatch,degraded.")
@click.option("--upgrade", is_flag=True, help="Ask again for what was made at a lower resolution.")
@click.option("--until", metavar="HH:MM", help="Send nothing more after that hour; what is in flight may finish.")
@click.option("--max-duration", metavar="TIME", help="Send nothing more after so long, such as 90m or 1h30m.")
@click.option("--wait-quota", is_flag=True, help="Wait for a new day's quota instead of pausing.")
@click.option("--yes", is_flag=True, help="Do not ask before a large run.")
@click.option("--json", "as_json", is_flag=True, help="The summary as one JSON object on standard output.")
@click.option("--quiet", is_flag=True, help="Only what a person must know.")
def command(
    manifests: Sequence[Path],
    *,
    output: Path | None,
    max_tasks: int,
    **chosen: Any,
) -> int:
    """Make what is missing. Running again goes on where it stopped."""
    limits = options.LimitOptions(**{name.name: chosen.pop(name.name) for name in fields(options.LimitOptions)})
    choices = Choices(**chosen)
    codes: list[int] = []
    jobs = _jobs([load_matrix(path, max_tasks, choices.models) for path in manifests], output)
    settings = {matrix: with_options(matrix.manifest.limits, limits) for matrix, _ in jobs}
    deadline = _deadline(choices, datetime.now())  # noqa: DTZ005 -- see `until`
    for matrix, _ in jobs:
        _check(matrix, settings[matrix], choices)
    served_at = {folder: None if choices.sandbox else _served(matrix, choices) for matrix, folder in jobs}
    if limits.max_cost is not None and len(jobs) > 1:
        total = usd(limits.max_cost * len(jobs))
        options.say(f"--max-cost is for each of these {len(jobs)} jobs: ${total:.2f} in all.")
    for matrix, folder in jobs:
        if not _agreed(matrix, folder, settings[matrix], choices):
            raise UsageError("Nothing was sent; --yes goes without asking, --limit takes a part")
    for done, (matrix, folder) in enumerate(jobs, 1):
        if done > 1:  # what the one before has left must not be there when the next one freezes what is
            gc.collect()
        with _endpoint(matrix.manifest, served_at[folder]) as served:
            order = Order(
                matrix=matrix,
                output=folder,
                limits=_within_reach(settings[matrix]),
                endpoint=served,
                selection=_selection(matrix, choices),
                is_rehearsal=choices.sandbox,
                deadline=deadline,
                waits_for_quota=choices.wait_quota,
                beside=tuple(path for path, other in served_at.items() if path != folder and served.shares(other)),
            )
            summary = _run_one(order, choices)
        codes.append(summary.exit_code)
        if summary.is_cut_short:
            if left := ", ".join(str(matrix.manifest.path) for matrix, _ in jobs[done:]):
                options.say(f"Not begun: {left}; run again for them")
            break
    return max(codes, key=_weight)


def _within_reach(limits: LimitSettings) -> LimitSettings:
    """Ask for no more workers than there are file descriptors for."""
    enough = descriptors.provide(limits.concurrency)
    if enough < limits.concurrency:
        want = descriptors.wanted(limits.concurrency)
        options.say(
            f"{enough} workers instead of {limits.concurrency}: that many would open about {want} files, more than "
            "the system's limit; raise it (`ulimit -Hn`), or lower concurrency"
        )
    return replace(limits, concurrency=min(enough, limits.concurrency))


def _jobs(matrices: Sequence[Matrix], output: Path | None) -> list[tuple[Matrix, Path]]:
    """Give every manifest its job directory; all of them were checked before the first one spends anything."""
    jobs = [(matrix, options.folder(matrix.manifest.name, output, len(matrices))) for matrix in matrices]
    if len({folder for _, folder in jobs}) < len(jobs):
        raise UsageError("Two of these manifests have the same name and would share a job directory; rename one")
    return jobs


def _weight(code: int) -> int:
    """Order exit codes of several manifests: what needs a person most weighs most."""
    mild = (Exit.MADE, Exit.SOME_DIFFER, Exit.SOME_FAILED, Exit.PAUSED, Exit.MONEY)
    return mild.index(Exit(code)) if code in mild else len(mild)


def _check(matrix: Matrix, limits: LimitSettings, choices: Choices) -> None:
    """Find out what would stop a job before any job spends anything."""
    check_prices(matrix, limits)
    _selection(matrix, choices)
    if choices.sandbox and choices.base_url:
        raise UsageError("--sandbox and --base-url exclude each other; leave one out")


def _served(matrix: Matrix, choices: Choices) -> Endpoint:
    """Find the service and the key of a job."""
    provider = matrix.manifest.provider
    return endpoint(provider, choices.base_url, find_key(provider, os.environ))


def _run_one(order: Order, choices: Choices) -> Summary:
    console = _console(quiet=choices.quiet)
    gc.freeze()  # what is loaded now stays: walking it again and again would stall the event loop for up to 100 ms
    try:
        summary = anyio.run(partial(run, order, console))
    finally:
        console.close()
        gc.unfreeze()  # or what a job leaves behind would stay for ever
    return _told(summary, as_json=choices.as_json)


def _told(summary: Summary, *, as_json: bool) -> Summary:
    """Print a summary; one that had nowhere to go makes the command fail, for somebody waits for it."""
    if not as_json:
        options.say(tables.summary_text(summary))
        return summary
    try:
        options.tell(json.dumps(summary.to_json(), ensure_ascii=False))
    except BrokenPipeError:  # whoever wanted it has left; the exit code still tells how the run ended
        return summary
    except OSError as error:
        options.say(f"The summary cannot be printed ({error.strerror}); it is in {summary.output}/summary.json")
        return replace(summary, exit_code=max(summary.exit_code, Exit.DISK, key=_weight))
    return summary


def _deadline(choices: Choices, now: datetime) -> Deadline | None:
    """Read the options that end a run early; the earlier moment counts."""
    found = []
    if choices.until is not None:
        found.append(until(choices.until, now))
        if found[-1] is None:
            raise UsageError(f"--until {choices.until}: write an hour of the day such as 07:00")
    if choices.max_duration is not None:
        found.append(after(choices.max_duration))
        if found[-1] is None:
            raise UsageError(f"--max-duration {choices.max_duration}: write a time such as 90m, 2h or 1h30m")
    return min(filter(None, found), key=lambda deadline: deadline.left, default=None)


def _selection(matrix: Matrix, choices: Choices) -> Selection:
    retry = outcomes(choices.retry) | (outcomes("degraded") if choices.upgrade else frozenset())
    return Selection(retry=retry, accepts=accepts(choices.only, matrix), limit=choices.limit)


@contextmanager
def _endpoint(manifest: Manifest, served: Endpoint | None) -> Iterator[Endpoint]:
    """Give where a job's requests go: for a rehearsal, a sandbox of its own."""
    if served is None:
        # The sandbox brings Pillow and pydantic; a run without it should not pay for them.
        from batchbanana.sandbox.running import in_process  # noqa: PLC0415 -- see above

        with in_process(manifest.sandbox) as sandbox:
            options.say(f"A sandbox answers at {sandbox.url}: its pictures are real files, its prices are not.")
            yield endpoint(manifest.provider, sandbox.url, "sandbox-key")
        return
    yield served


def _agreed(matrix: Matrix, folder: Path, limits: LimitSettings, choices: Choices) -> bool:
    """Say what is odd, show a large plan to a person and ask; without a terminal, say that a cap would be wise."""
    warn(matrix, choices.base_url)
    warn_of_limits(matrix, limits)
    if matrix.cells <= ASK_TASKS and estimate(matrix) <= ASK_MICRO_USD:
        return True
    if choices.yes or not (sys.stdin.isatty() and sys.stderr.isatty()):
        if limits.max_cost is None:
            options.say("No max_cost is set: only the size of the plan bounds what this run spends.")
        return True
    with read_ledger(folder) as store:
        found = survey(matrix, store)
    if found.missing <= ASK_TASKS and found.low <= ASK_MICRO_USD:
        return True
    options.say(tables.plan_text(matrix, found, limits, str(folder)))
    return click.confirm("Go?", err=True)


def _console(*, quiet: bool) -> Silent:
    if quiet:
        return Silent()
    # A terminal that does not know its width, as in some containers, would show an empty bar.
    return Bar() if sys.stderr.isatty() and os.get_terminal_size(sys.stderr.fileno()).columns else Lines()
