"""A chat completions request is read as relays read it, and refused in OpenAI's form."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchbanana.sandbox.chat_problems import in_chat_form
from batchbanana.sandbox.chat_wire import read
from batchbanana.sandbox.problems import PROBLEMS, Refusal
from batchbanana.sandbox.wanted import check
from tests.sandbox.client import CHAT, PIXEL, PNG_MODEL, Caller, data_uri, look, sandbox, undo

PRO = "gemini-3-pro-image"


@pytest.fixture(scope="module")
def caller() -> Iterator[Caller]:
    with sandbox() as caller:
        yield caller


def _picture(answer: httpx.Response) -> bytes:
    content: str = answer.json()["choices"][0]["message"]["content"]
    return undo(content.removeprefix("![image](").removesuffix(")"))


def _image(ratio: str | None = None, size: str | None = None) -> dict[str, Any]:
    return {"image_config": {"aspect_ratio": ratio, "image_size": size}}


def _reference(url: object) -> dict[str, object]:
    return {"type": "image_url", "image_url": {"url": url}}


def _content(*parts: object) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}]}


@pytest.mark.parametrize("path", [CHAT, "/v1beta/openai/chat/completions"])
@pytest.mark.parametrize(
    ("body", "seen", "pixels"),
    [
        ({}, (None, None), (1024, 1024)),
        ({"modalities": ["image", "text"], **_image("16:9", "2K")}, ("16:9", "2K"), (2752, 1536)),
        ({"google": _image("4:5")}, ("4:5", None), (928, 1152)),
        ({"extra_body": {"google": _image(None, "4K")}}, (None, "4K"), (4096, 4096)),
        ({"model": f"{PRO}-16x9-4k"}, ("16:9", "4K"), (5504, 3072)),
        ({"model": f"{PRO}-9x16"}, ("9:16", None), (768, 1376)),
        ({"model": "google/nano-banana-2-512"}, (None, "512"), (512, 512)),
        ({"model": f"{PRO}-2k", **_image("1:1", "2K")}, ("1:1", "2K"), (2048, 2048)),
    ],
)
def test_ratio_and_size_can_be_said_in_every_dialect(
    caller: Caller, path: str, body: dict[str, Any], seen: tuple[str | None, str | None], pixels: tuple[int, int]
) -> None:
    assert look(_picture(caller.chat(path=path, **body)))[1] == pixels
    entry = caller.handle.requests()[-1]
    assert (entry["path"], entry["ratio"], entry["resolution"], entry["billed"]) == (path, *seen, True)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("nano-banana", "gemini-2.5-flash-image"),
        ("nano-banana-pro", PRO),
        ("google/nano-banana-2", "gemini-3.1-flash-image"),
        ("nano-banana-2-lite", "gemini-3.1-flash-lite-image"),
        ("models/nano-banana-2.1", PNG_MODEL),
        ("nano-banana-2.1-1x8-2k", PNG_MODEL),
    ],
)
def test_a_model_goes_by_the_names_that_relays_give_it(caller: Caller, name: str, model: str) -> None:
    """The answer names the catalogue's model, the books the name as it came."""
    assert caller.chat(model=name).json()["model"] == model
    assert caller.handle.requests()[-1]["model"] == name


def test_a_rule_knows_the_model_by_the_catalogues_name() -> None:
    with sandbox({"when": {"model": PRO, "resolution": "4K"}, "then": {"error": "internal"}}) as caller:
        assert [caller.chat(model=name).status_code for name in ("nano-banana-pro-4k", "nano-banana-pro")] == [500, 200]


def test_texts_and_references_come_in_parts_and_every_message_counts(caller: Caller) -> None:
    system = {"role": "system", "content": "be brief"}
    parts = [{"type": "text", "text": "like this"}, _reference(data_uri(PIXEL)), _reference(data_uri(PIXEL))]
    assert caller.chat(messages=[system, {"role": "user", "content": parts}]).status_code == 200
    entry = caller.handle.requests()[-1]
    assert (entry["prompt"], entry["references"]) == ("be brief\nlike this", 2)


