"""When a run is to end although there is more to do: at an hour, or after a while."""

import re
import time
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
        moment: unix seconds.
        words: the option that set it, as it was given.
    """

    moment: float
    words: str

    async def keep(self, runner: Runner) -> None:
        """Stop a run when the time has come."""
        while (left := self.moment - time.time()) > 0:  # noqa: ASYNC110 -- no event tells that a clock was set
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


def after(text: str, now: datetime) -> Deadline | None:
    """Read a span such as 90m, 2h or 1h30m, counted from `now`, local time; None when it is none or nothing."""
    found = SPAN.fullmatch(text.strip())
    if found is None or not any(found.groups()):
        return None
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    total = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    if not total:
        return None
    return Deadline(moment=now.timestamp() + total.total_seconds(), words=f"--max-duration {text}")
