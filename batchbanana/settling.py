"""What the ledger and the shelf are told of an attempt that has come back. Pure."""

from batchbanana.feed import Work
from batchbanana.ledger import Ending, Settlement
from batchbanana.policy import GiveUp
from batchbanana.record import Errand, failure_record
from batchbanana.shelf import Parcel
from batchbanana.task import Attempt, Billed, Delivery, Failure, Held, Outcome


def cost_of(attempt: Attempt, result: Delivery | Failure | Held) -> int | None:
    """Say what an attempt has cost in micro-dollars; None when nobody knows, or not yet."""
    if isinstance(result, Held) or result.billed is Billed.UNKNOWN:
        return None
    return attempt.rung.cost(result.charge) if result.billed is Billed.YES else 0


def parcel(work: Work, attempt: Attempt, delivery: Delivery, departed: float | None) -> Parcel:
    """Give what the shelf must know to bring an image to its place; `departed` is in unix seconds."""
    return Parcel(
        attempt=attempt.id,
        errand=Errand.of(attempt.task, attempt.rung),
        images=(delivery.image, *delivery.extras),
        billed=delivery.billed,
        cost=attempt.rung.cost(delivery.charge),
        model_version=delivery.model_version,
        tries=work.tries + 1,
        departed=departed,
        replaces=work.known.file,
        replaced=work.known.outcome if work.known.file else None,
        differed=work.known.differed,
    )


def ending(work: Work, attempt: Attempt, end: GiveUp) -> Ending:
    """Give the outcome of a task that ends without an image."""
    record = failure_record(Errand.of(attempt.task, attempt.rung), end.outcome, work.tries, end.reason)
    return Ending(key=work.task.key, outcome=end.outcome, attempt=attempt.id, record=record)


def settlement(
    attempt: Attempt, failure: Failure, result: str, departed: float | None, end: Ending | None = None
) -> Settlement:
    """Give what the ledger is told of an attempt without an image.

    Args:
        attempt: which.
        failure: how it ended.
        result: a failure kind, or `lost`.
        departed: unix seconds at which its bytes left; None if they did not.
        end: the task's outcome, if this decided it.
    """
    return Settlement(
        departed=departed,
        attempt=attempt.id,
        result=str(result),
        billed=failure.billed,
        cost=cost_of(attempt, failure) if failure.billed is Billed.YES else None,
        status=failure.status,
        message=failure.message,
        ending=end,
    )


def differed(work: Work, outcome: Outcome) -> int:
    """Count the images of a task that were not what was asked, with one more of this outcome."""
    return work.known.differed + 1 if outcome is Outcome.MISMATCH else 0
