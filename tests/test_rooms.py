"""Room on the disk: a disk that gets full under an image takes it all the same, and no room outlives its run."""

import contextlib
import errno
import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from batchbanana.errors import FencedError
from batchbanana.spool import FencedFiles, Files, Part, Room, Rooms, Spool

DATA = bytes(range(256)) * 40
ROOM = 1 << 16


def full() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device")


class Tight(io.FileIO):
    """A file that the disk has not reserved anything for: so many bytes fit into it."""

    left = 0
    fault = errno.ENOSPC

    def write(self, data: object) -> int:
        view = memoryview(cast("bytes", data))[: self.left]
        self.left -= len(view)
        if not view:
            raise OSError(self.fault, "the disk says no")
        return super().write(view)


class Filling(Files):
    """A disk with so many bytes left for what is not reserved, and so many rooms; `forgets` what it could not sync."""

    def __init__(self, left: int = 1 << 20, rooms: int = 9, *, fault: int = errno.ENOSPC) -> None:
        self.left = left
        self.rooms = rooms
        self.fault = fault
        self.syncs: list[str] = []
        self.refuses_to_sync = False
        self.forgets = False

    def create(self, path: Path, size: int) -> BinaryIO:
        if size:
            if not self.rooms:
                raise full()
            self.rooms -= 1
            return super().create(path, size)
        handle = Tight(path, "x+b")
        handle.left, handle.fault = self.left, self.fault
        return cast("BinaryIO", handle)

    def unlink(self, path: Path) -> None:
        super().unlink(path)
        self.rooms += path.name.endswith(".room.part")

    def begin_sync(self, handle: BinaryIO, size: int) -> None:
        pass

    def sync(self, handle: BinaryIO, size: int) -> None:
        if self.refuses_to_sync and isinstance(handle, Tight):
            if self.forgets:
                handle.seek(0)
                io.FileIO.write(handle, b"\0")
            raise full()
        super().sync(handle, size)


class Place:
    """A spool with its rooms, which remembers what was begun there."""

    def __init__(self, job: Path, files: Files) -> None:
        self.spool = Spool(job, files)
        self.spool.open()
        self.rooms: Rooms = self.spool.rooms()
        self.begun: list[Part | Room] = []

    def room(self, attempt: int, size: int = ROOM) -> Room:
        room = self.rooms.take(attempt, size)
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
    with opened(tmp_path, Filling(rooms=1)) as place:
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


def test_bytes_that_such_a_disk_has_forgotten_never_become_an_image(tmp_path: Path) -> None:
    files = Filling()
    with opened(tmp_path, files) as place:
        part = place.part(1, place.room(1))
        part.write(b"\1" + DATA)
        files.refuses_to_sync = files.forgets = True
        [kept] = place.spool.keep_all([(part, 0)])
        assert isinstance(kept, OSError)
        part.close()
        with opened(tmp_path, Files()) as again:
            assert again.spool.recover() == []


def test_rooms_of_other_sizes_make_way_where_the_disk_has_no_more(tmp_path: Path) -> None:
    with opened(tmp_path, Filling(rooms=2)) as place:
        for room in [place.room(number) for number in (1, 2)]:
            place.rooms.give(room)
        assert place.room(3, 2 * ROOM).size == 2 * ROOM
        assert place.names == ["3.room.part"]
        place.room(4)
        with pytest.raises(OSError, match="No space"):
            place.room(5)


def test_rooms_go_with_their_run_or_at_the_next_start(tmp_path: Path) -> None:
    with opened(tmp_path, Files()) as place:
        for room in [place.room(number) for number in (1, 2)]:
            place.rooms.give(room)
        assert place.rooms.close() == 2
        assert place.names == []
        place.rooms.give(place.room(3))
        with opened(tmp_path, Files()) as again:
            assert again.spool.recover() == []
        assert place.names == []
        assert place.rooms.close() == 1, "that it is gone already is no fault"


def test_a_run_that_has_lost_its_job_directory_removes_nothing_there(tmp_path: Path) -> None:
    lost = False

    def check() -> None:
        if lost:
            raise FencedError("another run has it")

    with opened(tmp_path, FencedFiles(check)) as place:
        place.rooms.give(place.room(1))
        lost = True
        place.rooms.close()
        assert place.names == ["1.room.part"]
