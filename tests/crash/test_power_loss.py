"""Power losses: whatever the disk had not been told to keep may be gone, and the next run makes all of it good."""

import hashlib
import json
import os
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from batchbanana.ledger import Caps, metadata
from batchbanana.manifest import LimitSettings
from batchbanana.task import FailureKind
from tests.support.build import task
from tests.support.disk import Found, Recorder, states, write
from tests.support.stage import Reply, Service, Stage

STATES = int(os.environ.get("BATCHBANANA_STATES", "2000"))
TASKS = 5
EACH = 6  # states for each moment
TROUBLE = [Reply(kind=FailureKind.SERVER_ERROR, is_billed=False), Reply(seconds=500.0), Reply(), Reply()]


def stage(folder: Path, service: Service) -> Stage:
    tasks = [task(number) for number in range(1, TASKS + 1)]
    return Stage(folder, service, tasks, limits=LimitSettings(concurrency=2), caps=Caps())


def lives(folder: Path, seed: int) -> Iterator[Found]:
    """Run a job with some trouble, and give every state in which the power may leave it."""
    chance = random.Random(seed)  # noqa: S311 -- for a simulation
    replies = [chance.choice(TROUBLE) for _ in range(TASKS)]
    service = Service(answer=lambda number, _: replies[number] if number < len(replies) else Reply())
    job = stage(folder, service)
    job.recorder = Recorder(folder)
    assert job.run() is not None
    yield from states(job.recorder.journal, chance, EACH)


def safe(found: Found, job: Path) -> set[str]:
    """Name the tasks whose image is on the disk for certain: it must never be bought again."""
    if not found.ledger:
        return set()
    with closing(sqlite3.connect(job / ".batchbanana/ledger.db")) as db:
        attempts = {number: key.hex() for number, key in db.execute("SELECT id, key FROM attempts")}
        made = {key.hex() for (key,) in db.execute("SELECT key FROM outcomes WHERE file IS NOT NULL")}
    spool = job / ".batchbanana/spool"
    ready = {attempts[int(path.name.split(".")[0])] for path in spool.glob("*.ready")} if spool.exists() else set()
    return made | ready


def judge(found: Found, job: Path, chance: random.Random) -> None:
    """Let the next run find it, and look at what it makes of it."""
    write(found, job, chance)
    service = Service(answer=lambda *_: Reply())
    service.whole = safe(found, job)
    ended = stage(job, service).run()
    assert ended is not None
    assert service.again == [], "an image that was on the disk for certain was bought again"
    lost = ended.counts["failed"]
    assert (ended.counts["done"] + lost, ended.stopped, ended.trouble) == (TASKS, None, None)
    with closing(sqlite3.connect(job / ".batchbanana/ledger.db")) as db:
        rows = db.execute("SELECT file, size, sha256 FROM outcomes WHERE file IS NOT NULL").fetchall()
    files = {str(path.relative_to(job)) for path in (job / "images").rglob("*") if path.is_file()}
    assert files == {file for file, _, _ in rows}
    for file, size, digest in rows:
        data = (job / file).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (size, digest)
    told = [json.loads(line)["file_name"] for line in (job / "metadata.jsonl").read_text().splitlines()]
    assert sorted(told) == sorted(files)


@pytest.mark.parametrize("every", [1000, 2])
def test_after_a_power_loss_at_any_moment_nothing_that_was_safe_is_lost_or_bought_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    monkeypatch.setattr(metadata, "SYNC_EVERY", every)
    seen = seed = 0
    chance = random.Random(1)  # noqa: S311 -- for a simulation
    while seen < STATES // 2:
        seed += 1
        for found in lives(_fresh(tmp_path / str(seed)), seed):
            judge(found, tmp_path / "found", chance)
            seen += 1
            if seen >= STATES // 2:
                break


def _fresh(folder: Path) -> Path:
    folder.mkdir()
    return folder
