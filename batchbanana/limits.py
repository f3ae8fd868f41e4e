"""When a request may leave: exact windows, gates that all share, adaptive concurrency, a breaker for each model.

Every wait happens in `Limits.leave`, in the order of arrival, so nobody overtakes after a pause. The pieces are plain
state machines over a monotonic `now` in seconds; only `Limits` looks at the clock.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import anyio
from aiolimiter import AsyncLimiter

from batchbanana.task import Failure, FailureKind

MARGIN = (
    1.0  # seconds beyond each window: we count departures, the server counts arrivals, and connecting takes a while
)
OUTAGE_LIMIT = 6 * 3600.0  # seconds without one good answer
LONGEST_WINDOW_WAIT = 600.0  # seconds; a window that stays shut for longer pauses the run instead

BREAKER_WINDOW = 60.0  # seconds
BREAKER_SAMPLE = 20  # answers before a share means anything
BREAKER_NOT_SENT = 5  # in a row: nothing is listening there
BREAKER_OPEN = (10.0, 300.0)  # first and longest pause, doubling
PROBE_PATIENCE = 1.0  # seconds after which to look again while a probe is out

SLOWER = 0.7  # concurrency after a sign of overload
FIRST_LATENCY = 10.0  # seconds; what an image takes, until one has been seen

OVERLOAD = {FailureKind.RATE_LIMITED, FailureKind.UNAVAILABLE}
OURS = {FailureKind.INTERNAL, FailureKind.REFERENCE, FailureKind.DISK}  # they say nothing of the service
UNREACHED = {FailureKind.NOT_SENT, FailureKind.TIMEOUT, FailureKind.UNAVAILABLE}


def until_new_day(now: datetime) -> float:
    """Give the seconds from `now` until the quotas of a day begin anew: at midnight in California."""
    there = now.astimezone(ZoneInfo("America/Los_Angeles"))
    midnight = datetime.combine(there.date() + timedelta(days=1), time.min, there.tzinfo)
    return (midnight.astimezone(UTC) - now.astimezone(UTC)).total_seconds()


class Closed(Exception):  # noqa: N818 -- not a fault: the run sends no more
    """No further request may leave in this run."""


class Exhausted(Exception):  # noqa: N818 -- not a fault: the run pauses
    """A window stays shut for longer than a run should wait.

    Attributes:
        limit: the manifest's key.
        wait: seconds until it opens.
    """

    def __init__(self, limit: str, wait: float) -> None:
        super().__init__(limit, wait)
        self.limit = limit
        self.wait = wait


class Window:
    """At most `most` units in any stretch of `seconds`: the exact form, remembering each departure."""

    def __init__(self, name: str, most: int, seconds: float) -> None:
        self.name = name
        self.most = most
        self._seconds = seconds + MARGIN
        self._used = 0
        self._log: deque[tuple[float, int]] = deque()

    def wait(self, now: float, weight: int) -> float:
        """Give the seconds until `weight` more units fit; a weight above the limit fits an empty window."""
        self._drop(now)
        excess = self._used + weight - self.most
        for moment, units in self._log:
            if excess <= 0:
                break
            excess -= units
            due = moment + self._seconds - now
            if excess <= 0:
                return due
        return 0.0 if excess <= 0 or not self._log else self._log[-1][0] + self._seconds - now

    def add(self, now: float, weight: int) -> None:
        """Note a departure."""
        self._used += weight
        self._log.append((now, weight))

    def _drop(self, now: float) -> None:
        while self._log and self._log[0][0] + self._seconds <= now:
            self._used -= self._log.popleft()[1]


class Breaker:
    """Stops asking a model that does not answer; then lets one probe through at a time."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, bool]] = deque()
        self._not_sent = 0
        self._pause = BREAKER_OPEN[0]
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

    def leaves(self) -> None:
        """Note a departure: while open, it is the probe."""
        self._probing = self.is_open

    def observe(self, kind: FailureKind | None, now: float) -> bool:
        """Take an answer's kind, None for an image; True when this closes the breaker."""
        bad = kind in UNREACHED
        self._not_sent = self._not_sent + 1 if kind is FailureKind.NOT_SENT else 0
        if self.is_open:
            return self._after_probe(bad=bad, now=now)
        self._seen.append((now, bad))
        while self._seen[0][0] < now - BREAKER_WINDOW:
            self._seen.popleft()
        many_bad = len(self._seen) >= BREAKER_SAMPLE and 2 * sum(was for _, was in self._seen) >= len(self._seen)
        if bad and (many_bad or self._not_sent >= BREAKER_NOT_SENT):
            self._open(now)
        return False

    def abandon_probe(self) -> None:
        """Forget a probe that will never be answered: it was not sent after all."""
        self._probing = False

    def _after_probe(self, *, bad: bool, now: float) -> bool:
        # Answers of requests that left before it opened say nothing new while they are bad; a good one is welcome.
        if bad and self._probing:
            self._pause = min(2 * self._pause, BREAKER_OPEN[1])
            self._open(now)
        elif not bad:
            self._open_until = None
            self._pause = BREAKER_OPEN[0]
            self._seen.clear()
            self._probing = False
            return True
        return False

    def _open(self, now: float) -> None:
        self._open_until = now + self._pause
        self._probing = False


