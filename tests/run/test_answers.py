"""What the server does, and what becomes of the task, the money and the exit code: a row a behaviour."""

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from batchbanana.sandbox.running import in_thread
from tests.support.program import KEY, Job, command, manifest

QUICK = {"timeouts": {"512": 1, "1K": 1, "2K": 1, "4K": 1, "stall": 1}}


def one(
    tmp_path: Path, then: Mapping[str, object], when: Mapping[str, object] | None = None, **more: Any
) -> tuple[Job, Any, Any]:
    """Run a job of one task against a sandbox with one rule; gives the job, how it ended, and the bill."""
    script = {"latency": 0.0, "faults": [{"when": when or {}, "then": then}]}
    with in_thread(script) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(1, **{**QUICK, **more}))
        ended = job.run()
        job.check()
        return job, ended, sandbox.bill()


@pytest.mark.parametrize(
    "then",
    [
        {"no_end": True},
        {"thought": True},
        {"snake": True},
        {"label": "image/png"},
        {"list": True},
        {"signature": 3_000_000},
        {"base64": "data_prefix"},
        {"base64": "urlsafe"},
        {"base64": "nopad"},
        {"base64": "linebreaks"},
        {"drip": 200_000},
        {"text": "Here you are"},
        {"version": "another-model"},
        {"finish": "MAX_TOKENS", "image": "kept"},
    ],
    ids=str,
)
def test_an_image_that_came_is_taken_however_oddly_it_came(tmp_path: Path, then: dict[str, object]) -> None:
    job, ended, bill = one(tmp_path, then)
    assert (ended.code, ended.json["done"], bill["requests"]) == (0, 1, 1), ended.err
    assert job.records[0]["outcome"] == "done"


@pytest.mark.parametrize(
    ("then", "tries"),
    [
        ({"image": "none", "finish": "NO_IMAGE"}, 3),
        ({"image": "none", "finish": "STOP", "text": "I would rather talk"}, 3),
        ({"image": "none", "finish": "SOMETHING_NEW"}, 3),
        ({"image": "none", "finish": "MAX_TOKENS"}, 2),
        ({"base64": "garbage"}, 3),
        ({"truncate": 500}, 3),
        ({"html": True}, 3),
        ({"error": "invalid"}, 1),
        ({"status": 418, "body": "?"}, 1),
    ],
    ids=str,
)
def test_what_never_brings_an_image_fails_after_the_tries_that_it_is_worth(
    tmp_path: Path, then: dict[str, object], tries: int
) -> None:
    _, ended, bill = one(tmp_path, then)
    assert (ended.code, ended.json["failed"], ended.json["attempts"]) == (3, 1, tries), ended.err
    assert bill["requests"] == tries


@pytest.mark.parametrize(
    ("then", "tries"),
    [
        ({"block": "PROHIBITED_CONTENT"}, 1),
        ({"image": "none", "finish": "SAFETY"}, 1),
        ({"image": "none", "finish": "IMAGE_SAFETY"}, 3),
    ],
    ids=str,
)
def test_a_refusal_is_told_as_one(tmp_path: Path, then: dict[str, object], tries: int) -> None:
    _, ended, _ = one(tmp_path, then)
    assert (ended.code, ended.json["refused"], ended.json["attempts"]) == (3, 1, tries), ended.err


@pytest.mark.parametrize(
    "then",
    [{"hang": "before"}, {"hang": "headers"}, {"hang": "body"}, {"cut": 0.4}, {"cut": "before"}, {"drip": 50},
     {"error": "gateway_timeout"}],
    ids=str,
)  # fmt: skip
def test_what_never_answers_times_out_twice_and_ends_as_possibly_billed(
    tmp_path: Path, then: dict[str, object]
) -> None:
    _, ended, bill = one(tmp_path, then)
    assert (ended.code, ended.json["failed"], ended.json["attempts"]) == (3, 1, 2), ended.err
    assert ended.json["possibly_billed"] == 2
    assert bill["requests"] == 2


