"""What happens to a job at night: windows close, files vanish, descriptors run out, a rehearsal meets the real one."""

import contextlib
import hashlib
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import pytest

from batchbanana.engines.local import LocalEngine
from batchbanana.errors import DiskError
from batchbanana.providers.gemini import Gemini
from batchbanana.sandbox.running import in_thread
from batchbanana.spool import Files, Spool
from batchbanana.task import Attempt
from batchbanana.transport import Endpoint, Lanes
from tests.support.build import rung, task
from tests.support.program import Job, command, environment, manifest, until


def test_nobody_reads_our_words_and_no_image_is_lost(tmp_path: Path) -> None:
    """As in `batchbanana run … 2>&1 | true`."""
    script = {"latency": 0.5, "faults": [{"when": {"nth": 2}, "then": {"block": "SAFETY"}}]}
    with in_thread(script) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(6))
        read, write = os.pipe()
        arguments = [sys.executable, "-m", "batchbanana", *job.arguments()]
        with subprocess.Popen(arguments, env=environment(), stdout=write, stderr=write) as process:
            os.close(write)
            os.close(read)
            assert process.wait(30) == 3
        assert len(job.records) == 5
        assert sandbox.bill()["billed"] == 5
        job.check()


def test_a_closed_window_lets_what_is_in_flight_finish_and_nohup_goes_on(tmp_path: Path) -> None:
    with in_thread({"latency": 0.5}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(8, limits={"concurrency": 4}))
        with job.started() as process:
            until(lambda: sandbox.bill()["requests"] >= 4)
            process.send_signal(signal.SIGHUP)
            process.communicate(timeout=30)
            assert process.returncode == 143
        assert len(job.records) == 4
        arguments = ["nohup", sys.executable, "-m", "batchbanana", *job.arguments()]
        with subprocess.Popen(
            arguments, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as kept:
            until(lambda: sandbox.bill()["requests"] >= 6)
            kept.send_signal(signal.SIGHUP)
            kept.communicate(timeout=30)
            assert kept.returncode == 0
        job.check()


def test_ctrl_c_twice_ends_a_run_that_is_already_stopping_for_another_reason(tmp_path: Path) -> None:
    faults = [{"when": {"nth": 4}, "then": {"error": "bad_key"}}]
    with in_thread({"latency": 30.0, "faults": faults}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(4, limits={"concurrency": 4}))
        with job.started() as process:
            until(lambda: job.output.exists() and job.attempts("result = 'fatal'") == 1)
            deadline = time.monotonic() + 20
            while process.poll() is None and time.monotonic() < deadline:  # pressed until it obeys, as people do
                process.send_signal(signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.5)
            out, _ = process.communicate(timeout=10)
        assert process.returncode == 12
        assert '"possibly_billed": 3' in out


def test_a_rehearsal_never_passes_for_the_real_thing(tmp_path: Path) -> None:
    with in_thread() as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(2))
        arguments = ["run", str(job.manifest), "--output", str(job.output), "--sandbox"]
        assert command(*arguments).code == 0
        ended = job.run()
        assert ended.code == 2
        assert "was made in the sandbox; choose another --output" in ended.err
        assert sandbox.bill()["requests"] == 0
        job.output = tmp_path / "real"
        assert job.run().code == 0
        assert command(*arguments[:3], str(job.output), "--sandbox").code == 2


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_images_that_are_missing_or_cut_are_told_and_not_bought_again(tmp_path: Path, damage: str) -> None:
    with in_thread() as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(3))
        job.run()
        victim = job.output / job.records[0]["file_name"]
        data = victim.read_bytes()
        victim.unlink() if damage == "gone" else victim.write_bytes(data[:-1])
        ended = job.run()
        assert ended.code == 13
        assert victim.name in ended.json["stopped"]
        victim.write_bytes(data)
        assert job.run().code == 0
        assert sandbox.bill()["requests"] == 3


def test_a_run_with_few_file_descriptors_is_slower_and_whole(tmp_path: Path) -> None:
    with in_thread({"latency": 0.1}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(40, limits={"concurrency": 40}))
        arguments = [sys.executable, "-m", "batchbanana", *job.arguments()]
        done = subprocess.run(
            arguments,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48)),
        )
        assert done.returncode == 0, done.stderr
        assert sandbox.bill()["billed"] == 40
        job.check()


def run_within(job: Job, which: int, limits: tuple[int, int]) -> "subprocess.CompletedProcess[str]":
    """Run a job whose process may have no more of something than the system's soft and hard limits say."""
    return subprocess.run(
        [sys.executable, "-m", "batchbanana", *job.arguments()],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        preexec_fn=lambda: resource.setrlimit(which, limits),
    )


