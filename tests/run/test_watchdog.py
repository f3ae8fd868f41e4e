"""The watchdog in the real program: a fault is seeded that hangs it, its patience cut to what a test can wait."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from batchbanana.sandbox.running import in_thread
from batchbanana.together import FEW
from tests.support.program import Job, environment, manifest, until

START = """
import sys, threading, time
from batchbanana import signals, watchdog
watchdog.LOOK, watchdog.MARGIN, watchdog.ATTEMPT, watchdog.LOOP_PATIENCE, watchdog.GRACE = 0.05, 1.0, 0, 1.0, 1.0
{fault}
from batchbanana.cli import main
sys.exit(main())
"""
# In place of something that would never end.
LOOP_HANGS = """
from batchbanana.runner import Runner
Runner._put = lambda *_: time.sleep(50)
"""
LEDGER_HANGS = """
from batchbanana.ledger import Store
settle = Store.settle
Store.settle = lambda *given: (time.sleep(50), settle(*given))
"""
WORKER_HANGS = """
import anyio
from batchbanana.shelf import Shelf
async def put(*_):
    await anyio.sleep(50)
Shelf.put = put
"""
HANGS = "it hangs"
RECOVERY_HANGS = """
from batchbanana.spool import Spool
def recover(_):
    sys.stderr.write("it hangs\\n")
    sys.stderr.flush()
    time.sleep(50)
Spool.recover = recover
"""
RECOVERY_LASTS = RECOVERY_HANGS.replace("time.sleep(50)", "time.sleep(1.5)\n    return []")
DISK_HANGS = """
from batchbanana.spool import Files
def sync(*_):
    sys.stderr.write("it hangs\\n")
    sys.stderr.flush()
    time.sleep(50)
Files.sync = sync
"""
WORKER_WAITS = """
import anyio
from batchbanana.limits import Limits
async def leave(*_, **__):
    await anyio.sleep(50)
