"""200 images with 50 workers against a server that takes a second for each: how close to the ideal four seconds?"""

import tempfile
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import median

from batchbanana.sandbox.running import Handle
from benchmarks.measuring import Measured, first_request, measure, server, table, verdict
from benchmarks.program import last_recorded, run_program

IMAGES, WORKERS, LATENCY, TIMES = 200, 50, 1.0, 3
IDEAL = IMAGES / WORKERS * LATENCY
BOUND = 1.05  # times the ideal


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Seconds of one run.

    Attributes:
        start_up: from the start of the process to its first request at the server.
        work: from there to the last answer; for the program that means synced, named and recorded.
        wall: of the whole process.
        cpu: of the whole process.
    """

    start_up: float
    work: float
    wall: float
    cpu: float


def _span(found: Measured, first: float, last: float) -> Span:
    return Span(start_up=first - found.began, work=last - first, wall=found.wall, cpu=found.cpu)


def _program(handle: Handle, size: str, folder: Path) -> Span:
    seen = len(handle.requests())
    folder.mkdir()
    found = run_program(folder, handle, images=IMAGES, workers=WORKERS, size=size)
    return _span(found, first_request(handle, seen), last_recorded(folder))


def _bare(handle: Handle, size: str) -> Span:
    seen = len(handle.requests())
    found = measure("benchmarks.baselines", "bare", handle.url, size, str(IMAGES), str(WORKERS))
    return _span(found, first_request(handle, seen), found.out["ended"])


def _middle(spans: list[Span]) -> Span:
    return Span(**{field.name: median(getattr(span, field.name) for span in spans) for field in fields(Span)})


def _row(size: str, name: str, span: Span, bare: Span) -> list[str]:
    times = verdict(span.work / IDEAL, BOUND, " x") if span is not bare else f"{span.work / IDEAL:.2f} x"
    figures = [f"{span.work:.2f}", times, f"{span.work / bare.work:.2f} x", f"{span.start_up:.2f}", f"{span.wall:.2f}"]
    return [size, name, *figures, f"{span.cpu / IMAGES * 1000:.1f}"]


def main() -> None:
    """Print the medians."""
    rows = []
    for size in ("512", "1K"):
        # All folders stay until the end: a file system passes over what it has just removed whenever it makes a file.
        with server(latency=LATENCY) as handle, tempfile.TemporaryDirectory() as name:
            measure("benchmarks.baselines", "bare", handle.url, size, "1", "1")  # the server draws its picture now
            # In turns, so that whatever else the machine does meets both alike.
            pairs = [(_bare(handle, size), _program(handle, size, Path(name, str(run)))) for run in range(TIMES)]
        bare, program = _middle([one for one, _ in pairs]), _middle([other for _, other in pairs])
        rows += [_row(size, "bare loop", bare, bare), _row(size, "batchbanana", program, bare)]
    head = ["size", "client", "work s", "to the ideal", "to the bare loop", "start-up s", "whole process s"]
    title = f"{IMAGES} images, {WORKERS} workers, {LATENCY:g} s latency, ideal {IDEAL:g} s, median of {TIMES}"
    table(title, [*head, "CPU ms an image"], rows)
