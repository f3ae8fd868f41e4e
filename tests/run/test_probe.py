"""What `doctor --probe` buys, and what it shows of it."""

import re
from pathlib import Path
from typing import Any

import pytest

from batchbanana.sandbox.running import in_thread
from tests.run.test_terminal import at_terminal
from tests.support.clinic import ALL_WELL, doctor
from tests.support.program import Job, command, manifest

TWO_BY_TWO = manifest(3, model=["gemini-3-pro-image", "gemini-nano-banana-2.1"], resolution=["1K", "2K"], ratio="16:9")


SMALLER = {"faults": [{"when": {"model": "gemini-3-pro-image", "resolution": "2K"}, "then": {"size": "1K"}}]}


def probe(job: Job, *more: str, **environment: str) -> tuple[int, dict[tuple[str, str], dict[str, Any]]]:
    ended = doctor(job, "--probe", "--json", *more, **environment)
    data = ended.json
    assert data["exit_code"] == ended.code
    return ended.code, {(row["model"], row["resolution"]): row for row in data["probe"]["rows"]}


def test_a_probe_buys_one_image_of_each_model_and_size_and_shows_what_really_comes(tmp_path: Path) -> None:
    with in_thread(SMALLER) as sandbox:
        job = Job(tmp_path, sandbox.url, TWO_BY_TWO)
        code, rows = probe(job)
        assert (code, sandbox.bill()["requests"]) == (4, 4)
        job.check()
    assert set(rows) == {(m, s) for m in ("gemini-3-pro-image", "gemini-nano-banana-2.1") for s in ("1K", "2K")}
    odd = rows.pop(("gemini-3-pro-image", "2K"))
    assert (odd["outcome"], odd["delivered_resolution"], odd["pixels"]) == ("mismatch", "1K", "1376x768")
    assert "2K was asked for" in odd["text"]
    assert {row["outcome"] for row in rows.values()} == {"done"}
    one = rows["gemini-nano-banana-2.1", "2K"]
    assert (one["told"], one["ratio"], one["delivered_ratio"]) == ("gemini-nano-banana-2.1", "16:9", "16:9")
    assert (one["mime"].partition("/")[0], one["cost_usd"], one["bought"]) == ("image", 0.0504, True)
    assert (job.output / one["file"]).stat().st_size == one["bytes"]
    assert one["seconds"] >= 0


def test_what_a_probe_bought_is_neither_bought_again_by_a_probe_nor_by_a_run(tmp_path: Path) -> None:
    with in_thread(SMALLER) as sandbox:
        job = Job(tmp_path, sandbox.url, TWO_BY_TWO)
        _, first = probe(job)
        code, again = probe(job)
        assert (code, sandbox.bill()["requests"]) == (4, 4)
        assert not any(row["bought"] for row in again.values())
        assert again == {pair: {**row, "bought": False} for pair, row in first.items()}
        ended = job.run()
        assert (ended.code, ended.json["attempts"], sandbox.bill()["requests"]) == (4, 8, 12)
        job.check()


def test_what_the_job_has_already_is_shown_and_not_bought(tmp_path: Path) -> None:
    with in_thread() as sandbox:
        job = Job(tmp_path, sandbox.url, TWO_BY_TWO)
        job.run("--only", "model=gemini-3-pro-image", "--only", "resolution=1K", "--only", "n=3")
        code, rows = probe(job)
        assert (code, sandbox.bill()["requests"]) == (0, 4)
    assert [pair for pair, row in rows.items() if not row["bought"]] == [("gemini-3-pro-image", "1K")]
    assert "_3_" in rows["gemini-3-pro-image", "1K"]["file"] or "3_16x9" in rows["gemini-3-pro-image", "1K"]["file"]


def test_the_probes_table_shows_asked_against_delivered(tmp_path: Path) -> None:
    faults = [*SMALLER["faults"], {"when": {"resolution": "1K"}, "then": {"version": "somebody-else"}}]
    with in_thread({"faults": faults}) as sandbox:
        job = Job(tmp_path, sandbox.url, TWO_BY_TWO)
        ended = doctor(job, "--probe")
    lines = ended.out.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("model ") and "outcome" in line)
    head, *rows = lines[start : start + 5]
    assert " ".join(head.split()) == "model told ratio came pixels size came type bytes seconds price outcome"
    cells = [row.split() for row in rows]
    assert [(row[0], row[1], row[5], row[6]) for row in cells] == [
        ("gemini-3-pro-image", "somebody-else", "1K", "1K"),
        ("gemini-3-pro-image", "same", "2K", "1K"),
        ("gemini-nano-banana-2.1", "somebody-else", "1K", "1K"),
        ("gemini-nano-banana-2.1", "same", "2K", "2K"),
    ]
    assert "gemini-3-pro-image at 2K: 1376x768 pixels (1K) came, but 2K was asked for" in ended.out
    assert "4 asked for now, 0 there already" in ended.out
    assert "The probe makes 4 of the job's images" in ended.err


