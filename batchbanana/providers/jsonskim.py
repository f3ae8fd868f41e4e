"""Reads a JSON document as it arrives without ever holding its long strings.

An answer of 30 MB is one string of base64 in a few hundred bytes of document. This machine hands the content of chosen
strings on in pieces as they come, keeps a copy of everything else, and can parse that copy even when the document broke
off. It does no I/O. Inside strings it searches in C (`bytes.find`, a regular expression); only the few bytes outside
them are walked in Python.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

SPACE = b" \t\r\n"
BLANK = SPACE + b"\xef\xbb\xbf"  # and a byte order mark, which some proxies leave at the start
STRUCTURE = re.compile(rb'["{}\[\]:,]')
CLOSERS = {ord("{"): ord("}"), ord("["): ord("]")}
HEAD_BYTES = 512
ELISION = "…".encode()

# A pair of \u escapes that make one character counts as one escape; `\Z` lets one be cut off at the end of what came.
ESCAPE = rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u[0-9a-fA-F]{0,4}|\Z))?|.|\Z)"
CONTENT = re.compile(rb'(?:[^"\\]*+(' + ESCAPE + rb'))*[^"\\]*+', re.DOTALL)
CUT_ESCAPE = re.compile(rb"\\(?:u(?:[0-9a-fA-F]{0,3}|[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u[0-9a-fA-F]{0,3})?)?))?")
WHOLE_ESCAPE = re.compile(rb"\\(?:u([dD][89abAB]..)\\u([dD][c-fC-F]..)|u([0-9a-fA-F]{4})|(.))", re.DOTALL)
SHORT_ESCAPES = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f", b"/": b"/", b'"': b'"', b"\\": b"\\"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a document may cost.

    Attributes:
        depth: containers within each other.
        rest: bytes of document kept beside the chosen strings.
        text: bytes kept of any other string; what goes beyond is left out.
        streams: chosen strings that are handed on; further ones are passed over and read as null.
    """

    depth: int = 64
    rest: int = 4 * 1024 * 1024
    text: int = 64 * 1024
    streams: int = 16


DEFAULT_BOUNDS = Bounds()


