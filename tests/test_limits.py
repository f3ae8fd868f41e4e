"""A limit is tested as what it promises: no window holds more than it may, nobody leaves before a gate opens."""

from collections.abc import Sequence
from datetime import datetime

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchbanana.limits import (
    MARGIN,
    OUTAGE_LIMIT,
    Breaker,
    Closed,
    Concurrency,
    Day,
    Exhausted,
    Limits,
    Window,
    until_new_day,
)
from batchbanana.task import Failure, FailureKind
from tests.support.clock import run_virtually

MODEL = "gemini-3-pro-image"


def failed(kind: FailureKind, **more: object) -> Failure:
    return Failure(kind=kind, message="as it was", **more)  # type: ignore[arg-type]


def most_in_any(starts: Sequence[float], seconds: float) -> int:
    return max((sum(first <= other < first + seconds for other in starts) for first in starts), default=0)


async def leave_times(limits: Limits, count: int) -> list[float]:
    """Let so many ask at once; each comes back at once."""
    times: list[float] = []

    async def one() -> None:
        await limits.leave(MODEL, 0)
        times.append(anyio.current_time())
        limits.back()

    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(one)
    return times


def rpm(count: int) -> list[Window]:
    return [Window("requests_per_minute", count, 60)]


@pytest.mark.parametrize(("count", "per_minute"), [(100, 60), (7, 3), (25, 1), (300, 100)])
def test_no_window_of_a_minute_ever_holds_more_starts_than_told(count: int, per_minute: int) -> None:
    async def main() -> list[float]:
        return await leave_times(Limits(concurrency=50, windows=rpm(per_minute)), count)

    starts = run_virtually(main)
    assert len(starts) == count
    assert most_in_any(starts, 60 + MARGIN / 2) <= per_minute


def test_a_hundred_starts_at_sixty_a_minute_take_a_minute_and_not_the_wait_of_even_spacing() -> None:
    async def main() -> float:
        times = await leave_times(Limits(concurrency=50, windows=rpm(60)), 100)
        return times[-1] - times[0]

    assert 60 < run_virtually(main) < 63


def test_a_minutes_allowance_does_not_leave_in_one_burst() -> None:
    async def main() -> list[float]:
        return await leave_times(Limits(concurrency=60, windows=rpm(60)), 60)

    starts = run_virtually(main)
    assert most_in_any(starts, 0.1) <= 8
    assert starts[-1] - starts[0] < 1.5


def test_starts_of_an_earlier_run_count_in_the_window() -> None:
    """A restart must not buy a fresh minute."""

    async def main() -> float:
        began = anyio.current_time()
        limits = Limits(concurrency=9, windows=rpm(60), starts=[(20.0, 0)] * 60)
        return (await leave_times(limits, 1))[0] - began

    assert run_virtually(main) == pytest.approx(40 + MARGIN, abs=0.1)


@given(st.lists(st.tuples(st.floats(0, 40), st.integers(1, 5)), max_size=40), st.integers(5, 9))
def test_a_weighted_window_never_holds_more_than_its_measure(asked: list[tuple[float, int]], most: int) -> None:
    window = Window("spend_per_10_minutes", most, 10)
    now = 0.0
    left: list[tuple[float, int]] = []
    for pause, weight in asked:
        now += pause
        now += window.wait(now, weight)
        assert window.wait(now, weight) == 0
        window.add(now, weight)
        left.append((now, weight))
    for start, _ in left:
        assert sum(weight for moment, weight in left if start <= moment < start + 10) <= most


def test_a_window_that_stays_shut_for_long_pauses_the_run_instead_of_waiting() -> None:
    async def main() -> None:
        limits = Limits(concurrency=1, windows=[Window("requests_per_day", 1, 86400)], starts=[(60.0, 0)])
        with pytest.raises(Exhausted) as full:
            await limits.leave(MODEL, 0)
        assert full.value.limit == "requests_per_day"
        assert full.value.wait == pytest.approx(86340 + MARGIN, abs=1)

    run_virtually(main)


