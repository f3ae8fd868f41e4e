"""Takes image data out of a text as it arrives: relays put whole pictures into the middle of a sentence.

`Here: ![cat](data:image/png;base64,iVBORw0…) bye` gives the words before, the base64, and the words after. Nothing is
held but a few hundred bytes, and how the text was cut never shows.
"""

import re
from collections.abc import Callable
from enum import Enum, auto

SPACE = b" \t\r\n"
ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_"
PLAIN_RUN = re.compile(rb"[A-Za-z0-9+/_\r-]*+")
ENCLOSED_RUN = re.compile(rb"[A-Za-z0-9+/_\r\n-]*+")
BLANK_RUN = re.compile(rb"[ \t\r\n]*+")
PADDING = re.compile(rb"=*+")
ENCLOSING = b"(<\"'"

# A data URI's head, or what may be the beginning of one where the text ends for now; 22 characters are usual. The first
# look ahead keeps it short, and no two that fail overlap, so that no text makes this slow.
_IN_HEAD = rb"[^\s,:()<>]{0,200}+"
_HEAD = rb"data:(?=" + _IN_HEAD + rb",)(?:image/[^;,]*+|(?:application|binary)/octet-stream)?(?:;[^,]*)?;base64,"
WHOLE_HEAD = re.compile(_HEAD, re.IGNORECASE)
HEAD = re.compile(_HEAD + rb"|(?:data:" + _IN_HEAD + rb"|d(?:a(?:ta?)?)?)\Z", re.IGNORECASE)

# How the base64 of a PNG, JPEG, WebP or GIF begins. A text that begins so is a picture without a data URI's head.
MAGIC = (b"iVBORw0KGgo", b"/9j/", b"UklGR", b"R0lGOD")

NARROW = 16  # characters; of shorter lines there would be too many, and nobody breaks base64 so
WRAPPED = 256  # characters; a line that is longer was not broken on purpose: MIME breaks at 76, PEM at 64


class What(Enum):
    """What a bit of a sifted text is."""

    WORDS = auto()
    START = auto()  # of image data
    DATA = auto()  # base64
    END = auto()


Bit = tuple[What, bytes]


def is_plain(text: bytes) -> bool:
    """Say whether a whole text is nothing but words, which a sieve would let pass as they are."""
    return WHOLE_HEAD.search(text) is None and not text.lstrip(SPACE).startswith(MAGIC)


class Sieve:
    """A machine for one text, fed in pieces of any size.

    Data goes on to the first character that cannot be base64's. A line break is part of it within brackets or quotes;
    elsewhere only in data that is broken into lines of one width, for words may follow on the next line.
    """

    def __init__(self) -> None:
        self._bits: list[Bit] = []
        self._carry = b""  # the end of what came, when more must be seen to tell what it is
        self._last = b""  # the character before a candidate
        self._head = b""
        self._is_open = False
        self._is_enclosed = False
        self._line = 0  # characters of the data's line so far
        self._width: int | None = None  # of its lines; None on the first, which may begin anywhere
        self._step: Callable[[bytes, int], int] = self._at_start

    def feed(self, text: bytes) -> list[Bit]:
        """Take the next bytes of the text, its escapes undone."""
        text, self._carry = self._carry + text, b""
        position = 0
        while position < len(text):
            position = self._step(text, position)
        return self._given()

    def finish(self) -> list[Bit]:
        """Say that the text has ended."""
        if self._is_open:
            self._end()
        self._words(self._head + self._carry)
        self._head = self._carry = b""
        return self._given()

    def _given(self) -> list[Bit]:
        bits, self._bits = self._bits, []
        return bits

    def _at_start(self, text: bytes, position: int) -> int:
        """Look whether the whole text is a picture."""
        rest = text[position:].lstrip(SPACE)
        start = len(text) - len(rest)
        self._words(text[position:start])
        if rest.startswith(MAGIC):
            self._is_enclosed = True
            self._start()
        elif any(magic.startswith(rest) for magic in MAGIC):
            self._carry = rest
            return len(text)
        else:
            self._step = self._in_words
        return start

    def _in_words(self, text: bytes, position: int) -> int:
        """Let words pass up to a data URI."""
        found = HEAD.search(text, position)
        start = found.start() if found else len(text)
        self._words(text[position:start])
        if found is None:
            return start
        if not found[0].endswith(b","):
            self._carry = found[0]
            return len(text)
        self._is_enclosed = self._last != b"" and self._last in ENCLOSING
        self._head = found[0][:-1]
        self._step = self._before_data
        return found.end()

    def _before_data(self, text: bytes, position: int) -> int:
        """Pass the blanks after a data URI's head; without data it was but a mention of one."""
        found = BLANK_RUN.match(text, position)
        start = found.end() if found else position
        if start < len(text):
            head, self._head = self._head, b""
            if text[start] in ALPHABET:
                self._start()
            else:
                self._words(head)
                self._step = self._in_words
        return start

    def _in_data(self, text: bytes, position: int) -> int:
        """Hand base64 on up to its end."""
        if position == 0 and not text.translate(None, ALPHABET):  # five times as fast as looking for the end
            end = len(text)
        else:
            found = (ENCLOSED_RUN if self._is_enclosed else PLAIN_RUN).match(text, position)
            end = found.end() if found else position
        data = text[position:end] if self._is_enclosed else text[position:end].replace(b"\r", b"")
        if data:
            self._bits.append((What.DATA, data))
            self._line += len(data)
        if end == len(text):
            return end
        if text[end] == ord("="):
            self._step = self._in_padding
        elif self._goes_on(text[end]):
            end += 1
        else:
            self._end()
        return end

    def _in_padding(self, text: bytes, position: int) -> int:
        found = PADDING.match(text, position)
        end = found.end() if found else position
        if end > position:
            self._bits.append((What.DATA, text[position:end]))
        if end < len(text):
            self._end()
        return end

    def _goes_on(self, char: int) -> bool:
        """Say whether data that is not enclosed goes on after a character that is not base64's."""
        narrowest = 1 if self._width is None else max(NARROW, self._width)
        if char != ord("\n") or not narrowest <= self._line <= WRAPPED:
            return False
        self._width = 0 if self._width is None else self._line
        self._line = 0
        return True

    def _start(self) -> None:
        self._bits.append((What.START, b""))
        self._is_open = True
        self._line, self._width = 0, None
        self._step = self._in_data

    def _end(self) -> None:
        self._bits.append((What.END, b""))
        self._is_open = False
        self._last = b""
        self._step = self._in_words

    def _words(self, text: bytes) -> None:
        if text:
            self._bits.append((What.WORDS, text))
            self._last = text[-1:]
