"""The real program on a disk that is really full, at each stage of a run: it costs nothing that cannot be kept."""

import hashlib
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchbanana.sandbox.running import in_thread
from tests.support.program import PATIENCE, Job, environment, manifest, until

KB = 1024
SIZE = 8 << 20  # bytes of the disk: room for all of a small job, and for the memory that SQLite shares


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own in memory."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or sys.platform != "linux":
        pytest.skip("only root can mount a small disk, and only on Linux is it known how")
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["/usr/bin/env", "mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    yield place
    subprocess.run(["/usr/bin/env", "umount", "--lazy", place], check=True)


def fill(disk: Path, left: int) -> Path:
    """Take up all of a disk but so many bytes."""
    filler = disk / "filler"
    room = os.statvfs(disk)
    with filler.open("wb") as handle:
        os.posix_fallocate(handle.fileno(), 0, room.f_bavail * room.f_frsize - left)
    return filler


def remount(disk: Path, names: int) -> None:
    """Let a disk have so many files at most."""
    options = f"remount,size={SIZE},nr_inodes={names}"
    subprocess.run(["/usr/bin/env", "mount", "-o", options, disk], check=True)


# From no room at all over room for the ledger and for no image, for one image and not its row, up to all but the end.
@pytest.mark.parametrize("left", [4, 40, 92, 180, 1100, 1140, 1160, 1180, 1200, 1260, 1400])
def test_a_disk_that_fills_up_ends_the_run_and_what_is_paid_is_there(disk: Path, left: int) -> None:
    with in_thread({"latency": 0.0}) as sandbox:
        job = Job(disk, sandbox.url, manifest(8, limits={"concurrency": 2}))
        filler = fill(disk, left * KB)
        ended = job.run()
        assert ended.code in {0, 13}, ended.err
        assert ended.code == 0 or "make room" in ended.err
        filler.unlink()
        again = job.run()
        assert (again.code, again.json["done"], again.json["possibly_billed"]) == (0, 8, 0), again.err
        job.check()
        assert sandbox.bill()["requests"] == 8, "an image that there is no room for is never asked for"


@pytest.mark.parametrize("left", [0, 4, 40])
def test_a_disk_that_gets_full_while_images_are_on_their_way_loses_none_of_them(disk: Path, left: int) -> None:
    with in_thread({"latency": 1.0}) as sandbox:
        job = Job(disk, sandbox.url, manifest(2, limits={"concurrency": 2}))
        with job.started() as process:
            until(lambda: len(sandbox.requests()) == 2)
            filler = fill(disk, left * KB)
            process.communicate(timeout=PATIENCE)
        assert process.returncode in {0, 13}
        filler.unlink()
        again = job.run()
        assert (again.code, again.json["done"], again.json["possibly_billed"]) == (0, 2, 0), again.err
        job.check()
        assert sandbox.bill()["requests"] == 2, "what was paid for went into the room that was kept for it"


def test_images_larger_than_expected_are_made_where_there_is_room_for_all_of_them(disk: Path) -> None:
    """What was kept for them and is not used must not keep the others from the disk."""
    with in_thread({"latency": 0.0, "pictures": "plain", "bytes": 1250 * KB}) as sandbox:
        job = Job(disk, sandbox.url, manifest(4, limits={"concurrency": 4}))
        ended = job.run()
        assert (ended.code, ended.json["done"]) == (0, 4), ended.err
        job.check()
        assert sandbox.bill()["requests"] == 4


def test_what_a_killed_run_kept_room_for_does_not_keep_the_next_from_its_images(disk: Path) -> None:
    with in_thread({"latency": 0.0, "pictures": "plain", "bytes": 900 * KB}) as sandbox:
        job = Job(disk, sandbox.url, manifest(2, limits={"concurrency": 2}))
        assert job.run().code == 0
        spool = job.output / ".batchbanana/spool"
        [*images] = (job.output / "images/hero").iterdir()
        whole = spool / f"9.0.{hashlib.sha256(images[0].read_bytes()).hexdigest()}.{images[0].stat().st_size}.whole"
        whole.write_bytes(images[0].read_bytes())
        room = os.statvfs(disk)
        with (spool / "9.room.part").open("wb") as handle:
            os.posix_fallocate(handle.fileno(), 0, room.f_bavail * room.f_frsize - 100 * KB)
        again = job.run()
        assert "No space" not in again.err
        assert not list(spool.glob("*.part"))


@pytest.mark.parametrize("names", [14, 17, 20])
def test_a_disk_without_room_for_another_name_is_full_too_and_no_reason_to_distrust_the_ledger(
    disk: Path, names: int
) -> None:
    with in_thread({"latency": 0.0}) as sandbox:
        job = Job(disk, sandbox.url, manifest(8, limits={"concurrency": 8}))
        remount(disk, names)
        for _ in range(3):
            ended = job.run()
            assert ended.code == 13, ended.err
            assert "room" in ended.err
            assert "restore" not in ended.err, "whoever puts an older ledger in its place loses what this one knows"
        remount(disk, 10_000)
        again = job.run()
        assert (again.code, again.json["done"], again.json["possibly_billed"]) == (0, 8, 0), again.err
        job.check()
        assert sandbox.bill()["requests"] == 8


# The program is not measured here: what measures it writes files too.
@pytest.mark.parametrize("size", [0, 4, 20, 60, 100, 700, 1100])
def test_files_that_may_not_grow_are_a_full_disk_too(tmp_path: Path, size: int) -> None:
    with in_thread({"latency": 0.0}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(3))
        done = subprocess.run(
            [sys.executable, "-m", "batchbanana", *job.arguments()],
            env={name: value for name, value in environment().items() if not name.startswith("COVERAGE_")},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size * KB, size * KB)),
        )
        assert "Traceback" not in done.stderr
        assert done.returncode == (0 if size > 1024 else 13), done.stderr
        again = job.run()
        assert (again.code, again.json["done"], again.json["possibly_billed"]) == (0, 3, 0), again.err
        job.check()
        assert sandbox.bill()["requests"] == 3