def test_4k_that_never_answers_falls_back_to_2k_and_says_so(tmp_path: Path) -> None:
    """Twice at 4K, then 2K: recorded as degraded with what was asked and what was delivered."""
    hang = {"hang": "before"}
    job, ended, bill = one(tmp_path, hang, {"resolution": "4K"}, resolution="4K")
    assert (ended.code, ended.json["degraded"], ended.json["attempts"], bill["requests"]) == (4, 1, 3, 3)
    [record] = job.records
    assert (record["outcome"], record["resolution"], record["delivered_resolution"]) == ("degraded", "4K", "2K")
    assert (record["width"], record["height"], record["attempts"]) == (2048, 2048, 3)
    assert "_4K_" in record["file_name"]


def test_a_degraded_image_can_be_asked_for_again_and_the_old_one_is_kept_aside(tmp_path: Path) -> None:
    script = {"faults": [{"when": {"resolution": "4K", "first": 2}, "then": {"hang": "before"}}]}
    with in_thread(script) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(1, resolution="4K", timeouts={"4K": 0.5}))
        assert job.run().code == 4
        assert job.run().json["attempts"] == 0
        job.write(manifest(1, resolution="4K"))
        ended = job.run("--upgrade")
        assert (ended.code, ended.json["done"], ended.json["degraded"]) == (0, 1, 0), ended.err
        job.check()
        assert job.records[0]["delivered_resolution"] == "4K"
        assert len(list((job.output / ".batchbanana/superseded/images/hero").iterdir())) == 1


def test_asking_again_for_4k_that_still_hangs_buys_no_second_2k(tmp_path: Path) -> None:
    with in_thread({"faults": [{"when": {"resolution": "4K"}, "then": {"hang": "before"}}]}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(1, **{**QUICK, "resolution": "4K"}))
        job.run()
        before = job.records
        ended = job.run("--upgrade")
        assert (ended.code, ended.json["degraded"], ended.json["attempts"]) == (4, 1, 2)
        assert job.records == before
        assert sandbox.bill()["billed"] == 1
        job.check()


def test_an_image_that_is_worse_than_the_one_there_is_kept_aside(tmp_path: Path) -> None:
    faults = [
        {"when": {"resolution": "4K", "first": 2}, "then": {"hang": "before"}},
        {"when": {"resolution": "4K"}, "then": {"ratio": "16:9"}},
    ]
    with in_thread({"faults": faults}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(1, resolution="4K", timeouts={"4K": 0.5}))
        job.run()
        before = job.records
        job.write(manifest(1, resolution="4K"))
        ended = job.run("--retry", "degraded")
        assert (ended.code, ended.json["degraded"], ended.json["mismatch"]) == (4, 1, 0)
        assert job.records == before
        assert len(list((job.output / ".batchbanana/superseded/images/hero").iterdir())) == 1
        job.check()


def test_without_fallback_4k_that_never_answers_fails(tmp_path: Path) -> None:
    _, ended, bill = one(tmp_path, {"hang": "before"}, resolution="4K", fallback="never")
    assert (ended.code, ended.json["failed"], bill["requests"]) == (3, 1, 2)


@pytest.mark.parametrize(
    ("then", "note"),
    [({"size": "512"}, "512"), ({"ratio": "16:9"}, "ratio"), ({"pixels": [1000, 700]}, "ratio")],
    ids=str,
)
def test_an_image_that_is_not_what_was_asked_is_kept_and_never_called_fine(
    tmp_path: Path, then: dict[str, object], note: str
) -> None:
    job, ended, _ = one(tmp_path, then, resolution="1K")
    assert (ended.code, ended.json["mismatch"]) == (4, 1)
    [record] = job.records
    assert record["outcome"] == "mismatch"
    assert note in record["note"]


def test_of_images_back_to_back_the_last_counts(tmp_path: Path) -> None:
    job, ended, _ = one(tmp_path, {"draft": True}, resolution="2K")
    assert (ended.code, job.records[0]["delivered_resolution"]) == (0, "2K")


def test_images_with_text_between_them_are_all_kept(tmp_path: Path) -> None:
    job, ended, _ = one(tmp_path, {"texts": True})
    assert ended.code == 0
    [extra] = job.records[0]["extras"]
    assert (job.output / extra).read_bytes()[:2] == b"\xff\xd8"


