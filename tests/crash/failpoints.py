"""Named places on an image's way to disk at which a child kills itself, without a last word."""

import os
import signal
from collections.abc import Callable
from functools import wraps
from typing import Any

from batchbanana.ledger.metadata import Metadata
from batchbanana.ledger.store import Store
from batchbanana.limits import Limits
from batchbanana.spool import Files

FILES = ("create", "sync", "sync_folder", "rename", "link", "unlink")
PLACES = (
    *(f"{name}:{side}" for name in FILES for side in ("before", "after")),
    *("commit:before", "commit:after", "settle:before", "settle:after", "departs:after"),
    *("metadata:before", "metadata:after"),
)
METHODS: dict[str, tuple[type, str]] = {
    **{name: (Files, name) for name in FILES},
    "settle": (Store, "settle"),
    "departs": (Limits, "departs"),
    "metadata": (Metadata, "catch_up"),
}


class Countdown:
    """Kills the process at the n-th hit, counted from 1."""

    def __init__(self, hits: int) -> None:
        self._left = hits

    def __call__(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def arm(place: str, hits: int) -> None:
    """Let this process die at the n-th hit of a place."""
    name, side = place.split(":")
    hit = Countdown(hits)
    if name == "commit":
        _around(Store, "execute", side, hit, lambda statement: statement == "COMMIT")
    else:
        _around(*METHODS[name], side, hit, lambda *_: True)


def _around(owner: type, name: str, side: str, hit: Callable[[], None], counts: Callable[..., bool]) -> None:
    true: Callable[..., Any] = getattr(owner, name)

    @wraps(true)
    def watched(self: Any, *args: Any, **more: Any) -> Any:
        if side == "before" and counts(*args):
            hit()
        result = true(self, *args, **more)
        if side == "after" and counts(*args):
            hit()
        return result

    setattr(owner, name, watched)
