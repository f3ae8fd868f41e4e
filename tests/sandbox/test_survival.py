"""Whatever a client does, the sandbox serves the next one, and has nothing to log."""

import json
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from urllib.parse import urlsplit

import pytest

from batchbanana.sandbox.running import Handle
from tests.sandbox.client import PNG_MODEL, Caller, request, sandbox

_HEAD = f"POST /v1beta/models/{PNG_MODEL}:generateContent HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\n".encode()


def _whole(head: bytes = _HEAD) -> bytes:
    body = json.dumps(request()).encode()
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


@contextmanager
def _connected(handle: Handle) -> Iterator[socket.socket]:
    address = urlsplit(handle.url)
    with socket.create_connection((address.hostname, address.port), timeout=5) as connection:
        yield connection


def _answers(connection: socket.socket) -> bytes:
    received = b""
    while data := connection.recv(65_536):
        received += data
    return received


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"hello\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n",
        b"GET /" + b"a" * 100_000,
        _HEAD + b"Content-Length: 100\r\n\r\n{",
        _HEAD + b"Content-Length: ten\r\n\r\n",
        _HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /sandbox/bill HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        _whole() * 3,
        _whole()[:-1],
    ],
)
@pytest.mark.parametrize("abruptly", [True, False])
def test_a_client_that_sends_anything_and_leaves_is_survived(data: bytes, abruptly: bool) -> None:
    with sandbox(latency=0.01) as caller:
        with _connected(caller.handle) as connection:
            if abruptly:  # a linger of nothing makes the close a reset
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(data)
        assert caller.ask().status_code == 200


@pytest.mark.parametrize("effects", [{"drip": 100}, {"delay": 600}, {"signature": 30_000_000}])
def test_a_client_that_leaves_in_the_middle_is_noticed_and_billed(effects: dict[str, object]) -> None:
    with sandbox({"when": {"nth": 1}, "then": effects}) as caller:
        with _connected(caller.handle) as connection:
            connection.sendall(_whole())
            connection.settimeout(0.1)
            with suppress(TimeoutError):
                connection.recv(10)
        assert any(_alone(caller) for _ in range(500))
        assert caller.handle.requests()[0]["billed"]


def _alone(caller: Caller) -> bool:
    caller.ask()
    return bool(caller.handle.requests()[-1]["in_flight_at_arrival"] == 1)


def test_garbage_is_told_so() -> None:
    with sandbox() as caller, _connected(caller.handle) as connection:
        connection.sendall(b"hello\r\n\r\n")
        assert _answers(connection).startswith(b"HTTP/1.1 400")


def test_requests_sent_ahead_are_answered_in_order() -> None:
    with sandbox(latency=0.02) as caller, _connected(caller.handle) as connection:
        connection.sendall(_whole() * 2 + _whole(_HEAD + b"Connection: close\r\n"))
        assert _answers(connection).count(b"HTTP/1.1 200") == 3


def test_an_old_client_gets_a_body_that_ends_with_the_connection() -> None:
    with sandbox() as caller, _connected(caller.handle) as connection:
        connection.sendall(_whole(_HEAD.replace(b"HTTP/1.1", b"HTTP/1.0")))
        head, _, body = _answers(connection).partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert json.loads(body)["candidates"]


def test_a_client_that_waits_for_leave_to_send_gets_it() -> None:
    with sandbox() as caller, _connected(caller.handle) as connection:
        body = json.dumps(request()).encode()
        connection.sendall(_HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))
        assert connection.recv(100).startswith(b"HTTP/1.1 100")
        connection.sendall(body)
        assert connection.recv(100).startswith(b"HTTP/1.1 200")


def test_one_connection_serves_many_requests() -> None:
    with sandbox({"when": {"every": 2}, "then": {"error": "internal"}}) as caller:
        streams = {id(caller.ask().extensions["network_stream"]) for _ in range(6)}
    assert len(streams) == 1


def test_hundreds_of_open_connections_do_not_hinder_one() -> None:
    with sandbox() as caller, ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(_connected(caller.handle))
        assert caller.ask().status_code == 200
