"""A job directory: who may write in it, and its ledger."""

import json
import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from batchbanana.errors import DiskError, JobHeldError, LedgerError
from batchbanana.ledger import Caps, Store, news, refuse_odd_ledger
from batchbanana.ledger.fence import identity
from batchbanana.plain import open_plain, refuse_odd

LOCK_PATIENCE = 1.0  # seconds; `status` may look at the lock for an instant

# What a run writes, relative to the job directory.
WRITTEN = (
    *("images", "extras", "metadata.jsonl", "summary.json", ".batchbanana", ".batchbanana/spool"),
    *(".batchbanana/superseded", ".batchbanana/ledger.db", ".batchbanana/lock"),
)

FOLDERS = ("images", "extras", ".batchbanana/spool", ".batchbanana/superseded")

# What is opened beside the ledger and the images, relative to the job directory.
OPENED = (
    *("metadata.jsonl", ".metadata.jsonl.new", "summary.json", ".batchbanana/summary.json.new"),
    ".batchbanana/lock",
)

# As the kernel names them.
NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "ceph", "glusterfs", "fuse.sshfs", "fuse.glusterfs"}


def file_system(path: Path, mounts: str) -> str:
    """Name the file system that holds a resolved path, by the lines of `/proc/mounts`; empty when none fits."""
    best, kind = -1, ""
    for line in mounts.splitlines():
        _, point, name, *_ = [*line.split(" "), "", "", ""]
        folder = Path(point.replace("\\040", " "))
        if len(folder.parts) >= best and path.is_relative_to(folder):  # a later mount hides an earlier one
            best, kind = len(folder.parts), name
    return kind


class JobDirectory:
    """The folder that holds one manifest's images and the tool's own files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.own = path / ".batchbanana"
        self.ledger = self.own / "ledger.db"
        self.lock = self.own / "lock"
        self.holding: tuple[int, int] | None = None  # the identity of the lock that is held

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the directory for writing; the lock dies with its process.

        Raises:
            JobHeldError: another run holds it.
            DiskError: it cannot be written.
        """
        try:
            self._refuse_layout()
            self.refuse_odd()
            self.own.mkdir(parents=True, exist_ok=True)
            self._refuse_network()
            lock = FileLock(self.lock)
            lock.acquire(timeout=LOCK_PATIENCE, poll_interval=0.05)
            self.holding = identity(self.lock)
        except Timeout:
            raise JobHeldError(f"Another run works in {self.path}; wait for it or stop it, then run again") from None
        except OSError as error:
            raise DiskError(f"{self.path} cannot be written ({error.strerror}); choose another --output") from error
        try:
            yield
        finally:
            lock.release()

    def check_lock(self) -> None:
        """Come right before a run begins in the ledger, which may be long after the lock was taken.

        Raises:
            JobHeldError: the lock that is held is no longer the one that others see.
        """
        if identity(self.lock) != self.holding:
            raise JobHeldError(f"The lock of {self.path} was removed; look whether another run works there, run again")

    def is_held(self) -> bool:
        """Whether a run is at work here.

        Raises:
            DiskError: the lock is no file.
        """
        refuse_odd(self.lock)
        try:
            with FileLock(self.lock).acquire(timeout=0):
                return False
        except Timeout:
            return True
        except (
            OSError
        ):  # it cannot be locked from here, so nothing can be said; nobody is told of a run that may not be
            return False

    def open_store(self, caps: Caps) -> Store:
        """Open the ledger for writing; call it while the directory is held.

        Raises:
            LedgerError: the ledger is gone though images are there, or it cannot be used.
        """
        if self.has_lost_ledger():
            raise LedgerError(
                f"{self.path} holds images but no ledger, so a run would buy them again; "
                f"put {self.ledger} back from a copy, or let `{self.repair}` rebuild it"
            )
        return Store.open(self.ledger, caps)

    def refuse_older(self, store: Store) -> None:
        """Let no run go on with a ledger that knows less than `metadata.jsonl`: it would buy images again.

        Raises:
            LedgerError: there are images in the file and on the disk that the ledger does not know.
        """
        path = self.path / "metadata.jsonl"
        if (found := news(store, path)) is not None:
            raise LedgerError(
                f"{path} tells of {found.count} images that are there and that the ledger does not know (the first is "
                f"{found.first}), so a run would buy them again: the ledger is an older copy or another job's; "
                f"put the newest one back, or let `{self.repair}` take them over"
            )

    @property
    def repair(self) -> str:
        """The command that mends this directory, as a person would type it."""
        return f"batchbanana verify {shlex.quote(str(self.path))} --repair"

    def has_lost_ledger(self) -> bool:
        """Whether images are there, but no ledger that tells what they are."""
        return (not self.ledger.exists() or not self.ledger.stat().st_size) and self.has_images()

    def has_images(self) -> bool:
        """Whether there are images, or what tells of them."""
        images = self.path / "images"
        return (self.path / "metadata.jsonl").exists() or any(path.is_file() for path in images.rglob("*"))

    def read_store(self) -> Store | None:
        """Open the ledger for reading; None when there is none."""
        return Store.open(self.ledger, Caps(), read_only=True) if self.ledger.exists() else None

    def write_summary(self, summary: dict[str, object], check: Callable[[], None]) -> None:
        """Write `summary.json`, whole or not at all; `check` raises when the job is another run's by now."""
        aside = self.own / "summary.json.new"
        text = json.dumps(summary, indent=2, ensure_ascii=False) + "\n"
        check()
        try:
            with aside.open("w", encoding="utf-8") as handle:
                handle.write(text)
                handle.flush()
                os.fsync(handle.fileno())
            check()
            aside.replace(self.path / "summary.json")
        except BaseException:
            aside.unlink(missing_ok=True)
            raise

    def read_summary(self) -> dict[str, object] | None:
        """Read the last run's summary; None when there is none.

        Raises:
            DiskError: it is no file.
        """
        try:
            with open_plain(self.path / "summary.json") as handle:
                data = json.load(handle)
        except (OSError, ValueError):
            return None
        return data if isinstance(data, dict) else None

    def refuse_odd(self) -> None:
        """Let nothing be opened that is no file; images and what is in the spool are looked at one by one.

        Raises:
            DiskError: something else stands in the place of a file.
        """
        refuse_odd_ledger(self.ledger)
        for name in OPENED:
            refuse_odd(self.path / name)

    def _refuse_layout(self) -> None:
        """Find out before anything is paid for what cannot work; nothing is written where a link leads."""
        for name in WRITTEN:
            if (self.path / name).is_symlink():
                raise DiskError(
                    f"{self.path / name} is a link, and nothing is written outside a job directory; "
                    "put the thing itself there, or choose another --output"
                )
        for name in FOLDERS:
            if (self.path / name).exists() and not (self.path / name).is_dir():
                raise DiskError(f"{self.path / name} is no folder; move it away, or choose another --output")

    def _refuse_network(self) -> None:
        """The ledger's write-ahead log needs memory shared between processes, which no network file system has."""
        try:
            mounts = Path("/proc/mounts").read_text(encoding="utf-8", errors="replace")
        except OSError:  # not Linux: there is nothing to read it from
            return
        kind = file_system(self.own.resolve(), mounts)
        if kind in NETWORK:
            raise LedgerError(
                f"{self.path} is on a network file system ({kind}), where a ledger breaks; use a local --output"
            )
