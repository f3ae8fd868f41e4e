"""How the HTTP library is set up, the same for every request.

Its transports are used as they are. The client above them would look for cookies, authentication and redirects, of
which there are none here, and takes as much time for a small answer as all the rest.
"""

import ssl
from collections.abc import AsyncIterator, Iterable
from functools import lru_cache

import anyio
import httpcore  # noqa: F401 -- httpx would import it in the first transport, on the event loop, for tens of milliseconds
import httpx

from batchbanana.transport.line import CONNECT_TIMEOUT, READ, Line

LONGEST_CONNECT = (
    25.0  # seconds for all of connecting: TCP and TLS have the above each, a proxy's answer has no time at all
)
KEEP_ALIVE = 4.0  # seconds; below the 5 after which common servers drop an idle connection just as we reuse it
LIMITS = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEEP_ALIVE)
TIMEOUTS = httpx.Timeout(None, connect=CONNECT_TIMEOUT).as_dict()  # an exchange as a whole has a deadline of its own
HEADERS = (("connection", "keep-alive"), ("accept-encoding", "identity"), ("user-agent", "batchbanana"))
NOT_TRUSTING = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # for where no TLS is spoken: it takes no certificate at all

address = lru_cache(maxsize=64)(httpx.URL)  # reading one takes 50 us, and a job asks the same few
"""Read an address; raises httpx.InvalidURL."""


def connect(tls: ssl.SSLContext | None, proxy: str | None = None) -> httpx.AsyncHTTPTransport:
    """Make a transport of one connection, which connects when it is first used and follows no redirect.

    Args:
        tls: None where no TLS is spoken.
        proxy: the one to use; None goes straight, whatever the environment says.

    Raises:
        ImportError, ValueError, httpx.InvalidURL: a proxy that cannot be used.
    """
    return httpx.AsyncHTTPTransport(verify=tls or NOT_TRUSTING, trust_env=False, limits=LIMITS, proxy=proxy)


def line(tls: ssl.SSLContext | None, buffer: bytearray) -> Line:
    """Make a connection straight to where requests go, which connects when it is first used.

    Args:
        tls: None where no TLS is spoken.
        buffer: what bytes are received in, of `buffer`.
    """
    return Line(tls, KEEP_ALIVE, buffer)


def buffer() -> bytearray:
    """Make what the lines of one event loop receive bytes in."""
    return bytearray(READ)


async def disconnect(transport: httpx.AsyncBaseTransport) -> None:
    """Drop a transport's connection, whoever is in a hurry."""
    with anyio.move_on_after(CONNECT_TIMEOUT, shield=True):
        await transport.aclose()


class _Body(httpx.AsyncByteStream):
    """A request's body, given once."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces


def get(url: httpx.URL, headers: Iterable[tuple[str, str]], sni: str | None = None) -> httpx.Request:
    """Build a request without a body.

    Args:
        url: where the connection goes.
        headers: all but `HEADERS`.
        sni: the name for TLS to ask for and to verify, where it is not the address's.
    """
    extensions = {"timeout": TIMEOUTS, "sni_hostname": sni} if sni else {"timeout": TIMEOUTS}
    return httpx.Request("GET", url, headers=[*headers, *HEADERS], extensions=extensions)


def post(url: httpx.URL, headers: Iterable[tuple[str, str]], body: AsyncIterator[bytes]) -> httpx.Request:
    """Build a request whose body comes in pieces.

    Args:
        url: where the connection goes.
        headers: all but `HEADERS`, with the body's length.
        body: its pieces.
    """
    headers = [("host", url.netloc.decode("ascii")), *headers, *HEADERS]
    return httpx.Request("POST", url, headers=headers, stream=_Body(body), extensions={"timeout": TIMEOUTS})
