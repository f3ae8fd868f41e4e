"""What `failures` and `status` tell of money that is spent without an image, and when the manifest is of no use."""

import json
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from batchbanana.failures import IN_FLIGHT, MOST_WORDINGS, possibly_billed, waiting
from batchbanana.ledger import Complaint, Unsettled
from batchbanana.record import Errand
from batchbanana.sandbox.running import in_thread
from tests.support.build import rung, task
from tests.support.clinic import failures, groups
from tests.support.program import Job, command, manifest
from tests.support.web import picture, pointing, reply, web

REFUSES = {"faults": [{"then": {"block": "SAFETY"}}]}
SIGNATURE = "signature-9f2c"


class Relay:
    """Points to images that it gives only once it is opened."""

    def __init__(self) -> None:
        self.is_open = False
        self.made = 0
        self.url = ""

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        if handler.command == "POST":
            self.made += 1
            reply(handler, pointing(f"{self.url}/{self.made}.png?sig={SIGNATURE}"))
        elif self.is_open:
            reply(handler, picture())
        else:
            reply(handler, b"no", 503)


@contextmanager
def left_behind_an_address(folder: Path, count: int) -> Iterator[tuple[Job, Relay]]:
    """Kill a run whose images are all made, while none of them is given."""
    relay = Relay()
    with web(relay) as served:
        relay.url = served.url
        job = Job(folder, served.url, manifest(count, provider={"base_url": served.url}))
        job.kill(lambda: notes(job) == count)
        yield job, relay


def notes(job: Job) -> int:
    return len(list((job.output / ".batchbanana/spool").glob("*.link")))


def test_images_that_wait_behind_an_address_are_told_with_its_host_until_they_are_fetched(tmp_path: Path) -> None:
    with left_behind_an_address(tmp_path, 2) as (job, relay):
        [one] = groups(job)
        assert (one["outcome"], one["kind"], one["count"]) == ("waiting", "link", 2)
        assert one["example"]["prompt"].startswith("A mug, number ")
        text = failures(job).out
        assert "2 images are paid for and wait behind an address: 127.0.0.1; the first is noted in " in text
        assert SIGNATURE not in text
        assert command("failures", str(job.output)).out == text
        relay.is_open = True
        line = re.findall(r"`(batchbanana run [^`]*)`", one["what_to_do"])[0]
        assert command(*shlex.split(line)[1:]).code == 0
        assert failures(job).out == f"Nothing has failed in {job.output}\n"
        assert relay.made == 2


def test_an_image_whose_note_is_removed_is_given_up_and_bought_again_by_the_next_run(tmp_path: Path) -> None:
    with left_behind_an_address(tmp_path, 1) as (job, relay):
        [one] = groups(job)
        note = one["example"]["text"].rpartition(" ")[2]
        assert "1 image is paid for and waits behind an address" in failures(job).out
        assert "remove its file `.batchbanana/spool/<attempt>.0.link`" in one["what_to_do"]
        (job.output / note).unlink()
        relay.is_open = True
        assert job.run().json["done"] == 1
        assert relay.made == 2


def test_a_note_that_is_damaged_still_counts_as_an_image_that_waits(tmp_path: Path) -> None:
    with left_behind_an_address(tmp_path, 1) as (job, _):
        for note in (job.output / ".batchbanana/spool").glob("*.link"):
            note.write_text("[")
        assert "an address without a host" in failures(job).out


def test_of_a_task_whose_image_waits_earlier_trouble_is_not_told(tmp_path: Path) -> None:
    """The task failed first, then it was asked again: what is left to do is to fetch what came."""
    with web(lambda handler: reply(handler, b'{"error": {"code": 400, "message": "no"}}', 400)) as served:
        job = Job(tmp_path, served.url, manifest(1))
        assert job.run().json["failed"] == 1
    relay = Relay()
    with web(relay) as served:
        relay.url = job.url = served.url
        job.kill(lambda: notes(job) == 1, "--retry", "failed")
    assert [one["outcome"] for one in groups(job)] == ["waiting"]


def test_money_behind_addresses_is_reserved_for_the_doctor(tmp_path: Path) -> None:
    with left_behind_an_address(tmp_path, 2) as (job, _):
        job.write(manifest(2, provider={"base_url": job.url}, limits={"max_cost": 5}))
        out = command("doctor", str(job.manifest), "--output", str(job.output)).out
    assert "max_cost is $5.00, $0.09 is spent or reserved" in out


@pytest.mark.parametrize(
    ("urls", "words"),
    [
        (["https://a.example/1?k=v"], "a.example; the first is noted in .batchbanana/spool/7.0.link"),
        (["https://a.example/1", "https://a.example/2", "https://b.example/3"], "a.example, b.example; "),
        ([f"https://{name}.example/1" for name in "abcde"], "a.example, b.example, c.example and 2 more hosts; "),
        (["https://[/1"], "an address without a host; "),
        (["/files/1.png"], "an address without a host; "),
    ],
)
def test_the_hosts_are_told_and_nothing_else_of_an_address(urls: list[str], words: str) -> None:
    errand = Errand.of(task(), rung()).to_json()
    one = waiting([(Unsettled(id=7 + number, price=None, errand=errand), url) for number, url in enumerate(urls)])
    assert one.count == len(urls)
    assert one.example.text.startswith(words)


