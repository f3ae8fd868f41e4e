"""How fast, at what cost of processor and memory, when nothing goes wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import httpx

from benchmarks.measuring import MB, first_request, table
from benchmarks.peers import asking
from benchmarks.peers.judging import whole
from benchmarks.peers.playing import Ended, Play, play
from benchmarks.peers.roster import Client

LATENCY, BYTES = 0.5, 50_000  # seconds; larger ones would show how fast the server is
TRIED = {16: 160, 64: 320, 256: 640, 1000: 1000}  # workers, and how many images they make
LARGE, FEW, MANY, WORKERS = 10 * MB, 200, 1000, 16
PATIENCE = 600.0  # seconds a run may take


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
    floor = found[next(client.name for client in clients if client.is_floor)]
    _rates(found, max(each.rate for each in floor))
    rows = [
        [name, *(f"{each.cpu:.1f} ms, {each.cpu / least.cpu:.1f} x" for each, least in zip(tried, floor, strict=True))]
        for name, tried in found.items()
    ]
    table("clean run: processor time an image, and to the floor's with as many workers", _head(), rows)


def _rates(found: Mapping[str, Sequence[Clean]], floor: float) -> None:
    rows = []
    for name, tried in found.items():
        best = max(tried, key=lambda each: each.rate)
        rates = [f"{each.rate:.0f}" if each.rate else "not all" for each in tried]
        room = [f"{best.ended.peak / MB:.0f}", f"{best.disk / (best.images * BYTES):.2f} x"]
        rows.append([name, *rates, f"{best.rate / floor:.2f} x", *room])
    title = f"clean run: images of {BYTES // 1000} kB, {LATENCY} s latency; images a second"
    table(title, [*_head(), "best to the floor's best", "peak MB there", "disk to the images'"], rows)


def _head() -> list[str]:
    return ["client", *(f"{workers} workers" for workers in TRIED)]


def memory(clients: Sequence[Client]) -> None:
    """Make large images; fewer where they would take too long."""
    found = {client: _clean(client, WORKERS, FEW if client.is_slow else MANY, LARGE) for client in clients}
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
        job.patience = PATIENCE
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
