"""A ledger that knows less than `metadata.jsonl` buys nothing again, and `verify --repair` brings it up to date."""

import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from batchbanana.job import JobDirectory
from batchbanana.ledger import Caps, Metadata
from batchbanana.ledger.older import BYTES, SEQ
from batchbanana.sandbox.running import Handle, in_thread
from tests.support.damage import SUPERSEDED, change, contents, images, lose_ledger, spoil, verify
from tests.support.program import Job, manifest

CAP = ("--max-cost", "0.30")  # dollars; six images take $0.27


@pytest.fixture
def copied(tmp_path: Path, sandbox: Handle) -> Job:
    """A job of six images whose ledger is the copy that was made when there were two."""
    job = Job(tmp_path, sandbox.url, manifest(6))
    assert job.run("--limit", "2", *CAP).code == 0
    shutil.copy(job.output / ".batchbanana/ledger.db", tmp_path / "copy")
    assert job.run(*CAP).json["done"] == 6
    return _put(job, tmp_path / "copy")


def _put(job: Job, ledger: Path) -> Job:
    lose_ledger(job)
    shutil.copy(ledger, job.output / ".batchbanana/ledger.db")
    return job


def test_an_older_ledger_is_refused_before_anything_is_sent_or_changed(copied: Job, sandbox: Handle) -> None:
    before = (copied.output / "metadata.jsonl").read_bytes()
    for _ in range(2):
        ended = copied.run(*CAP)
        assert (ended.code, sandbox.bill()["requests"]) == (14, 6)
        assert "tells of 4 images that are there and that the ledger does not know" in ended.err
        assert f"`batchbanana verify {copied.output} --repair` take them over" in ended.err
        assert copied.records[2]["file_name"] in ended.err
        assert (copied.output / "metadata.jsonl").read_bytes() == before


def test_an_older_ledger_takes_over_what_is_paid_for_so_that_nothing_is_bought_and_the_cap_holds(
    copied: Job, sandbox: Handle
) -> None:
    before = (copied.output / "metadata.jsonl").read_bytes()
    seen = verify(copied, "--json")
    assert (seen.code, seen.json["found"]["unknown"], seen.json["found"]["stray"]) == (14, 4, 0)
    assert f"{copied.records[2]['file_name']} is paid for, but the ledger does not know it" in verify(copied).out
    ended = verify(copied, "--repair")
    assert (ended.code, ended.out.count("it is taken over into the ledger with what it has cost")) == (0, 4)
    assert (copied.output / "metadata.jsonl").read_bytes() == before
    repaired = contents(copied)
    assert "all is right" in verify(copied, "--repair").out
    assert contents(copied) == repaired
    again = copied.run(*CAP)
    assert (again.code, again.json["attempts"], again.json["done"]) == (0, 0, 6)
    assert again.json["cost_usd"] == pytest.approx(sandbox.bill()["micro_usd"] / 1e6)
    copied.write(manifest(7))
    assert copied.run(*CAP).code == 10
    assert sandbox.bill()["requests"] == 6
    copied.check()


def test_only_files_with_the_bytes_that_were_paid_for_are_taken_over(copied: Job, sandbox: Handle) -> None:
    paths = images(copied)
    spoil(paths[2])
    paths[3].unlink()
    assert "tells of 3 images" in copied.run(*CAP).err
    lines = (copied.output / "metadata.jsonl").read_bytes()
    ended = verify(copied, "--repair", "--json")
    assert (ended.code, ended.json["found"]["unknown"], ended.json["left"]) == (
        13,
        2,
        {**dict.fromkeys(ended.json["left"], 0), "stray": 1},
    )
    assert (copied.output / SUPERSEDED / "metadata.jsonl").read_bytes() == lines
    assert copied.run("--limit", "0").json["pending"] == 2
    assert sandbox.bill()["requests"] == 6