@dataclass(slots=True, kw_only=True)
class Concurrency:
    """How many requests may be in flight: down on overload, up after full rounds of successes, never by latency."""

    most: int
    allowed: int = 0
    in_flight: int = 0
    _round: int = 0
    _eased: float = field(default=float("-inf"))
    _latencies: deque[float] = field(default_factory=lambda: deque(maxlen=25))

    def __post_init__(self) -> None:
        self.allowed = self.most

    def succeed(self, seconds: float) -> None:
        """Note an image; a full round of them while half is in use earns one more slot."""
        if seconds:  # 0: an image was made, but how long that took is not known
            self._latencies.append(seconds)
        self._round += 1
        if self._round >= self.allowed and 2 * self.in_flight >= self.allowed:
            self._round = 0
            self.allowed = min(self.most, self.allowed + 1)

    def ease(self, now: float, factor: float = SLOWER) -> None:
        """Go down, at most once a median latency: the answers already under way say the same thing again."""
        self._round = 0
        if now - self._eased >= self._median():
            self._eased = now
            self.allowed = max(1, int(self.allowed * factor))

    def _median(self) -> float:
        return sorted(self._latencies)[len(self._latencies) // 2] if self._latencies else FIRST_LATENCY


class Limits:
    """All that a request waits for, shared by every task of one provider and key.

    Args:
        concurrency: most requests in flight.
        windows: those that count requests.
        money: the window that is counted in micro-dollars, if any.
        starts: departures of earlier runs, as (seconds ago, micro-dollars).
        clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        concurrency: int,
        windows: Iterable[Window] = (),
        money: Window | None = None,
        starts: Iterable[tuple[float, int]] = (),
        clock: Callable[[], float] = anyio.current_time,
    ) -> None:
        self._clock = clock
        self._windows = tuple(windows)
        self._money = money
        self._gate = float("-inf")
        self._turns: dict[str, anyio.Lock] = {}
        self._ramp = 0  # departures after a pause that are spaced, so that it does not end in a stampede
        self._changed = anyio.Event()
        self._closed = False
        self._breakers: dict[str, Breaker] = {}
        self._good = clock()
        self.concurrency = Concurrency(most=concurrency)
        self._pacer = self._make_pacer()
        now = clock()
        for ago, price in starts:
            self._note(now - ago, price)

    async def leave(self, model: str, price: int) -> None:
        """Wait until a request for `model` at `price` micro-dollars may leave, and count it as in flight.

        Raises:
            Closed: the run sends no more.
            Exhausted: a window stays shut for too long to wait.
        """
        async with self._turn(model):
            await self._until_open(model, price)
            await self._pace()
            # Pacing took time, and another model may have taken the place.
            await self._until_open(model, price)
            self._note(self._clock(), price)
            self._breaker(model).leaves()
            self.concurrency.in_flight += 1

    async def _until_open(self, model: str, price: int) -> None:
        while (wait := self._wait(model, price)) != 0.0:
            await self._sleep(wait)

    async def _pace(self) -> None:
        if self._pacer is not None:
            await self._pacer.acquire()
        elif self._ramp:
            self._ramp -= 1
            await self._sleep(1 / self.concurrency.allowed)

    def back(self) -> None:
        """Say that a request is no longer in flight."""
        self.concurrency.in_flight -= 1
        self._wake()

    def unsent(self, model: str) -> None:
        """Say that a request which had leave was not sent after all."""
        self._breaker(model).abandon_probe()
        self.back()

    def observe(self, model: str, failure: Failure | None, seconds: float) -> None:
        """Learn from an answer: None for an image, which took `seconds`."""
        now = self._clock()
        kind = failure.kind if failure is not None else None
        if kind in OURS:
            self._breaker(model).abandon_probe()
            return
        if kind not in UNREACHED | OVERLOAD:
            self._good = now
        if failure is None:
            self.concurrency.succeed(seconds)
        elif kind in OVERLOAD:
            self.concurrency.ease(now)
        elif failure.signature == "EMFILE":
            self.concurrency.ease(now, 0.5)  # half: every request needs a descriptor
        if self._breaker(model).observe(kind, now):
            self.concurrency.allowed = max(1, self.concurrency.most // 2)
            self._ramp = self.concurrency.allowed
        self._wake()

    def gate(self, seconds: float) -> None:
        """Make everybody wait for so long; a shorter gate never shortens a longer one."""
        self._gate = max(self._gate, self._clock() + seconds)
        self._ramp = self.concurrency.allowed
        self._wake()

    def hold(self, model: str) -> float:
        """Give the seconds for which a request for this model is not worth a worker; 0 when it is."""
        wait = self._breaker(model).wait(self._clock())
        return PROBE_PATIENCE if wait is None else wait

    def close(self) -> None:
        """Let nothing more leave; whoever waits is told at once."""
        self._closed = True
        self._wake()

    @property
    def outage(self) -> float:
        """Seconds since the service last did more than put us off, or since the start."""
        return self._clock() - self._good

    def _wait(self, model: str, price: int) -> float | None:
        if self._closed:
            raise Closed
        if self.concurrency.in_flight >= self.concurrency.allowed:
            return None
        now = self._clock()
        breaker = self._breaker(model).wait(now)
        if breaker is None:
            return None
        return max(0.0, self._gate - now, breaker, self._window_wait(now, price))

    def _window_wait(self, now: float, price: int) -> float:
        longest = 0.0
        for window in (*self._windows, *((self._money,) if self._money else ())):
            wait = window.wait(now, price if window is self._money else 1)
            if wait > LONGEST_WINDOW_WAIT + MARGIN:
                raise Exhausted(window.name, wait)
            longest = max(longest, wait)
        return longest

    def _note(self, moment: float, price: int) -> None:
        for window in self._windows:
            window.add(moment, 1)
        if self._money is not None:
            self._money.add(moment, price)

    async def _sleep(self, seconds: float | None) -> None:
        """Wait until something changes, or so many seconds."""
        with anyio.move_on_after(seconds):
            await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    def _turn(self, model: str) -> anyio.Lock:
        return self._turns.setdefault(model, anyio.Lock())

    def _breaker(self, model: str) -> Breaker:
        return self._breakers.setdefault(model, Breaker())

    def _make_pacer(self) -> AsyncLimiter | None:
        # A whole minute's allowance may leave at once by the window's rule, but not in one burst: it is spread over a
        # second, so that connecting and the server's own counting keep up.
        minute = [window for window in self._windows if window.name == REQUESTS_PER_MINUTE]
        return AsyncLimiter(1, 1 / minute[0].most) if minute else None


REQUESTS_PER_MINUTE = "requests_per_minute"
SECONDS = {REQUESTS_PER_MINUTE: 60.0, "images_per_minute": 60.0, "requests_per_day": 86400.0}
MONEY_SECONDS = 600.0
