"""The limits of a run, filled with what was sent before it: they hold across restarts and across jobs of a command."""

import contextlib
import time
from collections.abc import Sequence
from datetime import UTC, datetime
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
)
from batchbanana.manifest import LimitSettings
from batchbanana.transport import CONNECT_TIMEOUT

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
    gone = since_new_day(_wall())
    reach = max(
        [SECONDS[window.name] for window in windows] + [MONEY_SECONDS] * bool(spend) + [gone] * bool(day), default=0
    )
    days = [Day(REQUESTS_PER_DAY, day, _wall)] if day else []
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
    """Give the seconds since a request departed, at the least: its row is older, as it may have had to connect first.

    A clock that was set back does not make it one of the future.
    """
    latest = start.sent + CONNECT_TIMEOUT
    return max(0.0, now - (latest if start.ended is None else min(start.ended, latest)))


def _wall() -> datetime:
    return datetime.now(UTC)


def _starts_beside(folders: Sequence[Path], since: float) -> list[Start]:
    starts: list[Start] = []
    for folder in folders:
        store = JobDirectory(folder).read_store()
        if store is not None:
            with contextlib.closing(store), explained():
                starts += starts_since(store, since)
    return starts
