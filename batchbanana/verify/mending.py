"""What `verify --repair` does, while it holds the job. Killed anywhere it has lost nothing, and is begun again.

Files move before rows change: what a crash leaves between the two is an image that is missing, which is found again.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from batchbanana.errors import DiskError
from batchbanana.job import JobDirectory
from batchbanana.ledger import Caps, Image, Metadata, Store, index_files, put_back
from batchbanana.spool import SUPERSEDED, Spool
from batchbanana.verify.finding import BOUGHT_AGAIN, Finding, Kind
from batchbanana.verify.looking import Looking
from batchbanana.verify.rebuilding import rebuild
from batchbanana.verify.seeing import see
from batchbanana.verify.taking import take_over


def mend(looking: Looking) -> Iterator[Finding]:
    """Give everything that is wrong, and mend what can be mended without a service; call it while the job is held.

    Raises:
        BatchError, OSError, sqlite3.Error: it cannot be written; what was mended so far is.
    """
    job, spool = looking.job, Spool(looking.job.path)
    fault = looking.ledger()
    if fault is not None:
        yield from rebuild(job, spool, fault)
        if looking.ledger() is not None:
            return
    if job.ledger.exists():
        with contextlib.closing(job.open_store(Caps())) as store:
            yield from _mend(looking, store, spool)
    yield from _tidy(looking, spool)


def _mend(looking: Looking, store: Store, spool: Spool) -> Iterator[Finding]:
    path = looking.job.path / "metadata.jsonl"
    if any(looking.metadata(store)):
        yield from take_over(looking.job, store)  # before the lines that tell of them go
    for finding in looking.metadata(store):
        if path.exists():
            spool.keep_aside(path, path.name)
        Metadata(path, store).renew()
        yield finding.mended("it is written anew from the ledger, and what was there is kept under " + str(SUPERSEDED))
    is_stale = False
    strays = _strays(looking, store)
    for image, finding in looking.bad_images(store):
        if finding.kind not in BOUGHT_AGAIN:
            yield finding
            continue
        if _is_linked(looking.job, image.file):
            yield replace(finding, remedy="a folder on its way is a link, so nothing is mended; put the folder there")
            continue
        _keep_aside(looking.job, spool, image.file)
        if (found := _bring_back(looking.job, strays, spool, image)) is not None:
            yield finding.mended(f"it is brought back from {found}")
            continue
        for extra in image.extras:  # or they would stand where those of the next image belong
            _keep_aside(looking.job, spool, extra)
        store.execute("BEGIN IMMEDIATE")
        put_back(store, image.key)
        store.execute("COMMIT")
        is_stale = True
        yield finding.mended(_told(finding))
    if is_stale:
        Metadata(path, store).renew()
    yield from looking.strays(store)
    yield from looking.unfinished(store)


def _tidy(looking: Looking, spool: Spool) -> Iterator[Finding]:
    """Take out of the spool what would end every run."""
    for finding in list(looking.leftovers()):
        if not finding.can_mend:
            yield finding
            continue
        path = Path(finding.place)
        spool.keep_aside(path, f"spool/{path.name}")
        yield finding.mended(f"it is kept under {SUPERSEDED}/spool, and the next run counts its attempt as it must")


def _keep_aside(job: JobDirectory, spool: Spool, file: str) -> None:
    path = job.path / file
    if path.is_symlink() or path.exists():
        spool.keep_aside(path, file)


def _is_linked(job: JobDirectory, file: str) -> bool:
    """Whether a file may lie outside the job directory, where nothing is moved."""
    return any((job.path / folder).is_symlink() for folder in Path(file).parents if folder != Path())


def _strays(looking: Looking, store: Store) -> dict[int, list[Path]]:
    """Give the files below `images/` that are no task's, by their size."""
    found: dict[int, list[Path]] = {}
    index_files(store)
    for path in looking.unowned(store):
        found.setdefault(path.lstat().st_size, []).append(path)
    return found


def _bring_back(job: JobDirectory, strays: dict[int, list[Path]], spool: Spool, image: Image) -> str | None:
    """Put an image into its place again, and say where it was: in the spool, or under a name that somebody gave it."""
    for ready in (job.own / "spool").glob(f"*.0.{image.sha256}.ready"):
        if see(ready).sha256 == image.sha256 and spool.publish(ready, Path(image.file)):
            return "the spool"  # a run died just before it forgot it
    for path in strays.get(image.size, ()):
        if _has_bytes_of(image, path) and spool.publish(path, Path(image.file)):
            spool.forget(path)
            return path.relative_to(job.path).as_posix()
    return None


def _has_bytes_of(image: Image, path: Path) -> bool:
    try:
        return path.is_file() and not path.is_symlink() and see(path).sha256 == image.sha256
    except (OSError, DiskError):  # it is told as a stray, and keeps nothing from being mended
        return False


def _told(finding: Finding) -> str:
    aside = f", and the file is kept under {SUPERSEDED}" if finding.kind is Kind.DAMAGED else ""
    return f"its task is pending again{aside}, so the next run makes it and pays for it"
