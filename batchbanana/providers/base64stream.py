"""Decodes base64 as it arrives: strict, but knowing what relays do to it."""

import binascii

from pybase64 import b64decode

SPACE = b" \t\r\n"
URL_SAFE = bytes.maketrans(b"-_", b"+/")
DATA_URI = b"data:"
HEAD_LIMIT = 256  # characters up to a data URI's comma; "data:image/png;base64," has 22
BAD = "bad base64"


class Base64Stream:
    """Takes text in pieces of any size and gives the bytes that it stands for.

    A `data:…;base64,` prefix, the URL-safe alphabet, missing padding and white space are accepted; anything else, and
    anything after the padding, is a fault. Bytes given out before a fault are worthless.

    Args:
        limit: bytes that may come out; more is a fault.
    """

    __slots__ = ("_carry", "_ended", "_left", "_limit", "_started", "fault")

    def __init__(self, *, limit: int) -> None:
        self._carry = b""
        self._limit = self._left = limit
        self._started = False
        self._ended = False
        self.fault: str | None = None

    def feed(self, text: bytes) -> bytes:
        """Take the next characters, give the bytes that are certain."""
        if not text:
            return b""
        text = self._carry + text
        if not self._started:
            start = self._data_start(text)
            if start is None:
                self._carry = text
                return b""
            text, self._started = text[start:], True
        return self._decode(text)

    def finish(self) -> bytes:
        """Say that no more comes; gives the last bytes, whose padding may be missing."""
        if not self._carry:
            return b""
        if self._carry.lstrip(SPACE).startswith(DATA_URI):
            self.fault = self.fault or BAD
        text = self._carry.translate(URL_SAFE, SPACE)
        return self._decode(text + b"=" * (-len(text) % 4) if len(text) > 1 else text, last=True)

    def _data_start(self, text: bytes) -> int | None:
        """Find where the base64 begins; None while that is not clear."""
        head = text[:HEAD_LIMIT].lstrip(SPACE)
        if head.startswith(DATA_URI):
            kind, comma, _ = text[:HEAD_LIMIT].partition(b",")
            if not comma and len(text) < HEAD_LIMIT:
                return None
            if not kind.endswith(b";base64"):
                self.fault = BAD
            return len(kind) + len(comma)
        return None if DATA_URI.startswith(head) and len(text) < HEAD_LIMIT else 0

    def _decode(self, text: bytes, *, last: bool = False) -> bytes:
        """Decode whole groups of four and carry the others; odd forms are looked at only when the strict one fails."""
        if self._ended and text.strip(SPACE):
            self.fault = self.fault or BAD
        if self.fault is not None:
            return b""
        try:
            data = self._decode_groups(text, last)
        except binascii.Error:
            try:
                data = self._decode_groups(text.translate(URL_SAFE, SPACE), last)
            except binascii.Error:
                self.fault = BAD
                return b""
        self._left -= len(data)
        if self._left < 0:
            self.fault = f"more than {self._limit} bytes"
            return b""
        return data

    def _decode_groups(self, text: bytes, last: bool) -> bytes:
        whole = len(text) if last else len(text) & ~3
        data = b64decode(text[:whole], validate=True)
        self._carry = text[whole:]
        self._ended |= text[whole - 1 : whole] == b"="
        return data
