"""Images of a kilobyte, answered at once: how many a second can be asked for, made safe and recorded?

The client has one core, so this is the processor time of everything that is done for an image.
"""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from batchbanana.sandbox.running import Handle
from benchmarks.measuring import MB, Measured, first_request, measure, server, table, verdict_above
from benchmarks.peers.environments import UnavailableError
from benchmarks.peers.playing import play
from benchmarks.peers.roster import CLIENTS
from benchmarks.program import run_program

SIZE, BYTES, WORKERS = "512", 1000, 1000
BARE, OURS, USUAL = 10_000, 5000, 1500  # images; enough that connecting is a small part
PEER, PEER_WORKERS, PEER_IMAGES = "batch_llm", (16, 64, 256, 1000), 2000
BARE_BOUND, USUAL_BOUND, PEER_BOUND = 0.5, 8.0, 1.5  # our rate to theirs, at least
ENVIRONMENTS = Path("output/peers")


class Bench:
    """A server, and folders that stay until all is measured.

    A file system passes over what it has just removed, one by one, whenever it makes a file: removing the folders
    between two measurements would be measured.
    """

    def __init__(self, handle: Handle, folder: Path) -> None:
        self.handle = handle
        self._folder = folder
        self._runs = 0

    def own(self, images: int) -> Measured:
        """Run the program."""
        return run_program(self._place(), self.handle, images=images, workers=WORKERS, size=SIZE)

    def baseline(self, name: str, images: int) -> Measured:
        """Run one of the baselines."""
        words = (name, self.handle.url, SIZE, str(images), str(WORKERS), str(self._place()))
        return measure("benchmarks.baselines", *words)

    def _place(self) -> Path:
        self._runs += 1
        folder = self._folder / str(self._runs)
        folder.mkdir()
        return folder

    def rate(self, way: Callable[[], Measured], images: int) -> tuple[float, Measured]:
        """Give images a second, from the first request at the server until all are made."""
        seen = len(self.handle.requests())
        found = way()
        ended = found.out.get("ended", found.began + found.wall)
        return images / (ended - first_request(self.handle, seen)), found


def _peer() -> tuple[float, int]:
    """Give the peer's best rate, with how many workers; 0 when it is not to be had."""
    found = next(client for client in CLIENTS if client.module == PEER)
    client = found.installed(ENVIRONMENTS.absolute())
    rates = {}
    with ExitStack() as stack:
        for workers in PEER_WORKERS:
            script = {"pictures": "plain", "bytes": BYTES, "latency": 0.0}
            job = stack.enter_context(play(client, script, images=PEER_IMAGES, workers=workers))
            ended = job.run()
            if ended.how != "0":
                raise RuntimeError(f"{client.name} ended with {ended.how}: {job.words}")
            rates[workers] = PEER_IMAGES / (ended.began + ended.wall - first_request(job.handle, 0))
    best = max(rates, key=lambda workers: rates[workers])
    return rates[best], best


def main() -> None:
    """Print rates, ours beside the others'."""
    with tempfile.TemporaryDirectory() as name, server(bytes=BYTES) as handle:
        bench = Bench(handle, Path(name))
        bench.baseline("bare", 1)  # the server draws its picture now
        bare, bare_cost = bench.rate(lambda: bench.baseline("bare", BARE), BARE)
        ours, cost = bench.rate(lambda: bench.own(OURS), OURS)
        usual, usual_cost = bench.rate(lambda: bench.baseline("usual", USUAL), USUAL)
        careful, careful_cost = bench.rate(lambda: bench.baseline("careful", OURS), OURS)
    rows = [
        _row("batchbanana", ours, cost, OURS, ""),
        _row("bare loop", bare, bare_cost, BARE, verdict_above(ours / bare, BARE_BOUND, " x")),
        _row("careful loop", careful, careful_cost, OURS, f"{ours / careful:.2f} x"),
        _row("usual script", usual, usual_cost, USUAL, verdict_above(ours / usual, USUAL_BOUND, " x")),
    ]
    try:
        rate, workers = _peer()
        said = verdict_above(ours / rate, PEER_BOUND, " x")
        rows.append(["async-batch-llm", str(workers), f"{rate:.0f}", "", "", said])
    except UnavailableError as error:
        rows.append(["async-batch-llm", "", "not to be had", "", "", str(error)])
    head = ["client", "workers", "images a second", "CPU ms an image", "peak MB", "batchbanana to it"]
    table(f"images of {BYTES // 1000} kB, answered at once, {WORKERS} workers", head, rows)


def _row(name: str, rate: float, found: Measured, images: int, said: str) -> list[str]:
    figures = [f"{rate:.0f}", f"{found.cpu / images * 1000:.2f}", f"{found.peak / MB:.0f}"]
    return [name, str(WORKERS), *figures, said]
