"""A request is read as strictly as the service reads it."""

import base64
import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchbanana.sandbox.problems import Refusal
from batchbanana.sandbox.wanted import check
from batchbanana.sandbox.wire import read
from tests.sandbox.client import JPEG_MODEL, PIXEL, PNG_MODEL, Caller, look, parts, request, sandbox


@pytest.fixture(scope="module")
def caller() -> Iterator[Caller]:
    with sandbox() as caller:
        yield caller


def _reference(mime: str, data: bytes) -> dict[str, object]:
    return {"inlineData": {"mimeType": mime, "data": base64.b64encode(data).decode()}}


def _with(**config: object) -> dict[str, Any]:
    body = request()
    body["generationConfig"] |= config
    return body


def test_an_answer_has_the_shape_of_the_service(caller: Caller) -> None:
    answer = caller.ask(request(aspectRatio="16:9", imageSize="2K")).json()
    assert answer["candidates"][0]["finishReason"] == "STOP"
    assert answer["modelVersion"] == PNG_MODEL
    assert answer["responseId"]
    usage = answer["usageMetadata"]
    assert usage["candidatesTokensDetails"] == [{"modality": "IMAGE", "tokenCount": 1680}]
    assert usage["totalTokenCount"] > usage["candidatesTokenCount"] == 1680


@pytest.mark.parametrize(
    ("model", "ratio", "size", "kind", "pixels"),
    [
        (PNG_MODEL, "16:9", "1K", "PNG", (1376, 768)),
        (JPEG_MODEL, "1:8", "512", "JPEG", (192, 1536)),
        ("gemini-2.5-flash-image", "21:9", None, "PNG", (1536, 672)),
        ("gemini-3-pro-image", None, "2K", "JPEG", (2048, 2048)),
    ],
)
def test_the_picture_has_the_models_type_and_the_nominal_pixels(
    caller: Caller, model: str, ratio: str | None, size: str | None, kind: str, pixels: tuple[int, int]
) -> None:
    body = request(aspectRatio=ratio, imageSize=size)
    assert look(caller.image(body=body, model=model)) == (kind, pixels)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"contents": [], "foo": 1}, 'Unknown name "foo"'),
        (_with(image_config={}), "Unknown name \"image_config\" at 'generation_config'"),
        (request(aspect_ratio="1:1"), "Unknown name \"aspect_ratio\" at 'generation_config.image_config'"),
        (request(parts=[{"inline_data": {}}]), "Unknown name \"inline_data\" at 'contents[0].parts[1]'"),
        (request(aspectRatio=969), "generation_config.image_config.aspect_ratio"),
        (request(aspectRatio="16x9"), "aspect_ratio"),
        (request(imageSize="4k"), "image_size"),
        (request(imageSize="512"), "image_size"),
        (_with(candidateCount=2), "candidate"),
        (_with(candidateCount=True), "candidate_count"),
        (_with(responseModalities=["IMAGE", "AUDIO"]), "modalities"),
        ({"contents": [{"parts": {"text": "x"}}]}, "contents[0].parts"),
        ({"contents": [None]}, "contents[0]"),
        ({"contents": [{"parts": []}]}, "contents is not specified"),
        ({"serviceTier": "cheap"}, "service_tier"),
        ([], "Expected an object"),
        (request(parts=[_reference("image/jpg", PIXEL)]), "Unsupported MIME type: image/jpg"),
        (request(parts=[_reference("image/jpeg", PIXEL)]), "not image/jpeg"),
        (request(parts=[{"inlineData": {"mimeType": "image/png", "data": "a*b"}}]), "Base64"),
        (request(parts=[_reference("image/png", PIXEL)] * 15), "At most 14 images"),
    ],
)
def test_what_breaks_the_contract_is_a_400_that_names_it(caller: Caller, body: object, named: str) -> None:
    answer = caller.ask(body)
    assert answer.status_code == 400
    assert answer.json()["error"]["status"] == "INVALID_ARGUMENT"
    assert named in answer.json()["error"]["message"]


_NAMES = st.sampled_from(["contents", "parts", "text", "inlineData", "data", "mimeType", "generationConfig", "tools"])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES | st.text(), inner, max_size=3),
)


@given(st.dictionaries(_NAMES, _JSON))
def test_whatever_json_comes_is_read_or_refused(body: dict[str, object]) -> None:
    with contextlib.suppress(Refusal):
        check(read(json.dumps(body).encode(), PNG_MODEL))


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 100_000, b'{"contents": NaN}', b""])
def test_what_is_no_json_is_a_400(caller: Caller, content: bytes) -> None:
    path = f"/v1beta/models/{PNG_MODEL}:generateContent"
    assert caller.client.post(path, content=content).status_code == 400


