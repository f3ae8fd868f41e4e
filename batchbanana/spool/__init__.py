"""One image's way to disk: reserve, write, sync, rename, link. A crash at any point leaves nothing false behind.

Files in `spool/` are called `<attempt>.<index>.part` while they are written and `<attempt>.<rank>.<sha256>.ready` from
the moment they are whole, checked and synced. A ready file is never deleted before the ledger knows its image.
Before that, while it is synced, a whole file is called `<attempt>.<rank>.<sha256>.<size>.whole`: a run may end in the
midst of a slow sync, or the disk may refuse it. The next start makes it ready if its bytes are still there.
`<attempt>.room.part` keeps room for an image: see `rooms`.
`<attempt>.0.link` notes where the image that counts can be fetched; it goes once the image is ready, or once the
ledger knows that it will never be.
All functions block on the disk and are called in worker threads, but for `Part.write`, what it calls when the disk is
full, and the beginning of a further file for one answer.
"""

import errno
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from batchbanana.errors import DiskError
from batchbanana.names import is_confined
from batchbanana.plain import open_plain, refuse_odd
from batchbanana.spool.files import FULL, FencedFiles, Files, standing, with_patience
from batchbanana.spool.part import Part
from batchbanana.spool.rooms import Room, Rooms
from batchbanana.task import Billed
from batchbanana.together import tried

__all__ = ["FULL", "FencedFiles", "Files", "Linked", "Part", "Ready", "Room", "Rooms", "Spool", "read_note", "standing"]

LINK = re.compile(r"(?P<attempt>\d+)\.0\.link")
READY = re.compile(r"(?P<attempt>\d+)\.(?P<rank>\d+)\.(?P<sha256>[0-9a-f]{64})\.ready")
WHOLE = re.compile(r"(?P<attempt>\d+)\.(?P<rank>\d+)\.(?P<sha256>[0-9a-f]{64})\.(?P<size>\d+)\.whole")
BLOCK = 1 << 20  # bytes read at once
SMALL = 1 << 20  # bytes of a file whose part in the disk's journal takes as long as the file itself
SUPERSEDED = Path(".batchbanana/superseded")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """An image found in the spool at start, which was whole when it got its name.

    Attributes:
        rank: 0 for the image that counts, 1… for extras.
        sha256: as its name says; whoever brings it home hashes it again.
        size: bytes.
    """

    path: Path
    attempt: int
    rank: int
    sha256: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Linked:
    """A note of where an image that is paid for can be fetched.

    Attributes:
        url: as the server wrote it; it may hold a signature, so it is not to be told.
        model_version: what the server said made it.
        billed, cost: what the answer said of the money; the cost in micro-dollars, None when it did not say.
        is_written: whether it is on the disk, so that a later run can fetch the image.
    """

    path: Path
    attempt: int
    url: str
    model_version: str | None
    billed: Billed
    cost: int | None = None
    is_written: bool = True


