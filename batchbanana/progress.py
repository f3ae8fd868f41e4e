"""What a person sees of a run: a bar on a terminal, a line now and then in a log. All on standard error."""

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Never, TextIO, cast

from tqdm import tqdm

from batchbanana.feed import Work
from batchbanana.ledger import Money
from batchbanana.limits import Pause
from batchbanana.policy import Stop
from batchbanana.record import span, usd
from batchbanana.recovery import Recovered
from batchbanana.task import Failure, Outcome

EVERY = 60.0  # seconds between lines where there is no terminal; and one at each per cent
SHORTEST = 1.0  # seconds between lines all the same: a small job has its per cents quickly


class _Ears:
    """A stream whose reader may leave: nobody's closed window may cost the images that are in flight."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write if somebody still listens."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Likewise."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Told:
    """Which pauses a person has been told of: each once, and again when it comes again."""

    def __init__(self) -> None:
        self._told: set[tuple[str, str]] = set()

    def new(self, pauses: Sequence[Pause]) -> list[Pause]:
        """Give those that nobody was told of yet."""
        before = self._told
        self._told = {(pause.model, pause.why) for pause in pauses}
        return [pause for pause in pauses if (pause.model, pause.why) not in before]


class Silent:
    """Says only what a person must know."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = cast("TextIO", _Ears(stream or sys.stderr))

    def begin(self, total: int, spent: Callable[[], Money], pauses: Callable[[], Sequence[Pause]]) -> None:
        """Nothing to say."""

    def skipped(self, count: int) -> None:
        """Nothing to say."""

    def recovered(self, found: Recovered) -> None:
        """Tell what a dead run has left."""
        if found.adopted:
            self.say(f"{found.adopted} paid images of an interrupted run were brought home from the spool.")
        if found.lost:
            self.say(f"{found.lost} attempts were in flight when an earlier run died; they may have been billed.")
        for problem in found.problems:
            self.say(problem)

    def ended(self, work: Work, outcome: Outcome, reason: str) -> None:
        """Nothing to say: the summary counts."""

    def failed(self, work: Work, failure: Failure, wait: float | None) -> None:
        """Nothing to say: it is made again."""

    def stopping(self, stop: Stop) -> None:
        """Say why."""
        self.say(f"{stop.reason} (what is in flight may finish)" if "Stopped by" in stop.reason else stop.reason)

    def warn(self, message: str) -> None:
        """Say it."""
        self.say(f"warning: {message}")

    def tick(self) -> None:
        """Nothing to say: some time has passed."""

    def say(self, text: str) -> None:
        """Print one line."""
        self._stream.write(f"{text}\n")
        self._stream.flush()

    def close(self) -> None:
        """Nothing to put away."""


class Lines(Silent):
    """A line a minute and at each per cent."""

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream)
        self._clock = clock
        self._total = 0
        self._spent: Callable[[], Money] = Money
        self._pauses: Callable[[], Sequence[Pause]] = tuple
        self._ends: Counter[str] = Counter()
        self._began = self._last = clock()
        self._percent = 0
        self._told = Told()

    def begin(self, total: int, spent: Callable[[], Money], pauses: Callable[[], Sequence[Pause]]) -> None:
        """Remember what the whole is."""
        self._total = total
        self._spent = spent
        self._pauses = pauses
        self._began = self._last = self._clock()

    def skipped(self, count: int) -> None:
        """Take them out of the whole."""
        self._total -= count

    def ended(self, work: Work, outcome: Outcome, reason: str) -> None:
        """Count, and speak when it is time; what failed is said at once."""
        self._ends[outcome] += 1
        if not outcome.has_image:
            self.say(f"{outcome}: {work.task.name}: {reason}")
        now = self._clock()
        percent = 100 * self._ends.total() // max(1, self._total)
        if now - self._last >= (SHORTEST if percent > self._percent else EVERY):
            self._last, self._percent = now, percent
            self.say(self.line(now))

    def failed(self, work: Work, failure: Failure, wait: float | None) -> None:
        """Say why others wait too, once a pause; what concerns one task is in the ledger."""
        self._say_pauses()

    def tick(self) -> None:
        """Speak once a minute even if nothing ends."""
        self._say_pauses()
        now = self._clock()
        if now - self._last >= EVERY:
            self._last = now
            self.say(self.line(now))

    def _say_pauses(self) -> None:
        for pause in self._told.new(self._pauses()):
            self.say(f"waiting: {pause}")

    def line(self, now: float) -> str:
        """Say how far it is."""
        ended = self._ends.total()
        seconds = max(now - self._began, 1e-3)
        left = (self._total - ended) * seconds / max(1, ended)
        others = ", ".join(f"{count} {outcome}" for outcome, count in sorted(self._ends.items()) if outcome != "done")
        spent = usd(self._spent().settled)
        line = f"{ended} of {self._total} in this run, {60 * ended / seconds:.0f} a minute, ${spent:.2f}"
        pauses = self._pauses()
        # Nobody knows how long it takes while something waits.
        ahead = "".join(f"; waiting: {pause}" for pause in pauses) or f", about {left / 60:.0f} min left"
        return line + (f"; {others}" if others else "") + ahead


class Bar(Silent):
    """A bar on a terminal."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__(stream)
        self._bar: tqdm[Never] | None = None
        self._spent: Callable[[], Money] = Money
        self._pauses: Callable[[], Sequence[Pause]] = tuple
        self._ends: Counter[str] = Counter()
        self._retries: Counter[str] = Counter()
        self._told = Told()

    def begin(self, total: int, spent: Callable[[], Money], pauses: Callable[[], Sequence[Pause]]) -> None:
        """Draw it."""
        self._spent = spent
        self._pauses = pauses
        self._bar = tqdm(total=total, unit="image", file=self._stream, dynamic_ncols=True, smoothing=0.1)

    def skipped(self, count: int) -> None:
        """Take them out of the whole."""
        if self._bar is not None and self._bar.total is not None:
            self._bar.total -= count
            self._bar.refresh()

    def ended(self, work: Work, outcome: Outcome, reason: str) -> None:
        """Move on."""
        self._ends[outcome] += 1
        if not outcome.has_image:
            self.say(f"{outcome}: {work.task.name}: {reason}")
        if self._bar is not None:
            self._bar.set_postfix_str(self._tail(), refresh=False)
            self._bar.update()

    def failed(self, work: Work, failure: Failure, wait: float | None) -> None:
        """Show what holds things up."""
        self._retries[failure.kind] += 1
        self._say_pauses()
        if self._bar is not None:
            self._bar.set_postfix_str(self._tail())

    def tick(self) -> None:
        """Say what is waited for."""
        self._say_pauses()
        if self._bar is not None:
            self._bar.set_postfix_str(self._tail())

    def _say_pauses(self) -> None:
        for pause in self._told.new(self._pauses()):
            self.say(f"waiting: {pause}")

    def say(self, text: str) -> None:
        """Print above the bar."""
        if self._bar is None:
            super().say(text)
        else:
            self._bar.write(text, file=self._stream)

    def close(self) -> None:
        """Leave the bar as it is and go on below it."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _tail(self) -> str:
        parts = [f"${usd(self._spent().settled):.2f}"]
        parts += [f"{count} {outcome}" for outcome, count in sorted(self._ends.items()) if outcome != "done"]
        parts += [f"{count} {kind} again" for kind, count in sorted(self._retries.items())]
        parts += [f"waiting {span(max(pause.seconds for pause in pauses))}"] if (pauses := self._pauses()) else []
        return ", ".join(parts)
