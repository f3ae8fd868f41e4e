"""How often a download is tried, and how long it waits in between: tables. Knows no clock, no chance and no socket.

The image is paid for. What may pass is tried again, and then left for a later run; what will not pass is given up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from batchbanana.providers.errors import longest_hint
from batchbanana.transport import Answer, End

TRIES = 5
LONGEST_HINT = 60.0  # seconds; a server that asks for more is asked again after these, and then by a later run
BACKOFF = (1.0, 30.0)  # seconds, the first and the longest ceiling of a wait; doubling between them
PASSING = frozenset({202, 408, 425, 429})  # and all from 500
MISSING = frozenset({403, 404})  # some networks of servers forbid what they do not have yet


class Sign(Enum):
    """What a try that brought no image says of the next one."""

    PASSING = auto()  # the network or the server, which may be well again soon
    MISSING = auto()  # not there, or not yet: files appear late on some networks of servers
    SPOILT = auto()  # it came to its end, and is no whole image: a page to wait at, perhaps
    UNTRUSTED = auto()  # TLS, which a person can put right
    FINAL = auto()  # it will never be given


class Rest(Enum):
    """No further try in this run."""

    LOST = auto()  # the image will never come
    HELD = auto()  # a later run may have more luck


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A try that brought no image.

    Attributes:
        reason: half a sentence, without secrets.
        hint: seconds the server asked to wait, None when it did not say.
    """

    sign: Sign
    reason: str
    hint: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Try again after `floor` seconds and a random part of `spread` more."""

    floor: float
    spread: float


# So many of one kind are enough, and what has then become of the image.
ENOUGH: Mapping[Sign, tuple[int, Rest]] = {
    Sign.PASSING: (TRIES, Rest.HELD),
    Sign.MISSING: (TRIES, Rest.LOST),
    Sign.SPOILT: (3, Rest.LOST),
    Sign.UNTRUSTED: (1, Rest.HELD),
    Sign.FINAL: (1, Rest.LOST),
}


def read(answer: Answer, fault: str) -> Trial:
    """Say what an answer means that brought no image; `fault` says why the bytes of a 200 are none."""
    status = answer.status
    if answer.end is End.TLS:
        remedy = "set SSL_CERT_FILE to your network's CA file if you trust it"
        return Trial(sign=Sign.UNTRUSTED, reason=f"{answer.problem}; {remedy}")
    if answer.end in {End.FORBIDDEN, End.REFUSED_HERE}:
        return Trial(sign=Sign.FINAL, reason=answer.problem)
    if answer.end is End.UNREADABLE:
        return Trial(sign=Sign.SPOILT, reason=answer.problem)
    if status is None or (status == 200 and answer.end is not End.WHOLE):
        return Trial(sign=Sign.PASSING, reason=answer.problem)
    if status == 200:
        return Trial(sign=Sign.SPOILT, reason=fault)
    reason = f"it answers with status {status}"
    if status in PASSING or status >= 500:
        return Trial(sign=Sign.PASSING, reason=reason, hint=longest_hint(answer.headers, None))
    return Trial(sign=Sign.MISSING if status in MISSING else Sign.FINAL, reason=reason)


def decide(trials: Sequence[Trial], most: int) -> Wait | Rest:
    """Say what follows from the tries so far.

    Args:
        trials: all of them, the latest last; at least one.
        most: tries in all that are worth it, whatever their kinds.
    """
    last = trials[-1]
    enough, rest = ENOUGH[last.sign]
    if sum(trial.sign is last.sign for trial in trials) >= min(enough, most):
        return rest
    if len(trials) >= most:
        return Rest.HELD
    first, longest = BACKOFF
    ceiling = min(longest, first * 2 ** (len(trials) - 1))
    if last.hint is not None:
        return Wait(floor=min(last.hint, LONGEST_HINT), spread=ceiling)
    # What is not there yet needs time; everything else is asked again at any moment, so that not all ask at once.
    floor = ceiling / 2 if last.sign in {Sign.MISSING, Sign.SPOILT} else 0.0
    return Wait(floor=floor, spread=ceiling - floor)
