"""How long one exchange may go on: a pure machine over times and byte counts."""

from batchbanana.task import Rung

PATIENCE = 3  # times the deadline that a paid body may take while it makes progress
PROGRESS = 64 * 1024  # bytes within `stall` seconds that count as progress


class Patience:
    """Decides how long an attempt may go on: a pure machine over times and byte counts."""

    def __init__(self, rung: Rung, started: float) -> None:
        self._stall = rung.stall
        self._deadline = started + rung.timeout
        self._last = started + PATIENCE * rung.timeout
        self._mark: float | None = None
        self._bytes = 0

    @property
    def before_body(self) -> float:
        """When to give up while nothing of the body has come."""
        return self._deadline

    def arrived(self, now: float, size: int, *, in_image: bool) -> float:
        """Take `size` more bytes of a 200's body; gives the time until which to wait for the next ones.

        Before image data has begun, a quiet server may be thinking, and only the deadline counts. Once it has begun the
        image is paid for: then progress counts, before and after the deadline, up to three times of it.
        """
        self._bytes += size
        if self._mark is None or self._bytes >= PROGRESS:
            self._mark = now
            self._bytes = 0
        alive = min(self._last, self._mark + self._stall)
        return alive if in_image else max(self._deadline, alive)
