"""Looks up which tasks are done, reading ahead: images are made nearly in the plan's order, and so is the plan walked.

Rows that follow one another are read several times as fast as rows that are looked for one by one.
"""

from collections.abc import Sequence
from itertools import takewhile

from batchbanana.ledger.store import LOOKUP_BLOCK, Store

AFTER = "SELECT seq, key, file, size FROM outcomes WHERE seq > ? AND outcome = 'done' ORDER BY seq LIMIT ?"
SLACK = 1024  # so many rows may an image be before or after its turn; there is no harm in more, but for the time


class Ahead:
    """One walk through the tasks that are done, in about the order in which they were. They must not change meanwhile.

    Whatever the order, what it tells is right; another order is only slower.
    """

    def __init__(self) -> None:
        self._seq = 0  # of the last row read
        self._rows: dict[str, tuple[str, int, int]] = {}  # those not asked for yet, with their sequence numbers
        self._is_of_use = True

    def done(self, store: Store, keys: Sequence[str]) -> dict[str, tuple[str, int]]:
        """Give file and bytes of the images of those tasks that are done."""
        if self._is_of_use:
            self._read(store, len(keys) + 2 * SLACK - len(self._rows))
        found: dict[str, tuple[str, int]] = {}
        newest = 0
        for key in keys:
            if key in self._rows:
                file, size, seq = self._rows.pop(key)
                found[key] = file, size
                newest = max(newest, seq)
        sought = done(store, [key for key in keys if key not in found])
        if len(sought) > len(found):  # the plan has another order, or other tasks
            self._is_of_use = False
            newest = self._seq + SLACK + 1
        # What is left over from long before was asked for when it was not read yet, or never will be.
        for key in list(takewhile(lambda key: self._rows[key][2] < newest - SLACK, self._rows)):
            del self._rows[key]
        return found | sought

    def _read(self, store: Store, count: int) -> None:
        for seq, key, file, size in store.rows(AFTER, (self._seq, max(0, count))):
            self._rows[key.hex()] = file, size, seq
            self._seq = seq


def done(store: Store, keys: Sequence[str]) -> dict[str, tuple[str, int]]:
    """Give file and bytes of the images of those tasks that are done; all that a run wants to know of most."""
    found: dict[str, tuple[str, int]] = {}
    for start in range(0, len(keys), LOOKUP_BLOCK):
        block = [bytes.fromhex(key) for key in keys[start : start + LOOKUP_BLOCK]]
        marks = ",".join("?" * len(block))
        query = f"SELECT key, file, size FROM outcomes WHERE key IN ({marks}) AND outcome = 'done'"  # noqa: S608 -- only question marks are put in
        found.update((key.hex(), (file, size)) for key, file, size in store.rows(query, block))
    return found
