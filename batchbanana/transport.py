"""HTTP: one connection a lane, a deadline on the whole attempt, answers streamed. The only module that knows httpx.

A lane is a client with a single connection, because a pool that many share costs time that grows with the square of its
size, and because a cancelled request then spoils its own connection only.
"""

import errno
import re
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from enum import Enum, auto
from urllib.parse import urlsplit

import anyio
import httpcore  # noqa: F401 -- httpx would import it in the first client, on the event loop, for tens of milliseconds
import httpx

from batchbanana.errors import NeedsPersonError, UsageError
from batchbanana.task import Rung

CONNECT_TIMEOUT = 10.0  # seconds
KEEP_ALIVE = 3.0  # seconds; below the 5 after which common servers drop an idle connection just as we reuse it
PATIENCE = 3  # times the deadline that a paid body may take while it makes progress
PROGRESS = 64 * 1024  # bytes within `stall` seconds that count as progress
LINGER = 1.0  # seconds for the transfer's own end after the document's end; only keeps the connection usable
SHORTEST_SECRET = 6  # characters of a key's beginning that are worth hiding
CUT = r"(?=\u2026|\.\.\.|\W*$)"  # where a quotation was cut, or the text ends
MOST_OF_AN_ERROR = 1 << 20  # bytes of an error body that are read

GOOGLE = "https://generativelanguage.googleapis.com"
GOOGLE_HOSTS = (".googleapis.com",)
LOOPBACK = {"localhost", "127.0.0.1", "::1"}
VERSIONS = ("/v1beta/openai", "/v1beta", "/v1")


PASSING_TLS = (ssl.SSLEOFError, ssl.SSLZeroReturnError)  # a connection that closed, as any may


class End(Enum):
    """How an exchange ended."""

    WHOLE = auto()
    UNSENT = auto()  # no byte of the request can have been acted on
    BROKEN = auto()  # the connection went away after sending
    LATE = auto()  # the deadline passed, or the body stalled
    TLS = auto()  # the certificate is not trusted
    REFUSED_HERE = auto()  # the HTTP library would not send it


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back.

    Attributes:
        end: how it ended; `status` may be there even when the end is bad.
        status: None when there was no answer.
        headers: with lower-case names.
        body: of anything but a 200, cut at 1 MiB; a 200's body went to the sink.
        problem: a few words on what went wrong, without secrets.
        signature: `EMFILE` when the system ran out of file descriptors.
    """

    end: End
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    problem: str = ""
    signature: str = ""


@dataclass(frozen=True, slots=True)
class Sink:
    """Where a 200's body goes.

    Attributes:
        feed: takes the next bytes; False when the document is complete.
        in_image: whether image data has begun, so that silence now means a stall and not thinking.
    """

    feed: Callable[[bytes], bool]
    in_image: Callable[[], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where requests go and how they prove who sends them.

    Attributes:
        base: without version or slash at the end.
        key: never shown; it is kept out of the value's text.
    """

    base: str
    auth: str
    key: str = field(repr=False)

    @property
    def host(self) -> str:
        """The host alone."""
        return urlsplit(self.base).hostname or ""

    @classmethod
    def build(cls, base_url: str | None, auth: str | None, key: str) -> "Endpoint":
        """Check and normalise what the user gave.

        Raises:
            UsageError: the base URL is not one.
            NeedsPersonError: the key cannot be a key.
        """
        base = _normal_base(base_url or GOOGLE)
        host = urlsplit(base).hostname or ""
        return cls(base=base, auth=auth or ("google" if is_google(host) else "bearer"), key=_checked_key(key))

    def headers(self) -> dict[str, str]:
        """Give the one header that authenticates."""
        return {"x-goog-api-key": self.key} if self.auth == "google" else {"authorization": f"Bearer {self.key}"}

    def hide(self, text: str) -> str:
        """Take the key out of a text that a server wrote: some quote the headers they were sent.

        A quotation may have been cut in the middle of the key, so a beginning of it before a cut is taken out as well.
        """
        text = text.replace(self.key, "[key]")
        for length in range(len(self.key) - 1, SHORTEST_SECRET - 1, -1):
            text = re.sub(re.escape(self.key[:length]) + CUT, "[key]", text)
        return text


