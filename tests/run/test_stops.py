"""Stops that can be resumed: an hour, a span, a day's quota; each says how, fails no task, and the next run goes on."""

import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from batchbanana.limits import until_new_day
from batchbanana.sandbox.running import in_thread
from tests.support.program import Job, command, manifest


def test_after_its_time_a_run_sends_nothing_more_and_lets_finish_what_is_paid_for(tmp_path: Path) -> None:
    with in_thread({"latency": 1.0}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(60, limits={"concurrency": 2}))
        ended = job.run("--max-duration", "8s")
        assert (ended.code, ended.json["failed"]) == (75, 0), ended.err
        assert "The time is up (--max-duration 8s)" in ended.json["stopped"]
        assert 0 < ended.json["done"] == sandbox.bill()["billed"] < 60
        assert (ended.json["possibly_billed"], ended.json["reserved_usd"]) == (0, 0)
        job.check()
        again = job.run("--limit", "1")
        assert again.json["done"] == ended.json["done"] + 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--until", "25:00"], "--until 25:00: write an hour of the day such as 07:00"),
        (["--max-duration", "90"], "--max-duration 90: write a time such as 90m, 2h or 1h30m"),
    ],
)
def test_a_time_that_is_none_is_refused_before_anything_is_sent(
    tmp_path: Path, arguments: list[str], words: str
) -> None:
    with in_thread() as sandbox:
        ended = Job(tmp_path, sandbox.url, manifest(1)).run(*arguments)
        assert (ended.code, sandbox.requests()) == (2, [])
    assert words in ended.err


def test_a_time_that_is_far_away_stops_nothing(tmp_path: Path) -> None:
    with in_thread() as sandbox:
        assert Job(tmp_path, sandbox.url, manifest(2)).run("--max-duration", "20h").code == 0


@pytest.mark.skipif(until_new_day(datetime.now(UTC)) < 900, reason="the day of the quota ends while this would run")
def test_a_days_quota_of_the_manifest_pauses_with_the_time_and_the_next_run_goes_on_where_it_stopped(
    tmp_path: Path,
) -> None:
    with in_thread() as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(6, limits={"requests_per_day": 4}))
        first = job.run()
        assert (first.code, first.json["done"], first.json["pending"]) == (75, 4, 2), first.err
        assert "requests_per_day is used up; run again in" in first.json["stopped"]
        assert "UTC" in first.json["stopped"]
        assert 0 < first.json["resume_in"] <= 25 * 3600 + 2
        second = job.run()
        assert (second.code, second.json["attempts"]) == (75, 0)
        job.write(manifest(6))
        third = job.run()
        assert (third.code, third.json["done"], third.json["attempts"]) == (0, 6, 2)
        job.check()


def test_a_days_quota_of_the_server_pauses_until_its_midnight_whatever_short_pause_it_asks_for(tmp_path: Path) -> None:
    faults = [{"when": {"nth": 2}, "then": {"error": "rate_day", "retry_delay": 24}}]
    with in_thread({"latency": 0.0, "faults": faults}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(4, limits={"concurrency": 1}))
        ended = job.run()
        assert (ended.code, ended.json["done"], ended.json["pending"]) == (75, 1, 3), ended.err
        assert 60 <= ended.json["resume_in"] <= 25 * 3600 + 60
        assert "UTC" in ended.json["stopped"]


def test_a_days_quota_of_the_server_can_be_waited_for(tmp_path: Path) -> None:
    """The run neither ends nor asks again before the time; a signal ends it at once."""
    faults = [{"when": {"nth": 2}, "then": {"error": "rate_day", "retry_delay": 1}}]
    with in_thread({"latency": 0.0, "faults": faults}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(4, limits={"concurrency": 1}))
        with job.started("--wait-quota") as process:
            assert process.stderr is not None
            while "waiting" not in process.stderr.readline():
                assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=20)
        assert process.returncode == 143
        assert sandbox.bill()["requests"] == 2
        job.check()


