"""A limit is tested as what it promises: no window holds more than it may, nobody leaves before a gate opens."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

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
    Place,
    Window,
    until_new_day,
    until_quota,
)
from batchbanana.task import Failure, FailureKind
from tests.support.clock import run_virtually

MODEL = "gemini-3-pro-image"
SLACK = 1e-9  # seconds


def failed(kind: FailureKind, **more: object) -> Failure:
    return Failure(kind=kind, message="as it was", **more)  # type: ignore[arg-type]


def most_in_any(starts: Sequence[float], seconds: float) -> int:
    return max((sum(first <= other < first + seconds for other in starts) for first in starts), default=0)


async def leave_times(limits: Limits, count: int) -> list[float]:
    """Let so many ask at once; each comes back at once."""
    times: list[float] = []

    async def one() -> None:
        leave = await limits.leave(MODEL, 0)
        limits.departs(leave)
        times.append(anyio.current_time())
        limits.back(leave)

    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(one)
    return times


def depart(allowance: Window | Day, now: float, weight: int) -> Place:
    place = Place(weight)
    allowance.enter(place)
    allowance.depart(place, now)
    return place


def wait(allowance: Window | Day, now: float) -> float:
    """Give the seconds until one more unit fits."""
    seconds = allowance.wait(now, 1)
    assert seconds is not None
    return seconds


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
        now += window.wait(now, weight) or 0.0
        now += SLACK  # for what adding up has rounded away; who waits asks again and again
        assert window.wait(now, weight) == 0
        depart(window, now, weight)
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
        limits.gate(MODEL, 55, "asked to")
        limits.gate(MODEL, 5, "asked to")  # a shorter hint does not shorten a longer one
        starts = await leave_times(limits, 10)
        assert min(starts) >= opens
        assert most_in_any(starts, 0.05) <= 2

    run_virtually(main)


def test_closing_frees_everybody_who_waits() -> None:
    async def main() -> None:
        limits = Limits(concurrency=10)
        limits.gate(MODEL, 10_000, "asked to")
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
            leave = await limits.leave(MODEL, 0)
            most = max(most, limits.concurrency.in_flight)
            await anyio.sleep(1)
            limits.back(leave)

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
    breaker.observe(FailureKind.NOT_SENT, 10.5)  # one that left before it opened says nothing of the probe
    assert breaker.wait(10.5) is None
    breaker.observe(FailureKind.NOT_SENT, 11.0, is_probe=True)
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
        breaker.observe(FailureKind.UNAVAILABLE, now, is_probe=True)
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


@pytest.mark.parametrize(("hint", "seconds"), [(None, 3600 + 60), (24.0, 3600 + 60), (7200.0, 7200), (0.0, 3600 + 60)])
def test_a_servers_day_is_over_at_midnight_unless_it_says_when(hint: float | None, seconds: float) -> None:
    assert until_quota(Wall().now, hint) == seconds


def test_a_server_that_still_counts_the_old_day_is_asked_again_soon_and_not_a_day_later() -> None:
    assert until_quota(Wall().now + timedelta(hours=1, seconds=30), None) == 900


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


class Wall:
    """The time of day, which can be set; an hour before midnight in California."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 22, 7, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def unix(self) -> float:
        return self.now.timestamp()


def test_a_days_allowance_opens_again_at_midnight_and_not_a_day_after_each_start() -> None:
    wall = Wall()
    allowance = Day("requests_per_day", 2, wall)
    depart(allowance, 1000.0, 1)
    assert allowance.wait(1000.0, 1) == 0
    depart(allowance, 1010.0, 1)
    assert allowance.wait(1010.0, 1) == pytest.approx(3600 + MARGIN)
    wall.now += timedelta(hours=1)
    assert wait(allowance, 1010.0) > 0, "the server's clock may be a little behind ours"
    wall.now += timedelta(seconds=MARGIN)
    assert allowance.wait(1010.0, 1) == 0, "the machine slept: no monotonic second has passed"


def test_a_clock_that_is_set_back_over_midnight_does_not_bring_the_old_day_back() -> None:
    wall = Wall()
    allowance = Day("requests_per_day", 1, wall)
    wall.now += timedelta(hours=2)
    depart(allowance, 0.0, 1)
    wall.now -= timedelta(hours=2)
    assert wait(allowance, 0.0) > 0
    wall.now += timedelta(hours=2)
    assert wait(allowance, 0.0) > 0


