"""Images of a kilobyte, answered at once: how many a second can be asked for, made safe and recorded?

The client has one core, so this is the processor time of everything that is done for an image.
"""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from batchbanana.sandbox.running import Handle
from benchmarks.measuring import MB, Measured, first_request, measure, server, table, verdict_above
from benchmarks.peers.environments import UnavailableError
from benchmarks.peers.playing import play
from benchmarks.peers.roster import CLIENTS
from benchmarks.program import run_program

SIZE, BYTES, WORKERS, TIMES = "512", 1000, 1000, 3
BARE, OURS, USUAL = 10_000, 5000, 1000  # images; enough that connecting is a small part
PEER, PEER_WORKERS, PEER_IMAGES = "batch_llm", (16, 64, 256, 1000), 2000
BARE_BOUND, USUAL_BOUND, PEER_BOUND = 0.5, 8.0, 1.5  # our rate to theirs, at least
ENVIRONMENTS = Path("output/peers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one run of a client came to.

    Attributes:
        rate: images a second, from the first request at the server until all are made.
        cpu: processor seconds an image, start-up included; None where it is not looked at.
        peak: most resident memory in bytes, likewise.
    """

    rate: float
    cpu: float | None = None
    peak: int | None = None


class Bench:
    """A server, and folders that stay until all is measured.

    A file system passes over what it has just removed, one by one, whenever it makes a file: removing the folders
    between two measurements would be measured.
    """

    def __init__(self, handle: Handle, folder: Path) -> None:
        self.handle = handle
        self._folder = folder
        self._runs = 0

    def own(self, images: int) -> Found:
        """Run the program."""
        place = self._place()
        return self._found(lambda: run_program(place, self.handle, images=images, workers=WORKERS, size=SIZE), images)

    def baseline(self, name: str, images: int) -> Found:
        """Run one of the baselines."""
        words = (name, self.handle.url, SIZE, str(images), str(WORKERS), str(self._place()))
        return self._found(lambda: measure("benchmarks.baselines", *words), images)

    def _found(self, way: Callable[[], Measured], images: int) -> Found:
        seen = len(self.handle.requests())
        found = way()
        ended = found.out.get("ended", found.began + found.wall)
        seconds = ended - first_request(self.handle, seen)
        return Found(rate=images / seconds, cpu=found.cpu / images, peak=found.peak)

    def _place(self) -> Path:
        self._runs += 1
        folder = self._folder / str(self._runs)
        folder.mkdir()
        return folder


def _peer(stack: ExitStack, workers: int) -> Found:
    """Run the peer once; its folders stay until the stack is closed."""
    found = next(client for client in CLIENTS if client.module == PEER)
    client = found.installed(ENVIRONMENTS.absolute())
    script = {"pictures": "plain", "bytes": BYTES, "latency": 0.0}
    job = stack.enter_context(play(client, script, images=PEER_IMAGES, workers=workers))
    ended = job.run()
    if ended.how != "0":
        raise RuntimeError(f"{client.name} ended with {ended.how}: {job.words}")
    return Found(rate=PEER_IMAGES / (ended.began + ended.wall - first_request(job.handle, 0)))


def main() -> None:
    """Print rates, ours beside the others'."""
    with tempfile.TemporaryDirectory() as name, server(bytes=BYTES) as handle, ExitStack() as stack:
        bench = Bench(handle, Path(name))
        bench.baseline("bare", 1)  # the server draws its picture now
        ways = {
            "batchbanana": partial(bench.own, OURS),
            "bare loop": partial(bench.baseline, "bare", BARE),
            "careful loop": partial(bench.baseline, "careful", OURS),
            "usual script": partial(bench.baseline, "usual", USUAL),
        }
        counts, lack = dict.fromkeys(ways, WORKERS), ""
        try:
            tried = {workers: _peer(stack, workers).rate for workers in PEER_WORKERS}
            counts["async-batch-llm"] = best = max(tried, key=lambda workers: tried[workers])
            ways["async-batch-llm"] = partial(_peer, stack, best)
        except UnavailableError as error:
            lack = f"async-batch-llm is not to be had: {error}"
        # In turns, so that whatever else the machine does meets all alike.
        rounds = [{client: way() for client, way in ways.items()} for _ in range(TIMES)]
    bounds = {"bare loop": BARE_BOUND, "usual script": USUAL_BOUND, "async-batch-llm": PEER_BOUND}
    rows = [_row(name, counts[name], rounds, bounds.get(name)) for name in ways]
    rows[0][-2:] = ["", ""]
    head = ["client", "workers", "images a second", "CPU ms an image", "peak MB", "batchbanana to it", "of each time"]
    table(f"images of {BYTES // 1000} kB, answered at once; medians of {TIMES}, in turns", head, rows)
    if lack:
        print(lack)


def _row(name: str, workers: int, rounds: Sequence[dict[str, Found]], bound: float | None) -> list[str]:
    found = [each[name] for each in rounds]
    ratios = [each["batchbanana"].rate / each[name].rate for each in rounds]
    middle = median(ratios)
    said = f"{middle:.2f} x" if bound is None else verdict_above(middle, bound, " x")
    return [
        name,
        str(workers),
        f"{median(one.rate for one in found):.0f}",
        _middle([one.cpu for one in found], 1000, ".2f"),
        _middle([one.peak for one in found], 1 / MB, ".0f"),
        said,
        ", ".join(f"{ratio:.2f}" for ratio in ratios),
    ]


def _middle(values: Sequence[float | None], times: float, form: str) -> str:
    known = [value for value in values if value is not None]
    return format(median(known) * times, form) if known else ""
