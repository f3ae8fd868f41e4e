"""Stops asking a model that does not answer. A plain state machine over monotonic seconds."""

from collections import deque

from batchbanana.task import FailureKind

BREAKER_WINDOW = 60.0  # seconds
BREAKER_SAMPLE = 20  # the newest answers that are looked at; a share of fewer means nothing
BREAKER_NOT_SENT = 5  # in a row: nothing is listening there
BREAKER_OPEN = (10.0, 300.0)  # first and longest pause
OUTAGE_SHARE = 4  # a pause is this part of the outage so far: back within a quarter of the time that was lost anyway
UNREACHED = {FailureKind.NOT_SENT, FailureKind.TIMEOUT, FailureKind.UNAVAILABLE}


class Breaker:
    """Stops asking a model that does not answer; then lets one probe through at a time."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, bool]] = deque(maxlen=BREAKER_SAMPLE)
        self._not_sent = 0
        self._since = 0.0  # when the outage began
        self._open_until: float | None = None
        self._probing = False

    @property
    def is_open(self) -> bool:
        """Whether only probes may leave."""
        return self._open_until is not None

    def wait(self, now: float) -> float | None:
        """Give the seconds until the next request may leave; None: until the probe's answer is in."""
        if self._open_until is None:
            return 0.0
        if self._probing:
            return None
        return max(0.0, self._open_until - now)

    def leaves(self) -> bool:
        """Note a departure: while open, it is the probe, and this returns True."""
        self._probing = self.is_open
        return self._probing

    def observe(self, kind: FailureKind | None, now: float, *, is_probe: bool = False) -> bool:
        """Take an answer's kind, None for an image; True when this closes the breaker."""
        bad = kind in UNREACHED
        self._not_sent = self._not_sent + 1 if kind is FailureKind.NOT_SENT else 0
        if self.is_open:
            return self._while_open(bad=bad, now=now, is_probe=is_probe)
        self._seen.append((now, bad))
        is_enough = len(self._seen) == BREAKER_SAMPLE and self._seen[0][0] >= now - BREAKER_WINDOW
        many_bad = is_enough and 2 * sum(was for _, was in self._seen) >= BREAKER_SAMPLE
        if bad and (many_bad or self._not_sent >= BREAKER_NOT_SENT):
            self._since = now
            self._open(now)
        return False

    def abandon_probe(self) -> None:
        """Forget a probe that will never be answered: it was not sent after all."""
        self._probing = False

    def _while_open(self, *, bad: bool, now: float, is_probe: bool) -> bool:
        # Answers of requests that left before it opened say nothing new while they are bad; a good one is welcome.
        if bad and is_probe:
            self._open(now)
        elif not bad:
            self._open_until = None
            self._seen.clear()
            self._probing = False
            return True
        return False

    def _open(self, now: float) -> None:
        first, longest = BREAKER_OPEN
        self._open_until = now + min(max(first, (now - self._since) / OUTAGE_SHARE), longest)
        self._probing = False
