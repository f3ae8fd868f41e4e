"""The way to an image behind an address: judged at every step, to the very address judged, and without a key."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_address
from pathlib import Path

import anyio
import pytest

from batchbanana.task import Rung
from batchbanana.transport import Answer, Downloads, End, Guard, Sink
from batchbanana.transport.guard import Address
from tests.support.build import rung
from tests.support.tls import certified
from tests.support.web import Web, dripping, reply, web


def fetched(
    url: str,
    base: str = "http://127.0.0.1:1",
    *,
    names: Mapping[str, Sequence[str]] | None = None,
    tls: ssl.SSLContext | None = None,
    limits: Rung | None = None,
) -> tuple[Answer, bytes]:
    """Fetch an address for a base; `names` is what the system's resolver would say."""
    came = bytearray()

    def feed(data: bytes) -> bool:
        came.extend(data)
        return True

    async def known(host: str, _port: int) -> Sequence[Address]:
        if host not in (names or {}):
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [ip_address(text) for text in (names or {})[host]]

    async def main() -> Answer:
        downloads = Downloads(Guard(base, "canary-key"), tls, known)
        return await downloads.fetch(url, limits or rung(), Sink(feed, lambda: True))

    return anyio.run(main), bytes(came)


def test_an_image_is_fetched_without_any_authentication() -> None:
    with web(lambda handler: reply(handler, b"image")) as server:
        answer, came = fetched(f"{server.url}/a.png?sig=1", server.url)
    assert (answer.end, answer.status, came) == (End.WHOLE, 200, b"image")
    [asked] = server.asked
    assert (asked.method, asked.path) == ("GET", "/a.png?sig=1")
    assert set(asked.headers) == {"host", "accept", "accept-encoding", "connection", "user-agent"}
    assert "canary" not in str(asked.headers)


def test_the_connection_goes_to_the_address_that_was_judged_and_the_host_keeps_its_name() -> None:
    with web(lambda handler: reply(handler, b"image")) as server:
        answer, _ = fetched(f"http://cdn.example:{server.port}/a", names={"cdn.example": ["127.0.0.1"]})
    assert answer.status == 200
    assert server.asked[0].headers["host"] == f"cdn.example:{server.port}"


def test_a_name_that_resolves_into_a_private_network_is_not_asked() -> None:
    with web(reply) as server:
        names = {"cdn.example": ["127.0.0.1", "10.0.0.1"]}
        answer, _ = fetched(f"https://cdn.example:{server.port}/a", "https://relay.example", names=names)
    assert (answer.end, answer.problem) == (End.FORBIDDEN, "its address is in a private network")
    assert server.asked == []


def test_of_several_addresses_those_that_may_be_asked_are_tried_until_one_answers() -> None:
    with web(lambda handler: reply(handler, b"image")) as server:
        names = {"cdn.example": ["10.0.0.1", "127.0.0.9", "127.0.0.1"]}
        answer, _ = fetched(f"http://cdn.example:{server.port}/a", names=names)
    assert answer.status == 200


def test_a_name_that_nobody_knows_or_that_has_no_address_was_not_asked() -> None:
    answer, _ = fetched("https://gone.example/a")
    assert (answer.end, answer.problem) == (End.UNSENT, "its host is not found")
    answer, _ = fetched("https://empty.example/a", names={"empty.example": []})
    assert (answer.end, answer.problem) == (End.UNSENT, "its host has no address")


def test_the_system_is_asked_for_names() -> None:
    async def main() -> Answer:
        return await Downloads(Guard("http://127.0.0.1:8000")).fetch(
            f"http://localhost:{server.port}/", rung(), Sink(lambda _: True, lambda: True)
        )

    with web(lambda handler: reply(handler, b"image")) as server:
        assert anyio.run(main).status == 200


def redirecting(targets: Sequence[str]) -> Callable[[BaseHTTPRequestHandler], None]:
    """Answer `/<n>` with a redirect to the n-th target, and anything else with an image."""

    def respond(handler: BaseHTTPRequestHandler) -> None:
        number = handler.path.strip("/")
        if number.isdigit() and int(number) < len(targets):
            reply(handler, b"moved", 302, location=targets[int(number)])
        else:
            reply(handler, b"image")

    return respond


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed_also_to_a_relative_address(status: int) -> None:
    def respond(handler: BaseHTTPRequestHandler) -> None:
        if handler.path == "/a/b":
            reply(handler, b"moved", status, location="../c?d=e")
        else:
            reply(handler, b"image")

    with web(respond) as server:
        answer, came = fetched(f"{server.url}/a/b")
    assert (answer.status, came) == (200, b"image")
    assert server.asked[1].path == "/c?d=e"


