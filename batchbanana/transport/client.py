"""How the HTTP library is set up, the same for every request."""

import ssl
from collections.abc import Mapping

import anyio
import httpcore  # noqa: F401 -- httpx would import it in the first client, on the event loop, for tens of milliseconds
import httpx

CONNECT_TIMEOUT = 10.0  # seconds
LONGEST_CONNECT = (
    25.0  # seconds for all of connecting: TCP and TLS have the above each, a proxy's answer has no time at all
)
KEEP_ALIVE = 3.0  # seconds; below the 5 after which common servers drop an idle connection just as we reuse it
LOCATION = "redirected to"  # where a response keeps the address that it redirects to


def connect(
    tls: ssl.SSLContext | bool, headers: Mapping[str, str], *, trust_env: bool, proxy: str | None = None
) -> httpx.AsyncClient:
    """Make a client of one connection, which connects when it is first used and follows no redirect.

    Args:
        tls: False where no TLS is spoken.
        headers: sent with every request.
        trust_env: whether the environment's proxies are used.
        proxy: the one to use.

    Raises:
        ImportError, ValueError, httpx.InvalidURL: a proxy that cannot be used.
    """
    return httpx.AsyncClient(
        verify=tls,
        timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT),
        limits=httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEEP_ALIVE),
        follow_redirects=False,  # the key must not travel
        trust_env=trust_env,
        proxy=proxy,
        headers={"accept-encoding": "identity", "user-agent": "batchbanana", **headers},
        event_hooks={"response": [_put_location_away]},
    )


async def disconnect(client: httpx.AsyncClient) -> None:
    """Drop a client's connection, whoever is in a hurry."""
    with anyio.CancelScope(shield=True), anyio.move_on_after(CONNECT_TIMEOUT):
        await client.aclose()


async def _put_location_away(response: httpx.Response) -> None:
    # httpx builds the redirected request even when it is not to be sent, and fails when the address is none: then the
    # answer's status would be lost.
    location = response.headers.pop("location", None)
    if location is not None:
        response.extensions[LOCATION] = location
