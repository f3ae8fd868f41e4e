"""The watchdog: it ends what does nothing and waits for nothing known, and leaves everything else alone."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest

from batchbanana import plan, policy, watchdog
from batchbanana.beginning import Beginning
from batchbanana.engines.links import ROOM
from batchbanana.engines.local import EXTRAS_TIMEOUT
from batchbanana.engines.tries import BACKOFF, LONGEST_HINT, TRIES
from batchbanana.errors import Exit
from batchbanana.ledger import Caps
from batchbanana.limits import Limits
from batchbanana.manifest import LimitSettings
from batchbanana.policy import Stop
from batchbanana.spool.files import DESCRIPTOR_PATIENCE, with_patience
from batchbanana.task import Attempt, FailureKind, Task
from batchbanana.transport import LONGEST_CONNECT
from batchbanana.transport.patience import PATIENCE
from batchbanana.watchdog import GRACE, LOOK, LOOP_PATIENCE, MARGIN, Silence, Watchdog, patience
from tests.support.build import rung, task
from tests.support.clock import run_virtually
from tests.support.stage import Ended, Reply, Service, Stage

HOUR = 3600.0


@dataclass
class Still:
    """A run that does nothing but what a test says."""

    pulse: object = 0
    waits: float = 0.0
    longest: float = 360.0
    stopped: Stop | None = None
    is_cancelled: bool = False
    stops: list[Stop] = field(default_factory=list)

    def stop(self, stop: Stop) -> None:
        self.stops.append(stop)
        self.stopped = self.stopped or stop

    def cancel(self) -> None:
        self.is_cancelled = True


def seconds_to_the_end(run: Still, most: float, during: float = 0.0) -> float | None:
    """Watch a run in virtual time; gives when it was given up. For `during` seconds it waits for something known."""

    async def main() -> float | None:
        began = anyio.current_time()
        if during:
            run.waits = during
        async with anyio.create_task_group() as group:
            group.start_soon(Watchdog(lambda: run).watch)
            while anyio.current_time() - began < most and not run.is_cancelled:
                await anyio.sleep(LOOK / 2)
                run.waits = max(0.0, during - (anyio.current_time() - began))
            group.cancel_scope.cancel()
        return anyio.current_time() - began if run.is_cancelled else None

    return run_virtually(main)


def test_a_run_that_does_nothing_is_stopped_with_its_own_code_and_what_it_was_doing() -> None:
    run = Still()
    ended = seconds_to_the_end(run, 2 * HOUR)
    assert ended == pytest.approx(patience(run.longest), abs=3 * LOOK)
    (stop,) = run.stops
    assert stop.exit_code is Exit.WATCHDOG
    assert "No progress for 44 min" in stop.reason


def test_a_known_wait_is_no_silence_and_the_time_counts_from_its_end() -> None:
    run = Still()
    ended = seconds_to_the_end(run, 9 * HOUR, during=6 * HOUR)
    assert ended == pytest.approx(6 * HOUR + patience(run.longest), abs=4 * LOOK)


def test_no_attempt_can_last_as_long_as_the_watchdogs_patience() -> None:
    opened = 4 * DESCRIPTOR_PATIENCE  # its picture's file, two folders, and a note
    rests = TRIES * (LONGEST_HINT + BACKOFF[1])  # counted on top, although the room that a download has bounds them
    for timeout in (5.0, 360.0, 86_400.0):
        download = max(timeout, ROOM) + rests + EXTRAS_TIMEOUT
        assert patience(timeout) > LONGEST_CONNECT + PATIENCE * timeout + download + opened
    run = Still(longest=3 * HOUR)
    assert seconds_to_the_end(run, 12 * HOUR) is None


def test_whoever_does_something_now_and_then_is_left_alone() -> None:
    run = Still()

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(Watchdog(lambda: run).watch)
            for number in range(10):
                run.pulse = number
                await anyio.sleep(patience(run.longest) - 10)
            group.cancel_scope.cancel()

    run_virtually(main)
    assert not run.stops


def test_the_first_steps_of_a_run_are_watched_as_its_work_is() -> None:
    beginning = Beginning()

    async def main() -> float:
        async with anyio.create_task_group() as group:
            group.start_soon(Watchdog(lambda: beginning).watch)
            for _ in range(10):  # files that are slow to look at
                beginning.step()
                await anyio.sleep(MARGIN - 10)
            assert beginning.stopped is None
            began = anyio.current_time()
            while not beginning.is_cancelled:  # noqa: ASYNC110 -- it is no event, since threads look at it
                await anyio.sleep(LOOK)
            group.cancel_scope.cancel()
        return anyio.current_time() - began

    assert run_virtually(main) < MARGIN
    assert beginning.stopped is not None
    assert beginning.stopped.exit_code is Exit.WATCHDOG


def stage(folder: Path, answer: Callable[[int, Attempt], Reply], tasks: list[Task], *, is_patient: bool) -> Stage:
    """Set up a run that is watched."""
    limits = LimitSettings(concurrency=4)
    job = Stage(folder, Service(answer=answer), tasks, limits=limits, caps=Caps(), is_patient=is_patient)
    job.is_watched = True
    return job


def two_models(count: int) -> list[Task]:
    return [task(number, model="B" if number % 2 else "A") for number in range(1, count + 1)]


def ended(job: Stage) -> tuple[Ended, float]:
    """Run; gives how it ended and after how many seconds."""
    began = job.now
    end = job.run()
    assert end is not None
    return end, job.now - began


def is_hung(end: Ended) -> bool:
    return end.stopped is not None and end.stopped.exit_code is Exit.WATCHDOG


def test_an_attempt_that_never_comes_back_ends_a_run_whose_other_tasks_wait_for_it_again_and_again(
    tmp_path: Path,
) -> None:
    def answer(_number: int, attempt: Attempt) -> Reply:
        return Reply(kind=FailureKind.RATE_LIMITED, is_billed=False) if attempt.task.model == "A" else Reply()

    job = stage(tmp_path, answer, two_models(12), is_patient=False)
    asked: list[int] = []

    def swallows(attempt: Attempt) -> bool:
        """Let the one that is to find out for the others never come back."""
        asked.append(attempt.id)
        return attempt.task.model == "A" and len(asked) > 4

    job.swallows = swallows
    end, seconds = ended(job)
    assert is_hung(end)
    assert end.counts["done"] == 6
    assert seconds < patience(180.0) + 10 * 60


def test_one_models_rest_until_tomorrow_does_not_excuse_another_ones_attempt(tmp_path: Path) -> None:
    no_more = Reply(kind=FailureKind.DAY_QUOTA, is_billed=False, hint=20 * HOUR)
    job = stage(
        tmp_path, lambda _, attempt: no_more if attempt.task.model == "A" else Reply(), two_models(4), is_patient=True
    )
    job.swallows = lambda attempt: attempt.task.model == "B"
    end, seconds = ended(job)
    assert is_hung(end)
    assert seconds < patience(180.0) + 10 * 60


def test_tasks_that_are_put_off_for_moments_again_and_again_are_no_known_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hold(_self: Limits, model: str, **_: bool) -> float:
        return 1.0 if model == "A" else 0.0

    monkeypatch.setattr(Limits, "hold", hold)  # a fault of ours
    job = stage(tmp_path, lambda *_: Reply(), two_models(4), is_patient=False)
    job.has_swallowed = True
    end, seconds = ended(job)
    assert is_hung(end)
    assert end.counts["done"] == 2
    assert seconds < patience(180.0) + 60


def test_an_attempt_that_may_take_hours_is_waited_for(tmp_path: Path) -> None:
    long = [task(1, rungs=(rung(timeout=3 * HOUR),))]
    end, seconds = ended(stage(tmp_path, lambda *_: Reply(seconds=2.9 * HOUR), long, is_patient=False))
    assert end.counts["done"] == 1
    assert seconds > 2 * MARGIN


def test_a_single_retry_an_hour_away_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "LONGEST_HINT", 2 * HOUR)
    later = Reply(kind=FailureKind.UNAVAILABLE, is_billed=False, hint=HOUR)
    end, seconds = ended(stage(tmp_path, lambda number, _: Reply() if number else later, [task()], is_patient=False))
    assert end.counts["done"] == 1
    assert patience(180.0) < HOUR < seconds


def test_a_long_way_through_tasks_that_are_finished_is_no_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BLOCK", "LARGEST_BLOCK"):
        monkeypatch.setattr(plan, name, 2)
    job = stage(tmp_path, lambda *_: Reply(), [task(number) for number in range(1, 21)], is_patient=False)
    assert ended(job)[0].counts["done"] == 20
    job.reading = lambda: MARGIN / 4
    end, seconds = ended(job)
    assert (end.stopped, end.counts["done"]) == (None, 20)
    assert seconds > 2 * MARGIN


def test_a_night_in_which_the_process_was_stopped_is_one_look() -> None:
    silence = Silence()
    assert not any(silence.look("same", MARGIN) for _ in range(int(MARGIN / LOOK)))
    assert silence.look("same", MARGIN)
    assert not silence.look("other", MARGIN)
    assert not silence.look("other", MARGIN, is_fine=True)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the thread look a hundred times as often, and count as it would."""
    monkeypatch.setattr(watchdog, "LOOK", 0.01)
    monkeypatch.setattr(watchdog, "LOOP_PATIENCE", LOOP_PATIENCE / 600)
    monkeypatch.setattr(watchdog, "GRACE", GRACE / 100)


