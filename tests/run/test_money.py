"""Money over several runs and jobs: what a limit means when it changes, when prices come late, when others go on."""

import base64
import json
import signal
from pathlib import Path

import pytest
import yaml

from batchbanana.sandbox.running import in_thread
from tests.support.program import Job, command, manifest, until
from tests.support.stage import picture
from tests.support.web import reply, web


@pytest.mark.parametrize("name", ["max_cost", "max_possibly_billed", "spend_per_10_minutes"])
def test_a_money_limit_of_nothing_is_a_fault_of_the_manifest(tmp_path: Path, name: str) -> None:
    job = Job(tmp_path, "http://127.0.0.1:9", manifest(1, limits={name: 0}))
    ended = job.run()
    assert ended.code == 2
    assert f"`{name}` must be more than nothing, not `0`: raise it, or leave it out" in ended.err
    assert f"{job.manifest}:" in ended.err


@pytest.mark.parametrize(
    "arguments",
    [("--max-cost", "0"), ("--max-cost", "1e999999"), ("--max-possibly-billed", "nan"), ("--rpm", "9" * 400)],
)
def test_a_limit_of_the_command_that_is_none_is_a_fault_of_the_command(
    tmp_path: Path, arguments: tuple[str, str]
) -> None:
    ended = Job(tmp_path, "http://127.0.0.1:9", manifest(1)).run(*arguments)
    assert ended.code == 2
    assert arguments[0] in ended.err


def test_what_may_be_spent_at_once_must_be_enough_for_one_image(tmp_path: Path) -> None:
    job = Job(
        tmp_path,
        "http://127.0.0.1:9",
        manifest(1, model="gemini-3-pro-image", resolution="1K", limits={"spend_per_10_minutes": 0.05}),
    )
    ended = job.run()
    assert ended.code == 2
    assert "spend_per_10_minutes is $0.05, but one image of this plan may cost $0.134; raise it" in ended.err


def test_a_pause_while_asking_again_is_a_pause_although_every_task_has_its_outcome(tmp_path: Path) -> None:
    with in_thread({"faults": [{"then": {"block": "SAFETY"}}]}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(3))
        assert job.run().code == 3
    with in_thread({"faults": [{"then": {"error": "rate_day", "retry_delay": 7200}}]}) as sandbox:
        job.url = sandbox.url
        ended = job.run("--retry", "refused")
        assert (ended.code, ended.json["refused"], ended.json["pending"]) == (75, 3, 0)
        assert ended.json["resume_in"] == pytest.approx(7200)
        assert ended.json["stopped"].endswith("; give --retry refused again, too")


def test_images_that_were_bought_at_an_unknown_price_count_for_a_later_cap(tmp_path: Path) -> None:
    def asked(**more: object) -> dict[str, object]:
        return manifest(9, model="somebodys-own", resolution="1K", **more)

    part = {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(picture(1)).decode()}}
    body = json.dumps({"candidates": [{"content": {"parts": [part]}, "finishReason": "STOP"}]}).encode()
    with web(lambda handler: reply(handler, body)) as relay:
        job = Job(tmp_path, relay.url, asked())
        first = job.run("--limit", "3")
        assert (first.code, first.json["done"], first.json["unpriced"], first.json["cost_usd"]) == (0, 3, 3, 0), (
            first.err
        )
        job.write(asked(provider={"price": 0.10}, limits={"max_cost": 0.55}))
        second = job.run()
        assert (second.code, second.json["done"], len(relay.asked)) == (10, 5, 5)
        assert "$0.50 of max_cost $0.55 is taken, and one more could cost $0.100" in second.json["stopped"]


def test_the_limit_on_silence_can_be_raised_by_the_command(tmp_path: Path) -> None:
    """A CSV has no place for it."""
    with in_thread({"latency": 0.0, "faults": [{"when": {"nth": 1}, "then": {"cut": "before"}}]}) as sandbox:
        job = Job(
            tmp_path, sandbox.url, manifest(3, model="gemini-3-pro-image", resolution="1K", limits={"concurrency": 1})
        )
        first = job.run("--max-possibly-billed", "0.10")
        assert (first.code, first.json["possibly_billed"]) == (10, 1), first.err
        assert "up to $0.13 of max_possibly_billed $0.10" in first.json["stopped"]
        assert job.run("--max-possibly-billed", "1").json["done"] == 3


