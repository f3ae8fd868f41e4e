"""Real pictures for the sandbox's answers: drawn quickly, padded to a size, spelt in base64 well or badly."""

import io
import os
import struct
import textwrap
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

import pybase64
from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError

_SEGMENT = 65_533  # the most bytes one JPEG comment holds
_PATTERN = bytes(range(251))  # filling whose period divides nothing, so that misplaced blocks show


@dataclass(frozen=True, slots=True, kw_only=True)
class Sketch:
    """What a picture is to show.

    Attributes:
        mime: image/png or image/jpeg.
        width: in pixels.
        height: in pixels.
        title: lines at the top; with a request's number among them no two pictures are alike.
        prompt: wrapped below the title; colours and shapes follow from it.
        references: whole image files, shown as thumbnails.
    """

    mime: str
    width: int
    height: int
    title: tuple[str, ...] = ()
    prompt: str = ""
    references: tuple[bytes, ...] = ()


def draw(sketch: Sketch) -> bytes:
    """Draw and encode a picture: about 10 ms at 1K and 100 ms at 4K, so not to be called on an event loop."""
    chance = blake2b("\n".join((sketch.prompt, *sketch.title)).encode(), digest_size=16).digest()
    tint = blake2b(sketch.prompt.encode(), digest_size=6).digest()
    # A palette: one byte a pixel is drawn and deflated in a fraction of the time of three.
    image = Image.new("P", (sketch.width, sketch.height), 0)
    image.putpalette([*(96 + b // 2 for b in tint[:3]), *(96 + b // 2 for b in tint[3:]), 16, 16, 16])
    pen = ImageDraw.Draw(image)
    for at in range(0, 12, 3):
        _blot(pen, image.size, chance[at : at + 3])
    _write(pen, image.size, sketch)
    if sketch.references:
        image = image.convert("RGB")
        _paste(image, sketch.references)
    return _encode(image, sketch.mime)


def draw_plain(mime: str, width: int, height: int) -> bytes:
    """Encode the smallest picture of that type and size in pixels."""
    return _encode(Image.new("1" if mime == "image/png" else "L", (width, height), 1), mime, smallest=True)


def _encode(image: Image.Image, mime: str, *, smallest: bool = False) -> bytes:
    out = io.BytesIO()
    if mime == "image/png":
        image.save(out, "PNG", compress_level=9 if smallest else 3)
    else:
        image = image if image.mode == "L" else image.convert("RGB")
        image.save(out, "JPEG", quality=75, optimize=smallest)
    return out.getvalue()


def _blot(pen: ImageDraw.ImageDraw, size: tuple[int, int], chance: bytes) -> None:
    radius = min(size) * (24 + chance[2]) // 1600
    x, y = size[0] * chance[0] // 255, size[1] * chance[1] // 255
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=1)


def _write(pen: ImageDraw.ImageDraw, size: tuple[int, int], sketch: Sketch) -> None:
    letter = max(8, min(max(size) // 36, min(size) // 14))
    columns = max(8, int(size[0] * 0.9 / (letter * 0.55)))
    rows = max(1, int(size[1] * 0.9 / (letter * 1.4)))
    prompt = textwrap.wrap(sketch.prompt[: rows * columns], columns)
    lines = [*(line[:columns] for line in sketch.title), "", *prompt][:rows]
    pen.multiline_text((letter, letter), "\n".join(lines), fill=2, font=_font(letter), spacing=letter * 0.3)


@lru_cache(maxsize=32)
def _font(height: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=height)


def _paste(image: Image.Image, references: tuple[bytes, ...]) -> None:
    side = max(1, min(image.width // max(4, len(references)), image.height // 4))
    for index, data in enumerate(references):
        thumbnail = _thumbnail(data, side)
        image.paste(thumbnail, (index * side, image.height - side))


def _thumbnail(data: bytes, side: int) -> Image.Image:
    try:
        with Image.open(io.BytesIO(data)) as found:
            found.draft("RGB", (side, side))
            return ImageOps.fit(found.convert("RGB"), (side, side))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return Image.new("RGB", (side, side), (128, 128, 128))  # HEIC, for one, is beyond Pillow


def pad(data: bytes, size: int) -> bytes:
    """Grow a PNG or JPEG to `size` bytes, within its format; one that is as large already stays as it is."""
    missing = size - len(data)
    if missing <= 0:
        return data
    if data.startswith(b"\x89PNG"):
        filling = _filling(max(0, missing - 12))
        chunk = b"bnPd" + filling  # ancillary, private, safe to copy
        framed = struct.pack(">I", len(filling)) + chunk + struct.pack(">I", zlib.crc32(chunk))
        return data[:-12] + framed + data[-12:]  # before IEND
    return data[:2] + b"".join(_comments(missing)) + data[2:]  # after SOI


def _filling(size: int) -> bytes:
    return (_PATTERN * (size // len(_PATTERN) + 1))[:size]


def _comments(size: int) -> list[bytes]:
    segments = []
    while size > 0:
        # A segment takes four bytes before its first, so the last one must not be left with fewer.
        here = size if size <= _SEGMENT + 4 else min(_SEGMENT + 4, size - 4)
        body = _filling(max(0, here - 4))
        segments.append(b"\xff\xfe" + struct.pack(">H", len(body) + 2) + body)
        size -= here
    return segments


def _spelt(data: bytes, mime: str) -> bytes:
    return pybase64.b64encode(data)


def _with_prefix(data: bytes, mime: str) -> bytes:
    return b"data:" + mime.encode() + b";base64," + pybase64.b64encode(data)


def _without_padding(data: bytes, mime: str) -> bytes:
    return pybase64.b64encode(data).rstrip(b"=")


def _in_lines(data: bytes, mime: str) -> bytes:
    text = pybase64.b64encode(data)
    return b"\\n".join(text[at : at + 76] for at in range(0, len(text), 76))  # as JSON spells a line break


def _garbage(data: bytes, mime: str) -> bytes:
    text = pybase64.b64encode(data)
    return text[: len(text) // 2] + b"*** not base64 ***" + text[len(text) // 2 :]


RAW = "raw"
"""The spelling of a picture that is not to stand in a document: the file itself."""
_SPELLINGS: Mapping[str | None, Callable[[bytes, str], bytes]] = {
    None: _spelt,
    RAW: lambda data, _mime: data,
    "data_prefix": _with_prefix,
    "urlsafe": lambda data, _mime: pybase64.urlsafe_b64encode(data),
    "nopad": _without_padding,
    "linebreaks": _in_lines,
    "garbage": _garbage,
}


def finish(data: bytes, *, mime: str, size: int = 0, truncate: int = 0, spelling: str | None = None) -> bytes:
    """Turn an image file into the text that stands in an answer.

    Args:
        data: a PNG or JPEG file.
        mime: what the answer claims it is.
        size: bytes to pad it to.
        truncate: bytes to take off its end afterwards.
        spelling: a value of the script's `base64`, None for the right one, or RAW.
    """
    if spelling == "nopad" and max(size, len(data)) % 3 == 0:
        size = max(size, len(data)) + 13  # no padding would be missing from a multiple of three
    data = pad(data, size)
    return _SPELLINGS[spelling](data[: len(data) - truncate], mime)


WORKERS = max(2, os.cpu_count() or 1)
"""How many pictures are worth drawing at once."""
