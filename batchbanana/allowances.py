"""The limits of a run, filled with what was sent before it: they hold across restarts and across jobs of a command."""

import contextlib
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import anyio
from anyio import to_thread

from batchbanana.job import JobDirectory
from batchbanana.ledger import Ledger, explained
from batchbanana.limits import (
    MONEY_SECONDS,
    REQUESTS_PER_DAY,
    SECONDS,
    Day,
    Limits,
    Window,
    since_new_day,
    until_new_day,
)
from batchbanana.manifest import LimitSettings

SLACK = 60.0  # seconds beyond a window; what is too old is dropped when it is filled


async def build_limits(settings: LimitSettings, ledger: Ledger, beside: Sequence[Path], *, is_patient: bool) -> Limits:
    """Build a run's limits.

    Args:
        settings: the manifest's, with the command's options worked in.
        ledger: of this job.
        beside: directories of jobs that have used the same service before this one in the same command.
        is_patient: whether to wait however long it takes, and not to pause the run.
    """
    windows = [Window(name, most, seconds) for name, seconds in SECONDS.items() if (most := getattr(settings, name))]
    spend = settings.spend_per_10_minutes
    day = settings.requests_per_day
    wall, now = time.time(), anyio.current_time()
    gone = since_new_day(datetime.now(UTC))
    reach = max(
        [SECONDS[window.name] for window in windows] + [MONEY_SECONDS] * bool(spend) + [gone] * bool(day), default=0
    )
    days = [Day(REQUESTS_PER_DAY, day, lambda: until_new_day(datetime.now(UTC)), gone, now)] if day else []
    starts: list[tuple[float, int]] = []
    if reach:
        since = wall - reach - SLACK
        starts = await ledger.do(lambda store: store.starts_since(since))
        starts += await to_thread.run_sync(_starts_beside, beside, since)
    return Limits(
        concurrency=settings.concurrency,
        windows=[*windows, *days],
        money=Window("spend_per_10_minutes", spend, MONEY_SECONDS) if spend else None,
        # A clock that was set back must not make old departures look like future ones.
        starts=sorted(((max(0.0, wall - sent), price) for sent, price in starts), reverse=True),
        is_patient=is_patient,
    )


def _starts_beside(folders: Sequence[Path], since: float) -> list[tuple[float, int]]:
    starts = []
    for folder in folders:
        store = JobDirectory(folder).read_store()
        if store is not None:
            with contextlib.closing(store), explained():
                starts += store.starts_since(since)
    return starts
