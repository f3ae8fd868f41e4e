"""The exceptions that end a command, named by who must act. Each message is one sentence: what, where, what to do."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class Exit(IntEnum):
    """How a command ended; scripts rely on these numbers, so they never change."""

    MADE = 0
    UNEXPECTED = 1
    USAGE = 2
    SOME_FAILED = 3
    SOME_DIFFER = 4
    MONEY = 10
    HELD = 11
    PERSON = 12
    DISK = 13
    LEDGER = 14
    WATCHDOG = 15
    PAUSED = 75
    INTERRUPTED = 130
    TERMINATED = 143


class BatchError(Exception):
    """A fault that a person can mend; `exit_code` says of which kind."""

    exit_code = Exit.UNEXPECTED


class UsageError(BatchError):
    """The command's words are wrong; nothing was sent."""

    exit_code = Exit.USAGE


class JobHeldError(BatchError):
    """Another run works on this job directory."""

    exit_code = Exit.HELD


class NeedsPersonError(BatchError):
    """The key, the account, TLS or the model must be put right by a person."""

    exit_code = Exit.PERSON


class DiskError(BatchError):
    """The disk is full, read-only or failing."""

    exit_code = Exit.DISK


class LedgerError(BatchError):
    """The ledger cannot be read or written, or is not ours."""

    exit_code = Exit.LEDGER


class FencedError(LedgerError):
    """The job directory belongs to another run by now; this one may not change a thing in it."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Fault:
    """One thing wrong with a manifest.

    Attributes:
        file: the file as the user named it.
        line: 1-based; 0 when the whole file is meant.
        message: one sentence that names the key or value and the remedy.
    """

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        """Render as `file:line: message`, which editors can jump to."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.message}"


MOST_TOLD = 100  # faults; more than that are one mistake that was made over and over


class ManifestError(UsageError):
    """All faults of a manifest at once, a line each, in the order of their places; of very many, the first ones."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(sorted(set(faults)))
        more = len(self.faults) - MOST_TOLD
        rest = [f"and {more:,} more; mend these, and look again"] if more > 0 else []
        super().__init__("\n".join([*map(str, self.faults[:MOST_TOLD]), *rest]))
