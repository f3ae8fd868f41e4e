"""Lines in a log: a line a minute and at each per cent, failures at once, a pause once."""

import io

from batchbanana.errors import Exit
from batchbanana.feed import Work
from batchbanana.ledger import Money
from batchbanana.limits import Pause
from batchbanana.policy import Stop
from batchbanana.progress import Bar, Lines, Told
from batchbanana.recovery import Recovered
from batchbanana.task import Failure, FailureKind, Outcome
from tests.support.build import task


class Clock:
    """Moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def lines(total: int) -> tuple[Lines, io.StringIO, Clock]:
    stream, clock = io.StringIO(), Clock()
    console = Lines(stream, clock)
    console.begin(total, lambda: Money(settled=1_340_000), tuple)
    return console, stream, clock


WORK = Work(task=task())


def test_a_small_job_speaks_at_each_per_cent_but_not_more_than_once_a_second() -> None:
    console, stream, clock = lines(10)
    for _ in range(10):
        clock.now += 0.25
        console.ended(WORK, Outcome.DONE, "")
    said = stream.getvalue().splitlines()
    assert [line.split(" in this run")[0] for line in said] == ["4 of 10", "8 of 10"]
    assert "240 a minute, $1.34" in said[0]


def test_a_large_job_speaks_once_a_minute_between_the_per_cents() -> None:
    console, stream, clock = lines(1_000_000)
    for _ in range(10):
        clock.now += 30
        console.ended(WORK, Outcome.DONE, "")
    assert len(stream.getvalue().splitlines()) == 5


def test_what_failed_is_said_at_once_with_its_reason() -> None:
    console, stream, _ = lines(10)
    console.ended(WORK, Outcome.REFUSED, "the prompt was blocked")
    assert "refused: hero/mug_1: the prompt was blocked" in stream.getvalue()


def waiting() -> list[Pause]:
    return [Pause(model="a-model", why="the quota for the day is used up", seconds=7200)]


def test_a_pause_is_said_once_when_it_begins_and_in_every_line_while_it_lasts() -> None:
    stream, clock = io.StringIO(), Clock()
    console = Lines(stream, clock)
    console.begin(10, Money, waiting)
    for _ in range(5):
        console.failed(WORK, Failure(kind=FailureKind.DAY_QUOTA, message="no more today"), 7200.0)
    console.ended(WORK, Outcome.DONE, "")
    for _ in range(4):
        clock.now += 30
        console.tick()
    said = stream.getvalue().splitlines()
    pause = "waiting: a-model: the quota for the day is used up; 2 h 00 min more"
    assert said.count(pause) == 1
    told = [line for line in said if "in this run" in line]
    assert len(told) == 2
    assert all(line.endswith(pause) and "left" not in line for line in told), "nobody knows how long the rest takes"


def test_a_pause_that_comes_again_is_said_again() -> None:
    told = Told()
    assert told.new(waiting()) == waiting()
    assert told.new(waiting()) == []
    assert told.new([]) == []
    assert told.new(waiting()) == waiting()


def test_a_bar_says_what_it_waits_for_above_itself() -> None:
    stream = io.StringIO()
    bar = Bar(stream)
    bar.begin(3, Money, waiting)
    bar.tick()
    bar.tick()
    bar.close()
    assert stream.getvalue().count("the quota for the day is used up") == 1
    assert "waiting 2 h 00 min" in stream.getvalue()


def test_tasks_that_are_not_this_runs_are_not_in_its_total() -> None:
    console, stream, clock = lines(10)
    console.skipped(6)
    clock.now = 2
    console.ended(WORK, Outcome.DONE, "")
    assert "1 of 4 in this run" in stream.getvalue()


def test_what_a_dead_run_left_is_told() -> None:
    console, stream, _ = lines(10)
    console.recovered(Recovered(adopted=2, lost=3, problems=("look here",), held=frozenset()))
    console.stopping(Stop(exit_code=Exit.MONEY, reason="the cap"))
    said = stream.getvalue()
    assert "2 paid images" in said
    assert "3 attempts were in flight" in said
    assert "look here" in said
    assert "the cap" in said


def test_a_bar_counts_what_is_asked_again_by_kind() -> None:
    stream = io.StringIO()
    bar = Bar(stream)
    bar.begin(3, lambda: Money(settled=134_000), tuple)
    bar.skipped(1)
    bar.failed(WORK, Failure(kind=FailureKind.TIMEOUT, message="late"), 2.0)
    bar.ended(WORK, Outcome.DEGRADED, "")
    bar.close()
    assert "1/2" in stream.getvalue()
    assert "1 timeout again" in stream.getvalue()
    assert "1 degraded" in stream.getvalue()