def is_google(host: str) -> bool:
    """Whether a host is Google's own."""
    return host.endswith(GOOGLE_HOSTS)


def _normal_base(url: str) -> str:
    wrong = UsageError(f"base_url {url!r} is not a URL such as https://api.example.com; correct it")
    try:
        parts = urlsplit(url.strip())
        valid = parts.scheme in {"http", "https"} and httpx.URL(url.strip()).host and parts.port != 0
    except (ValueError, httpx.InvalidURL):  # a port that is none, a bracket that does not close
        raise wrong from None
    if not valid or any(character.isspace() for character in url.strip()):
        raise wrong
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UsageError(
            "base_url must hold no user name, password, query or fragment; the key comes from the environment"
        )
    path = parts.path.rstrip("/")
    for version in VERSIONS:
        path = path.removesuffix(version).rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path}"


def _checked_key(key: str) -> str:
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise NeedsPersonError("The API key is empty or has characters that no key has; set it again")
    return key


class Patience:
    """Decides how long an attempt may go on: a pure machine over times and byte counts."""

    def __init__(self, rung: Rung, started: float) -> None:
        self._stall = rung.stall
        self._deadline = started + rung.timeout
        self._last = started + PATIENCE * rung.timeout
        self._mark: float | None = None
        self._bytes = 0

    @property
    def before_body(self) -> float:
        """When to give up while nothing of the body has come."""
        return self._deadline

    def arrived(self, now: float, size: int, *, in_image: bool) -> float:
        """Take `size` more bytes of a 200's body; gives the time until which to wait for the next ones.

        Before image data has begun, a quiet server may be thinking, and only the deadline counts. Once it has begun the
        image is paid for: then progress counts, before and after the deadline, up to three times of it.
        """
        self._bytes += size
        if self._mark is None or self._bytes >= PROGRESS:
            self._mark = now
            self._bytes = 0
        alive = min(self._last, self._mark + self._stall)
        return alive if in_image else max(self._deadline, alive)


