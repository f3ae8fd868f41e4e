"""The files that a manifest names. The only module here that reads them, each once."""

import codecs
import contextlib
import hashlib
import io
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from batchbanana.manifest.faults import Faults
from batchbanana.manifest.nodes import shorten
from batchbanana.task import Reference

LARGE_REFERENCE = 7_000_000  # bytes; above it the vendor's documents advise against sending it inline
LARGEST_REQUEST = 15_000_000  # bytes of references; base64 makes 20 MB of them, which a request may have
SNIFFED = 64  # bytes of a file's head; a HEIF names its brands there
_PIECE = 1 << 20  # bytes that are read and let go of at once
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_HEIF = {b"mif1", b"msf1"}  # the general brands; AVIF files have them too
_AVIF = {b"avif", b"avis"}


def sniff(head: bytes) -> str | None:
    """Tell the MIME type of an image that a request may carry, from its first 64 bytes; None for anything else."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head[4:8] != b"ftyp":
        return None
    brand, end = head[8:12], int.from_bytes(head[:4])
    others = {head[at : at + 4] for at in range(16, min(end, len(head)), 4)}
    if brand in _HEIC:
        return "image/heic"
    return "image/heif" if brand in _HEIF and not others & _AVIF else None


def read_text(path: Path, encoding: str | None, remedy: str) -> str:
    """Read a text file as a whole, see `read_pieces`."""
    return b"".join(read_pieces(path, encoding, remedy)).decode()


def read_pieces(path: Path, encoding: str | None, remedy: str) -> deque[bytes]:
    """Read a text file: UTF-8 with or without BOM, or another encoding.

    Args:
        path: the file.
        encoding: None for UTF-8.
        remedy: what to do about bytes that cannot be decoded.

    Returns:
        Its text in UTF-8 that can be decoded, without a BOM, in pieces of a megabyte.

    Raises:
        ValueError: with a sentence that says what is wrong and what to do.
    """
    with _opened(path) as file:
        pieces = deque(iter(lambda: file.read(_PIECE), b""))
    if encoding is not None or any(b"\0" in piece for piece in pieces) or not _is_utf8(pieces):
        text = _recoded(b"".join(pieces), encoding, remedy)
        pieces = deque(text[at : at + _PIECE] for at in range(0, len(text), _PIECE))
    if pieces:
        pieces[0] = pieces[0].removeprefix(codecs.BOM_UTF8).removeprefix(codecs.BOM_UTF8)  # some put theirs before one
    return pieces


def take_lines(pieces: deque[bytes]) -> Iterator[str]:
    """Read UTF-8 text line by line, with the ends as they are, and take away each piece as it is used up."""
    return iter(io.TextIOWrapper(io.BufferedReader(_Taken(pieces)), "utf-8", newline=""))


class _Taken(io.RawIOBase):
    """Pieces of bytes as a file that can be read once."""

    def __init__(self, pieces: deque[bytes]) -> None:
        super().__init__()
        self._pieces = pieces
        self._at = 0  # what is used up of the first one

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # a writeable buffer, which has no name before Python 3.12
        while self._pieces:
            if part := self._pieces[0][self._at : self._at + len(buffer)]:
                self._at += len(part)
                buffer[: len(part)] = part
                return len(part)
            self._pieces.popleft()
            self._at = 0
        return 0


def _is_utf8(pieces: Iterable[bytes]) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for piece in pieces:
            decoder.decode(piece)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _recoded(data: bytes, encoding: str | None, remedy: str) -> bytes:
    """Turn another encoding into UTF-8, or say what is wrong with what should be it."""
    try:
        text = data.decode(encoding or "utf-8-sig").encode()
    except UnicodeError as error:  # some encodings raise it without a place
        if encoding is None and b"\0" in data:
            raise ValueError("is not a text file: name a YAML or CSV file saved as UTF-8") from error
        shown = encoding or "UTF-8"
        raise ValueError(f"cannot be read as {shown} at byte {getattr(error, 'start', 0)}: {remedy}") from error
    if b"\0" in text:
        raise ValueError("is not a text file: name a YAML or CSV file saved as UTF-8")
    return text


def is_encoding(name: str) -> bool:
    """Whether a text encoding of this name exists."""
    try:
        return isinstance("".encode(codecs.lookup(name).name), bytes)
    except (LookupError, ValueError):  # ValueError: a name with a NUL
        return False


def _read(path: Path, most: int | None = None) -> bytes:
    with _opened(path, most) as file:
        return file.read()


@contextlib.contextmanager
def _opened(path: Path, most: int | None = None) -> Iterator[BinaryIO]:
    try:
        if path.is_dir():
            raise ValueError("is a directory: name a file")
        if path.exists() and not path.is_file():
            raise ValueError("is not a regular file: copy what it gives into one")
        if most is not None and (size := path.stat().st_size) > most:
            raise ValueError(f"has {size / 1e6:.0f} MB, but a request takes {most / 1e6:.0f} MB: shrink it")
        with path.open("rb") as file:
            yield file
    except FileNotFoundError:
        raise ValueError("does not exist: check the path, which is relative to the manifest") from None
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror}): check its path and permissions") from error


class Library:
    """The reference images of a manifest, each read and hashed once."""

    def __init__(self, base: Path, faults: Faults) -> None:
        self.base = base
        self.warnings: list[str] = []
        self._faults = faults
        self.images: dict[str, Reference] = {}  # by the path as the manifest has it
        self._bad: set[str] = set()

    def find(self, name: str, line: int) -> Reference | None:
        """Give the image at a path relative to the manifest; None, with one fault a file, if it cannot be sent."""
        if name not in self.images and name not in self._bad:
            try:
                self.images[name] = self._open(name)
            except ValueError as error:
                self._bad.add(name)
                self._faults.add(line, f"the reference `{shorten(name, 120)}` {error}")
        return self.images.get(name)

    def _open(self, name: str) -> Reference:
        if not name.strip():
            raise ValueError("is an empty path: name an image file")
        path = self.base / name
        data = _read(path, LARGEST_REQUEST)
        if not data:
            raise ValueError("is empty: put the image there again")
        mime = sniff(data[:SNIFFED])
        if mime is None:
            raise ValueError("is not an image that can be sent: save it as PNG, JPEG, WebP, HEIC or HEIF")
        if len(data) > LARGE_REFERENCE:
            self.warnings.append(f"the reference {name} has {len(data) / 1e6:.1f} MB: a smaller one is sent faster")
        return Reference(path=path, sha256=hashlib.sha256(data).hexdigest(), mime=mime, size=len(data))


def find_files(base: Path, pattern: str) -> Sequence[str]:
    """List the files that a pattern matches, as paths relative to `base`, in natural order; hidden ones only if named.

    Raises:
        ValueError: when the pattern is none or matches nothing.
    """
    hidden = pattern.rsplit("/", 1)[-1].startswith(".")
    try:
        anchor = Path(pattern).anchor
        paths = (Path(anchor) if anchor else base).glob(pattern.removeprefix(anchor))
        found = [path for path in paths if (hidden or not path.name.startswith(".")) and path.is_file()]
    except (ValueError, NotImplementedError, OSError, IndexError) as error:
        raise ValueError(f"is not a pattern ({error}): write one such as photos/*.jpg") from error
    if not found:
        raise ValueError("matches no file: check the folder and the ending, relative to the manifest")
    shown = [path.relative_to(base).as_posix() if path.is_relative_to(base) else path.as_posix() for path in found]
    return sorted(shown, key=_natural)


def _natural(path: str) -> list[tuple[int, int, str]]:
    """Order by name, with runs of digits as numbers: a2 before a10."""
    parts = re.split(r"([0-9]+)", f"{path.rsplit('/', 1)[-1]}/{path}")
    return [(0, int(part), part) if index % 2 else (1, 0, part) for index, part in enumerate(parts)]
