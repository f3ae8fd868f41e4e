"""Image data is taken out of a text wherever it stands, however it is written and cut."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchbanana.providers.sieve import Sieve, What, is_plain

LINE = "QUJD" * 19  # 76 characters, as MIME breaks lines
LONG = LINE * 4
CUTS = st.lists(st.integers(0, 700), max_size=20)


def sifted(text: str, cuts: list[int]) -> str:
    """Sift a text that comes in pieces; data shows as <DATA> without its line breaks."""
    sieve = Sieve()
    data = text.encode()
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    bits = [bit for start, end in pairwise(places) for bit in sieve.feed(data[start:end])]
    shown = {What.START: b"<", What.END: b">"}
    out = b"".join(shown.get(what) or found for what, found in [*bits, *sieve.finish()])
    return out.decode(errors="replace")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no data at all", "no data at all"),
        ("", ""),
        ("data:image/png;base64,QUJD", "<QUJD>"),
        ("Here: ![x](data:image/png;base64,QUJD) bye", "Here: ![x](<QUJD>) bye"),
        ("a data:image/png;base64,QUI= b", "a <QUI=> b"),
        ("two data:image/png;base64,QQ== data:image/jpg;base64,QUJD", "two <QQ==> <QUJD>"),
        ("DATA:IMAGE/PNG;charset=utf-8;name=a.png;BASE64,Q-_/+", "<Q-_/+>"),
        ("data:;base64,QUJD, data:application/octet-stream;base64,QUJD!", "<QUJD>, <QUJD>!"),
        ("data:image/svg+xml;base64,QUJD", "<QUJD>"),
        ("data:image/png;base64, \n QUJD", "<QUJD>"),
        ("data:image/png;base64,", "data:image/png;base64"),
        ("such as data:image/png;base64,… in text", "such as data:image/png;base64… in text"),
        ("data:;base64,#0#", "data:;base64#0#"),
        ("data:text/html;base64,QUJD", "data:text/html;base64,QUJD"),
        ("data:image/png,QUJD", "data:image/png,QUJD"),
        ("data:data:image/png;base64,QUJD", "data:<QUJD>"),
        ("data:image/" + "x" * 300 + ";base64,QUJD", "data:image/" + "x" * 300 + ";base64,QUJD"),
        ("dadatdata data", "dadatdata data"),
        ("/9j/4AAQ\nSkZJ\n", "</9j/4AAQ\nSkZJ\n>"),
        ("  iVBORw0KGgoAAAA", "  <iVBORw0KGgoAAAA>"),
        ("iVBORw0 is how it begins", "iVBORw0 is how it begins"),
        ("R0lGOD", "<R0lGOD>"),
        ("UklG", "UklG"),
        ("it is /9j/4AAQ", "it is /9j/4AAQ"),
        (f"(data:image/png;base64,{LINE}\nQUJD\n\nQUJD)", f"(<{LINE}\nQUJD\n\nQUJD>)"),
        (f'"data:image/png;base64,{LONG}\r\nQUJD" b', f'"<{LONG}\r\nQUJD>" b'),
        (f"data:image/png;base64,{LONG}\nWords", f"<{LONG}>\nWords"),
        (f"data:image/png;base64,QUJD\n{LINE}\r\n{LINE}\nQUJD\nWords", f"<QUJD{LINE}{LINE}QUJD>\nWords"),
        (f"data:image/png;base64,{LINE}\n\nWords", f"<{LINE}>\nWords"),
        (f"data:image/png;base64,{LINE}\n{LINE}\n\nWords", f"<{LINE}{LINE}>\nWords"),
        ("data:image/png;base64,QUI=\nWords", "<QUI=>\nWords"),
        (f"data:image/png;base64,QUJD\n{'A' * 16}\n{'A' * 16}\nWords", f"<QUJD{'A' * 32}Words>"),
        (f"data:image/png;base64,QUJD\n{'A' * 15}\n{'A' * 15}\nWords", f"<QUJD{'A' * 15}>\n{'A' * 15}\nWords"),
        (f"data:image/png;base64,QU\rJD\r\r{LONG}\r, b", f"<QUJD{LONG}>, b"),
        ("data:image/png,a;base64,QUJD", "data:image/png,a;base64,QUJD"),
        ("data:data:;base64,QUJD data:x;base64,data:;x;base64,QUJD", "data:<QUJD> data:x;base64,<QUJD>"),
    ],
)
@given(cuts=CUTS)
def test_data_comes_out_and_words_stay(text: str, expected: str, cuts: list[int]) -> None:
    assert sifted(text, cuts) == expected


BITS = st.lists(
    st.sampled_from(["data:", "image/png", ";base64", ",", "data:image/png;base64,", "QUJD", "=", "(", ")", "\n", "\r",
                     " ", "d", '"', LINE, "/9j/", "iVBOR", "#0#", "é", "x" * 150]),
    max_size=12,
).map("".join)  # fmt: skip


@given(text=BITS, cuts=CUTS)
def test_how_a_text_was_cut_never_shows(text: str, cuts: list[int]) -> None:
    assert sifted(text, cuts) == sifted(text, []) == sifted(text, list(range(len(text.encode()))))


@given(st.text(st.characters(codec="utf-8", exclude_characters=",")))
def test_a_text_without_data_passes_as_it_is(text: str) -> None:
    assert sifted(f": {text}", []) == f": {text}"


@given(text=BITS)
def test_a_text_that_is_called_plain_passes_as_it_is(text: str) -> None:
    assert not is_plain(text.encode()) or sifted(text, []) == text
