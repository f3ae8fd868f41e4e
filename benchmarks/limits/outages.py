"""A service that is away for a minute, and one that turns away or disappoints one request in ten."""

from typing import Any

from benchmarks.limits.trial import Row, answers, asked, at_least, at_most, exactly, trial

BEGINS, ENDS = 10.0, 70.0  # seconds after the first request
MANY, WORKERS = 1000, 16
BURST = 5.0  # seconds after the first 503, in which the breaker has long had its 20 answers to open by
TASKS = 600
STEADY = 0.9  # the share of the images by which speed is told: after it, workers run out of tasks in any case
SHARE = {"share": 0.1}


def outage() -> list[Row]:
    """Ask seldom while nobody answers, fail nothing, and be back soon."""
    faults = [{"when": {"after": BEGINS, "before": ENDS}, "then": {"error": "overloaded"}}]
    with trial({"latency": 0.5, "faults": faults}, asked(MANY, {"concurrency": WORKERS})) as job:
        ended = job.run()
        requests, bad = job.handle.requests(), answers(job.handle, 503)
    end = requests[0]["at"] + ENDS
    probes = sum(request["at"] > bad[0]["at"] + BURST for request in bad)
    after = [request for request in requests if request["at"] >= end]
    return [
        exactly("images", ended.summary["done"], MANY),
        exactly("failed", ended.summary["failed"], 0),
        at_most("probes while it lasts", probes, 10),
        at_most("asked again after its end", _first(after, 1) - end, 20, " s"),
        at_most("half of the workers back", _first(after, WORKERS // 2) - end, 20, " s"),
    ]


def _first(requests: list[dict[str, Any]], in_flight: int) -> float:
    """Give the server's time at which a request came that brought an image, with so many under way."""
    found = (row["at"] for row in requests if row["billed"] and row["in_flight_at_arrival"] >= in_flight)
    return next(found, float("inf"))


def one_in_ten() -> list[Row]:
    """Keep all workers busy while retries wait: a request that was in vain costs its own time and no more."""
    clean, _ = _speed([])
    rows = []
    for name, then in (("503", {"error": "overloaded"}), ("NO_IMAGE", {"image": "none", "finish": "NO_IMAGE"})):
        rate, work = _speed([{"when": SHARE, "then": then}])
        what = f"images a second to a clean run's, {work:.2f} x the work, with 10 % {name}"
        rows.append(at_least(what, rate * work / clean, 0.9, " x"))
    return rows


def _speed(faults: list[dict[str, object]]) -> tuple[float, float]:
    """Give images a second by the server's clock, and how many requests an image took that had a worker's whole time.

    A 503 comes at once and takes none. The speed of a run that did not make the images is 0.
    """
    with trial({"latency": 1.0, "faults": faults}, asked(TASKS, {"concurrency": WORKERS})) as job:
        job.run()  # a task that got no image three times has failed, and that is as it should be
        served = answers(job.handle, 200)
    counted = int(STEADY * TASKS)
    made = [request for request in served if request["billed"]]
    if len(made) < counted:
        return 0.0, 1.0
    last = made[counted - 1]
    seconds = last["at"] - served[0]["at"] + 1.0
    return counted / seconds, sum(request["at"] <= last["at"] for request in served) / counted
