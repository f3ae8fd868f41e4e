"""Looks at a picture's bytes as they pass: what it is, whether it is whole, how large it is, whether it was asked for.

Each format is walked part by part, from its first byte to its own end mark, and only headers are kept: that costs next
to nothing, needs a few bytes of memory however large the picture is, and cannot take a thumbnail's end for the
picture's. What follows a picture's end is ignored, as every decoder does.
"""

import re
from collections.abc import Callable, Generator
from dataclasses import dataclass
from math import sqrt

from batchbanana.task import Picture

MAGIC_BYTES = 12
SIZE_CLASSES = {"512": 512, "1K": 1024, "2K": 2048, "4K": 4096}  # the side of a square picture, pixels
RATIO_TOLERANCE = 0.05  # delivered pictures miss their nominal ratio by up to 3 %
STEPS = 20_000  # wishes of a walker, a microsecond each; a part takes some two, and a PNG of 50 MB has 6,400 parts
META_LIMIT = 256 * 1024  # bytes; an AVIF's or HEIC's description of itself is a few hundred

# 0xFF, then a marker's code: not stuffing (00), fill (FF), a restart or a picture's start, which have no length.
JPEG_MARKER = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]")
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class ImageError(ValueError):
    """The bytes are not a whole picture; the message is half a sentence that says why."""


@dataclass(slots=True)  # not frozen, which would make its making dear: a picture of a kilobyte takes a dozen
class Take:
    """A walker's wish for the next bytes."""

    count: int


@dataclass(slots=True)
class Skip:
    """A walker's wish to pass over bytes."""

    count: int


@dataclass(frozen=True, slots=True)
class SkipBlocks:
    """A walker's wish to pass over a GIF's blocks, each of which begins with its length, up to and with an empty one.

    Attributes:
        under_way: bytes that are left of the block that has begun.
    """

    under_way: int = 0


@dataclass(frozen=True, slots=True)
class Marker:
    """A walker's wish for the code of the next JPEG marker, wherever it is."""


Wish = Take | Skip | SkipBlocks | Marker
Walker = Generator[Wish, bytes, tuple[int, int]]
"""Asks for bytes and gets them; returns width and height in pixels at the picture's end mark."""


class Inspector:
    """Fed with a picture's bytes in pieces of any size; says at the end what they were."""

    __slots__ = ("_fault", "_format", "_held", "_size", "_steps", "_walker", "_wish")

    def __init__(self) -> None:
        self._held = b""
        self._format: Format | None = None
        self._walker: Walker | None = None
        self._wish: Wish = Take(MAGIC_BYTES)
        self._steps = 0
        self._size: tuple[int, int] | None = None
        self._fault: str | None = None

    def feed(self, data: bytes) -> None:
        """Take the next bytes; never raises."""
        if self._size or self._fault:
            return
        if self._held:
            data, self._held = self._held + data, b""
        walker = self._walker or self._recognise(data)
        if walker is None:
            return
        try:
            self._walk(walker, data)
        except StopIteration as end:
            self._size = end.value
        except ImageError as error:
            self._fault = str(error)

    def result(self) -> Picture:
        """Say what the picture is.

        Raises:
            ImageError: it is not a picture, or not a whole one.
        """
        if self._fault is None and self._walker is None:
            self._fault = f"only {len(self._held)} bytes came"
        if self._format is None or self._fault is not None:
            raise ImageError(self._fault)
        if self._size is None:
            raise ImageError(f"the {self._format.name} picture is cut off")
        if 0 in self._size:
            raise ImageError(f"the {self._format.name} picture has no width or height")
        width, height = self._size
        return Picture(mime=self._format.mime, ending=self._format.ending, width=width, height=height)

    def _recognise(self, data: bytes) -> Walker | None:
        """Choose the walker by the magic bytes; None as long as there are too few."""
        if len(data) < MAGIC_BYTES:
            self._held = data
            return None
        self._format = next((known for known in FORMATS if known.magic.match(data)), None)
        if self._format is None:
            self._fault = f"the bytes are not a picture's, they begin with {data[:MAGIC_BYTES]!r}"
            return None
        self._walker = self._format.walk()
        self._wish = next(self._walker)
        self._steps = 1
        return self._walker

    def _walk(self, walker: Walker, data: bytes) -> None:
        """Fulfil the walker's wishes as far as the bytes go; its end or its fault comes as an exception."""
        wish, position, size = self._wish, 0, len(data)
        while position < size:
            granted = b""
            if isinstance(wish, Skip):
                end = position + wish.count
            elif isinstance(wish, Take):
                end = position + wish.count
                granted = data[position:end]
            elif isinstance(wish, Marker):
                found = JPEG_MARKER.search(data, position)
                end = found.end() if found else size + 1
                granted = data[end - 1 : end]
            else:
                end = _end_of_blocks(data, position + wish.under_way)
            if end > size:
                wish = self._put_off(wish, data, position, end)
                break
            self._steps += 1
            if self._steps > STEPS:
                raise ImageError("the picture consists of too many parts")
            wish = walker.send(granted)
            position = end
        self._wish = wish

    def _put_off(self, wish: Wish, data: bytes, position: int, end: int) -> Wish:
        """Give what is left of a wish that goes beyond the data."""
        if isinstance(wish, Skip):
            return Skip(end - len(data))
        if isinstance(wish, SkipBlocks):
            return SkipBlocks(end - len(data) - 1)
        if isinstance(wish, Take):
            self._held = data[position:]
        elif data[-1] == 0xFF:
            self._held = data[-1:]
        return wish


