"""Remembers which of a million things were seen already, in a third of the memory of a set.

A thing is told by its mark, 64 bits of a hash. In one of 37 million jobs of a million tasks, two of them share one.
"""

from array import array

_FIRST = 1 << 10  # shelves, twice as many whenever they are full
_FULL = 16  # marks a shelf on average, which are looked through one by one


class Marks:
    """Marks that were seen."""

    def __init__(self) -> None:
        self._shelves: list[array[int] | None] = [None] * _FIRST
        self._count = 0

    def add(self, mark: int) -> bool:
        """Remember a mark of 64 bits; gives whether it is new."""
        number = mark % len(self._shelves)
        shelf = self._shelves[number]
        if shelf is None:
            self._shelves[number] = array("Q", (mark,))
        elif mark in shelf:
            return False
        else:
            shelf.append(mark)
        self._count += 1
        if self._count == _FULL * len(self._shelves):
            self._extend()
        return True

    def _extend(self) -> None:
        """Take twice as many shelves: what stood on one stands on it still, or on the new one so much further on."""
        count = len(self._shelves)
        self._shelves += [None] * count
        for number in range(count):
            if (shelf := self._shelves[number]) is not None:
                stays = array("Q", [mark for mark in shelf if mark % (2 * count) == number])
                moves = array("Q", [mark for mark in shelf if mark % (2 * count) != number])
                self._shelves[number], self._shelves[number + count] = stays or None, moves or None
