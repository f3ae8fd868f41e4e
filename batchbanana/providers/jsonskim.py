"""Reads a JSON document as it arrives without ever holding its long strings.

An answer of 30 MB is one string of base64 in a few hundred bytes of document. This machine hands image data on in
pieces as it comes, be it a whole string or a part of a text, keeps a copy of everything else, and can parse that copy
even when the document broke off. It does no I/O. Inside strings it searches in C (`bytes.find`, a regular expression);
the few bytes outside them are the outline's to walk through.
"""

from collections.abc import Callable
from dataclasses import dataclass

from batchbanana.providers.escapes import closing_quote, cut_escape, escaped, unescaped
from batchbanana.providers.excerpt import ELISION, Excerpt
from batchbanana.providers.outline import CLOSERS, SPACE, Bounds, Outline, Use
from batchbanana.providers.sieve import Bit, Sieve, What, is_plain

BLANK = SPACE + b"\xef\xbb\xbf"  # and a byte order mark, which some proxies leave at the start
HEAD_BYTES = 512
MARK = "data:;base64,#{}#"
"""Stands in a sifted text for the image data of that number; no text of a server's can hold it."""

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


class Skim:
    """A machine for one document, fed in pieces of any size: how it was cut never shows.

    Args:
        use: given the key that an object (or the array it is in) stands under, and a key within it: what is done with
            a string there. Strings that stand in an array count as standing under the array's own key.
        bounds: what the document may cost.

    Attributes:
        head: its first bytes, for messages.
    """

    _sieve: Sieve  # of the text that is being sifted, as the words are
    _words: Excerpt

    def __init__(self, use: Callable[[str, str], Use], bounds: Bounds = DEFAULT_BOUNDS) -> None:
        self.head = b""
        self._outline = Outline(use, bounds)
        self._bounds = bounds
        self._rest = self._outline.rest
        self._begun = 0  # where in the rest the open string begins
        self._stream = -1  # the one that was begun last
        self._held = b""  # an escape that was cut off
        self._pieces: list[Piece] = []
        self._step = Skim._before  # no method of this machine: it would hold itself until the collector comes

    @property
    def complete(self) -> bool:
        """Whether the document has closed; whatever follows is ignored."""
        return self._outline.complete

    @property
    def fault(self) -> str | None:
        """Why this is no document to go on with; None as long as it is one."""
        return self._outline.fault

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
        position, outline = 0, self._outline
        while position < len(data) and not outline.complete and outline.fault is None:
            position = self._step(self, data, position)
        pieces, self._pieces = self._pieces, []
        return pieces

    def document(self) -> object:
        """Parse what came, with open containers closed; None when it is not JSON."""
        return self._outline.document()

    def _before(self, data: bytes, position: int) -> int:
        """Pass the blanks before the document."""
        rest = data[position:].lstrip(BLANK)
        if rest and rest[:1] not in CLOSERS:
            self._outline.fault = "not JSON"
        elif rest:
            self._step = Skim._outside
        return len(data) - len(rest)

    def _outside(self, data: bytes, position: int) -> int:
        """Keep what stands outside strings, and short strings, up to and with the quote that begins another string."""
        position, use = self._outline.walk(data, position)
        if use is not None:
            self._begin_string(use)
        return position

    def _begin_string(self, use: Use) -> None:
        if use is Use.STREAM:
            self._begin_stream()
            if self.fault is None:
                self._outline.keep(str(self._stream).encode())
                self._outline.end_value()
            self._step = Skim._in_stream
            return
        self._outline.keep(b'"')
        self._begun = len(self._rest)
        if use is Use.KEEP:
            self._step = Skim._in_text
        else:
            self._step = Skim._at_sifted

    def _begin_stream(self) -> None:
        if self._stream + 1 >= self._bounds.streams:
            self._outline.fault = f"JSON with more than {self._bounds.streams} images"
            return
        self._stream += 1
        self._pieces.append(Piece(self._stream, b"", last=False))

    def _in_text(self, data: bytes, position: int) -> int:
        """Keep a string's content up to the limit of a text."""
        content, end, closed = self._content(data, position)
        room = self._bounds.text + 1 - (len(self._rest) - self._begun)  # one byte too many tells that it is too long
        self._outline.keep(content[:room])
        if closed and self.fault is None:
            self._outline.end_text(self._kept_text())
            self._step = Skim._outside
        return end

    def _kept_text(self) -> bytes:
        """Give what is kept of the text that has closed; one that is too long is cut there."""
        content = bytes(self._rest[self._begun :])
        if len(content) > self._bounds.text:
            content = content[: self._bounds.text]
            content = content[: cut_escape(content)]
            self._rest[self._begun :] = content + ELISION
        return content

    def _in_stream(self, data: bytes, position: int) -> int:
        """Hand a string's content on."""
        content, end, closed = self._content(data, position)
        if content or closed:
            self._pieces.append(Piece(self._stream, unescaped(content), closed))
        if closed:
            self._step = Skim._outside
        return end

    def _at_sifted(self, data: bytes, position: int) -> int:
        """Keep a text at once that came whole and is short and plain, as most are; sift any other."""
        content, end, closed = self._content(data, position)
        words = unescaped(content)
        if not (closed and len(words) <= self._bounds.text and is_plain(words)):
            self._sieve = Sieve()
            self._words = Excerpt(beginning=self._bounds.text, end=self._bounds.end)
            self._step = Skim._in_sifted
            return position
        self._end_sifted(words)
        return end

    def _in_sifted(self, data: bytes, position: int) -> int:
        """Keep a text's words, hand its image data on."""
        content, end, closed = self._content(data, position)
        bits = self._sieve.feed(unescaped(content))
        if closed:
            bits += self._sieve.finish()
        for bit in bits:
            if self.fault is not None:
                return end
            self._sift(bit)
        if closed and self.fault is None:
            self._end_sifted(self._words.rest())
        return end

    def _end_sifted(self, words: bytes) -> None:
        self._outline.keep(escaped(words) + b'"')
        if self.fault is None:
            self._outline.end_value()
            self._step = Skim._outside

    def _sift(self, bit: Bit) -> None:
        what, found = bit
        if what is What.WORDS:
            self._outline.keep(escaped(self._words.take(found)))
        elif what is What.START:
            self._begin_stream()
            self._outline.keep(escaped(self._words.rest()) + MARK.format(self._stream).encode())
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
