"""What whole runs wait for, and whom it concerns: models beside each other, quotas, clocks; under a virtual clock."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from batchbanana.errors import Exit
from batchbanana.ledger import Caps
from batchbanana.manifest import LimitSettings
from batchbanana.task import Attempt, FailureKind, OnMismatch, Task
from tests.support.build import rung, task
from tests.support.stage import Reply, Room, Service, Stage

IMAGE = Reply(seconds=3.0)
NO_MORE_TODAY = Reply(kind=FailureKind.DAY_QUOTA, is_billed=False, seconds=1.0, hint=7200.0)
TOO_MANY = Reply(kind=FailureKind.RATE_LIMITED, is_billed=False, seconds=1.0, hint=400.0)
PRICE = 134_000  # micro-dollars


def two_models(count: int) -> list[Task]:
    """So many tasks of model A, then as many of B."""
    tasks = [task(number, model="A" if number <= count else "B") for number in range(1, 2 * count + 1)]
    return [replace(one, name=f"{one.model}/{one.name}") for one in tasks]


def stage(
    folder: Path,
    answer: Callable[[int, Attempt], Reply],
    tasks: Sequence[Task],
    *,
    is_patient: bool = False,
    concurrency: int = 4,
    requests_per_minute: int | None = None,
    requests_per_day: int | None = None,
) -> Stage:
    settings = LimitSettings(
        concurrency=concurrency, requests_per_minute=requests_per_minute, requests_per_day=requests_per_day
    )
    return Stage(folder, Service(answer=answer), tasks, limits=settings, caps=Caps(), is_patient=is_patient)


def models_of(job: Stage) -> list[str]:
    models = {one.key: one.model for one in job.tasks}
    return [models[key] for _, key in job.service.arrivals]


@pytest.mark.parametrize("rate", [None, 2])
@pytest.mark.parametrize("kind", [FailureKind.DAY_QUOTA, FailureKind.MODEL_GONE])
def test_a_model_that_is_out_is_not_asked_again_by_those_who_stood_in_line(
    tmp_path: Path, kind: FailureKind, rate: int | None
) -> None:
    no = replace(NO_MORE_TODAY, kind=kind)
    job = stage(
        tmp_path,
        lambda _, attempt: no if attempt.task.model == "A" else IMAGE,
        two_models(16),
        requests_per_minute=rate,
    )
    ended = job.run()
    assert ended is not None
    assert ended.counts["done"] == ended.counts["pending"] == 16
    assert ended.trouble is not None
    assert ended.trouble.exit_code is (Exit.PAUSED if kind is FailureKind.DAY_QUOTA else Exit.PERSON)
    assert models_of(job).count("A") <= (4 if rate is None else 2), "those that were under way"


@pytest.mark.parametrize("kind", [FailureKind.DAY_QUOTA, FailureKind.MODEL_GONE])
def test_the_only_model_that_is_out_ends_the_run_at_once(tmp_path: Path, kind: FailureKind) -> None:
    no = replace(NO_MORE_TODAY, kind=kind)
    tasks = [task(number) for number in range(1, 30)]
    job = stage(tmp_path, lambda *_: no, tasks, requests_per_minute=2)
    began = job.now
    ended = job.run()
    assert ended is not None
    assert ended.stopped is not None
    assert ended.stopped.is_own
    assert len(job.service.arrivals) <= 2
    assert job.now - began < 10


def test_a_gated_model_leaves_the_workers_to_the_other(tmp_path: Path) -> None:
    job = stage(
        tmp_path,
        lambda number, attempt: TOO_MANY if attempt.task.model == "A" and number < 8 else IMAGE,
        two_models(30),
        requests_per_minute=6,
    )
    assert job.run() is not None
    others = [moment for (moment, _), model in zip(job.service.arrivals, models_of(job), strict=True) if model == "B"]
    assert others[-1] - others[0] <= 61 * 36 / 6, "all that the minute allows"


def test_after_a_gate_of_one_model_it_is_not_the_other_that_is_spaced(tmp_path: Path) -> None:
    job = stage(
        tmp_path,
        lambda number, attempt: TOO_MANY if attempt.task.model == "A" and number < 16 else replace(IMAGE, seconds=0.5),
        two_models(400),
        concurrency=16,
    )
    assert job.run() is not None
    first = min(m for (m, _), model in zip(job.service.arrivals, models_of(job), strict=True) if model == "A")
    after = [
        moment
        for (moment, _), model in zip(job.service.arrivals, models_of(job), strict=True)
        if model == "A" and moment > first + 300
    ]
    assert sum(moment < after[0] + 0.1 for moment in after) <= 3, "no stampede"


@pytest.mark.parametrize("is_patient", [False, True])
def test_an_outage_ends_a_run_whether_or_not_it_waits_for_quotas(tmp_path: Path, is_patient: bool) -> None:
    """A spend limit that never opens again asks for ten minutes each time; that is no quota of ours."""
    no = replace(TOO_MANY, hint=600.0)
    job = stage(tmp_path, lambda *_: no, [task(number) for number in range(1, 9)], is_patient=is_patient)
    began = job.now
    ended = job.run()
    assert ended is not None
    assert ended.stopped is not None
    assert ended.stopped.exit_code is Exit.PAUSED
    assert 6 * 3600 < job.now - began < 7 * 3600


def test_a_days_quota_is_waited_for_and_then_work_goes_on(tmp_path: Path) -> None:
    job = stage(tmp_path, lambda *_: IMAGE, [task(number) for number in range(1, 21)], is_patient=True)
    began = job.now
    job.service.answer = lambda *_: NO_MORE_TODAY if 10 < job.service.clock() - began < 5000 else IMAGE
    ended = job.run()
    assert ended is not None
    assert (ended.stopped, ended.counts["done"]) == (None, 20)
    moments = [moment - began for moment, _ in job.service.arrivals]
    assert not [moment for moment in moments if 60 < moment < 7200], "nobody asks before the time"
    assert job.now - began < 7400


def test_a_day_of_our_own_is_waited_for_by_the_clock_of_the_service(tmp_path: Path) -> None:
    tasks = [task(number) for number in range(1, 10)]
    job = stage(tmp_path, lambda *_: IMAGE, tasks, is_patient=True, requests_per_day=5)
    assert job.run(kill_after=5.0) is None
    ended = job.run()
    assert ended is not None
    assert ended.counts["done"] == 9
    moments = [moment for moment, _ in job.service.arrivals]
    assert moments[4] < 1010
    assert moments[5] == pytest.approx(86_400, abs=60), "where virtual time begins, it is midnight in California"


def test_requests_that_never_left_take_no_place_of_the_day(tmp_path: Path) -> None:
    """Four connect for so long that others ask meanwhile, and never get through."""
    tasks = [task(number) for number in range(1, 9)]
    job = stage(tmp_path, lambda *_: IMAGE, tasks, concurrency=8, requests_per_day=4)
    failing = iter([True] * 4)
    job.refuses = lambda: next(failing, False)
    job.connecting = lambda: 5.0
    ended = job.run()
    assert ended is not None
    assert ended.counts["done"] == 4
    assert ended.stopped is not None
    assert "requests_per_day is used up" in ended.stopped.reason


def test_a_limit_without_a_hint_is_felt_out_by_one_request_at_a_time(tmp_path: Path) -> None:
    """A service of 20 a minute that never says how long to wait."""
    window: list[float] = []
    job = stage(tmp_path, lambda *_: IMAGE, [task(number) for number in range(1, 61)], concurrency=16)

    def answer(_number: int, _attempt: Attempt) -> Reply:
        now = job.service.clock()
        window[:] = [moment for moment in window if moment > now - 60]
        if len(window) >= 20:
            return Reply(kind=FailureKind.RATE_LIMITED, is_billed=False, seconds=0.5)
        window.append(now)
        return IMAGE

    job.service.answer = answer
    began = job.now
    ended = job.run()
    assert ended is not None
    assert ended.counts["done"] == 60
    assert len(job.service.arrivals) - 60 <= 30
    assert job.now - began < 240


def test_an_image_that_differs_and_comes_after_the_end_is_asked_for_again_by_the_next_run(tmp_path: Path) -> None:
    odd = replace(task(1, rungs=(rung("2K"),)), on_mismatch=OnMismatch.RETRY)  # 1K comes
    job = stage(tmp_path, lambda *_: replace(IMAGE, seconds=10.0), [odd])
    ended = job.run(stop_after=5.0)
    assert ended is not None
    assert ended.counts["mismatch"] == 1
    assert not ended.is_worked_off


def test_silence_at_an_unknown_price_is_bounded_as_well(tmp_path: Path) -> None:
    tasks = [task(number, rungs=(rung(price=None),)) for number in range(1, 60)]
    job = stage(tmp_path, lambda *_: Reply(seconds=10_000.0), tasks, concurrency=2)
    job.caps = Caps(max_possibly_billed=5_000_000)
    ended = job.run()
    assert ended is not None
    assert ended.stopped is not None
    assert ended.money.possible_unpriced == 20, "a quarter of a dollar each"
    assert "up to $5.00 of max_possibly_billed $5.00" in ended.stopped.reason


def test_a_disk_that_fills_up_after_a_run_has_stopped_for_another_reason_is_told_too(tmp_path: Path) -> None:
    job = stage(
        tmp_path, lambda number, _: IMAGE if number else NO_MORE_TODAY, [task(number) for number in range(1, 5)]
    )
    ended = job.run(room=Room(names=4, pages=100))  # for four parts, and for no image's final name
    assert ended is not None
    assert ended.stopped is not None
    assert ended.stopped.exit_code is Exit.PAUSED
    assert any("could not be put in its place" in line for line in ended.log)
    again = job.run()
    assert again is not None
    assert (again.counts["done"], job.service.again) == (4, [])
