"""What the sandbox remembers: every request it saw, what each costs, and how many a quota still admits."""

from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from batchbanana.sandbox.problems import Refusal, quota
from batchbanana.sandbox.rules import QuotaRule

_MINUTE, _DAY = 60.0, 86_400.0


@dataclass(slots=True, kw_only=True)
class Entry:
    """One request for an image, or one download of it, from the arrival of its head on.

    Attributes:
        kind: generate or download.
        n: 1-based, in the order of arrival, each kind for itself.
        at: seconds since the server started, on a clock that never jumps.
        time: Unix time.
        path: of the request's URL.
        model: as the request spells it; empty for a download, and for a chat that could not be read.
        references: how many images came with it.
        auth: google, bearer or none.
        status: what was answered; None until the answer's head is sent.
        accepted: whether it passed the checks, the quota and the scripted errors, so that a model would have worked.
        billed: whether it costs money.
        micro_usd: what it costs.
        in_flight_at_arrival: generate requests under way when it came, itself included; 0 for a download.
        retry_at: seconds since the server started before which the client was told not to come back.
    """

    kind: Literal["generate", "download"] = "generate"
    n: int
    at: float
    time: float
    path: str
    auth: str
    in_flight_at_arrival: int = 0
    model: str = ""
    prompt: str = ""
    ratio: str | None = None
    resolution: str | None = None
    references: int = 0
    status: int | None = None
    accepted: bool = False
    billed: bool = False
    micro_usd: int = 0
    retry_at: float | None = None


class Books:
    """The requests so far. An entry belongs to the request until it is closed; the totals are read off the entries."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._downloads: list[Entry] = []
        self._open: set[int] = set()

    def arrive(self, *, at: float, time: float, path: str, auth: str, model: str = "") -> Entry:
        """Note a generate request whose head has come."""
        n = len(self._entries) + 1
        self._open.add(n)
        under_way = len(self._open)
        entry = Entry(n=n, at=at, time=time, path=path, auth=auth, model=model, in_flight_at_arrival=under_way)
        self._entries.append(entry)
        return entry

    def fetch(self, *, at: float, time: float, path: str, auth: str) -> Entry:
        """Note a download: it is never billed, and counts in no total but its own."""
        entry = Entry(kind="download", n=len(self._downloads) + 1, at=at, time=time, path=path, auth=auth)
        self._downloads.append(entry)
        return entry

    def close(self, entry: Entry) -> None:
        """Note that a generate request is no longer under way; again is no harm."""
        self._open.discard(entry.n)

    def rows(self) -> list[dict[str, object]]:
        """Give every request and download as JSON values, in the order of arrival."""
        return [asdict(entry) for entry in sorted([*self._entries, *self._downloads], key=lambda entry: entry.at)]

    def bill(self) -> dict[str, object]:
        """Give the totals as JSON values; `status` counts answers by HTTP status, `none` those that never came."""
        entries = self._entries
        return {
            "requests": len(entries),
            "accepted": sum(entry.accepted for entry in entries),
            "billed": sum(entry.billed for entry in entries),
            "micro_usd": sum(entry.micro_usd for entry in entries),
            "max_starts_in_60s": _densest([entry.at for entry in entries]),
            "status": dict(Counter("none" if entry.status is None else str(entry.status) for entry in entries)),
            "downloads": len(self._downloads),
        }


def _densest(times: Sequence[float]) -> int:
    """Count the most arrivals in any 60 s; an arrival exactly 60 s after another is not in its window."""
    best = first = 0
    for last, time in enumerate(times):
        while times[first] <= time - _MINUTE:
            first += 1
        best = max(best, last - first + 1)
    return best


class Quota:
    """Exact sliding windows over the arrivals that were admitted; one that was turned away takes no place."""

    def __init__(self, rule: QuotaRule) -> None:
        rules = (("Minute", rule.requests_per_minute, _MINUTE), ("Day", rule.requests_per_day, _DAY))
        self._windows = [(period, limit, span) for period, limit, span in rules if limit is not None]
        self._admitted: list[float] = []

    def admit(self, at: float) -> None:
        """Take a place for a request that arrived at `at`, in seconds.

        Raises:
            Refusal: a window is full; it says how long until the place is free.
        """
        for period, limit, span in self._windows:
            held = self._admitted[bisect_right(self._admitted, at - span) :]
            if len(held) >= limit:
                raise Refusal(quota(period, limit, held[-limit] + span - at))
        insort(self._admitted, at)
