"""`batchbanana doctor`."""

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import anyio
import click

from batchbanana import probe
from batchbanana.checkup import Check, State, Subject, examine, exit_code
from batchbanana.cli import options
from batchbanana.cli.common import load_matrix, read_ledger
from batchbanana.errors import Exit, UsageError
from batchbanana.ledger import Store
from batchbanana.manifest import Manifest
from batchbanana.matrix import Matrix
from batchbanana.progress import Silent
from batchbanana.record import usd
from batchbanana.service import endpoint, find_key
from batchbanana.session import Order, run
from batchbanana.summary import exit_code as run_exit_code
from batchbanana.survey import survey
from batchbanana.tables import table
from batchbanana.transport import Endpoint

HEAD = ("model", "told", "ratio", "came", "pixels", "size", "came", "type", "bytes", "seconds", "price", "outcome")


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What a probe came to.

    Attributes:
        folder: where its images are.
        stopped: why it ended before its work was done; None when it did not.
    """

    rows: Sequence[probe.Row]
    folder: Path
    exit_code: int
    stopped: str | None = None


@click.command("doctor", epilog=options.EXIT_CODES)
@click.argument("manifest", metavar="MANIFEST", type=click.Path(path_type=Path))
@options.output
@options.models
@options.max_tasks
@click.option("--base-url", metavar="URL", help="Where the API is.")
@click.option("--sandbox", is_flag=True, help="Look at a local API that costs nothing.")
@click.option("--probe", "buys", is_flag=True, help="Buy one image of each model and size, and show what comes.")
@click.option("--yes", is_flag=True, help="Do not ask before buying.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(  # noqa: PLR0913 -- one option a parameter, as click wants it
    manifest: Path,
    *,
    output: Path | None,
    models: Path | None,
    max_tasks: int,
    base_url: str | None,
    sandbox: bool,
    buys: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Check what a run needs: key, network, disk, ledger, limits. Ends with 0 unless something is bad."""
    if sandbox and base_url:
        raise UsageError("--sandbox and --base-url exclude each other; leave one out")
    matrix = load_matrix(manifest, max_tasks, models)
    folder = options.folder(matrix.manifest.name, output)
    with _sandbox(matrix.manifest, wanted=sandbox) as served:
        checks = examine(
            Subject(
                matrix=matrix,
                folder=folder,
                limits=matrix.manifest.limits,
                environment=os.environ,
                base_url=base_url,
                sandbox=served,
            )
        )
        if not as_json:
            options.tell(_checks_text(checks))
        probed = None
        if buys and exit_code(checks) is Exit.MADE:
            probed = _probe(matrix, folder, served, base_url, yes=yes)
        elif buys:
            options.say("Nothing was bought, because something is bad; put it right and probe again")
    code = exit_code(checks) if probed is None else probed.exit_code
    if as_json:
        options.tell(json.dumps(_data(checks, probed, code), ensure_ascii=False))
    elif probed is not None:
        options.tell(_probe_text(probed))
    return code


@contextmanager
def _sandbox(manifest: Manifest, *, wanted: bool) -> Iterator[Endpoint | None]:
    if not wanted:
        yield None
        return
    # The sandbox brings Pillow and pydantic; a doctor without it should not pay for them.
    from batchbanana.sandbox.running import in_process  # noqa: PLC0415 -- see above

    with in_process(manifest.sandbox) as sandbox:
        yield endpoint(manifest.provider, sandbox.url, "sandbox-key")


def _probe(matrix: Matrix, folder: Path, sandbox: Endpoint | None, base_url: str | None, *, yes: bool) -> Probed:
    """Buy what is missing as tasks of the job, by a run like any other."""
    if sandbox is not None:  # rehearsed pictures must not lie among real ones
        folder = Path(tempfile.mkdtemp(prefix="batchbanana-probe-"))
    with read_ledger(folder) as store:
        specimens = probe.choose(matrix, store)
        if not any(specimen.is_missing for specimen in specimens):
            code = run_exit_code(survey(matrix, store).tally, None, None)
            return Probed(rows=_rows(specimens, store, matrix), folder=folder, exit_code=code)
    _announce(specimens, folder, asks=sandbox is None and not yes)
    provider = matrix.manifest.provider
    order = Order(
        matrix=matrix,
        output=folder,
        limits=matrix.manifest.limits,
        endpoint=sandbox or endpoint(provider, base_url, find_key(provider, os.environ)),
        selection=probe.selection(specimens),
        is_rehearsal=sandbox is not None,
    )
    summary = anyio.run(partial(run, order, Silent()))
    with read_ledger(folder) as store:
        rows = _rows(specimens, store, matrix)
    return Probed(rows=rows, folder=folder, exit_code=summary.exit_code, stopped=summary.stopped)


def _announce(specimens: list[probe.Specimen], folder: Path, *, asks: bool) -> None:
    """Say what is going to be bought, and ask a person at a terminal."""
    found = probe.price(specimens)
    unpriced = f"; no price is known for {found.unpriced} of them" if found.unpriced else ""
    options.say(
        f"The probe makes {found.missing} of the job's images in {folder}, for ${usd(found.low):.2f}, "
        f"at worst ${usd(found.high):.2f} if all goes wrong that can{unpriced}"
    )
    if asks and sys.stdin.isatty() and sys.stderr.isatty() and not click.confirm("Go?", err=True):
        raise UsageError("Nothing was sent; --yes goes without asking")


def _rows(specimens: list[probe.Specimen], store: Store | None, matrix: Matrix) -> list[probe.Row]:
    ratios = dict.fromkeys(ratio for model in matrix.registry.models for ratio in model.ratios)
    return probe.rows(specimens, store, list(ratios))


def _data(checks: Sequence[Check], probed: Probed | None, code: int) -> dict[str, object]:
    told = [{"name": check.name, "state": str(check.state), "text": check.text} for check in checks]
    data: dict[str, object] = {"checks": told, "exit_code": int(code)}
    if probed is not None:
        rows = [asdict(row) for row in probed.rows]
        data["probe"] = {"rows": rows, "output": str(probed.folder), "stopped": probed.stopped}
    return data


def _checks_text(checks: Sequence[Check]) -> str:
    width = max(len(check.name) for check in checks)
    lines = [f"{check.state:<4}  {check.name:<{width}}  {check.text}" for check in checks]
    found = {state: sum(check.state is state for check in checks) for state in State}
    return "\n".join([*lines, f"{found[State.BAD]} bad, {found[State.WARN]} to know, {found[State.OK]} ok"])


def _probe_text(probed: Probed) -> str:
    lines = ["", table(HEAD, [_cells(row) for row in probed.rows])]
    lines += [f"{row.model} at {row.resolution}: {row.text}" for row in probed.rows if row.text]
    bought = sum(row.bought for row in probed.rows)
    lines.append(f"{bought} asked for now, {len(probed.rows) - bought} there already; the job is in {probed.folder}")
    if probed.stopped:
        lines.append(f"stopped: {probed.stopped}")
    return "\n".join(lines)


def _cells(row: probe.Row) -> tuple[str, ...]:
    return (
        row.model,
        "same" if row.told == row.model else row.told or "-",
        row.ratio,
        row.delivered_ratio or "-",
        row.pixels or "-",
        row.resolution,
        row.delivered_resolution or "-",
        (row.mime or "-").removeprefix("image/"),
        "-" if row.bytes is None else str(row.bytes),
        "-" if row.seconds is None else f"{row.seconds:.1f}",
        "-" if row.cost_usd is None else f"${row.cost_usd:.3f}",
        row.outcome,
    )
