"""One image's way to disk: reserve, write, sync, rename, link. A crash at any point leaves nothing false behind.

Files in `spool/` are called `<attempt>.<index>.part` while they are written and `<attempt>.<rank>.<sha256>.ready` from
the moment they are whole, checked and synced. A ready file is never deleted before the ledger knows its image.
All functions block on the disk and are called in worker threads, but for `Part.write`.
"""

import contextlib
import errno
import hashlib
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from batchbanana.errors import DiskError

READY = re.compile(r"(?P<attempt>\d+)\.(?P<rank>\d+)\.(?P<sha256>[0-9a-f]{64})\.ready")
SUPERSEDED = Path(".batchbanana/superseded")
DESCRIPTOR_PATIENCE = 30.0  # seconds
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class Files:
    """The few file operations everything durable goes through; replaced by a simulated disk in tests."""

    def create(self, path: Path, size: int) -> BinaryIO:
        """Create a file that must not exist and reserve `size` bytes for it where the system can."""
        handle = path.open("xb", buffering=0)
        try:
            if size and hasattr(os, "posix_fallocate"):
                os.posix_fallocate(handle.fileno(), 0, size)
        except OSError as error:
            if error.errno in FULL:
                handle.close()
                path.unlink()
                raise
            # A file system without reservation (EINVAL, EOPNOTSUPP) only loses the early warning.
        return handle

    def sync(self, handle: BinaryIO, size: int) -> None:
        """Cut the file to its true size and wait until its bytes are on the disk."""
        handle.truncate(size)
        os.fsync(handle.fileno())

    def sync_folder(self, path: Path) -> None:
        """Wait until the names in a folder are on the disk."""
        if os.name == "nt":  # Windows has no way to sync a folder, and needs none
            return
        descriptor = _open_folder(path)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """Give a file another name; the old name is gone at the same instant."""
        source.replace(target)

    def link(self, source: Path, target: Path) -> None:
        """Give a file a second name; fails with FileExistsError rather than overwrite."""
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno not in NO_HARD_LINKS:
                raise
            self._copy(source, target)

    def _copy(self, source: Path, target: Path) -> None:
        # Without hard links the target must still appear whole or not at all: copy aside, sync, rename. The check
        # before the rename is enough because one run at a time holds the job directory.
        if target.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        aside = source.with_suffix(".copy")
        with source.open("rb") as reader, aside.open("wb") as writer:
            while block := reader.read(1 << 20):
                writer.write(block)
            writer.flush()
            os.fsync(writer.fileno())
        aside.replace(target)

    def unlink(self, path: Path) -> None:
        """Remove a name; one that is gone already is fine."""
        path.unlink(missing_ok=True)

    def make_folders(self, path: Path) -> None:
        """Create a folder with its parents, every new name synced."""
        if path.is_dir():
            return
        self.make_folders(path.parent)
        with contextlib.suppress(FileExistsError):
            path.mkdir()
        self.sync_folder(path.parent)


def _open_folder(path: Path) -> int:
    """Open a folder, waiting for a file descriptor if need be: others give theirs back, and this image is paid for."""
    end = time.monotonic() + DESCRIPTOR_PATIENCE
    while True:
        try:
            return os.open(path, os.O_RDONLY)
        except OSError as error:
            if error.errno not in {errno.EMFILE, errno.ENFILE} or time.monotonic() > end:
                raise
        time.sleep(0.05)


