"""Room on the disk: a disk that gets full under an image takes it all the same, and no room outlives its run."""

import contextlib
import errno
import hashlib
import io
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, cast

import anyio
import pytest

from batchbanana.engines.inbox import Inbox
from batchbanana.engines.local import LocalEngine
from batchbanana.errors import FencedError
from batchbanana.spool import FencedFiles, Files, Part, Room, Spool
from batchbanana.transport import Endpoint, Lanes, Secret
from tests.test_second_phase import ATTEMPT, Plain, PlainReader

DATA = bytes(range(256)) * 40
ROOM = 1 << 16


def full() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device")


class Tight(io.FileIO):
    """A file that the disk has not reserved anything for: so many bytes fit into it."""

    left = 0
    fault = errno.ENOSPC
    forgets = False

    def write(self, data: object) -> int:
        view = memoryview(cast("bytes", data))[: self.left]
        self.left -= len(view)
        if not view:
            if self.forgets:
                self.forget()
            raise OSError(self.fault, "the disk says no")
        return super().write(view)

    def forget(self) -> None:
        """Lose the first byte, as a disk may that has told too late that it was full."""
        self.seek(0)
        super().write(b"\0")


class Filling(Files):
    """A disk with so many bytes left for what is not reserved, and so many bytes of rooms.

    Attributes:
        forgets: whether some of what it has taken is gone when it tells that it is full.
        synced: how many files it has synced.
    """

    def __init__(
        self, left: int = 1 << 20, rooms: int = 9 * ROOM, *, fault: int = errno.ENOSPC, forgets: bool = False
    ) -> None:
        self.left = left
        self.rooms = rooms
        self.fault = fault
        self.forgets = forgets
        self.synced = 0
        self.refuses_to_sync = False

    def create(self, path: Path, size: int) -> BinaryIO:
        if size:
            if self.rooms < size:
                raise full()
            self.rooms -= size
            return super().create(path, size)
        handle = Tight(path, "x+b")
        handle.left, handle.fault, handle.forgets = self.left, self.fault, self.forgets
        return cast("BinaryIO", handle)

    def unlink(self, path: Path) -> None:
        size = path.stat().st_size if path.name.endswith(".room.part") and path.exists() else 0
        super().unlink(path)
        self.rooms += size

    def begin_sync(self, handle: BinaryIO, size: int) -> None:
        pass

    def sync(self, handle: BinaryIO, size: int) -> None:
        if self.refuses_to_sync and isinstance(handle, Tight):
            if self.forgets:
                handle.forget()
            raise full()
        super().sync(handle, size)
        self.synced += 1


class Place:
    """A spool with its rooms, which remembers what was begun there."""

    def __init__(self, job: Path, files: Files) -> None:
        self.spool = Spool(job, files)
        self.spool.open()
        self.rooms = self.spool.rooms
        self.begun: list[Part | Room] = []

    def room(self, attempt: int, size: int = ROOM) -> Room:
        room = self.rooms.take(attempt, size)
        assert room is not None
        self.begun.append(room)
        return room

    def part(self, attempt: int, room: Room | None = None) -> Part:
        part = self.spool.part(attempt, 0, room=room)
        self.begun.append(part)
        return part

    @property
    def names(self) -> list[str]:
        return sorted(path.name for path in self.spool.folder.iterdir())


@contextmanager
def opened(job: Path, files: Files) -> Iterator[Place]:
    """Open a spool; what a test has begun in it is closed at the end."""
    place = Place(job, files)
    try:
        yield place
    finally:
        for thing in place.begun:
            with contextlib.suppress(FencedError):
                thing.discard()


@pytest.mark.parametrize("left", [0, 1, 255, 5000, len(DATA) - 1])
def test_an_image_for_which_the_disk_has_no_more_goes_on_in_its_room(tmp_path: Path, left: int) -> None:
    with opened(tmp_path, Filling(left)) as place:
        room = place.room(7)
        part = place.part(7, room)
        for start in range(0, len(DATA), 1000):
            part.write(DATA[start : start + 1000])
        path, digest = part.keep(0)
        assert path.read_bytes() == DATA
        assert digest == hashlib.sha256(DATA).hexdigest()
        place.rooms.give(room)
        assert place.room(8) is not room, "what an image has gone into is no room for another"
        assert place.names == [f"7.0.{digest}.ready", "8.room.part"]


