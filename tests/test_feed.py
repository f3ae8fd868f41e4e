"""What the feed hands out, and what it knows of the plan when the ledger fails under it."""

from pathlib import Path

import anyio

from batchbanana.errors import BatchError
from batchbanana.feed import Feed, Selection
from batchbanana.ledger import Caps, Ledger, Store
from batchbanana.plan import BLOCK, Plan
from tests.support.build import task
from tests.support.stage import Ready


def test_a_ledger_that_breaks_does_not_make_the_plan_look_shorter(tmp_path: Path) -> None:
    cells = 5 * BLOCK
    told: list[str] = []

    async def ask(feed: Feed) -> None:
        try:
            await feed.next()
        except BatchError as error:
            told.append(str(error))

    async def main() -> Feed:
        store = Store.open(tmp_path / "ledger.db", Caps())
        store.start_run(("0" * 64, "job.yaml", ""))
        async with Ledger(tmp_path, store) as ledger:
            feed = Feed(Plan(map(Ready, map(task, range(cells))), ledger, tmp_path), Selection())
            assert await feed.next() is not None
            while len(feed._fresh):
                await feed.next()
            await ledger.do(lambda store: store.execute("DROP TABLE outcomes"))
            with anyio.fail_after(10):  # nobody waits for a plan that cannot be read
                async with anyio.create_task_group() as group:
                    for _ in range(20):
                        group.start_soon(ask, feed)
            await feed.count_rest()
            return feed

    feed = anyio.run(main)
    assert len(told) == 20
    assert not feed.is_exhausted
    feed.tally.fill(cells, {})
    assert feed.tally.total == cells
