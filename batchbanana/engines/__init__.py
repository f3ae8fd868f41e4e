"""Where an attempt is carried out. The one seam: an engine gets a granted attempt and gives an image or a failure.

The attempt's row is committed and its money reserved before an engine sees it; ledger, limits and policy never learn
which engine did the work.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

from batchbanana.task import Attempt, Delivery, Failure, Held


class Worker(Protocol):
    """One worker's means to make images: a lane, kept for as long as the worker lives."""

    def prepare(self, attempt: Attempt) -> Awaitable[Failure | None]:
        """Make room for an attempt that is not written down yet: what cannot be kept must not be paid for.

        None when all is ready; then either `carry_out` or `abandon` follows.
        """
        ...

    def abandon(self) -> Awaitable[None]:
        """Give back what `prepare` took: the attempt is not made."""
        ...

    def carry_out(self, attempt: Attempt, departs: Callable[[], None]) -> Awaitable[Delivery | Failure | Held]:
        """Make one image; raises only cancellation and errors of our own code.

        Args:
            attempt: which was prepared.
            departs: called when the request's bytes leave; never, if none did.
        """
        ...

    @property
    def holds(self) -> bool:
        """Whether the attempt that was carried out last has left something paid for that a later run can bring home."""
        ...

    def settled(self) -> Awaitable[None]:
        """Take note that the ledger knows how the last attempt ended; what it has left can be dropped."""
        ...

    def close(self) -> Awaitable[None]:
        """Give the lane back."""
        ...


class Engine(Protocol):
    """Makes workers."""

    def worker(self) -> Worker:
        """Make one more worker."""
        ...