def test_a_request_that_departs_after_midnight_counts_for_the_new_day() -> None:
    wall = Wall()
    allowance = Day("requests_per_day", 1, wall)
    place = Place(1)
    allowance.enter(place)
    wall.now += timedelta(hours=2)
    allowance.depart(place, 0.0)
    assert wait(allowance, 0.0) > 0


def test_starts_of_the_day_before_do_not_count_and_those_of_today_do() -> None:
    wall = Wall()
    wall.now += timedelta(hours=2)  # an hour into the day
    allowance = Day("requests_per_day", 1, wall)
    allowance.recall(1000.0, 3601, 1)
    assert allowance.wait(1000.0, 1) == 0
    allowance.recall(1000.0, 3599, 1)
    assert wait(allowance, 1000.0) > 0


def test_a_request_counts_from_when_its_bytes_leave_and_not_from_when_it_may() -> None:
    """Connecting may take ten seconds: the server counts what arrives, so the minute begins there."""
    window = Window("requests_per_minute", 2, 60)
    places = [Place(1), Place(1)]
    for place in places:
        window.enter(place)
    assert window.wait(30.0, 1) is None, "nobody can say when the first of them will be a minute old"
    window.depart(places[0], 30.0)
    assert window.wait(30.0, 1) == 60 + MARGIN
    window.amend(places[1], 0)  # it could not connect
    assert window.wait(30.0, 1) == 0


@given(
    st.lists(st.tuples(st.floats(0, 10), st.floats(0, 12), st.booleans()), min_size=1, max_size=60), st.integers(1, 6)
)
def test_no_window_of_a_minute_holds_more_arrivals_however_long_connecting_takes(
    asked: list[tuple[float, float, bool]], most: int
) -> None:
    async def main() -> list[float]:
        limits, arrived = Limits(concurrency=50, windows=rpm(most)), []

        async def one(pause: float, connecting: float, *, is_sent: bool) -> None:
            await anyio.sleep(pause)
            leave = await limits.leave(MODEL, 0)
            await anyio.sleep(connecting)
            if is_sent:
                limits.departs(leave)
                arrived.append(anyio.current_time())
            limits.back(leave)

        async with anyio.create_task_group() as group:
            for pause, connecting, is_sent in asked:
                group.start_soon(partial(one, pause, connecting, is_sent=is_sent))
        return arrived

    assert most_in_any(run_virtually(main), 60 + MARGIN / 2) <= most


def test_money_that_was_not_spent_after_all_is_free_again() -> None:
    window = Window("spend_per_10_minutes", 10, 600)
    place = depart(window, 0.0, 10)
    assert window.wait(1.0, 5) == 599 + MARGIN
    window.amend(place, 4)
    assert window.wait(1.0, 5) == 0
    assert window.wait(601.0 + MARGIN, 10) == 0
    window.amend(place, 10)  # told after it has left the window
    assert window.wait(601.0 + MARGIN, 10) == 0


def test_a_gate_of_one_model_does_not_hold_back_another() -> None:
    async def main() -> float:
        limits = Limits(concurrency=4)
        limits.gate("limited", 500, "asked to")
        began = anyio.current_time()
        await limits.leave(MODEL, 0)
        assert limits.hold("limited") == pytest.approx(500, abs=2)
        return anyio.current_time() - began

    assert run_virtually(main) < 2


def test_what_is_waited_for_can_be_told() -> None:
    async def main() -> list[str]:
        wall = Wall()
        limits = Limits(concurrency=4, windows=rpm(2), wall=wall.unix)
        for _ in range(2):
            limits.departs(await limits.leave(MODEL, 0))
        limits.gate(MODEL, 100, "too many requests")
        await limits_of_another(limits)
        return [str(pause) for pause in limits.pauses()]

    async def limits_of_another(limits: Limits) -> None:
        limits.rest("other", 7200, "no more today")
        for _ in range(5):
            limits.observe("other", failed(FailureKind.NOT_SENT), 0.0)

    assert run_virtually(main) == [
        "requests_per_minute is used up; 60 s more",
        f"{MODEL}: too many requests; 2 min more",
        "other: no more today; 2 h 00 min more",
        "other: it does not answer, or is overloaded; 10 s more",
    ]


def test_nothing_to_wait_for_is_nothing_to_tell() -> None:
    async def main() -> int:
        limits = Limits(concurrency=4, windows=rpm(2))
        await limits.leave(MODEL, 0)
        return len(limits.pauses())

    assert run_virtually(main) == 0


