"""A million tasks: how long until something is told or sent, and how much memory does it take?

The images of the job that is nearly made are not bought: its rows are written by the program's own ledger.
"""

import csv
import json
import tempfile
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from batchbanana.matrix import load
from batchbanana.sandbox.running import Handle
from benchmarks import MODEL
from benchmarks.filling import fill
from benchmarks.measuring import MB, Measured, first_request, measure, server, table, verdict

SIDE = 1000  # values of each of two variables
MADE = 990_000
SENT = 100  # images that a run makes here
MEMORY = 250.0  # MB, for everything
PLAN, START, RESUME, STATUS = 3.0, 2.0, 15.0, 1.0  # seconds

Line = list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Where a million tasks are looked at.

    Attributes:
        folder: for manifests and job directories.
        handle: of the server.
    """

    folder: Path
    handle: Handle

    def manifest(self, name: str, **more: object) -> Path:
        """Write a manifest whose two variables span a million tasks."""
        variables = {word: [f"{word}{number}" for number in range(SIDE)] for word in ("product", "surface")}
        job = {"id": "all", "prompt": "A {product} on {surface}, soft light", "vars": variables}
        path = self.folder / f"{name}.yaml"  # JSON is YAML
        path.write_text(json.dumps({"model": MODEL, "resolution": "512", "ratio": "1:1", "jobs": [job], **more}))
        return path

    def sheet(self, name: str, *, has_ids: bool = False) -> Path:
        """Write the same tasks as rows of a CSV manifest; with ids, each is a job of its own."""
        path = self.folder / f"{name}.csv"
        fixed = ("A {product} on {surface}, soft light", MODEL, "1:1", "512")
        columns = ("prompt", "model", "ratio", "resolution", "product", "surface")
        with path.open("w", newline="", encoding="utf-8") as handle:
            writer = csv.writer(handle)
            writer.writerow(("id", *columns) if has_ids else columns)
            for one, other in product(range(SIDE), range(SIDE)):
                own = (f"job-{one}-{other}",) if has_ids else ()
                writer.writerow((*own, *fixed, f"product{one}", f"surface{other}"))
        return path

    def tell(self, command: str, target: Path, output: Path | None, bound: float | None = None) -> Line:
        """Measure a command that only tells something."""
        where = ("--output", str(output)) if output else ()
        found = measure("batchbanana", command, str(target), *where, "--json")
        name = f"{command} of {target.name}"
        return _line(name, "all of it", found.wall, bound, found)

    def send(self, name: str, manifest: Path, output: Path, bound: float | None = None) -> Line:
        """Measure a run that makes a few images."""
        seen = len(self.handle.requests())
        found = measure(
            "batchbanana", "run", str(manifest), "--output", str(output), "--base-url", self.handle.url,
            "--limit", str(SENT), "--yes", "--json", "--quiet",
        )  # fmt: skip
        if found.out["attempts"] != SENT:
            raise RuntimeError(f"not {SENT} images were asked for: {found.out}")
        return _line(name, "the first request", first_request(self.handle, seen) - found.began, bound, found)


def _line(name: str, until: str, seconds: float, bound: float | None, found: Measured) -> Line:
    stated = f"{seconds:.2f} s" if bound is None else verdict(seconds, bound, " s")
    return [name, until, stated, f"{found.cpu:.2f}", verdict(found.peak / MB, MEMORY, " MB")]


def _measured(bench: Bench) -> list[Line]:
    plain, made = bench.manifest("plain"), bench.folder / "made"
    without_key = bench.manifest("without-key", images="{job}/{product}_{surface}")
    lines = [
        bench.tell("plan", plain, bench.folder / "new", PLAN),
        bench.send("run of plain.yaml", plain, bench.folder / "new", START),
        bench.tell("plan", without_key, bench.folder / "none", PLAN),
        bench.send("run of without-key.yaml", without_key, bench.folder / "other", START),
    ]
    fill(load(plain), made, MADE)
    name = f"run where {MADE:,} are made"
    lines += [
        bench.tell("status", made, None, STATUS),
        bench.send(f"{name}, first", plain, made, RESUME),
        bench.send(f"{name}, second", plain, made, RESUME),
        bench.tell("status", made, None, STATUS),
        bench.tell("plan", plain, made),
        bench.tell("failures", made, None),
        bench.tell("verify", made, None),
    ]
    sheet, with_ids = bench.sheet("rows"), bench.sheet("rows-with-ids", has_ids=True)
    lines += [
        bench.tell("plan", sheet, bench.folder / "none"),
        bench.tell("plan", with_ids, bench.folder / "none"),
        bench.send("run of rows.csv", sheet, bench.folder / "sheet"),
    ]
    return lines


def main() -> None:
    """Print how long each step took, its processor time and its memory."""
    with tempfile.TemporaryDirectory() as name, server() as handle:
        lines = _measured(Bench(folder=Path(name), handle=handle))
    table("a million tasks", ["command", "until", "seconds", "CPU s of the process", "peak memory"], lines)
