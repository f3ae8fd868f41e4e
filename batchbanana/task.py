"""The values that everything else speaks of: tasks, attempts, failures, outcomes. Imports nothing of the package."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


class Outcome(StrEnum):
    """How a task ended. A task without an outcome is pending."""

    DONE = "done"
    DEGRADED = "degraded"  # made, at a lower rung than asked
    MISMATCH = "mismatch"  # made, but not what was asked
    REFUSED = "refused"
    FAILED = "failed"

    @property
    def has_image(self) -> bool:
        """Whether a task that ended so has an image under its final name."""
        return self in {Outcome.DONE, Outcome.DEGRADED, Outcome.MISMATCH}


class Billed(StrEnum):
    """Whether an attempt costs money, as far as its answer tells."""

    NO = "no"
    YES = "yes"
    UNKNOWN = "unknown"


class FailureKind(StrEnum):
    """Why an attempt brought no image; what follows from each is the policy's to say."""

    NOT_SENT = "not_sent"
    TIMEOUT = "timeout"
    RATE_LIMITED = "rate_limited"
    UNAVAILABLE = "unavailable"
    SERVER_ERROR = "server_error"
    NO_IMAGE = "no_image"
    REFUSED = "refused"
    INVALID = "invalid"
    DAY_QUOTA = "day_quota"
    FATAL = "fatal"
    MODEL_GONE = "model_gone"
    INTERNAL = "internal"
    REFERENCE = "reference"
    DISK = "disk"
    DOWNLOAD = "download"  # the image was made and paid for, but the address that was answered does not give it


class OnMismatch(StrEnum):
    """What becomes of an image that is whole but not what was asked."""

    KEEP = "keep"  # the outcome is `mismatch`
    RETRY = "retry"  # it is kept, and asked for again a few times
    FAIL = "fail"  # it is put aside, and the outcome is `failed`


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What an answer says that it cost.

    Attributes:
        image_tokens: tokens of images that came out; None when the answer does not say.
        micro_usd: what the provider charges, in micro-dollars; None likewise.
    """

    image_tokens: int | None = None
    micro_usd: int | None = None


UNTOLD = Charge()
LEAST_PART = 4  # parts of the price; who has a cheaper provider says so by `provider.price`
LEAST_TOKENS = 4  # parts of what an image is counted as; the smallest size has nearly a third of the largest's
MOST_TOKENS = 100  # times what an image is counted as; a draft and a thought make it three, more is a slip


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One step of a task's fallback ladder.

    Attributes:
        resolution: as the wire spells it: "512", "1K", "2K", "4K".
        timeout: seconds a whole attempt may take.
        stall: seconds within which an arriving body must bring 64 KiB more.
        price: micro-dollars an image is expected to cost; None when unknown.
        sending: the part of it that is for images sent along.
        tokens: output tokens that this price is for; None where it is for a call, whatever comes of it.
    """

    resolution: str
    timeout: float
    stall: float
    price: int | None
    tokens: int | None = None
    sending: int = 0

    def cost(self, charge: Charge) -> int | None:
        """Give the micro-dollars of an attempt that was billed, rounded up: as the answer tells, else as expected.

        What is told is believed unless it is far below the price: too little would let a cap be passed, too much not.
        """
        if charge.micro_usd is not None and charge.micro_usd * LEAST_PART >= (self.price or 0):
            return charge.micro_usd
        told = charge.image_tokens
        if self.price is None or not self.tokens or not told:
            return self.price
        if told > MOST_TOKENS * self.tokens or told * LEAST_TOKENS < self.tokens:
            return self.price
        return self.sending - (-(self.price - self.sending) * told // self.tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """An image that is sent along with the prompt.

    Attributes:
        path: the file, readable when the manifest was loaded.
        sha256: of its bytes, 64 hex digits; what the task's key rests on.
        mime: sniffed from the bytes, never from the name.
        size: in bytes.
    """

    path: Path
    sha256: str
    mime: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One image to make: a cell of the matrix.

    Attributes:
        key: versioned hash of everything that reaches the wire and of nothing else; 32 hex digits.
        job: id of the manifest's entry.
        ratio: as asked, "16:9"; None leaves it to the model.
        sample: 1-based number among the images of one cell.
        variables: name and shown value, in the manifest's order.
        extra: free parameters merged into the request body.
        rungs: the ladder, the asked resolution first.
        name: final path below `images/`, with forward slashes and without the ending.
        on_mismatch: what to do with an image that differs; no part of the key, since it does not reach the wire.
    """

    key: str
    job: str
    model: str
    prompt: str
    ratio: str | None
    sample: int
    variables: tuple[tuple[str, str], ...]
    references: tuple[Reference, ...]
    extra: Mapping[str, object] = field(hash=False)
    rungs: tuple[Rung, ...]
    name: str
    on_mismatch: OnMismatch = OnMismatch.KEEP

    @property
    def resolution(self) -> str:
        """The resolution that was asked for, whatever the ladder does later."""
        return self.rungs[0].resolution


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One HTTP request for a task, already granted: its row is durable and its money reserved.

    Attributes:
        id: unique in the ledger, over all runs.
        rung: where on the ladder this request stands.
    """

    id: int
    task: Task
    rung: Rung


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An attempt that brought no image.

    Attributes:
        kind: what the policy decides by.
        message: one sentence for a person, without secrets.
        billed: whether it costs money.
        status: HTTP status, None when there was no answer.
        hint: seconds the server asked to wait, None when it did not say.
        signature: what makes two failures the same, for counting repeats.
        final: for `no_image`: the outcome when the tries are used up is `refused`, not `failed`.
        tries: for `no_image`: how often it may be asked again.
        charge: what the answer says that it cost.
    """

    kind: FailureKind
    message: str
    billed: Billed = Billed.NO
    status: int | None = None
    hint: float | None = None
    signature: str = ""
    final: Outcome = Outcome.FAILED
    tries: int = 2
    charge: Charge = UNTOLD


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What the bytes of an image say of themselves.

    Attributes:
        mime: from the magic bytes.
        ending: the file name's, with its dot.
        width, height: pixels.
    """

    mime: str
    ending: str
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredImage:
    """A whole, checked image that is safe in the spool.

    Attributes:
        path: the `.ready` file.
        size: in bytes.
        sha256: 64 hex digits.
    """

    path: Path
    size: int
    sha256: str
    picture: Picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """An attempt that brought an image.

    Attributes:
        image: the one that counts.
        extras: further deliverables of the same answer, kept but never counted.
        model_version: what the server says made it; None when it does not say.
        billed: `no` only where the answer says so.
        charge: what the answer says that it cost.
        seconds: from sending to the last byte.
    """

    image: StoredImage
    extras: tuple[StoredImage, ...] = ()
    model_version: str | None = None
    billed: Billed = Billed.YES
    charge: Charge = UNTOLD
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """An attempt whose image is made and paid for, but could not be fetched yet; a later run tries again.

    Attributes:
        reason: one sentence for a person, without secrets.
    """

    reason: str
