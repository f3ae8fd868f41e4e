"""Starts server and client as processes of their own, each on its own core, and measures the client from outside."""

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchbanana.sandbox.running import Handle, in_process

CLIENT_CORE, SERVER_CORE = 0, 1  # of those that this process may use
LOOK = 0.02  # seconds between looks at the client's memory
MB = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A client process that has ended.

    Attributes:
        began: Unix time just before it was started.
        wall: seconds until it was gone, `LOOK` too many at most.
        cpu: user and system seconds of all its threads, start-up included.
        peak: most resident memory in bytes.
        out: the JSON object that it printed.
    """

    began: float
    wall: float
    cpu: float
    peak: int
    out: dict[str, Any]


@contextmanager
def on_core(index: int) -> Iterator[None]:
    """Let the processes that are started in this block inherit one core, where there are two and it can be said."""
    if sys.platform != "linux" or len(cores := sorted(os.sched_getaffinity(0))) < 2:
        yield
        return
    os.sched_setaffinity(0, {cores[index]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, set(cores))


@contextmanager
def server(**script: object) -> Iterator[Handle]:
    """Serve with one ready picture for each size, so that the server's own work stays small."""
    with ExitStack() as stack:
        with on_core(SERVER_CORE):
            handle = stack.enter_context(in_process({"pictures": "plain", **script}))
        yield handle


def measure(module: str, *arguments: str) -> Measured:
    """Run `python -m module` with arguments to its end.

    Raises:
        RuntimeError: it did not end well; the message is its standard error.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        began = time.time()
        with on_core(CLIENT_CORE):
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdout=out,
                stderr=err,
                env={**os.environ, "GEMINI_API_KEY": "benchmark"},
            )
        usage, peak = follow(process)
        wall = time.time() - began
        out.seek(0)
        err.seek(0)
        if process.returncode:
            raise RuntimeError(f"{module} ended with {process.returncode}: {err.read()}")
        cpu = usage.ru_utime + usage.ru_stime
        return Measured(began=began, wall=wall, cpu=cpu, peak=peak, out=json.load(out))


def follow(
    process: "subprocess.Popen[bytes]", stop: Callable[[], bool] = lambda: False
) -> tuple[resource.struct_rusage, int]:
    """Wait for a process; gives what it used, and the most memory it had resident, in bytes.

    Args:
        process: its return code is set.
        stop: asked every `LOOK` seconds; once it holds, the process is killed hard.
    """
    peak = 0
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return usage, peak or _most_resident(usage)
        peak = max(peak, _high_water(process.pid))
        if stop():
            os.kill(process.pid, signal.SIGKILL)  # not Popen's own, which might take the end away from wait4
        time.sleep(LOOK)


def _high_water(pid: int) -> int:
    # Not ru_maxrss where it can be helped: Linux counts in it what the parent held when the child was started.
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def _most_resident(usage: resource.struct_rusage) -> int:
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def first_request(handle: Handle, after: int) -> float:
    """Give the Unix time at which the head of request number `after` + 1 reached the server."""
    moment: float = handle.requests()[after]["time"]
    return moment


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table that Markdown reads."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    print(f"\n{title}\n")
    for row in (head, ["-" * width for width in widths], *rows):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")
    sys.stdout.flush()


def verdict(value: float, bound: float, unit: str = "") -> str:
    """Put a figure beside the bound it must stay under."""
    return f"{value:.2f}{unit} {'<' if value < bound else 'MISSES'} {bound:g}{unit}"


def verdict_above(value: float, bound: float, unit: str = "") -> str:
    """Put a figure beside the bound it must reach."""
    return f"{value:.2f}{unit} {'>=' if value >= bound else 'MISSES'} {bound:g}{unit}"
