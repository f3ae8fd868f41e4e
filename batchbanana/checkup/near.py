"""This machine and this job: disk, file descriptors, ledger, money, limits."""

import shutil
from contextlib import closing
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryFile

from batchbanana import descriptors
from batchbanana.checkup.check import Check, bad, ok, warn
from batchbanana.draft import numbered
from batchbanana.engines.local import EXPECTED, EXPECTED_UNKNOWN
from batchbanana.errors import BatchError, Exit, UsageError
from batchbanana.estimate import check_prices, too_few_workers, unpriced
from batchbanana.job import NETWORK, JobDirectory, file_system
from batchbanana.ledger import Money, Store, explained
from batchbanana.manifest import LimitSettings
from batchbanana.matrix import Matrix
from batchbanana.record import usd
from batchbanana.session import REHEARSAL
from batchbanana.survey import PerJob, Survey

TYPICAL_SHARE = 4  # what is reserved fits a large PNG; a JPEG of that size mostly takes less than a quarter
GIB = 1 << 30


def check_disk(folder: Path, need: int, free: int | None = None) -> Check:
    """See whether a job directory could be written and has room; makes nothing that stays.

    Args:
        folder: need not be there; then its nearest parent is tried.
        need: bytes that the missing images may take.
        free: bytes that are free; None asks the disk.
    """
    place = _nearest(folder)
    try:
        with TemporaryFile(dir=place):
            pass
        free = shutil.disk_usage(place).free if free is None else free
    except OSError as error:
        return bad("disk", f"{place} cannot be written ({error.strerror}); choose another --output", Exit.DISK)
    text = f"{_gib(free)} free at {place}, the missing images may take {_gib(need)}"
    if free < need / TYPICAL_SHARE:
        return bad("disk", f"{text}; make room or choose another --output", Exit.DISK)
    if free < need:
        return warn("disk", f"{text} if they are large; a full disk stops a run before it pays for anything more")
    return ok("disk", text)


def room_needed(matrix: Matrix, pending: PerJob) -> int:
    """Estimate the bytes of the missing images: each job's cells count with the mean of its resolutions."""
    needed = 0.0
    for number, parts in groupby(numbered(matrix.manifest.jobs), itemgetter(0)):
        if count := pending[number]:
            needed += count * fmean(
                EXPECTED.get(size, EXPECTED_UNKNOWN) for _, job in parts for size in job.resolutions
            )
    return round(needed)


def check_file_system(folder: Path, mounts: str | None = None) -> Check | None:
    """See whether the job directory is on a network file system; None where the system does not tell.

    Args:
        folder: need not be there.
        mounts: the lines of `/proc/mounts`; None reads them.
    """
    if mounts is None:
        try:
            mounts = Path("/proc/mounts").read_text(encoding="utf-8", errors="replace")
        except OSError:  # not Linux
            return None
    place = _nearest(folder).resolve()
    kind = file_system(place, mounts)
    if kind in NETWORK:
        text = f"{place} is on a network file system ({kind}), where a ledger breaks; use a local --output"
        return bad("file system", text, Exit.LEDGER)
    return ok("file system", f"{kind or 'not known'}, on this machine")


def _nearest(folder: Path) -> Path:
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    return place


def check_files(concurrency: int) -> Check | None:
    """Compare the limit on open files with what the workers want; None where the system has no such limit."""
    found = descriptors.limits()
    if found is None:
        return None
    want = descriptors.wanted(concurrency)
    if found[1] >= want:  # a run raises the limit itself
        return ok("open files", f"{concurrency} workers want about {want}")
    enough = descriptors.workers_within(found[1])
    remedy = "raise it, or lower `limits.concurrency`"
    return warn(
        "open files", f"{concurrency} workers want about {want}, the limit is {found[1]}, enough for {enough}; {remedy}"
    )


def check_ledger(job: JobDirectory, *, is_rehearsal: bool | None) -> Check:
    """See whether there is a ledger that a run could go on with.

    Args:
        job: its directory.
        is_rehearsal: whether the run would be one in the sandbox; None if the directory would not be used.
    """
    if job.has_lost_ledger():
        text = (
            f"{job.path} holds images but no ledger, so a run would refuse; "
            f"put {job.ledger} back from a copy, or let `{job.repair}` rebuild it"
        )
        return bad("ledger", text, Exit.LEDGER)
    try:
        store = job.read_store()
        if store is None:
            return ok("ledger", f"none yet; a run makes {job.ledger}")
        with closing(store), explained():
            job.refuse_older(store)
            return _describe(job, store, is_rehearsal=is_rehearsal)
    except BatchError as error:
        return bad("ledger", str(error), error.exit_code)


def _describe(job: JobDirectory, store: Store, *, is_rehearsal: bool | None) -> Check:
    was_rehearsal = store.get(REHEARSAL)
    if None not in {was_rehearsal, is_rehearsal} and bool(was_rehearsal) != is_rehearsal:
        made = "in the sandbox" if was_rehearsal else "for real"
        return bad("ledger", f"{job.path} was made {made}; choose another --output", Exit.USAGE)
    ended = sum(store.count_outcomes().values())
    text = f"{store.next_attempt() - 1} attempts, {ended} tasks with an outcome"
    if job.is_held():
        return warn("ledger", f"{text}; a run is at work here now, and another one would have to wait")
    return ok("ledger", text)


def check_money(matrix: Matrix, limits: LimitSettings, found: Survey, spent: Money) -> Check:
    """Compare the price of what is missing with the cap, which counts what is spent, possibly spent and reserved."""
    try:
        check_prices(matrix, limits)
    except UsageError as error:
        return bad("money", str(error), Exit.USAGE)
    if unknown := unpriced(matrix):
        return warn("money", f"no price is known for {', '.join(unknown)}, so what a run spends cannot be told")
    text = f"{found.missing} images are missing, for ${usd(found.low):.2f}, at worst ${usd(found.high):.2f}"
    if limits.max_cost is None:
        return ok("money", f"{text}; no max_cost is set")
    taken = spent.settled + spent.possible + spent.reserved
    cap, used = f"max_cost is ${usd(limits.max_cost):.2f}", f"${usd(taken):.2f} is spent or reserved"
    if taken + found.low > limits.max_cost:
        return warn("money", f"{text}, but {cap} and {used}: a run stops there; raise it")
    return ok("money", f"{text}; {cap}, {used}")


def check_limits(limits: LimitSettings, found: Survey) -> Check:
    """See whether the workers can reach the rate that is allowed, by Little's law: in flight is rate times latency."""
    rate = limits.requests_per_minute
    if not found.missing:
        return ok("limits", "nothing is missing")
    latency = found.seconds_of_work / found.missing
    if (lack := too_few_workers(limits, latency)) is not None:
        return warn("limits", lack)
    reach = limits.concurrency * 60 / latency
    pace = f"{limits.concurrency} workers make about {reach:.0f} images a minute at {latency:.0f} s an image"
    return ok("limits", pace if rate is None else f"{pace}; {rate} a minute are allowed")


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
