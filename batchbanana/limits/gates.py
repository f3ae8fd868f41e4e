"""Pauses that all requests for a model share. A plain state machine over two clocks."""

from dataclasses import dataclass

from batchbanana.record import span

LOOK = 30.0  # seconds between looks at the wall clock while a rest lasts: it may be set, or the machine may sleep


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Something that requests wait for.

    Attributes:
        model: for which; empty when it is all of them.
        why: in a few words.
        seconds: that it lasts still.
    """

    model: str = ""
    why: str
    seconds: float

    def __str__(self) -> str:
        """Say it to a person."""
        return f"{self.model}{': ' if self.model else ''}{self.why}; {span(self.seconds)} more"


class Gates:
    """When requests for a model may leave again.

    A gate is what a server asks for, some seconds by the monotonic clock. A rest is until a quota is there again, which
    is a time of day, so it goes by the wall clock.
    """

    def __init__(self) -> None:
        self._gates: dict[str, float] = {}
        self._rests: dict[str, float] = {}
        self._reasons: dict[str, str] = {}

    def shut(self, model: str, until: float, why: str) -> None:
        """Shut a model's gate; a shorter pause never shortens a longer one. `until` is in monotonic seconds."""
        if until > self._gates.get(model, float("-inf")):
            self._gates[model], self._reasons[model] = until, why

    def rest(self, model: str, until: float, why: str) -> None:
        """Let a model rest; `until` is in unix seconds."""
        if until > self._rests.get(model, float("-inf")):
            self._rests[model], self._reasons[model] = until, why

    def wait(self, model: str, now: float, wall: float) -> float:
        """Give the seconds after which to ask again, 0 when the way is free.

        Args:
            model: which.
            now: monotonic seconds.
            wall: unix seconds.
        """
        return max(self._gate(model, now), min(self._rest(model, wall), LOOK))

    def pause(self, model: str, now: float, wall: float) -> Pause:
        """Tell why a model waits, and for how long in all; the clocks as above."""
        seconds = max(self._gate(model, now), self._rest(model, wall))
        return Pause(model=model, why=self._reasons.get(model, ""), seconds=seconds)

    def _gate(self, model: str, now: float) -> float:
        return max(0.0, self._gates.get(model, now) - now)

    def _rest(self, model: str, wall: float) -> float:
        return max(0.0, self._rests.get(model, wall) - wall)
