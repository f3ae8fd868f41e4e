"""How many requests may be in flight at once. A plain state machine over monotonic seconds."""

from collections import deque
from dataclasses import dataclass, field

SLOWER = 0.7  # concurrency after a sign of overload
FIRST_LATENCY = 10.0  # seconds; what an image takes, until one has been seen
OVERLOAD_SAMPLE = 20  # answers among which one in three says overloaded, before we believe that it is our doing:
OVERLOAD_SHARE = 3  # a service that turns away one request in ten at random does so at any concurrency


@dataclass(slots=True, kw_only=True)
class Concurrency:
    """How many requests may be in flight: down on overload, up after full rounds of successes, never by latency."""

    most: int
    allowed: int = 0
    in_flight: int = 0
    _round: int = 0
    _eased: float = field(default=float("-inf"))
    _latencies: deque[float] = field(default_factory=lambda: deque(maxlen=25))
    _turned_away: deque[bool] = field(default_factory=lambda: deque(maxlen=OVERLOAD_SAMPLE))

    def __post_init__(self) -> None:
        self.allowed = self.most

    def succeed(self, seconds: float) -> None:
        """Note an image; a full round of them while half is in use earns one more slot."""
        if seconds:  # 0: an image was made, but how long that took is not known
            self._latencies.append(seconds)
        self._turned_away.append(False)
        self._round += 1
        if self._round >= self.allowed and 2 * self.in_flight >= self.allowed:
            self._round = 0
            self.allowed = min(self.most, self.allowed + 1)

    def turn_away(self, now: float) -> None:
        """Note that the service says it is overloaded: go down if it says so to many."""
        self._turned_away.append(True)
        if OVERLOAD_SHARE * sum(self._turned_away) >= len(self._turned_away) >= OVERLOAD_SHARE:
            self.ease(now)

    def restart(self) -> None:
        """Begin at half after an outage; what was said during it says nothing of the time after."""
        self.allowed = max(1, self.most // 2)
        self._round = 0
        self._turned_away.clear()

    def ease(self, now: float, factor: float = SLOWER) -> None:
        """Go down, at most once a median latency: the answers already under way say the same thing again."""
        self._round = 0
        if now - self._eased >= self._median():
            self._eased = now
            self.allowed = max(1, int(self.allowed * factor))

    def _median(self) -> float:
        return sorted(self._latencies)[len(self._latencies) // 2] if self._latencies else FIRST_LATENCY