def test_an_image_that_did_not_need_its_room_leaves_it_to_the_next(tmp_path: Path) -> None:
    with opened(tmp_path, Filling(rooms=ROOM)) as place:
        room = place.room(1)
        part = place.part(1, room)
        part.write(DATA)
        path, _ = part.keep(0)
        assert path.stat().st_size == len(DATA)
        place.rooms.give(room)
        assert place.room(2) is room
        assert (place.spool.folder / "1.room.part").stat().st_size == ROOM


def test_a_disk_that_is_full_and_has_no_room_either_says_so(tmp_path: Path) -> None:
    with opened(tmp_path, Filling(left=10)) as place:
        with pytest.raises(OSError, match="the disk says no"):
            place.part(1).write(DATA)
        room = place.room(2)
        room.discard()
        with pytest.raises(OSError, match="the disk says no"):
            place.part(2, room).write(DATA)


def test_a_fault_that_is_no_full_disk_is_told_and_leaves_the_room_alone(tmp_path: Path) -> None:
    with opened(tmp_path, Filling(left=10, fault=errno.EIO)) as place:
        room = place.room(1)
        with pytest.raises(OSError, match="the disk says no"):
            place.part(1, room).write(DATA)
        assert room.is_free


def test_a_disk_that_tells_only_when_it_is_to_sync_that_it_is_full_has_the_image_in_its_room(tmp_path: Path) -> None:
    files = Filling()
    with opened(tmp_path, files) as place:
        part = place.part(1, place.room(1))
        part.write(DATA)
        files.refuses_to_sync = True
        [kept] = place.spool.keep_all([(part, 0)])
        assert not isinstance(kept, Exception)
        assert kept[0].read_bytes() == DATA
        assert place.names == [kept[0].name]
        assert files.synced == 1, "before it passes for durable"


@pytest.mark.parametrize("left", [5000, 1 << 20], ids=["as it is written", "as it is synced"])
def test_bytes_that_a_full_disk_has_forgotten_never_become_an_image(tmp_path: Path, left: int) -> None:
    files = Filling(left, forgets=True)
    with opened(tmp_path, files) as place:
        part = place.part(1, place.room(1))
        part.write((b"\1" + DATA)[:4000])
        part.write((b"\1" + DATA)[4000:])
        files.refuses_to_sync = True
        [kept] = place.spool.keep_all([(part, 0)])
        assert isinstance(kept, OSError)
        part.close()
        with opened(tmp_path, Files()) as again:
            assert again.spool.recover() == []


def test_a_disk_that_moves_an_image_and_says_that_it_did_not_loses_neither_it_nor_a_room(tmp_path: Path) -> None:
    class Unsure(Filling):
        """A disk that renames a room, and then says that it has not."""

        def rename(self, source: Path, target: Path) -> None:
            super().rename(source, target)
            if source.name.endswith(".room.part"):
                raise OSError(errno.EIO, "Input/output error")

    with opened(tmp_path, Unsure(left=10)) as place:
        room = place.room(1)
        part = place.part(1, room)
        part.write(DATA)
        path, _ = part.keep(0)
        assert path.read_bytes() == DATA
        place.rooms.give(room)
        assert place.room(2) is not room


def test_no_room_of_another_size_is_idle_where_a_new_one_is_wanted(tmp_path: Path) -> None:
    with opened(tmp_path, Filling(rooms=7 * ROOM)) as place:
        for room in [place.room(1), place.room(2)]:
            place.rooms.give(room)
        for room in [place.room(3, 2 * ROOM), place.room(4, 4 * ROOM)]:
            place.rooms.give(room)
        assert place.names == ["3.room.part", "4.room.part"]
        assert place.room(5, 7 * ROOM).size == 7 * ROOM
        assert place.names == ["5.room.part"]
        with pytest.raises(OSError, match="No space"):
            place.room(6)


