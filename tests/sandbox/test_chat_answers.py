"""An answer in the chat format hides its image wherever the script says, and every effect that makes sense shows."""

import base64
from collections.abc import Callable
from typing import Any

import pytest

from tests.sandbox.client import JPEG_MODEL, PNG_MODEL, look, sandbox, undo


def _answer(**effects: object) -> Any:
    with sandbox(effects) as caller:
        return caller.chat(image_config={"aspect_ratio": "16:9", "image_size": "2K"}).json()


def _message(answer: Any) -> dict[str, Any]:
    message: dict[str, Any] = answer["choices"][0]["message"]
    return message


def _bare(answer: Any) -> list[str]:
    content: str = _message(answer)["content"]
    return content.split("\n\n")


def _markdown(answer: Any) -> list[str]:
    pieces: list[str] = _message(answer)["content"].split("\n\n")
    return [piece.removeprefix("![image](").removesuffix(")") for piece in pieces]


def _images(answer: Any) -> list[str]:
    return [image["image_url"]["url"] for image in _message(answer)["images"]]


def _parts(answer: Any) -> list[str]:
    return [part["image_url"]["url"] for part in _message(answer)["content"]]


def _output_image(answer: Any) -> list[str]:
    return [part["image_url"] for part in _message(answer)["content"] if part["type"] == "output_image"]


def _b64(data: str) -> str:
    return f"data:image/png;base64,{data}"


def _parts_b64(answer: Any) -> list[str]:
    return [_b64(part["b64_json"]) for part in _message(answer)["content"] if part["type"] == "image"]


def _data_b64(answer: Any) -> list[str]:
    return [_b64(datum["b64_json"]) for datum in answer["data"]]


def _data_url(answer: Any) -> list[str]:
    return [datum["url"] for datum in answer["data"]]


_INLINE = {
    None: _markdown,
    "markdown": _markdown,
    "data_uri": _bare,
    "images": _images,
    "parts": _parts,
    "output_image": _output_image,
    "parts_b64": _parts_b64,
    "b64_json": _data_b64,
}
_LINKED = {"url": _markdown, "bare_url": _bare, "data_url": _data_url}


def test_an_answer_has_the_shape_of_a_chat_completion() -> None:
    answer = _answer()
    assert (answer["object"], answer["model"], answer["created"] > 1.7e9) == ("chat.completion", PNG_MODEL, True)
    assert answer["id"].startswith("chatcmpl-")
    (choice,) = answer["choices"]
    assert (choice["index"], choice["message"]["role"]) == (0, "assistant")
    assert (choice["finish_reason"], choice["native_finish_reason"]) == ("stop", "STOP")
    usage = answer["usage"]
    assert usage["completion_tokens_details"] == {"image_tokens": 1680, "reasoning_tokens": 240}
    assert usage["completion_tokens"] == 1920
    assert usage["total_tokens"] == usage["prompt_tokens"] + 1920


@pytest.mark.parametrize(("shape", "find"), _INLINE.items())
def test_the_image_stands_where_the_shape_says(shape: str | None, find: Callable[[Any], list[str]]) -> None:
    (uri,) = find(_answer(**{"shape": shape} if shape else {}))
    assert look(undo(uri)) == ("PNG", (2752, 1536))


@pytest.mark.parametrize(("shape", "find"), _LINKED.items())
def test_the_image_stands_behind_an_address_where_the_shape_says(shape: str, find: Callable[[Any], list[str]]) -> None:
    with sandbox({"shape": shape}) as caller:
        (url,) = find(caller.chat().json())
        assert url == f"{caller.handle.url}/sandbox/images/1.png"
        assert look(caller.client.get(url).content) == ("PNG", (1024, 1024))
        assert caller.handle.bill() | {"billed": 1, "downloads": 1} == caller.handle.bill()


