"""Options and texts that commands share. Imports nothing heavy."""

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import click

from batchbanana.names import printable

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

MOST_MICRO_USD = 10**15  # as in a manifest

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitOptions:
    """Limits given on the command line, which win over the manifest's; None was not given. Money in micro-dollars."""

    concurrency: int | None = None
    rpm: int | None = None
    max_cost: int | None = None
    max_possibly_billed: int | None = None


def _usd(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int | None:
    """Read dollars as micro-dollars, exactly."""
    if value is None:
        return None
    try:
        micro = Decimal(value.removeprefix("$")) * 1_000_000
        is_sound = 0 < micro < MOST_MICRO_USD and micro == int(micro)
    except ArithmeticError:  # no number, not a number, or larger than any
        is_sound = False
    if not is_sound:
        raise click.BadParameter(f"{value!r} is not an amount of dollars such as 25 or 12.50")
    return int(micro)


def limits(function: Command) -> Command:
    """Add the options that make a `LimitOptions`."""
    options = (
        click.option("--concurrency", type=click.IntRange(1, 10_000), metavar="N", help="Requests in flight at once."),
        click.option("--rpm", type=click.IntRange(1, 10**9), metavar="N", help="Never more starts in any 60 seconds."),
        click.option("--max-cost", metavar="USD", callback=_usd, help="Never spend more, over all runs of this job."),
        click.option(
            "--max-possibly-billed",
            metavar="USD",
            callback=_usd,
            help="Stop when attempts without an answer may have cost so much.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


manifests = click.argument("manifests", metavar="MANIFEST…", nargs=-1, required=True, type=click.Path(path_type=Path))
models = click.option(
    "--models", type=click.Path(path_type=Path), metavar="FILE", help="YAML with models to add, or to change."
)


def _folder(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Path | None:
    if value is not None and not value.strip():  # a variable that is not set would mean the current folder
        raise click.BadParameter("it names no folder: name one, or leave the option out")
    return None if value is None else Path(value)


output = click.option("--output", callback=_folder, metavar="DIR", help="The job directory. [output/NAME]")
max_tasks = click.option(
    "--max-tasks",
    type=click.IntRange(min=1),
    default=1_000_000,
    show_default=True,
    metavar="N",
    help="Refuse larger matrices.",
)


def say(text: str) -> None:
    """Tell a person on standard error; one who has left is not told, and nothing else changes."""
    with contextlib.suppress(OSError):
        click.echo(printable(text), err=True)


def tell(text: str) -> None:
    """Give a person on standard output what was asked for."""
    click.echo(printable(text))


def tell_in_pieces(texts: Iterable[str]) -> None:
    """Do the same with a line that is too long to be held."""
    for text in texts:
        click.echo(printable(text), nl=False)
    click.echo()


def folder(name: str, chosen: Path | None, among: int = 1) -> Path:
    """Give the job directory: one manifest fills the folder that --output names, several get one each inside it."""
    if chosen is None:
        return Path("output") / name
    return chosen if among == 1 else chosen / name
