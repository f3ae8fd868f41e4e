"""One connection, straight to where requests go: HTTP/1.1 as h11 understands it, on the event loop's own transport.

The HTTP library's transport puts a pool, locks, and timers around every reading and writing. A lane has one connection,
used by one request at a time, and one deadline for a whole exchange: here it goes without, in a third of the time.
Requests, answers and exceptions are the library's.
"""

import asyncio
import contextlib
import select
import ssl
from collections.abc import AsyncIterator
from functools import lru_cache
from time import monotonic
from typing import cast

import anyio
import h11
import httpx
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled

CONNECT_TIMEOUT = 10.0  # seconds for TCP, and again for TLS
LONGEST_HEAD = 100 * 1024  # bytes of an answer's head, and of a chunk's
READ = 256 * 1024  # bytes taken from the system at once
MOST_UNREAD = READ  # bytes that wait for whoever reads the answer, before the system has to keep what follows
MANY = 64  # pieces that are taken at a stretch, about a millisecond's worth
SECOND_ADDRESS = 0.25  # seconds until a host's next address is tried, too; RFC 8305


class Line(httpx.AsyncBaseTransport):
    """One connection, made when it is first used, and again when it is gone or was idle for too long.

    Args:
        tls: None where no TLS is spoken.
        keep_alive: seconds after which an idle connection is not used again.
        buffer: what bytes are received in; lines of one event loop may share it.
    """

    def __init__(self, tls: ssl.SSLContext | None, keep_alive: float, buffer: bytearray) -> None:
        self._tls = tls
        self._keep_alive = keep_alive
        self._buffer = memoryview(buffer)
        self._wire: _Wire | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and give the answer's head; its body is to be read and closed before the next request.

        Raises:
            httpx.ConnectError, httpx.ConnectTimeout: there is no connection, and nothing was sent.
            httpx.LocalProtocolError: the request is none that can be sent.
            httpx.ReadError, httpx.RemoteProtocolError: there is no answer, or none that can be understood.
        """
        wire = await self._ready(request.url)
        try:
            await wire.send(request)
            head = await wire.head()
        except BaseException:
            wire.drop()
            raise
        return httpx.Response(head.status_code, headers=head.headers.raw_items(), stream=Body(wire))

    async def aclose(self) -> None:
        """Drop the connection."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.drop()

    async def _ready(self, url: httpx.URL) -> "_Wire":
        wire = self._wire
        if wire is None or not wire.is_fresh(self._keep_alive):
            await self.aclose()
            wire = self._wire = await self._connect(url.raw_host.decode("ascii"), url.port)
        return wire

    async def _connect(self, host: str, port: int | None) -> "_Wire":
        loop = asyncio.get_running_loop()
        port = port or (443 if self._tls else 80)
        wire = _Wire(loop, self._buffer)
        try:
            with anyio.fail_after(CONNECT_TIMEOUT):
                await loop.create_connection(lambda: wire, host, port, happy_eyeballs_delay=SECOND_ADDRESS)
            if self._tls is not None:
                await wire.start_tls(self._tls, host)
        except TimeoutError as error:
            wire.drop()
            raise httpx.ConnectTimeout(str(error)) from error
        except UnicodeError as error:  # the resolver's, of what can be nobody's name
            raise httpx.ConnectError(str(error)) from OSError(0, "Name or service not known")
        except OSError as error:  # those of TLS are, too
            wire.drop()
            if not isinstance(error, ssl.SSLError) and error.errno is None and error.args:  # several, put in one text
                error = OSError(0, "none of its addresses takes a connection")
            raise httpx.ConnectError(str(error)) from error
        except BaseException:
            wire.drop()
            raise
        return wire


class Body(httpx.AsyncByteStream):
    """An answer's body."""

    def __init__(self, wire: "_Wire") -> None:
        self._wire = wire

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self  # no generator, which would have to be closed whenever an answer is not read to its end

    async def __anext__(self) -> bytes:
        if (piece := await self._wire.piece()) is None:
            raise StopAsyncIteration
        return piece

    @property
    def is_over(self) -> bool:
        """Whether all of it was given, and its end has come."""
        return self._wire.is_over

    def close(self) -> None:
        """Be done with it; what is left of it takes the connection along."""
        self._wire.rest()

    async def aclose(self) -> None:
        """Do the same, for whoever knows only the library's bodies."""
        self.close()