def test_three_redirects_are_followed_and_a_fourth_is_not() -> None:
    with web(redirecting(["/1", "/2", "/3"])) as server:
        assert fetched(f"{server.url}/0")[0].status == 200
    with web(redirecting(["/1", "/2", "/3", "/4"])) as server:
        answer, came = fetched(f"{server.url}/0")
        assert (answer.end, came) == (End.FORBIDDEN, b"")
        assert "more than 3 times" in answer.problem
        assert len(server.asked) == 4


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("http://10.0.0.1/a", "private network"),
        ("http://169.254.169.254/latest/meta-data", "private network"),
        ("//192.168.0.1/a", "private network"),
        ("ftp://127.0.0.1/a", "not https"),
        ("http://me:pw@127.0.0.1/a", "user name or password"),
        ("http://127.0.0.1/?k=canary-key", "API key"),
        ("http://[::1", "no address"),
    ],
)
def test_where_a_redirect_points_is_judged_anew(location: str, why: str) -> None:
    with web(redirecting([location])) as server:
        answer, _ = fetched(f"{server.url}/0")
    assert answer.end is End.FORBIDDEN
    assert why in answer.problem


def test_a_redirect_without_an_address_is_what_it_says() -> None:
    with web(lambda handler: reply(handler, b"", 302)) as server:
        answer, _ = fetched(server.url)
    assert (answer.end, answer.status) == (End.WHOLE, 302)


def test_an_image_that_drips_ends_as_a_stall() -> None:
    with dripping() as server:
        answer, _ = fetched(server.url, limits=rung(timeout=30, stall=0.3))
    assert (answer.end, answer.status) == (End.LATE, 200)


def test_a_server_that_says_nothing_is_given_up_at_the_deadline() -> None:
    def hang(_handler: BaseHTTPRequestHandler) -> None:
        done.wait(10)

    done = threading.Event()
    with web(hang) as server:
        answer, _ = fetched(server.url, limits=rung(timeout=0.3, stall=0.3))
        done.set()
    assert (answer.end, answer.status) == (End.LATE, None)


def test_through_a_proxy_the_address_is_judged_as_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with web(lambda handler: reply(handler, b"image")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.removeprefix("http://"))
        answer, _ = fetched("http://cdn.example/a.png")
        assert answer.status == 200
        assert proxy.asked[0].path == "http://cdn.example/a.png"
        assert fetched("http://10.0.0.1/a.png")[0].end is End.FORBIDDEN
        with web(reply) as server:
            assert fetched(f"{server.url}/a.png")[0].status == 200
            assert fetched(f"http://localhost:{server.port}/", names={"localhost": ["127.0.0.1"]})[0].status == 200
        monkeypatch.setenv("no_proxy", "cdn.example")
        assert fetched("http://cdn.example/a.png")[0].problem == "its host is not found"
        assert len(proxy.asked) == 1


def test_an_environment_that_cannot_work_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", "socks9://127.0.0.1:1")
    answer, _ = fetched("http://cdn.example/a.png")
    assert (answer.end, answer.problem) == (End.UNSENT, "the proxy that the environment names cannot be used")
    monkeypatch.delenv("all_proxy")
    monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent")
    answer, _ = fetched("https://cdn.example/a.png", names={"cdn.example": ["127.0.0.1"]})
    assert (answer.end, "SSL_CERT_FILE" in answer.problem) == (End.TLS, True)


# TLS: the name is verified although the connection goes to an address


@contextlib.contextmanager
def https(folder: Path, name: str) -> Iterator[tuple[Web, ssl.SSLContext]]:
    """Serve images over TLS under a name; gives the server and a context that trusts it alone."""
    serving, trusting = certified(folder, name)
    with web(lambda handler: reply(handler, b"image"), serving) as server:
        yield server, trusting


def test_tls_verifies_the_name_and_not_the_address(tmp_path: Path) -> None:
    with https(tmp_path, "cdn.example") as (server, trusting):
        names = {"cdn.example": ["127.0.0.1"], "other.example": ["127.0.0.1"]}
        answer, came = fetched(f"https://cdn.example:{server.port}/a", names=names, tls=trusting)
        assert (answer.status, came) == (200, b"image"), answer
        answer, _ = fetched(f"https://other.example:{server.port}/a", names=names, tls=trusting)
        assert (answer.end, answer.status) == (End.TLS, None)
        answer, _ = fetched(f"https://cdn.example:{server.port}/a", names=names)
        assert (answer.end, answer.problem) == (End.TLS, "the server's certificate is not trusted")
        assert len(server.asked) == 1
