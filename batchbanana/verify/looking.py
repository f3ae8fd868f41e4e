"""Reads a job directory and says what is wrong there; changes nothing. Memory does not grow with the job."""

import contextlib
import errno
import os
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from batchbanana.errors import DiskError
from batchbanana.job import JobDirectory
from batchbanana.ledger import Image, Store, flaw, image_of, images, index_files, is_owned, own
from batchbanana.names import is_confined
from batchbanana.plain import OddFileError, oddity, open_plain
from batchbanana.spool import LINK, READY, WHOLE, read_note
from batchbanana.verify.finding import Finding, Kind, judge, missing, outside, stray, unreadable, unrecorded
from batchbanana.verify.seeing import see
from batchbanana.verify.taking import untold

GONE = {errno.ENOENT, errno.ENOTDIR}  # anything else that a disk says does not mean that a file is not there
MOST_SOUGHT = 10_000  # missing images that are looked for under other names


class Looking:
    """One look at a job.

    Attributes:
        checked: images whose files were read so far.
    """

    def __init__(self, job: JobDirectory, *, is_at_work: bool = False) -> None:
        """Take a job, and whether a run is at work there."""
        self.job = job
        self.is_at_work = is_at_work
        self.checked = 0
        self._sought: dict[str, str] = {}  # hashes of images that are missing, and their names
        self._sizes: set[int] = set()  # theirs; what has none of these need not be hashed

    def all(self) -> Iterator[Finding]:
        """Give everything that is wrong; while a run is at work, only what cannot be of its making."""
        self.job.refuse_odd()
        fault = self.ledger()
        if fault is not None:
            yield fault
            return
        store = self.job.read_store()
        with contextlib.closing(store) if store is not None else contextlib.nullcontext():
            if store is None:
                yield from self.leftovers()
                return
            yield from (finding for _, finding in self.bad_images(store))
            if not self.is_at_work:
                differing = list(self.metadata(store))
                yield from differing
                yield from self.strays(store, has_news=bool(differing))
                yield from self.unfinished(store)
                yield from self.leftovers()

    def ledger(self) -> Finding | None:
        """Say whether the ledger is lost or damaged."""
        told = (self.job.path / "metadata.jsonl").exists()
        rebuild = "or let `verify --repair` rebuild it from metadata.jsonl" if told else "or choose another --output"
        remedy = f"put it back from a copy, {rebuild}"
        place = str(self.job.ledger)
        if self.job.has_lost_ledger():
            lost = "is lost, but images are there"
            return Finding(kind=Kind.LEDGER, place=place, fault=lost, remedy=remedy, can_mend=told)
        if not self.job.ledger.exists():
            return None
        wrong = flaw(self.job.ledger)
        if wrong is None:
            return None
        return Finding(kind=Kind.LEDGER, place=place, fault=f"is damaged ({wrong})", remedy=remedy, can_mend=told)

    def bad_images(self, store: Store) -> Iterator[tuple[Image, Finding]]:
        """Hash and walk through the file of every image of the ledger."""
        for image in images(store):
            finding = self._look(image)
            self.checked += 1
            # A run that is at work may have replaced the image since its row was read.
            if finding is not None and not (self.is_at_work and image_of(store, image.key) != image):
                yield image, finding

    def _look(self, image: Image) -> Finding | None:
        if not all(map(is_confined, (image.file, *image.extras))):
            return outside(image)
        try:
            return judge(image, see(self.job.path / image.file))
        except OddFileError as error:
            return unreadable(image, f"it is {error.what}, not a file")
        except OSError as error:
            if error.errno in GONE:
                if len(self._sought) < MOST_SOUGHT:
                    self._sought[image.sha256] = image.file
                    self._sizes.add(image.size)
                return missing(image)
            return unreadable(image, error.strerror or str(error))

    def metadata(self, store: Store) -> Iterator[Finding]:
        """Compare `metadata.jsonl` with the ledger, line by line."""
        path = self.job.path / "metadata.jsonl"
        fault = _difference(path, store)
        if fault is not None:
            remedy = "let the next run or `verify --repair` write it anew from the ledger; what is there is kept"
            yield Finding(kind=Kind.METADATA, place=str(path), fault=fault, remedy=remedy, can_mend=True)

    def strays(self, store: Store, *, has_news: bool = False) -> Iterator[Finding]:
        """Find the files below `images/` that are no task's, and of them those that are paid for all the same.

        Args:
            store: the ledger.
            has_news: whether `metadata.jsonl` may tell of such.
        """
        index_files(store)
        for told, finding in untold(self.job, store) if has_news else ():
            own(store, str(told.ending.file))
            yield finding
        waiting = self._waiting()
        for path in self.unowned(store):
            name = path.relative_to(self.job.path).as_posix()
            if waiting and self._hash_of(path) in waiting:
                yield unrecorded(name)
            else:
                yield stray(name, self._name_of(path))

    def _waiting(self) -> set[str]:
        """Give the hashes of the images that a run which died has left in the spool."""
        folder = self.job.own / "spool"
        names = (READY.fullmatch(path.name) for path in (folder.iterdir() if folder.is_dir() else ()))
        return {name["sha256"] for name in names if name}

    def unowned(self, store: Store) -> Iterator[Path]:
        """Walk through the files below `images/` that are no task's; after `index_files`."""
        for path in _files(self.job.path / "images"):
            if not is_owned(store, path.relative_to(self.job.path).as_posix()):
                yield path

    def _name_of(self, path: Path) -> str | None:
        """Give the name of the missing image whose bytes a file has, if it is one's."""
        with contextlib.suppress(OSError):  # it is told as a stray all the same
            if path.lstat().st_size in self._sizes:
                return self._sought.get(self._hash_of(path))
        return None

    @staticmethod
    def _hash_of(path: Path) -> str:
        """Give the hash of a file; of what cannot be read, none that any image has."""
        try:
            return see(path).sha256
        except (OSError, DiskError):
            return ""

    def unfinished(self, store: Store) -> Iterator[Finding]:
        """Find the attempts whose end is not known."""
        for attempt in store.unsettled():
            remedy = "run again, which brings its image home or counts it as possibly billed"
            place = f"attempt {attempt.id} (task {attempt.errand['key']})"
            yield Finding(kind=Kind.OPEN, place=place, fault="has no end in the ledger", remedy=remedy)

    def leftovers(self) -> Iterator[Finding]:
        """Find what a run that died has left in the spool, and what no run has left there."""
        folder = self.job.own / "spool"
        yield from map(_leftover, sorted(folder.iterdir()) if folder.is_dir() else ())


