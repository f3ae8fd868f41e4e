"""An answer of many megabytes, or of many parts, costs neither memory nor time, and hides nothing."""

import json
import tracemalloc
from collections.abc import Iterator

import pytest

from batchbanana.providers import Choice, ImageBytes, Link
from batchbanana.task import Failure
from tests.providers.building import (
    PROVIDERS,
    attempt,
    chat,
    check_that_cuts_never_show,
    data_uri,
    document,
    image,
    picture,
    text,
)

PICTURE = picture()
BOTH = pytest.mark.parametrize("name", sorted(PROVIDERS))

MEGABYTE = b"QUJD" * (1 << 18)


def pieces_of(start: bytes, count: int, end: bytes) -> Iterator[bytes]:
    """Give a document whose middle is so many megabytes of base64, in the pieces in which a network brings it."""
    yield start
    for _ in range(count):
        yield from (MEGABYTE[at : at + 65536] for at in range(0, len(MEGABYTE), 65536))
    yield end


IN_PARTS = b'{"candidates":[{"content":{"parts":['
IN_MESSAGE = b'{"choices":[{"message":{'


@pytest.mark.parametrize(
    ("name", "start", "end", "size"),
    [
        ("gemini", IN_PARTS + b'{"inlineData":{"data":"', b'"}}]}}]}', 6 << 20),
        ("gemini", IN_PARTS + b'{"text":"a ![x](data:image/png;base64,', b') b"}]}}]}', 6 << 20),
        ("gemini", IN_PARTS + b'{"text":"data:image/png;base64,', b' b"}]}}]}', 6 << 20),
        ("gemini", IN_PARTS + b'{"text":"', b'"}]}}]}', 0),
        ("gemini", IN_PARTS + b'{"thoughtSignature":"', b'"}]}}]}', 0),
        ("openai", IN_MESSAGE + b'"content":"Here: ![x](data:image/png;base64,', b') bye"}}]}', 6 << 20),
        ("openai", IN_MESSAGE + b'"content":[{"image_url":{"url":"data:image/png;base64,', b'"}}]}}]}', 6 << 20),
        ("openai", IN_MESSAGE + b'"reasoning":"', b'"}}]}', 0),
        ("openai", b'{"data":[{"b64_json":"', b'"}]}', 6 << 20),
        ("openai", b'{"data":[{"url":"/9j/', b'"}]}', (6 << 20) + 3),
    ],
)
def test_an_answer_of_many_megabytes_costs_no_memory(name: str, start: bytes, end: bytes, size: int) -> None:
    reader = PROVIDERS[name].reader()
    came = 0
    tracemalloc.start()
    for piece in pieces_of(start, 8, end):
        came += sum(len(event.data) for event in reader.feed(piece) if isinstance(event, ImageBytes))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert reader.complete
    assert came == size
    assert peak < 1_000_000


@BOTH
def test_an_answer_of_hundreds_of_texts_and_images_starts_sixty_four_images(name: str) -> None:
    parts = [text("words"), image(PICTURE), text(f"![x]({data_uri(PICTURE)})")] * 300
    answer = document(*parts) if name == "gemini" else chat({"content": parts})
    files, _ = check_that_cuts_never_show(PROVIDERS[name], json.dumps(answer).encode(), (9, 99, 50_000))
    assert files == [PICTURE] * 64


@BOTH
def test_hundreds_of_texts_and_a_long_signature_do_not_hide_the_image_after_them(name: str) -> None:
    parts = [*[text("words", thought_signature="s" * 5000)] * 500, {"thoughtSignature": "s" * 3_000_000}]
    parts.append(image(PICTURE))
    answer = document(*parts) if name == "gemini" else chat({"content": parts})
    _, verdict = check_that_cuts_never_show(PROVIDERS[name], json.dumps(answer).encode(), (9, 99, 50_000))
    assert verdict == Choice(main=0)


@BOTH
def test_of_twenty_images_back_to_back_the_last_counts(name: str) -> None:
    pictures = [picture(1024, colour) for colour in range(20)]
    parts = [image(data) for data in pictures]
    answer = document(*parts) if name == "gemini" else chat({"content": parts})
    files, verdict = check_that_cuts_never_show(PROVIDERS[name], json.dumps(answer).encode(), (9, 99, 5000))
    assert files == pictures
    assert verdict == Choice(main=19)


@BOTH
@pytest.mark.parametrize("words", ["word " * 15_000, f"data:image/svg+xml,{'x' * 72_000} "])
def test_an_address_at_the_end_of_a_long_text_is_found(name: str, words: str) -> None:
    said = f"{words}![x](https://cdn.example/final.png)"
    answer = document(text(said)) if name == "gemini" else chat({"content": said})
    _, verdict = check_that_cuts_never_show(PROVIDERS[name], json.dumps(answer).encode(), (9, 99, 66_000))
    assert verdict == Choice(main=Link("https://cdn.example/final.png"))


@BOTH
def test_an_absurd_number_does_not_hide_the_image_beside_it(name: str) -> None:
    answer = document(image(PICTURE)) if name == "gemini" else chat({"content": [image(PICTURE)]})
    body = json.dumps(answer | {"seed": "@", "index": "@"}).replace('"@"', "7" * 5000).encode()
    _, verdict = check_that_cuts_never_show(PROVIDERS[name], body, (9, 99, 2000))
    assert verdict == Choice(main=0)


@BOTH
@pytest.mark.parametrize("start", ["[", '{"choices":[', '{"choices":[{"message":{"content":[', '{"candidates":['])
@pytest.mark.parametrize("bit", ["{},", "[],", "1,", '"",', '{"text":"a"},', '{"message":"a"},'])
def test_an_answer_of_too_many_parts_is_none_and_ends_there(name: str, start: str, bit: str) -> None:
    reader = PROVIDERS[name].reader()
    reader.feed((start + bit * 12_000).encode())
    before = reader.judge(attempt(), [])
    assert isinstance(before, Failure)
    assert "too many parts" in before.message
    assert reader.feed(json.dumps(document(image(PICTURE))).encode()) == []


@BOTH
def test_an_address_beyond_a_thousand_others_is_words(name: str) -> None:
    parts = [text("http://a.example/ " * 100)] * 10
    last = text("![x](https://cdn.example/final.png)")
    for count, found in ((9, True), (10, False)):
        said = [*parts[:count], last]
        answer = document(*said) if name == "gemini" else chat({"content": said})
        _, verdict = check_that_cuts_never_show(PROVIDERS[name], json.dumps(answer).encode(), (9, 99))
        assert isinstance(verdict, Choice) is found


HOSTILE = ["[", "![", "[x]", "[[x]", "](", "(", "http://", "<http://", "data:", "[](http://a", "![a](", '"', "\\", " "]


@BOTH
@pytest.mark.parametrize("bit", HOSTILE)
def test_no_text_makes_the_reader_slow(name: str, bit: str) -> None:
    """A search that goes back at every character would take minutes here."""
    body = bit * (60_000 // len(bit))
    answer = document(*[text(body)] * 5) if name == "gemini" else chat({"content": [body] * 5})
    check_that_cuts_never_show(PROVIDERS[name], json.dumps(answer).encode(), (9, 99, 50_000))
