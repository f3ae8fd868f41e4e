"""What a run does with the notes that earlier runs have left, where the whole program is too slow to show it."""

import os
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import anyio
import pytest

from batchbanana import recovery
from batchbanana.beginning import Beginning
from batchbanana.engines.links import Fetcher
from batchbanana.errors import DiskError, Exit
from batchbanana.ledger import ASIDE, Caps, Grant, Ledger, Sending, Settlement, Store
from batchbanana.policy import Stop
from batchbanana.record import Errand
from batchbanana.recovery import Recovered, recover
from batchbanana.shelf import Parcel, Placed, Shelf
from batchbanana.spool import Files, Spool
from batchbanana.task import Billed
from batchbanana.transport import Downloads, Guard
from tests.support.build import rung, task
from tests.support.web import Web, picture, reply, web


@asynccontextmanager
async def left_behind(folder: Path, url: str, count: int, days: float = 0) -> AsyncIterator[tuple[Ledger, Spool]]:
    """Set up a job whose last run died with so many notes of images at `url`."""
    spool = Spool(folder)
    spool.open()
    store = Store.open(folder / "ledger.db", Caps())
    store.start_run(("0" * 64, "job.yaml", ""))
    for number in range(1, count + 1):
        made = task(number)
        errand = Errand.of(made, rung()).to_json()
        sending = Sending(id=number, key=made.key, resolution="1K", price=100, errand=errand)
        assert store.begin(sending) is Grant.GRANTED
        note = spool.note(number, f"{url}/{number}", "a-model", Billed.YES)
        old = time.time() - days * 86_400
        os.utime(note.path, (old, old))
    async with Ledger(folder, store) as ledger:
        yield ledger, spool


def recovered(
    folder: Path, images: Web, count: int, files: Files | None = None, days: float = 0
) -> tuple[Recovered, int]:
    """Recover such a job; gives what was found, and how many attempts are still open."""

    async def main() -> tuple[Recovered, int]:
        async with left_behind(folder, images.url, count, days) as (ledger, spool):
            fetcher = Fetcher(Downloads(Guard(images.url)), Spool(folder, files), chance=lambda: 0.0)
            found = await recover(ledger, spool, Shelf(spool, ledger), fetcher)
            return found, len(await ledger.do(lambda store: store.unsettled()))

    return anyio.run(main)


def test_what_is_not_fetched_in_time_is_held_and_not_written_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(_handler: BaseHTTPRequestHandler) -> None:
        done.wait(30)

    monkeypatch.setattr(recovery, "MOST_SECONDS", 1.0)
    done = threading.Event()
    with web(hang) as images:
        found, still_open = recovered(tmp_path, images, 12)
        done.set()
    assert (found.adopted, found.lost, still_open) == (0, 0, 12)
    assert found.held == {task(number).key for number in range(1, 13)}
    assert found.waiting == ("An image that is paid for is still to be fetched",)
    assert len(images.asked) <= 8


def test_a_disk_that_fails_is_told_as_such_and_not_wrapped(tmp_path: Path) -> None:
    class Full(Files):
        def create(self, path: Path, size: int):  # type: ignore[no-untyped-def]
            raise OSError(28, "No space left on device")

    with (
        web(lambda handler: reply(handler, picture())) as images,
        pytest.raises(DiskError, match="make room and run again to fetch it"),
    ):
        recovered(tmp_path, images, 3, Full())
    assert len(Spool(tmp_path).notes()) == 3


@pytest.mark.parametrize(("days", "waits"), [(1.9, True), (2.1, False)])
def test_an_address_that_nobody_answers_at_for_two_days_is_given_up(tmp_path: Path, days: float, waits: bool) -> None:
    with web(lambda handler: reply(handler, b"no", 503)) as images:
        found, still_open = recovered(tmp_path, images, 1, days=days)
    assert (len(found.waiting), still_open, found.lost) == (int(waits), int(waits), 0)
    assert len(Spool(tmp_path).notes()) == int(waits)


