"""How long does one callback keep the event loop from everything else, while images come in for 16 workers?

By the clock, which also counts what other processes took from the core, and by the thread's own processor time.
As `python -m benchmarks.stalls run …` it is the program itself with both clocks around every callback of its loop.
"""

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

from batchbanana.cli import main as program
from benchmarks.measuring import MB, server, table, verdict
from benchmarks.program import run_program

IMAGES, WORKERS = 64, 16
BOUND = 50.0  # milliseconds
REPORT = "stalls.json"


def _timed() -> int:
    """Run the program and leave what its callbacks took, in milliseconds, beside its manifest."""
    turns: list[tuple[float, float]] = []
    run = asyncio.Handle._run  # noqa: SLF001 -- the one place through which every callback goes

    def timed(handle: asyncio.Handle) -> None:
        began, worked = time.perf_counter(), time.thread_time()
        run(handle)
        turns.append(((time.perf_counter() - began) * 1000, (time.thread_time() - worked) * 1000))

    setattr(asyncio.Handle, "_run", timed)  # noqa: B010 -- likewise; the type of a method cannot be assigned to
    code = program()
    Path(sys.argv[2]).with_name(REPORT).write_text(json.dumps(turns))
    return code


def main() -> None:
    """Print the longest turns."""
    rows = []
    for size, content in (("1K", 0), ("4K", 20 * MB)):
        with server(bytes=content) as handle, tempfile.TemporaryDirectory() as name:
            run_program(Path(name), handle, images=IMAGES, workers=WORKERS, size=size, module="benchmarks.stalls")
            turns, busy = map(sorted, zip(*json.loads((Path(name) / REPORT).read_text()), strict=True))
        middle, late = turns[len(turns) // 2], turns[int(len(turns) * 0.999)]
        longest = verdict(turns[-1], BOUND, " ms")
        rows.append([size, str(len(turns)), f"{middle:.3f}", f"{late:.1f}", longest, f"{busy[-1]:.1f}"])
    head = ["size", "callbacks", "median ms", "99.9 % ms", "longest", "longest, processor ms"]
    table(f"callbacks of the event loop, {IMAGES} images, {WORKERS} workers", head, rows)


if __name__ == "__main__":
    sys.exit(_timed())
