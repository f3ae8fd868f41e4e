"""How much may leave in a stretch of time: exact windows, and the days of Google's calendar. Plain state machines."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

MARGIN = 1.0  # seconds beyond each window: we count departures, the server counts arrivals, and its clock is not ours
REQUESTS_PER_MINUTE = "requests_per_minute"
REQUESTS_PER_DAY = "requests_per_day"
SECONDS = {REQUESTS_PER_MINUTE: 60.0, "images_per_minute": 60.0}
MONEY_SECONDS = 600.0
LONGEST_PAUSE = 300.0  # seconds; a server that asks for more than that does mean its quota for the day
NEW_DAY_MARGIN = 60.0  # seconds
NEW_DAY_LAG = 900.0  # seconds into a day in which a server may still go by the quota of the day before
CALIFORNIA = "America/Los_Angeles"  # where the days of the service's quotas begin


@dataclass(slots=True)
class Place:
    """What one request takes of an allowance; it counts from `enter` on, and is dated when it departs."""

    weight: int
    moment: float | None = None
    is_over: bool = False


class Allowance(Protocol):
    """So many units in a stretch of time; all moments are monotonic seconds.

    Attributes:
        name: the manifest's key.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 -- see above

    def wait(self, now: float, weight: int) -> float | None:
        """Give the seconds until `weight` more units fit; None: until one that entered has departed or gives up."""
        ...

    def enter(self, place: Place) -> None:
        """Take room for a request that is about to depart."""
        ...

    def depart(self, place: Place, now: float) -> None:
        """Note that the request's bytes leave."""
        ...

    def amend(self, place: Place, weight: int) -> None:
        """Correct what a request takes, to 0 when it never departed."""
        ...

    def recall(self, now: float, ago: float, weight: int) -> None:
        """Count a request of an earlier run, which departed so many seconds ago."""
        ...


class Window:
    """At most `most` units in any stretch of `seconds`: the exact form, remembering each departure."""

    def __init__(self, name: str, most: int, seconds: float) -> None:
        self.name = name
        self.most = most
        self._seconds = seconds + MARGIN
        self._used = 0
        self._undated = 0  # requests that have entered and not departed
        self._log: deque[Place] = deque()

    def wait(self, now: float, weight: int) -> float | None:
        """Give the seconds until `weight` more units fit; a weight above the limit fits an empty window."""
        self._drop(now)
        excess = self._used + weight - self.most
        due = 0.0
        for place in self._log:
            if excess <= 0:
                break
            excess -= place.weight
            assert place.moment is not None  # noqa: S101 -- only what has departed is in the log
            due = place.moment + self._seconds - now
        return None if excess > 0 and self._undated else due

    def enter(self, place: Place) -> None:
        """Take room."""
        self._used += place.weight
        self._undated += 1

    def depart(self, place: Place, now: float) -> None:
        """Date it: from now on it grows old."""
        place.moment = now
        self._undated -= 1
        self._log.append(place)

    def amend(self, place: Place, weight: int) -> None:
        """Correct what it takes; one that never departed is gone with that."""
        if place.is_over:
            return
        self._used += weight - place.weight
        place.weight = weight
        if place.moment is None:
            self._undated -= 1
            place.is_over = True

    def recall(self, now: float, ago: float, weight: int) -> None:
        """Count what departed so long ago; the oldest must come first."""
        self._used += weight
        self._log.append(Place(weight, now - ago))

    def _drop(self, now: float) -> None:
        while self._log and (first := self._log[0]).moment is not None and first.moment + self._seconds <= now:
            self._used -= first.weight
            first.is_over = True
            self._log.popleft()


class Day:
    """At most `most` units in a day of Google's calendar, which begins at midnight in California.

    Goes by the wall clock alone: a machine that slept, or whose clock was set, still knows what day it is.

    Args:
        name: the manifest's key.
        most: units.
        wall: gives the time of day, with its zone.
    """

    def __init__(self, name: str, most: int, wall: Callable[[], datetime]) -> None:
        self.name = name
        self._most = most
        self._wall = wall
        self._date = self._today()
        self._used = 0
        self._undated = 0

    def wait(self, now: float, weight: int) -> float | None:
        """Give the seconds until `weight` more units fit; None as above."""
        self._turn()
        if self._used + weight <= self._most:
            return 0.0
        if self._used - self._undated + weight <= self._most:
            return None  # some of those that entered may never depart
        return until_new_day(self._wall()) + MARGIN

    def enter(self, place: Place) -> None:
        """Take room."""
        self._turn()
        self._used += place.weight
        self._undated += place.weight

    def depart(self, place: Place, now: float) -> None:
        """Count it for the day on which it departs."""
        self._turn()
        place.moment = now
        self._undated -= place.weight

    def amend(self, place: Place, weight: int) -> None:
        """Give room back; what has departed stays counted, as the service counts it whatever comes of it."""
        if place.moment is None and not place.is_over:
            self._used += weight - place.weight
            self._undated -= place.weight
            place.is_over = True

    def recall(self, now: float, ago: float, weight: int) -> None:
        """Count it if that was today."""
        if ago <= since_new_day(self._wall()):
            self._used += weight

    def _turn(self) -> None:
        # A clock that is set back does not bring an old day back.
        if (today := self._today()) > self._date:
            self._date = today
            self._used = self._undated

    def _today(self) -> date:
        # The margin belongs to the old day: the server's clock may be a little behind ours.
        return (self._wall() - timedelta(seconds=MARGIN)).astimezone(ZoneInfo(CALIFORNIA)).date()


def until_new_day(now: datetime) -> float:
    """Give the seconds from `now` until the quotas of a day begin anew: at midnight in California."""
    return (_midnight(now, 1) - now.astimezone(UTC)).total_seconds()


def since_new_day(now: datetime) -> float:
    """Give the seconds since the quotas of this day have begun."""
    return (now.astimezone(UTC) - _midnight(now, 0)).total_seconds()


def until_quota(now: datetime, hint: float | None) -> float:
    """Give the seconds until a server that has said that a day's quota is used up is worth asking again.

    Args:
        now: with its zone.
        hint: seconds that the server asked for; a short one is not meant for the quota of a day.
    """
    if hint is not None and hint > LONGEST_PAUSE:
        return hint
    if since_new_day(now) < NEW_DAY_LAG:
        return NEW_DAY_LAG
    return until_new_day(now) + NEW_DAY_MARGIN


def _midnight(now: datetime, days: int) -> datetime:
    there = now.astimezone(ZoneInfo(CALIFORNIA))
    return datetime.combine(there.date() + timedelta(days=days), time.min, there.tzinfo).astimezone(UTC)
