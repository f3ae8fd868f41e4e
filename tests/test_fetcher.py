"""How an image is brought home from its address: what is tried again, for how long, and what is kept of it."""

import errno
import gzip
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import BinaryIO

import anyio
import pytest

from batchbanana.engines.links import Fetcher
from batchbanana.spool import Files, Linked, Spool
from batchbanana.task import Billed, Failure, Held, Rung, StoredImage
from batchbanana.transport import Downloads, Guard
from tests.support.build import rung
from tests.support.web import reply, web
from tests.test_second_phase import RED, digest, give


def brought(
    folder: Path,
    respond: Callable[[BaseHTTPRequestHandler], None],
    path: str = "/red",
    *,
    limit: int = 1 << 20,
    limits: Rung | None = None,
    room: float = 0.5,
) -> tuple[StoredImage | Failure | Held, list[str], int]:
    """Bring an image home with a fetcher of its own; gives what came of it, the spool, and the requests."""
    spool = Spool(folder)
    spool.open()
    with web(respond) as images:
        fetcher = Fetcher(Downloads(Guard(images.url)), spool, limit=limit, chance=lambda: 0.0, room=room)

        async def main() -> StoredImage | Failure | Held:
            note = await fetcher.note(7, images.url + path, None, Billed.YES)
            assert isinstance(note, Linked)
            with anyio.fail_after(15):
                return await fetcher.bring(note, limits or rung(timeout=30, stall=2))

        result = anyio.run(main)
        return result, sorted(file.name for file in spool.folder.iterdir()), len(images.asked)


def test_a_full_disk_has_room_for_an_image_to_be_fetched_when_idle_rooms_have_gone(tmp_path: Path) -> None:
    class Full(Files):
        """A disk that takes nothing new while a room is there."""

        def create(self, path: Path, size: int) -> BinaryIO:
            if list(path.parent.glob("*.room.part")):
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().create(path, size)

    def keep_room(attempt: int) -> None:
        room = spool.rooms.take(attempt, 1000)
        assert room is not None
        spool.rooms.give(room)

    spool = Spool(tmp_path, Full())
    spool.open()
    with web(give) as images:
        fetcher = Fetcher(Downloads(Guard(images.url)), spool, chance=lambda: 0.0)

        async def main() -> StoredImage | Failure | Held:
            keep_room(1)
            note = await fetcher.note(7, images.url + "/red", None, Billed.YES)
            assert isinstance(note, Linked)
            assert note.is_written
            keep_room(2)
            return await fetcher.bring(note, rung(timeout=30, stall=2))

        assert isinstance(anyio.run(main), StoredImage)


def test_an_image_that_is_too_large_is_not_asked_for_again(tmp_path: Path) -> None:
    result, files, count = brought(tmp_path, give, "/large", limit=len(RED) + 100)
    assert isinstance(result, Failure)
    assert "larger than" in result.message
    assert (files, count) == (["7.0.link"], 1)


def test_without_luck_in_five_tries_it_is_held(tmp_path: Path) -> None:
    result, files, count = brought(tmp_path, lambda handler: reply(handler, b"", 503))
    assert result == Held(reason="127.0.0.1 does not give an image that is paid for (it answers with status 503)")
    assert (files, count) == (["7.0.link"], 5)


@pytest.mark.parametrize("limits", [rung(timeout=0.2, stall=0.2), rung(timeout=0.7, stall=0.2)])
def test_what_is_not_there_in_the_time_for_all_tries_is_held_and_its_note_stays(tmp_path: Path, limits: Rung) -> None:
    result, files, count = brought(tmp_path, lambda handler: reply(handler, b"", 503, retry_after="30"), limits=limits)
    assert result == Held(reason="127.0.0.1 does not give an image that is paid for (it takes too long)")
    assert (files, count) == (["7.0.link"], 1)


@pytest.mark.parametrize(
    ("status", "limits", "room"),
    [
        (403, rung(timeout=30, stall=2), 0.5),
        (200, rung(timeout=30, stall=2), 0.5),
        (403, rung(timeout=1.2, stall=1.2), 14),  # the waits alone take longer than this rung has
    ],
)
def test_an_image_that_is_forbidden_or_a_page_at_first_may_be_there_a_little_later(
    tmp_path: Path, status: int, limits: Rung, room: float
) -> None:
    paths: list[str] = []

    def wait(handler: BaseHTTPRequestHandler) -> None:
        paths.append(handler.path)
        reply(handler, b"<html>Please wait", status) if len(paths) < 3 else give(handler)

    result, files, count = brought(tmp_path, wait, limits=limits, room=room)
    assert isinstance(result, StoredImage)
    assert (files, count) == ([f"7.0.{digest(RED)}.ready"], 3)


def test_a_bomb_is_no_larger_on_the_disk_than_an_image_may_be(tmp_path: Path) -> None:
    bomb = gzip.compress(RED + bytes(20 << 20))
    result, files, count = brought(tmp_path, lambda handler: reply(handler, bomb, content_encoding="gzip"))
    assert isinstance(result, Failure)
    assert "larger than 1 MiB" in result.message
    assert (files, count) == (["7.0.link"], 1)


def test_a_whole_image_is_whole_although_the_connection_broke_after_it(tmp_path: Path) -> None:
    def cut(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("content-length", str(len(RED) + 10))
        handler.end_headers()
        handler.wfile.write(RED)
        handler.close_connection = True

    result, files, count = brought(tmp_path, cut)
    assert isinstance(result, StoredImage)
    assert (files, count) == ([f"7.0.{digest(RED)}.ready"], 1)
