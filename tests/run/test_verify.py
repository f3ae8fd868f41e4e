"""`verify` finds where files and ledger differ; `--repair` mends it, and a run then buys no more than it must."""

import contextlib
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from batchbanana.job import JobDirectory
from batchbanana.ledger import Store
from batchbanana.sandbox.running import Handle, in_thread
from batchbanana.spool import Files
from batchbanana.verify import Looking, mend
from tests.support.program import Ended, Job, command, environment, manifest, until

SUPERSEDED = ".batchbanana/superseded"
SQLITES = {"ledger.db-wal", "ledger.db-shm", "lock"}  # whoever reads the ledger may make or renew them


@pytest.fixture
def sandbox() -> Iterator[Handle]:
    with in_thread() as running:
        yield running


@pytest.fixture
def job(tmp_path: Path, sandbox: Handle) -> Job:
    """A finished job of six images."""
    made = Job(tmp_path, sandbox.url, manifest(6))
    assert made.run().code == 0
    return made


def verify(job: Job, *more: str) -> Ended:
    return command("verify", str(job.output), *more)


def images(job: Job) -> list[Path]:
    return [job.output / record["file_name"] for record in job.records]


def spoil(path: Path) -> None:
    """Change a byte, so that the size stays."""
    data = bytearray(path.read_bytes())
    data[-20] ^= 0xFF
    path.write_bytes(data)


def lose_ledger(job: Job) -> None:
    for path in (job.output / ".batchbanana").glob("ledger.db*"):
        path.unlink()


def contents(job: Job) -> dict[str, bytes]:
    return {
        str(path.relative_to(job.output)): path.read_bytes()
        for path in job.output.rglob("*")
        if path.is_file() and path.name not in SQLITES
    }


def change(job: Job, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(job.output / ".batchbanana/ledger.db")) as db, db:
        db.execute(statement)


def test_a_finished_job_is_all_right_by_its_folder_and_by_its_manifest(job: Job) -> None:
    before = contents(job)
    ended = verify(job)
    assert (ended.code, ended.out) == (0, f"6 images checked in {job.output}: all is right\n")
    named = command("verify", str(job.manifest), "--output", str(job.output), "--json")
    assert (named.code, named.json["checked"], named.json["findings"]) == (0, 6, [])
    assert verify(job, "--repair").code == 0
    assert contents(job) == before


def gone(job: Job) -> None:
    images(job)[2].unlink()


def spoiled(job: Job) -> None:
    spoil(images(job)[2])


def cut(job: Job) -> None:
    images(job)[2].write_bytes(images(job)[2].read_bytes()[:-7])


def foreign(job: Job) -> None:
    (job.output / "images/deep").mkdir()
    (job.output / "images/deep/mine.png").write_bytes(b"mine")


def metadata_gone(job: Job) -> None:
    (job.output / "metadata.jsonl").unlink()


def metadata_short(job: Job) -> None:
    path = job.output / "metadata.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:4]))


def metadata_long(job: Job) -> None:
    with (job.output / "metadata.jsonl").open("ab") as handle:
        handle.write(b"{}\n")


def metadata_changed(job: Job) -> None:
    path = job.output / "metadata.jsonl"
    path.write_bytes(path.read_bytes().replace(b"number 3", b"number 9"))


def half_written(job: Job) -> None:
    (job.output / ".batchbanana/spool/9.0.part").write_bytes(b"half")


def not_home(job: Job) -> None:
    (job.output / f".batchbanana/spool/9.0.{'ab' * 32}.ready").write_bytes(b"paid")


def noted(job: Job) -> None:
    (job.output / ".batchbanana/spool/9.0.link").write_text("{}")


def squatter(job: Job) -> None:
    (job.output / ".batchbanana/spool/letter.txt").write_text("hello")


def in_flight(job: Job) -> None:
    change(
        job,
        "INSERT INTO attempts (run, key, resolution, sent, errand)"
        """ VALUES (1, x'00', '1K', 0, '{"key": "00000000000000000000000000000000"}')""",
    )