class Spool:
    """The spool of one job directory, and the way from it to final names.

    Attributes:
        folder: where it is.
        rooms: what keeps room for the images of a run, so that a full disk shows before anything is paid.
    """

    def __init__(self, job: Path, files: Files | None = None) -> None:
        self._job = job
        self._files = files or Files()
        self.folder = job / ".batchbanana" / "spool"
        self.rooms = Rooms(self._files, self.folder)

    def open(self) -> None:
        """Make the folders a run needs.

        Raises:
            DiskError: the job directory cannot be written.
        """
        try:
            self._files.make_folders(self.folder)
            self._files.make_folders(self._job / "images")
        except OSError as error:
            raise DiskError(f"{self._job} cannot be written ({error.strerror}); choose another --output") from error

    def part(self, attempt: int, index: int, expected: int = 0, room: Room | None = None) -> Part:
        """Begin a file, with `expected` bytes reserved in it or with a room to go on in when the disk is full.

        Raises:
            OSError: the disk is full or failing.
        """
        return Part(self._files, self.folder / f"{attempt}.{index}.part", expected, room)

    def keep_all(self, parts: Sequence[tuple[Part, int]]) -> list[tuple[Path, str] | Exception]:
        """Do what `Part.keep` does for parts with their ranks; the error of one stands in its result's place."""
        tried(lambda one: one[0].put_by(one[1]), parts)  # all of them, before the first may wait for the disk
        small = [part for part, _ in parts if part.size <= SMALL]
        if len(small) > 1:
            tried(Part.begin_sync, small)
        # All are synced before the first gets its name, or the disk's journal would be written for each of them.
        synced = tried(lambda one: one[0].sync(one[1]), parts)
        kept = tried(_given_name, [(*one, fault) for one, fault in zip(parts, synced, strict=True)])
        return self._synced(kept, [self.folder for _ in parts])

    def note(
        self, attempt: int, url: str, model_version: str | None, billed: Billed, cost: int | None = None
    ) -> Linked:
        """Write down where the image that counts can be fetched; from here a crash loses nothing that its server keeps.

        Raises:
            OSError: it could not be written down.
            DiskError: it is written down, but the disk may not know; its attempt must stay open.
        """
        path = self._note_path(attempt)
        facts = {"url": url, "model_version": model_version, "billed": str(billed), "cost": cost}
        data = json.dumps(facts).encode()
        part = with_patience(lambda: Part(self._files, path.with_name(f"{path.name}.part"), 0))
        try:
            part.write(data)
            part.settle(path)
        except OSError as error:
            if part.is_ready:
                raise DiskError(f"The spool cannot be synced ({error.strerror}); the image is fetched later") from error
            raise
        finally:
            part.discard()
        return Linked(path=path, attempt=attempt, url=url, model_version=model_version, billed=billed, cost=cost)

    def unwritten(
        self, attempt: int, url: str, model_version: str | None, billed: Billed, cost: int | None = None
    ) -> Linked:
        """Give the note that the disk would not take."""
        path = self._note_path(attempt)
        return Linked(
            path=path,
            attempt=attempt,
            url=url,
            model_version=model_version,
            billed=billed,
            cost=cost,
            is_written=False,
        )

    def _note_path(self, attempt: int) -> Path:
        return self.folder / f"{attempt}.0.link"

    def publish(self, ready: Path, final: Path) -> bool:
        """Link a ready file to its final name and sync; False when another file stands there.

        Args:
            ready: what `Part.keep` gave.
            final: relative to the job directory.

        Raises:
            OSError: the disk refuses, or a folder on the way is a link that may lead out of the job directory.
        """
        [result] = self.publish_all([(ready, final.as_posix())])
        if isinstance(result, Exception):
            raise result
        return result

    def publish_all(self, images: Sequence[tuple[Path, str]]) -> list[bool | Exception]:
        """Do what `publish` does for ready files with their final names; the error of one stands in its place."""
        named = [(ready, folder or slash, name) for ready, (folder, slash, name) in _split(images)]
        folders = {folder: self._job / folder for _, folder, _ in named}
        # One look at each for all that goes there in this turn.
        ways = dict(zip(folders, tried(self._way, list(folders)), strict=True))
        linked = tried(lambda one: self._link(one[0], ways[one[1]], one[2]), named)
        return self._synced(linked, [folders[folder] for _, folder, _ in named])

    def _way(self, folder: str) -> Path:
        """Make a folder, given relative to the job directory, where images are to stand."""
        self._refuse_links(Path(folder, "image"))
        target = self._job / folder
        self._files.make_folders(target)
        return target

    def _link(self, ready: Path, way: Path | Exception, name: str) -> bool:
        if isinstance(way, Exception):
            raise way
        if not is_confined(name):  # as the last part of a path it would be the folder, or the one above
            raise OSError(errno.EPERM, f"{name!r} is no name of an image")
        target = way / name
        try:
            self._files.link(ready, target)
        except FileExistsError:
            return _same_bytes(ready, target)
        return True

    def _synced(self, results: Sequence[Result | Exception], folders: Sequence[Path]) -> list[Result | Exception]:
        """Sync the folder of each result that is good, every folder once; where that fails, they are good no more."""
        faults: dict[Path, Exception | None] = {}
        for result, folder in zip(results, folders, strict=True):
            if result and not isinstance(result, Exception) and folder not in faults:
                [fault] = tried(self._files.sync_folder, [folder])
                faults[folder] = fault
        return [
            result if isinstance(result, Exception) or not result else faults[folder] or result
            for result, folder in zip(results, folders, strict=True)
        ]

    def _refuse_links(self, final: Path) -> None:
        """Nothing is written, moved or removed outside the job directory, whatever a ledger or a link says."""
        if not is_confined(final.as_posix()):
            raise OSError(errno.EPERM, f"{final} is not in the job directory, and nothing is changed outside it")
        for folder in final.parents[:-1]:  # the last is the job directory
            if (self._job / folder).is_symlink():
                raise OSError(errno.ELOOP, f"{folder} is a link, and nothing is written outside the job directory")

    def standing(self, name: str) -> list[str]:
        """List the files that an image of this name may meet, relative to the job directory."""
        return standing(self._job, name)

    def forget(self, path: Path) -> None:
        """Drop a ready file or a note that the ledger needs no more."""
        self._files.unlink(path)

    def is_home(self, ready: Path, final: str) -> bool:
        """Whether the very bytes of a ready file are under a final name, too."""
        return _same_bytes(ready, self._job / final)

    def set_aside(self, final: str) -> None:
        """Move an image that a better one has replaced out of `images/`; it was paid for, so it is kept."""
        self._refuse_links(Path(final))
        source = self._job / final
        if source.exists():
            self.keep_aside(source, final)

    def keep_aside(self, source: Path, final: str) -> None:
        """Move a file of the job directory to where superseded images are, never over another."""
        self._refuse_links(source.relative_to(self._job))
        target, number = SUPERSEDED / final, 0
        while not self.publish(source, target):
            number += 1
            target = (SUPERSEDED / final).with_stem(f"{Path(final).stem}~{number}")
        self._files.unlink(source)

    def retract(self, final: Path) -> None:
        """Take back a name that `publish` gave; the spool still has the file."""
        self._refuse_links(final)
        self._files.unlink(self._job / final)

    def recover(self) -> list[Ready]:
        """Drop what was not whole and list what is ready.

        Raises:
            OSError: the disk refuses; nothing that was paid for is dropped.
        """
        for path in self._in_spool():  # before anything else takes space: they may have all that there is
            if path.suffix in {".part", ".copy"}:
                self._files.unlink(path)
        for path in self._in_spool():
            if (name := WHOLE.fullmatch(path.name)) is not None:
                self._make_ready(path, name)
        named = [(path, READY.fullmatch(path.name)) for path in self._in_spool()]
        return [
            Ready(
                path=path,
                attempt=int(name["attempt"]),
                rank=int(name["rank"]),
                sha256=name["sha256"],
                size=path.stat().st_size,
            )
            for path, name in named
            if name
        ]

    def _in_spool(self) -> list[Path]:
        found = sorted(self.folder.iterdir())
        for path in found:
            if READY.fullmatch(path.name) or WHOLE.fullmatch(path.name):
                refuse_odd(path)
        return [path for path in found if path.is_file()]

    def _make_ready(self, whole: Path, name: re.Match[str]) -> None:
        """Write a whole file anew, since a disk that failed to sync it may never do so; drop it if bytes are gone."""
        aside = whole.with_name(f"{name['attempt']}.{name['rank']}.whole.part")
        self._files.unlink(aside)
        left = int(name["size"])
        part = Part(self._files, aside, left)
        try:
            with open_plain(whole) as handle:
                while block := handle.read(min(BLOCK, left)):
                    part.write(block)
                    left -= len(block)
            if part.sha256 == name["sha256"]:
                part.settle(whole.with_name(f"{name['attempt']}.{name['rank']}.{name['sha256']}.ready"))
        finally:
            part.discard()
        self._files.unlink(whole)

    def notes(self) -> list[Linked]:
        """List the notes of images to be fetched, which earlier runs left.

        Raises:
            DiskError: one is not as it was written.
        """
        named = [(path, LINK.fullmatch(path.name)) for path in sorted(self.folder.iterdir())]
        return [read_note(path, int(name["attempt"])) for path, name in named if name]


