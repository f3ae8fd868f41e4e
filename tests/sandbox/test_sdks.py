"""The services' own clients take the sandbox for the service: what they send is accepted, what they get they read."""

import base64
import io
import itertools
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from google import genai
from google.genai import errors, types
from PIL import Image

from batchbanana.sandbox.running import Handle, in_thread
from tests.sandbox.client import JPEG_MODEL, PNG_MODEL, QUICK, data_uri, look, undo

PRO = "gemini-3-pro-image"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both clients would send a loopback address through a proxy that the environment names."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="module")
def handle() -> Iterator[Handle]:
    """A sandbox that never fails, for all tests that need no other."""
    with in_thread(QUICK) as handle:
        yield handle


@pytest.fixture(scope="module")
def reference() -> bytes:
    """A picture whose base64 has letters that differ between the two alphabets."""
    out = io.BytesIO()
    image = Image.new("L", (16, 16))
    image.putdata(list(itertools.islice(itertools.cycle(range(0, 256, 7)), 256)))
    image.save(out, "PNG")
    assert set(base64.urlsafe_b64encode(out.getvalue())) & set(b"-_")
    return out.getvalue()


def _google(url: str, **options: Any) -> genai.Client:
    return genai.Client(api_key="any", http_options=types.HttpOptions(base_url=url, timeout=10_000, **options))


def _picture(**config: Any) -> types.GenerateContentConfig:
    return types.GenerateContentConfig(response_modalities=["IMAGE"], **config)


def _images(answer: types.GenerateContentResponse) -> list[bytes]:
    return [part.inline_data.data for part in answer.parts or [] if part.inline_data and part.inline_data.data]


@pytest.mark.parametrize("version", ["v1", "v1beta"])
def test_google_gets_the_image_and_the_usage_it_asked_for(handle: Handle, reference: bytes, version: str) -> None:
    parts = [types.Part.from_text(text="a mug"), types.Part.from_bytes(data=reference, mime_type="image/png")]
    with _google(handle.url, api_version=version) as client:
        answer = client.models.generate_content(
            model=PRO,
            contents=types.Content(role="user", parts=parts),
            config=_picture(image_config=types.ImageConfig(aspect_ratio="16:9", image_size="2K")),
        )
    assert [look(image) for image in _images(answer)] == [("JPEG", (2752, 1536))]
    assert answer.model_version == PRO
    assert answer.candidates is not None
    assert answer.candidates[0].finish_reason is types.FinishReason.STOP
    usage = answer.usage_metadata
    assert usage is not None
    assert usage.candidates_tokens_details is not None
    assert usage.candidates_tokens_details[0].modality is types.MediaModality.IMAGE
    assert (usage.candidates_token_count, usage.thoughts_token_count) == (1120, 240)
    seen = handle.requests()[-1]
    assert (seen["auth"], seen["ratio"], seen["resolution"], seen["references"]) == ("google", "16:9", "2K", 1)


def test_google_may_send_everything_that_its_settings_have(handle: Handle) -> None:
    """It spells numbers as 40.0 and the names of some nested fields in snake_case."""
    config = _picture(
        system_instruction="be brief",
        temperature=1,
        top_k=40,
        top_p=0.9,
        seed=7,
        candidate_count=1,
        safety_settings=[
            types.SafetySetting(
                category=types.HarmCategory.HARM_CATEGORY_HARASSMENT, threshold=types.HarmBlockThreshold.BLOCK_NONE
            )
        ],
        tools=[types.Tool(google_search=types.GoogleSearch())],
        thinking_config=types.ThinkingConfig(thinking_level=types.ThinkingLevel.LOW, include_thoughts=True),
        service_tier=types.ServiceTier.FLEX,
    )
    with _google(handle.url) as client:
        assert _images(client.models.generate_content(model=PRO, contents="a mug", config=config))
    assert handle.requests()[-1]["micro_usd"] == 67_000


def test_google_can_go_on_from_an_answer(handle: Handle) -> None:
    with _google(handle.url) as client:
        chat = client.chats.create(model=JPEG_MODEL)
        assert chat.send_message("a mug").text == "Here is your picture."
        assert _images(chat.send_message("in blue"))
    assert handle.requests()[-1]["references"] == 1


def test_google_lists_the_models(handle: Handle) -> None:
    with _google(handle.url) as client:
        found = {model.name: model for model in client.models.list()}
        assert client.models.get(model=PNG_MODEL).display_name == "Nano Banana 2.1"
    assert found[f"models/{PNG_MODEL}"].supported_actions == ["generateContent"]


def test_google_sees_thoughts_and_refusals_for_what_they_are() -> None:
    rules = [{"when": {"nth": 1}, "then": {"thought": True, "signature": 9}}, {"then": {"block": "SAFETY"}}]
    with in_thread({**QUICK, "faults": rules}) as handle, _google(handle.url) as client:
        thoughtful, blocked = (client.models.generate_content(model=PRO, contents="x") for _ in range(2))
    assert [part.thought for part in thoughtful.parts or [] if part.inline_data] == [True, None]
    assert (thoughtful.parts or [])[-1].thought_signature == bytes(9)
    assert blocked.prompt_feedback is not None
    assert blocked.prompt_feedback.block_reason is types.BlockedReason.SAFETY


