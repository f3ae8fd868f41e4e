"""What a person at a terminal sees and is asked."""

import os
import pty
import select
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from batchbanana.sandbox.running import in_thread
from tests.support.program import PATIENCE, Job, environment, manifest


class Terminal:
    """A program that believes a person sits before it."""

    def __init__(self, process: "subprocess.Popen[bytes]", descriptor: int) -> None:
        self.process = process
        self._descriptor = descriptor
        self.text = ""

    def wait_for(self, words: str) -> None:
        end = time.monotonic() + PATIENCE
        while words not in self.text:
            assert time.monotonic() < end, self.text
            assert self._read(), self.text

    def press(self, keys: str) -> None:
        os.write(self._descriptor, keys.encode())

    def end(self) -> int:
        while self._read():
            pass
        return self.process.wait(PATIENCE)

    def _read(self) -> bool:
        if not select.select([self._descriptor], [], [], PATIENCE)[0]:
            return False
        try:
            data = os.read(self._descriptor, 65536)
        except OSError:  # the other side has closed: this is how a terminal says so on Linux
            return False
        self.text += data.decode(errors="replace")
        return bool(data)


@contextmanager
def at_terminal(*arguments: str) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 120))
    command = [sys.executable, "-m", "batchbanana", *arguments]
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment(), start_new_session=True
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_a_bar_shows_images_money_and_what_went_wrong(tmp_path: Path) -> None:
    script = {"faults": [{"when": {"nth": 2}, "then": {"block": "SAFETY"}}]}
    with in_thread(script) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(4))
        with at_terminal(*[word for word in job.arguments() if word != "--json"]) as terminal:
            assert terminal.end() == 3
    assert "4/4" in terminal.text
    assert "1 refused" in terminal.text
    assert "$0.1" in terminal.text
    assert "refused: hero/" in terminal.text
    assert "--retry refused" in terminal.text


def test_a_large_plan_is_shown_and_asked_about_and_no_means_that_nothing_is_sent(tmp_path: Path) -> None:
    with in_thread({"latency": 0.0, "pictures": "plain"}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(101))
        with at_terminal(*job.arguments()) as terminal:
            terminal.wait_for("Go?")
            assert "101 to make" in terminal.text
            terminal.press("n\n")
            assert terminal.end() == 2
        assert sandbox.bill()["requests"] == 0
        with at_terminal(*job.arguments()) as terminal:
            terminal.wait_for("Go?")
            terminal.press("y\n")
            assert terminal.end() == 0
        assert sandbox.bill()["billed"] == 101
        with at_terminal(*job.arguments()) as terminal:  # nothing is left that would be worth a question
            assert terminal.end() == 0


def test_yes_goes_without_asking(tmp_path: Path) -> None:
    with in_thread({"latency": 0.0, "pictures": "plain"}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(101))
        with at_terminal(*job.arguments("--yes", "--limit", "3")) as terminal:
            assert terminal.end() == 0
        assert "No max_cost is set" in terminal.text
        assert sandbox.bill()["requests"] == 3
