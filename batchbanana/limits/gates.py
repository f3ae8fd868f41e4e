"""Pauses that all requests for a model share. A plain state machine over two clocks."""

LOOK = 30.0  # seconds between looks at the wall clock while a rest lasts: it may be set, or the machine may sleep


class Gates:
    """When requests for a model may leave again.

    A gate is what a server asks for, some seconds by the monotonic clock. A rest is until a quota is there again, which
    is a time of day, so it goes by the wall clock.
    """

    def __init__(self) -> None:
        self._gates: dict[str, float] = {}
        self._rests: dict[str, float] = {}

    def shut(self, model: str, until: float) -> None:
        """Shut a model's gate; a shorter pause never shortens a longer one. `until` is in monotonic seconds."""
        self._gates[model] = max(self._gates.get(model, until), until)

    def rest(self, model: str, until: float) -> None:
        """Let a model rest; `until` is in unix seconds."""
        self._rests[model] = max(self._rests.get(model, until), until)

    def wait(self, model: str, now: float, wall: float) -> float:
        """Give the seconds after which to ask again, 0 when the way is free.

        Args:
            model: which.
            now: monotonic seconds.
            wall: unix seconds.
        """
        gate = max(0.0, self._gates.get(model, now) - now)
        rest = max(0.0, self._rests.get(model, wall) - wall)
        return max(gate, min(rest, LOOK))