def test_nobody_leaves_before_the_gate_opens_and_then_they_do_not_stampede() -> None:
    async def main() -> None:
        limits = Limits(concurrency=10)
        opens = anyio.current_time() + 55
        limits.gate(55)
        limits.gate(5)  # a shorter hint does not shorten a longer one
        starts = await leave_times(limits, 10)
        assert min(starts) >= opens
        assert most_in_any(starts, 0.05) <= 2

    run_virtually(main)


def test_closing_frees_everybody_who_waits() -> None:
    async def main() -> None:
        limits = Limits(concurrency=10)
        limits.gate(10_000)
        async with anyio.create_task_group() as group:

            async def wait() -> None:
                with pytest.raises(Closed):
                    await limits.leave(MODEL, 0)

            for _ in range(5):
                group.start_soon(wait)
            await anyio.sleep(1)
            limits.close()

    run_virtually(main)


def test_no_more_are_in_flight_than_allowed() -> None:
    async def main() -> int:
        limits = Limits(concurrency=3)
        most = 0

        async def one() -> None:
            nonlocal most
            await limits.leave(MODEL, 0)
            most = max(most, limits.concurrency.in_flight)
            await anyio.sleep(1)
            limits.back()

        async with anyio.create_task_group() as group:
            for _ in range(12):
                group.start_soon(one)
        return most

    assert run_virtually(main) == 3


def test_overload_slows_down_once_a_latency_and_success_speeds_up_to_the_number_given() -> None:
    slots = Concurrency(most=10)
    slots.in_flight = 10
    slots.ease(100.0)
    slots.ease(101.0)  # the same overload, told by another answer that was under way
    assert slots.allowed == 7
    slots.ease(111.0)
    assert slots.allowed == 4
    for _ in range(100):
        slots.succeed(1.0)
    assert slots.allowed == 10


def test_success_at_half_use_earns_nothing() -> None:
    slots = Concurrency(most=10)
    slots.ease(100.0)
    slots.in_flight = 3
    for _ in range(100):
        slots.succeed(1.0)
    assert slots.allowed == 7


def test_five_unsent_in_a_row_open_the_breaker_and_probes_go_one_at_a_time() -> None:
    breaker = Breaker()
    for _ in range(5):
        breaker.observe(FailureKind.NOT_SENT, 0.0)
    assert breaker.wait(0.0) == 10
    assert breaker.wait(10.0) == 0
    breaker.leaves()
    assert breaker.wait(10.0) is None
    breaker.observe(FailureKind.NOT_SENT, 11.0)
    assert breaker.wait(11.0) == 10


def test_a_pause_is_a_quarter_of_the_outage_so_far_up_to_five_minutes_and_one_good_answer_ends_it() -> None:
    breaker = Breaker()
    for _ in range(5):
        breaker.observe(FailureKind.NOT_SENT, 0.0)
    now, pauses = 0.0, []
    for _ in range(24):
        wait = breaker.wait(now)
        assert wait is not None
        pauses.append(wait)
        now += wait
        breaker.leaves()
        breaker.observe(FailureKind.UNAVAILABLE, now)
    assert pauses[:7] == [10, 10, 10, 10, 10, 12.5, 15.625]
    assert pauses[-1] == 300
    assert max(pauses) == 300
    now += 300
    breaker.leaves()
    assert breaker.observe(None, now)
    assert breaker.wait(now) == 0


def test_half_bad_of_twenty_in_a_minute_opens_it_and_old_answers_are_forgotten() -> None:
    breaker, seen = Breaker(), []
    for n in range(20):
        breaker.observe(FailureKind.UNAVAILABLE if n % 2 else None, 0.0)
        seen.append(breaker.is_open)
    assert seen == [False] * 19 + [True]
    calm = Breaker()
    for n in range(100):
        calm.observe(FailureKind.UNAVAILABLE, n * 4.0)
    assert not calm.is_open


@pytest.mark.parametrize(
    ("now", "hours"),
    [("2026-11-22T18:00+00:00", 14), ("2026-07-01T06:59+00:00", 1 / 60), ("2026-11-01T08:00+00:00", 24)],
)
def test_a_day_of_quota_ends_at_midnight_in_california(now: str, hours: float) -> None:
    """The last is the day of 25 hours: at one in the morning there, 24 are left."""
    assert until_new_day(datetime.fromisoformat(now)) == pytest.approx(hours * 3600)


