"""How a job stands, read from its ledger while a run may be writing it."""

import contextlib
import json
import time

from batchbanana.job import JobDirectory
from batchbanana.ledger import PAUSE, Money, Run, Store, images_since
from batchbanana.matrix import Matrix
from batchbanana.standing import standing
from batchbanana.summary import counts, money
from batchbanana.survey import survey
from batchbanana.task import Outcome

NOTHING: dict[str, object] = {"seconds_left": None, "waiting": [], "resume_in": None}
RATE_WINDOW = 600.0  # seconds over which images a minute are told


def read_status(job: JobDirectory, matrix: Matrix | None) -> dict[str, object]:
    """Give a job's state as plain data: counts, money, rate and time left, how the last run ended.

    Args:
        job: need not exist yet.
        matrix: None when the manifest is gone; then the plan's size is what the last run counted.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    store = job.read_store()
    with contextlib.closing(store) if store is not None else contextlib.nullcontext():
        tallied = _counts(matrix, store) if matrix is not None else _counts_without_plan(job, store)
        return {
            "name": matrix.manifest.name if matrix is not None else job.path.name,
            **tallied,
            **money(store.money if store is not None else Money()),
            **_last_run(job, store, tallied["pending"]),
            "output": str(job.path),
        }


def _counts(matrix: Matrix, store: Store | None) -> dict[str, int]:
    tally = standing(store, matrix) if store is not None else None
    return counts(tally if tally is not None else survey(matrix, store).tally)


def _counts_without_plan(job: JobDirectory, store: Store | None) -> dict[str, int]:
    known = store.count_outcomes() if store is not None else {}
    ended = {str(outcome): known.get(outcome, 0) for outcome in Outcome}
    last = (job.read_summary() or {}).get("tasks")
    tasks = max(last if isinstance(last, int) else 0, sum(ended.values()))
    return {"tasks": tasks, **ended, "pending": tasks - sum(ended.values())}


def _last_run(job: JobDirectory, store: Store | None, pending: int) -> dict[str, object]:
    last = store.last_run() if store is not None else None
    if store is None or last is None:
        return {"running": False, "images_per_minute": 0.0, "stopped": None, "exit_code": None, **NOTHING}
    running = last.ended is None and job.is_held()
    now = time.time()
    since = max(now - RATE_WINDOW, last.started)
    rate = 60 * images_since(store, since) / max(now - since, 1.0) if running else 0.0
    pause = _pause(store, last.started, now) if running else []
    died = "it died before its end; run again to go on" if last.ended is None and not running else None
    return {
        "running": running,
        "images_per_minute": round(rate, 1),
        "seconds_left": round(60 * pending / rate) if rate and not pause else None,
        "waiting": pause,
        "stopped": last.summary.get("stopped") if last.summary else died,
        "resume_in": _resume_in(last, now),
        "exit_code": last.summary.get("exit_code") if last.summary else None,
    }


def _pause(store: Store, started: float, now: float) -> list[str]:
    """Tell what the run that is at work waits for; the words of an earlier one are out of date."""
    noted = json.loads(store.noted(PAUSE) or "{}")
    return list(noted["pauses"]) if noted and noted["since"] >= started and noted["until"] > now else []


def _resume_in(last: Run, now: float) -> float | None:
    """Give the seconds until running again makes sense, where the last run has said so."""
    told = last.summary.get("resume_in") if last.summary else None
    if not isinstance(told, (int, float)) or last.ended is None:
        return None
    return max(0.0, round(last.ended + told - now, 1))
