"""The n-th call to the disk or to SQLite fails, for every n, once and for good, and nothing that can be kept is lost.

The run ends by itself and says why; when the disk is well again, the next run makes the rest, and nothing twice.
The whole program runs in this process over a disk that fails where the system's own calls are. Errors and how far they
spread change from call to call; `BATCHBANANA_FAULTS=all pytest tests/run/test_failing_disk.py` takes all at each call.
"""

import errno
import io
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from itertools import count, product
from pathlib import Path
from unittest.mock import patch

import pytest

from batchbanana.cli import main
from batchbanana.images import Inspector
from batchbanana.sandbox.running import in_thread
from tests.support.faults import LEDGER, FailingDisk, Spread, Step
from tests.support.program import KEY, SHOWN, Ended, Job, environment, manifest
from tests.support.web import picture, pointing, reply, web

ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES)
SPREADS = tuple(Spread)
FENCE = "SELECT max(id) FROM runs"
IS_LONG = os.environ.get("BATCHBANANA_FAULTS") == "all"
ONE = {"concurrency": 1}
SMALLER_ONCE = {"when": {"resolution": "2K", "first": 1}, "then": {"size": "1K"}}


@dataclass(frozen=True, kw_only=True)
class Service:
    """Something that makes images.

    Attributes:
        requests: says how many it was asked for.
    """

    url: str
    requests: Callable[[], int]


@contextmanager
def sandbox(*faults: dict[str, object]) -> Iterator[Service]:
    with in_thread({"latency": 0.0, "faults": list(faults)}) as served:
        yield Service(url=served.url, requests=lambda: int(served.bill()["requests"]))


