"""Keeps the beginning and the end of a text that comes in pieces: what a relay has to say stands at either."""

ELISION = "…".encode()
MIDDLE_OF_CHARACTER = bytes(range(0x80, 0xC0))


class Excerpt:
    """Takes a text's bytes in pieces of any size; what comes out in all never depends on how it was cut.

    Args:
        beginning: bytes that are kept of the beginning.
        end: bytes that are kept of what comes after them.
    """

    __slots__ = ("_end", "_held", "_room", "_skipped")

    def __init__(self, *, beginning: int, end: int) -> None:
        self._room = beginning
        self._end = end
        self._held = bytearray()
        self._skipped = False

    def take(self, words: bytes) -> bytes:
        """Take the next bytes; gives those that belong to the beginning."""
        kept = words[: self._room]
        self._room -= len(kept)
        if len(kept) < len(words):
            self._held += words[len(kept) :]
            if len(self._held) > 2 * self._end:
                self._drop()
        return kept

    def rest(self) -> bytes:
        """Give the end of what has come since the beginning, or since this was asked last."""
        self._drop()
        rest = ELISION + self._held.lstrip(MIDDLE_OF_CHARACTER) if self._skipped else bytes(self._held)
        self._held.clear()
        self._skipped = False
        return rest

    def _drop(self) -> None:
        surplus = len(self._held) - self._end
        if surplus > 0:
            del self._held[:surplus]
            self._skipped = True