@pytest.mark.parametrize("on_mismatch", ["keep", "retry"])
def test_the_probe_and_the_plan_tell_the_same_price(tmp_path: Path, on_mismatch: str) -> None:
    with in_thread() as sandbox:
        job = Job(
            tmp_path, sandbox.url, manifest(1, model="gemini-3-pro-image", resolution="1K", on_mismatch=on_mismatch)
        )
        ended = doctor(job, "--probe")
    prices = r"for (\$\d+\.\d+), at worst (\$\d+\.\d+)"
    [planned], [announced] = re.findall(prices, ended.out), re.findall(prices, ended.err)
    assert announced == planned
    assert "The probe makes 1 of the job's images" in ended.err


def test_a_probe_that_is_refused_shows_why(tmp_path: Path) -> None:
    with in_thread({"faults": [{"then": {"block": "SAFETY"}}]}) as sandbox:
        code, rows = probe(Job(tmp_path, sandbox.url, ALL_WELL))
    [row] = rows.values()
    assert (code, row["outcome"], row["pixels"], row["cost_usd"]) == (3, "refused", None, None)
    assert "SAFETY" in row["text"]


def test_a_probe_keeps_the_cap_and_says_why_it_stopped(tmp_path: Path) -> None:
    with in_thread() as sandbox:
        job = Job(tmp_path, sandbox.url, {**TWO_BY_TWO, "limits": {"max_cost": 0.2, "concurrency": 1}})
        ended = doctor(job, "--probe")
        assert ended.code == 10
        assert sandbox.bill()["micro_usd"] <= 200_000
    assert "stopped: The money cap is reached" in ended.out
    assert "pending" in ended.out


def test_nothing_is_bought_while_something_is_bad(tmp_path: Path) -> None:
    with in_thread({"keys": ["another"]}) as sandbox:
        ended = doctor(Job(tmp_path, sandbox.url, ALL_WELL), "--probe", "--json")
        assert sandbox.bill()["requests"] == 0
    assert ended.code == 12
    assert "probe" not in ended.json
    assert "Nothing was bought" in ended.err


@pytest.mark.parametrize(("answer", "bought"), [("n\n", 0), ("y\n", 1)])
def test_a_person_at_a_terminal_is_asked_before_anything_is_bought(tmp_path: Path, answer: str, bought: int) -> None:
    with in_thread() as sandbox:
        job = Job(tmp_path, sandbox.url, ALL_WELL)
        arguments = ("doctor", str(job.manifest), "--output", str(job.output), "--base-url", sandbox.url, "--probe")
        with at_terminal(*arguments) as terminal:
            terminal.wait_for("Go?")
            assert "for $0.13, at worst" in terminal.text
            terminal.press(answer)
            assert terminal.end() == (0 if bought else 2)
        assert sandbox.bill()["requests"] == bought


def test_yes_buys_without_asking(tmp_path: Path) -> None:
    with in_thread() as sandbox:
        job = Job(tmp_path, sandbox.url, ALL_WELL)
        arguments = ("doctor", str(job.manifest), "--output", str(job.output), "--base-url", sandbox.url, "--probe")
        with at_terminal(*arguments, "--yes") as terminal:
            assert terminal.end() == 0
        assert sandbox.bill()["requests"] == 1


def test_a_probe_of_the_sandbox_leaves_the_job_alone(tmp_path: Path) -> None:
    """Its pictures lie in a temporary folder, which it names; no key is needed."""
    spare = tmp_path / "spare"
    spare.mkdir()
    with in_thread() as real:
        job = Job(tmp_path, real.url, {**ALL_WELL, "sandbox": SMALLER, "resolution": ["1K", "2K"]})
        assert job.run("--limit", "1").code == 0
        before = job.rows("SELECT * FROM outcomes")
        arguments = ("doctor", str(job.manifest), "--output", str(job.output), "--sandbox", "--probe", "--json")
        ended = command(*arguments, TMPDIR=str(spare), GEMINI_API_KEY="")
        assert job.rows("SELECT * FROM outcomes") == before
    data = ended.json
    assert ended.code == 4
    assert [row["delivered_resolution"] for row in data["probe"]["rows"]] == ["1K", "1K"]
    assert Path(data["probe"]["output"]).parent == spare
    assert len(list(spare.rglob("*.jpg"))) == 2
    assert {check["name"]: check["text"] for check in data["checks"]}["key"] == "none is needed in the sandbox"
