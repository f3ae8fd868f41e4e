"""Images of 20 MB with 64 workers: how much memory, does it grow with their number, what does one cost?

The floor keeps nothing but the file: a socket a worker, the answer read whole, decoded and written. What it leaves out
on purpose, the hash, is measured beside it.
"""

import hashlib
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from batchbanana.sandbox.running import Handle
from benchmarks.measuring import CLIENT_CORE, MB, Measured, measure, on_core, server, table, verdict
from benchmarks.peers.playing import play
from benchmarks.peers.roster import CLIENTS
from benchmarks.program import run_program

SIZE, BYTES, WORKERS = "4K", 20 * MB, 64
FEW, MANY = 128, 384
USUAL, USUAL_WORKERS = 64, 16  # more would not fit into the memory of most machines
BOUND = 200.0  # MB
COST = 2.5  # times the floor's processor time and that of the hash
GROWTH = 1.1  # times the memory, with three times the images


def _program(handle: Handle, images: int) -> Measured:
    with tempfile.TemporaryDirectory() as name:
        return run_program(Path(name), handle, images=images, workers=WORKERS, size=SIZE)


def _usual(handle: Handle) -> Measured:
    return measure("benchmarks.baselines", "usual", handle.url, SIZE, str(USUAL), str(USUAL_WORKERS))


def _floor() -> tuple[float, int]:
    """Give the floor's milliseconds of processor time an image, and its most memory."""
    client = next(client for client in CLIENTS if client.is_floor).installed(Path())
    with play(client, {"pictures": "plain", "bytes": BYTES}, images=FEW, workers=WORKERS) as job:
        ended = job.run()
        if ended.how != "0":
            raise RuntimeError(f"the floor ended with {ended.how}: {job.words}")
        return ended.cpu / FEW * 1000, ended.peak


def _hashing() -> float:
    """Give the milliseconds of processor time that SHA-256 of an image takes."""
    data, times = bytes(BYTES), []
    with on_core(CLIENT_CORE):
        for _ in range(5):
            began = time.process_time()
            hashlib.sha256(data)
            times.append((time.process_time() - began) * 1000)
    return sorted(times)[2]


def main() -> None:
    """Print peaks and processor time."""
    floor, floor_peak = _floor()
    hashing = _hashing()
    with ExitStack() as stack:
        handle = stack.enter_context(server(bytes=BYTES))
        measure("benchmarks.baselines", "bare", handle.url, SIZE, "1", "1")  # the server draws its picture now
        usual = _usual(handle)
        few, many = _program(handle, FEW), _program(handle, MANY)
    least = floor + hashing
    head = ["client", "workers", "images", "peak memory", "CPU ms an image", "to the floor with the hash"]
    rows = [["bare sockets", str(WORKERS), str(FEW), f"{floor_peak / MB:.0f} MB", f"{floor:.0f}", ""]]
    rows.append(["SHA-256 alone", "", "", "", f"{hashing:.0f}", ""])
    cost = usual.cpu / USUAL * 1000
    stated = [f"{usual.peak / MB:.0f} MB", f"{cost:.0f}", f"{cost / least:.2f} x"]
    rows.append(["usual script", str(USUAL_WORKERS), str(USUAL), *stated])
    for images, found in ((FEW, few), (MANY, many)):
        cost = found.cpu / images * 1000
        stated = [verdict(found.peak / MB, BOUND, " MB"), f"{cost:.0f}", verdict(cost / least, COST, " x")]
        rows.append(["batchbanana", str(WORKERS), str(images), *stated])
    table(f"images of {BYTES // MB} MB", head, rows)
    print(f"\npeak with {MANY} images to peak with {FEW}: {verdict(many.peak / few.peak, GROWTH, ' x')}")
