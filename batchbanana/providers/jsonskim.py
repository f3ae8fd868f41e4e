"""Reads a JSON document as it arrives without ever holding its long strings.

An answer of 30 MB is one string of base64 in a few hundred bytes of document. This machine hands image data on in
pieces as it comes, be it a whole string or a part of a text, keeps a copy of everything else, and can parse that copy
even when the document broke off. It does no I/O. Inside strings it searches in C (`bytes.find`, a regular expression);
only the few bytes outside them are walked in Python.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial

from batchbanana.providers.escapes import closing_quote, cut_escape, escaped, unescaped
from batchbanana.providers.excerpt import ELISION, Excerpt
from batchbanana.providers.sieve import Bit, Sieve, What, is_plain

SPACE = b" \t\r\n"
BLANK = SPACE + b"\xef\xbb\xbf"  # and a byte order mark, which some proxies leave at the start
# One character of structure, or a whole string that is short and has no escapes, as nearly all are.
TOKEN = re.compile(rb'"(?:([^"\\]{0,256}+)")?|[{}\[\]:,]')
CLOSERS = {ord("{"): ord("}"), ord("["): ord("]")}
QUOTE, COMMA, COLON = b'",:'
HEAD_BYTES = 512
INTEGER_DIGITS = 100  # of a number that is read; Python refuses thousands, and a longer one counts nothing
MARK = "data:;base64,#{}#"
"""Stands in a sifted text for the image data of that number; no text of a server's can hold it."""