class _Wire(asyncio.BufferedProtocol):
    """A connection that stands, and what is known of the exchange on it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, buffer: memoryview) -> None:
        self._loop = loop
        self._buffer = buffer
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=LONGEST_HEAD)
        self._transport: asyncio.Transport | None = None
        self._socket: asyncio.Transport | None = None  # the same, or what TLS goes over
        self._arrival: asyncio.Future[None] | None = None  # of bytes, or of the end
        self._room: asyncio.Future[None] | None = None  # for more of the request
        self._unread = 0
        self._events = 0  # taken from what has come
        self.is_over = False  # all of the answer was taken
        self._is_paused = False
        self._has_ended = False  # nothing more will come
        self._fault: Exception | None = None
        self._used = monotonic()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 -- of a stream, it always is
        self._transport = self._socket = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._http.receive_data(cast("bytes", self._buffer[:nbytes]))  # it takes whatever can be appended to bytes
        self._unread += nbytes
        if self._unread > MOST_UNREAD and not self._is_paused and self._socket is not None:
            self._is_paused = True
            # Never TLS: it would go on reading, and lose what it holds when the server resets the connection.
            self._socket.pause_reading()
        _tell(self._arrival)

    def eof_received(self) -> None:
        self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc)
        self.resume_writing()

    def pause_writing(self) -> None:
        self._room = self._loop.create_future()

    def resume_writing(self) -> None:
        room, self._room = self._room, None
        _tell(room)

    def _end(self, fault: Exception | None) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._fault = fault
            if fault is None:
                self._http.receive_data(b"")
        _tell(self._arrival)

    # What a line calls.

    def is_fresh(self, keep_alive: float) -> bool:
        """Whether a request may be sent: nothing has come since the last answer, neither bytes nor the end."""
        return (
            self._http.our_state is h11.IDLE
            and not self._has_ended
            and not self._unread
            and monotonic() - self._used <= keep_alive
            and not self._is_readable()
        )

    def _is_readable(self) -> bool:
        """Ask the system itself: the loop may not have looked since the server has closed the connection."""
        end = self._socket.get_extra_info("socket") if self._socket is not None else None
        if end is None or end.fileno() < 0:
            return True
        if not hasattr(select, "poll"):
            return bool(select.select([end.fileno()], [], [], 0)[0])
        asking = select.poll()
        asking.register(end.fileno(), select.POLLIN)
        return bool(asking.poll(0))

    async def start_tls(self, tls: ssl.SSLContext, host: str) -> None:
        """Speak TLS from here.

        Raises:
            OSError: it cannot be spoken.
        """
        assert self._transport is not None  # noqa: S101 -- it is connected
        self._transport = await self._loop.start_tls(
            self._transport, self, tls, server_hostname=host, ssl_handshake_timeout=CONNECT_TIMEOUT
        )
        if self._transport is None:
            raise ConnectionResetError("the connection was closed")

    async def send(self, request: httpx.Request) -> None:
        """Send a request; one that the server closes the connection upon may have an answer all the same.

        Raises:
            httpx.LocalProtocolError: it is none that can be sent.
        """
        try:
            waiting = self._made(_head(request.method, request.url.raw_path, tuple(request.headers.raw)))
            assert isinstance(request.stream, httpx.AsyncByteStream)  # noqa: S101 -- all of ours are
            async for piece in request.stream:
                await self._write(waiting + self._made(h11.Data(data=piece)))
                waiting = b""
            await self._write(waiting + self._made(h11.EndOfMessage()))
        except h11.LocalProtocolError as error:
            raise httpx.LocalProtocolError(str(error)) from error

    def _made(self, event: h11.Event) -> bytes:
        return self._http.send(event) or b""

    async def _write(self, data: bytes) -> None:
        # Nobody may have been told yet that sending failed, and asyncio writes a warning when it is tried again.
        is_lost = self._has_ended or self._socket is None or self._socket.is_closing()
        if data and not is_lost and self._transport is not None:
            self._transport.write(data)
        if self._room is not None:
            await self._room

    async def head(self) -> h11.Response:
        """Give the answer's head, when it has come."""
        while not isinstance(event := await self._event(), h11.Response):
            if not isinstance(event, h11.InformationalResponse):
                raise httpx.RemoteProtocolError("the server disconnected without an answer")
        self.is_over = False
        return event

    async def piece(self) -> bytes | None:
        """Give more of the answer's body, all that has come; None at its end.

        Servers write their answers in many small parts. Each would go the whole way to the reader by itself.
        """
        parts = []
        event = None if self.is_over else await self._event()
        while isinstance(event, h11.Data):
            parts.append(event.data)
            event = self._at_hand()
        self.is_over |= isinstance(event, h11.EndOfMessage)
        return b"".join(parts) if parts else None

    def _at_hand(self) -> object:
        """Give what has come after a part of the body: not too much at a stretch, and no fault before its turn."""
        if self._events % MANY == MANY - 1:
            return None
        self._events += 1
        try:
            return self._http.next_event()
        except h11.RemoteProtocolError:  # as whoever asks for more is told
            return None

    async def _event(self) -> object:
        if self._events % MANY == MANY - 1:  # a flood of small pieces must keep neither others waiting nor the deadline
            await checkpoint()
        self._events += 1
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                await self._more()
        except h11.RemoteProtocolError as error:
            raise httpx.RemoteProtocolError(str(error)) from error
        return event

    async def _more(self) -> None:
        """Wait for bytes, or for the end."""
        if self._fault is not None:
            raise httpx.ReadError(str(self._fault)) from self._fault
        # Where bytes have always come already, a deadline finds nothing to break off.
        await checkpoint_if_cancelled()
        self._unread = 0
        if self._is_paused and self._socket is not None:
            self._is_paused = False
            self._socket.resume_reading()
        self._arrival = self._loop.create_future()
        try:
            await self._arrival
        finally:
            self._arrival = None

    def rest(self) -> None:
        """Be ready for the next request, if the answer has been read to its end; else be dropped."""
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            self._unread = len(self._http.trailing_data[0])
            self._used = monotonic()
        else:
            self.drop()

    def drop(self) -> None:
        """Let the connection go."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.abort()


@lru_cache(maxsize=256)
def _head(method: str, target: bytes, headers: tuple[tuple[bytes, bytes], ...]) -> h11.Request:
    """Make a request's head, or take one that is like it: most of a job's differ in a few lengths of their bodies."""
    return h11.Request(method=method, target=target, headers=list(headers))


def _tell(waiting: "asyncio.Future[None] | None") -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
