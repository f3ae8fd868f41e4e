"""Runs the program itself on a job made up for a benchmark."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from batchbanana.sandbox.running import Handle
from benchmarks import MODEL
from benchmarks.measuring import Measured, measure


def run_program(
    folder: Path,
    handle: Handle,
    *,
    images: int,
    workers: int,
    size: str,
    module: str = "batchbanana",
    provider: dict[str, str] | None = None,
) -> Measured:
    """Make `images` different pictures in `folder/out`, with `workers` at a time.

    Raises:
        RuntimeError: the run did not make them all.
    """
    job = {"id": "all", "prompt": "A mug, number {n}", "vars": {"n": list(range(images))}}
    manifest = folder / "job.yaml"  # JSON is YAML
    settings = {"model": MODEL, "resolution": size, "ratio": "1:1", "provider": provider or {}}
    manifest.write_text(json.dumps({**settings, "jobs": [job]}))
    found = measure(
        module, "run", str(manifest), "--output", str(folder / "out"), "--base-url", handle.url,
        "--concurrency", str(workers), "--yes", "--json", "--quiet",
    )  # fmt: skip
    if found.out["done"] != images:
        raise RuntimeError(f"{found.out['done']} of {images} images were made: {found.out}")
    return found


def last_recorded(folder: Path) -> float:
    """Give the Unix time at which the ledger wrote down the last image, by then synced and under its final name."""
    with closing(sqlite3.connect(folder / "out" / ".batchbanana" / "ledger.db")) as database:
        (moment,) = database.execute("SELECT max(ended) FROM attempts").fetchone()
    return float(moment)
