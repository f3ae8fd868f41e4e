"""The watchdog: it ends what does nothing and waits for nothing known, and leaves everything else alone."""

import threading
from dataclasses import dataclass, field

import anyio
import pytest

from batchbanana import watchdog
from batchbanana.errors import Exit
from batchbanana.policy import Stop
from batchbanana.spool.files import with_patience
from batchbanana.watchdog import GRACE, LOOK, LOOP_PATIENCE, MARGIN, Silence, Watchdog, patience
from tests.support.clock import run_virtually

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
    for timeout in (5.0, 360.0, 86_400.0):
        assert patience(timeout) > 3 * timeout + max(timeout, 120.0) + 60.0 + 5 * 90.0
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


def test_a_run_that_has_not_begun_is_left_alone() -> None:
    async def main() -> None:
        with anyio.move_on_after(5 * HOUR):
            await Watchdog(lambda: None).watch()

    run_virtually(main)


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
    with Watchdog(lambda: None, end).guarding():
        assert with_patience(lambda: end.came.wait(30))  # something of ours that stands still
    assert end.told is not None
    assert end.told[0] is Exit.WATCHDOG
    assert "hangs (with_patience, files.py line" in end.told[1]


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