Limits.leave = leave
"""


@pytest.mark.parametrize(
    ("fault", "told", "place"),
    [
        (LOOP_HANGS, "No progress: the program hangs (", "Runner._carry_out, runner.py line"),
        (LEDGER_HANGS, "did not come to its end (", "<lambda>, ledger/__init__.py line"),
        (WORKER_HANGS, "did not come to its end (", "Runner._put, runner.py line"),
        (WORKER_WAITS, "No progress for", "Grants._leave, grants.py line"),
        (RECOVERY_HANGS, "did not come to its end (", "_Recovery._adopt_ready, recovery.py line"),
    ],
    ids=["loop", "ledger", "shielded", "worker", "recovery"],
)
def test_a_run_that_hangs_ends_by_itself_says_where_and_loses_nothing(
    tmp_path: Path, fault: str, told: str, place: str
) -> None:
    with in_thread() as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(4))
        done = subprocess.run(
            [sys.executable, "-c", START.format(fault=fault), *job.arguments()],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=40,
            check=False,
        )
        assert done.returncode == 15
        [sentence] = [line for line in done.stderr.splitlines() if told in line]
        assert place in sentence
        assert "run again to go on" in done.stderr
        assert "Traceback" not in done.stderr
        again = job.run().json
        assert (again["done"], again["exit_code"]) == (4, 0)
        lost = job.attempts("billed = 'unknown'")
        assert 4 <= sandbox.bill()["billed"] <= 4 + lost, "what was whole is adopted, not bought again"
        job.check()


@contextmanager
def hanging(job: Job, fault: str, times: int = 1, drain: float = 1.0) -> Iterator["subprocess.Popen[str]"]:
    """Begin a run that hangs and that nobody ends but by signals; gives it when it hangs in so many places."""
    patient = f"watchdog.MARGIN, watchdog.LOOP_PATIENCE, signals.DRAIN = 600.0, 600.0, {drain}\n"
    with subprocess.Popen(
        [sys.executable, "-c", START.format(fault=f"{fault}{patient}"), *job.arguments()],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            while times:
                times -= HANGS in process.stderr.readline()
                assert process.poll() is None
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("numbers", "code"),
    [([signal.SIGTERM], 143), ([signal.SIGTERM] * 2, 143), ([signal.SIGINT] * 2, 130), ([signal.SIGINT] * 3, 130)],
    ids=["TERM", "TERM TERM", "INT INT", "INT INT INT"],
)
def test_a_run_that_hangs_before_its_work_is_ended_by_signals(
    tmp_path: Path, numbers: list[signal.Signals], code: int
) -> None:
    with in_thread() as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(2))
        with hanging(job, RECOVERY_HANGS) as process:
            for number in numbers:
                process.send_signal(number)
                time.sleep(0.3)  # two that come at once may be one
            _, err = process.communicate(timeout=20)
        assert process.returncode == code
        assert "did not come to its end (" in err
        assert sandbox.bill()["requests"] == 0
        assert job.run().json["done"] == 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stop_that_comes_before_the_work_is_heeded_when_the_work_would_begin(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    with in_thread() as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(2))
        with hanging(job, RECOVERY_LASTS, drain=30.0) as process:
            process.send_signal(number)
            _, err = process.communicate(timeout=20)
        assert process.returncode == code
        assert f"Stopped by {number.name}" in err
        assert "did not come to its end" not in err
        assert sandbox.bill()["requests"] == 0
        assert job.run().json["done"] == 2


# Some hang in the disk themselves, and others wait for their turn at it: a few for that one, of many some for another.
@pytest.mark.parametrize(("workers", "hang"), [(3, 1), (FEW + 4, 2)])
def test_images_whose_disk_outlasts_the_patience_of_a_stop_are_brought_home_by_the_next_run(
    tmp_path: Path, workers: int, hang: int
) -> None:
    with in_thread({"latency": 0.0}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(2 * workers, limits={"concurrency": workers}))
        with hanging(job, DISK_HANGS, times=hang) as process:
            until(lambda: len(list((job.output / ".batchbanana/spool").glob("*.whole"))) == workers)
            process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            process.communicate(timeout=20)
            assert time.monotonic() - began < 15
        assert process.returncode == 143
        assert sandbox.bill()["billed"] == workers
        again = job.run().json
        assert (again["done"], again["possibly_billed"]) == (2 * workers, 0)
        assert sandbox.bill()["billed"] == 2 * workers, "what was whole is adopted, not bought again"
        job.check()


def test_a_reader_of_standard_error_that_stands_still_does_not_keep_the_run_for_ever(tmp_path: Path) -> None:
    fault = "import os\nfrom batchbanana.progress import Lines\nLines.begin = lambda *_: os.write(2, b'x' * 2**20)"
    with in_thread() as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(2))
        with subprocess.Popen(
            [sys.executable, "-c", START.format(fault=fault), *job.arguments()],
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.wait(40) == 15
        assert job.run().code == 0


def without_a_reader() -> int:
    """Give the writing end of a pipe that nobody reads any more."""
    reads, writes = os.pipe()
    os.close(reads)
    return writes


def test_a_run_whose_standard_error_nobody_reads_ends_all_the_same(tmp_path: Path) -> None:
    with in_thread() as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(2))
        writes = without_a_reader()
        try:
            code = subprocess.run(
                [sys.executable, "-c", START.format(fault=LOOP_HANGS), *job.arguments()],
                env=environment(),
                stdout=subprocess.DEVNULL,
                stderr=writes,
                timeout=40,
                check=False,
            ).returncode
        finally:
            os.close(writes)
        assert code == 15
        assert job.run().json["done"] == 2


def test_a_run_without_standard_error_ends_all_the_same_and_writes_into_no_file_of_its_own(tmp_path: Path) -> None:
    with in_thread() as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(2))
        closed = ["/bin/sh", "-c", 'exec "$@" 2>&-', "sh"]
        code = subprocess.run(
            [*closed, sys.executable, "-c", START.format(fault=LOOP_HANGS), *job.arguments()],
            env=environment(),
            stdout=subprocess.DEVNULL,
            timeout=40,
            check=False,
        ).returncode
        assert code == 15
        told = b"what is paid is kept"
        assert not [path for path in job.output.rglob("*") if path.is_file() and told in path.read_bytes()]
        assert job.run().json["done"] == 2
