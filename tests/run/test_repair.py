"""`verify --repair` mends what differs, whenever it is killed, and a run after it buys no more than it must."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from batchbanana.job import JobDirectory
from batchbanana.ledger import Store
from batchbanana.sandbox.running import Handle, in_thread
from batchbanana.spool import Files
from batchbanana.verify import Looking, mend
from tests.support.damage import (
    SUPERSEDED,
    change,
    column_dropped,
    foreign,
    images,
    ledger_gone,
    ledger_no_database,
    ledger_spoiled,
    lose_ledger,
    metadata_changed,
    metadata_gone,
    metadata_long,
    metadata_short,
    not_home,
    not_synced,
    noted,
    spoil,
    table_dropped,
    verify,
)
from tests.support.program import Job, command, environment, manifest, until


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


def test_an_image_that_was_renamed_by_hand_gets_its_name_back_and_is_not_bought_again(
    job: Job, sandbox: Handle
) -> None:
    first, second, *_ = images(job)
    first.rename(first.with_name("the best one.jpg"))
    (job.output / "images" / "chosen").mkdir()
    second.rename(job.output / "images" / "chosen" / "other.jpg")
    told = verify(job)
    assert told.code == 13
    name = first.relative_to(job.output).as_posix()
    assert f"the best one.jpg has the bytes of {name}, which is missing; give it that name" in told.out
    ended = verify(job, "--repair")
    assert ended.code == 0, ended.out
    assert "is missing; it is brought back from images/chosen/other.jpg" in ended.out
    assert "pending" not in ended.out
    job.check()
    again = job.run()
    assert (again.code, again.json["attempts"]) == (0, 0)
    assert sandbox.bill()["requests"] == 6


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


@pytest.mark.parametrize("harm", [ledger_gone, ledger_spoiled, ledger_no_database, table_dropped, column_dropped])
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
    status = command("status", str(job.output))
    assert (status.code, "was rebuilt and knows no manifest yet; name the manifest" in status.err) == (2, True)
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
    not_synced(job)
    noted(job)
    lose_ledger(job)
    ended = verify(job, "--repair")
    assert ended.code == 0, ended.out
    assert ended.out.count("the lost ledger alone knew what task it is of") == 3
    assert {path.name for path in (job.output / SUPERSEDED / "spool").iterdir()} == {
        "9.0.link",
        f"9.0.{'ab' * 32}.ready",
        f"9.0.{'cd' * 32}.4.whole",
    }
    assert job.run().json["attempts"] == 0


def test_nothing_is_mended_behind_a_link_that_leads_out_of_the_job_directory(job: Job, tmp_path: Path) -> None:
    (job.output / "images/hero").rename(tmp_path / "elsewhere")
    (job.output / "images/hero").symlink_to(tmp_path / "elsewhere")
    spoil(images(job)[0])
    outside = sorted((tmp_path / "elsewhere").iterdir())
    ended = verify(job, "--repair", "--json")
    assert (ended.code, ended.json["left"]["damaged"], ended.json["checked"]) == (13, 1, 6)
    assert "a folder on its way is a link" in ended.json["findings"][0]["message"]
    assert sorted((tmp_path / "elsewhere").iterdir()) == outside


@pytest.mark.parametrize("file", ["../victim", "images/../../victim", "{absolute}/victim", ".batchbanana/../../victim"])
def test_a_ledger_that_leads_out_of_the_job_directory_is_told_and_nothing_there_is_touched(
    job: Job, tmp_path: Path, file: str
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    change(job, f"UPDATE outcomes SET file = '{file.format(absolute=tmp_path)}' WHERE seq = 2")  # noqa: S608
    for more in ([], ["--repair"], ["--repair"]):
        ended = verify(job, *more)
        assert ended.code == 14, ended.out
        assert "victim is not in the job directory" in ended.out
        assert victim.read_text() == "precious"
    assert list(tmp_path.rglob("victim*")) == [victim]


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


def test_the_last_line_tells_what_was_mended_and_never_names_the_repair_again(job: Job) -> None:
    foreign(job)
    ended = verify(job, "--repair")
    assert ended.code == 13
    assert ended.out.splitlines()[-1].endswith("0 of 1 finding mended; what to do about the others stands beside them")
    images(job)[0].unlink()
    ended = verify(job, "--repair")
    assert ended.out.splitlines()[-1].endswith("1 of 2 findings mended; what to do about the others stands beside them")


def test_a_note_that_nobody_can_read_is_set_aside_and_blocks_no_run(tmp_path: Path) -> None:
    with in_thread({"latency": 30.0}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(1))
        job.kill(lambda: job.attempts() == 1)
        note = job.output / ".batchbanana/spool/1.0.link"
        note.write_bytes(b"\xffjunk")
        refused = job.run()
        assert (refused.code, "let `verify --repair` set it aside" in refused.err) == (13, True)
        ended = verify(job, "--repair", "--json")
        assert (ended.json["found"]["spool"], ended.json["left"]["spool"], note.exists()) == (3, 2, False)
        assert (job.output / SUPERSEDED / "spool/1.0.link").read_bytes() == b"\xffjunk"
        assert job.run("--limit", "0").json["possibly_billed"] == 1
        assert verify(job).code == 0
