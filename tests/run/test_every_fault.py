"""Whatever the server does, one thing at a time or all at once, a run ends in its time and its books are right."""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from batchbanana.errors import Exit
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
FREE: Then = {"billed": False}  # the server keeps from its invoice what it does not say is free
# By the exit code that follows; None where it depends on how much of it comes about before the time is up.
EFFECTS: Mapping[int | None, Sequence[Then]] = {
    Exit.MADE: [
        {"headers": {"x-odd": "1"}},
        {"cut": 1.0},
        {"no_end": True},
        {"draft": True},
        {"thought": True},
        {"texts": True},
        {"text": "Here it is"},
        {"label": "image/webp"},
        {"image": "kept", "finish": "MAX_TOKENS"},
        {"image": "markdown"},
        {"image": "url"},
        {"snake": True},
        {"list": True},
        {"signature": 100_000},
        {"version": "another-model"},
        *({"base64": how} for how in ("data_prefix", "urlsafe", "nopad", "linebreaks")),
        FREE,
    ],
    Exit.SOME_FAILED: [{"status": 418}, {"block": "SAFETY"}],
    Exit.SOME_DIFFER: [{"size": "1K"}, {"ratio": "16:9"}, {"pixels": (33, 77)}],
    Exit.PERSON: [{"redirect": "http://127.0.0.1:9/"}],
    Exit.PAUSED: [
        {"error": "rate_minute", "retry_delay": 0.2},
        {"error": "rate_minute", "retry_delay": 10_000},
        {"error": "overloaded", "retry_after": 0.2},
        {"error": "overloaded", "retry_after": "Wed, 21 Oct 2099 07:28:00 GMT"},
        {"image": "url", "download": {"status": 503}},
        {"image": "url", "download": {"redirect": "http://127.0.0.1:9/"}},
        {"image": "url", "download": {"hang": True}},
        {"image": "url", "download": {"cut": 0.5}},
    ],
    None: [
        {"status": 500, "body": "no JSON"},
        {"status": 200, "body": {"odd": [1, None]}},
        {"status": 204},
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
        {"image": "none"},
        {"image": "url", "download": {"status": 404}},
        {"finish": "NO_IMAGE", "message": "no"},
        {"finish": "IMAGE_SAFETY"},
        {"finish": "A_WORD_OF_TOMORROW"},
        {"base64": "garbage"},
        {"truncate": 1},
        {"truncate": 10_000_000},
        {"html": True},
    ],
}
PLACES = ["data_uri", "url", "bare_url", "images", "parts", "output_image", "parts_b64", "b64_json", "data_url"]
SHAPES: Mapping[int | None, Sequence[Then]] = {
    Exit.MADE: [{"shape": shape} for shape in [*PLACES, "markdown"]],
    Exit.SOME_FAILED: [{"finish": "content_filter"}],
    Exit.PAUSED: [{"shape": "url", "download": {"hang": True}}],
    None: [{"shape": "nothing"}, {"hang": "body"}, {"drip": 20}],
}
FATAL = (
    *("bad_key", "bad_token", "billing", "credits", "expired_key", "forbidden", "model_gone", "no_channel", "no_key"),
    *("payment", "region", "spending_cap", "unauthenticated", "zero_quota"),
)
KNOWN: Mapping[int | None, Sequence[str]] = {
    Exit.SOME_FAILED: ("invalid", "too_large", "unprocessable"),
    Exit.PERSON: FATAL,
    Exit.PAUSED: ("overloaded", "plain429", "rate_day", "rate_minute", "spend"),
}
OTHERS = sorted(PROBLEMS.keys() - {name for names in KNOWN.values() for name in names})
ERRORS: Mapping[int | None, Sequence[Then]] = {
    code: [{"error": name} for name in names] for code, names in {**KNOWN, None: OTHERS}.items()
}
# What concerns one task only; the others would end or hold a run before it has met everything.
MILD = [{"error": name} for name in ("internal", "bad_gateway_html", "gateway_timeout", "request_timeout", "too_large")]


def every(table: Mapping[int | None, Sequence[Then]]) -> list[tuple[Then, int | None]]:
    """Give what a table has, each with its code."""
    return [(then, code) for code, thens in table.items() for then in thens]


