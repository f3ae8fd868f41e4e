"""The look at a picture's bytes agrees with Pillow, and sees every truncation."""

import io
import random
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from batchbanana.images import ImageError, Inspector, mismatch, ratio_fits, size_class
from batchbanana.task import Picture

ICC = bytes(range(256)) * 800  # 200 KB; holds every byte pair a careless search could take for a marker
VARIANTS: dict[str, tuple[str, str, dict[str, object]]] = {
    "png": ("PNG", "RGB", {}),
    "png with alpha": ("PNG", "RGBA", {}),
    "png with a palette": ("PNG", "P", {}),
    "png in grey": ("PNG", "L", {}),
    "png with a profile": ("PNG", "RGB", {"icc_profile": ICC}),
    "jpeg": ("JPEG", "RGB", {}),
    "jpeg in grey": ("JPEG", "L", {}),
    "progressive jpeg": ("JPEG", "RGB", {"progressive": True}),
    "jpeg with a profile": ("JPEG", "RGB", {"icc_profile": ICC}),
    "jpeg with restarts": ("JPEG", "RGB", {"restart_marker_blocks": 1}),
    "webp": ("WEBP", "RGB", {}),
    "lossless webp": ("WEBP", "RGB", {"lossless": True}),
    "webp with alpha and a profile": ("WEBP", "RGBA", {"icc_profile": b"profile"}),
    "gif": ("GIF", "P", {}),
    "avif": ("AVIF", "RGB", {}),
}


def encoded(variant: str, width: int, height: int, seed: int = 0) -> bytes:
    """Make a noisy picture."""
    form, mode, options = VARIANTS[variant]
    noise = random.Random(seed).randbytes(width * height * 4)  # noqa: S311  # noise that can be made again
    image = Image.frombytes("RGBA", (width, height), noise).convert(mode)
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def inspected(data: bytes, step: int | None = None) -> Picture:
    """Feed a picture in pieces of `step` bytes."""
    inspector = Inspector()
    for start in range(0, len(data), step or len(data) or 1):
        inspector.feed(data[start : start + (step or len(data))])
    return inspector.result()


@pytest.mark.parametrize("variant", VARIANTS)
@given(width=st.integers(1, 70), height=st.integers(1, 70), step=st.integers(1, 5000))
def test_it_sees_what_pillow_sees_however_the_bytes_are_cut(variant: str, width: int, height: int, step: int) -> None:
    data = encoded(variant, width, height)
    picture = inspected(data, step if len(data) < 50_000 else step + 500)
    with Image.open(io.BytesIO(data)) as image:
        assert (picture.width, picture.height) == image.size == (width, height)
        assert picture.mime == Image.MIME[str(image.format)]


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_truncation_is_seen(variant: str) -> None:
    data = encoded(variant, 9, 7)
    step = 1 if len(data) < 3000 else 211
    for length in range(0, len(data), step):
        with pytest.raises(ImageError):
            inspected(data[:length])
    with pytest.raises(ImageError):
        inspected(data[:-1])


def test_a_jpeg_that_breaks_off_right_after_its_thumbnail_is_cut_off() -> None:
    thumbnail = encoded("jpeg", 8, 8)
    data = encoded("jpeg", 16, 16)
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2) + thumbnail
    with_thumbnail = data[:2] + segment + data[2:]
    assert inspected(with_thumbnail).width == 16
    with pytest.raises(ImageError, match="cut off"):
        inspected(with_thumbnail[: 2 + len(segment)])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("tail", [b"\x00" * 40, b"\n", b"anything"])
def test_what_follows_the_end_mark_is_ignored(variant: str, tail: bytes) -> None:
    assert inspected(encoded(variant, 20, 10) + tail) == inspected(encoded(variant, 20, 10))


