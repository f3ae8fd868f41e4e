"""Whole runs under a virtual clock: kills, silence, limits and money in any order, judged by the service's books."""

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from batchbanana.errors import Exit
from batchbanana.ledger import Caps
from batchbanana.manifest import LimitSettings
from batchbanana.task import FailureKind
from tests.support.build import rung, task
from tests.support.stage import Reply, Service, Stage

EXAMPLES = int(os.environ.get("BATCHBANANA_EXAMPLES", "100"))  # more for a long look
PRICE = 134_000  # micro-dollars
REPLIES = st.builds(
    Reply,
    kind=st.sampled_from(
        [
            *[None] * 6,
            FailureKind.UNAVAILABLE,
            FailureKind.RATE_LIMITED,
            FailureKind.SERVER_ERROR,
            FailureKind.REFUSED,
            FailureKind.NO_IMAGE,
            FailureKind.TIMEOUT,
        ]
    ),
    seconds=st.sampled_from([0.5, 3.0, 12.0, 45.0, 500.0]),
    is_billed=st.booleans(),
)
# At a moment, or just before a file operation or a commit: what lasts happens between two of them.
KILLS: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.fixed_dictionaries({"kill_at": st.sampled_from(range(80))}),
    st.fixed_dictionaries({"kill_after": st.sampled_from([0.0, 0.4, 0.6, 2.0, 5.0, 11.0, 13.0, 30.0, 70.0, 150.0])}),
    st.fixed_dictionaries({"stop_after": st.sampled_from([0.0, 1.0, 14.0, 60.0])}),
)
CAPS = [0, PRICE // 2, PRICE, 3 * PRICE + 1, 8 * PRICE, 20 * PRICE, 60 * PRICE]


def stage(folder: Path, replies: Sequence[Reply], *, tasks: int, limits: LimitSettings, caps: Caps) -> Stage:
    """Set up a service that gives these replies, and then images."""
    service = Service(answer=lambda number, _attempt: replies[number] if number < len(replies) else Reply())
    return Stage(folder, service, [task(number) for number in range(1, tasks + 1)], limits=limits, caps=caps)


def most_in_any(arrivals: Sequence[tuple[float, str]], seconds: float) -> int:
    moments = [moment for moment, _ in arrivals]
    return max((sum(first <= other < first + seconds for other in moments) for first in moments), default=0)


@settings(max_examples=EXAMPLES)
@given(
    st.lists(REPLIES, max_size=40),
    st.sampled_from([12, 7, 3, 1]),
    st.sampled_from([1, 2, 4, 6]),
    st.sampled_from(CAPS[::-1]),
    st.lists(KILLS, max_size=5),
)
def test_no_order_of_answers_silences_kills_and_runs_passes_the_cap_or_buys_what_is_there(
    replies: list[Reply], tasks: int, workers: int, cap: int, kills: list[dict[str, Any]]
) -> None:
    with TemporaryDirectory() as folder:
        job = stage(
            Path(folder),
            replies,
            tasks=tasks,
            limits=LimitSettings(concurrency=workers),
            caps=Caps(max_cost=cap, max_possibly_billed=10**9),
        )
        for kill in kills:
            job.run(**kill)
            assert job.service.bill <= cap
        ended = job.run()
        assert ended is not None
        money = ended.money
        assert job.service.bill <= money.settled + money.possible <= cap, "the books of both sides"
        assert money.reserved == 0
        assert job.service.again == [], "a task whose whole image was received is never asked again"
        assert sum(ended.counts.values()) == tasks
        assert ended.counts["pending"] == 0 or (ended.stopped is not None and ended.stopped.exit_code is Exit.MONEY)
        images = [path for path in (Path(folder) / "images").rglob("*") if path.is_file()]
        assert len(images) == len(job.service.whole)


@settings(max_examples=EXAMPLES // 2)
@given(
    st.lists(REPLIES, max_size=30),
    st.integers(1, 8),
    st.integers(1, 6),
    st.lists(st.floats(0, 90), max_size=4),
    st.lists(st.floats(0, 9), min_size=1, max_size=7),
)
def test_no_minute_ever_holds_more_arrivals_than_told_through_kills_and_slow_connections(
    replies: list[Reply], rate: int, workers: int, kills: list[float], connecting: list[float]
) -> None:
    with TemporaryDirectory() as folder:
        job = stage(
            Path(folder),
            replies,
            tasks=10,
            limits=LimitSettings(concurrency=workers, requests_per_minute=rate),
            caps=Caps(),
        )
        pauses = iter(connecting * 1000)
        job.connecting = lambda: next(pauses)
        for after in kills:
            job.run(kill_after=after)
        assert job.run() is not None
        assert most_in_any(job.service.arrivals, 60.0) <= rate


def test_a_hundred_tasks_at_sixty_a_minute_take_a_minute_and_a_restart_buys_no_fresh_one(tmp_path: Path) -> None:
    limits = LimitSettings(concurrency=64, requests_per_minute=60)
    job = stage(tmp_path, [Reply(seconds=5.0)] * 200, tasks=100, limits=limits, caps=Caps())
    began = job.now
    job.run(kill_after=20)
    ended = job.run()
    assert ended is not None
    assert ended.counts["done"] == 100
    assert most_in_any(job.service.arrivals, 60.0) == 60
    assert job.service.arrivals[-1][0] - began < 66


def test_an_outage_ends_the_run_in_the_end_with_a_time_to_come_back_and_fails_nothing(tmp_path: Path) -> None:
    job = stage(
        tmp_path,
        [Reply(kind=FailureKind.UNAVAILABLE, is_billed=False, seconds=1.0)] * 5000,
        tasks=40,
        limits=LimitSettings(concurrency=8),
        caps=Caps(),
    )
    began = job.now
    ended = job.run()
    assert ended is not None
    assert ended.stopped is not None
    assert (ended.stopped.exit_code, ended.counts["pending"]) == (Exit.PAUSED, 40)
    assert "run again in 60 min, after 20" in ended.stopped.reason
    assert 6 * 3600 < job.now - began < 6.5 * 3600
    assert len(job.service.arrivals) < 200, "five minutes between probes, in the end"


def test_silence_that_comes_bit_by_bit_never_passes_its_limit(tmp_path: Path) -> None:
    job = stage(
        tmp_path,
        [Reply(seconds=10_000.0)] * 500,
        tasks=50,
        limits=LimitSettings(concurrency=2),
        caps=Caps(max_possibly_billed=10 * PRICE),
    )
    ended = job.run()
    assert ended is not None
    assert ended.stopped is not None
    assert ended.stopped.exit_code is Exit.MONEY
    assert ended.money.possible <= 10 * PRICE, "once half is reached, what is in flight counts as well"
    assert f"{ended.money.possible_count} attempts may have been billed" in ended.stopped.reason


def test_a_spend_window_holds_by_what_answers_tell(tmp_path: Path) -> None:
    """Each costs a dollar where 13 cents were expected; what was under way when the first said so cannot be helped."""
    limits = LimitSettings(concurrency=4, spend_per_10_minutes=2_100_000)
    job = stage(tmp_path, [Reply(cost=1_000_000, seconds=1.0)] * 50, tasks=12, limits=limits, caps=Caps())
    assert job.run() is not None
    moments = [moment for moment, _ in job.service.arrivals]
    assert most_in_any([(moment, "") for moment in moments[4:]], 600.0) == 2
    assert moments[4] - moments[3] >= 600


def test_a_spend_window_is_not_filled_by_what_is_not_billed(tmp_path: Path) -> None:
    free = [Reply(kind=FailureKind.UNAVAILABLE, is_billed=False, seconds=1.0)] * 7
    limits = LimitSettings(concurrency=1, spend_per_10_minutes=500_000)
    job = stage(tmp_path, free, tasks=3, limits=limits, caps=Caps())
    began = job.now
    assert job.run() is not None
    assert job.now - began < 300


def test_what_a_kill_hides_of_an_images_cost_is_taken_at_the_dearest_that_was_told(tmp_path: Path) -> None:
    adopted = 0
    for step in range(15, 40):
        folder = tmp_path / str(step)
        folder.mkdir()
        replies = [Reply(cost=2 * PRICE)] * 2
        job = stage(folder, replies, tasks=2, limits=LimitSettings(concurrency=1), caps=Caps())
        job.run(kill_at=step)
        has_both = len(job.service.whole) == 2
        ended = job.run()
        assert ended is not None
        if has_both:
            adopted += any("brought home" in record for record in records(folder))
            assert ended.money.settled == 4 * PRICE, f"killed before step {step}"
    assert adopted


def records(folder: Path) -> list[str]:
    return (folder / "metadata.jsonl").read_text().splitlines()


def test_two_rungs_are_reserved_at_their_own_prices(tmp_path: Path) -> None:
    ladder = (rung("4K", price=240_000, timeout=60), rung("2K", price=PRICE, timeout=60))
    service = Service(answer=lambda _number, _attempt: Reply(seconds=10_000.0))
    job = Stage(
        tmp_path, service, [task(1, rungs=ladder)], limits=LimitSettings(concurrency=1), caps=Caps(max_cost=700_000)
    )
    ended = job.run()
    assert ended is not None
    assert ended.money.possible == 2 * 240_000 + PRICE
    assert ended.counts["failed"] == 1
