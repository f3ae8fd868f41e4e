"""Small things for the disk: alone they have a turn of their own, and many share one."""

import sys
import threading
from collections.abc import Sequence

import anyio
import pytest
from anyio.lowlevel import checkpoint

from batchbanana.together import FEW, MOST, Together, tried


class Disk:
    """Doubles numbers, and remembers the turns; the first ones wait until it is let go."""

    def __init__(self) -> None:
        self.turns: list[list[int]] = []
        self.go = threading.Event()

    def act(self, items: Sequence[int]) -> list[int | Exception]:
        self.turns.append(list(items))
        self.go.wait(30)
        return tried(self.double, items)

    def double(self, item: int) -> int:
        if item < 0:
            raise OSError(f"{item} is bad")
        return 2 * item


async def ask(together: Together[int, int], item: int, results: dict[int, int | str]) -> None:
    try:
        results[item] = await together.do(item)
    except OSError as error:
        results[item] = str(error)


async def until_begun(disk: Disk, turns: int) -> None:
    with anyio.fail_after(20):
        while len(disk.turns) < turns:  # noqa: ASYNC110 -- it is a thread that adds to them
            await anyio.sleep(0.001)


def test_who_comes_alone_has_a_turn_alone() -> None:
    disk = Disk()
    disk.go.set()

    async def main() -> list[int]:
        together = Together(disk.act, lanes=2)
        return [await together.do(item) for item in (1, 2, 3)]

    assert anyio.run(main) == [2, 4, 6]
    assert disk.turns == [[1], [2], [3]]