def _other_job(job: Job) -> None:
    other = Job(job.folder / "other", job.url, manifest(3, name="other"))
    assert other.run().code == 0
    _put(job, other.output / ".batchbanana/ledger.db")


def _equally_long(job: Job) -> None:
    """Another job's, whose file would end at the very same byte."""
    (size,) = (len((job.output / "metadata.jsonl").read_bytes()),)
    _other_job(job)
    change(job, f"UPDATE meta SET value = {size} WHERE name = 'metadata_bytes'")  # noqa: S608


def _rows_gone(job: Job) -> None:
    change(job, "DELETE FROM outcomes WHERE seq > 2")


@pytest.mark.parametrize("harm", [_other_job, _equally_long, _rows_gone])
def test_a_ledger_that_never_knew_or_has_lost_images_is_refused_too(
    job: Job, sandbox: Handle, harm: Callable[[Job], None]
) -> None:
    (job.folder / "other").mkdir()
    harm(job)
    before, asked = (job.output / "metadata.jsonl").read_bytes(), sandbox.bill()["requests"]
    ended = job.run()
    assert (ended.code, sandbox.bill()["requests"]) == (14, asked), ended.err
    assert "the ledger does not know" in ended.err
    assert (job.output / "metadata.jsonl").read_bytes() == before
    verify(job, "--repair")
    assert job.run().json["done"] == 6
    assert sandbox.bill()["requests"] == asked


def test_a_better_image_that_an_older_ledger_does_not_know_takes_the_place_of_the_one_that_is_gone(
    tmp_path: Path,
) -> None:
    plan = {"faults": [{"when": {"resolution": "2K", "first": 1}, "then": {"size": "1K"}}]}
    with in_thread(plan) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(1, resolution="2K", model="gemini-3-pro-image"))
        assert job.run().json["mismatch"] == 1
        shutil.copy(job.output / ".batchbanana/ledger.db", tmp_path / "copy")
        assert job.run("--retry", "mismatch").json["done"] == 1
        [better] = job.records
        _put(job, tmp_path / "copy")
        assert job.run().code == 14
        assert verify(job, "--repair").code == 0
        again = job.run()
        assert (again.code, again.json["done"], job.records) == (0, 1, [better])
        assert sandbox.bill()["requests"] == 2
        assert again.json["cost_usd"] == pytest.approx(sandbox.bill()["micro_usd"] / 1e6)
        job.check()


def test_a_file_that_was_edited_by_hand_is_written_anew_and_what_somebody_wrote_is_kept(
    job: Job, sandbox: Handle
) -> None:
    path = job.output / "metadata.jsonl"
    right = path.read_bytes()
    captioned = right.replace(b"mug", b"cup")
    shorter = b"".join(right.splitlines(keepends=True)[1:])
    edits = [
        b"my own words\n" + right,
        right + b'{"key": 1, "file_name": 2}\n[]\n{}\nx\n{"half',
        captioned,
        shorter,
        b"",
    ]
    for wrong in edits:
        path.write_bytes(wrong)
        job.run()
        assert path.read_bytes() == right
    kept = (job.output / SUPERSEDED).glob("metadata*.jsonl")
    assert sorted(file.read_bytes() for file in kept) == sorted(edits)
    assert sandbox.bill()["requests"] == 6


def test_lines_of_a_run_that_was_killed_are_nobodys_edits(job: Job) -> None:
    path = job.output / "metadata.jsonl"
    right = path.read_bytes()
    with closing(JobDirectory(job.output).open_store(Caps())) as store:
        first = right.splitlines(keepends=True)[0]
        store.put(BYTES, len(first))
        store.put(SEQ, 1)
    for cut in (len(right), len(right) - 10, len(first) + 1, len(first)):
        path.write_bytes(right[:cut])
        with closing(JobDirectory(job.output).open_store(Caps())) as store:
            Metadata(path, store).close()
            store.put(BYTES, len(first))
            store.put(SEQ, 1)
        assert path.read_bytes() == right
    assert not (job.output / SUPERSEDED).exists()