def test_gen_1_takes_no_image_size(caller: Caller) -> None:
    assert caller.ask(request(imageSize="1K"), model="gemini-2.5-flash-image").status_code == 400


@pytest.mark.parametrize("model", ["gemini-9", "gemini-2.5-flash-image-preview", "gemini%2F9"])
def test_an_unknown_or_dead_model_is_not_found(caller: Caller, model: str) -> None:
    answer = caller.ask(model=model)
    assert (answer.status_code, answer.json()["error"]["status"]) == (404, "NOT_FOUND")


def test_everything_the_contract_names_is_accepted(caller: Caller) -> None:
    config = {"seed": 7, "temperature": 1, "thinkingConfig": {"thinkingLevel": "LOW"}, "candidateCount": 1}
    extra = {
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
        "tools": [{"googleSearch": {}}],
        "serviceTier": "flex",
        "systemInstruction": None,
    }
    body = {**_with(**config), **extra}
    body["contents"][0]["parts"].append(_reference("image/png", PIXEL))
    assert caller.ask(body, headers={"x-server-timeout": "180"}).status_code == 200
    assert caller.handle.requests()[-1] | {"references": 1, "micro_usd": 16_800} == caller.handle.requests()[-1]


def test_texts_come_only_where_they_are_asked_for(caller: Caller) -> None:
    assert [list(part) for part in parts(caller.ask(_with(responseModalities=["TEXT", "IMAGE"])).json())] == [
        ["text"],
        ["inlineData"],
    ]
    assert [list(part) for part in parts(caller.ask(_with(responseModalities=["TEXT"])).json())] == [["text"]]


def test_a_token_cap_below_the_image_cuts_it(caller: Caller) -> None:
    candidate = caller.ask(_with(maxOutputTokens=100)).json()["candidates"][0]
    assert (candidate["finishReason"], "content" in candidate) == ("MAX_TOKENS", False)
    assert caller.handle.requests()[-1]["billed"] is False


def test_a_server_timeout_must_be_whole_seconds(caller: Caller) -> None:
    assert caller.ask(headers={"x-server-timeout": "1.5"}).status_code == 400


def test_half_a_character_in_a_prompt_is_survived(caller: Caller) -> None:
    body = b'{"contents":[{"parts":[{"text":"\\ud83d"}]}]}'
    assert caller.client.post(f"/v1beta/models/{PNG_MODEL}:generateContent", content=body).status_code == 200


@pytest.mark.parametrize(
    ("headers", "query", "status", "auth"),
    [
        ({"authorization": "Bearer good"}, "", 200, "bearer"),
        ({"x-goog-api-key": "good"}, "", 200, "google"),
        ({"authorization": "Bearer bad"}, "", 401, "bearer"),
        ({"x-goog-api-key": "bad"}, "", 400, "google"),
        ({"x-goog-api-key": "good", "authorization": "Bearer good"}, "", 400, "google"),
        ({"authorization": "Bearer good"}, "?key=good", 400, "bearer"),
        ({"authorization": "Basic good"}, "", 401, "none"),
        ({}, "", 403, "none"),
    ],
)
def test_exactly_one_good_key_in_a_header_is_let_in(
    headers: dict[str, str], query: str, status: int, auth: str
) -> None:
    with sandbox(keys=["good"]) as caller:
        del caller.client.headers["authorization"]
        path = f"/v1beta/models/{PNG_MODEL}:generateContent{query}"
        assert caller.client.post(path, json=request(), headers=headers).status_code == status
        (seen,) = caller.handle.requests()
        assert (seen["auth"], seen["status"], seen["billed"]) == (auth, status, status == 200)


def test_a_body_above_the_cap_is_a_413_and_the_connection_lives_on() -> None:
    with sandbox(max_body=5000) as caller:
        assert caller.ask(request("x" * 500_000)).status_code == 413
        assert caller.ask().status_code == 200


def test_the_models_are_listed_for_who_has_a_key(caller: Caller) -> None:
    listed = caller.client.get("/v1beta/models").json()["models"]
    assert f"models/{PNG_MODEL}" in [model["name"] for model in listed]
    assert caller.client.get(f"/v1beta/models/{PNG_MODEL}").json()["displayName"] == "Nano Banana 2.1"
    assert caller.client.get("/v1beta/models/none").status_code == 404
    assert caller.client.get("/v1beta/models", headers={"authorization": ""}).status_code == 401


@pytest.mark.parametrize("path", ["/", "/v1/models", f"/v1beta/models/{PNG_MODEL}:streamGenerateContent"])
def test_other_paths_are_not_found(caller: Caller, path: str) -> None:
    assert caller.client.post(path).status_code == 404
    assert caller.client.head(path).status_code == 404
