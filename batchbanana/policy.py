"""What follows from a failure: pure functions over a task's history. Knows no HTTP, no clock and no chance.

The numbers are those of the failure table in the project's policy; each stands beside its reason.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from batchbanana.errors import Exit
from batchbanana.record import span
from batchbanana.task import Failure, FailureKind, OnMismatch, Outcome, Rung

MAX_TIMEOUTS = 3  # each may have been billed although nothing came back
TIMEOUTS_A_RUNG = 2  # one more try at the same size, then a smaller one
MAX_SERVER_ERRORS = 5  # four retries
SERVER_ERRORS_ALONE = 3  # while other tasks pass, the fault is this task's
MAX_LOST = 10  # in flight at ten kills: this task may be what kills us
INVALID_FROM_START = 10  # all of the first answers invalid: the manifest is wrong, not the tasks
INVALID_IN_A_ROW = 50
UNFETCHED_IN_A_ROW = 5  # images that were paid for and nobody could fetch: the next would be bought in vain as well
INTERNAL_SAME = 3
MISMATCH_RETRIES = 2  # as often as an answer without an image: what a relay cannot make, it will not make at the tenth
LONGEST_HINT = 3600.0  # seconds; asked to wait longer, a run pauses and says when to come back
SHORTEST_HINT = 1.0  # seconds; doubled with each failure of a task, for servers that ask for no pause and mean one
GATE_SPREAD = 0.2  # a gate opens between the hint and 20 % later …
LONGEST_SPREAD = (
    3.0  # … but not more than so many seconds: behind it all queue, so it only parts us from other programs
)


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What a task's attempts have come to, over all runs since it was last asked for afresh.

    Attributes:
        rung: index on the task's ladder where the next attempt stands.
        timeouts: on all rungs.
        timeouts_here: on this rung.
        lost: attempts that were in flight when a run died.
        in_a_row: failures in this run; the exponent of the next wait.
    """

    rung: int = 0
    timeouts: int = 0
    timeouts_here: int = 0
    server_errors: int = 0
    no_images: int = 0
    lost: int = 0
    in_a_row: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Ask again after `floor` seconds and a random part of `spread` more; `gate` makes everybody wait as long."""

    floor: float
    spread: float
    gate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp:
    """The task ends without an image."""

    outcome: Outcome
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """The run ends; the task stays pending.

    Attributes:
        resume_in: seconds, None when only a person can help.
        is_own: whether it concerns this job alone, so that others of the same command may still go on.
    """

    exit_code: Exit
    reason: str
    resume_in: float | None = None
    is_own: bool = False

    def dated(self, now: datetime) -> "Stop":
        """Give it with the moment to come back in its reason, if there is one; `now` has a zone."""
        if self.resume_in is None:
            return self
        moment = now.astimezone(UTC) + timedelta(seconds=self.resume_in)
        when = f"run again in {span(self.resume_in)}, after {moment:%Y-%m-%d %H:%M} UTC"
        return replace(self, reason=f"{self.reason}; {when}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SetModelAside:
    """The tasks of this model stay pending, the others go on, and a person is told at the end."""

    reason: str


Decision = Retry | GiveUp | Stop | SetModelAside

KINDS = {str(kind) for kind in FailureKind}

# First and longest wait in seconds before asking again, where the server gives no hint; doubling between them.
BACKOFF: dict[FailureKind, tuple[float, float]] = {
    FailureKind.NOT_SENT: (1, 60),
    FailureKind.TIMEOUT: (2, 60),
    FailureKind.RATE_LIMITED: (15, 120),
    FailureKind.UNAVAILABLE: (5, 120),
    FailureKind.SERVER_ERROR: (2, 60),
    FailureKind.NO_IMAGE: (1, 5),
}


def remember(history: History, kind: FailureKind, rungs: int) -> History:
    """Give the history after one more failure of `kind`, on a ladder of `rungs` rungs."""
    history = replace(history, in_a_row=history.in_a_row + 1)
    if kind is FailureKind.TIMEOUT:
        here = history.timeouts_here + 1
        down = here >= TIMEOUTS_A_RUNG and history.rung + 1 < rungs
        return replace(
            history,
            timeouts=history.timeouts + 1,
            timeouts_here=0 if down else here,
            rung=history.rung + 1 if down else history.rung,
        )
    if kind is FailureKind.SERVER_ERROR:
        return replace(history, server_errors=history.server_errors + 1)
    if kind is FailureKind.NO_IMAGE:
        return replace(history, no_images=history.no_images + 1)
    return history


def recall(results: Iterable[str], rungs: int) -> History:
    """Rebuild a history from the ledger's words: failure kinds in order, and `lost` for what a kill took."""
    history = History()
    for result in results:
        if result == "lost":
            history = replace(history, lost=history.lost + 1)
        elif result in KINDS:
            history = remember(history, FailureKind(result), rungs)
    return replace(history, in_a_row=0)


