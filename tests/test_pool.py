"""Limits and policy at work together against a service made up of a function, under a clock that jumps."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import anyio
import pytest

from batchbanana.limits import Limits
from batchbanana.policy import GiveUp, History, Retry, decide, remember
from batchbanana.task import Failure, FailureKind
from tests.support.clock import run_virtually

MODEL = "gemini-3-pro-image"
LATENCY = 0.5
Service = Callable[[float], FailureKind | None]
"""Says what a request that comes so many seconds after the start is answered with; None is an image."""


@dataclass(kw_only=True)
class Log:
    """What the service saw: the moments of its good and its bad answers; and what became of the tasks."""

    good: list[float] = field(default_factory=list)
    bad: list[float] = field(default_factory=list)
    lost: int = 0


def work_off(tasks: int, workers: int, service: Service) -> Log:
    """Make so many images, with retries that wait holding no worker, as a run does."""

    async def main() -> Log:
        limits, log, chance = Limits(concurrency=workers), Log(), random.Random(7)  # noqa: S311 -- for a simulation
        began = anyio.current_time()

        async def make(history: History) -> None:
            while True:
                leave = await limits.leave(MODEL, 0)
                limits.departs(leave)
                kind = service(anyio.current_time() - began)
                (log.good if kind is None else log.bad).append(anyio.current_time() - began)
                await anyio.sleep(LATENCY)
                failure = None if kind is None else Failure(kind=kind, message="no")
                limits.observe(MODEL, failure, LATENCY, is_probe=leave.is_probe)
                limits.back(leave)
                if failure is None:
                    return
                history = remember(history, failure.kind, 1)
                step = decide(failure, history, others_pass=True)
                if isinstance(step, GiveUp):
                    log.lost += 1
                    return
                assert isinstance(step, Retry)
                await anyio.sleep(step.floor + step.spread * chance.random())

        async with anyio.create_task_group() as group:
            for _ in range(tasks):
                group.start_soon(make, History())
        return log

    return run_virtually(main)


def test_an_outage_of_a_minute_is_probed_a_few_times_and_work_goes_on_soon_after() -> None:
    log = work_off(1000, 16, lambda now: FailureKind.UNAVAILABLE if 10 <= now < 70 else None)
    assert log.lost == 0
    assert len(log.good) == 1000
    opened = max(moment for moment in log.bad if moment < 16)  # the storm that opens the breaker is over in seconds
    assert len([moment for moment in log.bad if moment > opened]) <= 10
    after = [moment for moment in log.good if moment >= 70]
    assert after[0] <= 90
    assert len([moment for moment in after if moment <= 90]) >= 20


@pytest.mark.parametrize("kind", [FailureKind.UNAVAILABLE, FailureKind.NO_IMAGE])
def test_one_answer_in_ten_that_is_no_image_costs_only_its_own_work(kind: FailureKind) -> None:
    chance = random.Random(3)  # noqa: S311 -- for a simulation
    calm = work_off(800, 16, lambda _now: None)
    rough = work_off(800, 16, lambda _now: kind if chance.random() < 0.1 else None)
    needed = (len(rough.good) + len(rough.bad)) / len(calm.good)
    # The last retries of all may wait with nothing else to do; that is not throughput.
    took = sorted(rough.good)[int(0.95 * len(rough.good))] / sorted(calm.good)[int(0.95 * len(calm.good))]
    assert took <= 1.1 * needed
