"""The failure table, row by row."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchbanana.errors import Exit
from batchbanana.policy import (
    GATE_SPREAD,
    LONGEST_SPREAD,
    MAX_TIMEOUTS,
    Decision,
    GiveUp,
    History,
    Retry,
    SetModelAside,
    Stop,
    Streaks,
    decide,
    recall,
    remember,
    rung_of,
    verdict,
    worst_case,
)
from batchbanana.task import Billed, Failure, FailureKind, Outcome
from tests.support.build import rung

LADDER = (rung("4K", price=240_000), rung("2K", price=134_000))


def failure(kind: FailureKind, **more: object) -> Failure:
    return Failure(kind=kind, message="as it was", **more)  # type: ignore[arg-type]


def after(kind: FailureKind, times: int, rungs: int = 2) -> History:
    history = History()
    for _ in range(times):
        history = remember(history, kind, rungs)
    return history


def follow(kind: FailureKind, times: int, *, rungs: int = 2, others_pass: bool = False, **more: object) -> Decision:
    """Decide on the last of so many failures of one kind."""
    return decide(failure(kind, **more), after(kind, times, rungs), others_pass=others_pass)


def test_a_timeout_is_tried_once_more_at_its_size_then_smaller_and_then_fails() -> None:
    """4K, 4K, 2K: three timeouts and no more."""
    rungs = [rung_of(LADDER, after(FailureKind.TIMEOUT, times)).resolution for times in range(3)]
    assert rungs == ["4K", "4K", "2K"]
    assert isinstance(follow(FailureKind.TIMEOUT, 1), Retry)
    assert isinstance(follow(FailureKind.TIMEOUT, 2), Retry)
    assert follow(FailureKind.TIMEOUT, 3) == GiveUp(outcome=Outcome.FAILED, reason="as it was (3 times)")


def test_without_a_lower_rung_two_timeouts_end_a_task() -> None:
    """`fallback: never` is obeyed."""
    assert isinstance(follow(FailureKind.TIMEOUT, 1, rungs=1), Retry)
    assert isinstance(follow(FailureKind.TIMEOUT, 2, rungs=1), GiveUp)


@pytest.mark.parametrize("kind", [kind for kind in FailureKind if kind is not FailureKind.TIMEOUT])
def test_nothing_but_a_timeout_earns_a_smaller_image(kind: FailureKind) -> None:
    assert rung_of(LADDER, after(kind, 20)).resolution == "4K"


@pytest.mark.parametrize("kind", [FailureKind.NOT_SENT, FailureKind.RATE_LIMITED, FailureKind.UNAVAILABLE])
def test_what_is_not_the_tasks_fault_never_fails_it(kind: FailureKind) -> None:
    assert isinstance(follow(kind, 1000), Retry)


def test_a_rate_limit_holds_everybody_back_for_the_hint_and_a_fifth_more_but_three_seconds_at_most() -> None:
    long = follow(FailureKind.RATE_LIMITED, 1, hint=55.2)
    assert long == Retry(floor=55.2, spread=LONGEST_SPREAD, gate=True)
    assert follow(FailureKind.RATE_LIMITED, 1, hint=10.0) == Retry(floor=10.0, spread=10.0 * GATE_SPREAD, gate=True)


def test_a_rate_limit_without_hint_waits_from_15_to_120_seconds() -> None:
    floors = [decision.floor for n in range(1, 8) if isinstance(decision := follow(FailureKind.RATE_LIMITED, n), Retry)]
    assert floors == [15, 30, 60, 120, 120, 120, 120]


@pytest.mark.parametrize(
    ("kind", "ceilings"),
    [
        (FailureKind.NOT_SENT, [1, 2, 4, 8, 16, 32, 60, 60]),
        (FailureKind.UNAVAILABLE, [5, 10, 20, 40, 80, 120, 120]),
        (FailureKind.SERVER_ERROR, [2, 4, 8, 16]),
        (FailureKind.TIMEOUT, [2, 4]),
        (FailureKind.NO_IMAGE, [1, 2]),
    ],
)
def test_other_waits_are_spread_over_the_whole_range_and_double_up_to_a_cap(
    kind: FailureKind, ceilings: list[int]
) -> None:
    decisions = [follow(kind, times) for times in range(1, len(ceilings) + 1)]
    assert decisions == [Retry(floor=0, spread=ceiling) for ceiling in ceilings]


def test_a_server_error_is_retried_four_times() -> None:
    assert isinstance(follow(FailureKind.SERVER_ERROR, 4), Retry)
    assert isinstance(follow(FailureKind.SERVER_ERROR, 5), GiveUp)


def test_three_server_errors_on_one_task_while_others_pass_fail_that_task() -> None:
    assert isinstance(follow(FailureKind.SERVER_ERROR, 2, others_pass=True), Retry)
    assert isinstance(follow(FailureKind.SERVER_ERROR, 3, others_pass=True), GiveUp)


def test_an_answer_without_image_is_asked_again_twice_and_ends_as_the_answer_says() -> None:
    assert isinstance(follow(FailureKind.NO_IMAGE, 2), Retry)
    failed = follow(FailureKind.NO_IMAGE, 3)
    assert isinstance(failed, GiveUp)
    assert failed.outcome is Outcome.FAILED
    refused = follow(FailureKind.NO_IMAGE, 3, final=Outcome.REFUSED)
    assert isinstance(refused, GiveUp)
    assert refused.outcome is Outcome.REFUSED


def test_a_refusal_is_an_outcome_of_its_own_at_once() -> None:
    assert follow(FailureKind.REFUSED, 1) == GiveUp(outcome=Outcome.REFUSED, reason="as it was")


def test_faults_of_the_run_stop_it_and_fail_no_task() -> None:
    assert follow(FailureKind.FATAL, 1) == Stop(exit_code=Exit.PERSON, reason="as it was")
    assert follow(FailureKind.DISK, 1) == Stop(exit_code=Exit.DISK, reason="as it was")
    day = follow(FailureKind.DAY_QUOTA, 1, hint=3600.0)
    assert day == Stop(exit_code=Exit.PAUSED, reason="as it was", resume_in=3600.0, is_own=True)
    assert follow(FailureKind.MODEL_GONE, 1) == SetModelAside(reason="as it was")


@pytest.mark.parametrize("kind", FailureKind)
def test_every_kind_has_its_consequence(kind: FailureKind) -> None:
    assert follow(kind, 1) is not None


@given(st.lists(st.sampled_from([*map(str, FailureKind), "lost"]), max_size=30), st.integers(1, 4))
def test_a_history_read_from_the_ledger_is_the_history_that_was_lived(results: list[str], rungs: int) -> None:
    """So a restart neither forgives a timeout nor counts one twice."""
    lived = History()
    for result in results:
        if result != "lost":
            lived = remember(lived, FailureKind(result), rungs)
    recalled = recall(results, rungs)
    assert (recalled.rung, recalled.timeouts, recalled.timeouts_here) == (
        lived.rung,
        lived.timeouts,
        lived.timeouts_here,
    )
    assert recalled.lost == results.count("lost")


def test_kills_do_not_count_against_a_task_until_there_are_ten() -> None:
    assert verdict(recall(["lost"] * 9, 1)) is None
    aside = verdict(recall(["lost"] * 10, 1))
    assert aside is not None
    assert "10 kills" in aside.reason


@given(st.integers(1, 5))
def test_no_ladder_asks_more_often_than_the_limit_on_timeouts(length: int) -> None:
    assert len(worst_case(tuple(rung(f"{n}K") for n in range(length, 0, -1)))) <= MAX_TIMEOUTS


def test_the_worst_case_of_a_4k_task_is_two_at_4k_and_one_at_2k() -> None:
    assert [rung.resolution for rung in worst_case(LADDER)] == ["4K", "4K", "2K"]


def invalid(signature: str = "400 bad field") -> Failure:
    return failure(FailureKind.INVALID, signature=signature)


def test_ten_invalid_answers_from_the_start_stop_the_run() -> None:
    streaks = Streaks()
    assert [streaks.observe(invalid(str(n))) for n in range(9)] == [None] * 9
    stop = streaks.observe(invalid())
    assert stop is not None
    assert stop.exit_code is Exit.PERSON


def test_after_one_image_only_fifty_alike_in_a_row_stop_the_run() -> None:
    streaks = Streaks()
    streaks.observe(None)
    assert all(streaks.observe(invalid(str(n))) is None for n in range(100))
    assert [streaks.observe(invalid()) is None for _ in range(50)] == [True] * 49 + [False]


def test_the_same_internal_error_three_times_stops_the_run() -> None:
    streaks = Streaks()
    fault = failure(FailureKind.INTERNAL, signature="KeyError in judge")
    assert [streaks.observe(fault) is None for _ in range(3)] == [True, True, False]


def test_a_hint_of_no_time_at_all_is_not_taken_at_its_word_for_ever() -> None:
    floors = []
    for n in range(1, 12):
        step = follow(FailureKind.RATE_LIMITED, n, hint=0.0)
        assert isinstance(step, Retry)
        floors.append(step.floor)
    assert floors[:4] == [1, 2, 4, 8]
    assert max(floors) == 120


def test_images_that_nobody_can_fetch_stop_the_run_before_the_whole_job_is_bought() -> None:
    streaks = Streaks()
    lost = Failure(kind=FailureKind.DOWNLOAD, message="it answers with status 403", billed=Billed.YES)
    assert [streaks.observe(lost) for _ in range(4)] == [None] * 4
    assert streaks.observe(None) is None
    assert [streaks.observe(lost) for _ in range(4)] == [None] * 4
    stop = streaks.observe(lost)
    assert stop is not None
    assert stop.exit_code is Exit.PERSON
    assert "5 images in a row were paid for and could not be fetched" in stop.reason


def test_a_pause_says_when_to_come_back_and_a_persons_task_does_not() -> None:
    now = datetime(2026, 11, 22, 23, 30, tzinfo=UTC)
    pause = Stop(exit_code=Exit.PAUSED, reason="No answer", resume_in=3600.0)
    assert pause.dated(now).reason == "No answer; run again in 60 min, after 2026-11-23 00:30 UTC"
    assert Stop(exit_code=Exit.PERSON, reason="No key").dated(now).reason == "No key"