def _split(images: Sequence[tuple[Path, str]]) -> Iterator[tuple[Path, tuple[str, str, str]]]:
    """Part each final name at its last slash; the folder of what is absolute is the slash itself."""
    return ((ready, final.rpartition("/")) for ready, final in images)


def _given_name(one: tuple[Part, int, Exception | None]) -> tuple[Path, str]:
    part, rank, fault = one
    if fault is not None:
        raise fault
    return part.make_ready(rank)


def read_note(path: Path, attempt: int) -> Linked:
    """Read what `Spool.note` wrote.

    Raises:
        DiskError: it is not as it was written, or no file.
    """
    try:
        with open_plain(path) as handle:
            data = json.load(handle)
        return Linked(
            path=path,
            attempt=attempt,
            url=str(data["url"]),
            model_version=data["model_version"],
            billed=Billed(data["billed"]),
            cost=data.get("cost"),
        )
    except (ValueError, KeyError, TypeError) as error:
        remedy = "put it back from a copy, or let `verify --repair` set it aside"
        raise DiskError(f"{path} cannot be read as it was written; {remedy}") from error


def _same_bytes(one: Path, other: Path) -> bool:
    if not other.is_file() or one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as first, other.open("rb") as second:
        return hashlib.file_digest(first, "sha256").digest() == hashlib.file_digest(second, "sha256").digest()
