"""When a request may leave: exact windows and adaptive concurrency for all, gates and a breaker for each model.

Every wait happens in `Limits.leave`, in the order of arrival, so nobody overtakes after a pause. The pieces are plain
state machines over a monotonic `now` in seconds; only `Limits` looks at the clock.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial

import anyio
from aiolimiter import AsyncLimiter

from batchbanana.limits.breaker import UNREACHED, Breaker
from batchbanana.limits.concurrency import Concurrency
from batchbanana.limits.gates import Gates, Pause
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
    "LONG_WAIT",
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
    "NotNow",
    "Pause",
    "Place",
    "Window",
    "since_new_day",
    "until_new_day",
    "until_quota",
    "wall_clock",
]


def wall_clock() -> datetime:
    """Give the time of day, with its zone."""
    return datetime.fromtimestamp(time.time(), UTC)


OUTAGE_LIMIT = 6 * 3600.0  # seconds without one good answer
LONGEST_WINDOW_WAIT = 600.0  # seconds; what stays shut for longer pauses the run instead
LONG_WAIT = 5.0  # seconds that people wonder about
LONGEST_SLEEP = 30.0  # seconds between looks at the clocks: one may be set, or the machine may have slept
PROBE_PATIENCE = 1.0  # seconds after which to look again while a probe is out
OVERLOAD = {FailureKind.RATE_LIMITED, FailureKind.UNAVAILABLE}
OURS = {FailureKind.INTERNAL, FailureKind.REFERENCE, FailureKind.DISK}  # they say nothing of the service


class Closed(Exception):  # noqa: N818 -- not a fault: the run sends no more
    """No further request may leave in this run."""


class NotNow(Exception):  # noqa: N818 -- not a fault: the worker takes on something else
    """The model of a request has to wait by itself, or is not asked any more in this run."""


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
    """What one request has taken from the limits; given to `departs` when its bytes leave, and to `back` at its end.

    Attributes:
        departed: unix seconds; None while no byte has left.
    """

    __slots__ = ("departed", "is_probe", "model", "money", "places")

    def __init__(self, model: str, price: int, windows: int, *, is_probe: bool) -> None:
        self.model = model
        self.is_probe = is_probe
        self.departed: float | None = None
        self.places = tuple(Place(1) for _ in range(windows))
        self.money = Place(price)


class Limits:
    """All that a request waits for: what is counted is shared by every task of one provider and key.

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
        wall: Callable[[], float] | None = None,
    ) -> None:
        self._clock = anyio.current_time
        self._wall = wall or time.time
        self._windows = tuple(windows)
        self._money = money
        self._is_patient = is_patient
        self._gates = Gates()
        # Nobody else is let in between when the turn is free: an attempt has waited enough on its way.
        self._turns: defaultdict[str, anyio.Lock] = defaultdict(partial(anyio.Lock, fast_acquire=True))
        self._ramps: Counter[str] = Counter()  # departures after a pause that are spaced: it must not end in a stampede
        self._flying: Counter[str] = Counter()  # in flight, by model
        self._unsure: set[str] = (
            set()
        )  # models that said no and not for how long: asked one at a time until they say yes
        self._aside: set[str] = set()
        self._changed = anyio.Event()
        self._sleeping = False  # whether somebody waits for that
        self._closed = False
        self._price = 0  # of the request that asked last
        self._breakers: defaultdict[str, Breaker] = defaultdict(Breaker)
        self._good = self._clock()
        self.concurrency = Concurrency(most=concurrency)
        self._pacer = self._make_pacer()
        now = self._clock()
        for ago, price in starts:
            for window in self._windows:
                window.recall(now, ago, 1)
            if money is not None:
                money.recall(now, ago, price)

    async def leave(self, model: str, price: int, *, can_wait_elsewhere: bool = False) -> Leave:
        """Wait until a request for `model` at `price` micro-dollars may leave, and count it as in flight.

        Args:
            model: which.
            price: what it may cost.
            can_wait_elsewhere: whether to give up instead of waiting for what concerns this model alone.

        Raises:
            Closed: the run sends no more.
            NotNow: the model is set aside, or has to wait and the request can do so elsewhere.
            Exhausted: a window stays shut for too long to wait.
        """
        async with self._turn(model):
            self._price = price
            await self._until_open(model, price, can_wait_elsewhere=can_wait_elsewhere)
            if await self._pace(model):  # that took time, and another model may have taken the place
                await self._until_open(model, price, can_wait_elsewhere=can_wait_elsewhere)
            leave = Leave(model, price, len(self._windows), is_probe=self._breaker(model).leaves())
            for window, place in self._taken(leave):
                window.enter(place)
            self.concurrency.in_flight += 1
            self._flying[model] += 1
            return leave

    async def _until_open(self, model: str, price: int, *, can_wait_elsewhere: bool) -> None:
        while (wait := self._wait(model, price)) != 0.0:
            if can_wait_elsewhere and self.hold(model, is_first=True):
                raise NotNow
            await self._sleep(LONGEST_SLEEP if wait is None else min(wait, LONGEST_SLEEP))

    async def _pace(self, model: str) -> bool:
        """Spread what may leave at once; says whether there was anything to wait for."""
        is_ramp = bool(self._ramps[model])
        if is_ramp:
            self._ramps[model] -= 1
            await anyio.sleep(1 / self.concurrency.allowed)
        if self._pacer is not None:
            await self._pacer.acquire()
        return is_ramp or self._pacer is not None

    def departs(self, leave: Leave) -> None:
        """Say that the bytes of a request leave: the windows count from here, as the server does."""
        if leave.departed is None:
            leave.departed = self._wall()
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
        if leave.departed is None:
            for window, place in self._taken(leave):
                window.amend(place, 0)
        elif cost is not None and self._money is not None:
            self._money.amend(leave.money, cost)
        self.concurrency.in_flight -= 1
        self._flying[leave.model] -= 1
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
        if kind not in OVERLOAD:
            self._unsure.discard(model)
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
            self._ramps[model] = self.concurrency.allowed
        self._wake()

    def gate(self, model: str, seconds: float, why: str, *, is_guess: bool = False) -> None:
        """Make all requests for a model wait for so long; a shorter gate never shortens a longer one.

        Args:
            model: which.
            seconds: how long.
            why: in a few words.
            is_guess: whether the server has not said how long; then one request finds out for all.
        """
        self._gates.shut(model, self._clock() + seconds, why)
        self._ramps[model] = self.concurrency.allowed
        if is_guess:
            self._unsure.add(model)
        self._wake()

    def rest(self, model: str, seconds: float, why: str) -> None:
        """Make all requests for a model wait until its quota is there again; that is no outage."""
        self._gates.rest(model, self._wall() + seconds, why)
        self._ramps[model] = self.concurrency.allowed
        self._good = max(self._good, self._clock() + seconds)
        self._wake()

    def set_aside(self, model: str) -> None:
        """Let nothing more leave for a model; whoever waits for it is told at once."""
        self._aside.add(model)
        self._wake()

    def hold(self, model: str, *, is_first: bool = False) -> float:
        """Give the seconds for which a request for this model is not worth a worker; 0 when it is.

        Args:
            model: which.
            is_first: whether it is the asker's turn, so that nobody else is about to find out how the model is.
        """
        breaker = self._breaker(model)
        wait = breaker.wait(self._clock())
        is_probed = breaker.is_open and not is_first and self._turn(model).locked()
        if wait is None or is_probed or (model in self._unsure and self._flying[model]):  # one is enough to find out
            return PROBE_PATIENCE
        return max(wait, self._gates.wait(model, self._clock(), self._wall()))

    def pauses(self) -> list[Pause]:
        """Tell what requests wait for now and for some time: our own windows, then each model that was asked for."""
        now, wall = self._clock(), self._wall()
        found = [
            Pause(why=f"{window.name} is used up", seconds=window.wait(now, weight) or 0.0)
            for window, weight in (*((window, 1) for window in self._windows), *self._priced(self._price))
        ]
        for model, breaker in self._breakers.items():
            found.append(self._gates.pause(model, now, wall))
            if breaker.is_open:
                seconds = max(breaker.wait(now) or 0.0, LONG_WAIT)
                found.append(Pause(model=model, why="it does not answer, or is overloaded", seconds=seconds))
        return [pause for pause in found if pause.seconds >= LONG_WAIT]

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
        if model in self._aside:
            raise NotNow
        if self.concurrency.in_flight >= self.concurrency.allowed or (model in self._unsure and self._flying[model]):
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
            if wait is not None and wait > LONGEST_WINDOW_WAIT + MARGIN:
                if not self._is_patient:
                    raise Exhausted(window.name, wait)
                self._good = max(self._good, now + wait)  # our own limit is shut for so long: that is no outage
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
        self._sleeping = True
        with anyio.move_on_after(seconds):
            await self._changed.wait()

    def _wake(self) -> None:
        if self._sleeping:  # else an event would be made anew several times an image, for nobody
            self._sleeping = False
            self._changed.set()
            self._changed = anyio.Event()

    def _turn(self, model: str) -> anyio.Lock:
        return self._turns[model]

    def _breaker(self, model: str) -> Breaker:
        return self._breakers[model]

    def _make_pacer(self) -> AsyncLimiter | None:
        # A whole minute's allowance may leave at once by the window's rule, but not in one burst: it is spread over a
        # second, so that connecting and the server's own counting keep up.
        minute = [
            window for window in self._windows if isinstance(window, Window) and window.name == REQUESTS_PER_MINUTE
        ]
        return AsyncLimiter(1, 1 / minute[0].most) if minute else None
