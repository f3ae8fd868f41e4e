"""Limits on the wire: nobody comes back before the hint, no window holds more than told, a cap caps."""

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from batchbanana.sandbox.running import in_thread
from tests.support.program import Job, manifest, until


@pytest.mark.parametrize(
    "hint", [{"error": "rate_minute", "retry_delay": 3}, {"error": "plain429", "retry_after": 3}], ids=str
)
def test_nobody_asks_again_before_the_hint_has_passed_and_no_task_loses_an_attempt(
    tmp_path: Path, hint: dict[str, object]
) -> None:
    script = {"latency": 0.1, "faults": [{"when": {"nth": [5]}, "then": hint}]}
    with in_thread(script) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(12, limits={"concurrency": 3}))
        ended = job.run()
        assert (ended.code, ended.json["done"], ended.json["attempts"]) == (0, 12, 13), ended.err
        seen = sandbox.requests()
    told = next(request for request in seen if request["status"] == 429)
    opens = told["retry_at"]
    assert opens is not None
    # Those that were on their way when the answer was written could not know.
    early = [request["at"] for request in seen if told["at"] + 0.2 < request["at"] < opens]
    assert early == []
    assert max(request["at"] for request in seen) >= opens


def test_a_retry_after_as_a_date_is_waited_for(tmp_path: Path) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=4), usegmt=True)
    script = {"faults": [{"when": {"nth": [1]}, "then": {"error": "plain429", "retry_after": date}}]}
    with in_thread(script) as sandbox:
        ended = Job(tmp_path, sandbox.url, manifest(2, limits={"concurrency": 1})).run()
        assert (ended.code, ended.json["attempts"]) == (0, 3)
        first, second = (request["at"] for request in sandbox.requests()[:2])
        assert second - first > 1.0


def test_a_days_quota_pauses_the_run_and_fails_nothing(tmp_path: Path) -> None:
    script = {"faults": [{"when": {}, "then": {"error": "rate_day", "retry_delay": 7200}}]}
    with in_thread(script) as sandbox:
        ended = Job(tmp_path, sandbox.url, manifest(20, limits={"concurrency": 2})).run()
        assert (ended.code, ended.json["pending"], ended.json["failed"]) == (75, 20, 0)
        assert ended.json["stopped"]
        assert ended.json["resume_in"] == pytest.approx(7200)
        assert "run again in 2 h 00 min, after 20" in ended.json["stopped"]


def test_a_days_quota_without_a_hint_names_midnight_in_california(tmp_path: Path) -> None:
    quota = {"@type": "x.QuotaFailure", "violations": [{"quotaId": "RequestsPerDayPerProject", "quotaValue": "20"}]}
    body = {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "quota", "details": [quota]}}
    with in_thread({"faults": [{"then": {"status": 429, "body": body}}]}) as sandbox:
        ended = Job(tmp_path, sandbox.url, manifest(2)).run()
        assert ended.code == 75
        assert 0 < ended.json["resume_in"] <= 25 * 3600
        assert "run again in" in ended.json["stopped"]


def test_a_wait_of_a_day_is_a_pause_of_the_run_whatever_the_error(tmp_path: Path) -> None:
    with in_thread({"faults": [{"then": {"error": "overloaded", "retry_after": 86000}}]}) as sandbox:
        ended = Job(tmp_path, sandbox.url, manifest(2)).run()
        assert (ended.code, ended.json["pending"], ended.json["resume_in"]) == (75, 2, 86000)


def test_requests_a_minute_hold_across_runs(tmp_path: Path) -> None:
    """The quota is five; the second run must not open a fresh minute. It is stopped, as it would wait for a minute."""
    with in_thread({"quota": {"requests_per_minute": 5}}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(12))
        job.run("--rpm", "5", "--limit", "4")
        with job.started("--rpm", "5") as process:
            until(lambda: sandbox.bill()["requests"] >= 5)
            time.sleep(1.5)  # more would leave within a second, if more could
            process.send_signal(15)
            process.communicate(timeout=30)
            assert process.returncode == 143
            assert sandbox.bill()["requests"] == 5
            assert sandbox.bill()["status"] == {"200": 5}


def bought(sandbox: Any) -> int:
    return int(sandbox.bill()["billed"])


def test_a_cap_caps_over_all_runs_and_kills(tmp_path: Path) -> None:
    """At $0.134 an image, $1.00 buys seven."""
    with in_thread({"latency": 0.3}) as sandbox:
        asked = manifest(100, model="gemini-3-pro-image", resolution="1K", limits={"max_cost": 1.00})
        job = Job(tmp_path, sandbox.url, asked)
        job.kill(lambda: bought(sandbox) >= 1)
        for _ in range(3):
            ended = job.run()
            assert ended.code == 10
            assert ended.json["cost_usd"] + ended.json["possibly_billed_usd"] <= 1.00
            assert "max_cost" in ended.json["stopped"]
        assert bought(sandbox) <= 7
        job.check()


def test_money_of_answers_that_cost_nothing_is_spent_on_others(tmp_path: Path) -> None:
    """Reservations are released: with a cap of seven, seven are made although the first two are refused."""
    script = {"faults": [{"when": {"first": 2}, "then": {"block": "SAFETY"}}]}
    with in_thread(script) as sandbox:
        asked = manifest(30, model="gemini-3-pro-image", resolution="1K", limits={"max_cost": 1.00})
        ended = Job(tmp_path, sandbox.url, asked).run()
        assert (ended.code, ended.json["done"], ended.json["refused"]) == (10, 7, 2)
        assert bought(sandbox) == 7


def test_attempts_without_an_answer_stop_the_run_at_their_bound(tmp_path: Path) -> None:
    script = {"faults": [{"when": {}, "then": {"cut": "before"}}]}
    with in_thread(script) as sandbox:
        asked = manifest(50, model="gemini-3-pro-image", resolution="1K",
                         limits={"max_possibly_billed": 0.50, "concurrency": 2})  # fmt: skip
        ended = Job(tmp_path, sandbox.url, asked).run()
        assert ended.code == 10
        assert "invoice" in ended.json["stopped"]
        assert ended.json["possibly_billed"] <= 4 + 2


def test_a_cap_without_a_price_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    with in_thread() as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(3, model="some-relays-own-image"))
        ended = job.run("--max-cost", "5")
        assert ended.code == 2
        assert "some-relays-own-image at 512" in ended.err
        assert sandbox.bill()["requests"] == 0


def test_a_server_that_is_away_for_a_while_fails_no_task(tmp_path: Path) -> None:
    script = {"faults": [{"when": {"first": 3}, "then": {"error": "overloaded"}}]}
    with in_thread(script) as sandbox:
        ended = Job(tmp_path, sandbox.url, manifest(8, limits={"concurrency": 2})).run()
        assert (ended.code, ended.json["done"]) == (0, 8), ended.err
        assert sandbox.bill()["requests"] == 11
