"""Commands as processes of their own that need no interpreter's start: forked off one that has the modules already.

What is forked has its own pid, files, environment, working directory, signals and end, as a command that was started
afresh; what it does not have is half a second of imports, of which the suite would spend most of its time.
"""

import array
import contextlib
import gc
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

from batchbanana.__main__ import main
from batchbanana.cli import COMMANDS

IS_POSSIBLE = hasattr(os, "fork")
_LOADED_LATE = {"sandbox"}  # what a run without it never loads must not be there because of us


@dataclass(frozen=True, kw_only=True)
class Done:
    """How a process ended: its code, or the signal's number below zero; what it wrote."""

    returncode: int
    stdout: str
    stderr: str


def run(arguments: list[str], *, env: Mapping[str, str], cwd: Path | None, timeout: float) -> Done:
    """Run a command to its end with nothing on its standard input.

    Raises:
        TimeoutExpired: it had not ended after `timeout` seconds, and was killed.
    """
    ours, theirs = socket.socketpair()
    out, err = os.pipe(), os.pipe()
    with ours:
        with theirs:
            _ask_for_one([theirs.fileno(), out[1], err[1]])
        os.close(out[1])
        os.close(err[1])
        request = {"arguments": arguments, "env": dict(env), "cwd": str(cwd or Path.cwd())}
        ours.sendall(json.dumps(request).encode() + b"\n")
        with ours.makefile("r", encoding="ascii") as told:
            pid = int(told.readline())
            written = _read([out[0], err[0]], time.monotonic() + timeout)
            if written is None:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(arguments, timeout)
            ours.settimeout(timeout)
            return Done(returncode=int(told.readline()), stdout=written[0].decode(), stderr=written[1].decode())


def _read(ends: list[int], deadline: float) -> list[bytes] | None:
    """Read pipes to their ends and close them; None when that takes too long."""
    data = {end: bytearray() for end in ends}
    with selectors.DefaultSelector() as selector:
        for end in ends:
            selector.register(end, selectors.EVENT_READ)
        while selector.get_map() and time.monotonic() < deadline:
            for key, _ in selector.select(deadline - time.monotonic()):
                if piece := os.read(key.fd, 1 << 16):
                    data[key.fd] += piece
                else:
                    selector.unregister(key.fd)
        is_whole = not selector.get_map()
    for end in ends:
        os.close(end)
    return [bytes(data[end]) for end in ends] if is_whole else None


_asking = threading.Lock()


def _ask_for_one(descriptors: list[int]) -> None:
    with _asking:
        _parent()[0].sendmsg([b"!"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))])


def end() -> None:
    """End the process that forks, if there is one: it writes down which lines its imports have run."""
    if _parent.cache_info().currsize:
        control, process = _parent()
        control.close()
        process.wait()
        _parent.cache_clear()


@cache
def _parent() -> tuple[socket.socket, "subprocess.Popen[bytes]"]:
    """Start the process that forks; it ends by itself when we are gone."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},
            pass_fds=[theirs.fileno()],
            cwd=Path(__file__).parents[2],
        )
    return ours, process


def _serve(control: socket.socket) -> None:
    """Fork a command for each byte that comes, and tell its asker how it ended, until nobody can ask any more."""
    running: dict[int, tuple[int, socket.socket]] = {}
    selector = selectors.DefaultSelector()
    selector.register(control, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fd in running:
                selector.unregister(key.fd)
                os.close(key.fd)
                pid, asker = running.pop(key.fd)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                with asker, contextlib.suppress(BrokenPipeError):  # who had waited too long has left
                    asker.sendall(b"%d\n" % code)
                continue
            byte, descriptors, _, _ = socket.recv_fds(control, 1, 3)
            if not byte:
                return
            # The child alone holds the writing end, which is not inherited by what it starts: closed, it has ended.
            ended, alive = os.pipe()
            asker = socket.socket(fileno=descriptors[0])
            pid = os.fork()
            if pid == 0:
                selector.close()
                control.close()
                _become(asker, *descriptors[1:])
                return
            for descriptor in (alive, *descriptors[1:]):
                os.close(descriptor)
            asker.sendall(b"%d\n" % pid)
            running[ended] = (pid, asker)
            selector.register(ended, selectors.EVENT_READ)


def _become(asker: socket.socket, out: int, err: int) -> None:
    """Be the command from here on: its end is the process's."""
    with asker, asker.makefile("r", encoding="utf-8") as asked:
        request = json.loads(asked.readline())
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    time.tzset()
    for descriptor, number in ((out, 1), (err, 2)):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.argv = ["batchbanana", *request["arguments"]]
    main()


if __name__ == "__main__":
    for command, (module, _) in COMMANDS.items():
        if command not in _LOADED_LATE:
            import_module(module)
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as asked_by:
        _serve(asked_by)
