"""Remembers which of a million things were seen already, in a third of the memory of a set.

A thing is told by its mark, 64 bits of a hash. In one of 37 million jobs of a million tasks, two of them share one.
"""

from array import array

_SHELVES = 1 << 16  # of fifteen marks each when a million were seen, which are looked through one by one


class Marks:
    """Marks that were seen."""

    def __init__(self) -> None:
        self._shelves: list[array[int] | None] = [None] * _SHELVES

    def add(self, mark: int) -> bool:
        """Remember a mark of 64 bits; gives whether it is new."""
        number = mark % _SHELVES
        shelf = self._shelves[number]
        if shelf is None:
            self._shelves[number] = array("Q", (mark,))
        elif mark in shelf:
            return False
        else:
            shelf.append(mark)
        return True
