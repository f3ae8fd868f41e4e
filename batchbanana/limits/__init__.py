"""When a request may leave: exact windows, gates and a breaker for each model, adaptive concurrency.

Every wait happens in `Limits.leave`, in the order of arrival, so nobody overtakes after a pause. The pieces are plain
state machines over a monotonic `now` in seconds; only `Limits` looks at the clock.
"""

import time
from collections.abc import Callable, Iterable

import anyio
from aiolimiter import AsyncLimiter

from batchbanana.limits.breaker import UNREACHED, Breaker
from batchbanana.limits.concurrency import Concurrency
from batchbanana.limits.gates import Gates
from batchbanana.limits.windows import (
    MARGIN,
    MONEY_SECONDS,
    REQUESTS_PER_DAY,
    REQUESTS_PER_MINUTE,
    SECONDS,
    Allowance,
    Day,
    Place,
    Window,
    since_new_day,
    until_new_day,
    until_quota,
)
from batchbanana.task import Failure, FailureKind

__all__ = [
    "MARGIN",
    "MONEY_SECONDS",
    "OUTAGE_LIMIT",
    "REQUESTS_PER_DAY",
    "REQUESTS_PER_MINUTE",
    "SECONDS",
    "Breaker",
    "Closed",
    "Concurrency",
    "Day",
    "Exhausted",
    "Leave",
    "Limits",
    "Place",
    "Window",
    "since_new_day",
    "until_new_day",
    "until_quota",
]

OUTAGE_LIMIT = 6 * 3600.0  # seconds without one good answer
LONGEST_WINDOW_WAIT = 600.0  # seconds; what stays shut for longer pauses the run instead
LONG_WAIT = 10.0  # seconds that people wonder about
LONGEST_SLEEP = 30.0  # seconds between looks at the clocks: one may be set, or the machine may have slept
PROBE_PATIENCE = 1.0  # seconds after which to look again while a probe is out
OVERLOAD = {FailureKind.RATE_LIMITED, FailureKind.UNAVAILABLE}
OURS = {FailureKind.INTERNAL, FailureKind.REFERENCE, FailureKind.DISK}  # they say nothing of the service


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


class Leave:
    """What one request has taken from the limits; given to `departs` when its bytes leave, and to `back` at its end."""

    __slots__ = ("has_departed", "is_probe", "model", "money", "places")

    def __init__(self, model: str, price: int, windows: int, *, is_probe: bool) -> None:
        self.model = model
        self.is_probe = is_probe
        self.has_departed = False
        self.places = tuple(Place(1) for _ in range(windows))
        self.money = Place(price)