def _end_of_blocks(data: bytes, position: int) -> int:
    """Pass over blocks, which may hold a byte each; where they do not end, it is one more than is passed."""
    while position < len(data):
        length = data[position]
        position += 1 + length
        if not length:
            return position
    return position + 1


def _png() -> Walker:
    yield Skip(8)
    header = yield Take(8 + 13)
    if header[4:8] != b"IHDR":
        raise ImageError("the PNG picture does not begin with its header")
    yield Skip(4)
    has_pixels = False
    while True:
        start = yield Take(8)
        length, kind = int.from_bytes(start[:4]), start[4:]
        yield Skip(length + 4)  # the checksum follows the data
        has_pixels |= kind == b"IDAT"
        if kind == b"IEND":
            break
    if not has_pixels:
        raise ImageError("the PNG picture holds no pixels")
    return int.from_bytes(header[8:12]), int.from_bytes(header[12:16])


def _jpeg() -> Walker:
    next_marker, two_bytes = Marker(), Take(2)  # made once: a picture of a kilobyte has a dozen segments
    yield Skip(2)
    size, has_pixels = (0, 0), False
    while (marker := (yield next_marker)[0]) != 0xD9:
        length = int.from_bytes((yield two_bytes)) - 2
        if length < 0:
            raise ImageError("the JPEG picture is damaged")
        if marker in JPEG_FRAMES and length >= 6:
            frame = yield Take(5)
            size, length = (int.from_bytes(frame[3:5]), int.from_bytes(frame[1:3])), length - 5
        has_pixels |= marker == 0xDA
        if length:
            yield Skip(length)
    if not has_pixels:
        raise ImageError("the JPEG picture holds no pixels")
    return size


