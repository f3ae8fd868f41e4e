"""The program with clocks around every callback of its event loop: `python -m benchmarks.clocked run MANIFEST …`.

Imports nothing that the program does not, because what is imported decides when the garbage collector goes through it.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

from batchbanana.cli import main as program

REPORT = "callbacks.json"  # beside the manifest; milliseconds, by the clock and by the thread's processor time


def main() -> int:
    """Run the program, leave the report, give the program's exit code."""
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


if __name__ == "__main__":
    sys.exit(main())
