"""Runs small jobs, kills them at random moments and at named places, resumes them, and judges what is left.

The judge knows nothing of the program's own reports: it compares files, hashes, the ledger and the server's own count.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from batchbanana.errors import Exit
from batchbanana.sandbox.running import in_thread
from tests.crash.failpoints import PLACES
from tests.crash.witness import TASKS, WORKERS, Tally, Witness, snapshot
from tests.support.program import Job, environment

MOST_KILLS_A_JOB = 12
PLACED = 0.7  # of the kills; the others come at any moment
HANG = 60.0  # seconds after which a run that should have ended is a hang
MOMENTS = (0.02, 1.2)  # seconds after the fork: a job left alone takes about as long
SCRIPT: Mapping[str, Any] = {
    "latency": 0.03,
    "pictures": "plain",
    "faults": [
        {"when": {"prompt": "number 3,", "first": 2, "alike": True}, "then": {"error": "internal"}},
        {"when": {"prompt": "number 5,"}, "then": {"block": "SAFETY"}},
        {"when": {"prompt": "number 7,", "first": 1, "alike": True}, "then": {"cut": 0.5}},
        {"when": {"prompt": "number 9,", "first": 1, "alike": True}, "then": {"image": "none", "finish": "NO_IMAGE"}},
    ],
}


def manifest() -> dict[str, object]:
    job = {"id": "hero", "prompt": "A mug, number {n}, please", "vars": {"n": list(range(1, TASKS + 1))}}
    limits = {"concurrency": WORKERS, "max_possibly_billed": 1000}
    return {"model": "gemini-3.1-flash-image", "resolution": "512", "ratio": "1:1", "limits": limits, "jobs": [job]}


class Zygote:
    """Starts children from a process that has imported everything."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def run(
        self, job: Job, arguments: list[str], place: str | None = None, hits: int = 0, *, after: float | None = None
    ) -> int:
        """Run a program to its end; gives the exit code, the negative signal of one that was killed.

        Args:
            job: in whose folder its output goes.
            arguments: of the program.
            place: where it kills itself.
            hits: at the hit with this number, counted from 1.
            after: seconds after which it is killed from outside.
        """
        order = {"folder": str(job.folder), "arguments": arguments, "place": place, "hits": hits}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        child = int(self._hear()["pid"])
        with struck_after(child, HANG, signal.SIGABRT), struck_after(child, after, signal.SIGKILL):
            code = int(self._hear()["code"])
        assert code != -signal.SIGABRT, f"it hung: {(job.folder / 'stderr').read_text()}"
        return code

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        heard: dict[str, Any] = json.loads(self._process.stdout.readline())
        return heard


@contextmanager
def zygote() -> Iterator[Zygote]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.crash.zygote"],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Zygote(process)
        assert process.stdin is not None
        process.stdin.close()


@contextmanager
def struck_after(child: int, seconds: float | None, sign: signal.Signals) -> Iterator[None]:
    """Send a signal to a process if the block has not ended after so long."""

    def strike() -> None:
        with contextlib.suppress(ProcessLookupError):  # it has ended at this very moment
            os.kill(child, sign)

    timer = threading.Timer(seconds or 0.0, strike)
    if seconds is not None:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


class Campaign:
    """Kills until there were enough.

    Args:
        folder: where the jobs are; each is removed when it is right.
        seed: of all that is left to chance.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._chance = random.Random(seed)  # noqa: S311 -- for what to kill, not for secrets
        self.tally = Tally()

    def run(self, kills: int) -> Tally:
        with zygote() as children:
            while self.tally.kills < kills:
                folder = self._folder / f"job{self.tally.jobs}"
                folder.mkdir(parents=True)
                with in_thread(SCRIPT) as sandbox:
                    self._job(Job(folder, sandbox.url, manifest()), Witness(sandbox), children)
                shutil.rmtree(folder)
        return self.tally

    def _job(self, job: Job, witness: Witness, children: Zygote) -> None:
        while witness.kills < MOST_KILLS_A_JOB and self._struck(job, children):
            witness.look_after_a_kill(job)
        assert children.run(job, job.arguments()) == Exit.SOME_FAILED
        witness.judge(job, self.tally)
        before, asked = snapshot(job), witness.asked()
        assert children.run(job, job.arguments()) == Exit.SOME_FAILED
        assert snapshot(job) == before, "a run of a finished job changed something"
        assert witness.asked() == asked, "a run of a finished job sent something"

    def _struck(self, job: Job, children: Zygote) -> bool:
        """Run once and kill; False when the run was over before."""
        if self._chance.random() < PLACED:
            place = self._chance.choice(PLACES)
            code = children.run(job, job.arguments(), place, 1 + int(self._chance.expovariate(1 / 6)))
        else:
            place = "any moment"
            code = children.run(job, job.arguments(), after=self._chance.uniform(*MOMENTS))
        if code == -signal.SIGKILL:
            self.tally.places[place] += 1
        return code == -signal.SIGKILL
