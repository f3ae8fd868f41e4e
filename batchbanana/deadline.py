"""When a run is to end although there is more to do: at an hour, or after a while."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import anyio

from batchbanana.errors import Exit
from batchbanana.policy import Stop
from batchbanana.runner import Runner

LOOK = 10.0  # seconds between looks at the clock, which may be set, or stand still while the machine sleeps
CLOCK = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])")
SPAN = re.compile(r"(?:([0-9]{1,4})h)? ?(?:([0-9]{1,5})m)? ?(?:([0-9]{1,6})s)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """The moment after which a run sends nothing more; what is in flight then may finish, because it is paid for.

    Attributes:
        moment: in the seconds of `clock`.
        words: the option that set it, as it was given.
        clock: the wall's for an hour of the day, else one that nobody sets.
    """

    moment: float
    words: str
    clock: Callable[[], float] = time.time

    @property
    def left(self) -> float:
        """Seconds until then."""
        return self.moment - self.clock()

    async def keep(self, runner: Runner) -> None:
        """Stop a run when the time has come."""
        while (left := self.left) > 0:  # noqa: ASYNC110 -- no event tells that a clock was set
            await anyio.sleep(min(left, LOOK))
        reason = f"The time is up ({self.words}); run again to go on"
        runner.stop(Stop(exit_code=Exit.PAUSED, reason=reason))


def until(text: str, now: datetime) -> Deadline | None:
    """Read an hour such as 07:00, the next one to come; None when it is none.

    Args:
        text: as given.
        now: this machine's local time, without a zone, so that a night in which clocks change has its true length.
    """
    found = CLOCK.fullmatch(text)
    if found is None:
        return None
    moment = now.replace(hour=int(found[1]), minute=int(found[2]), second=0, microsecond=0)
    if moment <= now:
        moment += timedelta(days=1)
    return Deadline(moment=moment.timestamp(), words=f"--until {text}")


def elapsed() -> float:
    """Give seconds that pass while the machine sleeps as well, where the system counts them; nobody can set them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def after(text: str, clock: Callable[[], float] = elapsed) -> Deadline | None:
    """Read a span such as 90m, 2h or 1h30m, counted from now by `clock`; None when it is none or nothing."""
    found = SPAN.fullmatch(text.strip())
    if found is None or not any(found.groups()):
        return None
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    total = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    if not total:
        return None
    return Deadline(moment=clock() + total.total_seconds(), words=f"--max-duration {text}", clock=clock)