def wrong_size_told(job: Job) -> None:
    change(job, "UPDATE outcomes SET record = json_set(record, '$.width', 3) WHERE seq = 3")


def wrong_hash_told(job: Job) -> None:
    change(job, "UPDATE outcomes SET record = json_set(record, '$.bytes', 3) WHERE seq = 3")


def ledger_gone(job: Job) -> None:
    lose_ledger(job)


def ledger_spoiled(job: Job) -> None:
    verify(job)
    path = job.output / ".batchbanana/ledger.db"
    data = bytearray(path.read_bytes())
    data[4096:] = bytes(len(data) - 4096)
    path.write_bytes(data)


def ledger_no_database(job: Job) -> None:
    (job.output / ".batchbanana/ledger.db").write_bytes(b"It was a dark and stormy night. " * 200)


@pytest.mark.parametrize(
    ("harm", "code", "kind", "says"),
    [
        (gone, 13, "missing", "is missing; put it back from a copy, or let `verify --repair` put its task back"),
        (spoiled, 13, "damaged", "has other bytes than were paid for (sha256 "),
        (cut, 13, "damaged", "were paid for; put it back from a copy"),
        (foreign, 13, "stray", "images/deep/mine.png is no task's image; move it away"),
        (metadata_gone, 13, "metadata", "metadata.jsonl is missing; let the next run or `verify --repair`"),
        (metadata_short, 13, "metadata", "ends before line 5"),
        (metadata_long, 13, "metadata", "has a line 7"),
        (metadata_changed, 13, "metadata", "is not as the ledger has it, from line "),
        (half_written, 13, "spool", "was never whole; the next run removes it"),
        (not_home, 13, "spool", "is paid for and not in its place yet; run again to bring it home"),
        (noted, 13, "spool", "can be fetched; run again soon to fetch it"),
        (squatter, 13, "spool", "is nothing that a run has left; move it away"),
        (in_flight, 14, "open", "has no end in the ledger; run again"),
        (wrong_size_told, 14, "record", "but its record in the ledger says image/"),
        (wrong_hash_told, 14, "record", "is not what its record in the ledger is about"),
        (ledger_gone, 14, "ledger", "is lost, but images are there; put it back from a copy, or let `verify --repair`"),
        (ledger_spoiled, 14, "ledger", "is damaged ("),
        (ledger_no_database, 14, "ledger", "is damaged (file is not a database)"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_what_is_wrong_is_told_with_the_remedy_and_nothing_is_changed(
    job: Job, harm: Callable[[Job], None], code: int, kind: str, says: str
) -> None:
    harm(job)
    before = contents(job)
    ended = verify(job, "--json")
    kinds = {finding["kind"] for finding in ended.json["findings"]}
    if kind == "record":
        kinds.discard("metadata")  # which tells the record as it was
    assert (ended.code, kinds) == (code, {kind}), ended.json
    assert any(says in finding["message"] for finding in ended.json["findings"]), ended.json
    assert contents(job) == before
    told = verify(job)
    assert told.code == code
    assert says in told.out
    assert f"`batchbanana verify {job.output} --repair` mends what can be mended" in told.out


def test_a_file_that_cannot_be_read_is_not_taken_for_a_damaged_one(job: Job) -> None:
    path = images(job)[0]
    path.unlink()
    path.mkdir()
    for more in ((), ("--repair",)):
        ended = verify(job, "--json", *more)
        assert (ended.code, ended.json["found"]["unreadable"], ended.json["left"]["unreadable"]) == (13, 1, 1)
    assert job.rows("SELECT count(*) FROM outcomes") == [(6,)]


def test_what_was_never_a_job_directory_is_refused(tmp_path: Path) -> None:
    ended = command("verify", str(tmp_path))
    assert ended.code == 2
    assert "is not a job directory" in ended.err
    assert list(tmp_path.iterdir()) == []


def test_a_newer_ledger_is_left_alone(job: Job) -> None:
    change(job, "PRAGMA user_version = 99")
    before = contents(job)
    for more in ((), ("--repair",)):
        ended = verify(job, *more)
        assert ended.code == 14
        assert "upgrade the program" in ended.err
    assert contents(job) == before


def test_missing_and_damaged_images_are_made_again_and_nothing_else_is_and_what_was_damaged_is_kept(
    job: Job, sandbox: Handle
) -> None:
    missing, damaged, *_ = images(job)
    missing.unlink()
    spoil(damaged)
    kept = damaged.read_bytes()
    ended = verify(job, "--repair")
    assert ended.code == 0, ended.out
    assert ended.out.count("its task is pending again") == 2
    assert "6 images checked" in ended.out
    assert "2 of 2 findings mended" in ended.out
    assert (job.output / SUPERSEDED / damaged.relative_to(job.output)).read_bytes() == kept
    job.check()
    assert verify(job).code == 0
    again = job.run()
    assert (again.code, again.json["attempts"], again.json["done"]) == (0, 2, 6)
    assert sandbox.bill()["billed"] == 8
    assert again.json["cost_usd"] == pytest.approx(sandbox.bill()["micro_usd"] / 1e6)
    job.check()
    assert verify(job).code == 0


def test_further_images_of_an_answer_make_room_for_those_of_the_next(tmp_path: Path) -> None:
    faults = [{"then": {"texts": True}}]
    with in_thread({"latency": 0.0, "faults": faults}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(1))
        job.run()
        [extra] = job.records[0]["extras"]
        for bought in (2, 3):
            images(job)[0].unlink()
            (job.output / extra).write_bytes(b"the extra of that time %d" % bought)
            assert verify(job, "--repair").code == 0
            assert (job.run().code, sandbox.bill()["billed"]) == (0, bought)
            assert job.records[0]["extras"] == [extra]
        assert len(list((job.output / SUPERSEDED / "extras").rglob("*.*"))) == 2
        job.check()


def test_an_image_that_the_spool_still_has_is_not_bought_again(job: Job, sandbox: Handle) -> None:
    """As if the run had died before the spool forgot it, and somebody had then removed the image."""
    record, path = job.records[0], images(job)[0]
    [(attempt,)] = job.rows(f"SELECT attempt FROM outcomes WHERE file = '{record['file_name']}'")  # noqa: S608
    path.rename(job.output / f".batchbanana/spool/{attempt}.0.{record['sha256']}.ready")
    ended = verify(job, "--repair")
    assert "is brought back from the spool" in ended.out
    assert job.run().json["attempts"] == 0
    job.check()
    assert (verify(job).code, sandbox.bill()["billed"]) == (0, 6)


@pytest.mark.parametrize("harm", [metadata_gone, metadata_short, metadata_long, metadata_changed])
def test_a_wrong_metadata_file_is_written_anew_and_the_old_one_kept(job: Job, harm: Callable[[Job], None]) -> None:
    right = (job.output / "metadata.jsonl").read_bytes()
    harm(job)
    wrong = (job.output / "metadata.jsonl").read_bytes() if harm is not metadata_gone else None
    ended = verify(job, "--repair")
    assert (ended.code, (job.output / "metadata.jsonl").read_bytes()) == (0, right)
    kept = job.output / SUPERSEDED / "metadata.jsonl"
    assert (kept.read_bytes() if kept.exists() else None) == wrong
    assert verify(job).code == 0


@pytest.mark.parametrize("harm", [ledger_gone, ledger_spoiled, ledger_no_database])
def test_a_lost_or_damaged_ledger_is_rebuilt_so_that_a_run_sends_nothing(
    job: Job, sandbox: Handle, harm: Callable[[Job], None]
) -> None:
    money = job.run().json["cost_usd"]
    told = (job.output / "metadata.jsonl").read_bytes()
    harm(job)
    refused = job.run()
    assert refused.code == 14
    assert "verify" in refused.err
    assert "--repair" in refused.err
    ended = verify(job, "--repair")
    assert ended.code == 0, ended.out
    assert "it is rebuilt from metadata.jsonl with 6 images; what that does not tell is gone" in ended.out
    assert (job.output / "metadata.jsonl").read_bytes() == told
    again = job.run()
    assert (again.code, again.json["attempts"], again.json["done"]) == (0, 0, 6)
    assert (again.json["cost_usd"], sandbox.bill()["requests"]) == (money, 6)
    job.check()
    assert verify(job).code == 0
    assert (job.output / SUPERSEDED / "ledger.db").exists() == (harm is not ledger_gone)


def test_a_rebuilt_ledger_asks_again_for_what_is_not_there(job: Job, sandbox: Handle) -> None:
    images(job)[0].unlink()
    spoil(images(job)[1])
    lose_ledger(job)
    assert verify(job, "--repair").code == 0
    again = job.run()
    assert (again.code, again.json["attempts"], again.json["done"]) == (0, 2, 6)
    assert sandbox.bill()["billed"] == 8
    job.check()


def test_lines_that_cannot_be_used_are_told_and_their_images_stay_strays(job: Job) -> None:
    lose_ledger(job)
    path = job.output / "metadata.jsonl"
    first, second, *rest = path.read_text(encoding="utf-8").splitlines(keepends=True)
    outside = json.dumps({**json.loads(second), "file_name": "images/../../secret.png"}) + "\n"
    path.write_text("".join(["{half\n", outside, *rest]), encoding="utf-8")
    ended = verify(job, "--repair", "--json")
    words = [finding["message"] for finding in ended.json["findings"]]
    assert ended.code == 13
    assert any("metadata.jsonl, line 1, is not JSON" in one for one in words), words
    assert any("line 2, has no file_name below images/" in one for one in words), words
    assert ended.json["left"]["stray"] == 2
    assert len(job.records) == 4
    assert first not in path.read_text(encoding="utf-8")
    assert b"{half" in (job.output / SUPERSEDED / "metadata.jsonl").read_bytes()


def test_without_anything_that_tells_of_the_images_a_lost_ledger_stays_lost(job: Job) -> None:
    lose_ledger(job)
    (job.output / "metadata.jsonl").write_text("nothing\n")
    assert verify(job, "--repair").code == 14
    assert job.run().code == 14
    (job.output / "metadata.jsonl").unlink()
    ended = verify(job, "--repair")
    assert ended.code == 14
    assert "put it back from a copy, or choose another --output" in ended.out
    assert job.run().code == 14


def test_what_is_paid_for_in_the_spool_of_a_lost_ledger_is_kept_aside(job: Job) -> None:
    not_home(job)
    noted(job)
    lose_ledger(job)
    ended = verify(job, "--repair")
    assert ended.code == 0, ended.out
    assert ended.out.count("the lost ledger alone knew what task it is of") == 2
    assert {path.name for path in (job.output / SUPERSEDED / "spool").iterdir()} == {
        "9.0.link",
        f"9.0.{'ab' * 32}.ready",
    }
    assert job.run().json["attempts"] == 0


def test_a_run_that_finds_an_image_gone_names_the_repair(job: Job) -> None:
    gone(job)
    ended = job.run()
    assert (ended.code, ended.json["attempts"]) == (13, 0)
    assert f"`batchbanana verify {job.output} --repair`" in ended.json["stopped"]


def test_while_a_run_holds_the_job_only_its_images_are_checked_and_nothing_is_repaired(tmp_path: Path) -> None:
    with in_thread({"latency": 0.3}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(200, limits={"concurrency": 2}))
        with job.started():
            until(lambda: sandbox.bill()["billed"] >= 4)
            until(lambda: job.attempts("result = 'image'") >= 2)
            ended = verify(job, "--json")
            assert (ended.code, ended.json["running"]) == (0, True)
            assert ended.json["checked"] >= 2
            assert "A run works in" in ended.err
            refused = verify(job, "--repair")
            assert refused.code == 11
            assert "Another run works in" in refused.err


def test_what_a_killed_run_leaves_is_found_and_gone_after_the_next(tmp_path: Path) -> None:
    with in_thread({"latency": 0.15}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(12, limits={"concurrency": 4}))
        job.kill(lambda: sandbox.bill()["billed"] >= 4)
        ended = verify(job, "--json")
        assert (ended.code, ended.json["found"]["open"] > 0) == (14, True)
        assert {"missing", "damaged"}.isdisjoint(finding["kind"] for finding in ended.json["findings"])
        assert job.run().code == 0
        assert verify(job).code == 0


class Killed(BaseException):
    """What no handler catches."""


@pytest.mark.parametrize("harm", [ledger_spoiled, ledger_gone, None], ids=["spoiled", "gone", "whole"])
def test_a_repair_that_dies_at_any_step_is_ended_by_another(
    job: Job, sandbox: Handle, monkeypatch: pytest.MonkeyPatch, harm: Callable[[Job], None] | None
) -> None:
    missing, damaged, *_ = images(job)
    missing.unlink()
    spoil(damaged)
    metadata_long(job)
    not_home(job)
    if harm is not None:
        harm(job)
    start = job.output.with_name("start")
    shutil.copytree(job.output, start)
    kept = damaged.read_bytes()
    steps = 0
    while _dies_at(steps + 1, job, monkeypatch):
        steps += 1
        _repair_again(job, kept, damaged)
        shutil.rmtree(job.output)
        shutil.copytree(start, job.output)
    assert steps >= 12
    again = job.run("--retry", "failed")
    assert (again.json["attempts"], sandbox.bill()["billed"]) == (2, 8)


def _repair_again(job: Job, kept: bytes, damaged: Path) -> None:
    list(mend(Looking(JobDirectory(job.output))))
    left = [finding for finding in Looking(JobDirectory(job.output)).all() if finding.kind != "spool"]
    assert left == []
    assert job.rows("SELECT count(*) FROM outcomes") == [(4,)]
    aside = [path for path in (job.output / SUPERSEDED).rglob(f"{damaged.stem}*") if path.read_bytes() == kept]
    assert aside


def _dies_at(step: int, job: Job, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Begin a repair and end it at its n-th step on the disk or in the ledger; False when it has fewer."""
    count = 0

    def counted(method: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            nonlocal count
            count += 1
            if count == step:
                raise Killed
            return method(*arguments)

        return call

    with monkeypatch.context() as patch:
        for owner, name in [
            *((Files, name) for name in ("link", "unlink", "rename", "sync_folder", "make_folders")),
            *((Store, name) for name in ("execute", "put", "conclude")),
        ]:
            patch.setattr(owner, name, counted(getattr(owner, name)))
        try:
            list(mend(Looking(JobDirectory(job.output))))
        except Killed:
            return True
    return False


def test_a_repair_that_is_killed_hard_is_ended_by_another(tmp_path: Path) -> None:
    with in_thread() as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(60))
        assert job.run().code == 0
        for path in images(job):
            spoil(path)
        with subprocess.Popen(
            [sys.executable, "-m", "batchbanana", "verify", str(job.output), "--repair"],
            env=environment(),
            stdout=subprocess.DEVNULL,
        ) as process:
            until(lambda: len(list((job.output / SUPERSEDED).rglob("*.*"))) >= 3)
            process.send_signal(signal.SIGKILL)
        assert verify(job, "--repair").code == 0
        assert len([path for path in (job.output / SUPERSEDED / "images").rglob("*") if path.is_file()]) == 60
        again = job.run()
        assert (again.code, again.json["attempts"]) == (0, 60)
        job.check()