class End:
    """Takes the place of the process's end."""

    def __init__(self) -> None:
        self.came = threading.Event()
        self.told: tuple[Exit, str] | None = None

    def __call__(self, code: Exit, sentence: str) -> None:
        self.told = (code, sentence)
        self.came.set()


@pytest.mark.usefixtures("quick")
def test_an_event_loop_that_stands_still_is_ended_from_outside_with_the_place_where_it_stands() -> None:
    end = End()
    with Watchdog(Still, end).guarding():
        assert with_patience(lambda: end.came.wait(30))  # something of ours that stands still
    assert end.told is not None
    assert end.told[0] is Exit.WATCHDOG
    assert "1 in with_patience, spool/files.py line" in end.told[1]


@pytest.mark.usefixtures("quick")
def test_an_event_loop_that_moves_is_left_alone() -> None:
    end = End()
    guard = Watchdog(Still, end)

    async def main() -> None:
        with anyio.move_on_after(LOOP_PATIENCE / 600 * 3):
            await guard.watch()

    with guard.guarding():
        anyio.run(main)
    assert end.told is None


@pytest.mark.usefixtures("quick")
def test_a_run_that_was_given_up_and_does_not_end_is_ended_with_the_code_it_was_stopped_with() -> None:
    run, end = Still(is_cancelled=True), End()
    run.stop(Stop(exit_code=Exit.TERMINATED, reason="Stopped by SIGTERM"))
    with Watchdog(lambda: run, end).guarding():
        assert end.came.wait(30)
    assert end.told is not None
    assert end.told[0] is Exit.TERMINATED
    assert "did not come to its end" in end.told[1]
