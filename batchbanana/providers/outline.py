"""The document that a skim keeps: its structure, keys, numbers and short strings, within bounds.

It knows where in the document the reading stands, and can parse what is kept even when the document broke off. A member
of an object is taken at once with the comma or the bracket after it: that is what makes a small answer cheap.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from batchbanana.providers.escapes import unescaped

SPACE = b" \t\r\n"
# A key with its colon; a number or the like; a string; one character of structure, which is a quote where a string
# begins that is no short one without escapes, as nearly all are. Each of them may be missing.
STRING = rb'"([^"\\]{0,256}+)"[ \t\r\n]*+'
TOKEN = re.compile(
    rb'[ \t\r\n]*+(?:' + STRING + rb':[ \t\r\n]*+)?+([^"{}\[\]:,]*+)(?:' + STRING + rb')?+(["{}\[\]:,]?)'
)  # fmt: skip
CLOSERS = {b"{": b"}", b"[": b"]"}
TOO_MANY = "JSON of too many parts"
INTEGER_DIGITS = 100  # of a number that is read; Python refuses thousands, and a longer one counts nothing


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


@dataclass(slots=True)
class _Container:
    """An open object or array: what closes it, the key it stands under, the key its next value stands under."""

    closer: bytes
    name: str
    key: str
    wants_key: bool


OUTERMOST = _Container(b"", "", "", wants_key=False)


class Outline:
    """What is kept of one document.

    Args:
        use: as for a skim.
        bounds: what the document may cost.

    Attributes:
        complete: the document has closed.
        fault: why this is no document to go on with; None as long as it is one.
        rest: what is kept.
    """

    __slots__ = ("_bounds", "_parts", "_safe", "_stack", "_use", "complete", "fault", "rest")

    def __init__(self, use: Callable[[str, str], Use], bounds: Bounds) -> None:
        self.complete = False
        self.fault: str | None = None
        self.rest = bytearray()
        self._use = use
        self._bounds = bounds
        self._stack: list[_Container] = []
        self._safe = 0  # length of the rest up to which it can be closed
        self._parts = 0

    def walk(self, data: bytes, position: int) -> tuple[int, Use | None]:
        """Keep what stands outside strings, and short strings that stay.

        Returns:
            Where to go on, and what is done with the other string that begins there; None when none does.
        """
        for found in TOKEN.finditer(data, position):
            key, scalar, text, mark = found.groups()
            if key is not None and (use := self._take_key(key)) is not None:
                return found.start(1), use
            if scalar and self.fault is None:
                self.keep(scalar.translate(None, SPACE))
            if text is not None and self.fault is None and (use := self._take_text(text)) is not None:
                return found.start(3), use
            if mark and self.fault is None:
                if mark == b'"':
                    return found.end(), self._begin()
                self._follow(mark)
            if self.fault is not None or self.complete:
                break
        return len(data), None

    def keep(self, raw: bytes) -> None:
        """Keep some more of the document."""
        rest = self.rest
        rest += raw
        if len(rest) > self._bounds.rest:
            self.fault = f"JSON with more than {self._bounds.rest} bytes beside its images"

    def end_value(self) -> None:
        """Say that a value has been kept as a whole."""
        self._safe = len(self.rest)

    def end_text(self, content: bytes) -> None:
        """Close a string that has been kept, and begun with a quote."""
        top = self._stack[-1]
        self.keep(b'"')
        if top.wants_key:
            top.key = unescaped(content).decode(errors="replace")
        else:
            self._safe = len(self.rest)

    def document(self) -> object:
        """Parse what is kept, with open containers closed; None when it is not JSON."""
        text = self.rest
        if not self.complete:
            text = text[: self._safe] + b"".join(container.closer for container in reversed(self._stack))
        try:
            parsed: object = DECODER.decode(text.decode(errors="replace"))
        except ValueError:
            return None
        return parsed

    def _take_key(self, text: bytes) -> Use | None:
        """Keep a short string and the colon after it; gives what `_take_text` does."""
        top, rest, bounds = self._stack[-1], self.rest, self._bounds
        parts, size = self._parts + 2, len(rest) + len(text) + 3
        if not top.wants_key or parts > bounds.parts or size > bounds.rest or len(text) > bounds.text:
            use = self._take_text(text)  # no key, or no room for it and the colon
            if use is None and self.fault is None:
                self._follow(b":")
            return use
        self._parts = parts
        rest += b'"' + text + b'":'
        top.key = text.decode("utf-8", "replace")
        top.wants_key = False
        return None

    def _take_text(self, text: bytes) -> Use | None:
        """Keep a short string that stays in the document; of any other, say what is done with it."""
        use = self._begin()
        if use is not Use.KEEP or len(text) > self._bounds.text:
            return use
        self.keep(b'"' + text)
        if self.fault is None:
            self.end_text(text)
        return None

    def _begin(self) -> Use | None:
        """Count a string, and say what is done with it; None when it is one too many."""
        self._parts += 1
        if self._parts > self._bounds.parts:
            self.fault = TOO_MANY
            return None
        top = self._stack[-1]
        return Use.KEEP if top.wants_key else self._use(top.name, top.key)

    def _follow(self, mark: bytes) -> None:
        """Follow one character of structure that is no quote."""
        stack = self._stack
        self._parts += 1
        if self._parts > self._bounds.parts:
            self.fault = TOO_MANY
        elif mark == b",":
            self._safe = len(self.rest)
            self.keep(mark)
            top = stack[-1]
            top.wants_key = top.closer == b"}"
        elif mark in CLOSERS:
            self._open(mark)
        elif mark == b":":
            self.keep(mark)
            stack[-1].wants_key = False
        elif mark == stack[-1].closer:
            stack.pop()
            self.keep(mark)
            self._safe = len(self.rest)
            self.complete = not stack and self.fault is None
        else:
            self.fault = "JSON with brackets that do not match"

    def _open(self, mark: bytes) -> None:
        stack = self._stack
        if len(stack) >= self._bounds.depth:
            self.fault = f"JSON nested more than {self._bounds.depth} deep"
            return
        self.keep(mark)
        self._safe = len(self.rest)
        outer = stack[-1] if stack else OUTERMOST
        if mark == b"{":
            stack.append(_Container(b"}", outer.key, "", wants_key=True))
        else:
            stack.append(_Container(b"]", outer.name, outer.key, wants_key=False))


def _integer(digits: str) -> int | None:
    return int(digits) if len(digits) <= INTEGER_DIGITS else None


DECODER = json.JSONDecoder(strict=False, parse_int=_integer)  # made once: that takes longer than a small document
