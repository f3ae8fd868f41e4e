"""One job against one server: run it, kill it, run it again; and how a figure is held against its bound."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchbanana.sandbox.running import Handle
from benchmarks import MODEL
from benchmarks.measuring import CLIENT_CORE, on_core, server

PATIENCE = 600.0  # seconds after which a run that should have ended is a hang


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One bound of a scenario, as the table tells it."""

    needed: str
    seen: str
    holds: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A run that came to its end.

    Attributes:
        wall: seconds of the whole process, from its start until it was gone.
        summary: what it printed with --json.
        words: its standard error.
    """

    code: int
    wall: float
    summary: dict[str, Any]
    words: str


class Trial:
    """A job in a folder of its own.

    Attributes:
        handle: the server that it asks; another may take its place between two runs.
    """

    def __init__(self, folder: Path, handle: Handle, manifest: Mapping[str, object]) -> None:
        self.handle = handle
        self._output = folder / "out"
        self._manifest = folder / "job.yaml"
        self._manifest.write_text(json.dumps(manifest))  # JSON is YAML

    def run(self) -> Ended:
        """Run to the end.

        Raises:
            RuntimeError: it ended without a summary; the message is its standard error.
        """
        began = time.monotonic()
        with self._started() as process:
            out, err = process.communicate(timeout=PATIENCE)
        wall = time.monotonic() - began
        if not out.startswith("{"):
            raise RuntimeError(f"the run ended with {process.returncode} and no summary: {err}")
        return Ended(code=process.returncode, wall=wall, summary=json.loads(out), words=err)

    def kill(self, after: float) -> None:
        """Run, and kill it hard so many seconds after its start, if it is not gone by then."""
        with self._started() as process:
            try:
                process.communicate(timeout=after)
            except subprocess.TimeoutExpired:
                process.kill()

    @contextmanager
    def _started(self) -> Iterator["subprocess.Popen[str]"]:
        pipe = subprocess.PIPE
        places = [str(self._manifest), "--output", str(self._output), "--base-url", self.handle.url]
        with on_core(CLIENT_CORE):
            process = subprocess.Popen(
                [sys.executable, "-m", "batchbanana", "run", *places, "--yes", "--json"],
                env={**os.environ, "GEMINI_API_KEY": "benchmark"},
                stdout=pipe,
                stderr=pipe,
                text=True,
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()


@contextmanager
def trial(script: Mapping[str, object], manifest: Mapping[str, object]) -> Iterator[Trial]:
    """Serve by a script from a process of its own, and make a job for it that is gone after the block."""
    with server(**script) as handle, tempfile.TemporaryDirectory() as name:
        yield Trial(Path(name), handle, manifest)


def asked(tasks: int, limits: Mapping[str, object], **more: object) -> dict[str, object]:
    """Give a manifest of so many different tasks."""
    job = {"id": "all", "prompt": "A mug, number {n}", "vars": {"n": list(range(tasks))}}
    return {"model": MODEL, "resolution": "512", "ratio": "1:1", "limits": dict(limits), "jobs": [job], **more}


def answers(handle: Handle, status: int) -> list[dict[str, Any]]:
    """List the requests that were answered with an HTTP status, in the order of their arrival."""
    return [request for request in handle.requests() if request["status"] == status]


def at_most(what: str, seen: float, bound: float, unit: str = "") -> Row:
    """Hold a figure against its upper bound."""
    return Row(needed=f"{what}: at most {bound:g}{unit}", seen=_figure(seen, unit), holds=seen <= bound)


def at_least(what: str, seen: float, bound: float, unit: str = "") -> Row:
    """Hold a figure against its lower bound."""
    return Row(needed=f"{what}: at least {bound:g}{unit}", seen=_figure(seen, unit), holds=seen >= bound)


def exactly(what: str, seen: object, wanted: object) -> Row:
    """Hold a value against the only right one."""
    return Row(needed=f"{what}: {wanted}", seen=str(seen), holds=seen == wanted)


def _figure(seen: float, unit: str) -> str:
    return f"{seen}{unit}" if isinstance(seen, int) else f"{seen:.2f}{unit}"
