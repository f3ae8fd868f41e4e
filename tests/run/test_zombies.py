"""A run that was stopped, and wakes: it goes on, or, if another run has the job by now, it changes nothing any more."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from batchbanana.sandbox.running import in_thread
from tests.support.program import Job, manifest, until

WORKERS = 4


def freeze(process: "subprocess.Popen[str]") -> None:
    """Stop a process, and wait until all of its threads stand still."""
    process.send_signal(signal.SIGSTOP)
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)


def test_a_stopped_run_goes_on_when_it_is_continued(tmp_path: Path) -> None:
    with in_thread({"latency": 0.5}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(12, limits={"concurrency": WORKERS}))
        with job.started() as process:
            until(lambda: sandbox.bill()["accepted"] >= WORKERS)
            freeze(process)
            until(lambda: sandbox.bill()["billed"] >= WORKERS)
            process.send_signal(signal.SIGCONT)
            process.communicate(timeout=30)
            assert process.returncode == 0
        assert sandbox.bill()["billed"] == len(job.records) == 12
        job.check()


def without_its_lock(job: Job) -> None:
    """Somebody thinks that the lock is a leftover."""
    (job.output / ".batchbanana/lock").unlink()


def put_back_from_a_copy(job: Job) -> None:
    """Somebody copies the folder and lets the copy take its place."""
    copy, gone = job.folder / "copy", job.folder / "gone"
    shutil.copytree(job.output, copy)
    job.output.rename(gone)
    copy.rename(job.output)


def state(job: Job) -> dict[str, object]:
    """All that a run may change: every file but the ledger's by its bytes, the ledger's by its rows."""
    files: dict[str, object] = {
        str(path.relative_to(job.output)): (path.stat().st_ino, path.read_bytes()) if path.is_file() else None
        for path in job.output.rglob("*")
        if not path.name.startswith("ledger.db")
    }
    tables = ("meta", "runs", "attempts", "outcomes")
    return files | {table: job.rows(f"SELECT * FROM {table} ORDER BY 1") for table in tables}  # noqa: S608 -- ours


def wake(process: "subprocess.Popen[str]") -> str:
    process.send_signal(signal.SIGCONT)
    out, err = process.communicate(timeout=30)
    assert "Traceback" not in err
    assert process.returncode == 14
    return out + err  # what fell on its way is told first, and why in the summary


@pytest.mark.parametrize(
    ("taken", "told"),
    [(without_its_lock, "A later run has taken over"), (put_back_from_a_copy, "was moved or replaced")],
)
def test_a_run_that_wakes_with_its_answers_after_another_has_finished_the_job_writes_nothing(
    tmp_path: Path, taken: Callable[[Job], None], told: str
) -> None:
    with in_thread({"latency": 0.5}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(8, limits={"concurrency": WORKERS}))
        with job.started() as process:
            until(lambda: sandbox.bill()["accepted"] >= WORKERS)
            freeze(process)
            taken(job)
            assert job.run().json["done"] == 8
            before, requests = state(job), sandbox.bill()["requests"]
            assert told in wake(process)
        assert state(job) == before
        assert sandbox.bill()["requests"] == requests == 8 + WORKERS
        assert job.rows("SELECT count(*) FROM attempts WHERE result = 'lost'") == [(WORKERS,)]
        job.check()


@pytest.mark.parametrize("images", [1, 9, 30])
def test_a_run_that_was_stopped_while_it_wrote_changes_nothing_in_the_copy_that_took_its_place(
    tmp_path: Path, images: int
) -> None:
    with in_thread({"latency": 0.0, "pictures": "plain"}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(80))
        with job.started() as process:
            until(lambda: len(job.records) >= images)
            freeze(process)
            put_back_from_a_copy(job)
            assert job.run().json["done"] == 80
            before = state(job)
            assert "was moved or replaced" in wake(process)
        assert state(job) == before
        job.check()


def test_a_run_that_wakes_while_another_works_does_not_disturb_it(tmp_path: Path) -> None:
    with in_thread({"latency": 0.3}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(24, limits={"concurrency": WORKERS}))
        with job.started() as zombie:
            until(lambda: sandbox.bill()["accepted"] >= WORKERS)
            freeze(zombie)
            without_its_lock(job)
            with job.started() as heir:
                until(lambda: sandbox.bill()["accepted"] >= 2 * WORKERS)
                assert "A later run has taken over" in wake(zombie)
                heir.communicate(timeout=30)
                assert heir.returncode == 0
        assert len(job.records) == 24
        assert sandbox.bill()["requests"] == 24 + WORKERS
        job.check()


def test_a_ledger_that_is_removed_under_a_run_ends_it_instead_of_being_written_to_nowhere(tmp_path: Path) -> None:
    with in_thread({"latency": 0.3}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(40, limits={"concurrency": WORKERS}))
        with job.started() as process:
            until(lambda: sandbox.bill()["accepted"] >= WORKERS)
            for name in ("ledger.db", "ledger.db-wal", "ledger.db-shm"):
                with contextlib.suppress(FileNotFoundError):
                    (job.output / ".batchbanana" / name).unlink()
            _, err = process.communicate(timeout=30)
            assert process.returncode == 14
            assert "was moved or replaced" in err
        assert sandbox.bill()["requests"] <= 2 * WORKERS