def test_the_image_can_be_lost_on_the_way() -> None:
    with sandbox({"shape": "nothing"}) as caller:
        answer = caller.chat().json()
        assert caller.handle.requests()[0]["billed"] is False
    assert _message(answer) == {"role": "assistant", "content": None, "images": []}
    assert answer["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(("shape", "find"), _INLINE.items())
def test_a_draft_of_1k_comes_before_the_real_image_in_every_shape(
    shape: str | None, find: Callable[[Any], list[str]]
) -> None:
    effects = {"draft": True, **({"shape": shape} if shape else {})}
    assert [look(undo(uri))[1] for uri in find(_answer(**effects))] == [(1376, 768), (2752, 1536)]


def test_a_thought_stands_in_the_reasoning() -> None:
    message = _message(_answer(thought=True, shape="data_uri"))
    thought = undo(message["reasoning_content"].removeprefix("![thought](").removesuffix(")"))
    assert look(thought)[1] == (1376, 768)
    assert look(undo(message["content"]))[1] == (2752, 1536)
    assert len(_answer(thought=True, shape="b64_json")["data"]) == 1


def test_texts_stand_between_two_images_and_a_text_before_them() -> None:
    text, first, between, second = _message(_answer(texts=True, text="Look:"))["content"].split("\n\n")
    assert (text, between, first[:9], second[:9]) == ("Look:", "And another one:", "![image](", "![image](")
    parts = _message(_answer(texts=True, text="Look:", shape="parts"))["content"]
    assert [part["type"] for part in parts] == ["text", "image_url", "text", "image_url"]
    message = _message(_answer(texts=True, text="Look:", shape="images"))
    assert (message["content"], len(message["images"])) == ("Look:\n\nAnd another one:", 2)
    assert [image["index"] for image in message["images"]] == [0, 1]


@pytest.mark.parametrize(("shape", "empty"), [("markdown", ""), ("parts", []), ("images", "")])
def test_an_answer_without_an_image_is_empty_and_free(shape: str, empty: object) -> None:
    with sandbox({"image": "none", "shape": shape}) as caller:
        assert _message(caller.chat().json())["content"] == empty
        assert caller.handle.bill()["billed"] == 0
    assert _message(_answer(image="none", text="Sorry."))["content"] == "Sorry."


def test_a_request_for_text_alone_gets_a_text() -> None:
    with sandbox() as caller:
        assert _message(caller.chat(modalities=["text"]).json())["content"] == "Here is your picture."
        assert caller.handle.bill()["billed"] == 0


@pytest.mark.parametrize(
    ("reason", "finish", "native"),
    [
        ("MAX_TOKENS", "length", "MAX_TOKENS"),
        ("IMAGE_SAFETY", "content_filter", "IMAGE_SAFETY"),
        ("NO_IMAGE", "stop", "NO_IMAGE"),
        ("content_filter", "content_filter", None),
    ],
)
def test_a_finish_is_said_in_googles_word_and_in_openais(reason: str, finish: str, native: str | None) -> None:
    with sandbox({"finish": reason, "message": "You will not be charged."}) as caller:
        (choice,) = caller.chat().json()["choices"]
        assert caller.handle.bill()["billed"] == 0
    assert (choice["finish_reason"], choice.get("native_finish_reason")) == (finish, native)
    assert choice["message"] == {"role": "assistant", "content": None, "refusal": "You will not be charged."}


def test_a_finish_may_keep_its_image() -> None:
    with sandbox({"finish": "MAX_TOKENS", "image": "kept"}) as caller:
        (choice,) = caller.chat().json()["choices"]
        assert caller.handle.bill()["billed"] == 1
    assert (choice["finish_reason"], choice["message"]["content"][:9]) == ("length", "![image](")


def test_a_token_cap_below_the_image_cuts_it() -> None:
    with sandbox() as caller:
        for answer in (caller.chat(max_tokens=100), caller.chat(max_completion_tokens=100)):
            assert answer.json()["choices"][0]["finish_reason"] == "length"


def test_a_blocked_prompt_is_filtered() -> None:
    (choice,) = _answer(block="PROHIBITED_CONTENT")["choices"]
    assert (choice["finish_reason"], choice["native_finish_reason"]) == ("content_filter", "PROHIBITED_CONTENT")
    assert choice["message"]["content"] is None


def test_the_label_and_the_version_can_lie() -> None:
    answer = _answer(label="image/jpeg", version="other", shape="parts_b64")
    assert answer["model"] == "other"
    assert _message(answer)["content"][0]["mime_type"] == "image/jpeg"
    assert look(undo(_markdown(_answer(label="image/jpeg"))[0]))[0] == "PNG"


@pytest.mark.parametrize(
    ("spelling", "shape", "trait"),
    [
        ("data_prefix", "markdown", lambda data: data.count("data:image/jpeg;base64,") == 1),
        ("data_prefix", "b64_json", lambda data: data.startswith("data:image/jpeg;base64,")),
        ("urlsafe", "data_uri", lambda data: set("-_") & set(data.partition(",")[2])),
        ("nopad", "b64_json", lambda data: len(data) % 4),
        ("linebreaks", "parts_b64", lambda data: data.index("\n") == 76),
        ("garbage", "images", lambda data: "*** not base64 ***" in data),
    ],
)
def test_base64_can_be_misspelt(spelling: str, shape: str, trait: Callable[[str], object]) -> None:
    with sandbox({"base64": spelling, "shape": shape}) as caller:
        answer = caller.chat(model=JPEG_MODEL).json()
    if "data" in answer:
        assert trait(answer["data"][0]["b64_json"])
        return
    message = _message(answer)
    if shape == "images":
        assert trait(message["images"][0]["image_url"]["url"])
    else:
        assert trait(message["content"][0]["b64_json"] if shape == "parts_b64" else message["content"])


def test_bytes_can_be_missing_a_signature_added_and_the_answer_listed() -> None:
    with sandbox({"when": {"nth": 2}, "then": {"truncate": 9, "signature": 5000, "list": True}}) as caller:
        whole, (cut,) = caller.chat().json(), caller.chat().json()
    assert undo(_markdown(cut)[0]) == undo(_markdown(whole)[0])[:-9]
    signature = _message(cut)["extra_content"]["google"]["thought_signature"]
    assert len(base64.b64decode(signature)) == 5000


def test_another_picture_than_asked_for_can_come() -> None:
    assert look(undo(_markdown(_answer(size="1K", ratio="1:1"))[0]))[1] == (1024, 1024)
    assert look(undo(_markdown(_answer(pixels=[1408, 768]))[0]))[1] == (1408, 768)


def test_whoever_names_a_shape_again_means_it() -> None:
    """A rule's `markdown` wins over a quirk's other shape, although it is what would come anyway."""
    with sandbox({"shape": "markdown"}, format_quirks={"shape": "images"}) as caller:
        assert "images" not in _message(caller.chat().json())