def _difference(path: Path, store: Store) -> str | None:
    """Say where a file stops to be what the ledger says; None when it is all the same."""
    wanted = (line.encode() + b"\n" for _, line in store.image_records())
    try:
        with open_plain(path) as handle:
            for number, (found, right) in enumerate(zip_longest(handle, wanted), start=1):
                if found is None:
                    return f"ends before line {number}, though the ledger has more images"
                if right is None:
                    return f"has a line {number}, though the ledger has no more images"
                if found != right:
                    return f"is not as the ledger has it, from line {number} on"
    except FileNotFoundError:
        return "is missing" if next(wanted, None) is not None else None
    return None


def _files(folder: Path) -> Iterator[Path]:
    """Walk through a folder without holding it; what is no folder counts as a file, and no link is followed."""
    try:
        entries = os.scandir(folder)
    except FileNotFoundError:
        return
    with entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path))
            else:
                yield Path(entry.path)


def _leftover(path: Path) -> Finding:
    fault, remedy = _told_of(path)
    if (odd := oddity(path)) is not None:
        fault, remedy = f"is {odd}, not a file", "move it away"
    elif _is_junk(path):
        fault = "is no note that can be read of where an image can be fetched"
        remedy = "put it back from a copy, or let `verify --repair` set it aside, so that its image counts as lost"
        return Finding(kind=Kind.SPOOL, place=str(path), fault=fault, remedy=remedy, can_mend=True)
    return Finding(kind=Kind.SPOOL, place=str(path), fault=fault, remedy=remedy)


def _is_junk(path: Path) -> bool:
    name = LINK.fullmatch(path.name)
    try:
        if name is not None:
            read_note(path, int(name["attempt"]))
    except DiskError:
        return True
    except FileNotFoundError:  # a run has begun and needed it no more
        return False
    return False


def _told_of(path: Path) -> tuple[str, str]:
    name = path.name
    if READY.fullmatch(name):
        return "is an image that is paid for and not in its place yet", "run again to bring it home"
    if WHOLE.fullmatch(name):
        return "is an image that is paid for and that was not synced yet", "run again to bring it home"
    if LINK.fullmatch(name):
        return "notes where an image that is paid for can be fetched", "run again soon to fetch it"
    if name.endswith(".room.part"):
        return "is room that was kept for an image", "the next run removes it"
    if name.endswith((".part", ".copy")):
        return "was never whole", "the next run removes it"
    return "is nothing that a run has left", "move it away"
