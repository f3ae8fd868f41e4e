"""One request and its answer: streamed, bounded in time and bytes, and explained when it goes wrong."""

import contextlib
import errno
import math
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from enum import Enum, auto
from typing import cast

import anyio
import httpx
from anyio.lowlevel import checkpoint

from batchbanana.transport.client import LONGEST_CONNECT
from batchbanana.transport.coding import PIECE, Decoder, UnreadableError
from batchbanana.transport.line import CONNECT_TIMEOUT, Body
from batchbanana.transport.patience import Patience

LINGER = 1.0  # seconds for the transfer's own end after the document's end; only keeps the connection usable
MOST_OF_AN_ERROR = 1 << 20  # bytes of an error body that are read
PASSING_TLS = (ssl.SSLEOFError, ssl.SSLZeroReturnError)  # a connection that closed, as any may
WAITING_TLS = (ssl.SSLWantReadError, ssl.SSLWantWriteError)  # no errors, but what asyncio handles as it sends and fails


class End(Enum):
    """How an exchange ended."""

    WHOLE = auto()
    UNSENT = auto()  # no byte of the request can have been acted on
    BROKEN = auto()  # the connection went away after sending
    LATE = auto()  # the deadline passed, or the body stalled
    UNREADABLE = auto()  # a 200 that is compressed as nobody asked, or larger than any answer
    TLS = auto()  # the certificate is not trusted
    REFUSED_HERE = auto()  # the HTTP library would not send it
    FORBIDDEN = auto()  # the guard would not let it be sent; downloads only


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
        begin: called before the first byte is taken; what it gives is awaited, and no deadline runs meanwhile.
    """

    feed: Callable[[bytes], bool]
    in_image: Callable[[], bool]
    begin: Callable[[], Awaitable[None] | None] = lambda: None


class Exchange:
    """One request and its answer.

    Args:
        patience: how long it may go on.
        sink: takes the body of a 200.
        wanted: bytes of any other body that are read.
    """

    def __init__(self, patience: Patience, sink: Sink, wanted: int = MOST_OF_AN_ERROR) -> None:
        self._patience = patience
        self._sink = sink
        self._wanted = wanted
        self._status: int | None = None
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._complete = False
        self._fault = ""
        self._scope = anyio.CancelScope(deadline=patience.before_body)
        self._is_connecting = False

    async def departing(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Pass a request's body on; when it is asked for, the connection stands and the head has just gone out.

        Until then, connecting as a whole has a time of its own, name, proxy and TLS included: whoever counts a limit's
        window must know when a request departs at the latest.
        """
        self._is_connecting = False
        self._scope.deadline = self._patience.before_body
        async for piece in body:
            yield piece

    async def run(self, transport: httpx.AsyncBaseTransport, request: httpx.Request) -> Answer:
        """Send the request and stream the answer.

        Raises:
            httpx.HTTPError, OSError, ValueError: what `explain` makes an answer of.
        """
        if request.method == "POST":
            self._is_connecting = True
            self._scope.deadline = min(self._patience.before_body, anyio.current_time() + LONGEST_CONNECT)
        with self._scope as scope:
            response = await transport.handle_async_request(request)
            stream = cast("httpx.AsyncByteStream", response.stream)  # as it is in all answers of this transport
            try:
                self._status = response.status_code
                self._headers = dict(response.headers.items())  # those of one name are joined
                if "retry-after" in self._headers and "date" not in self._headers:  # one that is a date counts from it
                    self._headers["date"] = formatdate(usegmt=True)
                await self._read(stream, scope)
            finally:
                await _close(stream)
        if scope.cancelled_caught and self._is_connecting:
            return self._answer(End.UNSENT, "cannot connect: connecting took too long")
        if scope.cancelled_caught and not self._complete:
            return self._answer(End.LATE, "no answer in time" if self._status is None else "the answer stalled")
        if self._fault:
            return self._answer(End.UNREADABLE, self._fault)
        return self._answer(End.WHOLE)

    async def _read(self, stream: httpx.AsyncByteStream, scope: anyio.CancelScope) -> None:
        chunks = aiter(stream)
        if self._status != 200:
            self._complete = True  # the status alone says enough; what comes of the body adds to the message
            scope.deadline = min(scope.deadline, anyio.current_time() + CONNECT_TIMEOUT)
            if self._wanted:
                with contextlib.suppress(UnreadableError):
                    await self._read_error(chunks)
            return
        if (waiting := self._sink.begin()) is not None:  # for us, and the answer is on its way
            left, scope.deadline = scope.deadline - anyio.current_time(), math.inf
            await waiting
            scope.deadline = anyio.current_time() + left
        try:
            await self._read_image(chunks, scope)
        except UnreadableError as error:
            self._fault = str(error)
            return
        if self._complete and not (isinstance(stream, Body) and stream.is_over):
            # The document's end is the answer's end, even if the transfer's own never comes: waiting for that a little
            # only keeps the connection usable, and nobody's hurry may cost the image now.
            scope.shield, scope.deadline = True, anyio.current_time() + LINGER
            async for _ in chunks:
                pass

    async def _read_image(self, chunks: AsyncIterator[bytes], scope: anyio.CancelScope) -> None:
        decoder = self._decoder()
        async for chunk in chunks:
            for piece in decoder.pieces(chunk):
                if not self._sink.feed(piece):
                    self._complete = True
                    return
                if len(piece) == PIECE:  # more may be in this chunk than is good for the others and for the deadline
                    await checkpoint()
            until = self._patience.arrived(anyio.current_time(), len(chunk), in_image=self._sink.in_image())
            if until != scope.deadline:  # setting a timer anew costs as much as all the rest here
                scope.deadline = until

    async def _read_error(self, chunks: AsyncIterator[bytes]) -> None:
        decoder = self._decoder()
        async for chunk in chunks:
            for piece in decoder.pieces(chunk):
                self._body += piece
                if len(self._body) >= self._wanted:
                    return

    def _decoder(self) -> Decoder:
        # The library would inflate each chunk whole, whatever it comes to.
        return Decoder(self._headers.get("content-encoding", "").split(","))

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
            body=bytes(self._body[: self._wanted]),
            problem=problem,
            signature=signature,
        )


async def _close(stream: httpx.AsyncByteStream) -> None:
    if isinstance(stream, Body):
        stream.close()
    else:
        with anyio.move_on_after(CONNECT_TIMEOUT, shield=True):  # the library's own may have to wait
            await stream.aclose()


def _causes(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        if isinstance(error, BaseExceptionGroup):
            found.extend(error.exceptions)
        error = error.__cause__ or error.__context__
    return [cause for cause in found if not isinstance(cause, WAITING_TLS)]


def _last_words(causes: list[BaseException]) -> str:
    for cause in reversed(causes):
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
    return "the connection failed"
