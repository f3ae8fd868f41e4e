"""A cap of $1.00 at $0.134 an image, through resumed runs, kills, dropped answers and timeouts.

The server's own bill is the judge.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.limits.trial import Row, Trial, asked, at_least, at_most, exactly, trial

TASKS, CAP, PRICE = 100, 1_000_000, 134_000  # micro-dollars
IMAGES = CAP // PRICE
MODEL = {"model": "gemini-3-pro-image", "resolution": "1K"}
RESUMED = 3
ROUNDS = 8  # jobs of the scenarios with chance in them
KILLS = 3  # of each of them
WORKERS = (1, 3, 16)  # in turns: with few of them, several rounds of requests fit under the cap
MOMENTS = (0.3, 2.5)  # seconds after the start; the first request leaves after about half a second
SEED = 20261122
LOST: list[dict[str, object]] = [
    {"when": {"share": 0.2}, "then": {"cut": "before"}},
    {"when": {"share": 0.2}, "then": {"cut": 0.5}},
    {"when": {"share": 0.2}, "then": {"hang": "before", "billed": True}},
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a job has come to, in micro-dollars.

    Attributes:
        images: that the server billed.
        worst: the server's bill, and the price of each request that it never answered.
        unanswered: how many requests got not even the head of an answer.
        own: what the job's last summary says: settled, reserved and possibly billed.
        code: of the last run.
    """

    images: int
    worst: int
    unanswered: int
    own: int
    code: int


def cap() -> list[Row]:
    """Buy seven images and no more, however often the job is run."""
    limits = {"max_cost": CAP / 1e6, "concurrency": 16}
    with trial({"latency": 0.3}, asked(TASKS, limits, **MODEL)) as job:
        found = _finish(job, 1 + RESUMED)
    return [
        at_most("images bought, ever", found.images, IMAGES),
        at_least("images bought: the budget is used", found.images, IMAGES),
        exactly("exit code of the last run", found.code, 10),
    ]


def cap_killed() -> list[Row]:
    """Count what was in flight at a kill."""
    return _rounds([])


def cap_lost() -> list[Row]:
    """Count also what was billed and never came."""
    return _rounds(LOST)


def _rounds(faults: Sequence[dict[str, object]]) -> list[Row]:
    found = [_round(number, faults) for number in range(ROUNDS)]
    return [
        at_least(f"never answered, in {ROUNDS} jobs", sum(spent.unanswered for spent in found), ROUNDS),
        at_most("images bought by one job, ever", max(spent.images for spent in found), IMAGES),
        at_most("billed, and what may be", max(spent.worst for spent in found) / 1e6, CAP / 1e6, " USD"),
        at_least("the run's own count above that", min(spent.own - spent.worst for spent in found) / 1e6, 0, " USD"),
        exactly("exit codes of the last runs", {spent.code for spent in found}, {10}),
    ]


def _round(number: int, faults: Sequence[dict[str, object]]) -> Spent:
    chance = random.Random(SEED + number)  # noqa: S311 -- moments that can be had again, no secret
    limits = {"max_cost": CAP / 1e6, "concurrency": WORKERS[number % len(WORKERS)]}
    script = {"latency": 0.6, "seed": number, "faults": faults}
    with trial(script, asked(TASKS, limits, timeouts={"1K": 2}, **MODEL)) as job:
        for _ in range(KILLS):
            job.kill(chance.uniform(*MOMENTS))
        return _finish(job, RESUMED)


def _finish(job: Trial, runs: int) -> Spent:
    for _ in range(runs):
        last = job.run()
    told = [last.summary[name] for name in ("cost_usd", "reserved_usd", "possibly_billed_usd")]
    bill, requests = job.handle.bill(), job.handle.requests()
    silent = [request for request in requests if request["status"] is None]
    return Spent(
        images=bill["billed"],
        worst=bill["micro_usd"] + PRICE * sum(not request["billed"] for request in silent),
        unanswered=len(silent),
        own=sum(round(usd * 1e6) for usd in told),
        code=last.code,
    )
