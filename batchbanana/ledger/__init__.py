"""The durable record of attempts and outcomes: one writing thread, many operations a commit.

The event loop hands operations over and waits for them; each is durable when its call returns. Operations that are
waiting while a commit is under way share the next one, so the disk's sync time is paid once for all of them; so do
those of one turn of the event loop, since a commit costs far more processor time than an operation.
"""

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from batchbanana.errors import BatchError, DiskError, LedgerError
from batchbanana.ledger.ahead import Ahead
from batchbanana.ledger.fence import Fence
from batchbanana.ledger.health import flaw
from batchbanana.ledger.looking_back import complaints, deed, unclear
from batchbanana.ledger.mending import image_of, images, index_files, is_owned, own, put_back, restore
from batchbanana.ledger.metadata import Metadata
from batchbanana.ledger.older import Line, is_news, news
from batchbanana.ledger.schema import BESIDE, refuse_odd_ledger
from batchbanana.ledger.starts import images_since, starts_since
from batchbanana.ledger.store import Store, is_disk_fault
from batchbanana.ledger.values import (
    ASIDE,
    OUTSIDE,
    PAUSE,
    PLAN,
    Caps,
    Complaint,
    Deed,
    Ending,
    Grant,
    Image,
    Known,
    Money,
    Restored,
    Run,
    Sending,
    Settlement,
    Start,
    Unsettled,
)
from batchbanana.scheduling import give_way

__all__ = [
    "ASIDE",
    "BESIDE",
    "OUTSIDE",
    "PAUSE",
    "PLAN",
    "Ahead",
    "Caps",
    "Complaint",
    "Deed",
    "Ending",
    "Fence",
    "Grant",
    "Image",
    "Known",
    "Ledger",
    "Line",
    "Metadata",
    "Money",
    "Restored",
    "Run",
    "Sending",
    "Settlement",
    "Start",
    "Store",
    "Unsettled",
    "complaints",
    "deed",
    "explained",
    "flaw",
    "image_of",
    "images",
    "images_since",
    "index_files",
    "is_news",
    "is_owned",
    "news",
    "own",
    "put_back",
    "refuse_odd_ledger",
    "restore",
    "starts_since",
    "unclear",
]

MOST_A_COMMIT = 256

Result = TypeVar("Result")
Operation = Callable[[Store], Any]
Waiting = tuple[Operation, "asyncio.Future[Any]"]


