"""Who brings an image home now: a few at a time, in the order of their answers.

When the answers of fifty workers come at once, the event loop would do each step for all of them before it does the
next for any. All fifty would then ask for their next images late and together, so that the next answers come
together, too: a delay that grows with every round. A few at a time, the first ones ask again while the others'
answers still wait.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import anyio

FEWEST = 8  # at a time: what they do together at the disk and in the ledger costs a third less than alone
SHARE = 8  # or one of so many workers: a thousand that come at once lose less by waiting than by sharing too little
PATIENCE = 0.2  # seconds; this is about order only, so a disk that hangs must not keep anybody from reading an answer


class Landing:
    """Lets a few of an engine's workers at a time bring an image home."""

    def __init__(self) -> None:
        self._workers = 0
        self._busy = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def permit(self) -> "Permit":
        """Make one more worker's permit."""
        self._workers += 1
        return Permit(self)

    @property
    def _most(self) -> int:
        return max(FEWEST, self._workers // SHARE)

    def enter(self) -> bool:
        """Take a place if one is free."""
        is_free = self._busy < self._most
        self._busy += is_free
        return is_free

    async def wait(self) -> None:
        """Wait for a place, but not for long; shielded from cancellation, since the answer has come and is paid for."""
        loop = asyncio.get_running_loop()
        called = loop.create_future()
        self._waiting.append(called)
        timer = loop.call_later(PATIENCE, self._admit, called)
        try:
            with anyio.CancelScope(shield=True):
                await called
        except BaseException:  # by force, perhaps just when it was let in
            if called.done() and not called.cancelled():
                self.leave()
            raise
        finally:
            timer.cancel()

    def leave(self) -> None:
        """Give the place to who has waited longest."""
        self._busy -= 1
        while self._waiting and self._busy < self._most:
            self._admit(self._waiting.popleft())

    def _admit(self, called: "asyncio.Future[None]") -> None:
        if not called.done():  # it may have run out of patience, or be gone
            self._busy += 1
            called.set_result(None)


class Permit:
    """One worker's place, if it has one."""

    def __init__(self, landing: Landing) -> None:
        self._landing = landing
        self._is_in = False

    def take(self, is_whole: Callable[[], bool]) -> Awaitable[None] | None:
        """Take a place; gives what is to be awaited where none is free, which is not for long.

        Args:
            is_whole: whether all of the answer has been read, asked in the next pass of the event loop. What has come
                is read at a stretch; the rest of a large answer comes at the network's pace, which must hold up
                nobody.
        """
        if not self._landing.enter():
            return self._wait(is_whole)
        self._enter(is_whole)
        return None

    async def _wait(self, is_whole: Callable[[], bool]) -> None:
        await self._landing.wait()
        self._enter(is_whole)

    def _enter(self, is_whole: Callable[[], bool]) -> None:
        self._is_in = True
        asyncio.get_running_loop().call_soon(self._look, is_whole)

    def _look(self, is_whole: Callable[[], bool]) -> None:
        if not is_whole():
            self.give()

    def give(self) -> None:
        """Give the place back, if there is one."""
        if self._is_in:
            self._is_in = False
            self._landing.leave()
