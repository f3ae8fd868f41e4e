"""What `failures` tells of a night that went wrong, as the real program leaves it in its ledger."""

import json
import re
import shlex
import sqlite3
import tracemalloc
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from batchbanana.advice import REMEDIES, Commands, advise
from batchbanana.failures import MOST_WORDINGS, Cause, cause_of, group
from batchbanana.ledger import Caps, Complaint, Store, complaints
from batchbanana.sandbox.running import in_thread
from batchbanana.task import Outcome
from tests.support.clinic import failures, groups
from tests.support.program import Job, command, manifest, until

QUICK = {"timeouts": {"512": 1, "1K": 1, "stall": 1}}


def only(prompt: int, **then: object) -> dict[str, object]:
    """A rule of the sandbox for the task of one number."""
    return {"when": {"prompt": f"number {prompt}"}, "then": then}


def invalid(message: str) -> dict[str, object]:
    return {"status": 400, "body": {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": message}}}


def test_a_bad_night_is_told_by_cause_and_the_largest_comes_first(tmp_path: Path) -> None:
    """Where the same would be mended in one go it is one group, however the server words it; else it is two."""
    faults = [
        only(10, block="SAFETY"),
        only(11, image="none", finish="SAFETY", message="I will not draw 7 of them"),
        only(12, image="none", finish="SAFETY", message='"No", said the model'),
        only(13, image="none", finish="IMAGE_SAFETY"),
        only(14, image="none", finish="STOP", text="I would rather talk"),
        only(15, image="none", finish="STOP", text="So would I"),
        only(16, base64="garbage"),
        only(17, truncate=500),
        only(18, **invalid("aspect_ratio must be one of: 1:1, 2:3; got '9:9'. (request id: 2026a1)")),
        only(19, **invalid("aspect_ratio must be one of: 1:1, 2:3; got '8:9'. (request id: 2026b2)")),
        only(20, **invalid("Unable to process input image")),
        only(21, size="1K"),
        only(22, size="1K"),
        only(23, ratio="16:9"),
    ]
    with in_thread({"latency": 0.0, "faults": faults}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(24, **QUICK))
        assert job.run().code == 3
    told = [(one["count"], one["outcome"], one["kind"], one["status"]) for one in groups(job)]
    assert Counter(told) == Counter(
        [
            (3, "refused", "refused", 200),
            (1, "refused", "no_image", 200),
            (2, "failed", "no_image", 200),
            (1, "failed", "no_image", 200),
            (1, "failed", "no_image", 200),
            (2, "failed", "invalid", 400),
            (1, "failed", "invalid", 400),
            (2, "mismatch", "image", None),
            (1, "mismatch", "image", None),
        ]
    )
    assert [row[0] for row in told] == sorted((row[0] for row in told), reverse=True)


def test_each_group_has_an_example_and_says_what_to_do(tmp_path: Path) -> None:
    with in_thread({"faults": [only(2, block="SAFETY")]}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(3))
        job.run()
    [one] = groups(job)
    [(key,)] = job.rows("SELECT hex(key) FROM outcomes WHERE outcome = 'refused'")
    assert one["example"] == {
        "key": key.lower(),
        "text": "The model refused (SAFETY); change the prompt or the references",
        "job": "hero",
        "prompt": "A mug, number 2",
        "variables": {"n": "2"},
    }
    text = failures(job).out
    assert "1 refused: The model refused" in text
    assert 'hero, n=2, "A mug, number 2", key ' in text
    assert f"batchbanana run {job.manifest} --output {job.output} --retry refused" in text


def test_the_advised_command_works_as_it_stands(tmp_path: Path) -> None:
    with in_thread({"faults": [{"when": {"first": 1}, "then": {"block": "SAFETY"}}]}) as sandbox:
        spaced = tmp_path / "my jobs"
        spaced.mkdir()
        job = Job(spaced, sandbox.url, manifest(1, provider={"base_url": sandbox.url}))
        assert job.run().code == 3
        [one] = groups(job)
        line = re.findall(r"`([^`]*--retry[^`]*)`", one["what_to_do"])[0]
        assert command(*shlex.split(line)[1:]).code == 0
        assert "Nothing has failed" in failures(job).out


def test_the_advised_command_names_the_models_that_were_named(tmp_path: Path) -> None:
    with in_thread({"faults": [{"then": {"block": "SAFETY"}}]}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(1))
        job.run()
    models = tmp_path / "models.yaml"
    models.write_text("models:\n  - id: gemini-3.1-flash-image\n    price: 0.01\n")
    [one] = failures(job, "--json", "--models", str(models)).json["groups"]
    assert f"--output {job.output} --models {models} --retry refused" in one["what_to_do"]


def test_a_long_prompt_is_shortened_in_the_text_and_whole_in_json(tmp_path: Path) -> None:
    prompt = "A mug on a table " * 20
    with in_thread({"faults": [{"then": {"block": "SAFETY"}}]}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(1, jobs=[{"id": "hero", "prompt": prompt}]))
        job.run()
    assert groups(job)[0]["example"]["prompt"] == prompt
    assert "A mug on a table A mug" in failures(job).out
    assert prompt.strip() not in failures(job).out


def test_attempts_that_may_have_been_billed_are_a_group_with_their_price_at_worst(tmp_path: Path) -> None:
    with in_thread({"faults": [only(1, hang="before")]}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(2, **QUICK))
        job.run()
    billed, failed = groups(job)
    assert (billed["outcome"], billed["count"], billed["worst_usd"], billed["unpriced"]) == (
        "possibly_billed",
        2,
        0.09,
        0,
    )
    assert (failed["outcome"], failed["kind"], failed["count"]) == ("failed", "timeout", 1)
    assert "2 attempts that may have been billed, at most $0.09" in failures(job).out
    assert "timeouts:" in failed["what_to_do"]


def test_timeouts_of_two_runs_are_one_cause(tmp_path: Path) -> None:
    """One task times out for good in one run; another, which a run before had asked once, is given up unasked."""
    with in_thread({"faults": [{"then": {"hang": "before"}}]}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(2, **QUICK))
        job.run()
        with closing(sqlite3.connect(job.output / ".batchbanana/ledger.db")) as db, db:
            db.execute("DELETE FROM outcomes WHERE seq = 2")
        ended = job.run()
        assert (ended.json["attempts"], ended.json["failed"]) == (0, 2)
    assert [(one["outcome"], one["count"]) for one in groups(job)] == [("possibly_billed", 4), ("failed", 2)]


def test_degraded_images_are_asked_for_again_with_upgrade(tmp_path: Path) -> None:
    faults = [{"when": {"resolution": "4K"}, "then": {"hang": "before"}}]
    with in_thread({"faults": faults}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(1, resolution="4K", timeouts={"4K": 1, "2K": 5, "stall": 1}))
        job.run()
    [one] = [one for one in groups(job) if one["outcome"] == "degraded"]
    assert "--upgrade" in one["what_to_do"]


def test_tasks_that_a_bad_key_left_pending_are_told_with_the_manifests_words(tmp_path: Path) -> None:
    with in_thread({"faults": [{"then": {"error": "bad_key"}}]}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(5, limits={"concurrency": 1}))
        assert job.run().code == 12
    [one] = groups(job)
    assert (one["outcome"], one["kind"], one["count"]) == ("pending", "fatal", 1)
    assert one["example"]["prompt"] == "A mug, number 1"
    assert "batchbanana doctor" in one["what_to_do"]


def test_a_model_that_is_gone_and_a_used_up_day_are_told_apart(tmp_path: Path) -> None:
    faults = [
        {"when": {"model": "gemini-3-pro-image"}, "then": {"error": "model_gone"}},
        {"when": {"model": "gemini-nano-banana-2.1"}, "then": {"error": "rate_day"}},
    ]
    with in_thread({"faults": faults}) as sandbox:
        models = ["gemini-3-pro-image", "gemini-nano-banana-2.1"]
        job = Job(tmp_path, sandbox.url, manifest(1, model=models, resolution="1K", limits={"concurrency": 1}))
        job.run()
    told = {one["kind"]: one["what_to_do"] for one in groups(job)}
    assert set(told) == {"model_gone", "day_quota"}
    assert "another `model`" in told["model_gone"]


def test_what_was_in_flight_at_a_kill_is_told_as_pending(tmp_path: Path) -> None:
    with in_thread({"latency": 30.0}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(3))
        job.kill(lambda: job.attempts() == 3)
        job.run("--limit", "0")
    told = {one["outcome"]: one for one in groups(job)}
    assert (told["pending"]["kind"], told["pending"]["count"]) == ("lost", 3)
    assert told["possibly_billed"]["count"] == 3
    assert "until --max-possibly-billed raises it" in told["possibly_billed"]["what_to_do"]
    assert "in flight when a run ended" in failures(job).out


def test_it_works_while_a_run_is_at_work(tmp_path: Path) -> None:
    with in_thread({"latency": 0.2, "faults": [only(1, block="SAFETY")]}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(30, limits={"concurrency": 1}))
        with job.started() as process:
            until(lambda: sandbox.bill()["billed"] >= 2)
            assert [one["outcome"] for one in groups(job)] == ["refused"]
            assert process.poll() is None


def test_a_folder_whose_manifest_is_gone_tells_what_the_ledger_knows(tmp_path: Path) -> None:
    with in_thread({"faults": [only(1, block="SAFETY"), only(2, error="bad_key")]}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(2, limits={"concurrency": 1}))
        job.run()
    job.manifest.unlink()
    told = command("failures", str(job.output), "--json").json["groups"]
    examples = {one["outcome"]: one["example"] for one in told}
    assert examples["refused"]["prompt"] == "A mug, number 1"
    assert examples["pending"]["prompt"] is None
    assert f"example: key {examples['pending']['key']}" in command("failures", str(job.output)).out


def test_a_folder_with_its_manifest_is_as_good_as_the_manifest(tmp_path: Path) -> None:
    with in_thread({"faults": [only(1, error="bad_key")]}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(1))
        job.run()
    assert command("failures", str(job.output), "--json").json == failures(job, "--json").json


def test_what_the_manifest_no_longer_has_is_left_out_and_counted(tmp_path: Path) -> None:
    """The advice is to change the prompt: whoever did that must not be told of the old one for ever."""
    with in_thread({"faults": [{"when": {"prompt": "mug"}, "then": {"block": "SAFETY"}}]}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(3))
        job.run()
        job.write(manifest(1, jobs=[{"id": "hero", "prompt": ["A mug, number 2", "A cup"]}]))
        job.run()
    data = failures(job, "--json").json
    assert [one["count"] for one in data["groups"]] == [1]
    assert data["left_out"] == 2
    assert "2 outcomes are of tasks that the manifest no longer has" in failures(job).out


def test_nothing_failed_is_said_so(tmp_path: Path) -> None:
    with in_thread() as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(1))
        assert failures(job).out == f"Nothing has failed in {job.output}\n"
        job.run()
        assert failures(job).out == f"Nothing has failed in {job.output}\n"
        assert failures(job, "--json").json == {"groups": [], "left_out": 0}
    assert not (tmp_path / "output").exists()


def test_a_folder_that_is_no_job_directory_is_told(tmp_path: Path) -> None:
    ended = command("failures", str(tmp_path))
    assert ended.code == 2
    assert "not a job directory" in ended.err


def complaint(message: str, kind: str = "invalid", status: int | None = 400, **record: Any) -> Complaint:
    return Complaint(key="00" * 16, outcome=Outcome.FAILED, result=kind, status=status, message=message, record=record)


def test_a_server_that_words_every_answer_anew_makes_a_few_groups() -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    said = [complaint(f'Not accepted (400: "{a}{b} is wrong with {b}{a}")') for a in letters for b in letters]
    causes = group(said)
    assert len(causes.groups) == MOST_WORDINGS + 1
    assert sum(one.count for one in causes.groups) == len(said)
    assert causes.groups[0].count == len(said) - MOST_WORDINGS


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("photos/a.jpg has changed", "photos/my own-2.png has changed"),
        ('Not accepted (400: "no such thing in request 17a")', 'Not accepted (400: "no such thing in request 99")'),
        ("Cannot connect to 10.0.0.1", "Cannot connect to relay.example.com"),
        ("An internal error (KeyError in f, a.py line 3)", "An internal error (KeyError in f, a.py line 4)"),
    ],
)
def test_numbers_names_and_addresses_do_not_tell_causes_apart(one: str, other: str) -> None:
    assert cause_of(complaint(one)) == cause_of(complaint(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (complaint("A", status=400), complaint("A", status=413)),
        (complaint("A", kind="timeout"), complaint("A", kind="internal")),
        (complaint('Not accepted (400: "bad ratio")'), complaint('Not accepted (400: "bad image")')),
        (complaint("Refused (SAFETY)", kind="refused"), complaint("Refused (BLOCKLIST)", kind="refused")),
    ],
)
def test_kind_status_and_words_tell_causes_apart(one: Complaint, other: Complaint) -> None:
    assert cause_of(one) != cause_of(other)


