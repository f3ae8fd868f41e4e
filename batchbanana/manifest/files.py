"""The files that a manifest names. The only module here that reads them, each once."""

import codecs
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from batchbanana.manifest.faults import Faults
from batchbanana.manifest.nodes import shorten
from batchbanana.task import Reference

LARGE_REFERENCE = 7_000_000  # bytes; above it the vendor's documents advise against sending it inline
LARGEST_REQUEST = 15_000_000  # bytes of references; base64 makes 20 MB of them, which a request may have
SNIFFED = 64  # bytes of a file's head; a HEIF names its brands there
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
    """Read a text file: UTF-8 with or without BOM, or another encoding.

    Args:
        path: the file.
        encoding: None for UTF-8.
        remedy: what to do about bytes that cannot be decoded.

    Raises:
        ValueError: with a sentence that says what is wrong and what to do.
    """
    data = _read(path)
    try:
        text = data.decode(encoding or "utf-8-sig")
    except UnicodeError as error:  # some encodings raise it without a place
        if encoding is None and b"\0" in data:
            raise ValueError("is not a text file: name a YAML or CSV file saved as UTF-8") from error
        shown = encoding or "UTF-8"
        raise ValueError(f"cannot be read as {shown} at byte {getattr(error, 'start', 0)}: {remedy}") from error
    if "\0" in text:
        raise ValueError("is not a text file: name a YAML or CSV file saved as UTF-8")
    return text.removeprefix("\ufeff")


def is_encoding(name: str) -> bool:
    """Whether a text encoding of this name exists."""
    try:
        return isinstance("".encode(codecs.lookup(name).name), bytes)
    except (LookupError, ValueError):  # ValueError: a name with a NUL
        return False


def _read(path: Path, most: int | None = None) -> bytes:
    try:
        if path.is_dir():
            raise ValueError("is a directory: name a file")
        if path.exists() and not path.is_file():
            raise ValueError("is not a regular file: copy what it gives into one")
        if most is not None and (size := path.stat().st_size) > most:
            raise ValueError(f"has {size / 1e6:.0f} MB, but a request takes {most / 1e6:.0f} MB: shrink it")
        return path.read_bytes()
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
