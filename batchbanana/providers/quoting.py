"""Makes a server's words fit to be shown: one line, short, without control characters and without secrets."""

import re

LOOKED_AT = 8192  # characters; a page of megabytes is not worth more
SECRET = re.compile(
    r"AIza[\w-]{8,}|\bAQ\.[\w-]{8,}|\bya29\.[\w.-]+|\bsk-[\w*-]{4,}|\beyJ[\w-]{8,}\.[\w.-]+|\bBearer\s+\S{8,}"
    r"|(?<=key=)[^\s&\"']+|(?:key|token|secret)(?: provided)?[\"']?\s{0,3}[:=]\s{0,3}[\"']?[^\s&\"',;]{8,}",
    re.IGNORECASE,
)


def one_line(text: str, limit: int) -> str:
    """Give at most `limit` characters of `text` as one printable line; what looks like a key becomes ***."""
    printable = "".join(char if char.isprintable() else " " for char in text[:LOOKED_AT])
    line = SECRET.sub("***", " ".join(printable.split()))
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"