def verdict(history: History) -> GiveUp | None:
    """Say whether a task may be asked for at all, given what earlier runs went through with it."""
    if history.lost >= MAX_LOST:
        reason = f"it was in flight at {history.lost} kills of the program; ask again with --retry failed"
        return GiveUp(outcome=Outcome.FAILED, reason=reason)
    if _timed_out_for_good(history):
        return GiveUp(outcome=Outcome.FAILED, reason=f"{history.timeouts} timeouts in earlier runs")
    return None


def decide(failure: Failure, after: History, *, others_pass: bool) -> Decision:  # noqa: C901 -- a table, a row a kind
    """Say what follows from a failure.

    Args:
        failure: what happened.
        after: the task's history with this failure in it.
        others_pass: whether other tasks were answered since this task's first server error.
    """
    match failure.kind:
        case FailureKind.NOT_SENT | FailureKind.UNAVAILABLE:
            return _again(failure, after)
        case FailureKind.RATE_LIMITED:
            again = _again(failure, after)
            return replace(again, gate=True) if isinstance(again, Retry) else again
        case FailureKind.TIMEOUT:
            return _give_up(failure, after.timeouts) if _timed_out_for_good(after) else _again(failure, after)
        case FailureKind.SERVER_ERROR:
            most = SERVER_ERRORS_ALONE if others_pass else MAX_SERVER_ERRORS
            return _give_up(failure, after.server_errors) if after.server_errors >= most else _again(failure, after)
        case FailureKind.NO_IMAGE:
            return _give_up(failure, after.no_images) if after.no_images > failure.tries else _again(failure, after)
        case FailureKind.REFUSED:
            return GiveUp(outcome=Outcome.REFUSED, reason=failure.message)
        case FailureKind.INVALID | FailureKind.INTERNAL | FailureKind.REFERENCE | FailureKind.DOWNLOAD:
            return GiveUp(outcome=Outcome.FAILED, reason=failure.message)
        case FailureKind.DAY_QUOTA:
            return Stop(exit_code=Exit.PAUSED, reason=failure.message, resume_in=failure.hint, is_own=True)
        case FailureKind.MODEL_GONE:
            return SetModelAside(reason=failure.message)
        case FailureKind.FATAL:
            return Stop(exit_code=Exit.PERSON, reason=failure.message)
        case FailureKind.DISK:
            return Stop(exit_code=Exit.DISK, reason=failure.message)


def _again(failure: Failure, after: History) -> Retry | Stop:
    if failure.hint is not None and failure.hint > LONGEST_HINT:
        return Stop(exit_code=Exit.PAUSED, reason=failure.message, resume_in=failure.hint)
    first, longest = BACKOFF[failure.kind]
    doubled = 2 ** min(after.in_a_row - 1, 16)  # 2^16 seconds is past every cap
    if failure.hint is not None:
        floor = max(failure.hint, min(longest, SHORTEST_HINT * doubled))
        return Retry(floor=floor, spread=min(floor * GATE_SPREAD, LONGEST_SPREAD))
    ceiling = min(longest, first * doubled)
    # A pause that all share must last: it has a floor. One task's own wait is spread over the whole range.
    shared = failure.kind is FailureKind.RATE_LIMITED
    return Retry(floor=ceiling, spread=ceiling * GATE_SPREAD) if shared else Retry(floor=0, spread=ceiling)


