"""A job's end is the end of its threads: a command may have hundreds of manifests, and a program may call for days."""

import json
import threading
from functools import partial
from pathlib import Path

import anyio

from batchbanana.feed import Selection
from batchbanana.matrix import load
from batchbanana.progress import Silent
from batchbanana.sandbox.running import in_thread
from batchbanana.session import Order, run
from batchbanana.transport import Endpoint
from tests.support.program import manifest, until


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith(("disk", "ledger", "watchdog"))}


def test_no_thread_of_ours_outlives_its_job(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(json.dumps(manifest(40, limits={"concurrency": 20})))
    matrix = load(tmp_path / "job.yaml")
    with in_thread({"pictures": "plain"}) as server:
        order = Order(
            matrix=matrix,
            output=tmp_path / "out",
            limits=matrix.manifest.limits,
            endpoint=Endpoint.build(server.url, None, "key"),
            selection=Selection(),
        )
        assert anyio.run(partial(run, order, Silent())).done == 40
    until(lambda: not threads())