def test_google_raises_what_it_raises_at_the_service() -> None:
    rules = [
        {"when": {"nth": 1}, "then": {"error": "bad_key"}},
        {"when": {"nth": 2}, "then": {"error": "rate_minute", "retry_delay": 55.2}},
        {"when": {"nth": 3}, "then": {"error": "overloaded"}},
    ]
    caught: list[errors.APIError] = []
    with in_thread({**QUICK, "faults": rules}) as handle, _google(handle.url) as client:
        for kind in (errors.ClientError, errors.ClientError, errors.ServerError):
            with pytest.raises(kind) as raised:
                client.models.generate_content(model=PRO, contents="x")
            caught.append(raised.value)
    key, rate, busy = caught
    assert [(error.code, error.status) for error in caught] == [
        (400, "INVALID_ARGUMENT"),
        (429, "RESOURCE_EXHAUSTED"),
        (503, "UNAVAILABLE"),
    ]
    assert key.details["error"]["details"][0]["reason"] == "API_KEY_INVALID"
    assert [detail["retryDelay"] for detail in rate.details["error"]["details"] if "retryDelay" in detail] == ["55.2s"]
    assert busy.message is not None
    assert "overloaded" in busy.message


def test_google_is_told_of_a_ratio_that_the_model_lacks(handle: Handle) -> None:
    config = _picture(image_config=types.ImageConfig(aspect_ratio="1:8"))
    with _google(handle.url) as client, pytest.raises(errors.ClientError, match="aspect_ratio must be one of"):
        client.models.generate_content(model=PRO, contents="x", config=config)


def _openai(url: str, **options: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", max_retries=0, timeout=10, **{"api_key": "any", **options})


def _chat(client: openai.OpenAI, content: Any = "a mug", model: str = PRO, **options: Any) -> Any:
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": content}], **options)


def _shown(answer: Any) -> bytes:
    content: str = answer.choices[0].message.content
    return undo(content.removeprefix("![image](").removesuffix(")"))


_ASKED = {"image_config": {"aspect_ratio": "16:9", "image_size": "2K"}}


@pytest.mark.parametrize(
    "extra",
    [
        {"modalities": ["image", "text"], **_ASKED},
        {"google": _ASKED},
        {"extra_body": {"google": _ASKED}},
    ],
)
def test_openai_says_ratio_and_size_in_its_extra_body(handle: Handle, extra: dict[str, Any]) -> None:
    with _openai(handle.url) as client:
        assert look(_shown(_chat(client, extra_body=extra))) == ("JPEG", (2752, 1536))
    seen = handle.requests()[-1]
    assert (seen["auth"], seen["ratio"], seen["resolution"]) == ("bearer", "16:9", "2K")


@pytest.mark.parametrize(("model", "pixels"), [(PRO, (1024, 1024)), (f"{PRO}-16x9-4k", (5504, 3072))])
def test_openai_says_ratio_and_size_in_the_name_or_not_at_all(
    handle: Handle, model: str, pixels: tuple[int, int]
) -> None:
    with _openai(handle.url) as client:
        assert look(_shown(_chat(client, model=model)))[1] == pixels


def test_openai_sends_a_reference_and_reads_message_and_usage(handle: Handle, reference: bytes) -> None:
    parts = [
        {"type": "text", "text": "like this"},
        {"type": "image_url", "image_url": {"url": data_uri(reference), "detail": "high"}},
    ]
    with _openai(handle.url) as client:
        answer = _chat(client, parts)
    (choice,) = answer.choices
    assert (choice.finish_reason, choice.message.role, answer.model) == ("stop", "assistant", PRO)
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (261, 1360)
    assert answer.usage.completion_tokens_details.image_tokens == 1120
    assert handle.requests()[-1]["references"] == 1


def test_openai_finds_the_image_beside_the_content() -> None:
    with in_thread({**QUICK, "format_quirks": {"shape": "images"}}) as handle, _openai(handle.url) as client:
        message = _chat(client).choices[0].message
    assert look(undo(message.images[0]["image_url"]["url"])) == ("JPEG", (1024, 1024))


def test_openai_lists_the_models(handle: Handle) -> None:
    with _openai(handle.url) as client:
        assert PNG_MODEL in [model.id for model in client.models.list()]
        assert client.models.retrieve(PNG_MODEL).owned_by == "google"


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        ("invalid", openai.BadRequestError, None),
        ("bad_key", openai.AuthenticationError, "invalid_api_key"),
        ("forbidden", openai.PermissionDeniedError, None),
        ("model_gone", openai.NotFoundError, "model_not_found"),
        ("rate_minute", openai.RateLimitError, "rate_limit_exceeded"),
        ("overloaded", openai.InternalServerError, "overloaded"),
        ("no_channel", openai.InternalServerError, "model_not_found"),
    ],
)
def test_openai_raises_what_it_raises_at_the_service(
    error: str, kind: type[openai.APIStatusError], code: str | None
) -> None:
    with in_thread({**QUICK, "faults": [{"then": {"error": error}}]}) as handle, _openai(handle.url) as client:
        with pytest.raises(kind) as raised:
            _chat(client)
        assert raised.value.code == code
        assert raised.value.response.headers.get("retry-after") == ("30" if error == "rate_minute" else None)


def test_openai_is_told_what_was_wrong_and_where() -> None:
    with in_thread({**QUICK, "keys": ["good"]}) as handle:
        with _openai(handle.url, api_key="good") as client, pytest.raises(openai.BadRequestError) as refused:
            _chat(client, extra_body={"image_config": {"aspect_ratio": "1:8"}})
        with _openai(handle.url, api_key="bad") as client, pytest.raises(openai.AuthenticationError, match="token"):
            _chat(client)
        with _openai(handle.url, api_key="good") as client, pytest.raises(openai.BadRequestError, match="stream"):
            _chat(client, stream=True)
    assert refused.value.param == "image_config.aspect_ratio"
    assert "aspect_ratio must be one of" in refused.value.message