def _webp() -> Walker:
    header = yield Take(30)
    length = int.from_bytes(header[4:8], "little") + 8
    if length > 30:
        yield Skip(length - 30)
    chunk = header[12:16]
    if chunk == b"VP8X":
        return int.from_bytes(header[24:27], "little") + 1, int.from_bytes(header[27:30], "little") + 1
    if chunk == b"VP8L" and header[20] == 0x2F:
        bits = int.from_bytes(header[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8 " and header[23:26] == b"\x9d\x01\x2a":
        return int.from_bytes(header[26:28], "little") & 0x3FFF, int.from_bytes(header[28:30], "little") & 0x3FFF
    raise ImageError("the WebP picture's header is damaged")


def _gif() -> Walker:
    header = yield Take(13)
    yield from _gif_colours(header[10])
    has_pixels = False
    while (block := (yield Take(1))) != b"\x3b":
        if block == b"\x2c":
            has_pixels = True
            yield from _gif_colours((yield Take(9))[8])
        elif block != b"\x21":
            raise ImageError("the GIF picture is damaged")
        yield Skip(1)  # an image's code size or an extension's label
        yield SkipBlocks()
    if not has_pixels:
        raise ImageError("the GIF picture holds no pixels")
    return int.from_bytes(header[6:8], "little"), int.from_bytes(header[8:10], "little")


def _gif_colours(flags: int) -> Generator[Wish, bytes, None]:
    if flags & 0x80:
        yield Skip(3 << (flags & 7) + 1)


def _heif() -> Walker:
    """Walk the boxes of AVIF and HEIC to the end of the one that holds the pixels."""
    size = (0, 0)
    while True:
        box = yield Take(8)
        length, kind = int.from_bytes(box[:4]), box[4:]
        used = 8
        if length == 1:
            length, used = int.from_bytes((yield Take(8))), 16
        if length < used or (kind == b"meta" and length > META_LIMIT):
            raise ImageError("the AVIF or HEIC picture is damaged")
        if kind == b"meta":
            size = _heif_size((yield Take(length - used)))
        elif length > used:
            yield Skip(length - used)
        if kind == b"mdat":
            return size


def _heif_size(meta: bytes) -> tuple[int, int]:
    """Find the largest size that the description names: the others are of tiles, planes and thumbnails."""
    sizes = [
        (int.from_bytes(meta[at + 8 : at + 12]), int.from_bytes(meta[at + 12 : at + 16]))
        for at in (found.start() for found in re.finditer(rb"ispe", meta))
    ]
    return max(sizes, key=lambda size: size[0] * size[1], default=(0, 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A kind of picture that is recognised."""

    name: str
    mime: str
    ending: str
    magic: re.Pattern[bytes]
    walk: Callable[[], Walker]


FORMATS = (
    Format(name="PNG", mime="image/png", ending=".png", magic=re.compile(rb"\x89PNG\r\n\x1a\n"), walk=_png),
    Format(name="JPEG", mime="image/jpeg", ending=".jpg", magic=re.compile(rb"\xff\xd8\xff"), walk=_jpeg),
    Format(name="WebP", mime="image/webp", ending=".webp", magic=re.compile(rb"(?s)RIFF....WEBP"), walk=_webp),
    Format(name="GIF", mime="image/gif", ending=".gif", magic=re.compile(rb"GIF8[79]a"), walk=_gif),
    Format(name="AVIF", mime="image/avif", ending=".avif", magic=re.compile(rb"(?s)....ftypavi[fs]"), walk=_heif),
    Format(
        name="HEIC",
        mime="image/heic",
        ending=".heic",
        magic=re.compile(rb"(?s)....ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1)"),
        walk=_heif,
    ),
)

ENDINGS = tuple(one.ending for one in FORMATS)


def ratio_fits(width: int, height: int, ratio: str) -> bool:
    """Say whether a picture of `width` by `height` pixels has the ratio "W:H", within 5 % either way."""
    across, down = map(int, ratio.split(":"))
    quotient = (width * down) / (height * across)
    return max(quotient, 1 / quotient) <= 1 + RATIO_TOLERANCE


def size_class(width: int, height: int) -> str:
    """Name the resolution ("512", "1K", "2K", "4K") whose square is nearest to a picture's area in pixels."""
    side = sqrt(width * height)
    return min(SIZE_CLASSES, key=lambda name: abs(SIZE_CLASSES[name] - side))


def mismatch(picture: Picture, ratio: str | None, resolution: str) -> str | None:
    """Say in one sentence how a picture differs from what was asked for.

    Args:
        picture: what came.
        ratio: as asked, "16:9"; None when it was left to the model.
        resolution: as asked, spelled as on the wire.

    Returns:
        The sentence, or None when the picture is as asked.
    """
    delivered = size_class(picture.width, picture.height)
    asked = []
    if ratio is not None and not ratio_fits(picture.width, picture.height, ratio):
        asked.append(f"a ratio of {ratio}")
    if delivered != resolution:
        asked.append(resolution)
    if not asked:
        return None
    return f"{picture.width}x{picture.height} pixels ({delivered}) came, but {' and '.join(asked)} was asked for"
