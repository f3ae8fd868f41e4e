"""`python -m tests.crash.soak --minutes 60`: one long run against a service that does everything wrong now and then.

Each fault hits two answers in a hundred, so that four in ten are not what they should be. Looked at from outside: what
the process holds of memory, file descriptors and threads, second by second; and in the end the books of both sides.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from batchbanana.errors import Exit
from batchbanana.sandbox.running import Handle, in_process
from tests.support.program import Ended, Job, command

SHARE = 0.02  # of the answers, each fault
WORKERS = 32
SIDE = 1000  # its square is the number of tasks: more than an hour makes
ROWS = 12  # of the printed table
WARM = 0.25  # of the time, after which nothing may grow any more
GROWTH = 1.05  # times what was held when it was warm
END_PATIENCE = 60.0  # seconds from the end of the time to the end of the process
FAULTS: Sequence[Mapping[str, Any]] = [
    {"error": "internal"},
    {"error": "bad_gateway_html"},
    {"error": "gateway_timeout"},
    {"error": "overloaded", "retry_after": 0.2},
    {"error": "rate_minute", "retry_delay": 0.2},
    {"error": "too_large"},
    {"delay": 1.0},
    {"hang": "before"},
    {"hang": "headers"},
    {"hang": "body"},
    {"drip": 1000},
    {"cut": "before"},
    {"cut": 0.5},
    {"no_end": True},
    {"truncate": 500},
    {"base64": "garbage"},
    {"html": True},
    {"draft": True},
    {"thought": True},
    {"texts": True},
    {"size": "1K"},
    {"ratio": "16:9"},
    {"image": "none", "finish": "NO_IMAGE"},
    {"image": "url"},
    {"image": "url", "download": {"status": 503, "first": 1}},
    {"image": "url", "download": {"hang": True, "first": 1}},
    {"image": "url", "download": {"cut": 0.5, "first": 1}},
    {"finish": "IMAGE_SAFETY"},
    {"block": "SAFETY"},
    {"signature": 100_000},
]
SCRIPT: Mapping[str, Any] = {
    "latency": 0.2,
    "pictures": "plain",
    "faults": [{"when": {"share": SHARE}, "then": dict(then)} for then in FAULTS],
}
NUMBERS = list(range(SIDE))
JOB = {"id": "soak", "prompt": "A mug, number {a}-{b}", "vars": {"a": NUMBERS, "b": NUMBERS}}
MANIFEST: Mapping[str, Any] = {
    "model": "gemini-3.1-flash-image",
    "resolution": "512",
    "ratio": "1:1",
    "timeouts": {"512": 4.0, "stall": 3.0},
    "limits": {"concurrency": WORKERS, "max_possibly_billed": 1_000_000},
    "jobs": [JOB],
}


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a process holds.

    Attributes:
        seconds: since it was started.
        memory: resident bytes.
    """

    seconds: float
    memory: int
    descriptors: int
    threads: int


def look(pid: int, began: float) -> Look:
    """Look at a process that lives."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    status = dict(line.split(":", 1) for line in lines)
    return Look(
        seconds=time.monotonic() - began,
        memory=int(status["VmRSS"].split()[0]) * 1024,
        descriptors=sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()),
        threads=int(status["Threads"]),
    )


def watch(process: "subprocess.Popen[str]", seconds: float) -> list[Look]:
    """Look every second for so many seconds, then wait for the process to end, as it must soon; gives the looks."""
    began = time.monotonic()
    looks: list[Look] = []
    while process.poll() is None and time.monotonic() < began + seconds:
        try:
            looks.append(look(process.pid, began))
        except (OSError, KeyError):  # it has ended at this very moment
            break
        time.sleep(1.0)
    process.wait(max(0.0, began + seconds - time.monotonic()) + END_PATIENCE)  # whoever never ends is a fault
    return looks


def told(looks: Sequence[Look]) -> str:
    """Say it in a table that Markdown reads: what was held at most in each part of the time."""
    size = max(1, -(-len(looks) // ROWS))
    parts = [looks[first : first + size] for first in range(0, len(looks), size)]
    rows = [
        f"| {part[-1].seconds / 60:7.1f} | {max(it.memory for it in part) / 1e6:9.1f} "
        f"| {max(it.descriptors for it in part):11} | {max(it.threads for it in part):7} |"
        for part in parts
    ]
    return "\n".join(
        ["| minutes | memory MB | descriptors | threads |", "|--------:|----------:|------------:|--------:|", *rows]
    )


def judge_growth(looks: Sequence[Look]) -> None:
    """Compare the last quarter with the quarter after warming up: nothing that is held may grow with the time."""
    end = looks[-1].seconds
    warm = [it for it in looks if WARM <= it.seconds / end < 2 * WARM]
    late = [it for it in looks if it.seconds / end >= 1 - WARM]
    for name in ("memory", "descriptors", "threads"):
        before, after = (statistics.median(getattr(it, name) for it in part) for part in (warm, late))
        assert after <= before * GROWTH, f"{name} grew from {before} to {after}"


def judge_books(job: Job, ended: Ended, sandbox: Handle) -> str:
    """Compare the program's books with the server's and with what is on the disk; gives the figures."""
    assert ended.code == Exit.PAUSED, ended.err
    data, bill = ended.json, sandbox.bill()
    again = job.run("--max-duration", "1s")  # brings home what had its link only
    assert again.code == Exit.PAUSED, again.err
    job.check()
    checked = command("verify", str(job.output))
    assert checked.code == 0, checked.out + checked.err
    late = sandbox.bill()
    assert late["requests"] <= job.attempts(), "sent before it was written down"
    cost = round((again.json["cost_usd"] + again.json["possibly_billed_usd"]) * 1e6)
    assert late["micro_usd"] <= cost, f"the invoice of {late['micro_usd']} is higher than our books with {cost}"
    made = data["done"] + data["degraded"] + data["mismatch"]
    return (
        f"{bill['requests']} requests, {made} images, {data['refused']} refused, {data['failed']} failed; "
        f"billed {late['micro_usd'] / 1e6:.2f} USD, in our books {again.json['cost_usd']:.2f} "
        f"and {again.json['possibly_billed_usd']:.2f} possibly"
    )


def soak(folder: Path, minutes: float, *, is_short: bool = False) -> str:
    """Run for so long, and judge; gives what is to be told.

    Args:
        folder: where to work.
        minutes: how long.
        is_short: whether that is too short to tell whether anything grows, so that only the books are judged.
    """
    with in_process(SCRIPT) as sandbox:
        job = Job(folder, sandbox.url, MANIFEST)
        with job.started("--max-duration", f"{minutes * 60:.0f}s", "--quiet", "--yes") as process:
            looks = watch(process, minutes * 60)
            out, err = process.communicate()
        books = judge_books(job, Ended(code=process.returncode, out=out, err=err), sandbox)
    if not is_short:
        judge_growth(looks)
    return f"{told(looks)}\n{len(FAULTS)} faults at {SHARE:.0%} each, {minutes:g} minutes: {books}"


def main() -> None:
    """Run it; a broken promise ends it with an AssertionError that says which."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.soak")
    parser.add_argument("--minutes", type=float, default=60.0)
    chosen = parser.parse_args()
    with TemporaryDirectory() as folder:
        sys.stdout.write(soak(Path(folder), chosen.minutes) + "\n")


if __name__ == "__main__":
    main()