class Limits:
    """All that a request waits for, shared by every task of one provider and key.

    Args:
        concurrency: most requests in flight.
        windows: those that count requests.
        money: the window that is counted in micro-dollars, if any.
        starts: departures of earlier runs, as (seconds ago, micro-dollars), the oldest first.
        is_patient: whether to wait for as long as a window stays shut, instead of pausing the run.
        wall: unix seconds.
    """

    def __init__(
        self,
        *,
        concurrency: int,
        windows: Iterable[Allowance] = (),
        money: Allowance | None = None,
        starts: Iterable[tuple[float, int]] = (),
        is_patient: bool = False,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._clock = anyio.current_time
        self._wall = wall
        self._windows = tuple(windows)
        self._money = money
        self._is_patient = is_patient
        self._gates = Gates()
        self._turns: dict[str, anyio.Lock] = {}
        self._ramp = 0  # departures after a pause that are spaced, so that it does not end in a stampede
        self._changed = anyio.Event()
        self._closed = False
        self._price = 0  # of the request that asked last
        self._breakers: dict[str, Breaker] = {}
        self._good = self._clock()
        self.concurrency = Concurrency(most=concurrency)
        self._pacer = self._make_pacer()
        now = self._clock()
        for ago, price in starts:
            for window in self._windows:
                window.recall(now, ago, 1)
            if money is not None:
                money.recall(now, ago, price)

    async def leave(self, model: str, price: int) -> Leave:
        """Wait until a request for `model` at `price` micro-dollars may leave, and count it as in flight.

        Raises:
            Closed: the run sends no more.
            Exhausted: a window stays shut for too long to wait.
        """
        async with self._turn(model):
            asked, self._price = self._clock(), price
            await self._until_open(model, price)
            if self._clock() - asked > LONGEST_WINDOW_WAIT and self._is_patient:
                self._good = self._clock()  # our own limits were shut for so long; that was no outage either
            await self._pace()
            # Pacing took time, and another model may have taken the place.
            await self._until_open(model, price)
            leave = Leave(model, price, len(self._windows), is_probe=self._breaker(model).leaves())
            for window, place in self._taken(leave):
                window.enter(place)
            self.concurrency.in_flight += 1
            return leave

    async def _until_open(self, model: str, price: int) -> None:
        while (wait := self._wait(model, price)) != 0.0:
            await self._sleep(LONGEST_SLEEP if wait is None else min(wait, LONGEST_SLEEP))

    async def _pace(self) -> None:
        if self._ramp:
            self._ramp -= 1
            await anyio.sleep(1 / self.concurrency.allowed)
        if self._pacer is not None:
            await self._pacer.acquire()

    def departs(self, leave: Leave) -> None:
        """Say that the bytes of a request leave: the windows count from here, as the server does."""
        if not leave.has_departed:
            leave.has_departed = True
            now = self._clock()
            for window, place in self._taken(leave):
                window.depart(place, now)
            self._wake()

    def back(self, leave: Leave, cost: int | None = None) -> None:
        """Say that a request is no longer in flight.

        Args:
            leave: what it had taken; what never departed is given back.
            cost: what it has turned out to cost in micro-dollars; None when nobody knows.
        """
        if not leave.has_departed:
            for window, place in self._taken(leave):
                window.amend(place, 0)
        elif cost is not None and self._money is not None:
            self._money.amend(leave.money, cost)
        self.concurrency.in_flight -= 1
        self._wake()

    def unsent(self, leave: Leave) -> None:
        """Say that a request which had leave was not sent after all."""
        if leave.is_probe:
            self._breaker(leave.model).abandon_probe()
        self.back(leave)

    def observe(self, model: str, failure: Failure | None, seconds: float, *, is_probe: bool = False) -> None:
        """Learn from an answer: None for an image, which took `seconds`."""
        now = self._clock()
        kind = failure.kind if failure is not None else None
        if kind in OURS:
            if is_probe:
                self._breaker(model).abandon_probe()
            return
        if kind not in UNREACHED | OVERLOAD:
            self._good = max(self._good, now)
        if failure is None:
            self.concurrency.succeed(seconds)
        elif kind is FailureKind.UNAVAILABLE:
            self.concurrency.turn_away(now)
        elif kind is FailureKind.RATE_LIMITED:
            self.concurrency.ease(now)
        elif failure.signature == "EMFILE":
            self.concurrency.ease(now, 0.5)  # half: every request needs a descriptor
        if self._breaker(model).observe(kind, now, is_probe=is_probe):
            self.concurrency.restart()
            self._ramp = self.concurrency.allowed
        self._wake()

    def gate(self, model: str, seconds: float) -> None:
        """Make all requests for a model wait for so long; a shorter gate never shortens a longer one."""
        self._gates.shut(model, self._clock() + seconds)
        self._ramp = self.concurrency.allowed
        self._wake()

    def rest(self, model: str, seconds: float) -> None:
        """Make all requests for a model wait until its quota is there again; that is no outage."""
        self._gates.rest(model, self._wall() + seconds)
        self._ramp = self.concurrency.allowed
        self._good = max(self._good, self._clock() + seconds)
        self._wake()

    def hold(self, model: str) -> float:
        """Give the seconds for which a request for this model is not worth a worker; 0 when it is."""
        breaker = self._breaker(model)
        wait = breaker.wait(self._clock())
        if wait is None or (breaker.is_open and self._turn(model).locked()):  # one is enough to find out
            return PROBE_PATIENCE
        return max(wait, self._gates.wait(model, self._clock(), self._wall()))

    def pause(self) -> str:
        """Say which of our own limits is used up for a while; empty when none is."""
        now = self._clock()
        for window, weight in (*((window, 1) for window in self._windows), *self._priced(self._price)):
            wait = window.wait(now, weight)
            if wait is not None and wait > LONG_WAIT:
                return f"{window.name} is used up for {wait:,.0f} s"
        return ""

    def close(self) -> None:
        """Let nothing more leave; whoever waits is told at once."""
        self._closed = True
        self._wake()

    @property
    def outage(self) -> float:
        """Seconds since the service last did more than put us off, or since the start."""
        return max(0.0, self._clock() - self._good)

    def _wait(self, model: str, price: int) -> float | None:
        if self._closed:
            raise Closed
        if self.concurrency.in_flight >= self.concurrency.allowed:
            return None
        now = self._clock()
        breaker = self._breaker(model).wait(now)
        windows = self._window_wait(now, price)
        if breaker is None or windows is None:
            return None
        return max(self._gates.wait(model, now, self._wall()), breaker, windows)

    def _window_wait(self, now: float, price: int) -> float | None:
        longest: float | None = 0.0
        for window, weight in (*((window, 1) for window in self._windows), *self._priced(price)):
            wait = window.wait(now, weight)
            if wait is not None and wait > LONGEST_WINDOW_WAIT + MARGIN and not self._is_patient:
                raise Exhausted(window.name, wait)
            longest = None if wait is None or longest is None else max(longest, wait)
        return longest

    def _priced(self, price: int) -> tuple[tuple[Allowance, int], ...]:
        return () if self._money is None else ((self._money, price),)

    def _taken(self, leave: Leave) -> Iterable[tuple[Allowance, Place]]:
        yield from zip(self._windows, leave.places, strict=True)
        if self._money is not None:
            yield self._money, leave.money

    async def _sleep(self, seconds: float) -> None:
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
        minute = [
            window for window in self._windows if isinstance(window, Window) and window.name == REQUESTS_PER_MINUTE
        ]
        return AsyncLimiter(1, 1 / minute[0].most) if minute else None
