"""Which of the environment's proxies stands between, and whether it can be one."""

from urllib.request import getproxies, proxy_bypass

import httpx

from batchbanana.errors import NeedsPersonError
from batchbanana.transport.client import connect
from batchbanana.transport.guard import is_loopback


def proxy_for(scheme: str, host: str, port: int | None = None) -> str | None:
    """Name the environment's proxy for an address; None goes straight, as everything on this machine does.

    Args:
        scheme: http or https.
        host: lower case, without brackets.
        port: where one is named; `NO_PROXY` may name it, too.
    """
    if is_loopback(host):
        return None
    proxies = getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    is_bypassed = proxy_bypass(host) or (port is not None and proxy_bypass(f"{host}:{port}"))
    return None if not proxy or is_bypassed else _with_scheme(proxy)


def check_proxies() -> None:
    """Find out before anything is sent whether the environment names a proxy that cannot be used.

    Raises:
        NeedsPersonError: it does.
    """
    proxies = getproxies()
    try:
        for name in ("http", "https", "all"):
            if proxy := proxies.get(name):
                _check(_with_scheme(proxy))
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise NeedsPersonError(
            "The proxy that HTTP_PROXY, HTTPS_PROXY or ALL_PROXY names cannot be used; correct or unset it"
        ) from error


def _check(proxy: str) -> None:
    """Look at a proxy's host and port, which the HTTP library takes as they come, and at all that it looks at itself.

    Raises:
        ImportError, ValueError, httpx.InvalidURL: it cannot be used.
    """
    url = httpx.URL(proxy)
    has_port = url.port is None or 0 < url.port <= 65535
    if not (url.raw_host and b"%" not in url.raw_host and has_port):
        raise ValueError("no host or no port")
    connect(None, proxy)  # never connects


def _with_scheme(proxy: str) -> str:
    return proxy if "://" in proxy else f"http://{proxy}"