def test_a_model_behind_an_open_breaker_does_not_hold_back_another() -> None:
    async def main() -> float:
        limits = Limits(concurrency=4)
        for _ in range(5):
            limits.observe("gone", failed(FailureKind.NOT_SENT), 0.0)
        began = anyio.current_time()
        left: list[float] = []
        async with anyio.create_task_group() as group:
            group.start_soon(limits.leave, "gone", 0)
            await anyio.sleep(0.1)
            await limits.leave(MODEL, 0)
            left.append(anyio.current_time() - began)
        return left[0]

    assert run_virtually(main) < 1


def test_a_service_that_turns_away_one_in_ten_at_random_slows_nobody_down() -> None:
    slots = Concurrency(most=16, in_flight=16)
    for n in range(200):
        if n % 10 == 7:
            slots.turn_away(float(n))
        else:
            slots.succeed(1.0)
    assert slots.allowed == 16


def test_a_service_that_turns_away_every_other_request_is_asked_less_at_once() -> None:
    slots = Concurrency(most=16, in_flight=16)
    for n in range(40):
        if n % 2:
            slots.turn_away(float(n))
        else:
            slots.succeed(1.0)
    assert slots.allowed < 8


def day(most: int, left: float, gone: float) -> Day:
    return Day("requests_per_day", most, lambda: left, gone, 1000.0)


def test_a_days_allowance_opens_again_at_midnight_and_not_a_day_after_each_start() -> None:
    allowance = day(2, left=3600.0, gone=82_800.0)
    allowance.add(1000.0, 1)
    assert allowance.wait(1000.0, 1) == 0
    allowance.add(1010.0, 1)
    assert allowance.wait(1010.0, 1) == pytest.approx(3590 + MARGIN)
    assert allowance.wait(1000.0 + 3600 + MARGIN, 1) == 0


def test_starts_of_the_day_before_do_not_count_and_those_of_today_do() -> None:
    allowance = day(1, left=3600.0, gone=600.0)
    allowance.add(1000.0 - 601, 1)
    assert allowance.wait(1000.0, 1) == 0
    allowance.add(1000.0 - 599, 1)
    assert allowance.wait(1000.0, 1) > 0


def test_one_who_is_patient_waits_for_the_day_to_end() -> None:
    async def main() -> float:
        now = anyio.current_time()
        full = Day("requests_per_day", 1, lambda: 7200.0, 10.0, now)
        limits = Limits(concurrency=1, windows=[full], starts=[(5.0, 0)], is_patient=True)
        await limits.leave(MODEL, 0)
        return anyio.current_time() - now

    assert run_virtually(main) == pytest.approx(7200 + MARGIN, abs=1)


def test_a_rest_until_a_quota_is_there_again_is_no_outage() -> None:
    async def main() -> tuple[float, float]:
        limits = Limits(concurrency=1)
        limits.rest(30_000)
        during = limits.outage
        await limits.leave(MODEL, 0)
        return during, limits.outage

    during, after = run_virtually(main)
    assert during == 0
    assert after < 10


def test_nothing_but_rate_limits_is_an_outage_in_the_end() -> None:
    async def main() -> float:
        limits = Limits(concurrency=1)
        began = anyio.current_time()
        while limits.outage <= OUTAGE_LIMIT:
            await limits.leave(MODEL, 0)
            limits.observe(MODEL, failed(FailureKind.RATE_LIMITED), 0.0)
            limits.gate(100)
            limits.back()
            assert anyio.current_time() - began < 2 * OUTAGE_LIMIT
        return anyio.current_time() - began

    assert run_virtually(main) == pytest.approx(OUTAGE_LIMIT, rel=0.1)


def test_one_who_was_patient_for_a_day_is_not_ended_by_the_first_hiccup() -> None:
    async def main() -> float:
        now = anyio.current_time()
        full = Day("requests_per_day", 1, lambda: 50_000.0, 10.0, now)
        limits = Limits(concurrency=1, windows=[full], starts=[(5.0, 0)], is_patient=True)
        await limits.leave(MODEL, 0)
        limits.observe(MODEL, failed(FailureKind.UNAVAILABLE), 0.0)
        return limits.outage

    assert run_virtually(main) < 60
