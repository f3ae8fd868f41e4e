"""Images of 20 MB with 16 workers: how much memory, does it grow with their number, what does one cost?"""

import tempfile
from pathlib import Path

from batchbanana.sandbox.running import Handle
from benchmarks.measuring import MB, Measured, measure, server, table, verdict
from benchmarks.program import run_program

SIZE, BYTES, WORKERS = "4K", 20 * MB, 16
FEW, MANY = 64, 192
BOUND = 150.0  # MB


def _program(handle: Handle, images: int) -> Measured:
    with tempfile.TemporaryDirectory() as name:
        return run_program(Path(name), handle, images=images, workers=WORKERS, size=SIZE)


def _usual(handle: Handle, images: int) -> Measured:
    return measure("benchmarks.baselines", "usual", handle.url, SIZE, str(images), str(WORKERS))


def _row(name: str, images: int, found: Measured, usual: Measured) -> list[str]:
    peak = found.peak / MB
    stated = f"{peak:.0f} MB" if found is usual else verdict(peak, BOUND, " MB")
    each = found.cpu / images * 1000
    share = each / (usual.cpu / FEW * 1000)
    return [name, str(images), stated, f"{found.peak / usual.peak:.3f} x", f"{each:.0f}", f"{share:.2f} x"]


def main() -> None:
    """Print peaks and processor time."""
    with server(bytes=BYTES) as handle:
        measure("benchmarks.baselines", "bare", handle.url, SIZE, "1", "1")  # the server draws its picture now
        usual = _usual(handle, FEW)
        few, many = _program(handle, FEW), _program(handle, MANY)
    head = ["client", "images", "peak memory", "to the usual script", "CPU ms an image", "to the usual script"]
    rows = [("usual script", FEW, usual), ("batchbanana", FEW, few), ("batchbanana", MANY, many)]
    title = f"images of {BYTES // MB} MB, {WORKERS} workers"
    table(title, head, [_row(name, images, found, usual) for name, images, found in rows])
    print(f"\npeak with {MANY} images to peak with {FEW}: {many.peak / few.peak:.2f} x")