@contextmanager
def relay() -> Iterator[Service]:
    """Answer with addresses, and give a different image at each."""

    def respond(handler: BaseHTTPRequestHandler) -> None:
        if handler.command == "POST":
            reply(handler, pointing(f"{served.url}/{served.count('POST')}.png"))
        else:
            reply(handler, picture(f"#0000{int(handler.path[1]):02x}"))

    with web(respond) as served:
        yield Service(url=served.url, requests=lambda: served.count("POST"))


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A job whose disk is going to fail.

    Attributes:
        tasks: how many it has.
        requests: how many it takes when nothing goes wrong.
        steps: how many calls a run makes at least; fewer would mean that nothing is looked at.
        before: the call that failed in an earlier run, whose first image is therefore still in the spool: its kind, and
            which of them.
    """

    service: Callable[[], object] = sandbox
    manifest: dict[str, object] = field(default_factory=lambda: manifest(2, limits=ONE))
    tasks: int = 2
    requests: int = 2
    steps: int = 120
    before: tuple[str, int] | None = None


SCENES = {
    "fresh": Scene(),
    "left unlinked": Scene(before=("link", 1), steps=90),
    "left unsynced": Scene(before=("fsync", 3), steps=100),  # the first two are those of folders
    "pointed to": Scene(service=relay, steps=140),
    "replaced": Scene(
        service=lambda: sandbox(SMALLER_ONCE),
        manifest=manifest(1, limits=ONE, resolution="2K", model="gemini-3-pro-image", on_mismatch="retry"),
        tasks=1,
        steps=120,
    ),
}


def run(job: Job, disk: FailingDisk) -> Ended:
    """Run the program in this process over such a disk."""
    out, err = io.StringIO(), io.StringIO()
    arguments = ["batchbanana", *job.arguments("--quiet")]
    with (
        patch.object(sys, "argv", arguments),
        patch.dict(os.environ, environment()),
        disk.in_place(),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        code = int(main())
    ended = Ended(code=code, out=out.getvalue(), err=err.getvalue())
    said = ended.out + ended.err
    assert not any(word in said for word in ("Traceback", "nternal error", "nexpected error", KEY[:SHOWN])), said
    return ended


def may_be_lost(failed: Step, spread: Spread, *, is_done: bool) -> bool:
    """Whether an image on its way may have no place to be kept in: while it is written, or if nothing can be named."""
    if failed.kind == "write":
        return failed.what.endswith(".part")
    if failed.what == FENCE:  # nobody could tell whose job it is; the rename after it fails, too
        return spread is Spread.ALL
    if failed.what.endswith(
        ".room.part"
    ):  # nothing was written down yet of where an image that is paid for can be found
        return spread is Spread.ALL
    return (spread is not Spread.ONCE or is_done) and failed.kind in {"fsync", "rename", "open"}


def check_summary(job: Job, ended: Ended, scene: Scene) -> None:
    """What a run says of itself adds up, and what it calls done is done."""
    told = ended.json
    names = ("done", "degraded", "mismatch", "refused", "failed", "pending")
    assert sum(told[name] for name in names) == told["tasks"] == scene.tasks
    [(done,)] = job.rows("SELECT count(*) FROM outcomes WHERE outcome = 'done'")
    assert told["done"] <= done
    assert told["exit_code"] == ended.code


def check_after_failure(job: Job, ended: Ended, scene: Scene, *, is_ledgers: bool) -> None:
    assert ended.code in ({0, 13, 14} if is_ledgers else {0, 13}), ended.err
    if ended.out:
        check_summary(job, ended, scene)
    for path in (job.output / "images").rglob("*.*"):
        inspector = Inspector()
        inspector.feed(path.read_bytes())
        inspector.result()


def check_in_the_end(job: Job, scene: Scene, ended: Ended) -> None:
    assert (ended.code, ended.json["done"]) == (0, scene.tasks), ended.err
    job.check()
    assert ended.json["possibly_billed"] == job.attempts("billed = 'unknown'")
    assert job.attempts("result IS NULL") == 0


def one(folder: Path, scene: Scene, nth: int, number: int, spread: Spread, *, is_done: bool = False) -> bool:
    """Let the n-th call fail and judge; False when there were not so many."""
    with scene.service() as service:  # type: ignore[attr-defined]  # a context manager
        job = Job(folder, service.url, scene.manifest)
        disks = [FailingDisk(job.output, nth, number, spread, is_done=is_done), FailingDisk(job.output)]
        if scene.before is not None:
            kind, which = scene.before
            disks.insert(0, FailingDisk(job.output, which, kind=kind))
            run(job, disks[0])
            assert disks[0].failed is not None
            assert len(list((job.output / ".batchbanana/spool").iterdir())) == 1
        ended = run(job, disks[-2])
        failed = disks[-2].failed
        if failed is None:
            assert nth > scene.steps, f"only {nth - 1} calls"
            return False
        check_after_failure(job, ended, scene, is_ledgers=failed.kind in LEDGER or spread is Spread.ALL)
        again = run(job, disks[-1])
        check_in_the_end(job, scene, again)
        requests = service.requests()
    most = scene.requests + may_be_lost(failed, spread, is_done=is_done)
    assert scene.requests <= requests <= most
    silent = again.json["possibly_billed"]
    ready = {name for disk in disks for name in disk.ready}
    # Of what was bought, all that was received whole is there; an attempt may have been written down and not sent.
    assert len(ready) + silent + job.attempts("result = 'disk' AND billed = 'yes'") >= requests
    assert silent <= (1 if most > scene.requests or failed.kind in LEDGER else 0)
    return True


def every_call(folder: Path, scene: Scene, *, step: int, spreads: Sequence[Spread], is_done: bool = False) -> None:
    """Let each `step`-th call fail in turn, or each one in a long look, until a run is clean."""
    for turn, nth in enumerate(count(1, 1 if IS_LONG else step)):
        faults = list(product(ERRORS, spreads))
        for number, spread in faults if IS_LONG else [faults[turn * 4 % len(faults)]]:  # 4 comes round to all of them
            place = folder / f"{nth}-{number}-{spread}"
            place.mkdir()
            try:
                if not one(place, scene, nth, number, spread, is_done=is_done):
                    return
            except BaseException as error:
                error.add_note(f"call {nth} failed with {errno.errorcode[number]}, {spread}")
                raise
            shutil.rmtree(place)


@pytest.mark.parametrize("spread", SPREADS)
def test_whatever_call_fails_the_run_ends_and_the_next_one_makes_the_rest(tmp_path: Path, spread: Spread) -> None:
    every_call(tmp_path, SCENES["fresh"], step=2 if spread is Spread.ONCE else 7, spreads=[spread])


@pytest.mark.parametrize("scene", sorted(SCENES.keys() - {"fresh"}))
def test_nor_is_anything_lost_that_is_on_its_way_otherwise(tmp_path: Path, scene: str) -> None:
    """Left by a dead run, only pointed to, or in the place of another image."""
    every_call(tmp_path, SCENES[scene], step=7, spreads=SPREADS)


def test_a_transaction_that_begins_although_the_disk_says_no_is_not_left_open(tmp_path: Path) -> None:
    """Whoever comes next in the same process would find the ledger locked."""
    with sandbox() as service:
        job = Job(tmp_path, service.url, SCENES["fresh"].manifest)
        whole = FailingDisk(job.output)
        assert run(job, whole).code == 0
    nth = 1 + [str(step) for step in whole.steps].index("statement BEGIN IMMEDIATE")
    folder = tmp_path / "again"
    folder.mkdir()
    assert one(folder, SCENES["fresh"], nth, errno.ENOSPC, Spread.ONCE, is_done=True)


def test_a_call_that_fails_although_it_took_effect_does_no_more_harm(tmp_path: Path) -> None:
    """As a commit or a rename whose sync failed: what the disk then holds is what nobody was told."""
    every_call(tmp_path, SCENES["fresh"], step=7, spreads=[Spread.ONCE], is_done=True)
