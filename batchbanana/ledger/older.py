"""Whether `metadata.jsonl` knows more than the ledger, which then is an older copy or another job's.

The ledger remembers up to which byte the file is right. What stands behind that are lines of a run that was killed,
which the ledger has as well, since it is written first: so only the end of the file is read, however long it is.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from batchbanana.ledger.store import STALE, Store
from batchbanana.names import is_confined
from batchbanana.plain import open_plain

SEQ = "metadata_seq"
BYTES = "metadata_bytes"
KEY = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """Images that are there and that the ledger does not know.

    Attributes:
        first: file of the first of them, relative to the job directory.
    """

    count: int
    first: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What a line of the file says of an image: its task's key, and its file, relative to the job directory."""

    key: str
    file: str
    sha256: str


def news(store: Store, path: Path) -> News | None:
    """Look at the lines that would be cut off the file at `path`; None when the ledger knows all of them.

    Raises:
        OSError: the file cannot be read.
        DiskError: it is no file.
    """
    count, first = 0, ""
    for file in _unknown(store, path):
        count, first = count + 1, first or file
    return News(count=count, first=first) if count else None


def is_news(store: Store, job: Path, line: Line) -> bool:
    """Whether the image of a line is there, and the one that the ledger knows of its task, if any, is not.

    Raises:
        OSError: the file cannot be read.
        DiskError: it is no file.
    """
    path = job / line.file
    known = store.file_of(line.key)
    if known == (line.file, line.sha256) or not path.is_file():
        return False
    if known is None or known[0] != line.file:
        return known is None or not (job / known[0]).exists()
    with open_plain(path) as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest() == line.sha256


def right_up_to(store: Store, path: Path) -> int:
    """Give the byte up to which a file is what the ledger remembers; 0 if it is not, because somebody has edited it.

    Raises:
        OSError: the file cannot be read.
        DiskError: it is no file.
    """
    end = store.get(BYTES) or 0
    last = b"\n"
    if not store.get(STALE):  # else the line that stood there may be gone from the ledger
        last = store.last_record(store.get(SEQ) or 0).encode() + last
    try:
        with open_plain(path) as handle:
            if end < len(last):
                return 0
            handle.seek(end - len(last))
            return end if handle.read(len(last)) == last else 0
    except FileNotFoundError:
        return 0


def _unknown(store: Store, path: Path) -> Iterator[str]:
    try:
        with open_plain(path) as handle:
            handle.seek(right_up_to(store, path))
            for line in handle:
                told = _told(line)
                if told is not None and is_news(store, path.parent, told):
                    yield told.file
    except FileNotFoundError:
        return


def _told(line: bytes) -> Line | None:
    """Read whose image a line tells of; None for what no run has written, or only half."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    key, file, sha256 = (str(record.get(name)) for name in ("key", "file_name", "sha256"))
    if not KEY.fullmatch(key) or not file.startswith("images/") or not is_confined(file):
        return None
    return Line(key=key, file=file, sha256=sha256)
