"""Keeps the key out of what servers write, however they spell it. Pure.

A key is known again by its letters and digits alone: marks, blanks, tags and characters that nobody sees do not make it
another one, nor do the escapes of HTML, JSON and addresses, nor capitals.
"""

import re
import unicodedata
from functools import lru_cache
from html import unescape
from urllib.parse import unquote

SHORTEST_SECRET = 6  # characters of a key's beginning that are worth hiding
RUN = 10  # letters and digits of a key in a row that betray it: a dozen of its characters, if two are hyphens
LEFT_OUT = "[quotation left out: it holds the key]"

CUT = r"(?=\u2026|\.\.\.|\W*$)"  # where a quotation was cut, or the text ends
QUOTATION = re.compile(r"""\bb'.*'|".*\"""", re.DOTALL)  # bytes, or the server's words
# No text makes these slow: each run of backslashes and each opening mark is gone through once.
TAG = re.compile(r"<!--(?:(?!<!--).)*?-->|<[^<>]*>", re.DOTALL)
ESCAPE = re.compile(r"(?<!\\)\\++(?:u([0-9a-f]{4})|x([0-9a-f]{2})|[nrtbf])", re.IGNORECASE)
LAYERS = 3  # escapes within escapes that are undone


class Secret:
    """A key that must not be told.

    Args:
        key: as it is sent; one that is empty or very short is only hidden where it stands as it is.
    """

    __slots__ = ("_beginning", "_key", "_letters", "_seen", "_was_shown", "_whole")

    def __init__(self, key: str) -> None:
        self._key = key
        self._beginning = re.compile(re.escape(key[:SHORTEST_SECRET]), re.IGNORECASE)
        self._whole = _squeezed(key)
        self._letters = _without_digits(self._whole)
        self._seen = ("", 0)  # the text that was looked at last: the name of the model is in every answer
        self._was_shown = False

    def is_in(self, text: str) -> bool:
        """Say whether a text holds the whole key, in any spelling."""
        return len(self._whole) >= SHORTEST_SECRET and any(self._whole in view for view in _views(text))

    def cut_from(self, body: bytes) -> bytes:
        """Take the key out of bytes wherever it stands as it is, before anything of them is cut or quoted."""
        return re.sub(re.escape(self._key.encode()), b"[key]", body, flags=re.IGNORECASE) if self._key else body

    def hide(self, text: str, *, run: int = RUN) -> str:
        """Take the key out of a text that quotes a server.

        Where it stands as it is, or its beginning before a cut, that much becomes "[key]". Where it stands in another
        spelling, or a part of it, the quotation is left out, or the whole text if that is not enough.

        Args:
            text: one or several sentences.
            run: letters and digits in a row that count as a part of it; `SHORTEST_SECRET` for a few bytes of a file.
        """
        if not self._key:
            return text
        if self._beginning.search(text):  # in nearly no text it is, and each image's answer names its model
            text = self._as_it_is(text)
        if not self._shows(text, run):
            return text
        text = QUOTATION.sub(LEFT_OUT, text)
        return LEFT_OUT if self._shows(text, run) else text

    def _as_it_is(self, text: str) -> str:
        text = re.sub(re.escape(self._key), "[key]", text, flags=re.IGNORECASE)
        for length in range(len(self._key) - 1, SHORTEST_SECRET - 1, -1):
            text = re.sub(re.escape(self._key[:length]) + CUT, "[key]", text, flags=re.IGNORECASE)
        return text

    def _shows(self, text: str, run: int) -> bool:
        """Say whether a text shows a part of the key; a failure's signature has no digits, so it may do so without."""
        if (text, run) != self._seen:
            parts = _runs(self._whole, run)
            bare = _runs(self._letters, RUN) if len(self._letters) >= RUN else frozenset()
            found = any(_holds(view, parts) or _holds(_without_digits(view), bare) for view in _views(text))
            self._seen, self._was_shown = (text, run), found
        return self._was_shown


def _holds(view: str, parts: frozenset[str]) -> bool:
    return any(part in view for part in parts)


@lru_cache(maxsize=4)
def _runs(word: str, length: int) -> frozenset[str]:
    """Give all parts of a word that have a length; the word itself if it is shorter, and nothing if it is too short."""
    if len(word) < SHORTEST_SECRET:
        return frozenset()
    return frozenset(word[at : at + length] for at in range(max(1, len(word) - length + 1)))


@lru_cache(maxsize=4)  # the name of the model is in every answer
def _views(text: str) -> frozenset[str]:
    """Read a text in the ways in which somebody may: with its escapes or without, with its tags or without."""
    layers = [text]
    while len(layers) <= LAYERS and (inner := _unescaped(layers[-1])) != layers[-1]:
        layers.append(inner)
    return frozenset(_squeezed(view) for layer in layers for view in (layer, TAG.sub("", layer)))


def _unescaped(text: str) -> str:
    return ESCAPE.sub(_meant, unquote(unescape(text)))


def _meant(escape: re.Match[str]) -> str:
    """Give the character that an escape stands for; none for a byte of a longer one or a line's end."""
    code = int(escape[1] or escape[2] or "0", 16)
    return chr(code) if escape[1] or 0 < code < 128 else ""


def _squeezed(text: str) -> str:
    """Leave only letters and digits, small and plain."""
    return re.sub("[^a-z0-9]+", "", unicodedata.normalize("NFKD", text).casefold())


def _without_digits(text: str) -> str:
    return re.sub("[0-9]+", "", text)
