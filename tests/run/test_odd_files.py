"""A pipe, a device, a socket or a folder in the place of a file is refused with a sentence and hangs nobody."""

import os
import socket
from pathlib import Path

import pytest

from batchbanana.sandbox.running import Handle
from tests.support.damage import images, verify
from tests.support.program import Job, command

READ = [
    "metadata.jsonl",
    ".batchbanana/ledger.db",
    ".batchbanana/ledger.db-wal",
    ".batchbanana/lock",
    "summary.json",
]
WRITTEN = [".metadata.jsonl.new", ".batchbanana/summary.json.new"]
IN_THE_SPOOL = [f"9.0.{'ab' * 32}.ready", f"9.0.{'ab' * 32}.4.whole", "9.0.link"]


def pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


@pytest.mark.parametrize("name", [*READ, *WRITTEN])
def test_a_pipe_in_the_place_of_a_file_is_refused_by_everybody_who_would_open_it(
    job: Job, sandbox: Handle, name: str
) -> None:
    path = job.output / name
    pipe(path)
    for ended in (job.run(), verify(job), verify(job, "--repair")):
        assert ended.code == 13, ended
        assert (
            ended.err
            == f"batchbanana: {path} is a named pipe, not a file; move it away and put the file there, if you have it\n"
        )
    for told in ("status", "failures"):
        assert command(told, str(job.manifest), "--output", str(job.output)).code in {0, 3, 13}
    assert path.is_fifo()
    assert sandbox.bill()["requests"] == 6


@pytest.mark.parametrize("name", IN_THE_SPOOL)
def test_a_pipe_in_the_spool_is_told_and_opened_by_nobody(job: Job, name: str) -> None:
    path = job.output / ".batchbanana/spool" / name
    pipe(path)
    ended = job.run()
    assert (ended.code, f"{path} is a named pipe, not a file" in ended.err) == (13, True)
    for more in ((), ("--repair",)):
        ended = verify(job, *more)
        assert (ended.code, f"{path} is a named pipe, not a file; move it away" in ended.out) == (13, True)


def test_a_pipe_in_the_place_of_an_image_is_told_and_the_image_is_not_bought_again(job: Job, sandbox: Handle) -> None:
    path = images(job)[0]
    pipe(path)
    for more in ((), ("--repair",)):
        ended = verify(job, "--json", *more)
        assert (ended.code, ended.json["left"]["unreadable"], ended.json["checked"]) == (13, 1, 6)
        assert "cannot be read (it is a named pipe, not a file)" in ended.json["findings"][0]["message"]
    assert (job.run().code, sandbox.bill()["requests"]) == (13, 6)


def test_a_socket_a_device_and_a_folder_are_called_by_their_names(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    path = job.output / "metadata.jsonl"
    path.unlink()
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(job.output)  # a socket's path must be short
        listening.bind(path.name)
        assert "is a socket, not a file" in job.run().err
    path.unlink()
    path.symlink_to("/dev/zero")
    assert "is a device, not a file" in verify(job).err
    path.unlink()
    path.mkdir()
    assert "is a folder, not a file" in job.run().err
