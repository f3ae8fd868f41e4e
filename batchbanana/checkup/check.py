"""What a check found."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from batchbanana.errors import Exit


class State(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"  # worth knowing; a run would begin all the same
    BAD = "bad"  # a run would not get far


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: a word or two.
        text: what was found, without secrets; when it is not well, with the remedy.
        exit_code: what a command ends with when this is bad.
    """

    name: str
    state: State
    text: str
    exit_code: Exit = Exit.MADE


def ok(name: str, text: str) -> Check:
    """Say that something is well."""
    return Check(name=name, state=State.OK, text=text)


def warn(name: str, text: str) -> Check:
    """Say that something is worth knowing."""
    return Check(name=name, state=State.WARN, text=text)


def bad(name: str, text: str, exit_code: Exit) -> Check:
    """Say that something keeps a run from working."""
    return Check(name=name, state=State.BAD, text=text, exit_code=exit_code)


def exit_code(checks: Iterable[Check]) -> Exit:
    """Give the exit code of the first check that is bad; warnings do not count."""
    return next((check.exit_code for check in checks if check.state is State.BAD), Exit.MADE)
