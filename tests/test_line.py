"""A connection straight to the server: what is lost, kept, and said when the other end does as it likes."""

import logging
import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import AsyncIterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import anyio
import httpx
import pytest
from anyio.lowlevel import checkpoint

from batchbanana.transport import Answer, End, Endpoint, Lanes, Patience, Sink, client
from batchbanana.transport.exchange import Exchange
from batchbanana.transport.line import MANY, MOST_UNREAD, Line
from tests.support.build import rung
from tests.support.tls import certified
from tests.support.web import reply, web

RUNG = rung("4K", timeout=20, stall=10)
NEARLY = b"x" * (MOST_UNREAD - 1000)  # of what may wait
REST = b"x" * 2000


def reset(connection: socket.socket) -> None:
    """Close a connection as one that has crashed."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(connection.detach())  # whatever files are open on it


async def read_late(line: Line, url: str) -> bytes:
    """Ask, and read the answer only when all that ever comes has come."""
    response = await line.handle_async_request(client.get(httpx.URL(url), []))
    await anyio.sleep(0.5)
    assert isinstance(response.stream, httpx.AsyncByteStream)
    body = b"".join([piece async for piece in response.stream])
    await response.stream.aclose()
    return body


def read_twice(url: str, tls: ssl.SSLContext | None) -> list[bytes]:
    async def main() -> list[bytes]:
        line = client.line(tls, client.buffer())
        try:
            return [await read_late(line, url) for _ in range(2)]
        finally:
            await line.aclose()

    return anyio.run(main)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_what_came_before_a_reset_is_read_however_late(tmp_path: Path, scheme: str) -> None:
    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(NEARLY + REST) + 30_000, NEARLY))
        for piece in (REST, bytes(30_000)):
            time.sleep(0.1)
            handler.wfile.write(piece)
        time.sleep(0.1)
        reset(handler.connection)

    serving, trusting = certified(tmp_path, "localhost") if scheme == "https" else (None, None)
    with web(respond, serving) as server:
        bodies = read_twice(f"{scheme}://localhost:{server.port}/", trusting)
    assert bodies == [NEARLY + REST + bytes(30_000)] * 2


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_answer_nobody_asked_for_is_never_the_next_ones(tmp_path: Path, scheme: str) -> None:
    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(NEARLY + REST), NEARLY))
        time.sleep(0.1)
        handler.wfile.write(REST)  # now too much waits, and the answer is whole
        time.sleep(0.1)
        reply(handler, b"of another")

    serving, trusting = certified(tmp_path, "localhost") if scheme == "https" else (None, None)
    with web(respond, serving) as server:
        bodies = read_twice(f"{scheme}://localhost:{server.port}/", trusting)
        assert len(server.asked) == 2
    assert bodies == [NEARLY + REST] * 2


def test_a_flood_of_small_pieces_lets_the_others_have_their_turns() -> None:
    pieces = 100 * MANY

    def respond(handler: BaseHTTPRequestHandler) -> None:
        head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        handler.wfile.write(head + b"1\r\nx\r\n" * pieces + b"0\r\n\r\n")

    async def main(url: str) -> tuple[int, int]:
        turns = 0

        async def take_turns() -> None:
            nonlocal turns
            while True:
                await checkpoint()
                turns += 1

        line = client.line(None, client.buffer())
        response = await line.handle_async_request(client.get(httpx.URL(url), []))
        assert isinstance(response.stream, httpx.AsyncByteStream)
        await anyio.sleep(0.2)  # all of it has come, so that nothing else makes it wait
        count = 0
        async with anyio.create_task_group() as group:
            group.start_soon(take_turns)
            async for piece in response.stream:
                count += len(piece)
            group.cancel_scope.cancel()
        await line.aclose()
        return count, turns

    with web(respond) as server:
        count, turns = anyio.run(main, server.url)
    assert count == pieces
    assert turns >= pieces // MANY // 2


def posted(url: str, body: AsyncIterator[bytes], size: int) -> Answer:
    async def main() -> Answer:
        lane = Lanes(Endpoint.build(url, None, "canary-key")).open()
        try:
            head = (("content-length", str(size)),)
            return await lane.post("/x", head, lambda: body, RUNG, Sink(lambda _: True, lambda: False))
        finally:
            await lane.close()

    return anyio.run(main)


def test_a_connection_that_breaks_while_much_is_sent_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    is_reset = threading.Event()

    async def body() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x"
            is_reset.wait(5)  # all the while, nobody looks at the connection

    def serve() -> None:
        connection, _ = listening.accept()
        connection.recv(1)
        reset(connection)
        is_reset.set()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        answer = posted(f"http://127.0.0.1:{listening.getsockname()[1]}", body(), 20)
        thread.join()
    assert (answer.end, caplog.messages) == (End.BROKEN, [])


def test_a_reset_while_tls_begins_says_nothing_of_the_servers_tls() -> None:
    """The event loop sends a hand's shake while it handles TLS's wish to read, which then stands behind the error."""
    unsent = httpx.ConnectError("Connection reset by peer")
    unsent.__cause__ = ConnectionResetError(104, "Connection reset by peer")
    unsent.__cause__.__context__ = ssl.SSLWantReadError(2, "The operation did not complete (read)")

    async def main() -> Answer:
        return Exchange(Patience(RUNG, 0), Sink(lambda _: True, lambda: False)).explain(unsent)

    answer = anyio.run(main)
    assert (answer.end, answer.problem) == (End.UNSENT, "cannot connect: Connection reset by peer")


def test_a_server_is_told_which_http_is_spoken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"{}"

    told: list[str | None] = []

    def respond(handler: BaseHTTPRequestHandler) -> None:
        assert isinstance(handler.connection, ssl.SSLSocket)
        told.append(handler.connection.selected_alpn_protocol())
        reply(handler, b"{}")

    serving, _ = certified(tmp_path, "localhost")
    serving.set_alpn_protocols(["h2", "http/1.1"])
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "server.pem"))
    with web(respond, serving) as server:
        answer = posted(f"https://localhost:{server.port}", body(), 2)
    assert (answer.end, answer.status, told) == (End.WHOLE, 200, ["http/1.1"])


@pytest.mark.parametrize("host", ["a..example", "a" * 64 + ".example"])
def test_what_can_be_nobodys_name_is_a_host_that_is_not_found(host: str) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"{}"

    assert posted(f"http://{host}:9", body(), 2).end is End.UNSENT
