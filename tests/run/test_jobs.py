"""The manifests that are shipped in `jobs/`, and the commands around them, as a new user meets them."""

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.support.program import command

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("name", "code", "done", "degraded"),
    [("demo.yaml", 4, 15, 3), ("products.yaml", 0, 16, 0), ("posters.csv", 0, 5, 0), ("retouch.yaml", 0, 6, 0)],
)
def test_a_shipped_manifest_makes_real_pictures_in_the_sandbox(
    tmp_path: Path, name: str, code: int, done: int, degraded: int
) -> None:
    ended = command("run", str(ROOT / "jobs" / name), "--sandbox", "--json", cwd=tmp_path)
    assert (ended.code, ended.json["done"], ended.json["degraded"]) == (code, done, degraded), ended.err
    output = tmp_path / ended.json["output"]
    assert output == tmp_path / "output" / name.split(".", maxsplit=1)[0]
    records = [json.loads(line) for line in (output / "metadata.jsonl").read_text().splitlines()]
    assert len(records) == done + degraded
    for record in records:
        with Image.open(output / record["file_name"]) as picture:
            picture.load()
            assert picture.size == (record["width"], record["height"])
    assert json.loads((output / "summary.json").read_text()) == ended.json
    again = command("run", str(ROOT / "jobs" / name), "--sandbox", "--json", cwd=tmp_path)
    assert (again.code, again.json["attempts"]) == (code, 0)


def test_the_names_of_products_are_those_the_template_says(tmp_path: Path) -> None:
    command("run", str(ROOT / "jobs/products.yaml"), "--sandbox", cwd=tmp_path)
    names = sorted(path.name for path in (tmp_path / "output/products/images/feed").iterdir())
    assert names[0].startswith("KET-02_1x1_")
    assert len(names) == 16


def test_several_manifests_run_one_after_another_and_the_worst_code_is_told(tmp_path: Path) -> None:
    (tmp_path / "odd.yaml").write_text(
        "sandbox: {faults: [{when: {}, then: {ratio: '16:9'}}]}\njobs: [{prompt: a mug, ratio: 1:1}]\n"
    )
    (tmp_path / "even.yaml").write_text("jobs: [{prompt: a cup}]\n")
    names = [str(ROOT / "jobs/posters.csv"), "odd.yaml", "even.yaml"]
    ended = command("run", *names, "--sandbox", "--json", cwd=tmp_path)
    assert ended.code == 4
    told = [json.loads(line) for line in ended.out.splitlines()]
    assert [(one["name"], one["exit_code"]) for one in told] == [("posters", 0), ("odd", 4), ("even", 0)]


def test_plan_tells_size_price_time_and_what_is_made(tmp_path: Path) -> None:
    path = str(ROOT / "jobs/products.yaml")
    plan = command("plan", path, "--json", cwd=tmp_path).json
    assert (plan["tasks"], plan["pending"], plan["requests"], plan["bottleneck"]) == (16, 16, 16, "concurrency")
    assert plan["cost_usd_low"] == pytest.approx(16 * 0.0336)
    assert plan["cost_usd_high"] == pytest.approx(2 * 16 * 0.0336)
    assert not (tmp_path / "output").exists()
    command("run", path, "--sandbox", "--limit", "5", cwd=tmp_path)
    plan = command("plan", path, "--json", "--rpm", "1", cwd=tmp_path).json
    assert (plan["done"], plan["pending"], plan["bottleneck"]) == (5, 11, "requests_per_minute")
    assert plan["seconds"] == 600
    text = command("plan", path, cwd=tmp_path).out
    assert "11 to make" in text
    assert len(command("plan", path, "--csv", cwd=tmp_path).out.splitlines()) == 17


def test_status_tells_the_same_of_a_manifest_and_of_its_directory(tmp_path: Path) -> None:
    path = str(ROOT / "jobs/posters.csv")
    before = command("status", path, "--json", cwd=tmp_path).json
    assert (before["tasks"], before["done"], before["pending"], before["running"]) == (5, 0, 5, False)
    command("run", path, "--sandbox", "--limit", "2", cwd=tmp_path)
    by_manifest = command("status", path, "--json", cwd=tmp_path).json
    by_folder = command("status", "output/posters", "--json", cwd=tmp_path).json
    assert by_manifest == by_folder
    assert (by_folder["tasks"], by_folder["done"], by_folder["pending"], by_folder["exit_code"]) == (5, 2, 3, 0)
    assert "2 done, 3 pending" in command("status", "output/posters", cwd=tmp_path).out


def test_models_are_listed_with_their_prices() -> None:
    rows = {row["id"]: row for row in json.loads(command("models", "--json").out)}
    assert rows["gemini-3-pro-image"]["prices_usd"] == {"1K": 0.134, "2K": 0.134, "4K": 0.24}
    assert "gemini-nano-banana-2.1" in command("models").out


def test_only_and_limit_single_tasks_out(tmp_path: Path) -> None:
    path = str(ROOT / "jobs/products.yaml")
    ended = command("run", path, "--sandbox", "--json", "--only", "sku=MUG-01", "--only", "ratio=4:5", cwd=tmp_path)
    assert (ended.json["done"], ended.json["pending"]) == (2, 14)
    ended = command("run", path, "--sandbox", "--json", "--only", "sku=MUG-01", "--limit", "1", cwd=tmp_path)
    assert (ended.json["done"], ended.json["pending"]) == (3, 13)


def test_the_version_and_the_exit_codes_are_told() -> None:
    assert command("--version").out.startswith("batchbanana 0.")
    text = command("run", "--help").out
    assert "75  paused" in text
