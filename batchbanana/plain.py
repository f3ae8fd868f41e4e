"""Opens nothing but plain files in a job directory.

A pipe, a device or a socket in the place of one would hang whoever reads it, and no signal ends that.
"""

import stat
from io import BufferedReader
from pathlib import Path

from batchbanana.errors import DiskError

WORDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


class OddFileError(DiskError):
    """Something that is no file stands where a file belongs.

    Attributes:
        what: it is.
    """

    def __init__(self, path: Path, what: str) -> None:
        self.what = what
        super().__init__(f"{path} is {what}, not a file; move it away and put the file there, if you have it")


def oddity(path: Path) -> str | None:
    """Say what stands in the place of a file; None for a file, and when nothing is there.

    Raises:
        OSError: the disk refuses.
    """
    try:
        kind = stat.S_IFMT(path.stat().st_mode)
    except FileNotFoundError:
        return None
    return None if kind == stat.S_IFREG else WORDS.get(kind, "something else")


def refuse_odd(path: Path) -> None:
    """Look before a file is opened; one that is not there is all right.

    Raises:
        OddFileError: it is no file.
        OSError: the disk refuses.
    """
    if (what := oddity(path)) is not None:
        raise OddFileError(path, what)


def open_plain(path: Path) -> BufferedReader:
    """Open a file for reading.

    Raises:
        OddFileError: it is no file.
        OSError: it is not there, or the disk refuses.
    """
    refuse_odd(path)
    return path.open("rb")