class Lanes:
    """Makes lanes that share one TLS context: building one costs 30 ms and a megabyte."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._tls = _tls_context(endpoint)
        _check_proxies(endpoint)

    def open(self) -> "Lane":
        """Make a lane; it connects when it is first used."""
        return Lane(self.endpoint, self._tls)


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
    try:
        httpx.AsyncClient(verify=False, trust_env=endpoint.host not in LOOPBACK)  # noqa: S501 -- never connects
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise NeedsPersonError(
            "The proxy that HTTP_PROXY, HTTPS_PROXY or ALL_PROXY names cannot be used; correct or unset it"
        ) from error


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
        exchange = _Exchange(Patience(rung, anyio.current_time()), sink)
        try:
            client = self._open()
            request = client.build_request(
                "POST",
                self._endpoint.base + path,
                headers=[*headers, *self._endpoint.headers().items()],
                content=body(),
            )
            answer = await exchange.run(client, request)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            answer = exchange.explain(error)
        if answer.end is not End.WHOLE:
            await self.close()
        return answer

    def hide(self, text: str) -> str:
        """Take the key out of a text that a server wrote."""
        return self._endpoint.hide(text)

    @property
    def key(self) -> str:
        """The key that must not be quoted."""
        return self._endpoint.key

    async def close(self) -> None:
        """Drop the connection; the next request opens another."""
        client, self._client = self._client, None
        if client is not None:
            with anyio.CancelScope(shield=True), anyio.move_on_after(CONNECT_TIMEOUT):
                await client.aclose()

    def _open(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = httpx.AsyncClient(
                verify=self._tls,
                timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT),
                limits=httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEEP_ALIVE),
                follow_redirects=False,  # the key must not travel
                trust_env=self._endpoint.host not in LOOPBACK,  # a proxy for the outside must not see loopback traffic
                headers={"accept": "application/json", "accept-encoding": "identity", "user-agent": "batchbanana"},
            )
        return self._client


class _Exchange:
    """One request and its answer."""

    def __init__(self, patience: Patience, sink: Sink) -> None:
        self._patience = patience
        self._sink = sink
        self._status: int | None = None
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._complete = False

    async def run(self, client: httpx.AsyncClient, request: httpx.Request) -> Answer:
        with anyio.CancelScope(deadline=self._patience.before_body) as scope:
            response = await client.send(request, stream=True)
            try:
                self._status = response.status_code
                self._headers = {name.lower(): value for name, value in response.headers.items()}
                self._headers.setdefault("date", formatdate(usegmt=True))  # what a Retry-After's date is compared with
                await self._read(response, scope)
            finally:
                with anyio.CancelScope(shield=True), anyio.move_on_after(CONNECT_TIMEOUT):
                    await response.aclose()
        if scope.cancelled_caught and not self._complete:
            return self._answer(End.LATE, "no answer in time" if self._status is None else "the answer stalled")
        return self._answer(End.WHOLE)

    async def _read(self, response: httpx.Response, scope: anyio.CancelScope) -> None:
        if response.status_code != 200:
            self._complete = True  # the status alone says enough; what comes of the body adds to the message
            scope.deadline = min(scope.deadline, anyio.current_time() + CONNECT_TIMEOUT)
            async for chunk in response.aiter_bytes():
                self._body += chunk
                if len(self._body) >= MOST_OF_AN_ERROR:
                    return
            return
        chunks = response.aiter_bytes()
        async for chunk in chunks:
            if not self._sink.feed(chunk):
                self._complete = True
                break
            scope.deadline = self._patience.arrived(anyio.current_time(), len(chunk), in_image=self._sink.in_image())
        # The document's end is the answer's end, even if the transfer's own never comes: waiting for that a little only
        # keeps the connection usable, and nobody's hurry may cost the image now.
        with anyio.CancelScope(shield=True), anyio.move_on_after(LINGER):
            async for _ in chunks:
                pass

    def explain(self, error: Exception) -> Answer:
        """Say what an exception of the HTTP library means for money: was anything sent?"""
        if self._complete:
            return self._answer(End.WHOLE)
        if self._status is not None:
            return self._answer(End.BROKEN, "the connection broke in the answer")
        if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)):
            return self._explain_unsent(error)
        if isinstance(error, (httpx.LocalProtocolError, httpx.InvalidURL, httpx.UnsupportedProtocol, ValueError)):
            # Their texts may quote a header, and a header holds the key: only the class is told.
            return self._answer(End.REFUSED_HERE, type(error).__name__)
        return self._answer(End.BROKEN, "the connection broke before an answer")

    def _explain_unsent(self, error: Exception) -> Answer:
        causes = _causes(error)
        if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
            return self._answer(End.TLS, "the server's certificate is not trusted")
        if any(isinstance(cause, ssl.SSLError) and not isinstance(cause, PASSING_TLS) for cause in causes):
            return self._answer(End.TLS, "the server does not speak TLS as it should, so the address may be wrong")
        if any(getattr(cause, "errno", None) in {errno.EMFILE, errno.ENFILE} for cause in causes):
            return self._answer(End.UNSENT, "no file descriptor is free", "EMFILE")
        words = "connecting took too long" if isinstance(error, httpx.ConnectTimeout) else _last_words(causes)
        return self._answer(End.UNSENT, f"cannot connect: {words}")

    def _answer(self, end: End, problem: str = "", signature: str = "") -> Answer:
        return Answer(
            end=end,
            status=self._status,
            headers=self._headers,
            body=bytes(self._body[:MOST_OF_AN_ERROR]),
            problem=problem,
            signature=signature,
        )


def _causes(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        if isinstance(error, BaseExceptionGroup):
            found.extend(error.exceptions)
        error = error.__cause__ or error.__context__
    return found


def _last_words(causes: list[BaseException]) -> str:
    for cause in reversed(causes):
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
    return "the connection failed"
