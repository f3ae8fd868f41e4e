"""Requests of the chat format say what the task says, each dialect in its own way."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchbanana.errors import UsageError
from batchbanana.providers import Request
from batchbanana.providers.openai import OpenAI
from batchbanana.task import Attempt, Reference
from tests.providers.building import attempt, reference

OLD = "gemini-2.5-flash-image"


def request(asked: Attempt, dialect: str = "none") -> Request:
    return OpenAI(dialect=dialect, omit_size=lambda model: model == OLD).request(asked)


def body(asked: Attempt, dialect: str = "none") -> Any:
    """Put the body together as an engine does: a reference becomes the base64 of its file, here of its name."""
    pieces = request(asked, dialect).body
    data = b"".join(base64.b64encode(str(p.path).encode()) if isinstance(p, Reference) else p for p in pieces)
    return json.loads(data)


def said(asked: Attempt, dialect: str) -> Any:
    """Give what a body says beside the prompt, which is always the same."""
    made = body(asked, dialect)
    assert made.pop("messages") == [{"role": "user", "content": "a cat"}]
    assert made.pop("stream") is False
    return made


def test_without_references_the_content_is_a_plain_string() -> None:
    assert body(attempt(ratio="16:9", resolution="2K")) == {
        "model": "gemini-3-pro-image",
        "stream": False,
        "messages": [{"role": "user", "content": "a cat"}],
    }


@given(prompt=st.text(), names=st.lists(st.text("abc", min_size=1), min_size=1, max_size=3))
def test_any_prompt_and_references_arrive_in_order(prompt: str, names: list[str]) -> None:
    references = tuple(reference(name, "image/webp") for name in names)
    [message] = body(attempt(prompt=prompt, references=references))["messages"]
    first, *others = message["content"]
    assert message["role"] == "user"
    assert first == {"type": "text", "text": prompt}
    assert others == [
        {
            "type": "image_url",
            "image_url": {"url": f"data:image/webp;base64,{base64.b64encode(name.encode()).decode()}"},
        }
        for name in names
    ]


WIDE = {"aspect_ratio": "16:9", "image_size": "2K"}


@pytest.mark.parametrize(
    ("dialect", "model", "ratio", "size", "expected"),
    [
        ("none", "m", "16:9", "4K", {"model": "m"}),
        ("image_config", "m", "16:9", "2K", {"model": "m", "modalities": ["image", "text"], "image_config": WIDE}),
        (
            "image_config",
            "m",
            None,
            "1K",
            {"model": "m", "modalities": ["image", "text"], "image_config": {"image_size": "1K"}},
        ),
        (
            "image_config",
            OLD,
            "1:1",
            "1K",
            {"model": OLD, "modalities": ["image", "text"], "image_config": {"aspect_ratio": "1:1"}},
        ),
        ("image_config", OLD, None, "1K", {"model": OLD, "modalities": ["image", "text"]}),
        ("google_extra_body", "m", "16:9", "2K", {"model": "m", "extra_body": {"google": {"image_config": WIDE}}}),
        ("google_extra_body", OLD, None, "1K", {"model": OLD}),
        ("suffix", "m", "16:9", "2K", {"model": "m-16x9-2k"}),
        ("suffix", "m", "9:16", "512", {"model": "m-9x16-512"}),
        ("suffix", "m", "1:1", "4K", {"model": "m-4k"}),
        ("suffix", "m", "1:1", "1K", {"model": "m"}),
        ("suffix", "m", None, "1K", {"model": "m"}),
        ("suffix", OLD, "21:9", "4K", {"model": f"{OLD}-21x9"}),
    ],
)
def test_each_dialect_says_ratio_and_size_in_its_way(
    dialect: str, model: str, ratio: str | None, size: str, expected: object
) -> None:
    assert said(attempt(model=model, ratio=ratio, resolution=size), dialect) == expected


def test_the_server_learns_the_deadline_and_the_path_is_the_given_one() -> None:
    made = request(attempt(timeout=359.2))
    assert made.headers == (("content-type", "application/json"), ("x-server-timeout", "360"))
    assert made.path == "/v1/chat/completions"
    other = OpenAI(dialect="none", omit_size=lambda _model: False, path="/v1beta/openai/chat/completions")
    assert other.request(attempt()).path == "/v1beta/openai/chat/completions"
    assert dict(request(attempt(timeout=0)).headers)["x-server-timeout"] == "1"


def test_extra_parameters_are_merged_at_every_level_and_win() -> None:
    extra = {"seed": 7, "image_config": {"image_size": "512"}, "modalities": ["image"]}
    assert said(attempt(extra=extra), "image_config") == {
        "model": "gemini-3-pro-image",
        "seed": 7,
        "modalities": ["image"],
        "image_config": {"aspect_ratio": "1:1", "image_size": "512"},
    }


@pytest.mark.parametrize("key", ["messages", "model", "stream", "n"])
def test_extra_parameters_may_not_replace_what_is_the_tasks_own(key: str) -> None:
    with pytest.raises(UsageError, match=f"job hero sets `{key}`"):
        request(attempt(extra={key: 1}))
