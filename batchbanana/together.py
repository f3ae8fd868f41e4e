"""Small things that many tasks want of the disk at once: who comes while the threads are busy shares the next turn.

Handing each over to a thread and back costs more processor time than most of them, and what shares a turn can share the
sync of a folder, too. When little is going on, a turn begins at the end of the event loop's own pass, with whoever has
come in that pass, and waits for nobody else.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

import anyio

from batchbanana.scheduling import give_way

MOST = 64  # items a turn: with a sync of 4 ms each, it takes a quarter of a second
FEW = 16  # items that wait for the turn under way rather than have a thread of their own beside it
Item = TypeVar("Item")
Result = TypeVar("Result")


class _Place(Generic[Item, Result]):
    """One item in the queue, until its result is there."""

    __slots__ = ("item", "result")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.result: asyncio.Future[Result | Exception] = asyncio.get_running_loop().create_future()


class Together(Generic[Item, Result]):
    """Lets tasks of one event loop share turns in threads.

    Args:
        act: called in a thread with the items of a turn; gives a result for each, in their order. An exception among
            them is for whoever brought that item.
        lanes: turns under way at once.
    """

    def __init__(self, act: Callable[[Sequence[Item]], Sequence[Result | Exception]], lanes: int) -> None:
        self._act = act
        self._lanes = lanes
        self._busy = 0
        self._is_opening = False
        self._waiting: deque[_Place[Item, Result]] = deque()
        # Not anyio's threads: handing over to them takes three times as long, and is most of what a small thing takes.
        self._threads = ThreadPoolExecutor(lanes, thread_name_prefix="disk", initializer=give_way)
        self._threads.submit(int)  # one thread is there before anything hangs on it; the system may refuse further ones

    def close(self) -> None:
        """Let the threads end, each after what it has been given; nothing may be done after that."""
        self._threads.shutdown(wait=False)

    async def do(self, item: Item) -> Result:
        """Have an item done; shielded from cancellation, since others depend on it.

        Raises:
            Exception: what stands in its result's place.
        """
        place: _Place[Item, Result] = _Place(item)
        self._waiting.append(place)
        if not self._is_opening:  # at the end of this pass of the loop: who else comes in it goes along
            self._is_opening = True
            asyncio.get_running_loop().call_soon(self._open)
        with anyio.CancelScope(shield=True):
            result = await place.result
        if isinstance(result, Exception):
            raise result
        return result

    def _open(self) -> None:
        """Let as many lanes begin as those who have come are worth: one at least, or wait for the one under way."""
        self._is_opening = False
        while self._waiting and (not self._busy or (self._busy < self._lanes and len(self._waiting) >= FEW)):
            self._busy += 1
            self._hand_on()

    @property
    def is_free(self) -> bool:
        """Whether who comes now goes along with a turn that begins at once."""
        return not self._busy and len(self._waiting) < FEW

    def _hand_on(self) -> None:
        """Give a lane that is free its share of those who wait; or let it be free."""
        count = len(self._waiting)
        if not count or (self._busy > 1 and count < FEW):
            self._busy -= 1
            return
        share = min(count, MOST, max(FEW, -(-count // self._lanes)))
        if count - share < FEW:  # too few for a lane of their own: they would wait for this turn
            share = min(count, MOST)
        turn = [self._waiting.popleft() for _ in range(share)]
        with contextlib.suppress(RuntimeError):  # no further thread can be had; one that is there takes the turn
            self._threads.submit(self._take, turn, asyncio.get_running_loop())

    def _take(self, turn: "list[_Place[Item, Result]]", loop: asyncio.AbstractEventLoop) -> None:
        """Do what is of this turn; called in a thread."""
        try:
            results = list(self._act([place.item for place in turn]))
        except BaseException as error:  # noqa: BLE001 -- it is everybody's
            fault = error if isinstance(error, Exception) else RuntimeError(f"{type(error).__name__} in a turn")
            results = [fault] * len(turn)
        loop.call_soon_threadsafe(self._end, turn, results)

    def _end(self, turn: "list[_Place[Item, Result]]", results: Sequence[Result | Exception]) -> None:
        """Tell everybody of a turn its result, and hand the lane on."""
        lacking = [ValueError("a turn gave too few results")] * (len(turn) - len(results))
        for place, result in zip(turn, (*results, *lacking), strict=False):
            if not place.result.done():  # its task may be gone, cancelled by force
                place.result.set_result(result)
        self._hand_on()


def tried(act: Callable[[Item], Result], items: Sequence[Item]) -> list[Result | Exception]:
    """Do something for each item; what it raises stands in its result's place."""
    results: list[Result | Exception] = []
    for item in items:
        try:
            results.append(act(item))
        except Exception as error:  # noqa: BLE001 -- it is raised where the item came from
            results.append(error)
    return results
