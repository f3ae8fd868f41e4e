"""Base64 as it comes: strict, but for the odd forms that relays send."""

import base64
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchbanana.providers.base64stream import Base64Stream


def decoded(text: bytes, cuts: list[int], limit: int = 1 << 20) -> bytes | None:
    """Decode text that arrives in pieces; None when it is at fault."""
    stream = Base64Stream(limit=limit)
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    data = b"".join(stream.feed(text[start:end]) for start, end in pairwise(places))
    data += stream.finish()
    return None if stream.fault else data


CUTS = st.lists(st.integers(0, 300), max_size=12)
FORMS: dict[str, Callable[[bytes], bytes]] = {
    "as it should be": base64.b64encode,
    "with a data URI's head": lambda data: b"data:image/png;base64," + base64.b64encode(data),
    "with white space before the head": lambda data: b"\n data:image/png;base64," + base64.b64encode(data),
    "URL-safe": base64.urlsafe_b64encode,
    "without padding": lambda data: base64.b64encode(data).rstrip(b"="),
    "with half the padding": lambda data: base64.b64encode(data).replace(b"==", b"="),
    "in lines": base64.encodebytes,
    "in lines of Windows": lambda data: base64.encodebytes(data).replace(b"\n", b"\r\n"),
    "with all of it": lambda data: b"data:;base64, " + base64.urlsafe_b64encode(data).rstrip(b"=") + b"\t\n",
}


@pytest.mark.parametrize("form", FORMS)
@given(data=st.binary(max_size=200), cuts=CUTS)
def test_every_odd_form_gives_the_bytes_however_it_is_cut(form: str, data: bytes, cuts: list[int]) -> None:
    assert decoded(FORMS[form](data), cuts) == data


@pytest.mark.parametrize(
    "text",
    [
        b"QUJD!UJD",
        b"QUJDQ",
        b"QQ==QUJD",
        b"QQ==Q",
        b"QUJD=",
        b"====",
        b"Q=JD",
        b"QUJD\\/",
        b"data:image/png,QUJD",
        b"data:image/png;base64",
        b"data:" + b"a" * 500 + b";base64,QUJD",
        b"https://example.com/a.png",
        "QUJDé".encode(),
    ],
)
@given(cuts=CUTS)
def test_anything_else_is_a_fault_however_it_is_cut(text: bytes, cuts: list[int]) -> None:
    assert decoded(text, cuts) is None


@given(data=st.binary(max_size=90), position=st.integers(0, 120), cuts=CUTS)
def test_a_foreign_character_anywhere_is_a_fault(data: bytes, position: int, cuts: list[int]) -> None:
    text = base64.b64encode(data)
    assert decoded(text[:position] + b"*" + text[position:], cuts) is None


def test_base64_that_begins_with_the_letters_of_a_data_uri_is_just_base64() -> None:
    assert decoded(b"dataAAAA", [1, 2, 3, 4]) == base64.b64decode(b"dataAAAA")
    assert decoded(b"data", [2]) == base64.b64decode(b"data")


@given(data=st.binary(max_size=100), limit=st.integers(0, 100), cuts=CUTS)
def test_more_bytes_than_allowed_are_a_fault(data: bytes, limit: int, cuts: list[int]) -> None:
    assert decoded(base64.b64encode(data), cuts, limit) == (data if len(data) <= limit else None)


def test_what_comes_after_a_fault_is_passed_over() -> None:
    stream = Base64Stream(limit=100)
    stream.feed(b"!!!!")
    assert stream.feed(b"QUJD") == b""
    assert stream.finish() == b""
    assert stream.fault == "bad base64"
