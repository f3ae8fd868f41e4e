"""`verify` finds where files and ledger differ, says what to do, and changes nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest

from batchbanana.sandbox.running import in_thread
from tests.support.damage import (
    change,
    column_dropped,
    contents,
    cut,
    foreign,
    gone,
    half_written,
    images,
    in_flight,
    ledger_gone,
    ledger_no_database,
    ledger_spoiled,
    metadata_changed,
    metadata_gone,
    metadata_long,
    metadata_short,
    not_home,
    not_synced,
    not_written_down,
    noted,
    noted_unreadably,
    room_left,
    spoiled,
    squatter,
    table_dropped,
    verify,
    wrong_hash_told,
    wrong_size_told,
)
from tests.support.program import Job, command, manifest, until


def test_a_finished_job_is_all_right_by_its_folder_and_by_its_manifest(job: Job) -> None:
    before = contents(job)
    ended = verify(job)
    assert (ended.code, ended.out) == (0, f"6 images checked in {job.output}: all is right\n")
    named = command("verify", str(job.manifest), "--output", str(job.output), "--json")
    assert (named.code, named.json["checked"], named.json["findings"]) == (0, 6, [])
    assert verify(job, "--repair").code == 0
    assert contents(job) == before


@pytest.mark.parametrize(
    ("harm", "code", "kind", "says"),
    [
        (gone, 13, "missing", "is missing; put it back from a copy, or let `verify --repair` put its task back"),
        (spoiled, 13, "damaged", "has other bytes than were paid for (sha256 "),
        (cut, 13, "damaged", "were paid for; put it back from a copy"),
        (foreign, 13, "stray", "images/deep/mine.png is no image that the ledger knows; move it away"),
        (metadata_gone, 13, "metadata", "metadata.jsonl is missing; let the next run or `verify --repair`"),
        (metadata_short, 13, "metadata", "ends before line 5"),
        (metadata_long, 13, "metadata", "has a line 7"),
        (metadata_changed, 13, "metadata", "is not as the ledger has it, from line "),
        (half_written, 13, "spool", "was never whole; the next run removes it"),
        (room_left, 13, "spool", "is room that was kept for an image; the next run removes it"),
        (not_home, 13, "spool", "is paid for and not in its place yet; run again to bring it home"),
        (not_written_down, 13, "spool", "images/late.png is an image that is paid for, of which the ledger does not"),
        (not_synced, 13, "spool", "is paid for and that was not synced yet; run again to bring it home"),
        (noted, 13, "spool", "can be fetched; run again soon to fetch it"),
        (noted_unreadably, 13, "spool", "is no note that can be read of where an image can be fetched; put it back"),
        (squatter, 13, "spool", "is nothing that a run has left; move it away"),
        (in_flight, 14, "open", "has no end in the ledger; run again"),
        (wrong_size_told, 14, "record", "but its record in the ledger says image/"),
        (wrong_hash_told, 14, "record", "is not what its record in the ledger is about"),
        (ledger_gone, 14, "ledger", "is lost, but images are there; put it back from a copy, or let `verify --repair`"),
        (ledger_spoiled, 14, "ledger", "is damaged ("),
        (table_dropped, 14, "ledger", "is damaged (it has no table outcomes); put it back from a copy, or let"),
        (column_dropped, 14, "ledger", "is damaged (its table outcomes has no size)"),
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
    can_mend = kind in {"missing", "damaged", "metadata", "ledger", "record"} or harm is noted_unreadably
    assert (f"`batchbanana verify {job.output} --repair` mends what can be mended" in told.out) == can_mend
    assert ("what to do stands beside " in told.out) == (not can_mend)


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


def test_what_no_run_leaves_in_the_spool_is_told_even_if_it_is_an_empty_folder(job: Job) -> None:
    (job.output / ".batchbanana/spool/kept").mkdir()
    ended = verify(job)
    assert (ended.code, "spool/kept is a folder, not a file; move it away" in ended.out) == (13, True)
