"""A run before it has workers: it is told to stop, given up and watched as it will be when it works."""

from batchbanana.policy import Stop


class Beginning:
    """What the first steps of a run ask whether to go on, and tell that they do.

    Attributes:
        stopped: why to stop; None for going on.
        is_cancelled: whether everything was given up, so that the end is near.
        pulse: counts what was done.
    """

    longest = 0.0  # seconds; nothing here has a timeout that a manifest could set
    waits = 0.0  # seconds; nothing here waits for anybody

    def __init__(self) -> None:
        self.stopped: Stop | None = None
        self.is_cancelled = False
        self.pulse = 0

    def step(self) -> None:
        """Say that something was done: a file looked at, an image brought home, an address asked."""
        self.pulse += 1

    def stop(self, stop: Stop) -> None:
        """Begin nothing more; the first reason counts."""
        self.stopped = self.stopped or stop

    def cancel(self) -> None:
        """Give everything up; what is under way in a thread is ended with the process, soon."""
        self.is_cancelled = True