@dataclass(frozen=True, slots=True)
class Piece:
    """Some content of a chosen string, its escapes undone.

    Attributes:
        index: which one, from 0; the document reads as this number in the string's place.
        last: whether the string has closed.
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
        streamed: given the key that an object (or the array it is in) stands under, and a key within it: whether a
            string there is handed on. Strings that stand in an array count as standing under the array's own key.
        bounds: what the document may cost.

    Attributes:
        complete: the document has closed; whatever follows is ignored.
        fault: why this is no document to go on with; None as long as it is one.
        head: its first bytes, for messages.
    """

    def __init__(self, streamed: Callable[[str, str], bool], bounds: Bounds = DEFAULT_BOUNDS) -> None:
        self.complete = False
        self.fault: str | None = None
        self.head = b""
        self._streamed = streamed
        self._bounds = bounds
        self._stack: list[_Container] = []
        self._rest = bytearray()
        self._kept = 0  # bytes ever added to the rest
        self._safe = 0  # length of the rest up to which it can be closed
        self._begun = 0  # where in the rest the open string begins
        self._streams = 0
        self._held = b""  # an escape that was cut off
        self._pieces: list[Piece] = []
        self._step: Callable[[bytes, int], int] = self._before

    @property
    def is_json(self) -> bool:
        """Whether the document began as an object or an array."""
        return bool(self._rest)

    def feed(self, data: bytes) -> list[Piece]:
        """Take the next bytes, give what they bring of chosen strings; never raises."""
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
            parsed: object = json.loads(text.decode(errors="replace"), strict=False)
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
        """Copy what stands between strings, up to and with the next structural character."""
        found = STRUCTURE.search(data, position)
        end = found.start() if found else len(data)
        self._keep(data[position:end].translate(None, SPACE))
        if found is None:
            return end
        self._take(data[end])
        return end + 1

    def _take(self, char: int) -> None:
        """Follow one structural character."""
        if char in CLOSERS:
            self._open(char)
        elif char == ord('"'):
            self._begin_string()
        elif char == ord(","):
            self._safe = len(self._rest)
            self._keep(b",")
            self._stack[-1].wants_key = self._stack[-1].closer == ord("}")
        elif char == ord(":"):
            self._keep(b":")
            self._stack[-1].wants_key = False
        else:
            self._close(char)

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

    def _begin_string(self) -> None:
        top = self._stack[-1]
        if top.wants_key or not self._streamed(top.name, top.key):
            self._keep(b'"')
            self._begun = len(self._rest)
            self._step = self._in_text
            return
        index = self._streams if self._streams < self._bounds.streams else None
        self._keep(b"null" if index is None else str(index).encode())
        self._safe = len(self._rest)
        self._step = partial(self._in_stream, index)
        if index is not None:
            self._streams += 1
            self._pieces.append(Piece(index, b"", last=False))

    def _in_text(self, data: bytes, position: int) -> int:
        """Keep a string's content up to the limit of a text."""
        content, end, closed = self._content(data, position)
        room = self._bounds.text + 1 - (len(self._rest) - self._begun)  # one byte too many tells that it is too long
        self._keep(content[:room])
        if closed:
            self._end_text()
        return end

    def _end_text(self) -> None:
        content = bytes(self._rest[self._begun :])
        if len(content) > self._bounds.text:
            content = content[: self._bounds.text]
            self._rest[self._begun :] = content[: _cut_escape(content)] + ELISION
        self._keep(b'"')
        top = self._stack[-1]
        if top.wants_key:
            top.key = _text(content)
        else:
            self._safe = len(self._rest)
        self._step = self._outside

    def _in_stream(self, index: int | None, data: bytes, position: int) -> int:
        """Hand a chosen string's content on."""
        content, end, closed = self._content(data, position)
        if index is not None and (content or closed):
            self._pieces.append(Piece(index, _unescaped(content), closed))
        if closed:
            self._step = self._outside
        return end

    def _content(self, data: bytes, position: int) -> tuple[bytes, int, bool]:
        """Cut out a string's content, still escaped; gives also where to go on and whether the string has closed."""
        quote = data.find(b'"', position)
        while quote >= 0 and _is_escaped(data, position, quote):
            quote = data.find(b'"', quote + 1)
        if quote >= 0:
            return data[position:quote], quote + 1, True
        content = data[position:]
        cut = _cut_escape(content)
        self._held = content[cut:]
        return content[:cut], len(data), False

    def _keep(self, raw: bytes) -> None:
        self._rest += raw
        self._kept += len(raw)
        if self._kept > self._bounds.rest:
            self.fault = f"JSON with more than {self._bounds.rest} bytes beside its images"


def _is_escaped(data: bytes, start: int, at: int) -> bool:
    """Whether an odd number of backslashes stands right before `at`; none before `start` counts."""
    before = at
    while before > start and data[before - 1] == ord("\\"):
        before -= 1
    return (at - before) % 2 == 1


def _cut_escape(content: bytes) -> int:
    """Say where an escape begins that the content's end cuts off; the content's length when none is.

    Only the end is looked at, from where no escape can be under way: a cut pair has at most 11 bytes.
    """
    if content.find(b"\\", -12) < 0:
        return len(content)
    found = CONTENT.match(content, len(content[:-12].rstrip(b"\\")))
    last = found.start(1) if found else -1
    return last if last >= 0 and CUT_ESCAPE.fullmatch(content, last) else len(content)


def _unescaped(content: bytes) -> bytes:
    r"""Undo a string's escapes; one that JSON does not know stays, with its backslash.

    The short ones come by the hundred thousand (`\/` in what PHP encoded, `\n` in broken lines) and are done in bulk.
    """
    if b"\\" not in content:
        return content
    if b"\\\\" not in content:
        for char in (b"/", b"n", b"r"):
            content = content.replace(b"\\" + char, SHORT_ESCAPES[char])
        if b"\\" not in content:
            return content
    return WHOLE_ESCAPE.sub(_character, content)


def _character(escape: re.Match[bytes]) -> bytes:
    high, low, code, char = escape.groups()
    if high:
        return chr(0x10000 + (int(high, 16) - 0xD800 << 10) + int(low, 16) - 0xDC00).encode()
    if code:
        return chr(int(code, 16)).encode(errors="surrogatepass")
    return SHORT_ESCAPES.get(char, escape.group())


def _text(content: bytes) -> str:
    return _unescaped(content).decode(errors="replace")
