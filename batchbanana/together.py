"""Small things that many tasks want of the disk at once: who comes while the threads are busy shares the next turn.

Handing each over to a thread and back costs more processor time than most of them, and what shares a turn can share the
sync of a folder, too. When little is going on, each has a turn of its own and waits for nobody.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import anyio
from anyio import CapacityLimiter, to_thread

MOST = 64  # items a turn: with a sync of 4 ms each, it takes a quarter of a second
FEW = 16  # items that wait for the turn under way rather than have a thread of their own beside it
Item = TypeVar("Item")
Result = TypeVar("Result")


class _Place(Generic[Item, Result]):
    """One item in the queue, until its result is there."""

    __slots__ = ("called", "item", "result", "turn")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.called: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.result: tuple[Result | Exception] | None = None
        self.turn: list[_Place[Item, Result]] = []  # whose turn it is to take, when it is called without a result


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
        self._limiter = CapacityLimiter(lanes)
        self._busy = 0
        self._waiting: deque[_Place[Item, Result]] = deque()

    async def do(self, item: Item) -> Result:
        """Have an item done; shielded from cancellation, since others depend on it.

        Raises:
            Exception: what stands in its result's place.
        """
        place: _Place[Item, Result] = _Place(item)
        self._waiting.append(place)
        with anyio.CancelScope(shield=True):
            if not self._busy or (self._busy < self._lanes and len(self._waiting) >= FEW):
                self._busy += 1
                self._hand_on()
            await place.called
            if place.result is None:
                await self._take(place.turn)
        assert place.result is not None  # noqa: S101 -- whoever takes a turn has a place in it
        [result] = place.result
        if isinstance(result, Exception):
            raise result
        return result

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way or waits."""
        return not self._busy and not self._waiting

    def _hand_on(self) -> None:
        """Call the first of those who wait to a lane that is free, with its share of them; or let the lane be free."""
        count = len(self._waiting)
        if not count or (self._busy > 1 and count < FEW):
            self._busy -= 1
            return
        share = min(count, MOST, max(FEW, -(-count // self._lanes)))
        turn = [self._waiting.popleft() for _ in range(share)]
        turn[0].turn = turn
        _call(turn[0])

    async def _take(self, turn: "list[_Place[Item, Result]]") -> None:
        """Do what is of this turn, and hand the lane on."""
        try:
            results = await to_thread.run_sync(self._act, [place.item for place in turn], limiter=self._limiter)
            self._end(turn, results)
        except Exception as error:  # noqa: BLE001 -- it is everybody's who has no result
            self._end(turn, [error] * len(turn))
        self._hand_on()

    def _end(self, turn: "list[_Place[Item, Result]]", results: Sequence[Result | Exception]) -> None:
        for place, result in zip(turn, results, strict=True):
            place.result = place.result or (result,)
            _call(place)


def _call(place: "_Place[Item, Result]") -> None:
    if not place.called.done():
        place.called.set_result(None)


def tried(act: Callable[[Item], Result], items: Sequence[Item]) -> list[Result | Exception]:
    """Do something for each item; what it raises stands in its result's place."""
    results: list[Result | Exception] = []
    for item in items:
        try:
            results.append(act(item))
        except Exception as error:  # noqa: BLE001 -- it is raised where the item came from
            results.append(error)
    return results
