"""The skim reads any JSON as json.loads does, however it is cut, without holding its long strings."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchbanana.providers.jsonskim import Skim
from batchbanana.providers.outline import Bounds, Use


def use_of(container: str, key: str) -> Use:
    """Stream the strings of these tests that are big, sift those that are mixed."""
    if key == "mixed":
        return Use.SIFT
    return Use.STREAM if (container, key) == ("big", "data") else Use.KEEP


Seen = tuple[object, bool, str | None, dict[int, bytes], list[int]]


def skimmed(data: bytes, cuts: list[int], bounds: Bounds | None = None) -> Seen:
    """Feed a document in pieces; give its rest, whether it is complete, its fault, the strings and the closed ones."""
    skim = Skim(use_of, bounds or Bounds())
    strings: dict[int, bytes] = {}
    closed: list[int] = []
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    for start, end in pairwise(places):
        for piece in skim.feed(data[start:end]):
            strings[piece.index] = strings.get(piece.index, b"") + piece.data
            closed += [piece.index] if piece.last else []
    return skim.document(), skim.complete, skim.fault, strings, closed


CUTS = st.lists(st.integers(0, 400), max_size=20)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
KEYS = TEXTS | st.sampled_from(["big", "data"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
VALUES = st.recursive(
    SCALARS | st.fixed_dictionaries({"big": st.fixed_dictionaries({"data": TEXTS})}),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=15,
)
DOCUMENTS = st.lists(VALUES, max_size=4) | st.dictionaries(KEYS, VALUES, max_size=4)


def with_numbers(value: object, strings: list[str], container: str = "", key: str = "") -> object:
    """Replace the chosen strings of a parsed document by their numbers, as the skim should."""
    if isinstance(value, dict):
        return {name: with_numbers(inner, strings, key, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [with_numbers(inner, strings, container, key) for inner in value]
    if isinstance(value, str) and (container, key) == ("big", "data"):
        strings.append(value)
        return len(strings) - 1
    return value


@given(document=DOCUMENTS, cuts=CUTS, ascii_only=st.booleans(), indent=st.sampled_from([None, 1]), tail=st.binary())
def test_it_reads_what_json_reads(
    document: object, cuts: list[int], ascii_only: bool, indent: int | None, tail: bytes
) -> None:
    data = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode()
    strings: list[str] = []
    expected = with_numbers(document, strings)
    rest, complete, fault, found, closed = skimmed(data + tail, cuts, Bounds(streams=1000))
    assert (rest, complete, fault) == (expected, True, None)
    assert [found[index].decode() for index in sorted(found)] == strings
    assert closed == list(range(len(strings)))


@given(document=DOCUMENTS, cuts=CUTS, length=st.integers(0, 300), ascii_only=st.booleans())
def test_what_came_of_a_broken_document_can_be_read(
    document: object, cuts: list[int], length: int, ascii_only: bool
) -> None:
    data = json.dumps(document, ensure_ascii=ascii_only).encode()
    data = data[: min(length, len(data) - 1)]
    rest, complete, fault, found, _ = skimmed(data, cuts)
    assert (complete, fault) == (False, None)
    assert isinstance(rest, list | dict) or not data
    strings: list[str] = []
    with_numbers(document, strings)
    assert all(strings[index].encode().startswith(came) for index, came in found.items())


@pytest.mark.parametrize(
    ("data", "rest"),
    [
        (b'{"a":1,"b', {"a": 1}),
        (b'{"a":true', {}),
        (b'{"a":[1,2,3', {"a": [1, 2]}),
        (b'{"a":"b","c":"d', {"a": "b"}),
        (b'{"big":{"data":"AAAA', {"big": {"data": 0}}),
        (b'[{"a":{}},{"b":', [{"a": {}}, {}]),
        (b"", None),
    ],
)
def test_a_broken_document_keeps_every_value_that_was_whole(data: bytes, rest: object) -> None:
    assert skimmed(data, [])[0] == rest


JSONISH = st.lists(
    st.sampled_from([b'"mixed":"', b"data:image/png;base64,", b"QUJD", b"=", b"(", b")", b"/9j/", b"{",
                     b"}", b"[", b"]", b'"', b",", b":", b"\\", b"\\u", b"d83d", b"\\ude00",
                     b"\\ud83d\\ud", b"u00e9", b"1",
                     b"null", b'"big":', b'{"data":"', b" ", b"\n", b"\\/", b"\xc3", b"\xa9",
                     b"\xef\xbb\xbf", b"x" * 30]),
    max_size=40,
).map(b"".join)  # fmt: skip
TIGHT = Bounds(depth=4, parts=25, rest=60, text=20, end=5, streams=2)


@given(
    data=JSONISH | st.binary(max_size=60),
    cuts=CUTS,
    prefix=st.sampled_from([b"", b"{", b'{"big":{"data":"', b'{"mixed":"', b'["']),
)
def test_how_any_bytes_were_cut_never_shows(data: bytes, cuts: list[int], prefix: bytes) -> None:
    data = prefix + data
    every = list(range(len(data)))
    for bounds in (Bounds(), TIGHT, Bounds(text=20, end=5), Bounds(parts=9)):
        assert skimmed(data, [], bounds) == skimmed(data, every, bounds) == skimmed(data, cuts, bounds)


@pytest.mark.parametrize("form", [b'{"note":"%b"} ', b'{"mixed":"%b"} ', b'{"%b":1} '])
@pytest.mark.parametrize("content", [b"", b"abcdefgh", rb"ab\u0041\"h"])
def test_a_string_at_the_end_of_the_room_reads_the_same_however_it_was_cut(form: bytes, content: bytes) -> None:
    data = form % content
    for room in range(len(data)):
        whole = skimmed(data, [], Bounds(rest=room))
        for cut in range(1, len(data)):
            assert skimmed(data, [cut], Bounds(rest=room)) == whole


@pytest.mark.parametrize(
    "data",
    [
        b"[" + b"1" * 90 + b"}",
        b'["' + b'","'.join([b"y" * 19] * 4) + b'"]',
        b'{"aaaaaaaaaaaaaaaaaaaa":"bbbbbbbbbbbbbbbbbbbb","mixed":"cccccccc data:image/png;base64,QUJD"}',
    ],
)
def test_what_is_too_much_and_faulty_too_is_the_same_fault_however_it_was_cut(data: bytes) -> None:
    whole = skimmed(data, [], TIGHT)
    assert whole == skimmed(data, list(range(len(data))), TIGHT)
    assert whole[2] == "JSON with more than 60 bytes beside its images"


@pytest.mark.parametrize(
    ("escaped", "plain"),
    [
        (rb"a\/b\n\r\t\b\f\"\\", b'a/b\n\r\t\b\f"\\'),
        (rb"\\/\\n", rb"\/\n"),
        (rb"\u003d\u00e9", "=é".encode()),
        (rb"\ud83d\ude00", "😀".encode()),
        (rb"\\ud83d", rb"\ud83d"),
        (rb"\q\u12", rb"\q\u12"),
        (b"\\ud83c\\udf\0004", b"\xed\xa0\xbc\\udf\0004"),
        (b"\\ud8\n0\\udf4a", b"\\ud8\n0\xed\xbd\x8a"),
        (rb"\\" * 20 + rb"\u00e9", b"\\" * 20 + "é".encode()),
    ],
)
@given(cuts=CUTS)
def test_escapes_of_a_chosen_string_are_undone_even_when_cut(escaped: bytes, plain: bytes, cuts: list[int]) -> None:
    assert skimmed(b'{"big":{"data":"' + escaped + b'"}}', cuts)[3] == {0: plain}


@given(cuts=CUTS)
def test_a_long_text_keeps_its_beginning(cuts: list[int]) -> None:
    data = rb'{"note":"' + b"\\u0041" * 50 + b'","next":"' + b"b" * 20 + b'","last":"' + b"c" * 21 + b'"}'
    rest, *_ = skimmed(data, cuts, Bounds(text=20))
    assert rest == {"note": "AAA…", "next": "b" * 20, "last": "c" * 20 + "…"}


def test_memory_is_bounded_whatever_the_strings_are() -> None:
    skim = Skim(use_of)
    for head in (
        b'{"big":{"data":"',
        b'"},"thoughtSignature":"',
        b'","mixed":"',
        b" (data:image/png;base64,",
        b'","\\',
    ):
        skim.feed(head)
        for _ in range(50):
            skim.feed(b"A" * 65536)
        assert len(skim._rest) < 300_000
        assert len(skim._held) == 0


@pytest.mark.parametrize("second", ['{"big":{"data":"b"}}', '{"mixed":"b data:image/png;base64,QUJD"}'])
@given(cuts=CUTS)
def test_one_image_too_many_ends_the_reading(second: str, cuts: list[int]) -> None:
    data = f'[{{"big":{{"data":"a"}}}},{second},{{"big":{{"data":"c"}}}}]'.encode()
    rest, complete, fault, strings, _ = skimmed(data, cuts, Bounds(streams=1))
    assert isinstance(rest, list)
    assert rest[0] == {"big": {"data": 0}}
    assert rest[1] in ({"big": {}}, {})
    assert (complete, fault, strings) == (False, "JSON with more than 1 images", {0: b"a"})


@pytest.mark.parametrize(("parts", "is_read"), [(14, True), (13, False)])
@given(cuts=CUTS)
def test_parts_are_counted_outside_strings(parts: int, is_read: bool, cuts: list[int]) -> None:
    data = rb'[{"a":1,"b":"[,:\"]"}, [], 2]'
    *_, fault, _, _ = skimmed(data, cuts, Bounds(parts=parts))
    assert fault == (None if is_read else "JSON of too many parts")


@pytest.mark.parametrize("rest", [10, 20, 1000])
def test_the_part_that_is_one_too_many_is_the_same_however_it_was_cut(rest: int) -> None:
    data = b'{"a" : "b", "c": [1, {"d": 2}, "e": 3], "f" "g"}'
    for parts in range(30):
        whole = skimmed(data, [], Bounds(parts=parts, rest=rest))
        for cut in range(1, len(data)):
            assert skimmed(data, [cut], Bounds(parts=parts, rest=rest)) == whole


@given(st.integers(1, 400), st.booleans())
def test_an_integer_that_counts_nothing_reads_as_nothing(digits: int, negative: bool) -> None:
    number = "-" * negative + "7" * digits
    assert skimmed(f"[{number},1]".encode(), [])[0] == [int(number) if len(number) <= 100 else None, 1]


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"<html>", "not JSON"),
        (b"upstream error", "not JSON"),
        (b'"text"', "not JSON"),
        (b"[" * 65, "JSON nested more than 64 deep"),
        (b"[}", "JSON with brackets that do not match"),
        (b"[" + b"1," * 600, "JSON with more than 1000 bytes beside its images"),
    ],
)
def test_what_is_no_document_is_a_fault(data: bytes, fault: str) -> None:
    skim = Skim(use_of, Bounds(rest=1000))
    assert skim.feed(data) == []
    assert (skim.fault, skim.complete) == (fault, False)
    assert skim.head == data[:512]


@given(cuts=CUTS)
def test_a_sifted_text_keeps_its_words_and_shows_where_data_stood(cuts: list[int]) -> None:
    words = 'a "b" \\ c\n'
    value = {"mixed": f"{words}(data:image/png;base64,QUJD) é data:image/png;base64,QUI= {words}", "next": 1}
    rest, complete, _, strings, closed = skimmed(json.dumps(value).encode(), cuts)
    assert rest == {"mixed": f"{words}(data:;base64,#0#) é data:;base64,#1# {words}", "next": 1}
    assert (complete, strings, closed) == (True, {0: b"QUJD", 1: b"QUI="}, [0, 1])


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a" * 20 + "b" * 5, "a" * 20 + "b" * 5),
        ("a" * 20 + "b" * 6, "a" * 20 + "…" + "b" * 5),
        ("é" * 10 + "-" * 30 + "éàüé", "é" * 10 + "…üé"),
        ("a" * 40 + '\n"bcd', "a" * 20 + '…\n"bcd'),
        ("a" * 40 + " data:image/png;base64,QUJD x", "a" * 20 + "…aaaa data:;base64,#0# x"),
        ("data:image/png;base64,QUJD " + "a" * 40 + "data:image/png;base64,QUJD " + "b" * 9,
         "data:;base64,#0# " + "a" * 19 + "…" + "a" * 5 + "data:;base64,#1#…" + "b" * 5),
    ],
)  # fmt: skip
@given(cuts=CUTS)
def test_a_long_sifted_text_keeps_its_beginning_its_end_and_its_data(text: str, kept: str, cuts: list[int]) -> None:
    rest, *_, strings, closed = skimmed(json.dumps({"mixed": text}).encode(), cuts, Bounds(text=20, end=5))
    assert rest == {"mixed": kept}
    images = text.count("data:")
    assert (strings, closed) == (dict.fromkeys(range(images), b"QUJD"), list(range(images)))


def test_a_document_that_only_looks_like_one_reads_as_nothing() -> None:
    rest, complete, fault, *_ = skimmed(b"{a: 1}", [])
    assert (rest, complete, fault) == (None, True, None)
