"""Running again is resuming: what is paid is kept, what is made is not asked for again."""

import json
import sqlite3
from pathlib import Path

import pytest

from batchbanana.sandbox.running import in_thread
from tests.support.program import Job, command, manifest, until


def test_a_run_makes_every_image_and_a_second_one_sends_nothing_and_changes_nothing(tmp_path: Path) -> None:
    with in_thread() as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(6))
        first = job.run()
        assert (first.code, first.json["done"], first.json["attempts"]) == (0, 6, 6)
        before = {path: path.read_bytes() for path in job.output.rglob("*.jp*g")} | {
            path: path.read_bytes() for path in job.output.glob("metadata.jsonl")
        }
        assert len(before) == 7
        second = job.run()
        assert (second.code, second.json["done"], second.json["attempts"]) == (0, 6, 0)
        assert {path: path.read_bytes() for path in before} == before
        assert sandbox.bill()["requests"] == 6
        job.check()


def test_killed_in_the_middle_it_goes_on_and_buys_nothing_twice_but_what_was_in_flight(tmp_path: Path) -> None:
    with in_thread({"latency": 0.15}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(40, limits={"concurrency": 4}))
        job.kill(lambda: sandbox.bill()["billed"] >= 10)
        job.kill(lambda: sandbox.bill()["billed"] >= 22)
        ended = job.run()
        assert (ended.code, ended.json["done"]) == (0, 40)
        bought = sandbox.bill()["billed"]
        assert 40 <= bought <= 40 + 2 * 4
        assert bought - 40 <= ended.json["possibly_billed"] <= 2 * 4
        job.check()
        assert job.run().json["attempts"] == 0
        assert sandbox.bill()["billed"] == bought


def test_rewriting_the_manifest_without_changing_what_it_asks_for_sends_nothing(tmp_path: Path) -> None:
    with in_thread() as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(3))
        job.run()
        job.manifest.write_text("# a comment\n" + job.manifest.read_text())
        assert job.run().json["attempts"] == 0
        job.write(dict(reversed(list(manifest(3, timeouts={"1K": 99}).items()))))
        assert job.run().json["attempts"] == 0
        assert sandbox.bill()["requests"] == 3


def test_a_grown_manifest_makes_only_what_is_new(tmp_path: Path) -> None:
    with in_thread() as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(3))
        job.run()
        job.write(manifest(5))
        ended = job.run()
        assert (ended.json["tasks"], ended.json["done"], ended.json["attempts"]) == (5, 5, 2)


def test_the_same_request_in_two_cells_is_bought_once(tmp_path: Path) -> None:
    with in_thread() as sandbox:
        twice = manifest(3)
        twice["jobs"] = [*twice["jobs"], {"id": "again", "prompt": "A mug, number 2"}]  # type: ignore[misc]
        job = Job(tmp_path, sandbox.url, twice)
        ended = job.run()
        assert (ended.json["tasks"], ended.json["done"]) == (3, 3)
        assert sandbox.bill()["requests"] == 3


def test_a_paid_image_left_in_the_spool_is_brought_home_and_not_bought_again(tmp_path: Path) -> None:
    """As if the run had died between the rename in the spool and the ledger's commit."""
    with in_thread() as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(1))
        job.run()
        [record] = job.records
        ready = job.output / ".batchbanana/spool" / f"1.0.{record['sha256']}.ready"
        image = job.output / record["file_name"]
        ready.hardlink_to(image)
        image.unlink()
        _forget_outcome(job)
        ended = job.run()
        assert (ended.code, ended.json["done"], ended.json["attempts"]) == (0, 1, 0)
        assert "brought home" in ended.err
        assert sandbox.bill()["requests"] == 1
        job.check()
        assert job.records[0]["sha256"] == record["sha256"]


def _forget_outcome(job: Job) -> None:
    record = job.records[0]
    errand = {
        name: record[name] for name in ("key", "job", "prompt", "variables", "model", "ratio", "resolution", "sample")
    }
    errand |= {"rung": record["resolution"], "name": record["file_name"].removeprefix("images/").rsplit(".", 1)[0]}
    db = sqlite3.connect(job.output / ".batchbanana/ledger.db")
    with db:
        db.execute("DELETE FROM outcomes")
        db.execute("UPDATE attempts SET result = NULL, billed = NULL, cost = NULL, errand = ?", (json.dumps(errand),))
    db.close()


def test_images_without_a_ledger_are_never_bought_again_silently(tmp_path: Path) -> None:
    with in_thread() as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(2))
        job.run()
        for path in (job.output / ".batchbanana").glob("ledger.db*"):
            path.unlink()
        ended = job.run()
        assert ended.code == 14
        assert "put" in ended.err
        (job.output / ".batchbanana/ledger.db").touch()  # as empty as none
        assert job.run().code == 14
        assert sandbox.bill()["requests"] == 2


