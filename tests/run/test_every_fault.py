"""Whatever the server does, one thing at a time or all at once, a run ends in its time and its books are right."""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from batchbanana.sandbox.effects import Effects
from batchbanana.sandbox.problems import PROBLEMS
from batchbanana.sandbox.running import in_thread
from tests.support.program import Ended, Job, manifest

TIMEOUT, STALL = 1.5, 1.0  # seconds an attempt
SENDS = 3.0  # seconds after which a run sends nothing more
BOUND = SENDS + 3 * TIMEOUT + 15.0  # seconds: what was sent last, at its longest, and a busy machine
AT_ONCE = 6  # runs under way together
CODES = {0, 3, 4, 10, 12, 75}

Then = Mapping[str, Any]
EFFECTS: Sequence[Then] = [
    {"status": 418},
    {"status": 500, "body": "no JSON"},
    {"status": 200, "body": {"odd": [1, None]}},
    {"status": 204},
    {"headers": {"x-odd": "1"}},
    {"error": "rate_minute", "retry_delay": 0.2},
    {"error": "rate_minute", "retry_delay": 10_000},
    {"error": "overloaded", "retry_after": 0.2},
    {"error": "overloaded", "retry_after": "Wed, 21 Oct 2099 07:28:00 GMT"},
    {"redirect": "http://127.0.0.1:9/"},
    {"delay": 0.5},
    {"delay": 30.0},
    {"hang": "before"},
    {"hang": "headers"},
    {"hang": "body"},
    {"drip": 20},
    {"drip": 4000},
    {"cut": "before"},
    {"cut": 0.0},
    {"cut": 0.5},
    {"cut": 1.0},
    {"no_end": True},
    {"draft": True},
    {"thought": True},
    {"texts": True},
    {"text": "Here it is"},
    {"size": "1K"},
    {"ratio": "16:9"},
    {"pixels": (33, 77)},
    {"label": "image/webp"},
    {"image": "none"},
    {"image": "kept", "finish": "MAX_TOKENS"},
    {"image": "markdown"},
    {"image": "url"},
    {"image": "url", "download": {"status": 404}},
    {"image": "url", "download": {"status": 503}},
    {"image": "url", "download": {"redirect": "http://127.0.0.1:9/"}},
    {"image": "url", "download": {"hang": True}},
    {"image": "url", "download": {"cut": 0.5}},
    {"finish": "NO_IMAGE", "message": "no"},
    {"finish": "IMAGE_SAFETY"},
    {"finish": "A_WORD_OF_TOMORROW"},
    {"block": "SAFETY"},
    {"snake": True},
    {"list": True},
    {"signature": 100_000},
    {"version": "another-model"},
    *({"base64": how} for how in ("data_prefix", "urlsafe", "nopad", "linebreaks", "garbage")),
    {"truncate": 1},
    {"truncate": 10_000_000},
    {"html": True},
    {"billed": False},
]
PLACES = ["data_uri", "url", "bare_url", "images", "parts", "output_image", "parts_b64", "b64_json", "data_url"]
SHAPES: Sequence[Then] = [
    *({"shape": shape} for shape in [*PLACES, "nothing", "markdown"]),
    {"shape": "url", "download": {"hang": True}},
    {"finish": "content_filter"},
    {"hang": "body"},
    {"drip": 20},
]
ERRORS: Sequence[Then] = [{"error": name} for name in sorted(PROBLEMS)]
# What concerns one task only; the others would end or hold a run before it has met everything.
MILD = [{"error": name} for name in ("internal", "bad_gateway_html", "gateway_timeout", "request_timeout", "too_large")]
MIXED = [then for then in EFFECTS if not then.keys() & {"error", "redirect", "status"}] + MILD


def asked(tasks: int, *, is_chat: bool, workers: int) -> dict[str, object]:
    timeouts = {"512": TIMEOUT, "stall": STALL}
    provider = {"format": "openai", "dialect": "image_config"} if is_chat else {"format": "gemini"}
    whole = manifest(tasks, timeouts=timeouts, fallback="never", provider=provider, limits={"concurrency": workers})
    job = {"id": "hero", "prompt": "A mug, number {n}.", "vars": {"n": list(range(1, tasks + 1))}}
    return {**whole, "jobs": [job]}


def check(job: Job, ended: Ended, seconds: float, bill: Mapping[str, Any]) -> None:
    """Look at a run from the outside: its time, its code, its counts, its files."""
    assert seconds < BOUND
    data = ended.json
    assert ended.code == data["exit_code"]
    assert ended.code in CODES
    made = data["done"] + data["degraded"] + data["mismatch"]
    assert data["tasks"] == made + data["refused"] + data["failed"] + data["pending"]
    assert (ended.code == 0) == (data["done"] == data["tasks"])
    assert made == len(job.records)
    held = job.attempts("result IS NULL")  # paid, and to be fetched by the next run
    assert made <= bill["billed"] or not bill["billed"]
    assert bill["requests"] <= job.attempts()
    if not held:
        job.check()


def run(folder: Path, thens: Sequence[Then], *, is_chat: bool = False) -> None:
    """Run against a server that always does these things, each by turns."""
    folder.mkdir()
    turns = [{"when": {"prompt": f"number {n}."}, "then": dict(then)} for n, then in enumerate(thens, 1)]
    faults = turns if len(thens) > 1 else [{"then": dict(thens[0])}]
    with in_thread({"latency": 0.01, "pictures": "plain", "faults": faults}) as sandbox:
        job = Job(folder, sandbox.url, asked(max(2, len(thens)), is_chat=is_chat, workers=max(4, len(thens) // 2)))
        began = time.monotonic()
        ended = job.run("--max-duration", f"{SENDS:.0f}s")
        check(job, ended, time.monotonic() - began, sandbox.bill())
        assert len(thens) == 1 or job.rows("SELECT count(DISTINCT key) FROM attempts") == [(len(thens),)]


@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize(
    ("thens", "is_chat"), [(EFFECTS, False), (ERRORS, False), (SHAPES, True)], ids=["effects", "errors", "chat"]
)
def test_a_server_that_always_does_one_thing(
    tmp_path: Path, thens: Sequence[Then], part: int, *, is_chat: bool
) -> None:
    mine = list(enumerate(thens))[part::4]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        runs = {str(then): pool.submit(run, tmp_path / str(n), [then], is_chat=is_chat) for n, then in mine}
        faults = {then: done.exception() for then, done in runs.items()}
    assert not {then: fault for then, fault in faults.items() if fault is not None}


@pytest.mark.parametrize("is_chat", [False, True])
def test_a_server_that_does_everything_at_once(tmp_path: Path, *, is_chat: bool) -> None:
    run(tmp_path / "mixed", [*SHAPES, *MILD] if is_chat else MIXED, is_chat=is_chat)


def test_these_are_all_the_things_that_the_sandbox_can_do() -> None:
    tried = {key for then in [*EFFECTS, *SHAPES, *ERRORS] for key in then}
    assert tried == set(Effects.__dataclass_fields__)
