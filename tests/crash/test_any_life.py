"""Lives of a job: runs that are killed, stopped, hurried, fenced off or out of disk, while all around them changes."""

import os
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from batchbanana.errors import DiskError, Exit, FencedError
from batchbanana.ledger import Caps
from batchbanana.manifest import LimitSettings
from batchbanana.task import FailureKind
from tests.support.build import task
from tests.support.stage import Ended, Reply, Room, Service, Stage

LIVES = int(os.environ.get("BATCHBANANA_LIVES", "200"))
STEPS = int(os.environ.get("BATCHBANANA_STEPS", "50"))
MOST_TASKS = 8
PRICE = 134_000  # micro-dollars
MOMENTS = st.sampled_from([0.0, 0.3, 2.0, 6.0, 12.0, 40.0, 130.0])
KINDS = [None, None, None, *(kind for kind in FailureKind if kind is not FailureKind.DISK)]
ANSWERS = st.builds(
    Reply,
    kind=st.sampled_from(KINDS),
    seconds=st.sampled_from([0.2, 4.0, 11.0, 500.0]),
    is_billed=st.booleans(),
    hint=st.sampled_from([None, None, 0.0, 7.0, 90.0]),
)
CALM = Reply(seconds=3.0)


class Life(RuleBasedStateMachine):
    """One job directory through everything, judged by the service's own books."""

    @initialize(workers=st.sampled_from([1, 2, 5]), cap=st.sampled_from([None, 6 * PRICE, 40 * PRICE]))
    def begin(self, workers: int, cap: int | None) -> None:
        self.folder = TemporaryDirectory()
        self.cap = cap
        self.answers: list[Reply] = []
        self.all = [task(number) for number in range(1, MOST_TASKS + 1)]
        limits = LimitSettings(concurrency=workers, requests_per_minute=30)
        caps = Caps(max_cost=cap, max_possibly_billed=10**9)
        service = Service(answer=lambda *_: self.answers.pop(0) if self.answers else CALM)
        self.job = Stage(Path(self.folder.name), service, self.all[:4], limits=limits, caps=caps)

    @rule(answers=st.lists(ANSWERS, min_size=1, max_size=6))
    def the_service_has_a_bad_hour(self, answers: list[Reply]) -> None:
        self.answers = answers

    @rule(first=st.integers(0, 3), last=st.integers(4, MOST_TASKS), turned=st.booleans())
    def the_manifest_is_edited(self, first: int, last: int, *, turned: bool) -> None:
        tasks = self.all[first:last]
        self.job.tasks = tasks[::-1] if turned else tasks

    @rule(seconds=st.sampled_from([-86_400.0, -3600.0, -30.0, 30.0, 3600.0, 200_000.0]))
    def somebody_sets_the_clock(self, seconds: float) -> None:
        self.job.clock_is_off += seconds

    @rule(after=MOMENTS)
    def it_is_killed(self, after: float) -> None:
        self.run(kill_after=after)

    @rule(step=st.integers(0, 60))
    def it_is_killed_at_a_step(self, step: int) -> None:
        self.run(kill_at=step)

    @rule(after=MOMENTS)
    def it_is_stopped(self, after: float) -> None:
        self.run(stop_after=after)

    @rule(after=MOMENTS)
    def it_is_stopped_twice(self, after: float) -> None:
        self.run(stop_after=after, cancel_after=after + 1.0)

    @rule(names=st.integers(0, 12), pages=st.sampled_from([0, 0, 1, 2, 1000]))
    def the_disk_fills_up(self, names: int, pages: int) -> None:
        with suppress(DiskError):
            self.run(room=Room(names=names, pages=pages))

    @rule(after=MOMENTS)
    def another_run_takes_over(self, after: float) -> None:
        self.job.when_taken = {}
        with suppress(FencedError):
            self.run(taken_after=after)
        if self.job.when_taken:
            assert self.job.files() == self.job.when_taken, "a run that was fenced off wrote something"

    @rule()
    def it_runs_to_its_end(self) -> None:
        self.run()

    def run(self, **how: Any) -> Ended | None:
        service = self.job.service
        ended = self.job.run(**how)
        assert service.again == [], "a task whose whole image was received is never asked again"
        assert self.cap is None or service.bill <= self.cap
        if ended is not None:
            assert sum(ended.counts.values()) == len(self.job.tasks)
            assert service.bill <= ended.money.settled + ended.money.possible + ended.money.reserved
        # What a full disk keeps from its place waits in the spool, also if the run had stopped for another reason.
        if ended is not None and "room" not in how and not ended.lacks_room:
            assert ended.money.reserved == 0
            assert ended.counts["pending"] == 0 or ended.stopped is not None or ended.trouble is not None
            images = [path for path in (self.job.folder / "images").rglob("*") if path.is_file()]
            assert len(images) == len(service.whole)
            assert len(self.lines()) == len(images)
        return ended

    def lines(self) -> list[str]:
        path = self.job.folder / "metadata.jsonl"
        return path.read_text().splitlines() if path.exists() else []

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.answers = []
            ended = self.run()
            assert ended is not None
            assert ended.stopped is None or ended.stopped.exit_code is Exit.MONEY, ended.stopped
            asked = len(self.job.service.arrivals)
            again = self.run()
            assert again is not None
            assert len(self.job.service.arrivals) == asked, "a run of a finished job sent something"
            self.folder.cleanup()


TestAnyLife = Life.TestCase
TestAnyLife.settings = settings(max_examples=LIVES, stateful_step_count=STEPS, deadline=None)
