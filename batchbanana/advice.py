"""What to do about each cause of failure: one table, a row a remedy. The first row that fits counts."""

import re
import shlex
from dataclasses import dataclass

from batchbanana.failures import LOST, PENDING, POSSIBLY_BILLED, WAITING, Cause, note_of
from batchbanana.task import FailureKind, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    """The commands that a remedy names, ready to be copied.

    Attributes:
        target: manifest, as the user named it.
        output: the job directory where it is not the usual one.
        models: a registry of the user's, if one was named.
    """

    target: str
    output: str | None = None
    models: str | None = None

    def line(self, command: str, options: str = "") -> str:
        """Write a command with this job's arguments."""
        named = (("--output", self.output), ("--models", self.models))
        given = [f"{name} {shlex.quote(value)}" for name, value in named if value is not None]
        return " ".join(filter(None, ("batchbanana", command, shlex.quote(self.target), *given, options)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """One row of the table.

    Attributes:
        outcome: what the cause must be; empty fits any.
        kinds: likewise; none fits any.
        says: a regular expression to be found in the cause's words.
        statuses: of HTTP; none fits any.
        text: what to do; `{run}` and `{doctor}` are commands, `{run --retry failed}` one with options.
    """

    outcome: str = ""
    kinds: tuple[str, ...] = ()
    says: str = ""
    statuses: tuple[int, ...] = ()
    text: str

    def fits(self, cause: Cause) -> bool:
        """Whether this row is about a cause."""
        return (
            self.outcome in {"", cause.outcome}
            and (not self.kinds or cause.kind in self.kinds)
            and (not self.statuses or cause.status in self.statuses)
            and re.search(self.says, cause.words) is not None
        )


SLOW = "raise `timeouts:` for that size or lower `limits.concurrency`"

REMEDIES = (
    Remedy(
        outcome=WAITING,
        text=f"{{run}} fetches them and does not buy them again; to give one up, remove its file "
        f"`{note_of('<attempt>')}`: the next run then buys that image again",
    ),
    Remedy(
        outcome=POSSIBLY_BILLED,
        kinds=(FailureKind.TIMEOUT,),
        text=f"Compare with the provider's invoice; if it was billed, {SLOW} before {{run}}",
    ),
    Remedy(
        outcome=POSSIBLY_BILLED,
        kinds=(LOST,),
        text="Compare with the provider's invoice; where these come to max_possibly_billed, "
        "{run} stops until --max-possibly-billed raises it",
    ),
    Remedy(
        outcome=POSSIBLY_BILLED,
        text="The answer does not say whether it was billed; compare with the provider's invoice",
    ),
    # Images that are there, but are not what was asked.
    Remedy(outcome=Outcome.DEGRADED, text=f"{SLOW.capitalize()}, then ask for the size first asked: {{run --upgrade}}"),
    Remedy(
        outcome=Outcome.MISMATCH,
        says=" answered, but ",
        text="The server answers with another model: see {doctor --probe}, choose a `model` or relay that serves it, "
        "then {run --retry mismatch}",
    ),
    Remedy(
        outcome=Outcome.MISMATCH,
        text="See with {doctor --probe} what the service really makes; ask for that in the manifest, "
        "or ask again: {run --retry mismatch}",
    ),
    Remedy(
        outcome=Outcome.FAILED,
        kinds=("aside",),
        text="See with {doctor --probe} what the service really makes, or set `on_mismatch: keep`; "
        "then {run --retry failed}",
    ),
    # Refusals.
    Remedy(
        outcome=Outcome.REFUSED,
        kinds=(FailureKind.NO_IMAGE,),
        text="A filter on finished images often lets the same prompt pass another time: {run --retry refused}",
    ),
    Remedy(
        outcome=Outcome.REFUSED,
        text="Change these prompts or references in the manifest, then {run}; the same again: {run --retry refused}",
    ),
    # Tasks that are given up.
    Remedy(
        outcome=Outcome.FAILED,
        kinds=(FailureKind.TIMEOUT,),
        text=f"{SLOW.capitalize()}, then {{run --retry failed}}",
    ),
    Remedy(
        outcome=Outcome.FAILED,
        kinds=(FailureKind.NO_IMAGE,),
        says="text only",
        text="Say in the prompt that a picture is wanted, then {run}; the same again: {run --retry failed}",
    ),
    Remedy(
        outcome=Outcome.FAILED,
        kinds=(FailureKind.NO_IMAGE,),
        says="not one of this service",
        text="Check the address with {doctor}, then {run --retry failed}",
    ),
    Remedy(
        outcome=Outcome.FAILED,
        kinds=(FailureKind.INVALID,),
        statuses=(413,),
        text="Make the references smaller, then {run}",
    ),
    Remedy(
        outcome=Outcome.FAILED,
        kinds=(FailureKind.INVALID,),
        text="Mend in the manifest what the server names, then {run}; if the fault was the server's, "
        "{run --retry failed}",
    ),
    Remedy(
        outcome=Outcome.FAILED,
        kinds=(FailureKind.REFERENCE,),
        text="Put the reference files right and leave them alone during the run, then {run --retry failed}",
    ),
    Remedy(
        outcome=Outcome.FAILED,
        kinds=(FailureKind.DOWNLOAD,),
        text="The images were made, but their addresses give nothing: ask the relay, then buy them again with "
        "{run --retry failed}",
    ),
    Remedy(
        outcome=Outcome.FAILED,
        kinds=(FailureKind.INTERNAL,),
        text="Report it with the output of --debug; after an upgrade, {run --retry failed}",
    ),
    Remedy(
        outcome=Outcome.FAILED,
        kinds=(LOST,),
        text="See in the system's log what kills the program, then {run --retry failed}",
    ),
    Remedy(outcome=Outcome.FAILED, text="Often passes later: {run --retry failed}"),
    # Pending tasks: nothing is lost, and a plain run takes them up.
    Remedy(
        outcome=PENDING,
        kinds=(FailureKind.MODEL_GONE,),
        text="Choose another `model` in the manifest; {doctor} lists which are served; then {run}",
    ),
    Remedy(
        outcome=PENDING,
        kinds=(FailureKind.FATAL, FailureKind.NOT_SENT),
        text="Put it right, see with {doctor} whether it is, then {run}",
    ),
    Remedy(outcome=PENDING, kinds=(FailureKind.DAY_QUOTA,), text="Wait until the quota begins anew, then {run}"),
    Remedy(outcome=PENDING, kinds=(FailureKind.DISK,), text="Make room on the disk, then {run}"),
    Remedy(
        outcome=PENDING,
        kinds=(FailureKind.RATE_LIMITED,),
        text="Lower `limits.requests_per_minute` if it goes on; then {run}",
    ),
    Remedy(text="Nothing is given up: {run} goes on with these"),
)

COMMAND = re.compile(r"\{(run|doctor) ?([^}]*)\}")


def advise(cause: Cause, commands: Commands) -> str:
    """Say in one sentence what to do about a cause, with the exact commands."""
    remedy = next(remedy for remedy in REMEDIES if remedy.fits(cause))
    return COMMAND.sub(lambda named: f"`{commands.line(named[1], named[2])}`", remedy.text)
