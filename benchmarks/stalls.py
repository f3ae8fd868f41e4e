"""How long does one callback keep the event loop from everything else, while images come in for 64 workers?

By the clock, which also counts what other processes took from the core, and by the thread's own processor time.
"""

import json
import tempfile
from pathlib import Path

from benchmarks.clocked import REPORT
from benchmarks.measuring import MB, server, table, verdict
from benchmarks.program import run_program

IMAGES, WORKERS = 256, 64
BOUND = 50.0  # milliseconds


def _row(size: str, content: int) -> list[str]:
    with server(bytes=content) as handle, tempfile.TemporaryDirectory() as name:
        run_program(Path(name), handle, images=IMAGES, workers=WORKERS, size=size, module="benchmarks.clocked")
        turns, busy = map(sorted, zip(*json.loads((Path(name) / REPORT).read_text()), strict=True))
    middle, late = turns[len(turns) // 2], turns[int(len(turns) * 0.999)]
    figures = [f"{middle:.3f}", f"{late:.1f}", verdict(turns[-1], BOUND, " ms"), f"{busy[-1]:.1f}"]
    return [size, str(len(turns)), *figures]


def main() -> None:
    """Print the longest callbacks."""
    head = ["size", "callbacks", "median ms", "99.9 % ms", "longest", "longest, processor ms"]
    rows = [_row(size, content) for size, content in (("1K", 0), ("4K", 20 * MB))]
    table(f"callbacks of the event loop, {IMAGES} images, {WORKERS} workers", head, rows)
