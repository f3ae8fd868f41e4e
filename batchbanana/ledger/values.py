"""What goes into the ledger and comes out of it. Money is in whole micro-dollars, times are unix seconds."""

from dataclasses import dataclass, replace
from enum import Enum, auto

from batchbanana.task import Billed, Outcome

PAUSE = "pause"  # a note of what the run that is at work waits for
PLAN = "plan"  # a note of the plan whose tasks the ledger's outcomes are of …
OUTSIDE = "outside"  # … and of how many outcomes by kind are not, where there are such
ASIDE = "aside"  # an attempt's result: an image came that takes no place, and is kept outside `images/`


class Grant(Enum):
    """Whether an attempt may be sent."""

    GRANTED = auto()
    CAP = auto()  # spend, reservations and this one would pass max_cost
    POSSIBLY_BILLED = auto()  # max_possibly_billed is reached


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """The money limits of a job in micro-dollars; None is no limit.

    Attributes:
        unpriced: what an image counts as that was bought while its price was not known.
    """

    max_cost: int | None = None
    max_possibly_billed: int | None = None
    unpriced: int = 0


@dataclass(slots=True, kw_only=True)
class Money:
    """What a job has cost so far, over all its runs, in micro-dollars.

    Attributes:
        settled: for answers that were billed.
        reserved: for what is in flight.
        possible: at worst, for attempts that got no answer; `possible_count` of them, `possible_unpriced` of these at
            an unknown price.
        unpriced: answers that were billed at an unknown price.
        dearest: the most that an answer has cost, in thousandths of what had been reserved for it; at least 1000.
    """

    settled: int = 0
    reserved: int = 0
    possible: int = 0
    possible_count: int = 0
    possible_unpriced: int = 0
    unpriced: int = 0
    dearest: int = 1000

    def plus(self, other: "Money") -> "Money":
        """Give what two parts of a job have cost together."""
        return Money(
            settled=self.settled + other.settled,
            reserved=self.reserved + other.reserved,
            possible=self.possible + other.possible,
            possible_count=self.possible_count + other.possible_count,
            possible_unpriced=self.possible_unpriced + other.possible_unpriced,
            unpriced=self.unpriced + other.unpriced,
            dearest=max(self.dearest, other.dearest),
        )

    def dear(self, price: int) -> int:
        """Say what a price comes to if it costs as much more as the dearest answer has cost."""
        return -(-price * self.dearest // 1000)

    def at_worst(self, price: int, unpriced: int) -> int:
        """Say what it comes to at most with one more attempt at `price`, if all that is open costs as the dearest did.

        What answers cost above their prices is seen only when they are there; from then on it is reckoned with.

        Args:
            price: micro-dollars.
            unpriced: what each attempt counts as whose price was not known.
        """
        known = self.settled + self.dear(self.reserved + self.possible + price)
        return known + (self.unpriced + self.possible_unpriced) * unpriced


def per_mille(cost: int | None, price: int) -> int:
    """Give a cost in thousandths of the price, rounded up; 0 when one of them is not known."""
    return -(-(cost or 0) * 1000 // price) if price else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the ledger knows of a task.

    Attributes:
        outcome: None while it is pending.
        file: of the image, relative to the job directory, with `size` bytes.
        results: how its attempts without an image ended, in order; only those after the outcome.
        differed: of a `mismatch`: how many images of the task were not what was asked.
        is_final: of a `mismatch`: asking again has ended without an image.
    """

    outcome: Outcome | None = None
    file: str | None = None
    size: int | None = None
    results: tuple[str, ...] = ()
    differed: int = 0
    is_final: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """An attempt about to be sent."""

    id: int
    key: str
    resolution: str
    price: int | None
    errand: dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a task ended; `record` is told in `metadata.jsonl` when there is a file."""

    key: str
    outcome: Outcome
    attempt: int
    record: dict[str, object]
    file: str | None = None
    size: int | None = None
    sha256: str | None = None

    def resting_on(self, attempt: int) -> "Ending":
        """Give the same ending of another attempt."""
        return replace(self, attempt=attempt)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """How an attempt ended.

    Attributes:
        result: `image`, `aside`, `lost`, or a failure kind.
        cost: micro-dollars, where it was billed and the price is known.
        departed: unix seconds at which its bytes left, where that is known.
        ending: the task's outcome, when this attempt decided it.
    """

    attempt: int
    result: str
    billed: Billed
    cost: int | None = None
    status: int | None = None
    message: str | None = None
    departed: float | None = None
    ending: Ending | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A request, as a limit sees it.

    Attributes:
        sent: when its bytes left; when it was written down just before, if its end was never seen.
        is_exact: which of the two.
        price: what it has cost, or costs at worst.
    """

    sent: float
    is_exact: bool
    price: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsettled:
    """An attempt that an earlier run left in flight."""

    id: int
    price: int | None
    errand: dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """A task that is not made as it was asked for.

    Attributes:
        outcome: None while it is pending.
        result, status, message: how its last attempt without an image ended; None where there was none.
        record: what its outcome is told with; empty while it is pending.
    """

    key: str
    outcome: Outcome | None
    result: str | None
    status: int | None
    message: str | None
    record: dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """A task's outcome with the attempt that it rests on.

    Attributes:
        record: what the outcome is told with.
        seconds: that the attempt took; None when it never ended.
    """

    outcome: Outcome
    record: dict[str, object]
    seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run, as a later reader sees it.

    Attributes:
        started, ended: unix seconds; `ended` is None while it is at work, and for ever if it died.
        manifest: path of the manifest, as it was given.
        summary: what it came to, once it has ended.
    """

    started: float
    ended: float | None
    manifest: str
    summary: dict[str, object] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image as the ledger has it.

    Attributes:
        seq: grows with every outcome that is written down.
        file: relative to the job directory, with `size` bytes.
        record: its line of `metadata.jsonl`.
    """

    seq: int
    key: str
    file: str
    size: int
    sha256: str
    record: dict[str, object]

    @property
    def extras(self) -> list[str]:
        """The files of further images of the same answer."""
        told = self.record.get("extras")
        return [str(file) for file in told] if isinstance(told, list) else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """An image that `metadata.jsonl` tells of when the ledger is lost.

    Attributes:
        ending: without an attempt yet.
        resolution: that was asked for.
        created: unix seconds.
        cost: micro-dollars; None when the price was unknown.
    """

    ending: Ending
    resolution: str
    created: float
    billed: Billed
    cost: int | None
