"""The commands. The only module that exits; what goes wrong becomes one sentence on standard error and an exit code."""

import contextlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import click

from batchbanana import __version__
from batchbanana.errors import BatchError, Exit, UsageError

EXIT_CODES = """\b
Exit codes:
  0  everything is made             1  unexpected error
  2  usage or manifest              3  finished, some failed or were refused
  4  finished, some degraded or mismatched
 10  money cap reached             11  another run holds the job
 12  key, billing, TLS or model: needs a person
 13  disk                          14  ledger
 15  watchdog: no progress         75  paused, run again later
130/143  stopped by a signal
An unknown code means failure."""

ASK_TASKS = 100  # above so many tasks …
ASK_USD = 5  # … or dollars, a person at a terminal is asked first

Context = dict[str, object]


def main() -> int:
    """Run the command line and give its exit code."""
    arguments = sys.argv[1:]
    try:
        result = commands.main(arguments, prog_name="batchbanana", standalone_mode=False)
    except click.exceptions.Abort:
        return Exit.INTERRUPTED
    except click.ClickException as error:
        _say(f"batchbanana: {error.format_message()}; see 'batchbanana --help'")
        return Exit.USAGE
    except BatchError as error:
        _say(f"batchbanana: {error}" if "\n" not in str(error) else str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:  # whoever read our output has left; there is nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.UNEXPECTED
    except Exception as error:  # noqa: BLE001 -- the last resort: a sentence instead of a traceback
        return _unexpected(error, debug="--debug" in arguments)
    return result if isinstance(result, int) else Exit.MADE


def _unexpected(error: Exception, *, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    else:
        _say(
            f"batchbanana: an unexpected error ({type(error).__name__}: {error}); run again with --debug and report it"
        )
    return Exit.UNEXPECTED


def _say(text: str) -> None:
    click.echo(text, err=True)


@click.group(epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def commands(debug: bool) -> None:  # noqa: FBT001 -- click calls it so; main() reads the flag itself
    """Make images in bulk with the Nano Banana models.

    A manifest (YAML or CSV) says what to make; running it again goes on where it stopped.
    """


Manifests = click.argument("manifests", nargs=-1, required=True, type=click.Path(path_type=Path))
Output = click.option(
    "--output", type=click.Path(path_type=Path), metavar="DIR", help="The job directory. [output/NAME]"
)
MaxTasks = click.option("--max-tasks", type=click.IntRange(min=1), default=1_000_000, show_default=True, metavar="N",
                        help="Refuse larger matrices.")  # fmt: skip


def _limit_options(function: Callable[..., Any]) -> Callable[..., Any]:
    options = [
        click.option("--concurrency", type=click.IntRange(1, 10_000), metavar="N", help="Requests in flight at once."),
        click.option(
            "--rpm", type=click.IntRange(min=1), metavar="N", help="Never more starts than this in any 60 seconds."
        ),
        click.option("--max-cost", metavar="USD", callback=_usd, help="Never spend more, over all runs of this job."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def _usd(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    try:
        micro = Decimal(value.removeprefix("$")) * 1_000_000
        if not micro.is_finite() or micro <= 0 or micro != int(micro):
            raise InvalidOperation
    except InvalidOperation:
        raise click.BadParameter(f"{value!r} is not an amount of dollars such as 25 or 12.50") from None
    return int(micro)


@commands.command()
@Manifests
@Output
@_limit_options
@MaxTasks
@click.option("--json", "as_json", is_flag=True, help="One JSON object a manifest.")
@click.option("--csv", "as_csv", is_flag=True, help="One row a task.")
def plan(
    manifests: Sequence[Path], *, as_json: bool, as_csv: bool, output: Path | None, max_tasks: int, **limits: int | None
) -> int:
    """Expand and price manifests; sends nothing."""
    from batchbanana import tables
    from batchbanana.job import JobDirectory
    from batchbanana.survey import survey

    for path in manifests:
        matrix = _load(path, max_tasks)
        folder = _folder(matrix.manifest.name, output, len(manifests))
        if as_csv:
            _print_csv(matrix)
            continue
        _warn(matrix.warnings)
        settings = _with_options(matrix.manifest.limits, limits)
        store = JobDirectory(folder).read_store()
        with contextlib.closing(store) if store is not None else contextlib.nullcontext():
            found = survey(matrix, store)
        if as_json:
            click.echo(json.dumps(tables.plan_data(matrix, found, settings, str(folder)), ensure_ascii=False))
        else:
            click.echo(tables.plan_text(matrix, found, settings, str(folder)))
    return Exit.MADE


@commands.command(epilog=EXIT_CODES)
@Manifests
@Output
@_limit_options
@MaxTasks
@click.option("--sandbox", is_flag=True, help="Use a local API that costs nothing, for this run.")
@click.option("--base-url", metavar="URL", help="Where the API is.")
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="Only the first N missing tasks.")
@click.option(
    "--only", multiple=True, metavar="KEY=VALUE", help="Only these: an axis, a variable, job=ID or outcome=WORD."
)
@click.option("--retry", metavar="OUTCOMES", default="", help="Ask again: failed,refused,mismatch,degraded.")
@click.option("--upgrade", is_flag=True, help="Ask again for what was made at a lower resolution.")
@click.option("--yes", is_flag=True, help="Do not ask before a large run.")
@click.option("--json", "as_json", is_flag=True, help="The summary as one JSON object on standard output.")
@click.option("--quiet", is_flag=True, help="Only what a person must know.")
def run(manifests: Sequence[Path], *, output: Path | None, max_tasks: int, **options: Any) -> int:
    """Make what is missing. Running again goes on where it stopped."""
    from batchbanana import tables

    codes = []
    for path in manifests:
        matrix = _load(path, max_tasks)
        folder = _folder(matrix.manifest.name, output, len(manifests))
        summary = _run_one(matrix, folder, options)
        if summary is None:
            return Exit.USAGE
        if options["as_json"]:
            click.echo(json.dumps(summary.to_json(), ensure_ascii=False))
        else:
            click.echo(tables.summary_text(summary), err=True)
        codes.append(summary.exit_code)
        if _weight(summary.exit_code) > _weight(Exit.SOME_FAILED):
            break
    return max(codes, key=_weight)


def _weight(code: int) -> int:
    """Order exit codes of several manifests: a stop weighs more than failures, and these more than differences."""
    return {Exit.MADE: 0, Exit.SOME_DIFFER: 1, Exit.SOME_FAILED: 2}.get(Exit(code), 3)


def _run_one(matrix: Any, folder: Path, options: dict[str, Any]) -> Any:
    from functools import partial

    import anyio

    from batchbanana import session
    from batchbanana.models import Registry

    limits = _with_options(matrix.manifest.limits, options)
    session.check_prices(matrix, limits)
    selection = _selection(matrix, options)
    _warn(matrix.warnings)
    if not _agreed(matrix, folder, limits, yes=options["yes"]):
        return None
    with _endpoint(matrix.manifest, options) as endpoint:
        order = session.Order(
            matrix=matrix,
            registry=Registry.builtin(),
            output=folder,
            limits=limits,
            endpoint=endpoint,
            selection=selection,
        )
        console = _console(quiet=options["quiet"])
        try:
            return anyio.run(partial(session.run, order, console))
        finally:
            console.close()


@contextlib.contextmanager
def _endpoint(manifest: Any, options: dict[str, Any]) -> Iterator[Any]:
    from batchbanana.session import find_key
    from batchbanana.transport import Endpoint

    provider = manifest.provider
    if options["sandbox"]:
        from batchbanana.sandbox.running import in_process

        if options["base_url"]:
            raise UsageError("--sandbox and --base-url exclude each other; leave one out")
        with in_process(manifest.sandbox) as sandbox:
            _say(f"A sandbox answers at {sandbox.url}: its pictures are real files, and nothing is billed.")
            yield Endpoint.build(sandbox.url, provider.auth, "sandbox-key")
        return
    if provider.format != "gemini":
        raise UsageError(f"provider.format: {provider.format} is not spoken yet; use gemini, which relays speak too")
    base = options["base_url"] or provider.base_url
    yield Endpoint.build(base, provider.auth, find_key(provider, os.environ))


def _agreed(matrix: Any, folder: Path, limits: Any, *, yes: bool) -> bool:
    """Show a large plan to a person and ask; without a terminal, say that a cap would be wise."""
    from batchbanana import tables
    from batchbanana.estimate import estimate
    from batchbanana.job import JobDirectory
    from batchbanana.survey import survey

    at_terminal = sys.stdin.isatty() and sys.stderr.isatty()
    large = matrix.cells > ASK_TASKS or estimate(matrix) > ASK_USD * 1_000_000
    if not large:
        return True
    if yes or not at_terminal:
        if limits.max_cost is None:
            _say("No max_cost is set: nothing but the size of the plan bounds what this run spends.")
        return True
    store = JobDirectory(folder).read_store()
    with contextlib.closing(store) if store is not None else contextlib.nullcontext():
        found = survey(matrix, store)
    if found.missing <= ASK_TASKS and found.low <= ASK_USD * 1_000_000:
        return True
    _say(tables.plan_text(matrix, found, limits, str(folder)))
    return click.confirm("Go?", err=True)


@commands.command()
@click.argument("target", type=click.Path(path_type=Path))
@Output
@MaxTasks
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def status(target: Path, *, output: Path | None, max_tasks: int, as_json: bool) -> int:
    """Tell how a job stands: a manifest, or a job directory."""
    from batchbanana import tables

    data = _status(target, output, max_tasks)
    click.echo(json.dumps(data, ensure_ascii=False) if as_json else tables.status_text(data))
    return Exit.MADE


def _status(target: Path, output: Path | None, max_tasks: int) -> dict[str, object]:
    from batchbanana.job import JobDirectory
    from batchbanana.status import read_status

    if not target.is_dir():
        matrix = _load(target, max_tasks)
        return read_status(JobDirectory(_folder(matrix.manifest.name, output, 1)), matrix)
    job = JobDirectory(target)
    manifest = _manifest_of(job)
    return read_status(job, _load(manifest, max_tasks) if manifest is not None and manifest.is_file() else None)


def _manifest_of(job: Any) -> Path | None:
    store = job.read_store()
    if store is None:
        raise UsageError(
            f"{job.path} is not a job directory: it has no ledger; name a manifest or a folder that 'run' made"
        )
    with contextlib.closing(store):
        last = store.last_run()
    return Path(last.manifest) if last is not None else None


@commands.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON list.")
def models(*, as_json: bool) -> int:
    """Show what is known of the models."""
    from batchbanana import tables
    from batchbanana.models import Registry

    known = Registry.builtin().models
    click.echo(json.dumps(tables.models_data(known), ensure_ascii=False) if as_json else tables.models_text(known))
    return Exit.MADE


@commands.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0 takes a free one.")
@click.option("--script", type=click.Path(path_type=Path), metavar="FILE", help="YAML with faults, quotas and latency.")
def sandbox(host: str, port: int, script: Path | None) -> int:
    """Serve the local API, for trying out, rehearsals and tests."""
    from functools import partial

    import anyio

    from batchbanana.sandbox.running import serve

    rules = _read_script(script) if script is not None else {}

    def ready(url: str) -> None:
        click.echo(f"{url}  (any key will do; {url}/sandbox/bill counts what it would have billed; Ctrl-C ends it)")

    try:
        anyio.run(partial(serve, rules, host=host, port=port, on_ready=ready))
    except OSError as error:
        raise UsageError(f"Cannot listen on {host}:{port} ({error.strerror}); choose another --port") from error
    return Exit.MADE


def _read_script(path: Path) -> dict[str, object]:
    import yaml

    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{path} cannot be read as YAML ({type(error).__name__}); correct it") from error
    if not isinstance(data, dict):
        raise UsageError(f"{path} is not a mapping; see the sandbox's documentation")
    return data


# Shared by the commands


def _load(path: Path, max_tasks: int) -> Any:
    from batchbanana import matrix
    from batchbanana.models import Registry

    return matrix.load(path, Registry.builtin(), max_tasks=max_tasks)


def _folder(name: str, output: Path | None, manifests: int) -> Path:
    """One manifest fills the folder that --output names; several get a folder each in it."""
    if output is None:
        return Path("output") / name
    return output if manifests == 1 else output / name


def _with_options(limits: Any, options: dict[str, Any]) -> Any:
    names = {"concurrency": "concurrency", "rpm": "requests_per_minute", "max_cost": "max_cost"}
    return replace(
        limits, **{names[key]: value for key, value in options.items() if key in names and value is not None}
    )


def _warn(warnings: Sequence[str]) -> None:
    for warning in warnings:
        _say(f"warning: {warning}")


def _console(*, quiet: bool) -> Any:
    from batchbanana.progress import Bar, Lines, Silent

    if quiet:
        return Silent()
    return Bar() if sys.stderr.isatty() else Lines()


def _selection(matrix: Any, options: dict[str, Any]) -> Any:
    from batchbanana.feed import Selection
    from batchbanana.selection import accepts, outcomes

    retry = outcomes(options["retry"]) | (outcomes("degraded") if options["upgrade"] else frozenset())
    return Selection(retry=retry, accepts=accepts(options["only"], matrix), limit=options["limit"])


def _print_csv(matrix: Any) -> None:
    import csv

    writer = csv.writer(click.get_text_stream("stdout"))
    writer.writerow(("key", "job", "model", "ratio", "resolution", "sample", "price_usd", "name", "prompt"))
    for task in matrix:
        price = task.rungs[0].price
        cost = "" if price is None else price / 1_000_000
        writer.writerow(
            (task.key, task.job, task.model, task.ratio, task.resolution, task.sample, cost, task.name, task.prompt)
        )