@pytest.mark.parametrize(
    ("limits", "said"),
    [((64, 4096), ""), ((64, 150), "21 workers instead of 200: that many would open about 864 files")],
    ids=["which it may raise", "which it may not raise"],
)
def test_a_run_opens_as_many_files_as_it_has_descriptors_for(
    tmp_path: Path, limits: tuple[int, int], said: str
) -> None:
    with in_thread({"latency": 0.1}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(400, limits={"concurrency": 200}))
        done = run_within(job, resource.RLIMIT_NOFILE, limits)
        assert done.returncode == 0, done.stderr
        assert said in done.stderr
        assert ("instead of" in done.stderr) is bool(said)
        assert "waiting" not in done.stderr
        assert sandbox.bill()["billed"] == 400


def test_a_full_disk_costs_nothing_and_books_nothing(tmp_path: Path) -> None:
    """Files may not grow beyond half a megabyte: the ledger fits, the room for an image does not."""
    with in_thread() as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(5))
        for _ in range(2):
            done = run_within(job, resource.RLIMIT_FSIZE, (1 << 19, 1 << 19))
            assert done.returncode == 13, done.stderr
            assert "The disk is full: it cannot promise 1 MB to each image" in done.stderr
            assert '"attempts": 0' in done.stdout
            assert '"possibly_billed": 0' in done.stdout
        assert sandbox.bill()["requests"] == 0
        assert job.run().code == 0
        job.check()


def test_a_model_that_does_not_answer_keeps_no_worker_from_the_others(tmp_path: Path) -> None:
    faults = [{"when": {"model": "gemini-3-pro-image"}, "then": {"error": "overloaded"}}]
    jobs = [
        {"id": "dead", "prompt": "A mug, number {n}", "model": "gemini-3-pro-image", "vars": {"n": list(range(60))}},
        {"id": "well", "prompt": "A mug, number {n}", "vars": {"n": list(range(12))}},
    ]
    with in_thread({"faults": faults}) as sandbox:
        asked = manifest(1, model="gemini-nano-banana-2.1", resolution="1K", jobs=jobs, limits={"concurrency": 4})
        job = Job(tmp_path, sandbox.url, asked)
        with job.started() as process:
            until(lambda: sandbox.bill()["billed"] >= 12, 40)
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=20)
        assert process.returncode == 130
        assert '"done": 12' in out
        assert '"pending": 60' in out


def test_all_manifests_are_checked_before_the_first_one_spends(tmp_path: Path) -> None:
    with in_thread() as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(2))
        (tmp_path / "other.yaml").write_text("ratio: 16:10\njobs:\n  - prompt: x\n")
        both = [*job.arguments(), str(tmp_path / "other.yaml")]
        assert command(*both).code == 2
        (tmp_path / "twin.yaml").write_text("name: job\njobs:\n  - prompt: x\n")
        ended = command(*job.arguments(), str(tmp_path / "twin.yaml"))
        assert ended.code == 2
        assert "same name" in ended.err
        (tmp_path / "plain.yaml").write_text("jobs:\n  - prompt: x\n")
        ended = command(*job.arguments("--only", "n=1"), str(tmp_path / "plain.yaml"))
        assert ended.code == 2
        assert "no axis or variable" in ended.err
        assert sandbox.bill()["requests"] == 0


@pytest.mark.parametrize(
    ("variable", "value"),
    [("SSL_CERT_FILE", "/nonexistent"), ("https_proxy", "socks5://127.0.0.1:1"), ("all_proxy", "::::")],
)
def test_an_environment_that_cannot_work_needs_a_person_before_anything_begins(
    tmp_path: Path, variable: str, value: str
) -> None:
    job = Job(tmp_path, "https://192.0.2.1", manifest(1))
    more: dict[str, Any] = {variable: value}
    ended = command(*job.arguments(), **more)
    assert ended.code == 12
    assert variable.upper().split("_", maxsplit=1)[0] in ended.err
    assert not job.output.exists()


class NeverSure(Files):
    """A disk that renames, and then cannot say whether it has."""

    def sync_folder(self, path: Path) -> None:
        if path.name == "spool":
            raise OSError(5, "Input/output error")


def test_a_paid_image_whose_sync_failed_stays_for_the_next_run_to_adopt(tmp_path: Path) -> None:
    with in_thread() as sandbox:
        spool = Spool(tmp_path, NeverSure())
        spool.open()
        lanes = Lanes(Endpoint.build(sandbox.url, None, "k"))
        engine = LocalEngine(Gemini(omit_size=lambda _: False), lanes, spool)
        worker = engine.worker()

        async def main() -> None:
            attempt = Attempt(id=1, task=task(), rung=rung())
            assert await worker.prepare(attempt) is None
            with pytest.raises(DiskError, match="adopted later"):
                await worker.carry_out(attempt, lambda: None)
            await worker.close()
            await engine.aclose()

        anyio.run(main)
        [found] = spool.recover()
        assert hashlib.sha256(found.path.read_bytes()).hexdigest() == found.sha256