def unclear(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    """Answer one prompt with words that cost an unknown kind of tokens; hang up on any other."""
    if b"number 1" in body:
        parts = [{"text": "There you are."}]
        usage = {"candidatesTokenCount": 1290}
        answer = {"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}], "usageMetadata": usage}
        reply(handler, json.dumps(answer).encode())
    else:
        handler.close_connection = True


def test_answers_that_do_not_say_whether_they_are_billed_are_no_timeouts(tmp_path: Path) -> None:
    with web(lambda handler: unclear(handler, served.asked[-1].body)) as served:
        job = Job(tmp_path, served.url, manifest(2, limits={"concurrency": 1}))
        assert job.run().code == 3
    told = {(one["kind"], one["status"]): one for one in groups(job) if one["outcome"] == "possibly_billed"}
    assert set(told) == {("no_image", 200), ("timeout", None)}
    answered, silent = told["no_image", 200], told["timeout", None]
    assert (answered["count"], silent["count"]) == (3, 2)
    assert "text only" in answered["example"]["text"]
    assert "text only" not in silent["example"]["text"]
    assert answered["what_to_do"] == (
        "The answer does not say whether it was billed; compare with the provider's invoice"
    )
    assert "raise `timeouts:`" in silent["what_to_do"]
    [(possible,)] = job.rows("SELECT sum(price) FROM attempts WHERE billed = 'unknown'")
    assert answered["worst_usd"] + silent["worst_usd"] == pytest.approx(possible / 1e6)
    assert answered["example"]["prompt"] == "A mug, number 1"
    assert silent["example"]["prompt"] == "A mug, number 2"


def attempt(result: str, message: str | None, status: int | None = None) -> Complaint:
    return Complaint(key="00" * 16, outcome=None, result=result, status=status, message=message, record={})


def test_the_newest_attempt_of_each_cause_speaks_for_it_and_prices_add_up() -> None:
    newest_first = [
        (attempt("timeout", "No answer within 9 s"), 100),
        (attempt("lost", None), None),
        (attempt("timeout", "No answer within 8 s"), 20),
        (attempt("lost", None), 3),
        (attempt("timeout", "The server gave up (504)", 504), 7),
    ]
    told = [(one.example.text, one.count, one.worst, one.unpriced) for one in possibly_billed(newest_first)]
    assert told == [
        ("No answer within 9 s", 2, 120, 0),
        (IN_FLIGHT, 2, 3, 1),
        ("The server gave up (504)", 1, 7, 0),
    ]


def test_possibly_billed_attempts_with_new_words_each_make_a_few_groups() -> None:
    letters = "abcdefgh"
    said = [attempt("timeout", f'It broke ("{one}{two} is wrong")') for one in letters for two in letters]
    found = possibly_billed((one, 1) for one in said)
    assert len(found) == MOST_WORDINGS + 1
    assert sum(one.worst for one in found) == len(said)


def with_reference(job: Job) -> Path:
    path = job.folder / "style.png"
    path.write_bytes(picture())
    job.write(manifest(3, references=["style.png"]))
    return path


def test_a_folder_whose_manifest_has_faults_now_is_told_from_its_ledger(tmp_path: Path) -> None:
    with in_thread(REFUSES) as sandbox:
        job = Job(tmp_path, sandbox.url, {})
        reference = with_reference(job)
        assert job.run().json["refused"] == 3
    reference.unlink()
    ended = command("failures", str(job.output), "--json")
    assert (ended.code, [one["count"] for one in ended.json["groups"]]) == (0, [3])
    [line] = ended.err.splitlines()
    assert line.startswith(f"warning: {job.manifest}:")
    assert line.endswith("; told from the ledger alone")
    status = command("status", str(job.output), "--json")
    assert (status.code, status.json["refused"], status.json["tasks"]) == (0, 3, 3)
    assert status.err == ended.err


def test_of_several_faults_the_first_is_told_and_the_others_are_counted(tmp_path: Path) -> None:
    with in_thread(REFUSES) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(1))
        job.run()
    job.write(manifest(1, ratio="9:99999", resolution="3.5K"))
    [line] = command("status", str(job.output)).err.splitlines()
    assert line.startswith(f"warning: {job.manifest}:")
    assert line.endswith(" (and 1 more); told from the ledger alone")


@pytest.mark.parametrize("name", ["status", "failures"])
def test_a_folder_whose_manifest_is_gone_says_so(tmp_path: Path, name: str) -> None:
    with in_thread(REFUSES) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(1))
        job.run()
    job.manifest.unlink()
    ended = command(name, str(job.output))
    assert (ended.code, ended.err) == (0, f"warning: {job.manifest} is gone; told from the ledger alone\n")


@pytest.mark.parametrize("name", ["status", "failures"])
@pytest.mark.parametrize("output", [[], ["--output", "my out"]])
def test_faults_of_a_manifest_end_with_the_form_that_does_without_it(
    tmp_path: Path, name: str, output: list[str]
) -> None:
    job = Job(tmp_path, "", manifest(1, ratio="9:99999"))
    ended = command(name, str(job.manifest), *output)
    assert (ended.code, ended.out) == (2, "")
    fault, remedy = ended.err.splitlines()
    assert fault.startswith(f"{job.manifest}:")
    shown = shlex.quote(output[1]) if output else "output/NAME"
    assert remedy.startswith(f"`batchbanana {name} {shown}`, of the job directory")


def test_a_reference_that_has_changed_since_is_said_to_be_why_outcomes_are_left_out(tmp_path: Path) -> None:
    with in_thread(REFUSES) as sandbox:
        job = Job(tmp_path, sandbox.url, {})
        reference = with_reference(job)
        job.run()
    reference.write_bytes(picture("red"))
    assert failures(job).out == (
        "3 outcomes are of tasks that the manifest no longer has (their prompt, references or settings have changed)\n"
    )


def test_one_outcome_that_is_left_out_is_told_as_one(tmp_path: Path) -> None:
    with in_thread(REFUSES) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(1))
        job.run()
    job.write(manifest(1, ratio="16:9"))
    assert failures(job).out.startswith("1 outcome is of a task that the manifest no longer has (its prompt, ")
