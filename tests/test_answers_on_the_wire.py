"""How an answer comes to its end, and what follows it on the same connection."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import anyio
import pytest

from batchbanana.transport import Answer, End, Endpoint, Lane, Lanes, Sink, exchange
from tests.support.build import rung

RUNG = rung("4K", timeout=20, stall=10)
HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def chunked(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)


@contextmanager
def answering(*answers: bytes) -> Iterator[str]:
    """Answer one request after the other with these very bytes, on one connection that stays open."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            for answer in answers:
                seen = b""
                while not seen.endswith(b"\r\n\r\n{}"):
                    if not (more := connection.recv(65536)):
                        return  # it was not kept for the next request
                    seen += more
                connection.sendall(answer)
            over.wait(30)

    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            over.set()
            thread.join()


async def post(lane: Lane, came: list[bytes], size: int) -> Answer:
    """Ask; the document is complete when so many bytes have come."""

    async def body() -> AsyncIterator[bytes]:
        yield b"{}"

    def feed(data: bytes) -> bool:
        came.append(data)
        return len(b"".join(came)) < size

    return await lane.post("/x", (("content-length", "2"),), body, RUNG, Sink(feed, lambda: False))


def asked(url: str, *sizes: int) -> list[tuple[End, bytes]]:
    """Ask several times over one lane; gives how each answer ended, and what of it was told."""

    async def main() -> list[tuple[End, bytes]]:
        lane = Lanes(Endpoint.build(url, None, "key")).open()
        told = []
        try:
            for size in sizes:
                came: list[bytes] = []
                told.append(((await post(lane, came, size)).end, b"".join(came)))
        finally:
            await lane.close()
        return told

    return anyio.run(main)


def test_each_answer_on_a_connection_is_read_to_its_own_end() -> None:
    answers = [HEAD + chunked(b"one ", b"is here") + b"0\r\n\r\n", HEAD + chunked(b"two") + b"0\r\n\r\n"]
    with answering(*answers, answers[0]) as url:
        assert asked(url, 11, 3, 11) == [(End.WHOLE, b"one is here"), (End.WHOLE, b"two"), (End.WHOLE, b"one is here")]


def test_what_came_before_a_fault_in_the_same_breath_is_told() -> None:
    with answering(HEAD + chunked(b"paid ", b"image") + b"no chunk\r\n") as url:
        assert asked(url, 10) == [(End.WHOLE, b"paid image")]
    with answering(HEAD + chunked(b"half ", b"an") + b"no chunk\r\n") as url:
        assert asked(url, 10) == [(End.BROKEN, b"half an")]


def test_many_parts_that_came_together_are_told_together() -> None:
    parts = [b"%d " % number for number in range(50)]
    with answering(HEAD + chunked(*parts) + b"0\r\n\r\n") as url:
        [(end, told)] = asked(url, len(b"".join(parts)))
    assert (end, told) == (End.WHOLE, b"".join(parts))


@pytest.mark.parametrize("is_hurried", [False, True])
def test_an_answer_whose_transfer_never_ends_is_whole_soon_and_nobodys_hurry_costs_it(
    monkeypatch: pytest.MonkeyPatch, *, is_hurried: bool
) -> None:
    monkeypatch.setattr(exchange, "LINGER", 0.1)

    async def main(url: str) -> list[Answer]:
        lane, ended = Lanes(Endpoint.build(url, None, "key")).open(), list[Answer]()

        async def ask() -> None:
            ended.append(await post(lane, came, 10))

        came: list[bytes] = []
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                group.start_soon(ask)
                while not came:  # noqa: ASYNC110 -- bytes of another thread's
                    await anyio.sleep(0.001)
                if is_hurried:
                    asyncio.get_running_loop().call_soon(group.cancel_scope.cancel)
        await lane.close()
        return ended

    with answering(HEAD + chunked(b"paid image")) as url:
        [answer] = anyio.run(main, url)
    assert answer.end is End.WHOLE
