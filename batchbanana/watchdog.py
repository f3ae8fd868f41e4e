"""Ends a run that does nothing and waits for nothing that is known: a fault of ours must not sit there until morning.

Two things are watched. The event loop watches the run: files that are brought home, attempts that begin and end, tasks
that are looked at. A thread watches the event loop, and what has been told to end. Both count looks, not seconds: a
process that was stopped for a night, or a machine that slept, gets one look for all of it. A fault that keeps every
thread from running is not seen.
"""

import asyncio
import os
import select
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
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
GRACE = 12  # seconds from giving everything up to the end; seen some looks late, the end comes within 15
PLACES = 5  # that are told when something hangs
PACKAGE = Path(__file__).parent
OURS = "Watchdog.watch, "  # the place of the task that watches
STDERR = 2  # the number of standard error


class Run(Protocol):
    """What is watched: the first steps of a run, then its runner."""

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
        run: gives what is watched.
        end: ends the process at once with a code and a sentence.
    """

    def __init__(self, run: Callable[[], Run], end: Callable[[Exit, str], None] | None = None) -> None:
        self._run = run
        self._end = end or end_at_once
        self._beats = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over = threading.Event()

    async def watch(self) -> None:
        """Watch the run until cancelled; one that does nothing is stopped, and what is in flight given up."""
        silence = Silence()
        self._loop = asyncio.get_running_loop()
        while True:
            await anyio.sleep(LOOK)
            self._beats += 1
            run = self._run()
            if run.is_cancelled:
                continue
            seconds = patience(run.longest)
            if not silence.look(run.pulse, seconds, is_fine=run.waits > 0):
                continue
            where = _listed(_places(asyncio.all_tasks()))
            reason = f"No progress for {span(seconds)} ({where}); run again to go on, and please report it"
            run.stop(Stop(exit_code=Exit.WATCHDOG, reason=reason))
            run.cancel()

    @contextmanager
    def guarding(self) -> Iterator[None]:
        """Watch the event loop and the end of the run from a thread, for as long as the block lasts."""
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
            if grace.look(run.is_cancelled, GRACE, is_fine=not run.is_cancelled):
                code = run.stopped.exit_code if run.stopped is not None else Exit.WATCHDOG
                self._end_with(code, "This run did not come to its end ({})")
                return
            if loop.look(self._beats, LOOP_PATIENCE):
                self._end_with(Exit.WATCHDOG, "No progress: the program hangs ({}); please report it")
                return

    def _end_with(self, code: Exit, sentence: str) -> None:
        """End, with the places in the sentence where all stands; not even a fault of ours in finding them delays it."""
        where = "nobody knows where"
        try:
            where = self._standing()
        finally:
            self._end(code, sentence.format(where))

    def _standing(self) -> str:
        """Say where every thread but this one stands, and every task of the event loop."""
        frames = sys._current_frames()  # noqa: SLF001 -- public in all but name
        threads = [place(frame) for number, frame in frames.items() if number != threading.get_ident()]
        tasks = _places(asyncio.all_tasks(self._loop)) if self._loop is not None else []
        return f"threads: {_listed(threads)}; tasks: {_listed(tasks)}"


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


def _places(tasks: Iterable["asyncio.Task[Any]"]) -> list[str]:
    """Say where an event loop's tasks stand, our own one left out."""
    places = [place(_innermost(task.get_coro())) for task in tasks]
    return [where for where in places if not where.startswith(OURS)]


def _listed(places: Iterable[str]) -> str:
    """Tell places, the most frequent first."""
    counts = Counter(filter(None, places))
    return "; ".join(f"{count} in {where}" for where, count in counts.most_common(PLACES)) or "nothing is under way"


def place(frame: FrameType | None) -> str:
    """Name the innermost place of our own code from a frame outwards; empty when there is none."""
    while frame is not None and not _is_ours(frame):
        frame = frame.f_back
    if frame is None:
        return ""
    file = Path(frame.f_code.co_filename).relative_to(PACKAGE)
    return f"{frame.f_code.co_qualname}, {file.as_posix()} line {frame.f_lineno}"


def _is_ours(frame: FrameType) -> bool:
    return Path(frame.f_code.co_filename).is_relative_to(PACKAGE)


def _innermost(awaited: Any) -> FrameType | None:
    """Follow a task that waits down to the innermost frame of ours."""
    found: FrameType | None = None
    while (frame := getattr(awaited, "cr_frame", None)) is not None:
        if _is_ours(frame):
            found = frame
        awaited = awaited.cr_await
    return found