def test_how_an_image_came_is_no_part_of_what_is_wrong_with_it() -> None:
    def note(text: str) -> Cause:
        return cause_of(
            Complaint(
                key="00" * 16, outcome=Outcome.MISMATCH, result=None, status=None, message=None, record={"note": text}
            )
        )

    assert note("1x1 pixels came") == note("2x2 pixels came; brought home after an interrupted run")
    assert note("1x1 pixels came") != note("1x1 pixels came; model-b answered, but model-a was asked for")


COMMANDS = Commands(target="a b.yaml", output="out")


@pytest.mark.parametrize("remedy", REMEDIES, ids=lambda remedy: remedy.text[:40])
def test_every_remedy_is_given_to_somebody_and_names_a_command_that_exists(remedy: Any) -> None:
    cause = Cause(
        outcome=remedy.outcome or "pending",
        kind=remedy.kinds[0] if remedy.kinds else "",
        status=remedy.statuses[0] if remedy.statuses else None,
        words=remedy.says,
    )
    assert next(row for row in REMEDIES if row.fits(cause)) is remedy
    text = advise(cause, COMMANDS)
    assert "{" not in text
    lines = re.findall(r"`(batchbanana [^`]*)`", text)
    assert lines or "Report it" in text or "provider's invoice" in text
    for line in lines:
        name, target, *options = shlex.split(line)[1:]
        assert (name, target, options[:2]) in [
            ("run", "a b.yaml", ["--output", "out"]),
            ("doctor", "a b.yaml", ["--output", "out"]),
        ]


def rows(count: int) -> Iterator[tuple[bytes, str, str]]:
    for number in range(count):
        record: Mapping[str, object] = {"prompt": "x" * 500, "reason": f"refused number {number}", "job": "hero"}
        yield number.to_bytes(16, "big"), "refused", json.dumps(record)


def test_memory_does_not_grow_with_the_number_of_failures(tmp_path: Path) -> None:
    """40,000 records of half a kilobyte are 20 MB; a streamed walk holds next to nothing of them."""
    path = tmp_path / "ledger.db"
    Store.open(path, Caps()).close()
    with closing(sqlite3.connect(path)) as db, db:
        db.executemany("INSERT INTO outcomes (key, outcome, attempt, record) VALUES (?, ?, 0, ?)", rows(40_000))
    store = Store.open(path, Caps(), read_only=True)
    with closing(store):
        tracemalloc.start()
        try:
            causes = group(complaints(store))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert [one.count for one in causes.groups] == [40_000]
    assert peak < 2_000_000
