"""Runs a client against a server of its own, to its end or to a kill, as often as a scenario asks."""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchbanana.sandbox.running import Handle
from benchmarks.measuring import CLIENT_CORE, follow, on_core, server
from benchmarks.peers.asking import Asked
from benchmarks.peers.roster import Client

ROOT = Path(__file__).parents[2]
PATIENCE = 240.0  # seconds after which a run has not ended; every one here needs less than half of it
QUIRKS = {"shape": "images"}  # of the chat format, which one peer speaks: the image where the larger relays put it


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """One run of a client.

    Attributes:
        how: it ended: its exit code, `killed` on purpose, or `never ended`, when it was killed too.
        began: Unix time of its start.
        wall: seconds until it was gone.
        cpu: user and system seconds of the process, start-up included.
        peak: most resident memory, bytes.
    """

    how: str
    began: float
    wall: float
    cpu: float
    peak: int


class Play:
    """A client, a server of its own, a folder, and the runs so far.

    Attributes:
        folder: what the client leaves.
        runs: those so far, in their order.
        patience: seconds after which a run is taken to have no end, and killed.
        words: the end of what the last run said on standard error.
    """

    def __init__(self, client: Client, handle: Handle, folder: Path, settings: Mapping[str, Any]) -> None:
        self.client, self.handle, self.folder = client, handle, folder
        self.patience = PATIENCE
        self.runs: list[Ended] = []
        self.words = ""
        self.asked = Asked(url=handle.url, folder=folder, **settings)

    def run(self) -> Ended:
        """Run to the end, or until it has had its time."""
        return self._run(lambda: False)

    def kill(self, when: Callable[[], bool]) -> None:
        """Run, and kill it hard once `when` holds, if it is not gone by then."""
        self._run(when)

    def _run(self, when: Callable[[], bool]) -> Ended:
        end = time.monotonic() + self.patience
        cause = ""

        def is_enough() -> bool:
            nonlocal cause
            cause = cause or ("killed" if when() else "never ended" if time.monotonic() > end else "")
            return bool(cause)

        command = [str(self.client.python), "-m", f"benchmarks.peers.clients.{self.client.module}", *self.asked.words()]
        with tempfile.TemporaryFile() as err:
            began = time.time()
            with on_core(CLIENT_CORE):
                process = subprocess.Popen(
                    command,
                    stdout=subprocess.DEVNULL,
                    stderr=err,
                    cwd=ROOT,
                    env={**os.environ, "PYTHONPATH": str(ROOT)},
                )
            try:
                usage, peak = follow(process, is_enough)
            finally:
                if process.returncode is None:
                    process.kill()
            wall = time.time() - began
            err.seek(0)
            self.words = err.read().decode(errors="replace")[-2000:]
        how = cause or str(process.returncode)
        ended = Ended(how=how, began=began, wall=wall, cpu=usage.ru_utime + usage.ru_stime, peak=peak)
        self.runs.append(ended)
        return ended


@contextmanager
def play(client: Client, script: Mapping[str, object], **settings: Any) -> Iterator[Play]:
    """Serve by a script from a process of its own; server and folder are gone after the block.

    Args:
        client: who is to play.
        script: what the server is told beside its quirks.
        settings: the rest of `Asked`.
    """
    with (
        server(**{"pictures": "drawn", "format_quirks": QUIRKS, **script}) as handle,
        tempfile.TemporaryDirectory() as name,
    ):
        yield Play(client, handle, Path(name), settings)
