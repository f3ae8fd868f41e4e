"""Signals: the first lets what is in flight finish, because it is paid for; the second abandons it."""

import signal
import sys

import anyio

from batchbanana.beginning import Beginning
from batchbanana.errors import Exit
from batchbanana.policy import Stop
from batchbanana.runner import Runner

DRAIN = 60.0  # seconds that a terminated run lets requests finish; service managers kill after 90
CODES = {"SIGINT": Exit.INTERRUPTED, "SIGTERM": Exit.TERMINATED, "SIGHUP": Exit.TERMINATED}


class Interrupts:
    """Hears signals from a run's first step to its last."""

    def __init__(self) -> None:
        self.beginning = Beginning()
        self._runner: Runner | None = None
        self._first: Stop | None = None

    @property
    def first(self) -> Stop | None:
        """What the first signal asked for; None while there was none."""
        return self._first

    @property
    def run(self) -> Beginning | Runner:
        """What a signal stops now: the run's first steps, or what was attached."""
        return self._runner or self.beginning

    def attach(self, runner: Runner) -> None:
        """Say what is to be stopped from now on; what was stopped or given up before stays so."""
        self._runner = runner
        if self.beginning.stopped is not None:
            runner.stop(self.beginning.stopped)
        if self.beginning.is_cancelled:
            runner.cancel()

    async def heed(self) -> None:
        """Listen until cancelled."""
        if sys.platform == "win32":  # no event loop hands signals over there: Ctrl-C cancels, and the next run resumes
            return
        codes = {getattr(signal, name): code for name, code in CODES.items()}
        # Whoever started us with a signal ignored, as nohup does, wants it ignored.
        heard = [number for number in codes if signal.getsignal(number) is not signal.SIG_IGN]
        if not heard:
            return
        with anyio.open_signal_receiver(*heard) as received:
            async with anyio.create_task_group() as group:
                async for number in received:
                    if self._first is not None:
                        self.run.cancel()
                        continue
                    reason = f"Stopped by {signal.Signals(number).name}; run again to go on"
                    self._first = Stop(exit_code=codes[number], reason=reason)
                    self.run.stop(self._first)
                    if number != signal.SIGINT:
                        group.start_soon(self._cancel_later)

    async def _cancel_later(self) -> None:
        await anyio.sleep(DRAIN)
        self.run.cancel()
