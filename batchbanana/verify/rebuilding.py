"""Makes a ledger anew from `metadata.jsonl` when it is lost or damaged.

It is built beside and takes its name when it is whole: a ledger that knew half of the images would let a run buy the
other half again.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from batchbanana.errors import DiskError
from batchbanana.job import JobDirectory
from batchbanana.ledger import BESIDE, Caps, Store, restore
from batchbanana.plain import open_plain
from batchbanana.spool import LINK, READY, SUPERSEDED, WHOLE, Files, Spool
from batchbanana.verify.finding import Finding, Kind
from batchbanana.verify.telling import UntoldError, read_line

UNTOLD = (
    "what that does not tell is gone: tasks that failed or were refused, which are asked again, attempts without an "
    "image and what they may have cost, and whether the sandbox made it all"
)


def rebuild(job: JobDirectory, spool: Spool, fault: Finding) -> Iterator[Finding]:
    """Make the ledger anew, or say why not.

    Args:
        job: held.
        spool: of the job; what it has of lost attempts is kept aside.
        fault: what is wrong with the ledger.
    """
    told = job.path / "metadata.jsonl"
    new = job.ledger.with_name(f"{job.ledger.name}.new")
    if not told.exists():
        yield fault
        return
    for path in (new, *_beside(new)):  # of a repair that was killed
        path.unlink(missing_ok=True)
    with contextlib.closing(Store.open(new, Caps())) as store:
        yield from _restore_all(store, told)
        count = sum(store.count_outcomes().values())
    if not count and any(path.is_file() for path in (job.path / "images").rglob("*")):
        new.unlink()
        yield fault
        return
    if any(path.exists() and path.stat().st_size for path in _beside(new)):
        raise DiskError(f"{new} cannot be brought to an end; make room and verify again")
    yield from _clear(job, spool)
    files = Files()
    files.rename(new, job.ledger)
    files.sync_folder(job.own)
    yield fault.mended(f"it is rebuilt from metadata.jsonl with {count} images; {UNTOLD}")


def _restore_all(store: Store, told: Path) -> Iterator[Finding]:
    store.execute("BEGIN IMMEDIATE")
    with open_plain(told) as handle:
        for number, line in enumerate(handle, start=1):
            try:
                restore(store, read_line(line))
            except UntoldError as reason:
                remedy = f"it is left out, and the file as it was is kept under {SUPERSEDED}"
                place = f"{told}, line {number},"
                yield Finding(kind=Kind.METADATA, place=place, fault=str(reason), remedy=remedy, is_mended=True)
    store.execute("COMMIT")


def _clear(job: JobDirectory, spool: Spool) -> Iterator[Finding]:
    """Keep aside what belongs to the old ledger: its remains, and what is paid for but of attempts nobody knows."""
    for path in (job.ledger, *_beside(job.ledger)):
        if path.exists():
            spool.keep_aside(path, path.name)
    folder = job.own / "spool"
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if any(kind.fullmatch(path.name) for kind in (READY, WHOLE, LINK)):
            spool.keep_aside(path, f"spool/{path.name}")
            remedy = f"it is kept under {SUPERSEDED}/spool; look whether it is an image that you can use"
            fault = "is paid for, but the lost ledger alone knew what task it is of"
            yield Finding(kind=Kind.SPOOL, place=str(path), fault=fault, remedy=remedy, is_mended=True)


def _beside(path: Path) -> list[Path]:
    """Name what would spoil a new ledger, if it were a lost one's."""
    return [path.with_name(path.name + ending) for ending in BESIDE]
