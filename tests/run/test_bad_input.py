"""Bad input: one sentence with place and remedy, the right exit code, nothing sent, nothing lost, no traceback."""

import os
from pathlib import Path

import pytest

from batchbanana.sandbox.running import in_thread
from tests.support.program import Job, command, manifest

JOB = "jobs:\n  - prompt: A {thing}\n    vars: {thing: [mug]}\n"


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("list.yaml", b"- a\n- b\n", "list.yaml:1: "),
        ("empty.yaml", b"", "empty.yaml"),
        (
            "typo.yaml",
            b"modle: x\n" + JOB.encode(),
            "typo.yaml:1: the manifest has no key `modle`: did you mean `model`?",
        ),
        ("ratio.yaml", b"ratio: 16:10\n" + JOB.encode(), "ratio.yaml:1: "),
        ("size.yaml", b"resolution: 4k\n" + JOB.encode(), "4K"),
        ("variable.yaml", b"jobs:\n  - prompt: A {thing}\n    vars: {other: [x]}\n", "variable.yaml:2: "),
        ("torn.yaml", b"jobs: [\n", "torn.yaml:"),
        ("twice.yaml", JOB.encode() + b"jobs: []\n", "twice.yaml:4: "),
        ("bytes.yaml", b"name: \xff\xfe\n", "bytes.yaml"),
        ("secret.yaml", b"provider: {api_key: AIzaSyVerySecret}\n" + JOB.encode(), "secret.yaml:1: "),
        ("limits.yaml", b"limits: {requests_per_minute: 0}\n" + JOB.encode(), "limits.yaml:1: "),
        ("quote.csv", b'prompt,ratio\nA "mug",1:1\nA k"ettle,1:1\n', "quote.csv:2: "),
        ("short.csv", b"prompt,ratio\nmug,1:1\nkettle\n", "short.csv:3: "),
        ("latin.csv", b"prompt\ncaf\xe9\n", "latin.csv"),
        ("column.csv", b"ratio\n1:1\n", "column.csv"),
    ],
)
def test_a_faulty_manifest_is_told_with_its_place_and_sends_nothing(
    tmp_path: Path, name: str, text: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(text)
    with in_thread() as sandbox:
        ended = command("run", name, "--base-url", sandbox.url, cwd=tmp_path)
        assert ended.code == 2
        assert says in ended.err, ended.err
        assert "Secret" not in ended.err
        assert sandbox.bill()["requests"] == 0
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("modle: x\nratio: 16:10\njobs:\n  - prompt: A {thing}\n  - promt: x\n")
    ended = command("run", "job.yaml", cwd=tmp_path)
    places = {line.split(": ")[0] for line in ended.err.splitlines()}
    assert places == {"job.yaml:1", "job.yaml:2", "job.yaml:5"}


@pytest.mark.parametrize("name", ["missing.yaml", "missing.csv", ".", "missing.txt"])
def test_a_manifest_that_is_not_there_is_told(tmp_path: Path, name: str) -> None:
    ended = command("run", name, cwd=tmp_path)
    assert ended.code == 2
    assert len(ended.err.splitlines()) == 1
    assert name in ended.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--concurrency", "0"], "--concurrency"),
        (["--rpm", "none"], "--rpm"),
        (["--max-cost", "-3"], "amount of dollars"),
        (["--only", "colour=red"], "no axis or variable"),
        (["--only", "ratio"], "KEY=VALUE"),
        (["--only", "outcome=good"], "no outcome"),
        (["--retry", "done"], "nothing of that name"),
        (["--base-url", "example.com"], "is not a URL"),
        (["--frobnicate"], "--frobnicate"),
    ],
)
def test_bad_options_are_told_and_send_nothing(tmp_path: Path, arguments: list[str], says: str) -> None:
    with in_thread() as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(2))
        ended = job.run(*arguments)
        assert ended.code == 2
        assert says in ended.err
        assert sandbox.bill()["requests"] == 0


@pytest.mark.parametrize("key", ["", "  ", "two words", "schl\u00fcssel"])
def test_a_key_that_is_missing_or_malformed_needs_a_person(tmp_path: Path, key: str) -> None:
    with in_thread() as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(2))
        ended = command(*job.arguments(), GEMINI_API_KEY=key, GOOGLE_API_KEY="")
        assert ended.code == 12
        assert "key" in ended.err.lower()
        assert not key.strip() or key not in ended.err
        assert sandbox.bill()["requests"] == 0


def test_a_key_with_a_newline_at_its_end_is_trimmed(tmp_path: Path) -> None:
    with in_thread({"keys": ["good-key"]}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(1))
        assert command(*job.arguments(), GEMINI_API_KEY="good-key\n").code == 0


@pytest.mark.parametrize("place", ["file", "folder"])
def test_an_output_that_cannot_be_written_is_a_disk_fault(tmp_path: Path, place: str) -> None:
    with in_thread() as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(2))
        if place == "file":
            job.output.write_text("in the way")
        else:
            job.output = Path("/proc/nothing/can/be/made/here")
        ended = job.run()
        assert ended.code == 13
        assert "choose another --output" in ended.err
        assert sandbox.bill()["requests"] == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="a superuser may write everywhere")
def test_a_read_only_output_is_a_disk_fault(tmp_path: Path) -> None:
    with in_thread() as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(2))
        job.output.mkdir(mode=0o500)
        assert job.run().code == 13


def test_a_ledger_that_is_not_one_is_refused_and_left_alone(tmp_path: Path) -> None:
    with in_thread() as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(2))
        job.run()
        ledger = job.output / ".batchbanana/ledger.db"
        ledger.write_bytes(b"scribble" * 500)
        ended = job.run()
        assert ended.code == 14
        assert "ledger" in ended.err
        assert ledger.read_bytes() == b"scribble" * 500
        assert sandbox.bill()["requests"] == 2