def test_an_image_that_was_put_aside_and_died_in_the_spool_is_brought_aside_quietly(tmp_path: Path) -> None:
    async def main() -> Recovered:
        async with left_behind(tmp_path, "http://127.0.0.1:1", 1) as (ledger, spool):
            spool.forget(spool.notes()[0].path)
            part = spool.part(1, 0)
            part.write(picture())
            part.keep(0)
            await ledger.settle(Settlement(attempt=1, result=ASIDE, billed=Billed.YES, cost=100))
            fetcher = Fetcher(Downloads(Guard("http://127.0.0.1:1")), spool)
            return await recover(ledger, spool, Shelf(spool, ledger), fetcher)

    found = anyio.run(main)
    assert (found.problems, found.held, found.adopted) == ((), frozenset(), 0)
    assert list((tmp_path / ".batchbanana/spool").iterdir()) == []
    aside = [path.name for path in (tmp_path / ".batchbanana/superseded").rglob("*") if path.is_file()]
    assert aside == ["1.0.png"]


class Stopping(Shelf):
    """Puts images in their places, and is told to stop with the first."""

    beginning = Beginning()

    async def put(self, parcel: Parcel) -> Placed:
        self.beginning.stop(Stop(exit_code=Exit.TERMINATED, reason="Stopped by SIGTERM"))
        return await super().put(parcel)


def leave_ready(spool: Spool, attempt: int, ranks: Sequence[int]) -> None:
    """Leave images of an attempt in the spool in place of its note."""
    for rank in ranks:
        part = spool.part(attempt, rank)
        part.write(picture(f"#0000{attempt:02x}"))
        part.keep(rank)
    for note in spool.notes():
        if note.attempt == attempt:
            spool.forget(note.path)


def test_what_a_stopped_recovery_did_not_come_to_stays_for_the_next_and_is_not_written_off(tmp_path: Path) -> None:
    async def main() -> tuple[Recovered, int, Recovered]:
        async with left_behind(tmp_path, "http://127.0.0.1:1", 4) as (ledger, spool):
            for attempt, ranks in {1: [0], 2: [0], 3: [0, 1], 4: [1]}.items():  # of the fourth, only an extra
                leave_ready(spool, attempt, ranks)
            fetcher = Fetcher(Downloads(Guard("http://127.0.0.1:1")), spool)
            shelf = Stopping(spool, ledger)
            first = await recover(ledger, spool, shelf, fetcher, shelf.beginning)
            still_open = len(await ledger.do(lambda store: store.unsettled()))
            return first, still_open, await recover(ledger, spool, Shelf(spool, ledger), fetcher)

    first, still_open, second = anyio.run(main)
    assert (first.adopted, first.lost, still_open) == (1, 0, 3)
    assert first.held == {task(number).key for number in (2, 3, 4)}
    assert first.waiting == ("An image that is paid for waits in the spool",)
    assert (second.adopted, second.lost, second.problems, second.waiting) == (2, 1, (), ())
    assert list((tmp_path / ".batchbanana/spool").iterdir()) == []


def test_a_recovery_shows_that_it_goes_on(tmp_path: Path) -> None:
    beginning = Beginning()

    async def main() -> Recovered:
        async with left_behind(tmp_path, images.url, 5) as (ledger, spool):
            for attempt in (1, 2, 3):
                leave_ready(spool, attempt, [0])
            fetcher = Fetcher(Downloads(Guard(images.url)), spool)
            return await recover(ledger, spool, Shelf(spool, ledger), fetcher, beginning)

    with web(lambda handler: reply(handler, picture())) as images:
        assert anyio.run(main).adopted == 5
    assert beginning.pulse >= 5


def test_a_ready_file_whose_bytes_have_changed_is_left_to_a_person_and_not_written_off(tmp_path: Path) -> None:
    async def main() -> Recovered:
        async with left_behind(tmp_path, "http://127.0.0.1:1", 2) as (ledger, spool):
            for attempt in (1, 2):
                leave_ready(spool, attempt, [0])
            changed = spool.recover()[0].path
            changed.write_bytes(picture("#ff0000"))
            fetcher = Fetcher(Downloads(Guard("http://127.0.0.1:1")), spool)
            return await recover(ledger, spool, Shelf(spool, ledger), fetcher)

    found = anyio.run(main)
    assert (found.adopted, found.lost) == (1, 0)
    assert found.held == {task(1).key}
    assert ["its bytes have changed" in problem for problem in found.problems] == [True]
