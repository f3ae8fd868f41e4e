r"""JSON's escapes in strings that come in pieces: which one is cut off, and what they stand for.

A pair of `\u` escapes that make one character counts as one escape.
"""

import re

# `\Z` lets an escape be cut off at the end of what came.
ESCAPE = rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u[0-9a-fA-F]{0,4}|\Z))?|.|\Z)"
CONTENT = re.compile(rb'(?:[^"\\]*+(' + ESCAPE + rb'))*[^"\\]*+', re.DOTALL)
CUT_ESCAPE = re.compile(rb"\\(?:u(?:[0-9a-fA-F]{0,3}|[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u[0-9a-fA-F]{0,3})?)?))?")
UP_TO_QUOTE = re.compile(rb'(?:[^"\\]++|\\.)*+"', re.DOTALL)
CODE = re.compile(
    rb"\\(?:u([dD][89abAB]HH)\\u([dD][c-fC-F]HH)|u(HHHH))".replace(b"H", rb"[0-9a-fA-F]"),
)
SHORT_ESCAPES = {rb"\/": b"/", rb"\n": b"\n", rb"\"": b'"', rb"\r": b"\r", rb"\t": b"\t", rb"\b": b"\b", rb"\f": b"\f"}


def closing_quote(data: bytes, start: int) -> int:
    """Say where the quote stands that closes a string whose content goes on at `start`; -1 when none does."""
    quote = data.find(b'"', start)
    if quote <= start or data[quote - 1] != ord("\\"):
        return quote
    found = UP_TO_QUOTE.match(data, start)
    return found.end() - 1 if found else -1


def cut_escape(content: bytes) -> int:
    """Say where an escape begins that the content's end cuts off; the content's length when none is.

    Only the end is looked at, from where no escape can be under way: a cut pair has at most 11 bytes.
    """
    if content.find(b"\\", -12) < 0:
        return len(content)
    found = CONTENT.match(content, len(content[:-12].rstrip(b"\\")))
    last = found.start(1) if found else -1
    return last if last >= 0 and CUT_ESCAPE.fullmatch(content, last) else len(content)


def unescaped(content: bytes) -> bytes:
    r"""Undo a string's escapes; one that JSON does not know stays, with its backslash.

    The short ones come by the hundred thousand (`\/` in what PHP encoded, `\n` in broken lines) and are done in bulk.
    Between backslashes that are escaped themselves every other one begins an escape.
    """
    if b"\\" not in content:
        return content
    return b"\\".join([_without_escapes(run) if b"\\" in run else run for run in content.split(rb"\\")])


def _without_escapes(content: bytes) -> bytes:
    for escape, char in SHORT_ESCAPES.items():
        content = content.replace(escape, char)
    return CODE.sub(_character, content) if b"\\" in content else content


def escaped(content: bytes) -> bytes:
    """Make plain content fit to stand in a string again; control characters stay as they are."""
    return content.replace(b"\\", b"\\\\").replace(b'"', b'\\"')


def _character(escape: re.Match[bytes]) -> bytes:
    high, low, code = escape.groups()
    if high:
        return chr(0x10000 + (int(high, 16) - 0xD800 << 10) + int(low, 16) - 0xDC00).encode()
    return chr(int(code, 16)).encode(errors="surrogatepass")