class Ledger:
    """Writes the ledger of one job; use as an async context manager.

    Raises:
        LedgerError: from any call, once the file could not be written or a later run has taken over. From then on
            every call fails: nothing is known to be durable any more.
    """

    def __init__(self, job: Path, store: Store) -> None:
        self._store = store
        self._metadata = Metadata(job / "metadata.jsonl", store, store.check_fence)
        self._queue: queue.SimpleQueue[list[Waiting] | None] = queue.SimpleQueue()
        self._waiting: list[Waiting] = []  # not handed over yet; the event loop's own, like the next
        self._is_committing = False
        self._thread = threading.Thread(target=self._work, name="ledger", daemon=True)
        self._broken: BatchError | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> "Ledger":
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._waiting:  # what nobody waits for any longer is carried out all the same
            self._queue.put(self._waiting)
            self._waiting = []
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        self._store.close()

    async def do(self, operation: Callable[[Store], Result]) -> Result:
        """Carry out an operation in the ledger's thread; it is durable when this returns.

        The operation runs inside a transaction that it shares with others, so it must neither commit nor fail halfway.
        """
        assert self._loop is not None, "the ledger is not open"  # noqa: S101 -- a programmer's mistake, not a user's
        future: asyncio.Future[Result] = self._loop.create_future()
        if not self._waiting and not self._is_committing:
            self._loop.call_soon(self._hand_over)
        self._waiting.append((operation, future))
        return await future

    def _hand_over(self) -> None:
        """Give the thread what waits, at the end of a turn: a thread that got the first alone would begin with that."""
        if self._waiting and not self._is_committing:
            self._is_committing = True
            self._queue.put(self._waiting[:MOST_A_COMMIT])
            self._waiting = self._waiting[MOST_A_COMMIT:]

    async def begin(self, sending: Sending) -> Grant:
        """Reserve money for an attempt and write it down; only after this may it be sent."""
        return await self.do(lambda store: store.begin(sending))

    async def settle(self, settlement: Settlement) -> None:
        """Write down how an attempt ended."""
        await self.do(lambda store: store.settle(settlement))

    async def lookup(self, keys: list[str]) -> dict[str, Known]:
        """Tell what is known of tasks."""
        return await self.do(lambda store: store.lookup(keys))

    @property
    def money(self) -> Money:
        """What the job has cost; read from the event loop, a moment old at most."""
        return self._store.money

    @property
    def caps(self) -> Caps:
        """The money limits."""
        return self._store.caps

    @property
    def possible(self) -> int:
        """What attempts without an answer may cost, unknown prices taken as high ones; micro-dollars."""
        return self._store.possible

    def room(self, price: int) -> Grant:
        """Say whether one more attempt seems affordable; `begin` has the last word."""
        return self._store.room(price)

    def _work(self) -> None:
        give_way()
        while (batch := self._queue.get()) is not None:
            self._commit(batch)
        self._finish()

    def _commit(self, batch: list[Waiting]) -> None:
        results: list[Any] | None = None
        try:
            if self._broken is None:
                results = self._carry_out(batch)
                self._store.check_fence()  # the sync may have taken long, if the process was stopped meanwhile
                self._metadata.catch_up()
        except Exception as error:  # noqa: BLE001 -- whatever it is, a dead ledger thread would hang the run
            self._break(error)
        finally:
            self._answer(batch, results)

    def _carry_out(self, batch: list[Waiting]) -> list[Any]:
        self._store.execute("BEGIN IMMEDIATE")
        self._store.check_fence()
        results = [operation(self._store) for operation, _ in batch]
        self._metadata.remember()
        self._store.execute("COMMIT")
        return results

    def _break(self, error: Exception) -> None:
        self._broken = _explain(error)
        self._broken.__cause__ = error
        with contextlib.suppress(sqlite3.Error):  # the file is given up anyway, and the next opening rolls back
            if self._store.in_transaction:
                self._store.execute("ROLLBACK")
            self._store.recount()

    def _answer(self, batch: list[Waiting], results: list[Any] | None) -> None:
        assert self._loop is not None  # noqa: S101 -- set before the thread starts
        self._loop.call_soon_threadsafe(self._tell, batch, results)

    def _tell(self, batch: list[Waiting], results: list[Any] | None) -> None:
        """Tell everybody; what was committed is told as such, even if something broke right after it."""
        for number, (_, future) in enumerate(batch):
            if future.cancelled():
                continue
            if results is not None:
                future.set_result(results[number])
            else:
                future.set_exception(self._broken or LedgerError("The ledger's thread has ended; please report it"))
        self._is_committing = False
        assert self._loop is not None  # noqa: S101 -- set before the thread starts
        self._loop.call_soon(self._hand_over)  # after those who were just told, and may have more to write down

    def _finish(self) -> None:
        try:
            if self._broken is None:
                self._store.check_fence()
                self._metadata.close()
        except (sqlite3.Error, OSError, BatchError) as error:
            self._break(error)
        finally:
            self._metadata.drop()

    @property
    def broken(self) -> BatchError | None:
        """Why the ledger can no longer be written; None while all is well."""
        return self._broken


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turn faults of the disk and of the ledger's file into sentences for a person."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise _explain(error) from error


def _explain(error: Exception) -> BatchError:
    """Say what a fault of the file means for a person: make room, or look at the ledger."""
    if isinstance(error, BatchError):
        return error
    if isinstance(error, OSError) or is_disk_fault(error):
        return DiskError(f"The job directory cannot be written ({error}); make room and run again")
    return LedgerError(
        f"The ledger cannot be written ({type(error).__name__}: {error}); look at the disk and run again"
    )
