"""The chat format through the whole program: every dialect, every place where an image hides, every kind of answer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
from PIL import Image

from batchbanana.sandbox.effects import Shape
from batchbanana.sandbox.running import in_thread
from tests.support.program import KEY, Job, manifest

SHAPES = [shape for shape in get_args(Shape) if shape != "nothing"]
DIALECTS = ("image_config", "google_extra_body", "suffix")


def chat(count: int = 1, *, dialect: str | None = "image_config", **more: Any) -> dict[str, object]:
    provider = {"format": "openai", **({"dialect": dialect} if dialect else {}), **more.pop("provider", {})}
    settings = {"model": "gemini-3-pro-image", "resolution": "1K", "provider": provider, **more}
    return manifest(count, **settings)


def made(
    tmp_path: Path, script: Mapping[str, Any], written: dict[str, object]
) -> tuple[Job, Any, list[dict[str, Any]]]:
    """Run a manifest against a sandbox; gives the job, how it ended, and the requests for images."""
    with in_thread({"latency": 0.0, **script}) as sandbox:
        job = Job(tmp_path, sandbox.url, written)
        ended = job.run()
        job.check()
        return job, ended, [entry for entry in sandbox.requests() if entry["kind"] == "generate"]


@pytest.mark.parametrize("shape", SHAPES)
def test_an_image_is_found_wherever_it_hides(tmp_path: Path, shape: str) -> None:
    job, ended, requests = made(tmp_path, {"format_quirks": {"shape": shape}}, chat(2))
    assert (ended.code, ended.json["done"], len(requests)) == (0, 2, 2), ended.err
    for record in job.records:
        with Image.open(job.output / record["file_name"]) as picture:
            picture.load()
            assert picture.size == (record["width"], record["height"])


def test_an_answer_without_an_image_is_asked_again_and_fails(tmp_path: Path) -> None:
    _, ended, requests = made(tmp_path, {"format_quirks": {"shape": "nothing"}}, chat())
    assert (ended.code, ended.json["failed"], len(requests)) == (3, 1, 3), ended.err


@pytest.mark.parametrize("dialect", DIALECTS)
def test_each_dialect_says_ratio_and_size(tmp_path: Path, dialect: str) -> None:
    job, ended, requests = made(tmp_path, {}, chat(dialect=dialect, ratio="16:9", resolution="2K"))
    assert (ended.code, ended.json["done"]) == (0, 1), ended.err
    assert (requests[0]["ratio"], requests[0]["resolution"]) == ("16:9", "2K")
    assert (job.records[0]["ratio"], job.records[0]["delivered_resolution"]) == ("16:9", "2K")


@pytest.mark.parametrize("dialect", [None, "none"])
@pytest.mark.parametrize("asked", [{"ratio": "16:9"}, {"resolution": "2K"}, {"ratio": ["1:1", "4:3"]}], ids=str)
def test_what_cannot_be_said_is_refused_before_anything_is_sent(
    tmp_path: Path, dialect: str | None, asked: dict[str, Any]
) -> None:
    with in_thread({"latency": 0.0}) as sandbox:
        job = Job(tmp_path, sandbox.url, chat(dialect=dialect, **asked))
        ended = job.run()
        assert (ended.code, sandbox.requests()) == (2, [])
    assert "dialect" in ended.err


@pytest.mark.parametrize("dialect", [None, "none"])
def test_without_a_dialect_a_square_at_1k_is_made(tmp_path: Path, dialect: str | None) -> None:
    _, ended, requests = made(tmp_path, {}, chat(dialect=dialect))
    assert (ended.code, ended.json["done"]) == (0, 1), ended.err
    assert (requests[0]["ratio"], requests[0]["resolution"]) == (None, None)


@pytest.mark.parametrize(
    "then",
    [
        {"draft": True},
        {"thought": True},
        {"base64": "urlsafe"},
        {"base64": "nopad"},
        {"base64": "linebreaks"},
        {"label": "image/jpg"},
        {"text": "Here you are"},
        {"list": True},
        {"no_end": True},
        {"drip": 400_000},
    ],
    ids=str,
)
def test_an_image_that_came_oddly_is_taken(tmp_path: Path, then: dict[str, object]) -> None:
    _, ended, requests = made(tmp_path, {"faults": [{"then": then}]}, chat())
    assert (ended.code, ended.json["done"], len(requests)) == (0, 1, 1), ended.err


@pytest.mark.parametrize(
    ("then", "code", "count", "requests"),
    [
        ({"block": "PROHIBITED_CONTENT"}, 3, "refused", 1),
        ({"finish": "SAFETY"}, 3, "refused", 1),
        ({"finish": "content_filter"}, 3, "refused", 1),
        ({"finish": "IMAGE_SAFETY"}, 3, "refused", 3),
        ({"finish": "NO_IMAGE"}, 3, "failed", 3),
        ({"base64": "garbage"}, 3, "failed", 3),
        ({"truncate": 300}, 3, "failed", 3),
        ({"html": True}, 3, "failed", 3),
        ({"size": "512"}, 4, "mismatch", 1),
        ({"error": "invalid"}, 3, "failed", 1),
        ({"error": "bad_key"}, 12, "pending", 1),
        ({"error": "credits"}, 12, "pending", 1),
        ({"error": "rate_day"}, 75, "pending", 1),
        ({"error": "model_gone"}, 12, "pending", 1),
        ({"error": "no_channel"}, 12, "pending", 1),
    ],
    ids=str,
)
def test_an_answer_means_the_same_in_either_format(
    tmp_path: Path, then: dict[str, object], code: int, count: str, requests: int
) -> None:
    _, ended, seen = made(tmp_path, {"faults": [{"then": then}]}, chat())
    assert (ended.code, ended.json[count], len(seen)) == (code, 1, requests), ended.err


def test_references_go_along(tmp_path: Path) -> None:
    for name in ("one.png", "two.jpg"):
        Image.new("RGB", (64, 64), "red").save(tmp_path / name)
    _, ended, requests = made(tmp_path, {}, chat(references=["one.png", "two.jpg"]))
    assert (ended.code, requests[0]["references"]) == (0, 2), ended.err


@pytest.mark.parametrize(("auth", "seen"), [(None, "bearer"), ("bearer", "bearer"), ("google", "google")])
@pytest.mark.parametrize("wire", ["gemini", "openai"])
def test_the_key_goes_in_one_header_only(tmp_path: Path, wire: str, auth: str | None, seen: str) -> None:
    provider = {"format": wire, **({"auth": auth} if auth else {})}
    written = manifest(1, provider=provider, resolution="1K")
    _, ended, requests = made(tmp_path, {"keys": [KEY]}, written)
    assert (ended.code, [entry["auth"] for entry in requests]) == (0, [seen]), ended.err


def test_a_timeout_leads_to_the_smaller_size_here_too(tmp_path: Path) -> None:
    script = {"faults": [{"when": {"resolution": "4K"}, "then": {"hang": "before"}}]}
    timeouts = {"4K": 1, "2K": 20, "stall": 5}
    job, ended, _ = made(tmp_path, script, chat(resolution="4K", timeouts=timeouts))
    assert (ended.code, job.records[0]["delivered_resolution"]) == (4, "2K"), ended.err
