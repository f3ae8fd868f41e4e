"""The moment that counts for the limits: when a request's bytes leave, once, and never if they do not."""

import socket
from pathlib import Path

import anyio
import pytest

from batchbanana.engines.local import LocalEngine
from batchbanana.providers.gemini import Gemini
from batchbanana.sandbox.running import in_thread
from batchbanana.spool import Spool
from batchbanana.task import Attempt, Delivery, Failure, FailureKind, Held
from batchbanana.transport import Endpoint, Lanes
from tests.support.build import rung, task


def make(folder: Path, url: str, times: int = 1) -> tuple[list[float], Delivery | Failure | Held]:
    """Make an image so many times over one worker; gives the moments of departure, and the last result."""
    departures: list[float] = []

    async def main() -> Delivery | Failure | Held:
        spool = Spool(folder)
        spool.open()
        engine = LocalEngine(Gemini(omit_size=lambda _: False), Lanes(Endpoint.build(url, None, "k")), spool)
        worker = engine.worker()
        for number in range(1, times + 1):
            attempt = Attempt(id=number, task=task(), rung=rung(timeout=5))
            assert await worker.prepare(attempt) is None
            result = await worker.carry_out(attempt, lambda: departures.append(anyio.current_time()))
        await worker.close()
        await engine.aclose()
        return result

    return departures, anyio.run(main)


@pytest.mark.parametrize("times", [1, 3])
def test_a_request_departs_once_on_a_new_connection_as_on_one_that_is_kept(tmp_path: Path, times: int) -> None:
    with in_thread({"latency": 0.0}) as sandbox:
        departures, result = make(tmp_path, sandbox.url, times)
        assert isinstance(result, Delivery)
        assert len(departures) == times == sandbox.bill()["requests"]


def test_a_request_that_finds_nobody_never_departs(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        departures, result = make(tmp_path, f"http://127.0.0.1:{free.getsockname()[1]}")
    assert isinstance(result, Failure)
    assert (result.kind, departures) == (FailureKind.NOT_SENT, [])
