"""How much may leave in a stretch of time: exact windows, and the days of Google's calendar. Plain state machines."""

from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

MARGIN = (
    1.0  # seconds beyond each window: we count departures, the server counts arrivals, and connecting takes a while
)
DAY = 86_400.0  # seconds
REQUESTS_PER_MINUTE = "requests_per_minute"
REQUESTS_PER_DAY = "requests_per_day"
SECONDS = {REQUESTS_PER_MINUTE: 60.0, "images_per_minute": 60.0}
MONEY_SECONDS = 600.0


class Allowance(Protocol):
    """So many units in a stretch of time.

    Attributes:
        name: the manifest's key.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 -- see above

    def wait(self, now: float, weight: int) -> float:
        """Give the seconds until `weight` more units fit."""
        ...

    def add(self, now: float, weight: int) -> None:
        """Note a departure."""
        ...


CALIFORNIA = "America/Los_Angeles"  # where the days of the service's quotas begin


def until_new_day(now: datetime) -> float:
    """Give the seconds from `now` until the quotas of a day begin anew: at midnight in California."""
    return (_midnight(now, 1) - now.astimezone(UTC)).total_seconds()


def since_new_day(now: datetime) -> float:
    """Give the seconds since the quotas of this day have begun."""
    return (now.astimezone(UTC) - _midnight(now, 0)).total_seconds()


def _midnight(now: datetime, days: int) -> datetime:
    there = now.astimezone(ZoneInfo(CALIFORNIA))
    return datetime.combine(there.date() + timedelta(days=days), time.min, there.tzinfo).astimezone(UTC)


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


class Day:
    """At most `most` units in a day of Google's calendar, which begins at midnight in California.

    Args:
        name: the manifest's key.
        most: units.
        left: gives the seconds until the next day begins.
        gone: seconds since this day has begun.
        now: monotonic seconds.
    """

    def __init__(self, name: str, most: int, left: Callable[[], float], gone: float, now: float) -> None:
        self.name = name
        self._most = most
        self._left = left
        self._began = now - gone
        self._ends = now + left()
        self._used = 0

    def wait(self, now: float, weight: int) -> float:
        """Give the seconds until `weight` more units fit."""
        self._turn(now)
        return 0.0 if self._used + weight <= self._most else self._ends + MARGIN - now

    def add(self, now: float, weight: int) -> None:
        """Note a departure; one of an earlier day does not count."""
        self._turn(now)
        if now >= self._began:
            self._used += weight

    def _turn(self, now: float) -> None:
        # The margin belongs to the old day: the server's clock may be a little behind ours.
        if now >= self._ends + MARGIN:
            self._used = 0
            self._began = self._ends
            self._ends = now + self._left()