class Part:
    """A file of the spool that is being written. Hashes as it goes."""

    def __init__(self, files: Files, path: Path, expected: int) -> None:
        self._files = files
        self._handle = files.create(path, expected)
        self._hash = hashlib.sha256()
        self.path = path
        self.size = 0
        self.is_ready = False

    def write(self, data: bytes) -> None:
        """Append; only into the system's cache, so it does not wait for the disk."""
        self._hash.update(data)
        view = memoryview(data)
        while view:
            view = view[self._handle.write(view) :]
        self.size += len(data)

    def keep(self, rank: int) -> tuple[Path, str]:
        """Make the file durable and ready; from here it cannot be lost. Returns its path and SHA-256.

        Args:
            rank: 0 for the image that counts, 1… for extras.
        """
        digest = self._hash.hexdigest()
        self._files.sync(self._handle, self.size)
        self._handle.close()
        attempt = self.path.name.split(".")[0]
        ready = self.path.with_name(f"{attempt}.{rank}.{digest}.ready")
        self._files.rename(self.path, ready)
        self.is_ready = True
        self._files.sync_folder(ready.parent)
        return ready, digest

    def trim(self) -> None:
        """Give back the room that was reserved beyond what has been written."""
        self._handle.truncate(self.size)

    def close(self) -> None:
        """Stop writing; the file stays what it is."""
        self._handle.close()

    def discard(self) -> None:
        """Forget the file; harmless after `keep`."""
        self.close()
        self._files.unlink(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A whole image found in the spool at start.

    Attributes:
        rank: 0 for the image that counts, 1… for extras.
        intact: whether the bytes still have the hash that the name says.
    """

    path: Path
    attempt: int
    rank: int
    sha256: str
    size: int
    intact: bool


class Spool:
    """The spool of one job directory, and the way from it to final names."""

    def __init__(self, job: Path, files: Files | None = None) -> None:
        self._job = job
        self._files = files or Files()
        self.folder = job / ".batchbanana" / "spool"

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

    def part(self, attempt: int, index: int, expected: int = 0) -> Part:
        """Begin a file, reserving `expected` bytes, so that a full disk shows before anything is paid.

        Raises:
            OSError: the disk is full or failing.
        """
        return Part(self._files, self.folder / f"{attempt}.{index}.part", expected)

    def publish(self, ready: Path, final: Path) -> bool:
        """Link a ready file to its final name and sync; False when another file stands there.

        Args:
            ready: what `Part.keep` gave.
            final: relative to the job directory.
        """
        target = self._job / final
        self._files.make_folders(target.parent)
        try:
            self._files.link(ready, target)
        except FileExistsError:
            if not _same_bytes(ready, target):
                return False
        self._files.sync_folder(target.parent)
        return True

    def forget(self, ready: Path) -> None:
        """Drop a ready file that the ledger knows by now."""
        self._files.unlink(ready)

    def set_aside(self, final: str) -> None:
        """Move an image that a better one has replaced out of `images/`; it was paid for, so it is kept."""
        source = self._job / final
        if source.exists():
            self.keep_aside(source, final)

    def keep_aside(self, source: Path, final: str) -> None:
        """Move a file to where superseded images are, never over another."""
        target, number = SUPERSEDED / final, 0
        while not self.publish(source, target):
            number += 1
            target = (SUPERSEDED / final).with_stem(f"{Path(final).stem}~{number}")
        self._files.unlink(source)

    def retract(self, final: Path) -> None:
        """Take back a name that `publish` gave; the spool still has the file."""
        self._files.unlink(self._job / final)

    def recover(self) -> list[Ready]:
        """Drop what was not whole and list what is ready, hashed again."""
        found: list[Ready] = []
        for path in sorted(path for path in self.folder.iterdir() if path.is_file()):
            if path.suffix in {".part", ".copy"}:
                self._files.unlink(path)
            elif (name := READY.fullmatch(path.name)) is not None:
                found.append(_look(path, int(name["attempt"]), int(name["rank"]), name["sha256"]))
        return found


def _look(path: Path, attempt: int, rank: int, digest: str) -> Ready:
    with path.open("rb") as handle:
        intact = hashlib.file_digest(handle, "sha256").hexdigest() == digest
    size = path.stat().st_size
    return Ready(path=path, attempt=attempt, rank=rank, sha256=digest, size=size, intact=intact)


def _same_bytes(one: Path, other: Path) -> bool:
    if not other.is_file() or one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as first, other.open("rb") as second:
        return hashlib.file_digest(first, "sha256").digest() == hashlib.file_digest(second, "sha256").digest()
