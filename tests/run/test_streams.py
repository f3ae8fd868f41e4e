"""Where a command's words go: a full disk, a closed stream, a terminal that would obey them."""

import subprocess
import sys
from pathlib import Path

import pytest

from batchbanana.sandbox.running import in_thread
from tests.support.program import Job, command, environment, manifest

FULL = Path("/dev/full")


def through_shell(redirection: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    line = f'exec "$0" -m batchbanana "$@" {redirection}'
    return subprocess.run(
        ["/usr/bin/env", "bash", "-c", line, sys.executable, *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.skipif(not FULL.exists(), reason="there is no device that is always full")
def test_a_summary_that_cannot_be_printed_fails_the_command_and_says_where_it_is(tmp_path: Path) -> None:
    with in_thread({"latency": 0.0}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(1))
        done = through_shell("> /dev/full", *job.arguments("--quiet"))
        assert done.returncode == 13
        assert "The summary cannot be printed (No space left on device); it is in " in done.stderr
        assert (job.output / "summary.json").exists()


@pytest.mark.skipif(not FULL.exists(), reason="there is no device that is always full")
@pytest.mark.parametrize("name", ["plan", "status", "verify"])
def test_a_text_that_cannot_be_printed_is_no_unexpected_error(tmp_path: Path, name: str) -> None:
    with in_thread({"latency": 0.0}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(1))
        job.run()
        done = through_shell("> /dev/full", name, str(job.manifest if name == "plan" else job.output))
        assert done.returncode == 13
        assert "standard output cannot be written (No space left on device)" in done.stderr


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&-"])
def test_a_stream_that_was_closed_before_changes_nothing_else(tmp_path: Path, redirection: str) -> None:
    with in_thread({"latency": 0.0}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(2))
        done = through_shell(redirection, *job.arguments())
        assert "Traceback" not in done.stderr
        assert done.returncode == 0
        job.check()


@pytest.mark.parametrize("text", ["\x1b[31mred", "bell\x07", "\x9b31m", "turned \u202e round", "back\rward"])
def test_what_would_command_a_terminal_is_written_out(tmp_path: Path, text: str) -> None:
    told = command("plan", str(tmp_path / f"no {text}.yaml"))
    assert told.code == 2
    assert not set(told.out + told.err) & {"\x1b", "\x07", "\x9b", "\u202e", "\r"}
    assert "\\u" in told.out + told.err


def test_an_output_that_names_nothing_is_a_mistake(tmp_path: Path) -> None:
    with in_thread({"latency": 0.0}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(1))
        ended = command("run", str(job.manifest), "--output", "", "--base-url", sandbox.url, cwd=tmp_path)
        assert ended.code == 2
        assert "names no folder: name one, or leave the option out" in ended.err
        assert [path.name for path in tmp_path.iterdir()] == ["job.yaml"]


@pytest.mark.parametrize("name", ["images", "extras", ".batchbanana/spool"])
def test_a_file_where_a_folder_must_be_is_found_before_anything_is_paid_for(tmp_path: Path, name: str) -> None:
    with in_thread({"latency": 0.0}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(1))
        (job.output / name).parent.mkdir(parents=True, exist_ok=True)
        (job.output / name).write_text("mine")
        ended = job.run()
        assert ended.code == 13
        assert f"{name} is no folder; move it away" in ended.err
        assert sandbox.bill()["requests"] == 0
