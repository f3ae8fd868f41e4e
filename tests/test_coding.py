"""An answer that is compressed though nobody asked: read if it can be, and never at the price of memory."""

import gzip
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchbanana.transport import Answer, Downloads, End, Endpoint, Guard, Lanes, Sink
from batchbanana.transport.coding import LARGEST, PIECE, Decoder, UnreadableError
from tests.support.build import rung
from tests.support.web import reply, web

MEBI = 1 << 20
SIZE = 20 * MEBI  # of the small bombs here: far more than is held at once
UNASKED = "the answer is in an encoding that was not asked for"


def squeezed(data: bytes, bits: int) -> bytes:
    made = zlib.compressobj(9, zlib.DEFLATED, bits)
    return made.compress(data) + made.flush()


FORMS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "X-GZip": gzip.compress,
    "deflate": lambda data: squeezed(data, zlib.MAX_WBITS),
    " deflate ": lambda data: squeezed(data, -zlib.MAX_WBITS),
    "identity": bytes,
    "": bytes,
}


@given(
    st.sampled_from(sorted(FORMS)), st.binary(max_size=2000), st.integers(1, 700_000), st.integers(1, 64), st.booleans()
)
def test_what_was_compressed_once_is_given_back_whole_however_it_is_cut(
    coding: str, word: bytes, length: int, cut: int, mixed: bool
) -> None:
    data = (word * (length // max(1, len(word)) + 1))[:length]
    sent = FORMS[coding](data)
    decoder = Decoder(["identity", coding] if mixed else [coding])
    size = max(1, len(sent) // cut)
    pieces = [piece for at in range(0, len(sent), size) for piece in decoder.pieces(sent[at : at + size])]
    assert b"".join(pieces) == data
    assert all(len(piece) <= PIECE for piece in pieces) or coding in {"identity", ""}


def test_the_last_bytes_are_given_although_nothing_follows_them() -> None:
    for size in range(PIECE + 1, PIECE + 600):  # a match that began in one piece ends in the next
        sent = squeezed(bytes(size), -zlib.MAX_WBITS)
        assert sum(len(piece) for piece in Decoder(["deflate"]).pieces(sent)) == size


@pytest.mark.parametrize(
    "codings", [["gzip", "gzip"], ["deflate", "gzip"], ["br"], ["zstd"], ["compress"], ["gzip", "br"], ["canary-key"]]
)
def test_several_layers_and_what_is_not_known_are_refused_without_being_quoted(codings: list[str]) -> None:
    with pytest.raises(UnreadableError) as refused:
        Decoder(codings)
    assert str(refused.value) == UNASKED


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_bytes_that_are_not_what_the_header_says_are_refused(coding: str) -> None:
    with pytest.raises(UnreadableError, match="not in the encoding that it names"):
        list(Decoder([coding]).pieces(b"\xff" * 100))


def test_what_follows_the_compressed_bytes_is_passed_over() -> None:
    decoder = Decoder(["gzip"])
    assert b"".join([*decoder.pieces(gzip.compress(b"image") + b"and more"), *decoder.pieces(b"and more")]) == b"image"


def test_an_answer_without_end_has_one_here() -> None:
    made = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    blanks = made.compress(b" " * MEBI) + made.flush(zlib.Z_FULL_FLUSH)
    decoder = Decoder(["deflate"])
    for _ in range(LARGEST // MEBI):
        assert sum(len(piece) for piece in decoder.pieces(blanks)) == MEBI
    with pytest.raises(UnreadableError, match="larger than 512 MiB"):
        next(decoder.pieces(blanks))


# Over a socket


class Tray:
    """Takes a body and remembers how much of it came at once."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.sizes: list[int] = []

    def feed(self, data: bytes) -> bool:
        self.sizes.append(len(data))
        return sum(self.sizes) < self._most


def posted(body: bytes, coding: str, status: int = 200, most: int = SIZE * 2) -> tuple[Answer, list[int]]:
    """Send a request as for an image; gives the answer and the sizes of what its sink was told."""
    tray = Tray(most)

    async def sent() -> AsyncIterator[bytes]:
        yield b"{}"

    async def main(url: str) -> Answer:
        lane = Lanes(Endpoint.build(url, None, "canary-key")).open()
        try:
            return await lane.post("/x", (("content-length", "2"),), sent, rung(), Sink(tray.feed, lambda: False))
        finally:
            await lane.close()

    with web(lambda handler: reply(handler, body, status, content_encoding=coding)) as server:
        return anyio.run(main, server.url), tray.sizes


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_bomb_is_told_piece_by_piece_and_ends_when_no_more_is_wanted(coding: str) -> None:
    bomb = FORMS[coding](b" " * SIZE)
    answer, sizes = posted(bomb, coding)
    assert (answer.end, sum(sizes)) == (End.WHOLE, SIZE)
    assert max(sizes) <= PIECE
    answer, sizes = posted(bomb, coding, most=MEBI)
    assert (answer.end, sum(sizes)) == (End.WHOLE, MEBI)


@pytest.mark.parametrize("coding", ["gzip, gzip", "br", "zstd", "deflate,gzip"])
def test_an_encoding_that_was_not_asked_for_is_an_end_of_its_own(coding: str) -> None:
    answer, sizes = posted(gzip.compress(gzip.compress(b" " * SIZE)), coding)
    assert (answer.end, answer.status, answer.problem, sizes) == (End.UNREADABLE, 200, UNASKED, [])


def test_an_error_that_is_a_bomb_is_cut_at_a_mebibyte() -> None:
    bomb = gzip.compress(b"x" * SIZE)
    tracemalloc.start()
    try:
        answer, _ = posted(bomb, "gzip", 500)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (answer.end, answer.status, answer.body) == (End.WHOLE, 500, b"x" * MEBI)
    assert peak < SIZE / 2


@pytest.mark.parametrize("coding", ["gzip, gzip", "br", "gzip"])
def test_of_an_error_that_cannot_be_read_the_status_is_told(coding: str) -> None:
    answer, _ = posted(b"no such thing", coding, 503)
    assert (answer.end, answer.status, answer.body) == (End.WHOLE, 503, b"")


def test_a_download_is_inflated_piece_by_piece_too() -> None:
    tray = Tray(MEBI)

    async def main(url: str) -> Answer:
        return await Downloads(Guard(url)).fetch(f"{url}/a", rung(), Sink(tray.feed, lambda: True))

    bomb = gzip.compress(b"\0" * SIZE)
    with web(lambda handler: reply(handler, bomb, content_encoding="gzip")) as server:
        assert anyio.run(main, server.url).end is End.WHOLE
    assert (sum(tray.sizes), max(tray.sizes)) == (MEBI, PIECE)
