"""The summary of a run: what it came to, as people, scripts and `summary.json` are told."""

from dataclasses import asdict, dataclass

from batchbanana.errors import Exit
from batchbanana.feed import Tally
from batchbanana.ledger import Money
from batchbanana.policy import Stop
from batchbanana.record import usd
from batchbanana.task import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a run came to. The six counts are the plan's and add up to `tasks`.

    Attributes:
        attempts: requests sent in this run.
        possibly_billed: attempts of the whole job whose answer, if one came, does not say that they are free;
            `possibly_billed_usd` is their price at worst.
        cost_usd: of the whole job, over all its runs.
        run_cost_usd: of this run alone.
        unpriced: answers of the whole job that were billed at an unknown price, which no sum holds.
        reserved_usd: for attempts that are not settled yet: their image is paid for and still to be fetched.
        seconds: of this run.
        stopped: None, or why it ended before its work was done.
        resume_in: seconds after which running again makes sense, where the server or a limit said so.
        output: the job directory.
        is_cut_short: whether it ended before it had looked at all its work; `stopped` may also tell of one task.
    """

    name: str
    tasks: int
    done: int
    degraded: int
    mismatch: int
    refused: int
    failed: int
    pending: int
    attempts: int
    possibly_billed: int
    possibly_billed_usd: float
    cost_usd: float
    run_cost_usd: float
    reserved_usd: float
    unpriced: int
    seconds: float
    stopped: str | None
    resume_in: float | None
    exit_code: int
    output: str
    is_cut_short: bool = False

    def to_json(self) -> dict[str, object]:
        """Give plain data with the documented names."""
        data = asdict(self)
        del data["is_cut_short"]
        return data


def counts(tally: Tally) -> dict[str, int]:
    """Give the six counts and their sum under their documented names."""
    named = {str(outcome): tally.count(outcome) for outcome in Outcome}
    return {"tasks": tally.total, **named, "pending": tally.count(None)}


def money(spent: Money) -> dict[str, float | int]:
    """Give what a job has cost under the documented names."""
    return {
        "possibly_billed": spent.possible_count,
        "possibly_billed_usd": usd(spent.possible),
        "cost_usd": usd(spent.settled),
        "reserved_usd": usd(spent.reserved),
        "unpriced": spent.unpriced,
    }


def exit_code(tally: Tally, stopped: Stop | None, trouble: Stop | None) -> Exit:
    """Say how a run ended: a stop counts most, then what needs a person, then failures, then differences."""
    if stopped is not None:
        return stopped.exit_code
    if trouble is not None:
        return trouble.exit_code
    if tally.count(Outcome.FAILED) or tally.count(Outcome.REFUSED):
        return Exit.SOME_FAILED
    if tally.count(Outcome.DEGRADED) or tally.count(Outcome.MISMATCH):
        return Exit.SOME_DIFFER
    return Exit.MADE
