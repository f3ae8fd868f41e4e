"""What must be there before a request may leave: money, leave of the limits, room on the disk, and a durable row."""

from collections.abc import Callable
from dataclasses import dataclass

import anyio

from batchbanana.engines import Worker
from batchbanana.errors import Exit
from batchbanana.feed import Work
from batchbanana.ledger import Grant, Ledger, Sending
from batchbanana.limits import Closed, Exhausted, Leave, Limits, NotNow, wall_clock
from batchbanana.policy import Stop
from batchbanana.record import Errand, usd
from batchbanana.task import Attempt, Failure, Rung


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """An attempt that may be sent: its row is durable, its money reserved, and `leave` is what the limits gave."""

    attempt: Attempt
    leave: Leave


class Grants:
    """Grants attempts to workers, one at a time to each, and takes back the room that they have used.

    Args:
        limits: whose leave is asked for.
        ledger: where attempts are written down and money is reserved.
        next_attempt: the first attempt id that is free.
        stop: called with the reason when this run may send no more.

    Attributes:
        count: attempts granted so far.
    """

    def __init__(self, limits: Limits, ledger: Ledger, next_attempt: int, stop: Callable[[Stop], None]) -> None:
        self._limits = limits
        self._ledger = ledger
        self._next = next_attempt
        self._stop = stop
        self._is_closed = False
        self._in_flight = 0
        self._leaving = 0  # have been promised money and wait for the limits
        self._promised = 0  # micro-dollars
        self._settled = anyio.Event()
        self._waiting = False  # whether somebody waits for that
        self.count = 0

    @property
    def newest(self) -> int:
        """The id of the newest attempt of all runs."""
        return self._next - 1

    def close(self) -> None:
        """Grant nothing more."""
        self._is_closed = True
        self._tell()

    def back(self, granted: Granted, cost: int | None) -> None:
        """Take note that a granted attempt has come back and is settled.

        Args:
            granted: which.
            cost: in micro-dollars; None when nobody knows.
        """
        self._in_flight -= 1
        self._limits.back(granted.leave, cost)
        self._tell()

    async def money(self, price: int) -> bool:
        """Wait while what is in flight may still turn out to cost nothing; with nothing in flight, stop.

        Args:
            price: micro-dollars of the next attempt.
        """
        while (grant := self._room(price)) is not Grant.GRANTED and not self._is_closed:
            if not self._in_flight and not self._leaving:
                self._stop(Stop(exit_code=Exit.MONEY, reason=self._out_of_money(grant, price), is_own=True))
                break
            self._waiting = True
            await self._settled.wait()
        return grant is Grant.GRANTED

    def _out_of_money(self, grant: Grant, price: int) -> str:
        money, caps = self._ledger.money, self._ledger.caps
        if grant is Grant.CAP:
            taken = usd(money.at_worst(0, caps.unpriced))
            return (
                f"The money cap is reached: ${taken:.2f} of max_cost ${usd(caps.max_cost or 0):.2f} is taken, "
                f"and one more could cost ${usd(money.at_worst(price, caps.unpriced)) - taken:.3f}; "
                f"raise max_cost to go on{_dearer(money.dearest)}"
            )
        return (
            f"{money.possible_count} attempts may have been billed, as no answer says otherwise, up to "
            f"${usd(self._ledger.possible):.2f} of max_possibly_billed ${usd(caps.max_possibly_billed or 0):.2f}; "
            "compare with the provider's invoice, then raise max_possibly_billed (--max-possibly-billed) to go on"
        )

    async def attempt(
        self, work: Work, rung: Rung, worker: Worker, *, can_wait_elsewhere: bool = False
    ) -> Granted | Failure | None:
        """Wait for the limits with money promised, make room, write the attempt down; None: not now, or never.

        Args:
            work: what for.
            rung: of the task's ladder.
            worker: who will carry it out.
            can_wait_elsewhere: whether to give up instead of waiting for what concerns its model alone.
        """
        price = rung.price or 0
        self._promised += price
        self._leaving += 1
        try:
            leave = await self._leave(work, price, can_wait_elsewhere=can_wait_elsewhere)
            if leave is None:
                return None
            attempt = Attempt(id=self._next, task=work.task, rung=rung)
            self._next += 1
            failure = await worker.prepare(attempt)
            if failure is None and await self._begin(attempt, worker) is Grant.GRANTED:
                return Granted(attempt=attempt, leave=leave)
            self._limits.unsent(leave)
            return failure
        finally:
            self._promised -= price
            self._leaving -= 1
            self._tell()

    async def _leave(self, work: Work, price: int, *, can_wait_elsewhere: bool) -> Leave | None:
        """Wait for the limits; None when it is not to be sent now."""
        worst = self._ledger.money.dear(price)
        try:
            return await self._limits.leave(work.task.model, worst, can_wait_elsewhere=can_wait_elsewhere)
        except (Closed, NotNow):
            return None
        except Exhausted as full:
            pause = Stop(exit_code=Exit.PAUSED, reason=f"{full.limit} is used up", resume_in=full.wait, is_own=True)
            self._stop(pause.dated(wall_clock()))
            return None

    def _room(self, price: int) -> Grant:
        """Look for room beside what others were promised; the ledger itself checks again when it writes."""
        return self._ledger.room(price + self._promised)

    async def _begin(self, attempt: Attempt, worker: Worker) -> Grant | None:
        """Reserve the money and write the attempt down; only then may it be sent."""
        sending = Sending(
            id=attempt.id,
            key=attempt.task.key,
            resolution=attempt.rung.resolution,
            price=attempt.rung.price,
            errand=Errand.of(attempt.task, attempt.rung).to_json(),
        )
        grant: Grant | None = None
        try:
            with anyio.CancelScope(shield=True):  # whoever gives up now must know whether there is a row to settle
                grant = await self._ledger.begin(sending)
            if self._ledger.broken is not None:  # it broke right after that commit: what comes back could not be kept
                grant = None
                raise self._ledger.broken
        finally:
            if grant is not Grant.GRANTED:
                await worker.abandon()
        if grant is Grant.GRANTED:
            self._in_flight += 1
            self.count += 1
        return grant

    def _tell(self) -> None:
        if self._waiting:
            self._waiting = False
            self._settled.set()
            self._settled = anyio.Event()


def _dearer(thousandths: int) -> str:
    """Say that an answer has told a cost far above its price, since all that is to come is reckoned at that."""
    return f" (an answer told {thousandths / 1000:.3g} times its price)" if thousandths > 1500 else ""