@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp"])  # which of them will come is not known before
def test_a_task_whose_name_a_foreign_file_has_is_not_bought_and_the_file_is_left_alone(
    tmp_path: Path, ending: str
) -> None:
    with in_thread() as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(2))
        plan = command("plan", str(job.manifest), "--csv").out.splitlines()[1].split(",")
        foreign = job.output / "images" / f"{plan[7]}{ending}"
        job.run("--limit", "0")  # so that there is a ledger
        foreign.parent.mkdir(exist_ok=True)
        foreign.write_bytes(b"mine")
        ended = job.run()
        assert (ended.code, ended.json["done"], ended.json["attempts"]) == (13, 1, 1)
        assert (
            f"{foreign.name} is there already, and the ledger does not know it; move it away and run again, which makes"
            in ended.err
        )
        assert foreign.read_bytes() == b"mine"
        assert (job.run().json["attempts"], sandbox.bill()["requests"]) == (0, 1)
        foreign.unlink()
        assert job.run().json["done"] == 2
        assert sandbox.bill()["billed"] == 2
        job.check()


def test_a_foreign_file_that_comes_while_an_image_is_made_is_left_alone_and_the_image_kept(tmp_path: Path) -> None:
    with in_thread({"latency": 1.0}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(1))
        plan = command("plan", str(job.manifest), "--csv").out.splitlines()[1].split(",")
        foreign = job.output / "images" / f"{plan[7]}.jpg"
        with job.started() as process:
            until(lambda: sandbox.bill()["requests"] == 1)
            foreign.parent.mkdir(exist_ok=True)
            foreign.write_bytes(b"mine")
            process.communicate()
        assert (process.returncode, foreign.read_bytes()) == (13, b"mine")
        assert job.run().json["attempts"] == 0
        foreign.unlink()
        assert (job.run().json["done"], sandbox.bill()["billed"]) == (1, 1)
        job.check()


def test_two_tasks_whose_names_meet_are_both_kept_under_names_of_their_own(tmp_path: Path) -> None:
    """Eight digits of the key are 32 bits; here they are made to meet by hand."""
    with in_thread() as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(2, images="{key}"))
        names = [line.split(",")[7] for line in command("plan", str(job.manifest), "--csv").out.splitlines()[1:]]
        job.run("--limit", "1")
        [record] = job.records
        other = next(name for name in names if name not in record["file_name"])
        squatter = job.output / "images" / f"{other}.jpg"
        (job.output / record["file_name"]).rename(squatter)
        _rename_in_ledger(job, f"images/{other}.jpg")
        ended = job.run()
        assert (ended.code, ended.json["done"]) == (0, 2), ended.err
        assert len(list((job.output / "images").iterdir())) == 2


def _rename_in_ledger(job: Job, file: str) -> None:
    db = sqlite3.connect(job.output / ".batchbanana/ledger.db")
    with db:
        db.execute("UPDATE outcomes SET file = ?", (file,))
    db.close()


def test_a_paid_image_that_an_old_copy_of_the_ledger_does_not_know_is_never_thrown_away(tmp_path: Path) -> None:
    with in_thread() as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(1))
        job.run()
        stray = job.output / ".batchbanana/spool" / f"77.0.{'ab' * 32}.ready"
        stray.write_bytes(b"paid")
        ended = job.run()
        assert ended.code == 13
        assert "does not know this image" in ended.err
        assert stray.read_bytes() == b"paid"


def test_a_copy_in_the_spool_of_an_image_that_is_in_its_place_is_dropped(tmp_path: Path) -> None:
    with in_thread() as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(2))
        job.run()
        [record, _] = job.records
        copy = job.output / ".batchbanana/spool" / f"77.0.{record['sha256']}.ready"
        copy.write_bytes((job.output / record["file_name"]).read_bytes())
        (job.output / record["file_name"]).write_bytes(b"spoiled")
        assert (job.run().code, copy.exists()) == (13, True)
        (job.output / record["file_name"]).write_bytes(copy.read_bytes())
        assert (job.run().code, sandbox.bill()["requests"]) == (0, 2)
        job.check()


def test_the_number_of_an_image_in_the_spool_is_given_to_no_other_attempt(tmp_path: Path) -> None:
    """Else a run that is killed could leave two images of one attempt, and the next would take the wrong one."""
    with in_thread() as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(1))
        job.run("--limit", "0")
        unknown = job.output / ".batchbanana/spool" / f"1.0.{'ab' * 32}.ready"
        unknown.write_bytes(b"paid")
        assert job.run().code == 13
        assert (job.rows("SELECT id FROM attempts"), unknown.read_bytes()) == ([(2,)], b"paid")
