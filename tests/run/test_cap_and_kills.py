"""The cap through kills, resumed runs and all that can become of a request; the sandbox's own bill is the judge."""

from pathlib import Path
from typing import Any

import pytest

from batchbanana.sandbox.running import Handle, in_thread
from tests.support.program import Job, manifest, until

CAP = 1_000_000  # micro-dollars
PRICES = {"1K": 134_000, "2K": 134_000, "4K": 240_000}  # of gemini-3-pro-image
RESUMED = 2


def capped(tmp_path: Path, sandbox: Handle, resolution: str = "1K", workers: int = 4, **more: Any) -> Job:
    """A job that could buy far more than a dollar's worth of images."""
    limits = {"max_cost": CAP / 1_000_000, "concurrency": workers}
    asked = manifest(40, model="gemini-3-pro-image", resolution=resolution, limits=limits, **more)
    return Job(tmp_path, sandbox.url, asked)


def kill_at(job: Job, sandbox: Handle, more: int) -> None:
    """Begin a run and kill it hard once so many more requests have come; where no money is left, it ends by itself."""
    enough = sandbox.bill()["requests"] + more
    with job.started() as process:
        until(lambda: sandbox.bill()["requests"] >= enough or process.poll() is not None)


def finish(job: Job) -> dict[str, Any]:
    """Run until the cap stops it, and again; gives the last summary."""
    for _ in range(1 + RESUMED):
        ended = job.run()
        assert ended.code == 10, ended.err
        assert "max_cost" in ended.json["stopped"]
    job.check()
    return ended.json


def worst_case(sandbox: Handle, resolution: str = "1K") -> int:
    """What the server billed, and may have billed: whoever was never answered cannot know.

    A request whose client was killed before the server had read it does not say what it asked for: the size given.
    """
    asked = sandbox.requests()
    silent = [request for request in asked if request["status"] is None and not request["billed"]]
    billed: int = sandbox.bill()["micro_usd"]
    return billed + sum(PRICES[request["resolution"] or resolution] for request in silent)


def own_count(summary: dict[str, Any]) -> int:
    """What the run itself takes to be spent at worst."""
    return sum(round(summary[name] * 1_000_000) for name in ("cost_usd", "reserved_usd", "possibly_billed_usd"))


@pytest.mark.parametrize("workers", [1, 3, 16])
def test_a_cap_holds_through_kills_and_answers_that_were_billed_and_never_came(tmp_path: Path, workers: int) -> None:
    faults = [{"when": {"every": 3}, "then": {"cut": "before"}}, {"when": {"every": 4}, "then": {"cut": 0.5}}]
    with in_thread({"latency": 0.5, "faults": faults}) as sandbox:
        job = capped(tmp_path, sandbox, workers=workers)
        kill_at(job, sandbox, 1)
        kill_at(job, sandbox, 1)
        summary = finish(job)
        assert sandbox.bill()["micro_usd"] <= worst_case(sandbox) <= own_count(summary) <= CAP
        assert own_count(summary) + PRICES["1K"] > CAP, "the budget is not used up"
        assert summary["possibly_billed"] >= 2


def test_a_killed_run_leaves_no_money_for_what_was_in_flight(tmp_path: Path) -> None:
    """Seven were under way and all may be billed: the runs after it buy nothing."""
    with in_thread({"latency": 30.0}) as sandbox:
        job = capped(tmp_path, sandbox, workers=16)
        kill_at(job, sandbox, 7)
        summary = finish(job)
        assert (summary["possibly_billed"], summary["done"]) == (7, 0)
        assert sandbox.bill()["requests"] == 7
        assert worst_case(sandbox) == own_count(summary) <= CAP


@pytest.mark.parametrize("workers", [2, 16])
def test_refusals_and_failures_that_cost_nothing_leave_the_whole_budget_to_images(tmp_path: Path, workers: int) -> None:
    """Whatever is told to be free gives its money back, and not a cent more."""
    free = [{"block": "SAFETY"}, {"error": "internal"}, {"image": "none", "finish": "NO_IMAGE"}, {"error": "invalid"}]
    faults = [{"when": {"nth": number + 1}, "then": then} for number, then in enumerate(free * 2)]
    with in_thread({"latency": 0.1, "faults": faults}) as sandbox:
        job = capped(tmp_path, sandbox, workers=workers)
        assert job.run().json["done"] == 7
        summary = finish(job)
        assert (summary["done"], summary["possibly_billed"]) == (7, 0)
        assert sandbox.bill()["micro_usd"] == own_count(summary) == 7 * PRICES["1K"]
        assert sandbox.bill()["requests"] == 7 + len(faults)


def test_failures_without_an_image_that_are_billed_all_the_same_take_their_part_of_the_cap(tmp_path: Path) -> None:
    """A gateway that gives up hides what the service behind it has made."""
    faults = [{"when": {"every": 2}, "then": {"error": "gateway_timeout", "billed": True}}]
    with in_thread({"latency": 0.1, "faults": faults}) as sandbox:
        job = capped(tmp_path, sandbox)
        kill_at(job, sandbox, 2)
        summary = finish(job)
        assert sandbox.bill()["micro_usd"] <= worst_case(sandbox) <= own_count(summary) <= CAP
        assert own_count(summary) + PRICES["1K"] > CAP, "the budget is not used up"


@pytest.mark.parametrize("workers", [1, 4])
def test_a_cap_holds_when_4k_times_out_and_falls_back_to_2k(tmp_path: Path, workers: int) -> None:
    """Two timeouts at $0.24 that may be billed, and an image at $0.134: each at its own price."""
    faults = [{"when": {"resolution": "4K"}, "then": {"hang": "before", "billed": True}}]
    with in_thread({"latency": 0.1, "faults": faults}) as sandbox:
        job = capped(tmp_path, sandbox, resolution="4K", workers=workers, timeouts={"4K": 1})
        job.run("--limit", "1")
        assert [request["resolution"] for request in sandbox.requests()] == ["4K", "4K", "2K"]
        kill_at(job, sandbox, 1)
        summary = finish(job)
        assert sandbox.bill()["micro_usd"] <= worst_case(sandbox, "4K") <= own_count(summary) <= CAP
        assert own_count(summary) + PRICES["4K"] > CAP, "the budget is not used up"
        assert summary["degraded"] == 1