@given(st.binary(max_size=400), st.integers(1, 50), st.sampled_from(sorted(VARIANTS)))
def test_no_bytes_make_it_do_more_than_say_what_is_wrong(junk: bytes, step: int, variant: str) -> None:
    for data in (junk, encoded(variant, 4, 4)[:16] + junk):
        with suppress(ImageError):
            assert inspected(data, step).width > 0


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "only 0 bytes"),
        (b"<html><body>no</body></html>", "not a picture's"),
        (b"\xff\xd8\xff\xe0\x00\x00" + b"\0" * 9, "damaged"),
        (b"\xff\xd8\xff\xe0\x00\x02" + b"\0" * 9 + b"\xff\xd9", "holds no pixels"),
        (b"\xff\xd8\xff\xda\x00\x02" + b"\0" * 9 + b"\xff\xd9", "no width or height"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 30, "header"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR" + b"\0" * 21 + b"IEND\xaeB`\x82", "holds no pixels"),
        (b"RIFF\x16\0\0\0WEBPVP8 " + b"\0" * 14, "header is damaged"),
        (b"GIF89a\0\0\0\0\0\0\0\x99", "damaged"),
        (b"GIF89a\0\0\0\0\0\0\0\x3b", "holds no pixels"),
        (b"\0\0\0\x04ftypheic" + b"\0" * 20, "damaged"),
        (b"\0\0\0\x0cftypheic\0\0\0\x08mdat", "no width or height"),
    ],
)
def test_a_fault_is_named(data: bytes, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        inspected(data)


def test_heic_is_recognised_and_measured_by_its_largest_part() -> None:
    parts = b"".join(b"\0\0\0\x14ispe" + b"\0" * 4 + side.to_bytes(4) + side.to_bytes(4) for side in (512, 1024, 160))
    meta = (len(parts) + 8).to_bytes(4) + b"meta" + parts
    pixels = b"\0\0\0\x01mdat" + (19).to_bytes(8) + b"abc"
    picture = inspected(b"\0\0\0\x0cftypheic" + meta + pixels, 5)
    assert picture == Picture(mime="image/heic", ending=".heic", width=1024, height=1024)


GIF = b"GIF89a\x02\0\x01\0\0\0\0"
GIF_FRAME = b"\x2c" + b"\0" * 9 + b"\x08"


@given(step=st.integers(1, 200), lengths=st.lists(st.integers(1, 255), max_size=8))
def test_a_gif_of_any_blocks_is_walked_to_its_end(step: int, lengths: list[int]) -> None:
    blocks = b"".join(bytes([length]) + b";" * length for length in lengths)
    data = GIF + b"\x21\xf9" + blocks + b"\0" + GIF_FRAME + blocks + b"\0;"
    assert inspected(data, step).width == 2
    with pytest.raises(ImageError, match="cut off"):
        inspected(data[:-1], step)


@pytest.mark.parametrize("step", [None, 1000])
def test_blocks_of_a_byte_are_no_parts_but_parts_without_end_are_a_fault(step: int | None) -> None:
    assert inspected(GIF + GIF_FRAME + b"\1\1" * 50_000 + b"\0;", step).width == 2
    for endless in (GIF + b"\x21\xf9\0" * 50_000, b"\xff\xd8" + b"\xff\xfe\0\2" * 50_000):
        with pytest.raises(ImageError, match="too many parts"):
            inspected(endless, step)


def test_memory_is_bounded_by_headers_and_not_by_the_picture() -> None:
    data = encoded("png", 300, 300)
    inspector = Inspector()
    for start in range(0, len(data), 1000):
        inspector.feed(data[start : start + 1000])
        assert len(inspector._held) < 64


@pytest.mark.parametrize(
    ("width", "height", "ratio", "fits"),
    [
        (1024, 1024, "1:1", True),
        (1408, 768, "16:9", True),  # measured, where the table says 1376
        (1376, 768, "16:9", True),
        (1584, 672, "21:9", True),
        (848, 1264, "2:3", True),
        (384, 3072, "1:8", True),
        (768, 1376, "16:9", False),
        (1200, 896, "5:4", False),
        (1024, 1024, "4:5", False),
    ],
)
def test_a_ratio_fits_within_five_per_cent(width: int, height: int, ratio: str, fits: bool) -> None:
    assert ratio_fits(width, height, ratio) is fits


@given(st.integers(1, 9000), st.integers(1, 9000))
def test_a_picture_turned_round_fits_the_ratio_turned_round(width: int, height: int) -> None:
    assert ratio_fits(width, height, "16:9") == ratio_fits(height, width, "9:16")
    assert size_class(width, height) == size_class(height, width)


@pytest.mark.parametrize(
    ("width", "height", "name"),
    [
        (512, 512, "512"),
        (400, 400, "512"),
        (1376, 768, "1K"),
        (384, 3072, "1K"),
        (2752, 1536, "2K"),
        (5504, 3072, "4K"),
    ],
)
def test_the_size_class_goes_by_area(width: int, height: int, name: str) -> None:
    assert size_class(width, height) == name


def test_a_mismatch_says_all_that_differs() -> None:
    picture = Picture(mime="image/png", ending=".png", width=1024, height=1024)
    assert mismatch(picture, "1:1", "1K") is None
    assert mismatch(picture, None, "1K") is None
    assert mismatch(picture, "16:9", "4K") == ("1024x1024 pixels (1K) came, but a ratio of 16:9 and 4K was asked for")
    assert mismatch(picture, "1:1", "2K") == "1024x1024 pixels (1K) came, but 2K was asked for"
