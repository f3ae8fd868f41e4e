"""Fetches what an answer only points to: guarded at every step, and without any authentication.

Where the environment names no proxy for an address, its name is looked up once, what it resolves to is judged, and the
connection goes to exactly what was judged; TLS still verifies the name. Through a proxy the address as it is written is
judged all the same, but the proxy looks the name up, and what that resolves to is the proxy's to judge.
"""

import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence

import anyio
import httpx
from anyio import to_thread

from batchbanana.task import Rung
from batchbanana.transport import client
from batchbanana.transport.exchange import Answer, End, Exchange, Sink
from batchbanana.transport.guard import Address, Guard, RefusedError, Target, address_of
from batchbanana.transport.patience import Patience
from batchbanana.transport.proxies import proxy_for
from batchbanana.transport.secret import Secret

MOST_REDIRECTS = 3
MOST_ADDRESSES = 4  # of one name that are tried in one go
REDIRECTS = frozenset({301, 302, 303, 307, 308})
ACCEPT = ("accept", "image/*, */*;q=0.5")

Resolver = Callable[[str, int], Awaitable[Sequence[Address]]]


async def resolve(host: str, port: int) -> Sequence[Address]:
    """Ask the system for a name's addresses, in the order in which to try them.

    Raises:
        OSError: it has none, or nobody can say.
    """
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [address_of(str(place[0])) for *_, place in found]


class Downloads:
    """Fetches addresses that a guard lets pass.

    Args:
        tls: shared with the lanes; None builds one when it is first needed.
        resolver: finds a name's addresses.
    """

    def __init__(self, guard: Guard, tls: ssl.SSLContext | None = None, resolver: Resolver = resolve) -> None:
        self._guard = guard
        self._tls = tls
        self._resolver = resolver
        self._building = anyio.Lock()

    @property
    def secret(self) -> Secret:
        """The key, which a server may have written into addresses and files."""
        return self._guard.secret

    def check(self, url: str) -> str:
        """Judge an address without asking anybody; gives it in full.

        Raises:
            RefusedError: it must not be asked.
        """
        url = self._guard.absolute(url)
        self._guard.target(url)
        return url

    async def fetch(self, url: str, rung: Rung, sink: Sink) -> Answer:
        """Get what is at an address, over at most three redirects; never raises but for cancellation.

        Args:
            url: as the server wrote it.
            rung: its timeout and stall bound all of it.
            sink: takes the body of a 200.

        Returns:
            The last answer, without its body; its end is `FORBIDDEN` where the guard said no.
        """
        patience = Patience(rung, anyio.current_time())
        try:
            target = self._guard.target(self._guard.absolute(url))
            for _ in range(MOST_REDIRECTS + 1):
                answer = await self._ask(target, patience, sink)
                location = answer.headers.get("location")
                if answer.status not in REDIRECTS or location is None:
                    return answer
                target = self._guard.target(_joined(target.url, location))
        except RefusedError as refused:
            return Answer(end=End.FORBIDDEN, problem=str(refused))
        except _UnusableError as unusable:
            return Answer(end=unusable.end, problem=str(unusable))
        return Answer(end=End.FORBIDDEN, problem=f"it is redirected more than {MOST_REDIRECTS} times")

    async def _ask(self, target: Target, patience: Patience, sink: Sink) -> Answer:
        """Ask one address without following where it points.

        Raises:
            RefusedError: the name resolves to nothing that may be asked.
        """
        exchange = Exchange(patience, sink, wanted=0)
        try:
            if (proxy := proxy_for(target.url.scheme, target.host, target.url.port)) is not None:
                return await self._send(exchange, target, target.url, proxy)
            answer = None
            for address in await self._addresses(target, patience):
                # The next address only when nothing can have been sent to this one.
                answer = await self._send(exchange, target, target.url.copy_with(host=str(address)))
                if answer.end is not End.UNSENT or answer.signature:
                    break
        except TimeoutError:
            return Answer(end=End.LATE, problem="its host was not found in time")
        except OSError:
            return Answer(end=End.UNSENT, problem="its host is not found")
        return answer or Answer(end=End.UNSENT, problem="its host has no address")

    async def _addresses(self, target: Target, patience: Patience) -> Sequence[Address]:
        if target.literal is not None:
            return [target.literal]
        with anyio.fail_after(patience.before_body - anyio.current_time()):
            found = await self._resolver(target.host, target.port)
        allowed = [address for address in found if self._guard.allows(target.host, address)]
        if found and not allowed:
            raise RefusedError("its address is in a private network")
        return allowed[:MOST_ADDRESSES]

    async def _send(self, exchange: Exchange, target: Target, url: httpx.URL, proxy: str | None = None) -> Answer:
        transport = await self._open(target, proxy)
        try:
            host = ("host", target.url.netloc.decode("ascii"))
            request = client.get(url, (host, ACCEPT), sni=target.host if target.literal is None else None)
            return await exchange.run(transport, request)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            return exchange.explain(error)
        finally:
            await client.disconnect(transport)

    async def _open(self, target: Target, proxy: str | None) -> httpx.AsyncHTTPTransport:
        try:
            tls = await self._context() if target.url.scheme == "https" else None
        except OSError as error:
            words = "the certificates that SSL_CERT_FILE or SSL_CERT_DIR names cannot be read"
            raise _UnusableError(End.TLS, words) from error
        try:
            return client.connect(tls, proxy)
        except (ImportError, ValueError, httpx.InvalidURL) as error:
            raise _UnusableError(End.UNSENT, "the proxy that the environment names cannot be used") from error

    async def _context(self) -> ssl.SSLContext:
        async with self._building:
            if self._tls is None:
                self._tls = await to_thread.run_sync(httpx.create_ssl_context)
            return self._tls


class _UnusableError(Exception):
    """What the environment says of certificates or proxies does not work."""

    def __init__(self, end: End, problem: str) -> None:
        super().__init__(problem)
        self.end = end


def _joined(url: httpx.URL, location: str) -> str:
    try:
        return str(url.join(location))
    except (httpx.InvalidURL, ValueError):
        raise RefusedError("it is redirected to what is no address") from None
