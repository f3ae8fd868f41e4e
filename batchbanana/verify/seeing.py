"""Reads a file of a job directory, a block at a time."""

import hashlib
from pathlib import Path

from batchbanana.images import ImageError, Inspector
from batchbanana.plain import open_plain
from batchbanana.verify.finding import Seen

BLOCK = 1 << 20  # bytes hashed at once


def see(path: Path) -> Seen:
    """Hash a file and look what picture it is.

    Raises:
        OSError: it is gone or cannot be read.
        DiskError: it is no file.
    """
    digest, inspector, size = hashlib.sha256(), Inspector(), 0
    with open_plain(path) as handle:
        while block := handle.read(BLOCK):
            digest.update(block)
            inspector.feed(block)
            size += len(block)
    try:
        return Seen(size=size, sha256=digest.hexdigest(), picture=inspector.result())
    except ImageError as error:
        return Seen(size=size, sha256=digest.hexdigest(), picture=None, flaw=str(error))
