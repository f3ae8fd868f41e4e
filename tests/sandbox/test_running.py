"""A sandbox can be started anywhere, and leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys

import anyio
import httpx
import pytest

from batchbanana.errors import UsageError
from batchbanana.sandbox.running import Handle, in_process, in_thread, serve
from tests.sandbox.client import QUICK, request

_COMMAND = [sys.executable, "-m", "batchbanana.sandbox"]
_PATH = "/v1beta/models/gemini-nano-banana-2.1:generateContent"
_PARENT = """
import os, signal, time
signal.signal(signal.SIGINT, lambda *_: os.write(1, b"interrupted\\n"))  # print may be busy with the first line
from batchbanana.sandbox.running import in_process
with in_process() as handle:
    print(handle.url, flush=True)
    time.sleep(60)
"""


def _ask(url: str) -> int:
    headers = {"x-goog-api-key": "k"}
    return httpx.post(url + _PATH, json=request(), headers=headers, trust_env=False).status_code


def test_a_process_of_its_own_gets_the_script_and_ends_with_the_block() -> None:
    with in_process({**QUICK, "faults": [{"when": {"nth": 2}, "then": {"error": "overloaded"}}]}) as handle:
        assert [_ask(handle.url) for _ in range(2)] == [200, 503]
        assert handle.bill()["status"] == {"200": 1, "503": 1}
    with pytest.raises(OSError, match="refused"):
        handle.bill()


def test_an_interrupt_at_the_terminal_is_not_for_the_sandbox() -> None:
    command = [sys.executable, "-c", _PARENT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as parent:
        assert parent.stdout is not None
        handle = Handle(parent.stdout.readline().decode().strip())
        os.killpg(parent.pid, signal.SIGINT)
        assert parent.stdout.readline() == b"interrupted\n"
        assert handle.bill()["requests"] == 0
        parent.kill()


def test_a_sandbox_does_not_outlive_a_parent_that_was_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", _PARENT], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        handle = Handle(parent.stdout.readline().decode().strip())
        assert handle.bill()["requests"] == 0
        os.kill(parent.pid, signal.SIGKILL)
        assert parent.stdout.read() == b""
        _gone(handle)


def _gone(handle: Handle) -> None:
    for _ in range(1_000_000):
        try:
            handle.bill()
        except OSError:
            return
    pytest.fail("the sandbox is still there")


@pytest.mark.parametrize("line", [b"", b"{}\n"])
def test_the_child_ends_well_when_its_stdin_does(line: bytes) -> None:
    ended = subprocess.run(_COMMAND, input=line, capture_output=True, check=False, timeout=20)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert ended.stdout.startswith(b"http://127.0.0.1:")


@pytest.mark.parametrize(
    ("line", "options", "words"),
    [
        (b"{", [], b"not JSON"),
        (b'{"latncy": 1}', [], b"latncy"),
        (b"[]", [], b"as a whole"),
        (b"{}", ["--host", "192.0.2.1"], b"Cannot listen on 192.0.2.1"),
    ],
)
def test_the_child_says_in_a_sentence_why_it_cannot_start(line: bytes, options: list[str], words: bytes) -> None:
    ended = subprocess.run([*_COMMAND, *options], input=line, capture_output=True, check=False, timeout=20)
    assert ended.returncode == 2
    assert words in ended.stderr
    assert ended.stderr.count(b"\n") == 1


@pytest.mark.parametrize("start", [in_thread, in_process])
def test_a_faulty_script_is_refused_before_anything_starts(start: object) -> None:
    with pytest.raises(UsageError, match="latncy"), start({"latncy": 1}):  # type: ignore[operator] # both start alike
        pytest.fail("it started")


def test_a_proxy_in_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://192.0.2.1:9")
    with in_thread() as handle:
        assert handle.requests() == []


def test_serving_ends_when_it_is_cancelled() -> None:
    urls: list[str] = []

    async def main() -> None:
        async with anyio.create_task_group() as group:
            ready = anyio.Event()

            def on_ready(url: str) -> None:
                urls.append(url)
                ready.set()

            async def run() -> None:
                await serve(json.loads("{}"), host="localhost", on_ready=on_ready)

            group.start_soon(run)
            await ready.wait()
            group.cancel_scope.cancel()

    anyio.run(main)
    assert urls[0].startswith("http://localhost:")
