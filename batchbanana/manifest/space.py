"""The index space of a job's matrix: counting, walking and picking its cells without ever listing them.

A cell is a tuple of indexes, one an axis. Which exclusions a cell matches is a bit mask: each index of an axis has one,
a cell's is the AND of its indexes', and a cell is excluded when any bit is left.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from itertools import product
from math import isqrt, prod
from operator import and_

from batchbanana.manifest.values import Exclusion

Cell = tuple[int, ...]
Values = tuple[Sequence[str], Iterable[Sequence[str]]]  # the fields of an axis, and its values index by index
_ROUNDS = 6  # of the permutation; four make it pseudo-random, six leave no pattern in small spaces


class Space:
    """All cells of some axes, minus those that any exclusion matches; without exclusions the sizes are enough."""

    def __init__(self, sizes: Sequence[int], axes: Sequence[Values] = (), exclusions: Sequence[Exclusion] = ()) -> None:
        self.sizes = tuple(sizes)
        self.total = self.cells = prod(self.sizes)
        self._full = (1 << len(exclusions)) - 1
        if exclusions:
            self._masks = [_masks(names, values, exclusions) for names, values in axes]
            self._settled = self._settle([set(names) for names, _ in axes], exclusions)
            self.cells -= self._excluded()

    def idle(self) -> list[int]:
        """Tell the numbers of the exclusions that match no cell."""
        if not self._full:
            return []
        seen = [reduce(lambda bits, mask: bits | mask, masks, 0) for masks in self._masks if masks is not None]
        matched = reduce(and_, seen, self._full)
        return [bit for bit in range(self._full.bit_length()) if not matched >> bit & 1]

    def __iter__(self) -> Iterator[Cell]:
        return self._below(0, self._full)

    def pick(self, count: int, seed: str) -> Iterator[Cell]:
        """Yield so many cells, chosen and ordered by the seed alone; `count` is at most `cells`."""
        for index in range(self.total):
            if not count:
                return
            cell = self._cell(permute(index, self.total, seed))
            if not self._mask(cell):
                count -= 1
                yield cell

    def _settle(self, names: Sequence[set[str]], exclusions: Sequence[Exclusion]) -> list[int]:
        """For each axis, the exclusions that no later axis has a say in."""
        settled, later = [], 0
        for fields in reversed(names):
            settled.append(self._full & ~later)
            for bit, exclusion in enumerate(exclusions):
                later |= bool(fields & exclusion.wanted.keys()) << bit
        return settled[::-1]

    def _excluded(self) -> int:
        """Count the excluded cells, axis by axis: how many beginnings of cells still match which exclusions."""
        alive = Counter({self._full: 1} if self._full else {})
        for masks, size in zip(self._masks, self.sizes, strict=True):
            steps = Counter(masks) if masks is not None else {self._full: size}
            after: Counter[int] = Counter()
            for mask, cells in alive.items():
                for step, times in steps.items():
                    if mask & step:
                        after[mask & step] += cells * times
            alive = after
        return alive.total()

    def _below(self, axis: int, mask: int) -> Iterator[Cell]:
        """Walk the axes from one on; nothing is asked any more once no exclusion can match."""
        if not mask:
            yield from product(*map(range, self.sizes[axis:]))
            return
        masks = self._masks[axis]
        for index in range(self.sizes[axis]):
            left = mask if masks is None else mask & masks[index]
            if not left & self._settled[axis]:
                for rest in self._below(axis + 1, left):
                    yield (index, *rest)

    def _cell(self, index: int) -> Cell:
        cell = []
        for size in reversed(self.sizes):
            index, step = divmod(index, size)
            cell.append(step)
        return tuple(reversed(cell))

    def _mask(self, cell: Cell) -> int:
        if not self._full:
            return 0
        masks = (masks[index] for masks, index in zip(self._masks, cell, strict=True) if masks is not None)
        return reduce(and_, masks, self._full)


def _masks(names: Sequence[str], values: Iterable[Sequence[str]], exclusions: Sequence[Exclusion]) -> list[int] | None:
    """Tell for each index of an axis which exclusions it matches; None when none of them names the axis."""
    lookups: list[tuple[int, dict[str, int], int]] = []
    for position, name in enumerate(names):
        indifferent = sum(1 << bit for bit, entry in enumerate(exclusions) if name not in entry.wanted)
        wanted: dict[str, int] = {}
        for bit, entry in enumerate(exclusions):
            for value in entry.wanted.get(name, ()):
                wanted[value] = wanted.get(value, indifferent) | 1 << bit
        if wanted:
            lookups.append((position, wanted, indifferent))
    if not lookups:
        return None
    full = (1 << len(exclusions)) - 1
    return [reduce(and_, (wanted.get(row[at], none) for at, wanted, none in lookups), full) for row in values]


def permute(index: int, size: int, seed: str) -> int:
    """Give the place of an index in a shuffle of `range(size)` that depends on the seed alone.

    A Feistel network over a square that holds the range; what falls outside goes through again, which is seldom, since
    the square is hardly larger. The same on every Python and machine, and nothing is held in memory.
    """
    side = isqrt(size - 1) + 1
    key = hashlib.sha256(f"{size}/{seed}".encode()).digest()
    while True:
        left, right = divmod(index, side)
        for turn in range(_ROUNDS):
            digest = hashlib.blake2b(b"%d,%d" % (turn, right), key=key, digest_size=16).digest()
            left, right = right, (left + int.from_bytes(digest, "big")) % side
        index = left * side + right
        if index < size:
            return index
