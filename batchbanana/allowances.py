"""The limits of a run, filled with what was sent before it: they hold across restarts and across jobs of a command."""

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

from anyio import to_thread

from batchbanana.job import JobDirectory
from batchbanana.ledger import Ledger, Start, explained, starts_since
from batchbanana.limits import (
    MONEY_SECONDS,
    REQUESTS_PER_DAY,
    SECONDS,
    Day,
    Limits,
    Window,
    since_new_day,
    wall_clock,
)
from batchbanana.manifest import LimitSettings
from batchbanana.transport import LONGEST_CONNECT

SETTING_OUT = LONGEST_CONNECT + 5.0  # seconds from an attempt's row to its departure at most; references are read first
SLACK = 60.0  # seconds beyond a window; what is too old is dropped when it is filled


async def build_limits(settings: LimitSettings, ledger: Ledger, beside: Sequence[Path], *, is_patient: bool) -> Limits:
    """Build a run's limits.

    Args:
        settings: the manifest's, with the command's options worked in.
        ledger: of this job.
        beside: directories of jobs of the same command that use the same service with the same key.
        is_patient: whether to wait however long it takes, and not to pause the run.
    """
    windows = [Window(name, most, seconds) for name, seconds in SECONDS.items() if (most := getattr(settings, name))]
    spend = settings.spend_per_10_minutes
    day = settings.requests_per_day
    now = time.time()
    gone = since_new_day(wall_clock())
    reach = max(
        [SECONDS[window.name] for window in windows] + [MONEY_SECONDS] * bool(spend) + [gone] * bool(day), default=0
    )
    days = [Day(REQUESTS_PER_DAY, day, wall_clock)] if day else []
    starts: list[Start] = []
    if reach:
        since = now - reach - SLACK
        starts = await ledger.do(lambda store: starts_since(store, since))
        starts += await to_thread.run_sync(_starts_beside, beside, since)
    return Limits(
        concurrency=settings.concurrency,
        windows=[*windows, *days],
        money=Window("spend_per_10_minutes", spend, MONEY_SECONDS) if spend else None,
        starts=sorted(((_age(start, now), start.price) for start in starts), reverse=True),
        is_patient=is_patient,
    )


def _age(start: Start, now: float) -> float:
    """Give the seconds since a request departed, at the least; a clock that was set back makes none of the future.

    Of one that was in flight when its run died only the row is known, after which it may have had to connect.
    """
    return max(0.0, now - start.sent - (0.0 if start.is_exact else SETTING_OUT))


def _starts_beside(folders: Sequence[Path], since: float) -> list[Start]:
    starts: list[Start] = []
    for folder in folders:
        store = JobDirectory(folder).read_store()
        if store is not None:
            with contextlib.closing(store), explained():
                starts += starts_since(store, since)
    return starts
