"""Ends a run that does nothing and waits for nothing that is known: a fault of ours must not sit there until morning.

Two things are watched. The event loop watches the run: attempts that begin and end, tasks that are looked at. A thread
watches the event loop, and what has been told to end. Both count looks, not seconds: a process that was stopped for a
night, or a machine that slept, gets one look for all of it. A fault that keeps every thread from running is not seen.
"""

import asyncio
import os
import select
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import anyio

from batchbanana.errors import Exit
from batchbanana.policy import Stop
from batchbanana.record import span

LOOK = 1.0  # seconds between looks
MARGIN = 20 * 60  # seconds beyond all that one attempt may take, its downloads and their rests included
ATTEMPT = 4  # times its timeout that an attempt may take: three for a paid body, one to fetch what it points to
LOOP_PATIENCE = 10 * 60  # seconds that the event loop may stand still; nothing of ours stalls it for one
GRACE = 14  # seconds from giving everything up to the end; with the time to drain, a service manager's patience
PACKAGE = str(Path(__file__).parent)
STDERR = 2  # the number of standard error


class Run(Protocol):
    """What is watched; the runner is one."""

    stopped: Stop | None
    longest: float  # seconds, of the timeouts of its attempts so far

    @property
    def pulse(self) -> object:
        """Something that changes with everything that the run does."""
        ...

    @property
    def waits(self) -> float:
        """Seconds that what it waits for lasts still, as far as that is known; else 0."""
        ...

    @property
    def is_cancelled(self) -> bool:
        """Whether everything was given up, so that the end is near."""
        ...

    def stop(self, stop: Stop) -> None:
        """Send nothing more."""
        ...

    def cancel(self) -> None:
        """Give up what is in flight."""
        ...


def patience(longest: float) -> float:
    """Say for how many seconds a run may do nothing, if its attempts have timeouts of up to `longest` seconds."""
    return ATTEMPT * longest + MARGIN


class Silence:
    """Counts looks in a row that saw nothing new."""

    def __init__(self) -> None:
        self._seen: object = self
        self._looks = 0

    def look(self, state: object, seconds: float, *, is_fine: bool = False) -> bool:
        """Look at a state; True when it has been the same, and not fine, for as many looks as `seconds` have."""
        if is_fine or state != self._seen:
            self._seen, self._looks = state, 0
            return False
        self._looks += 1
        return self._looks * LOOK >= seconds


class Watchdog:
    """Watches one run.

    Args:
        run: gives what is watched; None as long as it has not begun.
        end: ends the process at once with a code and a sentence.
    """

    def __init__(self, run: Callable[[], Run | None], end: Callable[[Exit, str], None] | None = None) -> None:
        self._run = run
        self._end = end or end_at_once
        self._beats = 0
        self._main = threading.main_thread().ident
        self._over = threading.Event()

    async def watch(self) -> None:
        """Watch the run until cancelled; one that does nothing is stopped, and what is in flight given up."""
        silence = Silence()
        while True:
            await anyio.sleep(LOOK)
            self._beats += 1
            run = self._run()
            if run is None or run.is_cancelled:
                continue
            seconds = patience(run.longest)
            if not silence.look(run.pulse, seconds, is_fine=run.waits > 0):
                continue
            reason = f"No progress for {span(seconds)} ({doing()}); run again to go on, and please report it"
            run.stop(Stop(exit_code=Exit.WATCHDOG, reason=reason))
            run.cancel()

    @contextmanager
    def guarding(self) -> Iterator[None]:
        """Watch the event loop and the end of the run from a thread, for as long as the block lasts."""
        self._main = threading.get_ident()
        thread = threading.Thread(target=self._guard, name="watchdog", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _guard(self) -> None:
        loop, grace = Silence(), Silence()
        while not self._over.wait(LOOK):
            run = self._run()
            is_ending = run is not None and run.is_cancelled
            if grace.look(is_ending, GRACE, is_fine=not is_ending):
                why = run.stopped if run is not None else None
                code = why.exit_code if why is not None else Exit.WATCHDOG
                self._end(code, f"This run did not come to its end ({self._standing()})")
                return
            if loop.look(self._beats, LOOP_PATIENCE):
                self._end(Exit.WATCHDOG, f"No progress: the program hangs ({self._standing()}); please report it")
                return

    def _standing(self) -> str:
        return place(sys._current_frames().get(self._main or 0)) or "nobody knows where"  # noqa: SLF001 -- public in all but name


def end_at_once(code: Exit, sentence: str) -> None:
    """End the process without another word to anyone; what is paid for is as safe as if it had been killed."""
    try:
        with suppress(OSError, ValueError):  # whoever was to read it has left; the code still tells how the run ended
            _say(f"batchbanana: {sentence}; what is paid is kept, run again to go on\n".encode())
    finally:
        os._exit(code)


def _say(data: bytes) -> None:
    # A program that was begun without standard error may have given its number to a file of the job.
    if sys.stderr is None or sys.stderr.fileno() != STDERR:
        return
    # A terminal that stands still may be what hangs: nothing is written that would have to wait.
    if select.select([], [STDERR], [], 0)[1]:
        os.write(STDERR, data)


def doing() -> str:
    """Say where this event loop's tasks stand, the most frequent place first."""
    ours = asyncio.current_task()
    places = Counter(place(_innermost(task.get_coro())) for task in asyncio.all_tasks() if task is not ours)
    del places[""]
    told = [f"{count} in {where}" for where, count in places.most_common(3)]
    return "; ".join(told) or "nothing is under way"


def place(frame: FrameType | None) -> str:
    """Name the innermost place of our own code from a frame outwards; empty when there is none."""
    while frame is not None and not frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.f_back
    return (
        "" if frame is None else f"{frame.f_code.co_name}, {Path(frame.f_code.co_filename).name} line {frame.f_lineno}"
    )


def _innermost(awaited: Any) -> FrameType | None:
    """Follow a task that waits down to the innermost frame of ours."""
    found: FrameType | None = None
    while (frame := getattr(awaited, "cr_frame", None)) is not None:
        if frame.f_code.co_filename.startswith(PACKAGE):
            found = frame
        awaited = awaited.cr_await
    return found