def test_fields_that_nobody_knows_pass_as_they_do_at_relays(caller: Caller) -> None:
    known: dict[str, Any] = {
        "temperature": 1,
        "seed": 7,
        "stream": False,
        "n": 1,
        "service_tier": "flex",
        "max_tokens": 5000,
    }
    assert caller.chat(**known, foo=[{}], imageConfig={"aspectRatio": 5}, google={"bar": 1}).status_code == 200
    assert caller.handle.requests()[-1] | {"ratio": None, "micro_usd": 16_800} == caller.handle.requests()[-1]


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({"model": None}, "model", "Missing"),
        ({"model": 5}, "model", "'model'"),
        ({"messages": None}, "messages", "Missing"),
        ({"messages": "a mug"}, "messages", "a list"),
        ({"messages": ["a mug"]}, "messages[0]", "an object"),
        ({"messages": [{"content": "a mug"}]}, "messages[0].role", "Missing"),
        ({"messages": [{"role": "user"}]}, "messages", "neither text nor image"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "5"),
        (_content({"type": "text"}), "messages[0].content[0].text", "Missing"),
        (_content({"type": "video"}), "messages[0].content[0]", "'video'"),
        (_content("a mug"), "messages[0].content[0]", "an object"),
        (_content({"type": "image_url", "image_url": "x"}), "messages[0].content[0].image_url", "an object"),
        (_content(_reference("http://example.com/a.png")), "messages[0].content[0].image_url", "not fetched"),
        (_content(_reference("data:image/png,abc")), "messages[0].content[0].image_url", "base64"),
        (_content(_reference("data:image/png;base64,a*b")), "messages[0].content[0].image_url", "Base64"),
        (_content(_reference(data_uri(PIXEL, "image/jpg"))), "messages.content.image_url[0]", "image/jpg"),
        (_content(_reference(data_uri(PIXEL, "image/webp"))), "messages.content.image_url[0]", "not image/webp"),
        (_content(*[_reference(data_uri(PIXEL))] * 15), "messages", "At most 14"),
        ({"stream": True}, "stream", "Streaming"),
        ({"stream": "yes"}, "stream", "'stream'"),
        ({"n": 2}, "n", "one image"),
        ({"n": 0}, "n", "one image"),
        ({"modalities": ["image", 5]}, "modalities[1]", "5"),
        ({"modalities": ["audio"]}, "modalities", "modalities"),
        ({"image_config": "16:9"}, "image_config", "an object"),
        ({"google": {"image_config": {"aspect_ratio": 969}}}, "google.image_config.aspect_ratio", "969"),
        ({"extra_body": {"google": []}}, "extra_body.google", "an object"),
        (_image("16x9"), "image_config.aspect_ratio", "16x9"),
        (_image(None, "4k"), "image_config.image_size", "4k"),
        ({"model": "nano-banana", **_image(None, "1K")}, "image_config.image_size", "not supported"),
        ({"model": f"{PRO}-1x8"}, "image_config.aspect_ratio", "1:8"),
        ({"model": f"{PRO}-2k", **_image(None, "4K")}, "image_config.image_size", "2K, 4K"),
        ({**_image("1:1"), "google": _image("16:9")}, "image_config.aspect_ratio", "16:9, 1:1"),
    ],
)
def test_what_breaks_the_format_is_a_400_in_openais_form(
    caller: Caller, body: dict[str, Any], param: str, words: str
) -> None:
    answer = caller.chat(**body)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["code"]) == (400, "invalid_request_error", None)
    assert error["param"] == param
    assert words in error["message"]
    assert not caller.handle.requests()[-1]["accepted"]


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[]", b""])
def test_what_is_no_json_is_a_400(caller: Caller, content: bytes) -> None:
    answer = caller.client.post(CHAT, content=content)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, None)
    assert caller.handle.requests()[-1]["model"] == ""


@pytest.mark.parametrize("model", ["gemini-9", "gemini-2.5-flash-image-preview", "nano-banana-9-4k", "-16x9"])
def test_an_unknown_model_is_not_found(caller: Caller, model: str) -> None:
    answer = caller.chat(model=model)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
    assert model in answer.json()["error"]["message"]


_NAMES = st.sampled_from(
    ["messages", "role", "content", "type", "text", "image_url", "url", "model", "google", "image_config", "n"]
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES | st.text(), inner, max_size=3),
)


@given(st.dictionaries(_NAMES, _JSON))
def test_whatever_json_comes_is_read_or_refused(body: dict[str, object]) -> None:
    with contextlib.suppress(Refusal):
        check(read(json.dumps({"model": PNG_MODEL, **body}).encode()))


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"authorization": "Bearer good"}, 200, None),
        ({"x-goog-api-key": "good"}, 200, None),
        ({"authorization": "Bearer bad"}, 401, "invalid_token"),
        ({"x-goog-api-key": "bad"}, 401, "invalid_api_key"),
        ({"x-goog-api-key": "good", "authorization": "Bearer good"}, 400, None),
        ({"authorization": "Basic good"}, 401, None),
        ({}, 401, None),
    ],
)
@pytest.mark.parametrize("path", [CHAT, "/v1/models"])
def test_exactly_one_good_key_is_let_in(headers: dict[str, str], status: int, code: str | None, path: str) -> None:
    with sandbox(keys=["good"]) as caller:
        del caller.client.headers["authorization"]
        if path == CHAT:
            body = {"model": PNG_MODEL, "messages": [{"role": "user", "content": "x"}]}
            answer = caller.client.post(path, json=body, headers=headers)
        else:
            answer = caller.client.get("/v1beta/openai/models", headers=headers)
    assert answer.status_code == status
    if status != 200:
        assert answer.json()["error"]["code"] == code