def both(tmp_path: Path, url: str, *more: str, other: str = "gemini-3-pro-image", **first: object) -> tuple[int, str]:
    """Run two manifests in one command, the first with settings of its own, the other of another model perhaps."""
    one = Job(tmp_path, url, manifest(4, name="one", model="gemini-3-pro-image", resolution="1K", **first))
    second = tmp_path / "other.yaml"
    second.write_text(yaml.safe_dump(manifest(2, name="other", model=other, resolution="1K")), encoding="utf-8")
    paths = [str(one.manifest), str(second)]
    ended = command("run", *paths, "--output", str(one.output), "--base-url", url, *more)
    return ended.code, ended.err


def test_a_job_that_is_out_of_its_own_money_does_not_keep_the_next_one_from_its_work(tmp_path: Path) -> None:
    with in_thread({"latency": 0.0}) as sandbox:
        code, _ = both(tmp_path, sandbox.url, limits={"max_cost": 0.15})
        assert (code, sandbox.bill()["billed"]) == (10, 1 + 2)


def test_jobs_that_were_not_begun_are_named(tmp_path: Path) -> None:
    with in_thread({"latency": 0.0, "faults": [{"then": {"error": "bad_key"}}]}) as sandbox:
        code, told = both(tmp_path, sandbox.url)
        assert code == 12
        assert f"Not begun: {tmp_path / 'other.yaml'}; run again for them" in told


def test_a_days_quota_of_one_jobs_model_does_not_keep_a_job_of_another_model_from_its_work(tmp_path: Path) -> None:
    faults = [{"when": {"model": "gemini-3-pro-image"}, "then": {"error": "rate_day", "retry_delay": 7200}}]
    with in_thread({"latency": 0.0, "faults": faults}) as sandbox:
        code, told = both(tmp_path, sandbox.url, other="gemini-nano-banana-2.1")
        assert (code, sandbox.bill()["billed"]) == (75, 2), told


def test_of_several_jobs_the_one_that_needs_a_person_gives_the_exit_code(tmp_path: Path) -> None:
    faults = [{"when": {"model": "gemini-nano-banana-2.1"}, "then": {"error": "credits"}}]
    with in_thread({"latency": 0.0, "faults": faults}) as sandbox:
        code, _ = both(tmp_path, sandbox.url, other="gemini-nano-banana-2.1", limits={"max_cost": 0.15})
        assert (code, sandbox.bill()["billed"]) == (12, 1)


def test_a_cap_of_the_command_is_for_each_job_and_that_is_said(tmp_path: Path) -> None:
    with in_thread({"latency": 0.0}) as sandbox:
        code, told = both(tmp_path, sandbox.url, "--max-cost", "0.30")
        assert (code, sandbox.bill()["billed"]) == (10, 4)
        assert "--max-cost is for each of these 2 jobs: $0.60 in all." in told
        assert "warning: max_cost $0.30 is enough for about 2 of 4 images, which are listed at $0.54" in told


def test_a_plan_that_a_run_would_refuse_is_refused_by_plan_too(tmp_path: Path) -> None:
    job = Job(
        tmp_path, "", manifest(1, model="gemini-3-pro-image", resolution="1K", limits={"spend_per_10_minutes": 0.05})
    )
    ended = command("plan", str(job.manifest))
    assert ended.code == 2
    assert "spend_per_10_minutes is $0.05" in ended.err


def test_status_says_what_a_run_waits_for_and_afterwards_when_to_come_back(tmp_path: Path) -> None:
    faults = [{"when": {"nth": 2}, "then": {"error": "rate_day", "retry_delay": 7200}}]
    with in_thread({"latency": 0.0, "faults": faults}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(4, limits={"concurrency": 1}))
        with job.started("--wait-quota") as process:
            until(lambda: "waiting" in command("status", str(job.output)).out)
            said = command("status", str(job.output)).out
            assert "a run is at work: waiting: gemini-3.1-flash-image: " in said
            assert "more" in said
            assert "images a minute" not in said
            process.send_signal(signal.SIGTERM)
            assert process.stderr is not None
            told = process.stderr.read()
            process.communicate(timeout=20)
        assert "waiting: gemini-3.1-flash-image: " in told
        ended = json.loads(command("status", str(job.output), "--json").out)
        assert ended["exit_code"] == 143
        assert "it waited (gemini-3.1-flash-image: " in ended["stopped"]
        assert 7000 < ended["resume_in"] <= 7200
