"""When the spool forgets an image that has its place, while others are still on their way to theirs."""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from batchbanana.images import Inspector
from batchbanana.ledger import Caps, Grant, Ledger, Sending, Store
from batchbanana.record import Errand
from batchbanana.shelf import Parcel, Shelf
from batchbanana.spool import Files, Spool
from batchbanana.task import Billed, Outcome, StoredImage
from tests.support.build import rung, task
from tests.support.web import picture


class Gated(Files):
    """The real disk, on which a link waits until its attempt is let through."""

    def __init__(self) -> None:
        self.gates = {number: threading.Event() for number in (1, 2, 3)}
        self.reached = {number: threading.Event() for number in (1, 2, 3)}

    def link(self, source: Path, target: Path) -> None:
        number = int(source.name.split(".")[0])
        self.reached[number].set()
        self.gates[number].wait(30)
        super().link(source, target)


def parcel(spool: Spool, number: int, size: tuple[int, int]) -> Parcel:
    """Give an image of a task, whole in the spool."""
    data, inspector = picture(f"#0000{number:02x}", size), Inspector()
    inspector.feed(data)
    part = spool.part(number, 0)
    part.write(data)
    path, digest = part.keep(0)
    image = StoredImage(path=path, size=len(data), sha256=digest, picture=inspector.result())
    errand = Errand.of(task(number), rung())
    return Parcel(
        attempt=number, errand=errand, images=(image,), billed=Billed.YES, cost=100, model_version=None, tries=1
    )


@asynccontextmanager
async def busy(folder: Path, size: tuple[int, int]) -> AsyncIterator[tuple[Shelf, Spool, Outcome]]:
    """Put image 2 in its place, of this size, while images 1 and 3 are on their way to theirs."""
    files = Gated()
    spool = Spool(folder, files)
    spool.open()
    store = Store.open(folder / "ledger.db", Caps())
    store.start_run(("0" * 64, "job.yaml", ""))
    async with Ledger(folder, store) as ledger, anyio.create_task_group() as group:
        shelf = Shelf(spool, ledger)
        for number in (1, 2, 3):
            sending = Sending(id=number, key=task(number).key, resolution="1K", price=100, errand={})
            assert await ledger.begin(sending) is Grant.GRANTED
        group.start_soon(shelf.put, parcel(spool, 1, (1024, 1024)))
        await anyio.to_thread.run_sync(files.reached[1].wait, 30)
        placed: list[Outcome] = []

        async def put() -> None:
            placed.append((await shelf.put(parcel(spool, 2, size))).outcome)

        async with anyio.create_task_group() as other:
            other.start_soon(put)
            await anyio.wait_all_tasks_blocked()
            files.gates[1].set()
            await anyio.to_thread.run_sync(files.reached[2].wait, 30)
            group.start_soon(shelf.put, parcel(spool, 3, (1024, 1024)))
            await anyio.wait_all_tasks_blocked()
            files.gates[2].set()
        yield shelf, spool, placed[0]
        files.gates[3].set()


def ready(spool: Spool) -> list[int]:
    return sorted(int(path.name.split(".")[0]) for path in spool.folder.glob("*.ready"))


def test_an_image_that_stays_is_tidied_with_others_and_at_the_latest_at_the_end(tmp_path: Path) -> None:
    async def main() -> None:
        async with busy(tmp_path, (1024, 1024)) as (shelf, spool, outcome):
            assert outcome is Outcome.DONE
            assert 2 in ready(spool)
        assert await shelf.tidy() == ""
        assert ready(spool) == []

    anyio.run(main)


def test_an_image_that_a_better_one_may_replace_is_tidied_before_that_can_come(tmp_path: Path) -> None:
    async def main() -> None:
        async with busy(tmp_path, (64, 20)) as (_, spool, outcome):
            assert outcome is Outcome.MISMATCH
            assert 2 not in ready(spool), "the next start would not know it again"

    anyio.run(main)
