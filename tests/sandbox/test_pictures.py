"""Pictures are real, sized, and different where they should be."""

import base64
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from batchbanana.sandbox.pictures import Sketch, draw, draw_plain, finish, pad
from tests.sandbox.client import PIXEL, PNG_MODEL, images, look, request, sandbox

_FILES = {mime: draw_plain(mime, 64, 48) for mime in ("image/png", "image/jpeg")}


@given(
    mime=st.sampled_from(sorted(_FILES)),
    extra=st.integers(0, 40) | st.integers(65_530, 65_550) | st.integers(131_060, 131_100),
)
def test_a_padded_picture_has_the_size_and_is_whole(mime: str, extra: int) -> None:
    """The least frames of the formats are 12 and 4 bytes, so less than that is rounded up to it."""
    data = _FILES[mime]
    padded = pad(data, len(data) + extra)
    least = (12 if mime == "image/png" else 4) if extra else 0
    assert len(padded) == len(data) + max(extra, least)
    assert look(padded) == look(data)
    assert padded[-2:] == data[-2:]


@pytest.mark.parametrize("size", [(1376, 768), (384, 3072), (3072, 384), (7, 5)])
@pytest.mark.parametrize("mime", ["image/png", "image/jpeg"])
def test_any_shape_can_be_drawn(mime: str, size: tuple[int, int]) -> None:
    sketch = Sketch(mime=mime, width=size[0], height=size[1], title=("model", "n"), prompt="ein Becher, 一个杯子 " * 99)
    assert look(draw(sketch)) == ("PNG" if mime == "image/png" else "JPEG", size)


def test_references_are_shown_even_if_they_cannot_be_opened() -> None:
    red = io.BytesIO()
    Image.new("RGB", (8, 8), (255, 0, 0)).save(red, "PNG")
    references = (red.getvalue(), b"\0\0\0\x18ftypheic")
    data = draw(Sketch(mime="image/png", width=400, height=400, references=references))
    with Image.open(io.BytesIO(data)) as image:
        assert image.getpixel((10, 390)) == (255, 0, 0)
        assert image.getpixel((110, 390)) == (128, 128, 128)


def test_padding_can_always_be_missing() -> None:
    """A file of a multiple of three bytes has no base64 padding to leave out, so it grows first."""
    for size in (len(PIXEL) + 20, len(PIXEL) + 21, len(PIXEL) + 22):
        assert len(finish(PIXEL, mime="image/png", size=size, spelling="nopad")) % 4


def test_two_samples_of_one_request_differ() -> None:
    with sandbox(pictures="drawn") as caller:
        first, second = caller.image(), caller.image()
    assert look(first) == look(second)
    assert first != second


def test_plain_pictures_are_drawn_once_and_padded() -> None:
    with sandbox(bytes=3000) as caller:
        first, second = caller.image(), caller.image(body=request(aspectRatio="9:16"))
        assert caller.image() == first
    assert (len(first), len(second)) == (3000, 3000)
    assert look(first) != look(second)


def test_a_reference_reaches_the_picture() -> None:
    parts = [{"inlineData": {"mimeType": "image/png", "data": base64.b64encode(PIXEL).decode()}}]
    with sandbox(pictures="drawn") as caller:
        answer = caller.ask(request(parts=list(parts)), model=PNG_MODEL).json()
    with Image.open(io.BytesIO(images(answer)[0])) as image:
        assert image.mode == "RGB"
