"""Reference images: what cannot be sent is told with its line, and what is sent is called what it is."""

from pathlib import Path

import pytest

from batchbanana.manifest.files import LARGEST_REQUEST, sniff
from tests.manifest.conftest import JPEG, PNG, FaultsOf, Load

VARIED = "jobs:\n  - id: a\n    prompt: a mug\n    vars: {p: [a, b]}\n    references: ['{p}.png', x.png]\n"


def ftyp(brand: bytes, *others: bytes) -> bytes:
    """The head of a file in ISO's base media format."""
    box = b"ftyp" + brand + b"\0\0\0\0" + b"".join(others)
    return (len(box) + 4).to_bytes(4) + box + b"\0\0\0\x08mdat" + bytes(40)


@pytest.mark.parametrize(
    ("head", "mime"),
    [
        (PNG, "image/png"),
        (JPEG, "image/jpeg"),
        (b"RIFF\x24\0\0\0WEBPVP8 ", "image/webp"),
        (ftyp(b"heic", b"mif1", b"heic"), "image/heic"),
        (ftyp(b"heix"), "image/heic"),
        (ftyp(b"hevc"), "image/heic"),
        (ftyp(b"heim"), "image/heic"),
        (ftyp(b"mif1", b"mif1", b"heic"), "image/heif"),
        (ftyp(b"msf1"), "image/heif"),
        (ftyp(b"mif1", b"mif1", b"avif"), None),
        (ftyp(b"avif", b"mif1"), None),
        (ftyp(b"isom", b"mp41"), None),
        (b"RIFF\x24\0\0\0WAVEfmt ", None),
        (b"GIF89a" + bytes(20), None),
        (b"%PDF-1.7", None),
        (b"<svg/>", None),
        (b"\x89PN", None),
        (b"", None),
    ],
)
def test_a_type_is_told_by_the_bytes(head: bytes, mime: str | None) -> None:
    assert sniff(head) == mime


def test_a_brand_after_the_first_box_is_not_the_files() -> None:
    assert sniff(ftyp(b"mif1") + b"avif") == "image/heif"


@pytest.mark.parametrize(
    ("name", "data", "mime"),
    [
        ("a.jpg", JPEG, "image/jpeg"),
        ("a.jpg", PNG, "image/png"),
        ("a.png", JPEG, "image/jpeg"),
        ("a", PNG, "image/png"),
    ],
)
def test_a_files_name_decides_nothing(name: str, data: bytes, mime: str, tmp_path: Path, load_manifest: Load) -> None:
    (tmp_path / name).write_bytes(data)
    (task,) = load_manifest(f"jobs:\n  - prompt: a mug\n    references: {name}\n")
    assert [reference.mime for reference in task.references] == [mime]


def test_every_bad_reference_is_told_at_once_with_the_line_that_names_it(tmp_path: Path, faults_of: FaultsOf) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("not an image at all")
    (tmp_path / "folder.png").mkdir()
    with (tmp_path / "huge.png").open("wb") as huge:
        huge.write(PNG)
        huge.truncate(LARGEST_REQUEST + 1_000_000)
    names = ("missing.png", "empty.png", "text.png", "folder.png", "huge.png")
    lines = "".join(f"      - {name}\n" for name in names)
    assert faults_of(f"jobs:\n  - prompt: a mug\n    references:\n{lines}") == [
        "4: the reference `missing.png` does not exist: check the path, which is relative to the manifest",
        "5: the reference `empty.png` is empty: put the image there again",
        "6: the reference `text.png` is not an image that can be sent: save it as PNG, JPEG, WebP, HEIC or HEIF",
        "7: the reference `folder.png` is a directory: name a file",
        "8: the reference `huge.png` has 16 MB, but a request takes 15 MB: shrink it",
    ]


def test_a_bad_file_behind_a_variable_is_told_once_with_the_line_of_its_reference(
    tmp_path: Path, faults_of: FaultsOf
) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "x.png").write_bytes(PNG)
    (found,) = faults_of(VARIED)
    assert found.startswith("5: the reference `b.png` does not exist")


def test_a_bad_reference_of_a_row_is_told_with_the_rows_line(tmp_path: Path, faults_of: FaultsOf) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "b.png").write_bytes(b"")
    assert faults_of("prompt,references\na,a.png\nb,a.png|b.png\n", "m.csv") == [
        "3: the reference `b.png` is empty: put the image there again"
    ]