def two_models() -> dict[str, object]:
    models = ["gemini-3-pro-image", "gemini-nano-banana-2.1"]
    return manifest(6, model=models, resolution="1K", limits={"concurrency": 2})


def test_a_model_that_is_out_of_its_days_quota_does_not_keep_the_others_from_their_work(tmp_path: Path) -> None:
    faults = [{"when": {"model": "gemini-3-pro-image"}, "then": {"error": "rate_day", "retry_delay": 7200}}]
    with in_thread({"latency": 0.0, "faults": faults}) as sandbox:
        job = Job(tmp_path, sandbox.url, two_models())
        ended = job.run()
        assert (ended.code, ended.json["done"], ended.json["pending"], ended.json["failed"]) == (75, 6, 6, 0), ended.err
        assert ended.json["resume_in"] == pytest.approx(7200)
        assert "run again in 2 h 00 min" in ended.json["stopped"]
        assert "gemini-3-pro-image stays pending, the other models go on: " in ended.err
        asked = [request["model"] for request in sandbox.requests()]
        assert asked.count("gemini-3-pro-image") <= 2  # those that were under way at once
        job.check()


def test_a_model_behind_a_gate_does_not_keep_the_others_from_their_work(tmp_path: Path) -> None:
    faults = [{"when": {"model": "gemini-3-pro-image", "nth": 1}, "then": {"error": "rate_minute", "retry_delay": 6}}]
    with in_thread({"latency": 0.0, "faults": faults}) as sandbox:
        job = Job(tmp_path, sandbox.url, two_models())
        ended = job.run()
        assert (ended.code, ended.json["done"]) == (0, 12), ended.err
        seen = sandbox.requests()
    [opens] = [request["retry_at"] for request in seen if request["status"] == 429]
    others = [request["at"] for request in seen if request["model"] == "gemini-nano-banana-2.1"]
    assert len(others) == 6
    assert max(others) < opens


def test_two_jobs_of_one_command_share_the_minute(tmp_path: Path) -> None:
    """The first uses what the minute allows; the second waits for it, and is stopped by its time instead."""
    with in_thread({"latency": 0.0, "quota": {"requests_per_minute": 4}}) as sandbox:
        one = Job(tmp_path, sandbox.url, manifest(4, name="one"))
        other = tmp_path / "other.yaml"
        other.write_text(one.manifest.read_text().replace("name: one", "name: other"))
        arguments = ["run", str(one.manifest), str(other), "--output", str(one.output), "--base-url", sandbox.url]
        ended = command(*arguments, "--rpm", "4", "--max-duration", "20s")
        assert ended.code == 75, ended.err
        assert sandbox.bill()["status"] == {"200": 4}


def money(tmp_path: Path, effects: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Make one image at 4K, listed at $0.24 for 2000 tokens; gives the summary."""
    with in_thread({"latency": 0.0, "faults": [{"then": effects}]}) as sandbox:
        asked = manifest(1, model="gemini-3-pro-image", resolution="4K", **more)
        summary: dict[str, Any] = Job(tmp_path, sandbox.url, asked).run().json
        return summary


def test_an_image_is_settled_by_the_tokens_that_the_answer_tells(tmp_path: Path) -> None:
    """1K came where 4K was asked for: 1120 tokens of the 2000 that the price is for."""
    assert money(tmp_path, {"size": "1K"})["cost_usd"] == pytest.approx(0.24 * 1120 / 2000)


def test_a_relays_own_price_is_for_the_call_whatever_comes_of_it(tmp_path: Path) -> None:
    assert money(tmp_path, {"size": "1K"}, provider={"price": 0.05})["cost_usd"] == pytest.approx(0.05)


def test_a_rate_that_the_workers_cannot_reach_is_told(tmp_path: Path) -> None:
    with in_thread() as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(1, limits={"requests_per_minute": 600, "concurrency": 4}))
        words = "4 workers make about 30 images a minute at 8 s an image, so 600 a minute are never reached"
        assert words in job.run().err
        assert words in command("plan", str(job.manifest)).err
