"""A disk that forgets: what a power loss can leave of a run, at every moment, of whatever was not synced.

A run writes to a real folder through `Recorder`, which keeps a journal. From it, `states` makes what may be found
after the power has come back. A file's bytes are there for certain only once it was synced, a name only once its folder
was. SQLite's own file is taken to be what its last commit made of it, since it is opened with `synchronous=FULL`.
"""

import os
import random
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from batchbanana.spool import Files


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One operation: on a name, on a file's bytes, or a commit.

    Attributes:
        does: create, rename, link, unlink, mkdir, data, sync_folder, commit.
        path, target: relative to the job directory.
        file: number of the file whose name or bytes they are.
        data: its bytes at that moment, for `data`; the ledger's, for `commit`.
        metadata: what stood in `metadata.jsonl` after a commit.
        synced: so many bytes of that are certain.
    """

    does: str
    path: str = ""
    target: str = ""
    file: int = 0
    data: bytes = b""
    metadata: bytes = b""
    synced: int = 0


class Recorder(Files):
    """The real disk with a journal of all that it is asked to do."""

    def __init__(self, job: Path) -> None:
        self._job = job
        self._numbers: dict[str, int] = {}
        self._handles: dict[BinaryIO, int] = {}
        self._files = 0
        self._synced = 0
        self.journal: list[Step] = []

    def create(self, path: Path, size: int) -> BinaryIO:
        handle = super().create(path, size)
        self._files += 1
        name = self._name(path)
        self._numbers[name] = self._handles[handle] = self._files
        self.journal.append(Step(does="create", path=name, file=self._files))
        return handle

    def sync(self, handle: BinaryIO, size: int) -> None:
        handle.truncate(size)
        number = self._handles[handle]  # its file may have another name by now
        name = next(name for name, file in self._numbers.items() if file == number)
        self.journal.append(Step(does="data", path=name, file=number, data=(self._job / name).read_bytes()))

    def sync_folder(self, path: Path) -> None:
        self.journal.append(Step(does="sync_folder", path=self._name(path)))

    def rename(self, source: Path, target: Path) -> None:
        super().rename(source, target)
        number = self._numbers[self._name(target)] = self._numbers.pop(self._name(source))
        self.journal.append(Step(does="rename", path=self._name(source), target=self._name(target), file=number))

    def link(self, source: Path, target: Path) -> None:
        super().link(source, target)
        number = self._numbers[self._name(target)] = self._numbers[self._name(source)]
        self.journal.append(Step(does="link", path=self._name(source), target=self._name(target), file=number))

    def unlink(self, path: Path) -> None:
        if path.exists():
            self.journal.append(Step(does="unlink", path=self._name(path), file=self._numbers.pop(self._name(path), 0)))
        super().unlink(path)

    def make_folders(self, path: Path) -> None:
        if not path.is_dir():
            self.make_folders(path.parent)
            path.mkdir(exist_ok=True)
            self.journal.append(Step(does="mkdir", path=self._name(path)))
            self.sync_folder(path.parent)

    def commit(self, ledger: bytes) -> None:
        """Note what the ledger's file is from now on."""
        metadata = self._job / "metadata.jsonl"
        told = metadata.read_bytes() if metadata.exists() else b""
        self.journal.append(Step(does="commit", data=ledger, metadata=told, synced=self._synced))

    @contextmanager
    def watching(self) -> Iterator[None]:
        """See what of `metadata.jsonl` is synced while the block lasts: it does not go through `Files`."""
        true = os.fsync

        def fsync(descriptor: int) -> None:
            path = self._job / "metadata.jsonl"
            if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                self._synced = path.stat().st_size
            true(descriptor)

        os.fsync = fsync  # type: ignore[assignment]  # nobody here syncs anything but descriptors
        try:
            yield
        finally:
            os.fsync = true

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self._job))


@dataclass(slots=True)
class Found:
    """Names and bytes that are there for certain, and operations on names that may or may not be."""

    names: dict[str, int] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    data: dict[int, bytes] = field(default_factory=dict)
    pending: list[Step] = field(default_factory=list)
    ledger: bytes = b""
    metadata: bytes = b""
    synced: int = 0

    def take(self, step: Step) -> None:
        if step.does == "commit":
            self.ledger, self.metadata, self.synced = step.data, step.metadata, step.synced
        elif step.does == "data":
            self.data[step.file] = step.data
        elif step.does == "sync_folder":
            certain = [one for one in self.pending if _folder_of(one) == step.path]
            self.pending = [one for one in self.pending if _folder_of(one) != step.path]
            for one in certain:
                self.apply(one)
        else:
            self.pending.append(step)

    def apply(self, step: Step) -> None:
        match step.does:
            case "create":
                self.names[step.path] = step.file
            case "link":
                self.names[step.target] = step.file
            case "rename":
                self.names.pop(step.path, None)
                self.names[step.target] = step.file
            case "unlink":
                self.names.pop(step.path, None)
            case "mkdir":
                self.folders.add(step.path)

    def copy(self) -> "Found":
        return replace(self, names=dict(self.names), folders=set(self.folders), data=dict(self.data), pending=[])


def _folder_of(step: Step) -> str:
    return str(Path(step.target or step.path).parent)


def states(journal: Sequence[Step], chance: random.Random, each: int) -> Iterator[Found]:
    """Give what may be found after a power loss before each step: nothing that was not synced, all of it, or some.

    Args:
        journal: of a run.
        chance: picks what of it.
        each: how many states a step gives at most.
    """
    disk = Found()
    for step in [*journal, Step(does="end")]:
        for turn in range(min(each, 2 ** len(disk.pending))):
            found = disk.copy()
            for one in disk.pending:
                if turn and (turn == 1 or chance.random() < 0.5):
                    found.apply(one)
            yield found
        if step.does != "end":
            disk.take(step)


def write(found: Found, job: Path, chance: random.Random) -> None:
    """Make the folder as it is found."""
    shutil.rmtree(job, ignore_errors=True)
    (job / ".batchbanana").mkdir(parents=True)
    for folder in sorted(found.folders):
        (job / folder).mkdir(parents=True, exist_ok=True)
    for name, file in found.names.items():
        if (path := job / name).parent.is_dir():  # a folder whose own name is lost takes its names with it
            path.write_bytes(found.data[file] if file in found.data else _unsynced(b"", chance))
    if found.ledger:
        (job / ".batchbanana" / "ledger.db").write_bytes(found.ledger)
    if found.metadata and (found.synced or chance.random() < 0.8):
        told = found.metadata[: found.synced] + _unsynced(found.metadata[found.synced :], chance)
        (job / "metadata.jsonl").write_bytes(told)


def _unsynced(data: bytes, chance: random.Random) -> bytes:
    """Give what may stand in a file that was never synced: all, a beginning of it, zeros in its place, or something."""
    cut = chance.randrange(len(data) + 1)
    return chance.choice(
        [data, data[:cut], data[:cut] + bytes(len(data) - cut), bytes(cut) + data[cut:], chance.randbytes(999)]
    )