@pytest.mark.parametrize("name", sorted(PROBLEMS))
def test_a_documented_error_comes_as_a_relay_says_it_and_costs_nothing(name: str) -> None:
    with sandbox({"error": name}) as caller:
        answer = caller.chat()
        (seen,) = caller.handle.requests()
    problem = in_chat_form(PROBLEMS[name])
    assert answer.status_code == problem.status == seen["status"]
    assert answer.text == problem.body if isinstance(problem.body, str) else answer.json() == problem.body
    assert (seen["accepted"], seen["billed"], seen["micro_usd"]) == (False, False, 0)


@pytest.mark.parametrize(
    ("name", "status", "kind", "code"),
    [
        ("bad_key", 401, "invalid_request_error", "invalid_api_key"),
        ("credits", 429, "insufficient_quota", "insufficient_quota"),
        ("rate_minute", 429, "requests", "rate_limit_exceeded"),
        ("overloaded", 503, "server_error", "overloaded"),
        ("model_gone", 404, "invalid_request_error", "model_not_found"),
        ("no_channel", 503, "new_api_error", "model_not_found"),
    ],
)
def test_errors_with_a_natural_word_are_said_in_openais_form(name: str, status: int, kind: str, code: str) -> None:
    with sandbox({"error": name}) as caller:
        answer = caller.chat()
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (answer.status_code, error["type"], error["code"]) == (status, kind, code)


def test_what_only_google_can_say_stays_in_its_form() -> None:
    with sandbox({"error": "rate_day"}) as caller:
        error = caller.chat().json()["error"]
    assert error["status"] == "RESOURCE_EXHAUSTED"
    assert "PerDay" in error["details"][0]["violations"][0]["quotaId"]


def test_a_status_alone_gets_a_plain_error_in_openais_form() -> None:
    with sandbox({"status": 418}) as caller:
        answer = caller.chat()
    assert (answer.status_code, answer.json()["error"]["type"]) == (418, "api_error")


def test_the_pause_of_an_error_stands_in_a_header() -> None:
    with sandbox({"error": "rate_minute", "retry_delay": 2.5}) as caller:
        answer = caller.chat()
        (seen,) = caller.handle.requests()
    assert answer.headers["retry-after"] == "2.5"
    assert "details" not in answer.json()["error"]
    assert 2.5 <= seen["retry_at"] - seen["at"] < 5


def test_a_full_minute_is_a_429_that_says_when_it_frees() -> None:
    with sandbox(quota={"requests_per_minute": 1}) as caller:
        caller.ask()
        answer = caller.chat()
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert 50 < float(answer.headers["retry-after"]) <= 60


def test_a_body_above_the_cap_is_a_413() -> None:
    with sandbox(max_body=5000) as caller:
        answer = caller.chat("x" * 10_000)
    assert (answer.status_code, answer.json()["error"]["type"]) == (413, "invalid_request_error")


def test_a_large_request_is_read_as_any_other(caller: Caller) -> None:
    assert caller.chat("x" * 300_000).status_code == 200
    assert len(caller.handle.requests()[-1]["prompt"]) == 300_000


@pytest.mark.parametrize("path", ["/v1/models", "/v1beta/openai/models"])
def test_the_models_are_listed_in_openais_form(caller: Caller, path: str) -> None:
    listed = caller.client.get(path).json()
    assert listed["object"] == "list"
    assert {"id": PNG_MODEL, "object": "model", "created": 0, "owned_by": "google"} in listed["data"]
    assert caller.client.get(f"{path}/{PNG_MODEL}").json()["id"] == PNG_MODEL
    missing = caller.client.get(f"{path}/none")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


def test_the_same_list_is_googles_for_who_brings_googles_header() -> None:
    """Both services have a `/v1/models`; relays tell their clients apart by the header."""
    with sandbox() as caller:
        del caller.client.headers["authorization"]
        listed = caller.client.get("/v1/models", headers={"x-goog-api-key": "any"}).json()
    assert f"models/{PNG_MODEL}" in [model["name"] for model in listed["models"]]
