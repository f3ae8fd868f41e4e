"""Requests of the native format say what the task says, and nothing else."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchbanana.errors import UsageError
from batchbanana.providers import Request
from batchbanana.providers.body import merged
from batchbanana.providers.gemini import Gemini
from batchbanana.task import Attempt, Reference
from tests.providers.building import attempt, reference


def request(asked: Attempt, *, omit: str = "") -> Request:
    return Gemini(omit_size=lambda model: model == omit).request(asked)


def body(asked: Attempt, *, omit: str = "") -> Any:
    """Put the body together as an engine does: a reference becomes the base64 of its file, here of its name."""
    pieces = request(asked, omit=omit).body
    data = b"".join(base64.b64encode(str(p.path).encode()) if isinstance(p, Reference) else p for p in pieces)
    return json.loads(data)


def test_the_body_is_the_documented_one() -> None:
    assert body(attempt(ratio="16:9", resolution="2K")) == {
        "contents": [{"role": "user", "parts": [{"text": "a cat"}]}],
        "generationConfig": {
            "responseModalities": ["IMAGE"],
            "imageConfig": {"aspectRatio": "16:9", "imageSize": "2K"},
        },
    }


def test_a_ratio_left_to_the_model_is_not_sent() -> None:
    assert body(attempt(ratio=None))["generationConfig"]["imageConfig"] == {"imageSize": "1K"}


def test_a_size_is_not_sent_to_a_model_that_takes_none() -> None:
    old = "gemini-2.5-flash-image"
    assert body(attempt(model=old), omit=old)["generationConfig"]["imageConfig"] == {"aspectRatio": "1:1"}
    assert "imageConfig" not in body(attempt(model=old, ratio=None), omit=old)["generationConfig"]


def test_the_rung_decides_the_size_and_the_server_learns_the_deadline() -> None:
    made = request(attempt(resolution="4K", timeout=359.2))
    assert made.headers == (("content-type", "application/json"), ("x-server-timeout", "360"))


def test_the_model_is_quoted_in_the_path() -> None:
    assert request(attempt(model="a/b?c d")).path == "/v1beta/models/a%2Fb%3Fc%20d:generateContent"


@given(prompt=st.text(), names=st.lists(st.text("abc", min_size=1), max_size=3))
def test_any_prompt_and_references_arrive_in_order(prompt: str, names: list[str]) -> None:
    references = tuple(reference(name, "image/webp") for name in names)
    first, *others = body(attempt(prompt=prompt, references=references))["contents"][0]["parts"]
    assert first == {"text": prompt}
    assert [part["inlineData"]["mimeType"] for part in others] == ["image/webp"] * len(names)
    assert [base64.b64decode(part["inlineData"]["data"]).decode() for part in others] == names


def test_extra_parameters_are_merged_at_every_level_and_win() -> None:
    extra = {
        "serviceTier": "flex",
        "generationConfig": {"seed": 7, "responseModalities": ["TEXT", "IMAGE"], "imageConfig": {"imageSize": "512"}},
    }
    made = body(attempt(extra=extra))
    assert made["serviceTier"] == "flex"
    assert made["generationConfig"] == {
        "responseModalities": ["TEXT", "IMAGE"],
        "imageConfig": {"aspectRatio": "1:1", "imageSize": "512"},
        "seed": 7,
    }
    assert made["contents"] == [{"role": "user", "parts": [{"text": "a cat"}]}]


@pytest.mark.parametrize("key", ["contents", "model"])
def test_extra_parameters_may_not_replace_what_the_key_rests_on(key: str) -> None:
    with pytest.raises(UsageError, match=f"job hero sets `{key}`"):
        request(attempt(extra={key: []}))


NESTED = st.recursive(st.integers(), lambda inner: st.dictionaries(st.sampled_from("abc"), inner), max_leaves=8)


@given(st.dictionaries(st.sampled_from("abc"), NESTED), st.dictionaries(st.sampled_from("abc"), NESTED))
def test_merging_takes_nothing_from_either_side_but_what_the_other_replaces(
    base: dict[str, object], extra: dict[str, object]
) -> None:
    result = merged(base, extra)
    assert result.keys() == base.keys() | extra.keys()
    assert merged(result, extra) == result
    assert merged(base, {}) == base
    assert merged({}, extra) == extra
