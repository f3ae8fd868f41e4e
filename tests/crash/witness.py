"""Looks at a job from the outside, after each kill and at the end: files, hashes, ledger, the server's own count."""

import contextlib
import json
import shutil
import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

from batchbanana.sandbox.running import Handle
from tests.support.program import Job

TASKS = 14
WORKERS = 4
REFUSED = 1  # tasks that the script refuses
CUTS = 1  # answers that the script cuts: nobody says whether they are billed
MOST_TIMEOUTS = 3  # a task


@dataclass(kw_only=True)
class Tally:
    """What a campaign came to."""

    kills: int = 0
    jobs: int = 0
    images: int = 0
    adopted: int = 0
    bought_again: int = 0  # images that the server made and no task needed
    allowed: int = 0  # of these by the promise: workers at each kill, and answers that were cut
    places: Counter[str] = field(default_factory=Counter)

    def told(self) -> str:
        """Say it in a few lines."""
        return (
            f"{self.kills} kills in {self.jobs} jobs: {self.images} of {self.jobs * (TASKS - REFUSED)} images right, "
            f"{self.adopted} brought home unpaid, {self.bought_again} bought again where the promise allows "
            f"{self.allowed}\n" + "\n".join(f"  {count:5} at {place}" for place, count in sorted(self.places.items()))
        )


class Witness:
    """Sees one job through its kills."""

    def __init__(self, sandbox: Handle) -> None:
        self._sandbox = sandbox
        self._safe: dict[str, int] = {}  # prompts whose image is wholly there, with the requests for each until then
        self.kills = 0
        self.adopted = 0

    def asked(self) -> Counter[str]:
        """Count the requests for each prompt; one whose body never came has none, and nobody can have acted on it."""
        return Counter(str(entry["prompt"]) for entry in self._sandbox.requests() if entry["prompt"])

    def look_after_a_kill(self, job: Job) -> None:
        """Check what must hold at any moment, and remember what must never be asked for again."""
        self.kills += 1
        for path in (job.output / "images").rglob("*"):
            if path.is_file():
                with Image.open(path) as image:
                    image.load()  # whole, or it raises
        asked = self.asked()
        for prompt in self._received(job):
            self._safe.setdefault(prompt, asked[prompt])

    def _received(self, job: Job) -> list[str]:
        rows = read(job, "SELECT id, errand FROM attempts WHERE result IS NULL")
        errands = {number: json.loads(errand)["prompt"] for number, errand in rows}
        spool = job.output / ".batchbanana/spool"
        ready = [int(path.name.split(".")[0]) for path in spool.glob("*.0.*.ready")] if spool.exists() else []
        self.adopted += len(set(ready) & errands.keys())
        made = read(job, "SELECT record FROM outcomes WHERE file IS NOT NULL")
        return [errands[number] for number in ready if number in errands] + [
            json.loads(record)["prompt"] for (record,) in made
        ]

    def judge(self, job: Job, tally: Tally) -> None:
        """Check what must hold at the end, and count it."""
        job.check()
        assert read(job, "PRAGMA integrity_check") == [("ok",)]
        outcomes = Counter(row[0] for row in read(job, "SELECT outcome FROM outcomes"))
        assert outcomes == {"done": TASKS - REFUSED, "refused": REFUSED}
        assert read(job, "SELECT id FROM attempts WHERE result IS NULL") == [], "attempts are left open"
        asked = self.asked()
        again = {prompt: asked[prompt] for prompt, then in self._safe.items() if asked[prompt] != then}
        assert not again, f"asked for although the whole image was there: {again}"
        self._judge_attempts(job)
        possible = len(read(job, "SELECT id FROM attempts WHERE billed = 'unknown'"))
        billed = sum(bool(entry["billed"]) for entry in self._sandbox.requests())
        extra = billed - (TASKS - REFUSED)
        allowed = WORKERS * self.kills + CUTS
        assert extra <= possible <= allowed, (extra, possible, allowed)
        tally.kills += self.kills
        tally.jobs += 1
        tally.images += TASKS - REFUSED
        tally.adopted += self.adopted
        tally.bought_again += extra
        tally.allowed += allowed

    def _judge_attempts(self, job: Job) -> None:
        prompts = {key: json.loads(record)["prompt"] for key, record in read(job, "SELECT key, record FROM outcomes")}
        rows = Counter(prompts[key] for (key,) in read(job, "SELECT key FROM attempts"))
        seen = self.asked()
        unwritten = {prompt: count for prompt, count in seen.items() if rows[prompt] < count}
        assert not unwritten, f"sent before it was written down: {unwritten}"
        timeouts = Counter(key for (key,) in read(job, "SELECT key FROM attempts WHERE result = 'timeout'"))
        assert max(timeouts.values(), default=0) <= MOST_TIMEOUTS


def read(job: Job, query: str) -> list[tuple[Any, ...]]:
    """Ask a copy of the ledger: opening it in its place would mend what a kill has left."""
    own = job.output / ".batchbanana"
    with TemporaryDirectory() as folder:
        for path in own.glob("ledger.db*"):
            if not path.name.endswith("-shm"):
                shutil.copy(path, folder)
        try:
            with contextlib.closing(sqlite3.connect(Path(folder) / "ledger.db")) as db:
                return db.execute(query).fetchall()
        except sqlite3.OperationalError:  # killed before there was one
            return []


def snapshot(job: Job) -> dict[str, object]:
    """Give all that a run of a finished job must not change."""
    files: dict[str, object] = {
        str(path.relative_to(job.output)): path.read_bytes() for path in (job.output / "images").rglob("*.*")
    }
    files["metadata.jsonl"] = (job.output / "metadata.jsonl").read_bytes()
    for table in ("attempts", "outcomes"):
        files[table] = read(job, f"SELECT * FROM {table} ORDER BY 1")  # noqa: S608 -- one of two names
    return files
