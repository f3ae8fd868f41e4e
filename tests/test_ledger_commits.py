"""What shares a commit, and that `metadata.jsonl` follows the commits without the ledger being read for it."""

import asyncio
import json
from pathlib import Path

import anyio
import pytest

from batchbanana import ledger as package
from batchbanana.errors import LedgerError
from batchbanana.ledger import Ledger, Store
from batchbanana.ledger.store import STALE
from tests.test_ledger import failed, image, key, opened, sending


def counted(store: Store) -> list[str]:
    """Give a list to which every statement is added that begins or ends a transaction."""
    statements: list[str] = []
    true = store.execute

    def execute(statement: str) -> None:
        statements.append(statement)
        true(statement)

    store.execute = execute  # type: ignore[method-assign]
    return statements


def lines(job: Path) -> list[int]:
    return [json.loads(line)["n"] for line in (job / "metadata.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("most", "commits"), [(256, 1), (4, 3)])
def test_what_is_asked_for_in_one_turn_of_the_event_loop_shares_a_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, commits: int
) -> None:
    monkeypatch.setattr(package, "MOST_A_COMMIT", most)

    async def main() -> None:
        store = opened(tmp_path)
        async with Ledger(tmp_path, store) as ledger:
            statements = counted(store)
            async with anyio.create_task_group() as group:
                for number in range(1, 11):
                    group.start_soon(ledger.begin, sending(number, task=number))
            assert statements.count("COMMIT") == commits

    anyio.run(main)


def test_what_nobody_waits_for_any_longer_is_written_down_all_the_same(tmp_path: Path) -> None:
    """Its task was cancelled: whether it was handed over by then is not to make a difference."""

    async def main() -> None:
        async with Ledger(tmp_path, opened(tmp_path)) as ledger:
            await ledger.begin(sending(1))
            asyncio.ensure_future(ledger.settle(image(1))).add_done_callback(lambda task: None)
            begun = asyncio.ensure_future(ledger.begin(sending(2, task=2)))
            await asyncio.sleep(0)  # both are waiting, and nothing is handed over
            begun.cancel()

    anyio.run(main)
    store = opened(tmp_path)
    assert [attempt.id for attempt in store.unsettled()] == [2]
    assert lines(tmp_path) == [1]
    store.close()


def test_metadata_has_each_image_once_it_is_committed_and_none_that_is_not(tmp_path: Path) -> None:
    def give_up(store: Store) -> None:
        store.begin(sending(5, task=5))
        store.settle(image(5, task=5))
        raise ValueError

    async def main() -> None:
        async with Ledger(tmp_path, opened(tmp_path)) as ledger:
            for number in range(1, 5):
                await ledger.begin(sending(number, task=number))
                await ledger.settle(failed(4, task=4) if number == 4 else image(number, task=number))
                assert lines(tmp_path) == list(range(1, min(number, 3) + 1))
            with pytest.raises(LedgerError):
                await ledger.do(give_up)
        assert lines(tmp_path) == [1, 2, 3]

    anyio.run(main)


def test_an_image_that_is_replaced_in_the_commit_in_which_it_came_leaves_one_line(tmp_path: Path) -> None:
    def twice(store: Store) -> None:
        for number in (2, 3):
            store.begin(sending(number))
            store.settle(image(number))

    async def main() -> None:
        async with Ledger(tmp_path, opened(tmp_path)) as ledger:
            await ledger.begin(sending(1, task=7))
            await ledger.settle(image(1, task=7))
            await ledger.do(twice)
            assert await ledger.do(lambda store: store.get(STALE)) == 1

    anyio.run(main)
    assert lines(tmp_path) == [1, 3]


def test_an_attempt_of_an_earlier_run_is_settled_at_its_own_price(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.begin(sending(1))
    store.begin(sending(2, task=2, price=None))
    store.close()
    store = opened(tmp_path)
    for number in (1, 2):
        store.settle(failed(number, task=number))
    money = store.money
    assert (money.reserved, money.possible, money.possible_count, money.possible_unpriced) == (0, 100, 2, 1)
    for number in (1, 3):  # once, and never begun
        with pytest.raises(LedgerError, match="settled twice"):
            store.settle(image(number))
    assert store.lookup([key(1)])[key(1)].file is None
    store.recount()
    assert store.money == money
    store.close()
