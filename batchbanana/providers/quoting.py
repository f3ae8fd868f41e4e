"""Makes a server's words fit to be shown: one line, short, without control characters and without secrets."""

import re
from functools import lru_cache

LOOKED_AT = 1024  # characters; no limit is larger, and a page of megabytes is not worth more
UNSURE = 32  # characters before a cut; half a key there may not look like one, and is shorter

# No part that can go on for long fails at its end, so that no text makes this slow.
SECRET = re.compile(
    r"AIza[\w-]{8,}|\bAQ\.[\w-]{8,}|\bya29\.[\w.-]+|\bsk-[\w*-]{4,}|\b(?-i:eyJ)[\w-]{8,}+(?:\.[\w.-]+)?|\bBearer \S{8,}"
    r"|(?<=key=)[^\s&\"']+|(?:key|token|secret)(?: provided)?[\"']?\s{0,3}[:=]\s{0,3}[\"']?[^\s&\"',;]{8,}",
    re.IGNORECASE,
)


@lru_cache(maxsize=16)  # the name of the model is in every answer; a line has at most a kilobyte
def _without_secrets(line: str) -> str:
    return SECRET.sub("***", line)


def one_line(text: str, limit: int) -> str:
    """Give at most `limit` characters of `text` as one printable line; what looks like a key becomes ***."""
    line = " ".join(text[: 8 * LOOKED_AT].split())
    is_cut = len(line) > LOOKED_AT
    line = line[:LOOKED_AT]
    if not line.isprintable():
        line = " ".join("".join(char if char.isprintable() else " " for char in line).split())
    line = _without_secrets(line)
    if is_cut:
        line = line[:-UNSURE] + "…"
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"
