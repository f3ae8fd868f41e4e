"""The key is in nothing that a server makes us say, however it spells it."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchbanana.engines.local import LocalEngine
from batchbanana.providers.gemini import Gemini
from batchbanana.spool import Spool
from batchbanana.task import Failure, FailureKind
from batchbanana.transport import Endpoint, Lanes
from batchbanana.transport.secret import LEFT_OUT
from tests.support.web import reply, web
from tests.test_second_phase import Bench, bench, carried_out, inline

KEY = "AIzaSyCanary-7Qw2x9Lk_4mZ81pTrVbN0sXdEf3"


@pytest.mark.parametrize(
    "spelt",
    [
        KEY.lower(),
        KEY.upper(),
        KEY.replace("-", " "),
        "\u200b".join(KEY),
        "\u00ad".join(KEY),
        " ".join(KEY),
        "<b></b>".join(KEY),
        "</b><b>".join(KEY),
        "<!-- a > b -->".join(KEY),
        "&lt;i&gt;".join(KEY),
        "&shy;".join(KEY),
        "&#8203;".join(KEY),
        "".join(f"&#x{ord(char):x};" for char in KEY),
        "".join(f"%{ord(char):02X}" for char in KEY),
        "".join(f"%25{ord(char):02x}" for char in KEY),
        "".join(f"\\u{ord(char):04x}" for char in KEY),
        "".join(f"\\\\u{ord(char):04X}" for char in KEY),
        "".join(f"\\x{ord(char):02x}" for char in KEY),
        "\\n".join(KEY),
        "\\xe2\\x80\\x8b".join(KEY),
        "".join(chr(ord(char) + 0xFEE0) for char in KEY),
        KEY[:14] + " and so on",
        f"*** {KEY[10:25]}",
    ],
)
def test_a_key_that_is_spelt_oddly_takes_its_quotation_with_it(spelt: str) -> None:
    hide = Endpoint.build(None, None, KEY).hide
    told = hide(f'The key is not accepted (401: "you sent {spelt}, see "docs""); check the key')
    assert re.fullmatch(
        r"The key is not accepted \(401: (\[quotation left out.*\]|\".*\[key\].*\")\); check the key", told
    )
    assert spelt not in told
    assert KEY[:6].lower() not in told.lower()
    assert hide(f"401 you sent {spelt}!") in {LEFT_OUT, "401 you sent [key]!"}
    assert hide(f'401 {spelt} "and words"') in {LEFT_OUT, '401 [key] "and words"'}


def test_a_key_is_known_without_its_digits_as_in_a_signature() -> None:
    key = "a1b22c3d4e5f6g7h8i9j0k1l2m3n4"
    assert Endpoint.build(None, None, key).hide(f"401 you sent {re.sub('[0-9]+', '#', key)}") == LEFT_OUT


def test_words_that_only_resemble_a_key_are_kept() -> None:
    hide = Endpoint.build(None, None, KEY).hide
    for text in (
        'The server failed (500: "AIzaSyCan is not known")',
        "a \"b\" b'c'",
        "",
        "401 # <b> %41 &amp; \\u0041",
    ):
        assert hide(text) == text
    assert Endpoint.build(None, None, "any").hide('401 "a n y" many') == '401 "a n y" m[key]'


@given(st.text(max_size=80), st.integers(0, len(KEY)))
def test_no_text_makes_hiding_stumble_or_keeps_the_key(text: str, place: int) -> None:
    told = Endpoint.build(None, None, KEY).hide(text[:place] + KEY + text[place:])
    assert KEY not in told


@pytest.mark.parametrize(
    "address",
    [
        "https://canary-key.cdn.example/a",
        "https://CANARY-KEY.example/",
        "https://canary.key.example/",
        "https://a.example/%63anary-key",
    ],
)
def test_of_an_address_that_holds_the_key_not_even_the_host_is_told(tmp_path: Path, address: str) -> None:
    with bench(tmp_path, address) as made:
        result = carried_out(made)
        assert isinstance(result, Failure)
        assert "The address in the answer never gives the image" in result.message
        assert "holds the API key" in result.message
        assert not {"canary", "example"} & set(re.findall("[a-z]+", result.message.lower()))
        assert made.files == []


def test_the_model_that_an_answer_names_is_noted_without_the_key(tmp_path: Path) -> None:
    with bench(tmp_path, "{images}/gone") as made:
        carried_out(made)
        note = (made.spool.folder / "7.0.link").read_text()
        assert "made-by-[key]" in note
        assert "canary" not in note


@pytest.mark.parametrize("kind", ["download", "answer"])
@pytest.mark.parametrize(
    "body",
    [
        b"canary-key and more",
        b'"canary-key"',
        b"CANARY-key is it",
        b"xxcanary\x00key",
        b"xxxxcanary-key",
        b"xcanary-k xyz",
    ],
)
def test_a_file_that_is_the_key_is_not_quoted(tmp_path: Path, kind: str, body: bytes) -> None:
    with (
        web(lambda handler: reply(handler, body)) as images,
        bench(tmp_path, images.url if kind == "download" else inline(body)) as made,
    ):
        result = carried_out(made)
    assert isinstance(result, Failure)
    assert "the bytes are not a picture's" in result.message or "quotation left out" in result.message
    assert "canary" not in result.message.lower()


def test_a_key_is_taken_out_of_an_error_before_what_looks_like_keys_is_masked(tmp_path: Path) -> None:
    """A mask may end in the middle of the key, and the rest of it would be too short to be known."""
    key = "sk-live7.tail"
    with web(lambda handler: reply(handler, f"there is no {key}".encode(), 401)) as relay:
        spool = Spool(tmp_path)
        spool.open()
        lanes = Lanes(Endpoint.build(relay.url, None, key))
        engine = LocalEngine(Gemini(omit_size=lambda _: False), lanes, spool)
        result = carried_out(Bench(relay=relay, spool=spool, engine=engine, worker=engine.worker()))
    assert isinstance(result, Failure)
    assert result.kind is FailureKind.FATAL
    assert "tail" not in result.message + result.signature


def test_what_a_file_begins_with_is_told_where_it_is_harmless(tmp_path: Path) -> None:
    with bench(tmp_path, inline(b"<html>Sorry, nothing here")) as made:
        result = carried_out(made)
    assert isinstance(result, Failure)
    assert "b'<html>Sorry,'" in result.message
