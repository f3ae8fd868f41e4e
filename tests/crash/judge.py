"""Kills a run before each step that lasts, lets the next find what is left, and judges it by the service's books."""

from collections import Counter
from functools import partial
from pathlib import Path

from batchbanana.ledger import Caps
from batchbanana.manifest import LimitSettings
from batchbanana.task import FailureKind
from tests.support.build import rung, task
from tests.support.stage import Ended, Reply, Service, Stage

PRICE = 134_000  # micro-dollars
TASKS = 6
REFUSED, SILENT = 2, 4  # which requests are refused, and which are not answered in time
STEPS = 95  # more than a run of these has


def stage(folder: Path, *, cap: int | None = None, rate: int | None = None) -> Stage:
    """Set up a job with a refusal, a silence that is billed, and a failure that is not."""

    def answer(number: int, _attempt: object) -> Reply:
        if number == REFUSED:
            return Reply(kind=FailureKind.REFUSED, is_billed=False, seconds=1.0)
        if number == SILENT:
            return Reply(seconds=1000.0)
        return Reply(kind=FailureKind.SERVER_ERROR, is_billed=False, seconds=1.0) if number == 3 else Reply(seconds=5.0)

    folder.mkdir(parents=True)
    limits = LimitSettings(concurrency=2, requests_per_minute=rate)
    tasks = [task(number) for number in range(1, TASKS + 1)]
    return Stage(folder, Service(answer=answer), tasks, limits=limits, caps=Caps(max_cost=cap))


def after_kills(folder: Path, steps: range = range(STEPS)) -> None:
    """Kill before each of these steps, and once more in the run after it."""
    for step in steps:
        job = stage(folder / str(step), cap=(TASKS + 3) * PRICE)
        killed = [job.run(kill_at=step), job.run(kill_at=3 + step % 7)].count(None)
        look(job, job.run(), killed)


def with_a_rate(folder: Path) -> None:
    """Kill a run that may send three a minute, at several moments."""
    for after in (1.0, 20.0, 59.0, 70.0):
        job = stage(folder / str(after), rate=3)
        pauses = iter([9.0] * 3)  # the first ones find a slow network
        job.connecting = partial(next, pauses, 0.1)
        killed = [job.run(kill_after=after)].count(None)
        look(job, job.run(), killed)
        moments = [moment for moment, _ in job.service.arrivals]
        assert all(later - first >= 60 for first, later in zip(moments, moments[3:], strict=False)), "more than told"


def with_a_tight_cap(folder: Path) -> None:
    """Let a cap end runs, through kills."""
    for after in (0.5, 3.0, 7.0):
        job = stage(folder / str(after), cap=3 * PRICE)
        for _ in range(3):
            job.run(kill_after=after)
        ended = job.run()
        assert ended is not None
        assert job.service.bill <= ended.money.settled + ended.money.possible <= 3 * PRICE, "past the cap"


def with_silence(folder: Path) -> None:
    """Let a service never answer, through kills: a task has two timeouts at one size, over all runs."""
    job = stage(folder)
    job.service.answer = lambda *_: Reply(seconds=1000.0)
    job.tasks = [task(1, rungs=(rung(timeout=60.0),))]
    killed = [job.run(kill_after=65.0) for _ in range(3)].count(None)
    ended = job.run()
    assert ended is not None
    assert ended.counts["failed"] == 1
    assert len(job.service.arrivals) <= 2 + killed, "timeouts of earlier runs are forgotten"


def look(job: Stage, ended: Ended | None, killed: int) -> None:
    """Judge a job that has come to its end after so many kills."""
    assert ended is not None
    money, service = ended.money, job.service
    assert service.again == [], "bought again although the whole image was there"
    assert service.bill <= money.settled + money.possible, "the provider's invoice is higher than our books"
    assert money.reserved == 0
    assert sum(ended.counts.values()) == TASKS
    assert ended.counts["pending"] == 0
    asked = Counter(key for _, key in service.arrivals)
    # A kill may lose a refusal that nobody has written down; what is then asked again may meet other trouble.
    bound = {key: then + killed + service.troubled[key] for key, then in service.refused.items()}
    assert all(asked[key] <= most for key, most in bound.items()), "a refusal was asked again"
    assert all(count <= 3 for count in service.silent.values()), "more than three timeouts of a task"
    images = [path for path in (job.folder / "images").rglob("*") if path.is_file()]
    assert len(images) == len(service.whole) == ended.counts["done"]
    assert list((job.folder / ".batchbanana/spool").iterdir()) == [], "the spool is not empty"
    told = (job.folder / "metadata.jsonl").read_text().splitlines()
    assert len(told) == len(images)
