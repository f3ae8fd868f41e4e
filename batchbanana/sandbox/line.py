"""One client's connection: HTTP/1.1 as h11 understands it, and everything that can go wrong while an answer is sent."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import anyio
import anyio.abc
import h11

_BLOCK = 65_536  # bytes written at once: large enough to be cheap, small enough to leave the loop free
_EARLY = 1 << 20  # bytes a client may send before its answer, as the start of further requests
_TICK = 0.05  # seconds between the drops of a drip


class ClientGoneError(Exception):
    """The client has left, or no more can come of this connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An HTTP answer.

    Attributes:
        headers: by lower-case name; framing is the line's affair.
        body: in pieces.
        retry_delay: seconds the body tells the client to wait.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: tuple[bytes, ...] = ()
    retry_delay: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """How an answer is sent; the fields are the effects of the same names."""

    hang: Literal["before", "headers", "body"] | None = None
    drip: float | None = None
    cut: float | Literal["before"] | None = None
    no_end: bool = False

    @property
    def share(self) -> float:
        """The part of the body that is sent."""
        if isinstance(self.cut, float | int):
            return self.cut
        return 0.5 if self.hang == "body" else 1.0


class Line:
    """A connection, used by one request at a time; what is written leaves in large blocks and at the end."""

    def __init__(self, stream: anyio.abc.SocketStream) -> None:
        self._stream = stream
        self._http = h11.Connection(h11.SERVER)
        self._out = bytearray()

    async def request(self) -> h11.Request | None:
        """Wait for the head of the next request; None when the connection ends in good order.

        Raises:
            h11.RemoteProtocolError: what came is not HTTP.
            ClientGoneError: the client left in the middle.
        """
        if self._http.our_state is h11.DONE:
            if self._http.their_state is not h11.DONE:
                return None
            self._http.start_next_cycle()
        if self._http.our_state is not h11.IDLE:
            return None
        event = await self._event()
        return event if isinstance(event, h11.Request) else None

    async def body(self, limit: int) -> bytes | None:
        """Read the request's body; None when it is larger than `limit` bytes, which are then not kept."""
        pieces, size = [], 0
        while isinstance(event := await self._event(), h11.Data):
            size += len(event.data)
            if size <= limit:
                pieces.append(bytes(event.data))
            else:
                pieces.clear()
        if not isinstance(event, h11.EndOfMessage):
            raise ClientGoneError
        return b"".join(pieces) if size <= limit else None

    async def _event(self) -> h11.Event:
        while True:
            if self._http.they_are_waiting_for_100_continue:
                self._out += self._http.send(h11.InformationalResponse(status_code=100, headers=[])) or b""
                await self._flush()
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self._receive())
            elif isinstance(event, h11.Event):
                return event
            else:
                raise ClientGoneError

    async def _receive(self) -> bytes:
        try:
            return await self._stream.receive()
        except anyio.EndOfStream:
            return b""
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise ClientGoneError from None

    async def listen(self, seconds: float) -> None:
        """Let so many seconds pass, and notice at once when the client leaves.

        Raises:
            ClientGoneError: it did.
        """
        early = 0
        with anyio.move_on_after(seconds):
            while early < _EARLY:
                data = await self._receive()
                early += len(data)
                if not data:
                    raise ClientGoneError
                self._http.receive_data(data)
            raise ClientGoneError

    async def begin(self, answer: Answer, transfer: Transfer) -> None:
        """Send the head, as far as the script lets it; it leaves together with the body's first block."""
        if transfer.hang == "before":
            await self.listen(math.inf)
        if transfer.cut == "before":
            raise ClientGoneError
        framing = {} if answer.status == 200 or transfer.no_end else {"content-length": str(sum(map(len, answer.body)))}
        headers = [*answer.headers.items(), *framing.items()]
        self._out += self._http.send(h11.Response(status_code=answer.status, headers=headers)) or b""
        if transfer.hang == "headers":
            await self._flush()
            await self.listen(math.inf)

    async def content(self, answer: Answer, transfer: Transfer) -> None:
        """Send the body, but for its last block, which waits for the end."""
        size = int(sum(map(len, answer.body)) * transfer.share)
        block = max(1, min(_BLOCK, int(transfer.drip * _TICK))) if transfer.drip else _BLOCK
        for data in _blocks(answer.body, size, block):
            if transfer.drip:
                await self._flush()
                await self.listen(len(data) / transfer.drip)
            elif len(self._out) >= _BLOCK:
                await self._flush()
            self._out += self._http.send(h11.Data(data=data)) or b""
        if transfer.hang == "body" or transfer.no_end:
            await self._flush()
            await self.listen(math.inf)
        if transfer.cut is not None:
            await self._flush()
            raise ClientGoneError

    async def end(self) -> None:
        """Send what is left of the answer, and its end."""
        self._out += self._http.send(h11.EndOfMessage()) or b""
        await self._flush()

    async def reject(self) -> None:
        """Answer what was no HTTP, where an answer is still possible."""
        if self._http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            text = b"400. That is not a request.\n"
            headers = [("content-type", "text/plain"), ("content-length", str(len(text))), ("connection", "close")]
            self._out += self._http.send(h11.Response(status_code=400, headers=headers)) or b""
            self._out += self._http.send(h11.Data(data=text)) or b""
            await self.end()

    async def _flush(self) -> None:
        data, self._out = self._out, bytearray()
        try:
            await self._stream.send(bytes(data))
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise ClientGoneError from None


def _blocks(pieces: tuple[bytes, ...], size: int, block: int) -> Iterator[bytes]:
    """Cut the first `size` bytes of the pieces into blocks."""
    for piece in pieces:
        view = memoryview(piece)[: max(0, size)]
        size -= len(view)
        for at in range(0, len(view), block):
            yield bytes(view[at : at + block])