MIXED = [then for then, _ in every(EFFECTS) if not then.keys() & {"error", "redirect", "status"}] + MILD


def asked(tasks: int, *, is_chat: bool, workers: int) -> dict[str, object]:
    timeouts = {"512": TIMEOUT, "stall": STALL}
    provider = {"format": "openai", "dialect": "image_config"} if is_chat else {"format": "gemini"}
    whole = manifest(tasks, timeouts=timeouts, fallback="never", provider=provider, limits={"concurrency": workers})
    job = {"id": "hero", "prompt": "A mug, number {n}.", "vars": {"n": list(range(1, tasks + 1))}}
    return {**whole, "jobs": [job]}


def check(job: Job, ended: Ended, seconds: float, bill: Mapping[str, Any], free: int) -> None:
    """Look at a run from the outside: its time, its code, its counts, its files, both sides' books.

    Args:
        job: what was run.
        ended: how it ended.
        seconds: that it took.
        bill: the server's.
        free: tasks whose images the server gave away without saying so.
    """
    assert seconds < BOUND
    data = ended.json
    assert ended.code == data["exit_code"]
    assert ended.code in CODES
    made = data["done"] + data["degraded"] + data["mismatch"]
    assert data["tasks"] == made + data["refused"] + data["failed"] + data["pending"]
    assert (ended.code == 0) == (data["done"] == data["tasks"])
    assert made == len(job.records)
    held = job.attempts("result IS NULL")  # paid, and to be fetched by the next run
    assert made - free <= bill["billed"]
    assert bill["requests"] <= job.attempts()
    ours = data["cost_usd"] + data["possibly_billed_usd"] + (data["reserved_usd"] if held else 0)
    assert bill["micro_usd"] <= round(ours * 1e6), "the invoice is higher than our books"
    if not held:
        job.check()


def run(folder: Path, thens: Sequence[Then], code: int | None = None, *, is_chat: bool = False) -> None:
    """Run against a server that always does these things, each by turns; the run ends with `code`, if one is given."""
    folder.mkdir()
    turns = [{"when": {"prompt": f"number {n}."}, "then": dict(then)} for n, then in enumerate(thens, 1)]
    faults = turns if len(thens) > 1 else [{"then": dict(thens[0])}]
    with in_thread({"latency": 0.01, "pictures": "plain", "faults": faults}) as sandbox:
        tasks = max(2, len(thens))
        job = Job(folder, sandbox.url, asked(tasks, is_chat=is_chat, workers=max(4, len(thens) // 2)))
        began = time.monotonic()
        ended = job.run("--max-duration", f"{SENDS:.0f}s")
        free = thens.count(FREE) * tasks // len(thens)
        check(job, ended, time.monotonic() - began, sandbox.bill(), free)
        assert code is None or ended.code == code, ended.err
        assert len(thens) == 1 or job.rows("SELECT count(DISTINCT key) FROM attempts") == [(len(thens),)]


@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize(
    ("table", "is_chat"), [(EFFECTS, False), (ERRORS, False), (SHAPES, True)], ids=["effects", "errors", "chat"]
)
def test_a_server_that_always_does_one_thing(
    tmp_path: Path, table: Mapping[int | None, Sequence[Then]], part: int, *, is_chat: bool
) -> None:
    mine = list(enumerate(every(table)))[part::4]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        runs = {
            str(then): pool.submit(run, tmp_path / str(n), [then], code, is_chat=is_chat) for n, (then, code) in mine
        }
        faults = {then: done.exception() for then, done in runs.items()}
    assert not {then: fault for then, fault in faults.items() if fault is not None}


@pytest.mark.parametrize("is_chat", [False, True])
def test_a_server_that_does_everything_at_once(tmp_path: Path, *, is_chat: bool) -> None:
    chat = [*(then for then, _ in every(SHAPES)), *MILD]
    run(tmp_path / "mixed", chat if is_chat else MIXED, is_chat=is_chat)


def test_these_are_all_the_things_that_the_sandbox_can_do() -> None:
    tried = {key for table in (EFFECTS, SHAPES, ERRORS) for then, _ in every(table) for key in then}
    assert tried == set(Effects.__dataclass_fields__)
