"""How fast, at what cost of processor and memory, when nothing goes wrong."""

from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from benchmarks.measuring import MB, first_request, table
from benchmarks.peers import asking
from benchmarks.peers.judging import whole
from benchmarks.peers.playing import Ended, Play, play
from benchmarks.peers.roster import Client

LATENCY, BYTES = 0.5, 300_000  # seconds; a picture of 1K has some hundred thousand bytes
TRIED = {16: 160, 64: 640, 256: 1280, 1000: 2000}  # workers, and how many images they make
LARGE, FEW, MANY, WORKERS = 10 * MB, 200, 1000, 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Clean:
    """A run in which nothing went wrong.

    Attributes:
        rate: images a second from the first request at the server to the end of the process; 0 if some are missing.
    """

    images: int
    rate: float
    ended: Ended
    disk: int

    @property
    def cpu(self) -> float:
        """Give milliseconds of processor time an image, start-up included."""
        return self.ended.cpu / self.images * 1000


def clean(clients: Sequence[Client]) -> None:
    """Let each client try several numbers of workers, in turns, and compare the best of each with the floor's best."""
    found: dict[str, list[Clean]] = {client.name: [] for client in clients}
    for workers, images in TRIED.items():
        for client in clients:
            found[client.name].append(_clean(client, workers, images, BYTES))
    best = {name: max(tried, key=lambda each: each.rate) for name, tried in found.items()}
    floor = next(best[client.name] for client in clients if client.is_floor)
    rows = []
    for name, top in best.items():
        rates = [f"{each.rate:.0f}" if each.rate else "not all" for each in found[name]]
        ratios = [f"{top.rate / floor.rate:.2f} x", f"{top.cpu:.1f}", f"{top.cpu / floor.cpu:.2f} x"]
        room = [f"{top.ended.peak / MB:.0f}", f"{top.disk / (top.images * BYTES):.2f} x"]
        rows.append([name, *rates, *ratios, *room])
    head = [
        "client",
        *(f"{workers} workers" for workers in TRIED),
        "best to the floor's",
        "CPU ms an image",
        "to the floor",
    ]
    title = f"clean run: images of {BYTES // 1000} kB, {LATENCY} s latency; images a second, and the best of them"
    table(title, [*head, "peak MB", "disk to the images'"], rows)


def memory(clients: Sequence[Client]) -> None:
    """Make large images; fewer where they would take too long."""
    found = {client: _clean(client, WORKERS, FEW if client.keeps_all else MANY, LARGE) for client in clients}
    floor = next(each for client, each in found.items() if client.is_floor)
    rows = []
    for client, each in found.items():
        peaks = [f"{each.ended.peak / MB:.0f} MB", f"{each.ended.peak / floor.ended.peak:.2f} x"]
        costs = [f"{each.cpu:.0f}", f"{each.cpu / floor.cpu:.2f} x", "yes" if each.rate else "NO"]
        rows.append([client.name, str(each.images), *peaks, *costs])
    head = ["client", "images", "peak memory", "to the floor", "CPU ms an image", "to the floor", "all made"]
    table(f"memory: images of {LARGE // MB} MB, {WORKERS} workers", head, rows)


def _clean(client: Client, workers: int, images: int, size: int) -> Clean:
    script = {"pictures": "plain", "bytes": size, "latency": LATENCY}
    with play(client, script, images=images, workers=workers) as job:
        _warm(job)
        seen = len(job.handle.requests())
        ended = job.run()
        made = whole(job)
        requests = job.handle.requests()
        began = first_request(job.handle, seen) if len(requests) > seen else ended.began
        is_right = made == images and ended.how == "0"
        rate = images / (ended.began + ended.wall - began) if is_right else 0.0
        disk = sum(path.stat().st_blocks * 512 for path in job.folder.rglob("*") if path.is_file())
        return Clean(images=images, rate=rate, ended=ended, disk=disk)


def _warm(job: Play) -> None:
    """Have the server draw its picture before the clocks run."""
    key = {"x-goog-api-key": asking.KEY}
    httpx.post(job.asked.endpoint, json=asking.body(0), headers=key, timeout=60, trust_env=False).raise_for_status()