def test_when_the_disk_is_full_all_images_on_their_way_move_into_their_rooms(tmp_path: Path) -> None:
    with opened(tmp_path, Filling(left=5000)) as place:
        parts = {number: place.part(number, place.room(number)) for number in (1, 2, 3, 4)}
        for part in parts.values():
            part.write(DATA[:1000])
        parts[2].is_open = False  # all of it has come
        place.rooms.give(place.room(5))
        parts[1].write(DATA[1000:])
        assert place.names == ["1.0.part", "2.0.part", "3.0.part", "4.0.part"]
        assert [part.path.stat().st_size for part in parts.values()] == [ROOM, 1000, ROOM, ROOM]
        parts[3].write(DATA[1000:])
        for number, size in ((1, len(DATA)), (2, 1000), (3, len(DATA)), (4, 1000)):
            assert parts[number].keep(0)[0].read_bytes() == DATA[:size]


def test_a_full_disk_that_says_so_once_more_as_a_file_is_closed_keeps_no_image_from_its_room(tmp_path: Path) -> None:
    class Late(Tight):
        """A file whose closing fails, too."""

        def close(self) -> None:
            is_first = not self.closed
            super().close()
            if is_first:
                raise full()

    class Telling(Filling):
        """A disk of such files."""

        def create(self, path: Path, size: int) -> BinaryIO:
            if size:
                return super().create(path, size)
            handle = Late(path, "x+b")
            handle.left = 700
            return cast("BinaryIO", handle)

    with opened(tmp_path, Telling()) as place:
        parts = [place.part(number, place.room(number)) for number in (1, 2)]
        for part in parts:
            part.write(DATA[:500])
        for part in parts:
            part.write(DATA[500:])
        assert [part.keep(0)[0].read_bytes() for part in parts] == [DATA, DATA]


def test_a_room_whose_name_is_gone_is_not_taken_for_one_that_was_renamed(tmp_path: Path) -> None:
    class Removing(Filling):
        """A disk from which somebody removes a room just as it is renamed."""

        def rename(self, source: Path, target: Path) -> None:
            if source.name.endswith(".room.part"):
                source.unlink()
            super().rename(source, target)

    with opened(tmp_path, Removing(left=5000)) as place:
        part = place.part(1, place.room(1))
        with pytest.raises(OSError, match="the disk says no"):
            part.write(DATA)


def test_an_image_that_is_larger_than_its_room_has_what_the_room_took_up(tmp_path: Path) -> None:
    class Shared(Filling):
        """A disk on which what a room has taken up is there for others once it is gone."""

        def unlink(self, path: Path) -> None:
            super().unlink(path)
            if path.name.endswith(".room.part"):
                assert isinstance(part._handle, Tight)
                part._handle.left += ROOM

    with opened(tmp_path, Shared(left=ROOM + 10)) as place:
        part = place.part(1, place.room(1))
        part.write(bytes(ROOM + 10))
        part.write(DATA)
        assert isinstance(part._handle, Tight), "what does not fit in there stays where it is"
        assert part.keep(0)[0].read_bytes() == bytes(ROOM + 10) + DATA


@pytest.mark.parametrize("refused", ["write", "rename"])
def test_an_image_that_cannot_move_goes_on_where_it_was_if_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    monkeypatch.setattr("batchbanana.spool.rooms.BLOCK", 256)

    class Refusing(Filling):
        """A disk that does not rename the first room, or fails as it is written to."""

        def create(self, path: Path, size: int) -> BinaryIO:
            handle = super().create(path, size)
            if path.name != "1.room.part" or refused != "write":
                return handle
            handle.close()
            failing = Tight(path, "r+b")
            failing.left, failing.fault = 300, errno.EIO
            return cast("BinaryIO", failing)

        def rename(self, source: Path, target: Path) -> None:
            if source.name == "1.room.part" and refused == "rename":
                raise OSError(errno.EIO, "Input/output error")
            super().rename(source, target)

    files = Refusing()
    with opened(tmp_path, files) as place:
        one = place.part(1, place.room(1))
        one.write(DATA[:700])
        files.left = 10
        place.part(2, place.room(2)).write(DATA)
        one.write(DATA[700:])
        assert one.keep(0)[0].read_bytes() == DATA


def test_a_room_in_whose_place_there_is_something_else_takes_no_image(tmp_path: Path) -> None:
    """Whoever could put a link there could have us write anywhere."""
    other = tmp_path / "other"
    other.write_bytes(b"not ours")
    with opened(tmp_path, Filling(left=10)) as place:
        part = place.part(1, place.room(1))
        way = place.spool.folder / "1.room.part"
        way.unlink()
        way.symlink_to(other)
        with pytest.raises(OSError, match="the disk says no"):
            part.write(DATA)
    assert other.read_bytes() == b"not ours"


