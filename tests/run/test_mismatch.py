"""An image that is not what was asked is never silently right: kept, asked for again, or a failure, as one wishes."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from batchbanana.sandbox.running import in_thread
from tests.support.program import Job, command, environment, manifest

SMALLER = {"when": {"resolution": "2K"}, "then": {"size": "1K"}}
ONCE = {"when": {"resolution": "2K", "first": 1}, "then": {"size": "1K"}}
OTHER = {"when": {}, "then": {"version": "gemini-2.5-flash-image"}}


def made(tmp_path: Path, rule: dict[str, Any], *runs: str, **more: object) -> tuple[Job, list[Any], dict[str, Any]]:
    """Run a job of one 2K image so often; gives the job, how the runs ended, and the bill."""
    with in_thread({"latency": 0.0, "faults": [rule]}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(1, resolution="2K", model="gemini-3-pro-image", **more))
        ended = [job.run(*words.split()) for words in runs]
        job.check()
        return job, ended, sandbox.bill()


def aside(job: Job) -> list[Path]:
    folder = job.output / ".batchbanana" / "superseded"
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_keep_is_the_default_and_says_what_differs(tmp_path: Path) -> None:
    job, (ended,), bill = made(tmp_path, SMALLER, "")
    assert (ended.code, ended.json["mismatch"], bill["billed"]) == (4, 1, 1)
    record = job.records[0]
    assert (record["outcome"], record["resolution"], record["delivered_resolution"]) == ("mismatch", "2K", "1K")
    assert "2K was asked for" in record["note"]


def test_retry_asks_again_until_the_image_is_as_asked_and_keeps_the_other_aside(tmp_path: Path) -> None:
    job, (ended, again), bill = made(tmp_path, ONCE, "", "", on_mismatch="retry")
    assert (ended.code, ended.json["done"], ended.json["attempts"]) == (0, 1, 2), ended.err
    assert (again.code, again.json["attempts"], bill["billed"]) == (0, 0, 2)
    assert [record["outcome"] for record in job.records] == ["done"]
    assert len(aside(job)) == 1
    assert ended.json["cost_usd"] == pytest.approx(2 * 0.134)


def test_retry_gives_up_after_two_more_tries_and_keeps_what_came(tmp_path: Path) -> None:
    job, (ended, again), bill = made(tmp_path, SMALLER, "", "", on_mismatch="retry")
    assert (ended.code, ended.json["mismatch"], ended.json["attempts"]) == (4, 1, 3), ended.err
    assert (again.code, again.json["attempts"], bill["billed"]) == (4, 0, 3)
    assert job.records[0]["differed"] == 3
    assert len(aside(job)) == 2


def test_fail_counts_as_a_failure_and_keeps_the_paid_image_outside_of_images(tmp_path: Path) -> None:
    job, (ended, again), bill = made(tmp_path, SMALLER, "", "", on_mismatch="fail")
    assert (ended.code, ended.json["failed"], ended.json["mismatch"]) == (3, 1, 0), ended.err
    assert (again.code, again.json["attempts"], bill["billed"]) == (3, 0, 1)
    assert "2K was asked for" in ended.err
    assert ended.json["cost_usd"] == pytest.approx(0.134)
    assert job.records == []
    assert len(aside(job)) == 1


def test_a_failure_for_its_difference_is_asked_again_when_told(tmp_path: Path) -> None:
    _, (_, ended), bill = made(tmp_path, ONCE, "", "--retry failed", on_mismatch="fail")
    assert (ended.code, ended.json["done"], bill["billed"]) == (0, 1, 2), ended.err


def test_the_jobs_word_wins_over_the_top(tmp_path: Path) -> None:
    jobs = [
        {"id": "strict", "prompt": "A mug"},
        {"id": "easy", "prompt": "A bowl", "on_mismatch": "keep"},
    ]
    with in_thread({"latency": 0.0, "faults": [SMALLER]}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(resolution="2K", on_mismatch="fail", jobs=jobs))
        ended = job.run()
    assert (ended.json["failed"], ended.json["mismatch"]) == (1, 1), ended.err
    assert job.records[0]["job"] == "easy"


def test_another_model_than_was_asked_for_is_a_difference(tmp_path: Path) -> None:
    job, (ended,), _ = made(tmp_path, OTHER, "")
    assert (ended.code, ended.json["mismatch"]) == (4, 1), ended.err
    assert "gemini-2.5-flash-image answered, but gemini-3-pro-image was asked for" in job.records[0]["note"]


@pytest.mark.parametrize(
    "version", ["gemini-3-pro-image", "gemini-3-pro-image-preview", "google/gemini-3-pro-image", "nano-banana-pro"]
)
def test_the_same_model_under_another_name_is_no_difference(tmp_path: Path, version: str) -> None:
    _, (ended,), _ = made(tmp_path, {"when": {}, "then": {"version": version}}, "")
    assert (ended.code, ended.json["done"]) == (0, 1), ended.err
    assert "was asked for" not in ended.err


def test_a_version_that_nobody_knows_is_told_once_and_recorded(tmp_path: Path) -> None:
    job, (ended,), _ = made(tmp_path, {"when": {}, "then": {"version": "relay-special"}}, "")
    assert (ended.code, job.records[0]["model_version"]) == (0, "relay-special")
    assert ended.err.count("relay-special") == 1


def test_a_kill_between_two_tries_changes_nothing_in_the_end(tmp_path: Path) -> None:
    hanging = {"when": {"resolution": "2K", "nth": 2}, "then": {"hang": "before"}}
    with in_thread({"latency": 0.0, "faults": [hanging, SMALLER]}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(1, resolution="2K", on_mismatch="retry"))
        job.kill(lambda: sandbox.bill()["requests"] >= 2)
        ended = job.run()
        job.check()
    assert (ended.code, ended.json["mismatch"], ended.json["attempts"]) == (4, 1, 2), ended.err
    assert job.records[0]["differed"] == 3


def test_what_will_be_asked_for_again_is_planned_and_priced(tmp_path: Path) -> None:
    """Kept first and then to be retried: two more images, and a timeout at worst."""
    with in_thread({"latency": 0.0, "faults": [SMALLER]}) as sandbox:
        asked = manifest(1, resolution="2K", model="gemini-3-pro-image")
        job = Job(tmp_path, sandbox.url, asked)
        assert job.run().code == 4
        arguments = ["plan", str(job.manifest), "--output", str(job.output), "--json"]
        assert command(*arguments).json["requests"] == 0
        job.write({**asked, "on_mismatch": "retry"})
        plan = command(*arguments).json
        assert (plan["requests"], plan["cost_usd_low"]) == (1, pytest.approx(0.134))
        assert plan["cost_usd_high"] == pytest.approx(3 * 0.134)
        ended = job.run()
        assert (ended.json["attempts"], ended.json["run_cost_usd"]) == (2, pytest.approx(2 * 0.134))
        assert command(*arguments).json["requests"] == 0


@pytest.mark.parametrize("then", [{"finish": "SAFETY"}, {"error": "invalid"}], ids=str)
def test_asking_again_that_ends_without_an_image_is_not_begun_anew_by_every_run(
    tmp_path: Path, then: dict[str, Any]
) -> None:
    faults = [{"when": {"nth": 1}, "then": {"size": "1K"}}, {"when": {}, "then": then}]
    with in_thread({"latency": 0.0, "faults": faults}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(1, resolution="2K", on_mismatch="retry"))
        assert job.run().json["attempts"] == 2
        for _ in range(2):
            ended = job.run()
            assert (ended.code, ended.json["attempts"], ended.json["mismatch"]) == (4, 0, 1)
        assert command("plan", str(job.manifest), "--output", str(job.output), "--json").json["requests"] == 0
        assert job.run("--retry", "mismatch").json["attempts"] == 1
        job.check()


@pytest.mark.parametrize("on_mismatch", ["retry", "fail"])
@pytest.mark.parametrize("step", ["Spool.set_aside", "Spool.keep_aside", "Spool.forget", "Store.conclude"])
def test_a_crash_on_the_way_aside_loses_nothing_and_buys_nothing_twice(
    tmp_path: Path, on_mismatch: str, step: str
) -> None:
    """The program is stopped dead as it is about to take a step, and run again."""
    with in_thread({"latency": 0.0, "faults": [SMALLER]}) as sandbox:
        asked = manifest(2, resolution="2K", on_mismatch=on_mismatch, limits={"concurrency": 1})
        job = Job(tmp_path, sandbox.url, asked)
        crashed = subprocess.run(
            [sys.executable, "-c", CRASH, step, *job.arguments()], env=environment(), check=False, capture_output=True
        )
        assert crashed.returncode in ({77, 4} if on_mismatch == "retry" else {77, 3}), crashed.stderr
        ended = job.run()
        images = sandbox.bill()["billed"]
        job.check()
        kept = [path for path in aside(job) if path.suffix == ".jpg"]
        assert len(kept) + len(job.records) == images
        assert ended.json["possibly_billed"] == 0
        assert images == (6 if on_mismatch == "retry" else 2)


CRASH = """
import os, sys
from batchbanana import __main__ as program
from batchbanana.ledger import Store
from batchbanana.spool import Spool

name, method = sys.argv.pop(1).split(".")
setattr({"Store": Store, "Spool": Spool}[name], method, lambda *args, **more: os._exit(77))
sys.exit(program.main())
"""
