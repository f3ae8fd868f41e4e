"""The few file operations everything durable goes through, in one small place that a simulated disk can take."""

import contextlib
import errno
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar

from batchbanana.images import ENDINGS
from batchbanana.plain import open_plain, refuse_odd

DESCRIPTOR_PATIENCE = 30.0  # seconds
Opened = TypeVar("Opened")
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
NO_RESERVATION = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENODEV}
NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class Files:
    """The few file operations everything durable goes through; replaced by a simulated disk in tests."""

    def create(self, path: Path, size: int) -> BinaryIO:
        """Create a file that must not exist, to write and read, and reserve `size` bytes where the system can."""
        handle = path.open("x+b", buffering=0)
        try:
            if size and hasattr(os, "posix_fallocate"):
                os.posix_fallocate(handle.fileno(), 0, size)
        except OSError as error:
            # A file system without reservation only loses the early warning; one that fails must cost nothing.
            if error.errno not in NO_RESERVATION:
                handle.close()
                with contextlib.suppress(OSError):  # the next start drops it
                    path.unlink()
                raise
        return handle

    def begin_sync(self, handle: BinaryIO, size: int) -> None:
        """Have the system begin with what `sync` waits for, where it can; a fault is told there.

        A file system with a journal then writes that once for several files, and not for each that is synced.
        """
        if hasattr(os, "posix_fadvise"):
            with contextlib.suppress(OSError):
                _cut(handle, size)
                # Of bytes that are not on the disk yet, this means that they go there now.
                os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def sync(self, handle: BinaryIO, size: int) -> None:
        """Cut the file to its true size and wait until its bytes are on the disk."""
        _cut(handle, size)
        os.fsync(handle.fileno())

    def sync_folder(self, path: Path) -> None:
        """Wait until the names in a folder are on the disk."""
        if os.name == "nt":  # Windows has no way to sync a folder, and needs none
            return
        descriptor = with_patience(partial(os.open, path, os.O_RDONLY))
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
        refuse_odd(aside)
        with open_plain(source) as reader, aside.open("wb") as writer:
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


class FencedFiles(Files):
    """The disk for a run that may lose its job directory to another one.

    Args:
        check: raises when that has happened; it comes before every change.
    """

    def __init__(self, check: Callable[[], None]) -> None:
        self._check = check

    def create(self, path: Path, size: int) -> BinaryIO:
        """Create a file, if the folder is still ours; one who was stopped on the way leaves nothing either."""
        self._check()
        handle = super().create(path, size)
        try:
            self._check()
        except BaseException:
            with handle, contextlib.suppress(OSError):
                if os.path.samestat(os.fstat(handle.fileno()), path.stat()):
                    path.unlink()
            raise
        return handle

    def rename(self, source: Path, target: Path) -> None:
        """Rename a file, if the folder is still ours."""
        self._check()
        super().rename(source, target)

    def link(self, source: Path, target: Path) -> None:
        """Link a file, if the folder is still ours."""
        self._check()
        super().link(source, target)

    def unlink(self, path: Path) -> None:
        """Remove a name, if the folder is still ours."""
        self._check()
        super().unlink(path)

    def make_folders(self, path: Path) -> None:
        """Create folders, if the one above is still ours."""
        self._check()
        super().make_folders(path)


def _cut(handle: BinaryIO, size: int) -> None:
    if os.fstat(handle.fileno()).st_size != size:  # to cut it again would be one more change to wait for
        handle.truncate(size)


def standing(job: Path, name: str) -> list[str]:
    """List the files that an image's name may meet in a job directory, whatever picture comes; mostly none.

    Args:
        job: the directory.
        name: below `images/`, without the ending, as a task has it.

    Returns:
        The files, relative to the job directory.
    """
    root = f"{job}/images/{name}"  # no Path for each: this comes before every image
    return [f"images/{name}{ending}" for ending in ENDINGS if os.path.lexists(root + ending)]


def with_patience(opened: Callable[[], Opened]) -> Opened:
    """Open what a paid image needs, waiting for a file descriptor if need be: others give theirs back."""
    end = time.monotonic() + DESCRIPTOR_PATIENCE
    while True:
        try:
            return opened()
        except OSError as error:
            if error.errno not in {errno.EMFILE, errno.ENFILE} or time.monotonic() > end:
                raise
        time.sleep(0.05)