def inbox(place: Place) -> Inbox:
    return Inbox(place.spool, ATTEMPT, PlainReader(), Secret("canary-key"))


def test_an_image_of_which_all_has_come_gives_its_room_up_and_stays_where_it_is(tmp_path: Path) -> None:
    """It may be on its way to a sync in another thread."""
    with opened(tmp_path, Files()) as place:
        whole = inbox(place)
        whole.reserve()
        whole.end()
        place.rooms.make_way()
        assert place.names == ["7.0.part"]
        assert (place.spool.folder / "7.0.part").stat().st_size == 0
        whole.discard()


def test_an_attempt_that_could_not_begin_leaves_nothing_and_may_try_again(tmp_path: Path) -> None:
    class Full(Files):
        """A disk that has room, and takes no further names."""

        def create(self, path: Path, size: int) -> BinaryIO:
            if not size:
                raise full()
            return super().create(path, size)

    with opened(tmp_path, Full()) as place:
        begun = inbox(place)
        for _ in range(2):
            with pytest.raises(OSError, match="No space"):
                begun.reserve()
        assert place.names == []


def test_an_attempt_that_finds_no_room_has_those_on_their_way_make_some(tmp_path: Path) -> None:
    class Crowded(Files):
        """A disk with one room, and with another once an image has moved into that."""

        has_moved = False
        rooms = 0

        def create(self, path: Path, size: int) -> BinaryIO:
            if size and self.rooms and not self.has_moved:
                raise full()
            self.rooms += bool(size)
            return super().create(path, size)

        def rename(self, source: Path, target: Path) -> None:
            self.has_moved |= source.name.endswith(".room.part")
            super().rename(source, target)

    async def main() -> None:
        with opened(tmp_path, Crowded()) as place:
            lanes = Lanes(Endpoint.build("http://127.0.0.1:9", None, "canary-key"))
            async with aclosing(LocalEngine(Plain(), lanes, place.spool)) as engine:
                workers = [engine.worker(), engine.worker()]
                for number, worker in enumerate(workers, 1):
                    assert await worker.prepare(replace(ATTEMPT, id=number)) is None
                assert place.names == ["1.0.part", "2.0.part", "2.room.part"]
                for worker in workers:
                    await worker.abandon()
            assert place.names == []

    anyio.run(main)


def test_where_the_file_system_promises_nothing_there_are_no_rooms(tmp_path: Path) -> None:
    class Unpromising(Files):
        """A disk that cannot reserve."""

        def create(self, path: Path, size: int) -> BinaryIO:
            return super().create(path, 0)

    with opened(tmp_path, Unpromising()) as place:
        assert place.rooms.take(1, ROOM) is None
        assert place.rooms.take(2, ROOM) is None
        assert place.names == []


def test_the_rooms_of_a_dead_run_make_way_for_the_images_that_it_left(tmp_path: Path) -> None:
    files = Filling(rooms=ROOM)
    with opened(tmp_path, files) as place:
        part = place.part(1)
        part.write(DATA)
        part.put_by(0)
        place.room(2, ROOM)
        [found] = place.spool.recover()
        assert found.path.read_bytes() == DATA
        assert place.names == [found.path.name]


def test_rooms_go_with_their_run_or_at_the_next_start(tmp_path: Path) -> None:
    with opened(tmp_path, Files()) as place:
        for room in [place.room(number) for number in (1, 2)]:
            place.rooms.give(room)
        place.rooms.drop_idle()
        assert place.names == []
        place.rooms.give(place.room(3))
        with opened(tmp_path, Files()) as again:
            assert again.spool.recover() == []
        assert place.names == []
        place.rooms.drop_idle()  # that it is gone already is no fault


def test_a_run_that_has_lost_its_job_directory_removes_nothing_there(tmp_path: Path) -> None:
    lost = False

    def check() -> None:
        if lost:
            raise FencedError("another run has it")

    with opened(tmp_path, FencedFiles(check)) as place:
        place.rooms.give(place.room(1))
        lost = True
        place.rooms.drop_idle()
        assert place.names == ["1.room.part"]
