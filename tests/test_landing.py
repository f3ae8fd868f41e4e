"""Who brings an image home first when many answers come at once; under a virtual clock."""

from collections.abc import Sequence

import anyio
import pytest
from anyio.lowlevel import checkpoint

from batchbanana.engines.landing import FEWEST, PATIENCE, SHARE, Landing, Permit
from tests.support.clock import run_virtually


def whole() -> bool:
    return True


async def enter(permit: Permit, number: int, entered: list[int]) -> None:
    await permit.take(whole)
    entered.append(number)


async def settle() -> None:
    for _ in range(5):
        await checkpoint()


@pytest.mark.parametrize(("workers", "at_once"), [(3, 3), (FEWEST, FEWEST), (50, FEWEST), (1000, 1000 // SHARE)])
def test_a_few_go_first_and_the_others_in_the_order_of_their_answers(workers: int, at_once: int) -> None:
    async def main() -> list[Sequence[int]]:
        landing, entered, seen = Landing(), list[int](), list[Sequence[int]]()
        permits = [landing.permit() for _ in range(workers)]
        async with anyio.create_task_group() as group:
            for number, permit in enumerate(permits):
                group.start_soon(enter, permit, number, entered)
            await settle()
            seen.append(tuple(entered))
            for permit in permits:
                permit.give()
                await settle()
            seen.append(tuple(entered))
        return seen

    first, all_of_them = run_virtually(main)
    assert first == tuple(range(at_once))
    assert all_of_them == tuple(range(workers))


def test_nobody_waits_for_long_behind_a_disk_that_hangs() -> None:
    async def main() -> float:
        landing, began = Landing(), anyio.current_time()
        permits = [landing.permit() for _ in range(FEWEST + 5)]
        async with anyio.create_task_group() as group:
            for permit in permits:
                group.start_soon(permit.take, whole)
        waited = anyio.current_time() - began
        for permit in permits:
            permit.give()
        with anyio.fail_after(0):  # all places are there again
            for permit in permits[:FEWEST]:
                await permit.take(whole)
        return waited

    assert run_virtually(main) == pytest.approx(PATIENCE, abs=0.01)


def test_a_place_that_is_given_back_twice_is_one_place() -> None:
    async def main() -> list[int]:
        landing, entered, seen = Landing(), list[int](), list[int]()
        permits = [landing.permit() for _ in range(FEWEST + 2)]
        async with anyio.create_task_group() as group:
            for number, permit in enumerate(permits):
                group.start_soon(enter, permit, number, entered)
            await settle()
            permits[0].give()
            permits[0].give()
            permits[-1].give()  # it has none yet
            await settle()
            seen.extend(entered)
        return seen

    assert run_virtually(main) == list(range(FEWEST + 1))


def test_whose_deadline_passes_meanwhile_is_let_in_for_his_answer_has_come() -> None:
    async def main() -> list[int]:
        landing, entered = Landing(), list[int]()
        permits = [landing.permit() for _ in range(FEWEST + 1)]
        for permit in permits[:FEWEST]:
            await permit.take(whole)
        with anyio.move_on_after(PATIENCE / 2):
            await enter(permits[FEWEST], FEWEST, entered)
        return entered

    assert run_virtually(main) == [FEWEST]


def test_a_large_answer_holds_up_nobody_while_the_rest_of_it_comes() -> None:
    async def main() -> float:
        landing, began = Landing(), anyio.current_time()
        for permit in [landing.permit() for _ in range(FEWEST)]:
            await permit.take(lambda: False)
        await landing.permit().take(whole)
        return anyio.current_time() - began

    assert run_virtually(main) < PATIENCE / 2
