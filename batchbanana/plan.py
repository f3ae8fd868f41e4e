"""The matrix as distinct tasks with what the ledger knows of each, a block at a time.

So memory does not grow with the job, and what is made already is passed over without being made a task of again.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Protocol

from anyio import to_thread

from batchbanana.ledger import Ahead, Known, Ledger, Store
from batchbanana.marks import Marks
from batchbanana.spool import standing
from batchbanana.task import Task

BLOCK = 256  # tasks expanded and looked up at once: a few milliseconds
LARGEST_BLOCK = 4096  # likewise, where all are made: some tens of milliseconds of the ledger's time

Images = dict[str, tuple[str, int]]  # file and bytes, by key


class Sketch(Protocol):
    """A task that is made on demand."""

    @property
    def key(self) -> str:
        """The task's key."""
        ...

    def task(self) -> Task:
        """Make the task."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The next part of the plan.

    Attributes:
        done: how many of its tasks are done.
        others: the other ones, with what the ledger knows of each.
    """

    done: int
    others: list[tuple[Task, Known]]


class Plan:
    """Reads the plan block by block.

    Attributes:
        repeated: cells that asked for the very same image as an earlier one.
        damaged: how many files of images in the ledger are not there any more, or have another size.
        first_damaged: one of these.
    """

    def __init__(self, tasks: Iterable[Sketch], ledger: Ledger, job: Path, *, is_distinct: bool = False) -> None:
        """Take tasks, and whether it is certain that none comes twice, so that none has to be remembered."""
        self._tasks: Iterator[Sketch] = iter(tasks)
        self._ledger = ledger
        self._ahead = Ahead()
        self._job = str(job)
        self._seen = None if is_distinct else Marks()
        self._size = BLOCK
        self.damaged = 0
        self.first_damaged = ""
        self.repeated = 0

    async def block(self) -> Block | None:
        """Give the next tasks, None at the end. Cells that ask for the very same image come once."""
        tasks = await to_thread.run_sync(self._expand)
        if tasks is None:
            return None
        done, known = await self._ledger.do(partial(self._look_up, keys=[task.key for task in tasks]))
        return await to_thread.run_sync(self._make, tasks, done, known)

    async def taken(self, names: list[str]) -> set[str]:
        """Tell which of these names of images below `images/`, without their endings, a file has already."""
        return await to_thread.run_sync(lambda: {name for name in names if standing(Path(self._job), name)})

    def _expand(self) -> list[Sketch] | None:
        tasks = list(islice(self._tasks, self._size))
        if not tasks or self._seen is None:
            return tasks or None
        fresh = [task for task in tasks if is_new(task, self._seen)]
        self.repeated += len(tasks) - len(fresh)
        return fresh

    def _look_up(self, store: Store, keys: list[str]) -> tuple[Images, dict[str, Known]]:
        done = self._ahead.done(store, keys)
        return done, store.lookup([key for key in keys if key not in done])

    def _make(self, tasks: list[Sketch], done: Images, known: dict[str, Known]) -> Block:
        """Look after the images that are there, and make the tasks that may still be wanted."""
        for file, size in done.values():
            self._look_after(file, size)
        for image in known.values():
            if image.file is not None:
                self._look_after(image.file, image.size)
        others = [(task.task(), known.get(task.key, Known())) for task in tasks if task.key not in done]
        # What is made is passed over in ever larger steps; what is not is wanted soon.
        self._size = BLOCK if others else min(2 * self._size, LARGEST_BLOCK)
        return Block(done=len(done), others=others)

    def _look_after(self, file: str, size: int | None) -> None:
        try:
            is_whole = os.stat(f"{self._job}/{file}").st_size == size  # noqa: PTH116 -- a Path costs more than the look
        except OSError:
            is_whole = False
        if not is_whole:
            self.first_damaged = self.first_damaged or file
            self.damaged += 1


def is_new(task: Sketch, seen: Marks) -> bool:
    """Whether a task was not seen before; remembers it."""
    return seen.add(int(task.key[:16], 16))
