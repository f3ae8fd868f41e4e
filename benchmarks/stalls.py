"""How long does one callback keep the event loop from everything else, while images come in for 64 workers?

By the clock, which also counts what other processes took from the core, and by the thread's own processor time. A
virtual machine may be stopped as a whole, which no process can tell from work of its own. So each run is made three
times, and a loop that does nothing runs on each core for as long: a slow callback is slow each time, a pause is not.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.clocked import REPORT
from benchmarks.measuring import CLIENT_CORE, MB, SERVER_CORE, on_core, server, table, verdict
from benchmarks.program import run_program

IMAGES, WORKERS, TIMES = 256, 64, 3
BOUND = 50.0  # milliseconds
IDLE = 20.0  # seconds of the loop that does nothing, about what a run at 4K takes


def _run(size: str, content: int) -> tuple[list[float], float]:
    """Give what each callback took, in order of length, and the most processor time of one; milliseconds."""
    with server(bytes=content) as handle, tempfile.TemporaryDirectory() as name:
        run_program(Path(name), handle, images=IMAGES, workers=WORKERS, size=size, module="benchmarks.clocked")
        turns, busy = zip(*json.loads((Path(name) / REPORT).read_text()), strict=True)
    return sorted(turns), max(busy)


def _row(size: str, content: int) -> list[str]:
    runs = [_run(size, content) for _ in range(TIMES)]
    turns = sorted(runs, key=lambda run: run[0][-1])[TIMES // 2][0]
    longest = [run[0][-1] for run in runs]
    return [
        size,
        str(len(turns)),
        f"{turns[len(turns) // 2]:.3f}",
        f"{turns[int(len(turns) * 0.999)]:.1f}",
        ", ".join(f"{one:.1f}" for one in longest),
        verdict(median(longest), BOUND, " ms"),
        ", ".join(f"{busy:.1f}" for _, busy in runs),
    ]


def _idle() -> str:
    """Give the longest pauses of the machine itself, with both cores busy, as they are in a run."""
    loops = []
    for core in (CLIENT_CORE, SERVER_CORE):
        with on_core(core):
            command = [sys.executable, "-m", "benchmarks.pauses", str(IDLE)]
            loops.append(subprocess.Popen(command, stdout=subprocess.PIPE))
    found = [json.loads(loop.communicate()[0])["longest"] for loop in loops]
    return ", ".join(f"{longest:.1f}" for longest in found)


def main() -> None:
    """Print the longest callbacks."""
    head = ["size", "callbacks", "median ms", "99.9 % ms", "longest of each run", "their median", "processor ms"]
    rows = [_row(size, content) for size, content in (("1K", 0), ("4K", 20 * MB))]
    table(f"callbacks of the event loop, {IMAGES} images, {WORKERS} workers, {TIMES} runs", head, rows)
    print(f"\nlongest pause of a loop that does nothing, {IDLE:.0f} s on each core: {_idle()} ms")
