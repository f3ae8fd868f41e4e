"""What one sees and may do while a run is at work, and what it leaves behind when it dies."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from batchbanana.sandbox.running import in_thread
from tests.support.program import Job, command, environment, manifest, until


def test_status_tells_of_a_run_at_work_and_of_one_that_died(tmp_path: Path) -> None:
    with in_thread({"latency": 0.3}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(30, limits={"concurrency": 2}))
        with job.started() as process:
            until(lambda: sandbox.bill()["billed"] >= 4)
            data = command("status", str(job.output), "--json").json
            assert data["running"]
            assert data["done"] >= 1
            assert data["images_per_minute"] > 0
            assert data["seconds_left"] > 0
            assert "a run is at work" in command("status", str(job.output)).out
            process.kill()
            process.communicate()
        data = command("status", str(job.manifest), "--output", str(job.output), "--json").json
        assert not data["running"]
        assert "died" in data["stopped"]
        assert data["done"] + data["pending"] == data["tasks"] == 30


def test_status_of_a_folder_whose_manifest_is_gone_tells_what_the_ledger_knows(tmp_path: Path) -> None:
    with in_thread() as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(3))
        job.run("--limit", "2")
        job.manifest.unlink()
        data = command("status", str(job.output), "--json").json
        assert (data["tasks"], data["done"], data["pending"]) == (3, 2, 1)


def test_a_folder_that_is_no_job_directory_is_told(tmp_path: Path) -> None:
    ended = command("status", str(tmp_path))
    assert ended.code == 2
    assert "not a job directory" in ended.err


def test_the_sandbox_command_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    script = tmp_path / "faults.yaml"
    script.write_text("faults:\n  - when: {nth: 1}\n    then: {image: none, finish: NO_IMAGE}\n")
    arguments = [sys.executable, "-m", "batchbanana", "sandbox", "--port", "0", "--script", str(script)]
    with subprocess.Popen(arguments, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[0]
        ended = Job(tmp_path, url, manifest(2)).run()
        assert (ended.code, ended.json["attempts"]) == (0, 3)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130


def test_a_script_with_faults_is_told_with_their_places(tmp_path: Path) -> None:
    (tmp_path / "faults.yaml").write_text("faults:\n  - then: {hnag: before}\n")
    ended = command("sandbox", "--script", str(tmp_path / "faults.yaml"))
    assert ended.code == 2
    assert "rule 1" in ended.err


def test_a_run_that_is_killed_leaves_no_sandbox_behind(tmp_path: Path) -> None:
    asked = manifest(5, sandbox={"latency": 30})
    job = Job(tmp_path, "", asked)
    arguments = ["run", str(job.manifest), "--output", str(job.output), "--sandbox"]
    with subprocess.Popen(
        [sys.executable, "-m", "batchbanana", *arguments], env=environment(), stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        told = next(line for line in process.stderr if "A sandbox answers" in line)
        port = int(told.split("http://127.0.0.1:")[1].split(":")[0])
        assert _listens(port)
        process.kill()
    until(lambda: not _listens(port), 10)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_nothing_but_the_summary_is_on_standard_output(tmp_path: Path) -> None:
    with in_thread({"faults": [{"when": {"nth": 2}, "then": {"block": "SAFETY"}}]}) as sandbox:
        ended = Job(tmp_path, sandbox.url, manifest(3)).run()
        assert json.loads(ended.out)["refused"] == 1
        assert len(ended.out.splitlines()) == 1
        assert "refused: hero/" in ended.err
        quiet = Job(tmp_path, sandbox.url, manifest(4, model="gemini-nano-banana-2.1", resolution="1K")).run("--quiet")
        assert quiet.err == ""


def test_a_reader_that_leaves_early_does_not_bring_a_traceback(tmp_path: Path) -> None:
    job = Job(tmp_path, "", manifest(3000))
    read, write = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-m", "batchbanana", "plan", str(job.manifest), "--csv"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        os.close(write)
        os.read(read, 100)
        os.close(read)
        _, err = process.communicate()
    assert "Traceback" not in err