def test_while_one_worker_finds_out_whether_a_model_is_back_no_other_is_spent_on_it() -> None:
    async def main() -> None:
        limits = Limits(concurrency=4)
        for _ in range(5):
            limits.observe("gone", failed(FailureKind.NOT_SENT), 0.0)
        await anyio.sleep(11)
        assert limits.hold("gone") == 0
        probe = await limits.leave("gone", 0)
        assert limits.hold("gone") > 0
        limits.observe("gone", None, 1.0, is_probe=probe.is_probe)
        assert limits.hold("gone") == 0

    run_virtually(main)


def test_an_old_answer_does_not_end_the_probes_turn() -> None:
    async def main() -> None:
        limits = Limits(concurrency=4)
        old = await limits.leave(MODEL, 0)
        for _ in range(5):
            limits.observe(MODEL, failed(FailureKind.NOT_SENT), 0.0)
        await anyio.sleep(11)
        probe = await limits.leave(MODEL, 0)
        assert (old.is_probe, probe.is_probe) == (False, True)
        limits.unsent(old)
        assert limits.hold(MODEL) > 0
        limits.unsent(probe)
        assert limits.hold(MODEL) == 0

    run_virtually(main)


def test_after_an_outage_what_was_said_during_it_no_longer_slows_down() -> None:
    slots = Concurrency(most=16, in_flight=16)
    for n in range(20):
        slots.turn_away(float(n))
    slots.restart()
    assert slots.allowed == 8
    slots.turn_away(1000.0)
    assert slots.allowed == 8


def test_pauses_after_a_gate_are_spaced_even_where_a_rate_is_set() -> None:
    async def main() -> list[float]:
        limits = Limits(concurrency=4, windows=rpm(600))
        limits.gate(MODEL, 5, "asked to")
        return await leave_times(limits, 4)

    starts = run_virtually(main)
    assert most_in_any(starts, 0.2) <= 1


def test_a_rest_ends_by_the_wall_clock_though_the_machine_slept() -> None:
    async def main() -> float:
        wall = Wall()
        limits = Limits(concurrency=1, wall=wall.unix)
        limits.rest(MODEL, 30_000, "asked to")
        began = anyio.current_time()
        async with anyio.create_task_group() as group:
            group.start_soon(limits.leave, MODEL, 0)
            await anyio.sleep(100)
            wall.now += timedelta(seconds=30_000)
        return anyio.current_time() - began

    assert 100 < run_virtually(main) < 140


def running() -> Callable[[], datetime]:
    """Give a time of day that goes on with the virtual clock, from an hour before midnight in California."""
    began = anyio.current_time()
    return lambda: Wall().now + timedelta(seconds=anyio.current_time() - began)


def test_one_who_is_patient_waits_for_the_day_to_end() -> None:
    async def main() -> float:
        now = anyio.current_time()
        full = Day("requests_per_day", 1, running())
        limits = Limits(concurrency=1, windows=[full], starts=[(5.0, 0)], is_patient=True)
        await limits.leave(MODEL, 0)
        return anyio.current_time() - now

    assert run_virtually(main) == pytest.approx(3600 + MARGIN, abs=31)


def test_a_rest_until_a_quota_is_there_again_is_no_outage() -> None:
    async def main() -> tuple[float, float]:
        limits = Limits(concurrency=1, wall=anyio.current_time)
        limits.rest(MODEL, 30_000, "asked to")
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
            leave = await limits.leave(MODEL, 0)
            limits.observe(MODEL, failed(FailureKind.RATE_LIMITED), 0.0)
            limits.gate(MODEL, 100, "asked to")
            limits.back(leave)
            assert anyio.current_time() - began < 2 * OUTAGE_LIMIT
        return anyio.current_time() - began

    assert run_virtually(main) == pytest.approx(OUTAGE_LIMIT, rel=0.1)


def test_one_who_was_patient_for_a_day_is_not_ended_by_the_first_hiccup() -> None:
    async def main() -> float:
        full = Day("requests_per_day", 1, running())
        limits = Limits(concurrency=1, windows=[full], starts=[(5.0, 0)], is_patient=True)
        await limits.leave(MODEL, 0)
        limits.observe(MODEL, failed(FailureKind.UNAVAILABLE), 0.0)
        return limits.outage

    assert run_virtually(main) < 60
