"""A lane: one connection with a key, used by one request at a time.

A lane is a client with a single connection, because a pool that many share costs time that grows with the square of its
size, and because a cancelled request then spoils its own connection only.
"""

import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from urllib.request import getproxies

import anyio
import httpx

from batchbanana.errors import NeedsPersonError
from batchbanana.task import Rung
from batchbanana.transport.client import connect, disconnect
from batchbanana.transport.download import Downloads
from batchbanana.transport.endpoint import LOOPBACK, Endpoint
from batchbanana.transport.exchange import MOST_OF_AN_ERROR, Answer, End, Exchange, Sink
from batchbanana.transport.guard import Guard
from batchbanana.transport.patience import Patience
from batchbanana.transport.secret import Secret


class Lanes:
    """Makes lanes that share one TLS context: building one costs 30 ms and a megabyte."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._tls = _tls_context(endpoint)
        _check_proxies(endpoint)

    def open(self) -> "Lane":
        """Make a lane; it connects when it is first used."""
        return Lane(self.endpoint, self._tls)

    def downloads(self) -> Downloads:
        """Make what fetches the images that answers only point to, without the key."""
        guard = Guard(self.endpoint.base, self.endpoint.key)
        return Downloads(guard, self._tls if isinstance(self._tls, ssl.SSLContext) else None)


def _tls_context(endpoint: Endpoint) -> ssl.SSLContext | bool:
    if not endpoint.base.startswith("https"):
        return False
    try:
        return httpx.create_ssl_context()
    except (OSError, ssl.SSLError) as error:
        raise NeedsPersonError(
            "The certificates that SSL_CERT_FILE or SSL_CERT_DIR names cannot be read; correct or unset them"
        ) from error


def _check_proxies(endpoint: Endpoint) -> None:
    """Find out before anything is sent whether the environment names a proxy that cannot be used."""
    is_asked = endpoint.host not in LOOPBACK
    try:
        connect(False, {}, trust_env=is_asked)  # never connects
        for name in ("http", "https", "all") if is_asked else ():
            _check_proxy(getproxies().get(name, ""))
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise NeedsPersonError(
            "The proxy that HTTP_PROXY, HTTPS_PROXY or ALL_PROXY names cannot be used; correct or unset it"
        ) from error


def _check_proxy(proxy: str) -> None:
    """Look at an address's host and port, which the HTTP library takes as they come.

    Raises:
        ValueError: there are none such.
    """
    url = httpx.URL(proxy if "://" in proxy else f"http://{proxy}")
    has_port = url.port is None or 0 < url.port <= 65535
    if proxy and not (url.raw_host and b"%" not in url.raw_host and has_port):
        raise ValueError("no host or no port")


class Lane:
    """One connection, used by one request at a time."""

    def __init__(self, endpoint: Endpoint, tls: ssl.SSLContext | bool) -> None:
        self._endpoint = endpoint
        self._tls = tls
        self._client: httpx.AsyncClient | None = None

    async def post(
        self,
        path: str,
        headers: tuple[tuple[str, str], ...],
        body: Callable[[], AsyncIterator[bytes]],
        rung: Rung,
        sink: Sink,
    ) -> Answer:
        """Send one request and stream its answer; never raises but for cancellation.

        Args:
            path: below the base URL.
            headers: everything but authentication.
            body: gives the request's body in pieces.
            rung: its timeout and stall bound the exchange.
            sink: takes the body of a 200.
        """
        exchange = Exchange(Patience(rung, anyio.current_time()), sink)
        return await self._exchange(
            exchange,
            lambda client: client.build_request(
                "POST",
                self._endpoint.base + path,
                headers=[*headers, *self._endpoint.headers().items()],
                content=exchange.departing(body()),
            ),
        )

    async def get(self, path: str, seconds: float = 10.0) -> Answer:
        """Ask for something small; never raises but for cancellation.

        Args:
            path: below the base URL.
            seconds: for all of it.

        Returns:
            The answer, whose `body` is there whatever the status; when it was cut at 1 MiB, it is not whole JSON.
        """
        body = bytearray()

        def feed(data: bytes) -> bool:
            body.extend(data[: MOST_OF_AN_ERROR - len(body)])
            return len(body) < MOST_OF_AN_ERROR

        # Without a stall's grace and outside any image, only the deadline counts.
        rung = Rung(resolution="", timeout=seconds, stall=0.0, price=None)
        answer = await self._exchange(
            Exchange(Patience(rung, anyio.current_time()), Sink(feed, lambda: False)),
            lambda client: client.build_request("GET", self._endpoint.base + path, headers=self._endpoint.headers()),
        )
        return replace(answer, body=bytes(body)) if answer.status == 200 else answer

    async def _exchange(self, exchange: Exchange, build: Callable[[httpx.AsyncClient], httpx.Request]) -> Answer:
        try:
            client = self._open()
            answer = await exchange.run(client, build(client))
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            answer = exchange.explain(error)
        if answer.end is not End.WHOLE:
            await self.close()
        return answer

    @property
    def secret(self) -> Secret:
        """The key, which must not be quoted."""
        return self._endpoint.secret

    async def close(self) -> None:
        """Drop the connection; the next request opens another."""
        client, self._client = self._client, None
        if client is not None:
            await disconnect(client)

    def _open(self) -> httpx.AsyncClient:
        if self._client is None:
            # A proxy for the outside must not see loopback traffic.
            self._client = connect(
                self._tls, {"accept": "application/json"}, trust_env=self._endpoint.host not in LOOPBACK
            )
        return self._client
