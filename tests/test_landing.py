"""Who brings an image home first when many answers come at once; under a virtual clock."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

import anyio
import httpx
import pytest
from anyio.lowlevel import checkpoint

from batchbanana.engines.landing import FEWEST, PATIENCE, SHARE, Landing, Permit
from batchbanana.transport import End, Sink
from batchbanana.transport.exchange import Exchange
from batchbanana.transport.patience import Patience
from tests.support.build import rung
from tests.support.clock import run_virtually


def whole() -> bool:
    return True


async def take(permit: Permit, is_whole: Callable[[], bool] = whole) -> None:
    if (waiting := permit.take(is_whole)) is not None:
        await waiting


async def enter(permit: Permit, number: int, entered: list[int]) -> None:
    await take(permit)
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
                group.start_soon(take, permit)
        waited = anyio.current_time() - began
        for permit in permits:
            permit.give()
        for permit in permits[:FEWEST]:
            assert permit.take(whole) is None, "all places are there again"
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
            await take(permit)
        with anyio.move_on_after(PATIENCE / 2):
            await enter(permits[FEWEST], FEWEST, entered)
        return entered

    assert run_virtually(main) == [FEWEST]


def test_a_large_answer_holds_up_nobody_while_the_rest_of_it_comes() -> None:
    async def main() -> float:
        landing, began = Landing(), anyio.current_time()
        for permit in [landing.permit() for _ in range(FEWEST)]:
            await take(permit, lambda: False)
        await take(landing.permit())
        return anyio.current_time() - began

    assert run_virtually(main) < PATIENCE / 2


class SlowBody(httpx.AsyncByteStream):
    """Comes in two halves."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"x" * 500
        await anyio.sleep(0.3)
        yield b"y" * 500


class Slow(httpx.AsyncBaseTransport):
    """Answers shortly before the deadline."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await anyio.sleep(0.9)
        return httpx.Response(200, stream=SlowBody())


@pytest.mark.parametrize("seconds", [0.0, PATIENCE])
def test_the_deadline_does_not_run_while_an_answer_waits_for_its_place(seconds: float) -> None:
    async def main() -> tuple[End, int]:
        body = bytearray()

        def feed(data: bytes) -> bool:
            body.extend(data)
            return len(body) < 1000

        patience = Patience(replace(rung(), timeout=1.0), anyio.current_time())
        exchange = Exchange(patience, Sink(feed, lambda: True, lambda: anyio.sleep(seconds)))
        answer = await exchange.run(Slow(), httpx.Request("GET", "http://relay.example/"))
        return answer.end, len(body)

    assert run_virtually(main) == (End.WHOLE, 1000)