@pytest.mark.parametrize(("lanes", "count"), [(1, 1), (1, 10), (2, 11), (3, 500)])
def test_who_comes_while_all_lanes_are_busy_shares_the_next_turn_and_gets_its_own_result(
    lanes: int, count: int
) -> None:
    disk = Disk()
    results: dict[int, int | str] = {}

    async def main() -> None:
        together = Together(disk.act, lanes)
        async with anyio.create_task_group() as group:
            group.start_soon(ask, together, -count // 2, results)
            await until_begun(disk, 1)
            for item in range(-count // 2 + 1, count):
                group.start_soon(ask, together, item, results)
            for _ in range(20):
                await checkpoint()
            disk.go.set()

        assert together.is_free, "no lane is lost"

    anyio.run(main)
    assert results == {item: 2 * item if item >= 0 else f"{item} is bad" for item in range(-count // 2, count)}
    assert sorted(item for turn in disk.turns for item in turn) == sorted(results)
    assert len(disk.turns[0]) == 1, "who comes first waits for nobody"
    assert max(map(len, disk.turns)) <= MOST
    assert len(disk.turns) < max(2, len(results)) or len(results) <= lanes + 1


@pytest.mark.parametrize(("crowd", "turns"), [(FEW - 1, 1), (FEW, 2)])
def test_only_a_crowd_is_worth_another_thread(crowd: int, turns: int) -> None:
    disk = Disk()
    results: dict[int, int | str] = {}
    begun = 0

    async def main() -> None:
        nonlocal begun
        together = Together(disk.act, lanes=2)
        async with anyio.create_task_group() as group:
            group.start_soon(ask, together, 0, results)
            await until_begun(disk, 1)
            for item in range(1, 1 + crowd):
                group.start_soon(ask, together, item, results)
            await until_begun(disk, turns)
            for _ in range(20):
                await checkpoint()
            begun = len(disk.turns)
            disk.go.set()

    anyio.run(main)
    assert begun == turns
    assert len(results) == 1 + crowd


def test_who_comes_in_one_turn_of_the_event_loop_shares_a_turn_at_the_disk() -> None:
    disk = Disk()
    disk.go.set()
    results: dict[int, int | str] = {}

    async def main() -> None:
        together = Together(disk.act, lanes=2)
        async with anyio.create_task_group() as group:
            for item in range(5):
                group.start_soon(ask, together, item, results)

    anyio.run(main)
    assert disk.turns == [[0, 1, 2, 3, 4]]
    assert results == {item: 2 * item for item in range(5)}


def test_who_is_in_a_hurry_takes_nobody_s_result_along() -> None:
    """Each of them may be the one that hands over for others."""
    disk = Disk()
    results: dict[int, int | str] = {}

    async def main() -> None:
        together = Together(disk.act, lanes=1)
        async with anyio.create_task_group() as patient, anyio.create_task_group() as hurried:
            for item in range(6):
                (hurried if item % 2 else patient).start_soon(ask, together, item, results)
            for _ in range(20):
                await checkpoint()
            hurried.cancel_scope.cancel()
            disk.go.set()

    anyio.run(main)
    assert {item: results[item] for item in (0, 2, 4)} == {0: 0, 2: 4, 4: 8}
    assert sorted(item for turn in disk.turns for item in turn) == list(range(6)), "what was begun is done"


def test_a_fault_of_the_turn_itself_is_everybody_s() -> None:
    results: dict[int, int | str] = {}

    def broken(items: Sequence[int]) -> list[int | Exception]:
        raise OSError("the disk is gone")

    async def main() -> None:
        together = Together(broken, lanes=1)
        async with anyio.create_task_group() as group:
            for item in range(3):
                group.start_soon(ask, together, item, results)

    anyio.run(main)
    assert results == dict.fromkeys(range(3), "the disk is gone")


@pytest.mark.parametrize("lanes", [1, 2, 8])
def test_all_lanes_are_there_after_any_load(lanes: int) -> None:
    disk = Disk()
    disk.go.set()

    async def main() -> Together[int, int]:
        together = Together(disk.act, lanes)

        async def ask_often(first: int) -> None:
            for item in range(first, first + 50):
                assert await together.do(item) == 2 * item

        async with anyio.create_task_group() as group:
            for first in range(0, 40_000, 1000):
                group.start_soon(ask_often, first)
        return together

    assert anyio.run(main).is_free
    assert sum(map(len, disk.turns)) == 2000


def test_a_turn_that_gives_too_few_results_leaves_nobody_waiting() -> None:
    async def main() -> list[int | str]:
        together: Together[int, int] = Together(lambda items: [2 * item for item in items[:-1]], lanes=1)
        results: dict[int, int | str] = {}

        async def tell(item: int) -> None:
            try:
                results[item] = await together.do(item)
            except ValueError:
                results[item] = "no result"

        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                for item in range(5):
                    group.start_soon(tell, item)
        assert together.is_free
        return [results[item] for item in range(5)]

    assert anyio.run(main) == [0, 2, 4, 6, "no result"]


@pytest.mark.parametrize(("count", "lanes", "turns"), [(20, 2, [20]), (31, 2, [31]), (32, 2, [16, 16])])
def test_a_few_who_would_be_left_over_go_along(count: int, lanes: int, turns: list[int]) -> None:
    disk = Disk()
    disk.go.set()
    results: dict[int, int | str] = {}

    async def main() -> None:
        together = Together(disk.act, lanes)
        async with anyio.create_task_group() as group:
            for item in range(count):
                group.start_soon(ask, together, item, results)

    anyio.run(main)
    assert sorted(map(len, disk.turns)) == turns


@pytest.mark.parametrize("count", [1, 15, 140, 200, 600])
def test_who_is_told_that_a_turn_begins_at_once_is_in_one_while_the_disk_stands_still(count: int) -> None:
    disk, told = Disk(), set[int]()

    async def come(together: Together[int, int], item: int) -> None:
        if together.is_free:
            told.add(item)
        await together.do(item)

    async def main() -> None:
        together = Together(disk.act, lanes=8)
        async with anyio.create_task_group() as group:
            for item in range(count):
                group.start_soon(come, together, item)
            await until_begun(disk, 1)
            await anyio.sleep(0.05)  # real, for threads: any other lanes begin, too
            assert told <= {item for turn in disk.turns for item in turn}
            disk.go.set()

    anyio.run(main)
    assert told


def test_without_another_thread_to_be_had_the_one_that_is_there_does_it_all(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk()
    disk.go.set()
    results: dict[int, int | str] = {}

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        together = Together(disk.act, lanes=4)
        monkeypatch.setattr(threading.Thread, "start", refuse)
        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                for item in range(100):
                    group.start_soon(ask, together, item, results)
        assert together.is_free

    anyio.run(main)
    assert results == {item: 2 * item for item in range(100)}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has such a setting")
@pytest.mark.parametrize("call", ["sched_getscheduler", "sched_setscheduler"])
def test_a_system_that_will_not_have_threads_give_way_is_served_all_the_same(
    monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(38, "Function not implemented")

    disk = Disk()
    disk.go.set()
    monkeypatch.setattr(f"batchbanana.scheduling.os.{call}", refuse)

    async def main() -> int:
        with anyio.fail_after(20):
            return await Together(disk.act, lanes=2).do(3)

    assert anyio.run(main) == 6
