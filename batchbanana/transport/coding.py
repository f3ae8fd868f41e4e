"""Undoes a compression that nobody asked for: piece by piece, so that memory does not depend on what is sent. Pure.

A megabyte can stand for a gigabyte, and layers multiply that: there is one layer at most, and an end to what it gives.
"""

import zlib
from collections.abc import Iterable, Iterator

PIECE = 256 * 1024  # bytes that are inflated at once
LARGEST = 512 * 1024 * 1024  # bytes of an answer; the images of an answer are 128 MiB at most, 171 MiB as base64
GZIP = {"gzip", "x-gzip"}
GZIP_BITS = 16 + zlib.MAX_WBITS


class UnreadableError(Exception):
    """A body cannot be read; the message is half a sentence that says why, without the server's words."""


class Decoder:
    """Gives a body's bytes as they were before a server compressed them.

    Args:
        codings: what the answer's `content-encoding` names, in the order in which it was applied.

    Raises:
        UnreadableError: more than one, or one that is not known.
    """

    def __init__(self, codings: Iterable[str]) -> None:
        layers = [coding for name in codings if (coding := name.strip().lower()) not in {"", "identity"}]
        if len(layers) > 1 or not GZIP.union({"deflate"}).issuperset(layers):
            raise UnreadableError("the answer is in an encoding that was not asked for")
        self._is_plain = not layers
        self._inflater = zlib.decompressobj(GZIP_BITS) if GZIP.issuperset(layers) else None
        self._size = 0

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Give what the next bytes of the body stand for, at most `PIECE` bytes at once where they were compressed.

        Raises:
            UnreadableError: they are not what the header said, or the body grows beyond all measure.
        """
        for piece in [data] if self._is_plain else self._inflated(data):
            self._size += len(piece)
            if self._size > LARGEST:
                raise UnreadableError(f"the answer is larger than {LARGEST >> 20} MiB")
            yield piece

    def _inflated(self, data: bytes) -> Iterator[bytes]:
        if self._inflater is None and data:
            # The standard wants a header around deflated bytes, and not all servers write it: its first half byte is 8.
            self._inflater = zlib.decompressobj(zlib.MAX_WBITS if data[0] & 0x0F == 8 else -zlib.MAX_WBITS)
        piece = b""
        while self._inflater is not None and not self._inflater.eof and (data or len(piece) == PIECE):
            try:
                piece = self._inflater.decompress(data, PIECE)
            except zlib.error:
                raise UnreadableError("the answer is not in the encoding that it names") from None
            data = self._inflater.unconsumed_tail
            if piece:
                yield piece
