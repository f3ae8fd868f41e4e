"""References are read and encoded once, whoever asks for them, and never sent under a hash that is not theirs."""

import base64
import hashlib
import json
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import anyio
import pytest

from batchbanana.engines.references import PIECE, ReferenceChangedError, References, size, stream
from batchbanana.task import Reference
from tests.support.program import Job, manifest
from tests.support.web import Web, picture, reply, web

Result = TypeVar("Result")

_watched: dict[str, int] = {}


def _count(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and _watched and str(arguments[0]) in _watched:
        _watched[str(arguments[0])] += 1


sys.addaudithook(_count)


@contextmanager
def opened(*paths: Path) -> Iterator[dict[str, int]]:
    """Count how often files are opened within the block; the interpreter itself tells."""
    _watched.update({str(path): 0 for path in paths})
    try:
        yield _watched
    finally:
        _watched.clear()


def reference(path: Path, data: bytes) -> Reference:
    path.write_bytes(data)
    return Reference(path=path, sha256=hashlib.sha256(data).hexdigest(), mime="image/png", size=len(data))


async def sent(references: References, *pieces: bytes | Reference) -> bytes:
    """Give a body as it would go out."""
    body = await references.load(pieces)
    data = b"".join([piece async for piece in stream(body)])
    assert len(data) == size(body) == size(pieces)
    return data


def run(function: Callable[[], Awaitable[Result]]) -> Result:
    return anyio.run(function)


def test_sixteen_who_ask_at_once_read_a_file_once(tmp_path: Path) -> None:
    style = reference(tmp_path / "style.png", os.urandom(300_000))

    async def main() -> None:
        references = References()
        results: list[bytes] = []

        async def ask() -> None:
            results.append(await sent(references, b"<", style, b">"))

        async with anyio.create_task_group() as group:
            for _ in range(16):
                group.start_soon(ask)
        assert len(results) == 16
        assert set(results) == {b"<" + base64.b64encode(style.path.read_bytes()) + b">"}

    with opened(style.path) as count:
        run(main)
        assert count[str(style.path)] == 1 + 1  # the load, and this test's own look


def test_what_was_used_longest_ago_makes_room(tmp_path: Path) -> None:
    one, two, three = (reference(tmp_path / f"{n}.png", os.urandom(30_000)) for n in range(3))

    async def main() -> None:
        references = References(room=100_000)  # two of 40,000 fit
        for asked in (one, two, one, three, one, two):
            await sent(references, asked)
            assert references.held <= 100_000
        assert references.held == 80_000

    with opened(one.path, two.path, three.path) as count:
        run(main)
        assert list(count.values()) == [1, 2, 1]


def test_a_file_larger_than_the_room_is_checked_once_and_streamed_each_time(tmp_path: Path) -> None:
    large = reference(tmp_path / "large.png", os.urandom(500_001))

    async def main() -> None:
        references = References(room=100_000)
        for _ in range(3):
            assert await sent(references, large) == whole
        assert references.held == 0

    whole = base64.b64encode(large.path.read_bytes())
    with opened(large.path) as count:
        run(main)
        assert list(count.values()) == [1 + 3]


def test_a_body_is_handed_over_in_pieces_that_let_others_run(tmp_path: Path) -> None:
    large = reference(tmp_path / "large.png", os.urandom(3_000_000))

    async def main() -> list[int]:
        body = await References().load([b"{}", large])
        return [len(piece) async for piece in stream(body)]

    lengths = run(main)
    assert max(lengths) == PIECE
    assert sum(lengths) == 4_000_002


@pytest.mark.parametrize("room", [1 << 20, 10])
@pytest.mark.parametrize("again", [False, True])
def test_a_file_that_changes_or_goes_is_not_sent(tmp_path: Path, room: int, *, again: bool) -> None:
    image = reference(tmp_path / "a.png", b"first" * 100)

    async def main() -> None:
        references = References(room)
        if again:
            await sent(references, image)
        image.path.write_bytes(b"other bytes")
        with pytest.raises(ReferenceChangedError, match=r"a\.png has changed since the run began"):
            await references.load([image])
        image.path.unlink()
        with pytest.raises(ReferenceChangedError, match=r"a\.png cannot be read any more"):
            await references.load([image])

    run(main)


def test_a_large_file_that_goes_while_it_is_sent_is_told_as_such(tmp_path: Path) -> None:
    image = reference(tmp_path / "a.png", b"first" * 100)

    async def main() -> None:
        body = await References(room=10).load([image])
        image.path.unlink()
        with pytest.raises(ReferenceChangedError, match="cannot be read any more"):
            [piece async for piece in stream(body)]

    run(main)


def test_two_hashes_of_one_path_are_two_files(tmp_path: Path) -> None:
    """As in two manifests' worth of tasks, of which one was read before the file changed."""
    old = reference(tmp_path / "a.png", b"old")
    new = reference(tmp_path / "a.png", b"new")

    async def main() -> None:
        references = References()
        assert await sent(references, new) == base64.b64encode(b"new")
        with pytest.raises(ReferenceChangedError):
            await references.load([old])
        assert await sent(references, new) == base64.b64encode(b"new")

    run(main)


def test_nothing_is_kept_of_files_that_nobody_waits_for(tmp_path: Path) -> None:
    images = [reference(tmp_path / f"{n}.png", b"%d" % n) for n in range(20)]

    async def main() -> None:
        references = References()
        for image in images:
            await sent(references, image)
        assert not references._locks

    run(main)


def test_every_request_of_a_job_bears_its_references_whole(tmp_path: Path) -> None:
    (tmp_path / "style.png").write_bytes(picture("red", (900, 700)))
    (tmp_path / "mug.png").write_bytes(picture("blue", (64, 64)))
    image = {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(picture()).decode()}}
    told = json.dumps({"candidates": [{"content": {"parts": [image]}, "finishReason": "STOP"}]}).encode()
    with web(lambda handler: reply(handler, told)) as relay:
        job = Job(tmp_path, relay.url, manifest(8, references=["style.png", "mug.png"], limits={"concurrency": 8}))
        ended = job.run()
        assert (ended.code, ended.json["done"]) == (0, 8), ended.err
        job.check()
    _bear_references(relay, tmp_path)


def _bear_references(relay: Web, folder: Path) -> None:
    assert relay.count("POST") == 8
    for name in ("style.png", "mug.png"):
        encoded = base64.b64encode((folder / name).read_bytes())
        assert all(encoded in asked.body for asked in relay.asked)
        assert all(int(asked.headers["content-length"]) == len(asked.body) for asked in relay.asked)