class Use(Enum):
    """What is done with a string."""

    KEEP = auto()  # it stays in the document
    STREAM = auto()  # all of it is handed on; the document reads as its number
    SIFT = auto()  # image data in it is handed on; the document reads as the text with marks in the data's place


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a document may cost.

    Attributes:
        depth: containers within each other.
        parts: brackets, quotes, commas and colons outside strings, a string's two quotes counted as one. An answer has
            some hundreds. Each costs up to two microseconds here, and about another when the document is judged.
        rest: bytes of document kept beside what is handed on.
        text: bytes kept of any string; what goes beyond is left out.
        end: bytes kept beyond them of the end of a string that is searched for image data, and of what stands before
            each of its data: an address often comes last.
        streams: strings and data that are handed on. Of images back to back the last counts, so none may be passed
            over; but nobody sends drafts by the dozen, and each is a file until the answer is judged.
    """

    depth: int = 64
    parts: int = 12_000
    rest: int = 4 * 1024 * 1024
    text: int = 64 * 1024
    end: int = 16 * 1024
    streams: int = 64


DEFAULT_BOUNDS = Bounds()


@dataclass(frozen=True, slots=True)
class Piece:
    """Some of what is handed on, its escapes undone.

    Attributes:
        index: which string or data, from 0.
        last: whether it has ended.
    """

    index: int
    data: bytes
    last: bool


@dataclass(slots=True)
class _Container:
    """An open object or array: what closes it, the key it stands under, the key its next value stands under."""

    closer: int
    name: str
    key: str
    wants_key: bool


class Skim:
    """A machine for one document, fed in pieces of any size: how it was cut never shows.

    Args:
        use: given the key that an object (or the array it is in) stands under, and a key within it: what is done with
            a string there. Strings that stand in an array count as standing under the array's own key.
        bounds: what the document may cost.

    Attributes:
        complete: the document has closed; whatever follows is ignored.
        fault: why this is no document to go on with; None as long as it is one.
        head: its first bytes, for messages.
    """

    def __init__(self, use: Callable[[str, str], Use], bounds: Bounds = DEFAULT_BOUNDS) -> None:
        self.complete = False
        self.fault: str | None = None
        self.head = b""
        self._use = use
        self._bounds = bounds
        self._stack: list[_Container] = []
        self._rest = bytearray()
        self._safe = 0  # length of the rest up to which it can be closed
        self._begun = 0  # where in the rest the open string begins
        self._parts = 0
        self._stream = -1  # the one that was begun last
        self._held = b""  # an escape that was cut off
        self._pieces: list[Piece] = []
        self._step: Callable[[bytes, int], int] = self._before

    @property
    def is_json(self) -> bool:
        """Whether the document began as an object or an array."""
        return bool(self._rest)

    def feed(self, data: bytes) -> list[Piece]:
        """Take the next bytes, give what they bring of image data; never raises."""
        if len(self.head) < HEAD_BYTES:
            self.head += data[: HEAD_BYTES - len(self.head)]
        if self._held:
            data, self._held = self._held + data, b""
        position = 0
        while position < len(data) and not self.complete and self.fault is None:
            position = self._step(data, position)
        pieces, self._pieces = self._pieces, []
        return pieces

    def document(self) -> object:
        """Parse what came, with open containers closed; None when it is not JSON."""
        text = bytes(self._rest)
        if not self.complete:
            text = text[: self._safe] + bytes(container.closer for container in reversed(self._stack))
        try:
            parsed: object = json.loads(text.decode(errors="replace"), strict=False, parse_int=_integer)
        except ValueError:
            return None
        return parsed

    def _before(self, data: bytes, position: int) -> int:
        """Pass the blanks before the document."""
        rest = data[position:].lstrip(BLANK)
        if rest and rest[0] not in CLOSERS:
            self.fault = "not JSON"
        elif rest:
            self._step = self._outside
        return len(data) - len(rest)

    def _outside(self, data: bytes, position: int) -> int:
        """Copy what stands outside strings, and short strings, up to and with the quote that begins another string."""
        for found in TOKEN.finditer(data, position):
            at = found.start()
            if at > position:
                self._keep(data[position:at].translate(None, SPACE))
            position = found.end()
            if self.fault is None and not self._take(data[at], found[1]):
                return at + 1
            if self.complete or self.fault is not None:
                return position
        self._keep(data[position:].translate(None, SPACE))
        return len(data)

    def _take(self, char: int, text: bytes | None) -> bool:
        """Follow one structural character, or a short string as a whole; False at one that is to be walked through."""
        self._parts += 1
        if self._parts > self._bounds.parts:
            self.fault = "JSON of too many parts"
        elif char == QUOTE:
            return self._take_string(text)
        elif char == COLON:
            self._keep(b":")
            self._stack[-1].wants_key = False
        elif char == COMMA:
            self._safe = len(self._rest)
            self._keep(b",")
            self._stack[-1].wants_key = self._stack[-1].closer == ord("}")
        elif char in CLOSERS:
            self._open(char)
        else:
            self._close(char)
        return True

    def _take_string(self, text: bytes | None) -> bool:
        """Keep a string that stays in the document and came whole; begin any other, and say False."""
        top = self._stack[-1]
        use = Use.KEEP if top.wants_key else self._use(top.name, top.key)
        if text is None or use is not Use.KEEP or len(text) > self._bounds.text:
            self._begin_string(use)
            return False
        self._keep(b'"' + text)
        if self.fault is None:
            self._end_text(text)
        return True

    def _open(self, char: int) -> None:
        if len(self._stack) >= self._bounds.depth:
            self.fault = f"JSON nested more than {self._bounds.depth} deep"
            return
        self._keep(bytes([char]))
        self._safe = len(self._rest)
        outer = self._stack[-1] if self._stack else _Container(0, "", "", wants_key=False)
        if char == ord("{"):
            self._stack.append(_Container(CLOSERS[char], outer.key, "", wants_key=True))
        else:
            self._stack.append(_Container(CLOSERS[char], outer.name, outer.key, wants_key=False))

    def _close(self, char: int) -> None:
        if self._stack[-1].closer != char:
            self.fault = "JSON with brackets that do not match"
            return
        self._stack.pop()
        self._keep(bytes([char]))
        self._safe = len(self._rest)
        self.complete = not self._stack and self.fault is None

    def _begin_string(self, use: Use) -> None:
        if use is Use.STREAM:
            self._begin_stream()
            if self.fault is None:
                self._keep(str(self._stream).encode())
                self._safe = len(self._rest)
            self._step = self._in_stream
            return
        self._keep(b'"')
        self._begun = len(self._rest)
        if use is Use.KEEP:
            self._step = self._in_text
        else:
            self._step = self._at_sifted

    def _begin_stream(self) -> None:
        if self._stream + 1 >= self._bounds.streams:
            self.fault = f"JSON with more than {self._bounds.streams} images"
            return
        self._stream += 1
        self._pieces.append(Piece(self._stream, b"", last=False))

    def _in_text(self, data: bytes, position: int) -> int:
        """Keep a string's content up to the limit of a text."""
        content, end, closed = self._content(data, position)
        room = self._bounds.text + 1 - (len(self._rest) - self._begun)  # one byte too many tells that it is too long
        self._keep(content[:room])
        if closed and self.fault is None:
            self._end_text(self._kept_text())
        return end

    def _kept_text(self) -> bytes:
        """Give what is kept of the text that has closed; one that is too long is cut there."""
        content = bytes(self._rest[self._begun :])
        if len(content) > self._bounds.text:
            content = content[: self._bounds.text]
            content = content[: cut_escape(content)]
            self._rest[self._begun :] = content + ELISION
        return content

    def _end_text(self, content: bytes) -> None:
        top = self._stack[-1]
        self._keep(b'"')
        if top.wants_key:
            top.key = unescaped(content).decode(errors="replace")
        else:
            self._safe = len(self._rest)
        self._step = self._outside

    def _in_stream(self, data: bytes, position: int) -> int:
        """Hand a string's content on."""
        content, end, closed = self._content(data, position)
        if content or closed:
            self._pieces.append(Piece(self._stream, unescaped(content), closed))
        if closed:
            self._step = self._outside
        return end

    def _at_sifted(self, data: bytes, position: int) -> int:
        """Keep a text at once that came whole and is short and plain, as most are; sift any other."""
        content, end, closed = self._content(data, position)
        words = unescaped(content)
        if not (closed and len(words) <= self._bounds.text and is_plain(words)):
            self._step = partial(self._in_sifted, Sieve(), Excerpt(beginning=self._bounds.text, end=self._bounds.end))
            return position
        self._end_sifted(words)
        return end

    def _in_sifted(self, sieve: Sieve, words: Excerpt, data: bytes, position: int) -> int:
        """Keep a text's words, hand its image data on."""
        content, end, closed = self._content(data, position)
        bits = sieve.feed(unescaped(content))
        if closed:
            bits += sieve.finish()
        for bit in bits:
            if self.fault is not None:
                return end
            self._sift(bit, words)
        if closed and self.fault is None:
            self._end_sifted(words.rest())
        return end

    def _end_sifted(self, words: bytes) -> None:
        self._keep(escaped(words) + b'"')
        if self.fault is None:
            self._safe = len(self._rest)
            self._step = self._outside

    def _sift(self, bit: Bit, words: Excerpt) -> None:
        what, found = bit
        if what is What.WORDS:
            self._keep(escaped(words.take(found)))
        elif what is What.START:
            self._begin_stream()
            self._keep(escaped(words.rest()) + MARK.format(self._stream).encode())
        else:
            self._pieces.append(Piece(self._stream, found, last=what is What.END))

    def _content(self, data: bytes, position: int) -> tuple[bytes, int, bool]:
        """Cut out a string's content, still escaped; gives also where to go on and whether the string has closed."""
        quote = closing_quote(data, position)
        if quote >= 0:
            return data[position:quote], quote + 1, True
        content = data[position:]
        cut = cut_escape(content)
        self._held = content[cut:]
        return content[:cut], len(data), False

    def _keep(self, raw: bytes) -> None:
        rest = self._rest
        rest += raw
        if len(rest) > self._bounds.rest:
            self.fault = f"JSON with more than {self._bounds.rest} bytes beside its images"


def _integer(digits: str) -> int | None:
    return int(digits) if len(digits) <= INTEGER_DIGITS else None