def _give_up(failure: Failure, tries: int) -> GiveUp:
    outcome = failure.final if failure.kind is FailureKind.NO_IMAGE else Outcome.FAILED
    return GiveUp(outcome=outcome, reason=f"{failure.message} ({tries} times)" if tries > 1 else failure.message)


def _timed_out_for_good(history: History) -> bool:
    # On the last rung `timeouts_here` is never set back, so two there end the ladder even below three in all.
    return history.timeouts >= MAX_TIMEOUTS or history.timeouts_here >= TIMEOUTS_A_RUNG


def differs_for_good(on_mismatch: OnMismatch, outcome: Outcome | None, differed: int) -> bool:
    """Say whether an image that is not what was asked ends its task, `differed` of them having come so far."""
    return outcome is not Outcome.MISMATCH or on_mismatch is not OnMismatch.RETRY or differed > MISMATCH_RETRIES


def images_at_worst(on_mismatch: OnMismatch, differed: int) -> int:
    """Say how many images a task may still buy, `differed` of them having come that were not what was asked."""
    return max(1, MISMATCH_RETRIES + 1 - differed) if on_mismatch is OnMismatch.RETRY else 1


class Streaks:
    """Watches answers of all tasks for faults that are not one task's own. Fed in the order of the answers."""

    def __init__(self) -> None:
        self._answers = 0
        self._invalid_from_start = 0
        self._invalid_in_a_row = 0
        self._unfetched = 0
        self._signature = ""
        self._internal: dict[str, int] = {}

    def observe(self, failure: Failure | None) -> Stop | None:
        """Take the next answer, None for an image; returns a stop when the run is not worth its money."""
        if failure is not None and failure.kind is FailureKind.INTERNAL:
            return self._count_internal(failure)
        if failure is not None and failure.kind in {FailureKind.NOT_SENT, FailureKind.REFERENCE, FailureKind.DISK}:
            return None  # no answer at all
        if failure is not None and failure.kind is FailureKind.DOWNLOAD:
            return self._count_unfetched(failure)
        if failure is None or failure.kind is not FailureKind.INVALID:
            self._unfetched = 0 if failure is None else self._unfetched
            self._answers += 1
            self._invalid_in_a_row = 0
            return None
        return self._count_invalid(failure)

    def _count_internal(self, failure: Failure) -> Stop | None:
        count = self._internal[failure.signature] = self._internal.get(failure.signature, 0) + 1
        if count < INTERNAL_SAME:
            return None
        return Stop(exit_code=Exit.UNEXPECTED, reason=f"The same internal error came {count} times: {failure.message}")

    def _count_unfetched(self, failure: Failure) -> Stop | None:
        self._answers += 1
        self._unfetched += 1
        if self._unfetched < UNFETCHED_IN_A_ROW:
            return None
        reason = (
            f"{self._unfetched} images in a row were paid for and could not be fetched. The last: {failure.message}"
        )
        return Stop(exit_code=Exit.PERSON, reason=reason)

    def _count_invalid(self, failure: Failure) -> Stop | None:
        self._answers += 1
        self._invalid_from_start += 1
        same = failure.signature == self._signature
        self._invalid_in_a_row = self._invalid_in_a_row + 1 if same else 1
        self._signature = failure.signature
        all_so_far = self._answers == self._invalid_from_start == INVALID_FROM_START
        if not all_so_far and self._invalid_in_a_row < INVALID_IN_A_ROW:
            return None
        count = INVALID_FROM_START if all_so_far else self._invalid_in_a_row
        reason = f"{count} requests in a row were refused as invalid; mend the manifest. The last: {failure.message}"
        return Stop(exit_code=Exit.PERSON, reason=reason)


def rung_of(rungs: tuple[Rung, ...], history: History) -> Rung:
    """Give the rung of the next attempt; a ladder that has become shorter since ends at its last rung."""
    return rungs[min(history.rung, len(rungs) - 1)]


def worst_case(rungs: tuple[Rung, ...], images: int = 1) -> list[Rung]:
    """List the requests that one task can cost at most: timeouts that are billed all the same, and so many images."""
    asked: list[Rung] = []
    history = History()
    while not _timed_out_for_good(history):
        asked.append(rung_of(rungs, history))
        history = remember(history, FailureKind.TIMEOUT, len(rungs))
    return asked + [rungs[0]] * (images - 1)