def test_the_ending_follows_the_bytes_and_not_the_label(tmp_path: Path) -> None:
    job, _, _ = one(tmp_path, {"label": "image/png"})
    assert job.records[0]["file_name"].endswith(".jpg")
    assert job.records[0]["mime"] == "image/jpeg"


@pytest.mark.parametrize("error", ["bad_key", "expired_key", "billing", "zero_quota", "credits"])
def test_what_only_a_person_can_mend_stops_at_once_and_fails_no_task(tmp_path: Path, error: str) -> None:
    script = {"faults": [{"when": {}, "then": {"error": error}}]}
    with in_thread(script) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(30, limits={"concurrency": 2}))
        ended = job.run()
        assert (ended.code, ended.json["pending"], ended.json["failed"]) == (12, 30, 0)
        assert ended.json["stopped"]
        assert sandbox.bill()["requests"] <= 2


def test_a_redirect_is_not_followed_with_the_key(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        elsewhere = f"http://127.0.0.1:{other.getsockname()[1]}/elsewhere"
        with in_thread({"faults": [{"then": {"redirect": elsewhere}}]}) as sandbox:
            ended = Job(tmp_path, sandbox.url, manifest(2)).run()
        assert ended.code == 12
        other.settimeout(0)
        with pytest.raises(BlockingIOError):  # nobody has even knocked
            other.accept()


def test_a_model_that_is_gone_leaves_its_tasks_pending_and_the_others_are_made(tmp_path: Path) -> None:
    script = {"faults": [{"when": {"model": "gemini-3-pro-image"}, "then": {"error": "model_gone"}}]}
    with in_thread(script) as sandbox:
        models = ["gemini-3-pro-image", "gemini-nano-banana-2.1"]
        job = Job(tmp_path, sandbox.url, manifest(5, model=models, resolution="1K", limits={"concurrency": 1}))
        ended = job.run()
        assert (ended.code, ended.json["done"], ended.json["pending"], ended.json["failed"]) == (12, 5, 5, 0)
        assert sandbox.bill()["requests"] == 6


def test_a_mixed_run_counts_every_task_once_and_makes_all_that_can_be_made(tmp_path: Path) -> None:
    """One prompt is refused, one never brings an image, the rest is made."""
    script = {
        "faults": [
            {"when": {"prompt": "number 3"}, "then": {"block": "SAFETY"}},
            {"when": {"prompt": "number 5"}, "then": {"image": "none", "finish": "NO_IMAGE"}},
        ]
    }
    with in_thread(script) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(8))
        ended = job.run()
        counts = [
            ended.json[name] for name in ("tasks", "done", "degraded", "mismatch", "refused", "failed", "pending")
        ]
        assert counts == [8, 6, 0, 0, 1, 1, 0]
        assert ended.code == 3
        assert sandbox.bill()["requests"] == 6 + 1 + 3
        again = job.run()
        assert (again.code, again.json["attempts"]) == (3, 0)
        assert "--retry failed" in command_text(job)
        retried = job.run("--retry", "failed,refused")
        assert (retried.code, retried.json["attempts"]) == (3, 1 + 3)
        job.check()


def command_text(job: Job) -> str:
    """What a person reads at the end."""
    arguments = [word for word in job.arguments() if word != "--json"]
    return command(*arguments).err


def test_the_key_is_in_no_output_and_no_file(tmp_path: Path) -> None:
    """Whatever happens: the server even quotes it."""
    faults = [
        {
            "when": {"prompt": "number 1", "first": 1},
            "then": {"status": 400, "body": {"error": {"message": f"bad {KEY}"}}},
        },
        {"when": {"prompt": "number 2"}, "then": {"cut": 0.5}},
        {"when": {"prompt": "number 3"}, "then": {"error": "bad_key"}},
    ]
    with in_thread({"faults": faults}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(4, **QUICK, limits={"concurrency": 1}))
        ended = job.run()
        assert KEY not in ended.out + ended.err
        for path in tmp_path.rglob("*"):
            assert not path.is_file() or KEY.encode() not in path.read_bytes(), path
        assert KEY not in json.dumps(sandbox.requests())
