"""A lane: one connection with a key, used by one request at a time.

A lane is a transport with a single connection, because a pool that many share costs time that grows with the square of
its size, and because a cancelled request then spoils its own connection only.
"""

import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from urllib.parse import urlsplit

import anyio
import httpx

from batchbanana.errors import NeedsPersonError
from batchbanana.task import Rung
from batchbanana.transport import client
from batchbanana.transport.download import Downloads
from batchbanana.transport.endpoint import Endpoint
from batchbanana.transport.exchange import MOST_OF_AN_ERROR, Answer, End, Exchange, Sink
from batchbanana.transport.guard import Guard, is_loopback
from batchbanana.transport.patience import Patience
from batchbanana.transport.proxies import check_proxies, proxy_for
from batchbanana.transport.secret import Secret


class Lanes:
    """Makes lanes that share one TLS context: building one costs 30 ms and a megabyte.

    Raises:
        NeedsPersonError: the environment names certificates or a proxy that cannot be used.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._secret = endpoint.secret
        self._tls = _tls_context(endpoint)
        # A proxy for the outside must not see loopback traffic, nor matters then what it is.
        if not is_loopback(endpoint.host):
            check_proxies()
        parts = urlsplit(endpoint.base)
        self._proxy = proxy_for(parts.scheme, endpoint.host, parts.port)
        self._buffer = client.buffer()

    def open(self) -> "Lane":
        """Make a lane; it connects when it is first used."""
        return Lane(self.endpoint, self._secret, self._tls, self._proxy, self._buffer)

    def downloads(self) -> Downloads:
        """Make what fetches the images that answers only point to, without the key."""
        return Downloads(Guard(self.endpoint.base, self.endpoint.key), self._tls)


def _tls_context(endpoint: Endpoint) -> ssl.SSLContext | None:
    if not endpoint.base.startswith("https"):
        return None
    try:
        context = httpx.create_ssl_context()
    except (OSError, ssl.SSLError) as error:
        raise NeedsPersonError(
            "The certificates that SSL_CERT_FILE or SSL_CERT_DIR names cannot be read; correct or unset them"
        ) from error
    context.set_alpn_protocols(["http/1.1"])  # as the HTTP library says, too: a server may want to be told
    return context


class Lane:
    """One connection, used by one request at a time.

    Args:
        endpoint: where requests go.
        secret: its key.
        tls: None where no TLS is spoken.
        proxy: the one to use; None goes straight.
        buffer: what bytes are received in; lanes of one event loop share it.
    """

    def __init__(
        self, endpoint: Endpoint, secret: Secret, tls: ssl.SSLContext | None, proxy: str | None, buffer: bytearray
    ) -> None:
        self.secret = secret
        self._base = endpoint.base
        self._headers = (("accept", "application/json"), *endpoint.headers().items())
        self._tls = tls
        self._proxy = proxy
        self._buffer = buffer
        self._transport: httpx.AsyncBaseTransport | None = None

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
            path,
            lambda url: client.post(url, (*self._headers, *headers), exchange.departing(body())),
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
        exchange = Exchange(Patience(rung, anyio.current_time()), Sink(feed, lambda: False))
        answer = await self._exchange(exchange, path, lambda url: client.get(url, self._headers))
        return replace(answer, body=bytes(body)) if answer.status == 200 else answer

    async def _exchange(self, exchange: Exchange, path: str, build: Callable[[httpx.URL], httpx.Request]) -> Answer:
        try:
            request = build(client.address(self._base + path))
            answer = await exchange.run(self._open(), request)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            answer = exchange.explain(error)
        if answer.end is not End.WHOLE:
            await self.close()
        return answer

    async def close(self) -> None:
        """Drop the connection; the next request opens another."""
        transport, self._transport = self._transport, None
        if transport is not None:
            await client.disconnect(transport)

    def _open(self) -> httpx.AsyncBaseTransport:
        if self._transport is None:
            straight = self._proxy is None
            self._transport = (
                client.line(self._tls, self._buffer) if straight else client.connect(self._tls, self._proxy)
            )
        return self._transport
