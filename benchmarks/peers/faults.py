"""What it costs when a run is killed, a prompt refused, an image of the wrong size, money short, a service away."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from benchmarks.measuring import MB, table
from benchmarks.peers.judging import Found, judge
from benchmarks.peers.playing import Ended, Play, play
from benchmarks.peers.roster import Client

WORKERS, LATENCY = 16, 0.5
ODD = "number 7,"  # in one prompt alone
AT_ONCE = 8  # plays that wait for the most part, and are measured by the clock in tens of seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One thing that goes wrong.

    Attributes:
        title: what the table is called.
        images: different prompts.
        script: what the server does beside its latency.
        told: what the client is told beside that; the rest of `Asked`.
        perform: plays it.
        needed: what must be bought; None for one of each prompt.
        refused: a part of the prompts of which no image can be had.
        is_waiting: the clients have little to do, so that several can be played at once.
    """

    title: str
    images: int
    script: Mapping[str, object] = field(default_factory=dict)
    told: Mapping[str, object] = field(default_factory=dict)
    perform: Callable[[Play], object] = Play.run
    needed: int | None = None
    refused: str | None = None
    is_waiting: bool = False


def _thrice(job: Play) -> None:
    for _ in range(3):
        job.run()


def _killed_twice(job: Play) -> None:
    left = job.asked.images
    for _ in range(2):
        left -= left // 2
        made = job.asked.images - left
        job.kill(partial(_has_billed, job, made))
    job.run()


def _has_billed(job: Play, images: int) -> bool:
    return bool(job.handle.bill()["billed"] >= images)


def _faults(*rules: Mapping[str, object]) -> dict[str, object]:
    return {"faults": rules}


QUOTA = {"quota": {"requests_per_minute": 60}}
SCENARIOS: Mapping[str, Scenario] = {
    "killed": Scenario(
        title="killed with -9 when half was billed, resumed, killed at half of the rest, resumed",
        images=200,
        perform=_killed_twice,
    ),
    "refused": Scenario(
        title="one prompt is always refused, and each refusal is billed; run three times",
        images=50,
        script=_faults({"when": {"prompt": ODD}, "then": {"block": "SAFETY", "billed": True}}),
        perform=_thrice,
        refused=ODD,
    ),
    "sizes": Scenario(
        title="one image in ten has 512 x 512 pixels instead of 1024 x 1024",
        images=100,
        script=_faults({"when": {"share": 0.1}, "then": {"pixels": [512, 512]}}),
    ),
    "cap": Scenario(
        title="a cap of $1.00 at $0.0336 an image; run three times",
        images=100,
        told={"max_cost": 1.0},
        perform=_thrice,
        needed=29,
    ),
    "outage": Scenario(
        title="the service answers 503 from the 5th to the 65th second",
        images=400,
        script=_faults({"when": {"after": 5.0, "before": 65.0}, "then": {"error": "overloaded"}}),
        is_waiting=True,
    ),
    "hang": Scenario(
        title="one request is never answered; a request may take 10 s",
        images=50,
        script=_faults({"when": {"prompt": ODD, "first": 1}, "then": {"hang": "before"}}),
        told={"timeout": 10},
        is_waiting=True,
    ),
    "drip": Scenario(
        title="one answer comes at 20 bytes a second, and is billed; a request may take 10 s",
        images=50,
        script=_faults({"when": {"prompt": ODD, "first": 1}, "then": {"drip": 20}}),
        told={"timeout": 10},
        is_waiting=True,
    ),
    "told": Scenario(
        title="a quota of 60 requests a minute; those that can be told of it are",
        images=100,
        script=QUOTA,
        told={"rpm": 60},
        is_waiting=True,
    ),
    "untold": Scenario(
        title="a quota of 60 requests a minute, of which nobody is told",
        images=100,
        script=QUOTA,
        is_waiting=True,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A client's play of a scenario."""

    client: str
    found: Found
    runs: Sequence[Ended]


def compare(names: Sequence[str], clients: Sequence[Client]) -> None:
    """Play scenarios, those that wait together, and print a table for each."""
    chosen = [client for client in clients if not client.is_floor]
    waiting = [name for name in names if SCENARIOS[name].is_waiting]
    for name in names:
        if name not in waiting:
            _print(name, [_played(name, client) for client in chosen])
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = {name: [pool.submit(_played, name, client) for client in chosen] for name in waiting}
        for name in waiting:
            _print(name, [each.result() for each in found[name]])


def _played(name: str, client: Client) -> Result:
    scenario = SCENARIOS[name]
    settings = {"images": scenario.images, "workers": WORKERS, "careful": True, **scenario.told}
    with play(client, {"latency": LATENCY, **scenario.script}, **settings) as job:
        scenario.perform(job)
        return Result(client=client.name, found=judge(job, scenario.refused), runs=tuple(job.runs))


def _print(name: str, results: Sequence[Result]) -> None:
    scenario = SCENARIOS[name]
    head = ["client", "requests", "bought", "to what was needed", "twice", "lost", "not made", "wrong", "called fine"]
    rows = [_row(result, scenario) for result in results]
    title = f"{name}: {scenario.title}; {scenario.images} images"
    table(title, [*head, "runs ended with", "wall s", "CPU ms an image", "peak MB", "disk MB"], rows)


def _row(result: Result, scenario: Scenario) -> list[str]:
    found, runs = result.found, result.runs
    needed = scenario.needed or scenario.images
    counts = [found.requests, found.bought, f"{found.bought / needed:.2f} x", found.twice, found.lost]
    counts += [scenario.images - found.made, found.wrong, found.fine]
    cpu = sum(run.cpu for run in runs) / max(found.made, 1) * 1000
    size = [max(run.peak for run in runs) / MB, found.disk / MB]
    walls = f"{sum(run.wall for run in runs):.1f}"
    return [
        result.client,
        *map(str, counts),
        ", ".join(run.how for run in runs),
        walls,
        f"{cpu:.0f}",
        f"{size[0]:.0f}",
        f"{size[1]:.1f}",
    ]
