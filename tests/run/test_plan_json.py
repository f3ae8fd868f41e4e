"""`plan --json` tells each job's own numbers, however many jobs there are."""

import json
from pathlib import Path

from tests.support.program import command


def jobs(folder: Path, name: str, text: str) -> list[tuple[str, int, int]]:
    (folder / name).write_text(text)
    told = command("plan", name, "--json", cwd=folder).json
    assert sum(job["tasks"] for job in told["jobs"]) == told["tasks"]
    return [(job["id"], job["tasks"], job["pending"]) for job in told["jobs"]]


def test_a_job_that_is_all_excluded_takes_no_other_s_numbers(tmp_path: Path) -> None:
    some = [
        {"id": "three", "prompt": "A {p}", "vars": {"p": ["x", "y", "z"]}},
        {"id": "none", "prompt": "B {p}", "vars": {"p": ["x", "y"]}, "exclude": [{"p": "x"}, {"p": "y"}]},
        {"id": "picked", "prompt": "C {p}", "vars": {"p": ["x", "y", "z"]}, "pick": {"count": 2}},
        {"id": "more", "prompt": "D {p}", "vars": {"p": ["x"]}, "include": [{"p": "w"}]},
        {"id": "again", "prompt": "A x"},
    ]
    found = jobs(tmp_path, "job.yaml", json.dumps({"jobs": some}))
    assert found == [("three", 3, 3), ("none", 0, 0), ("picked", 2, 2), ("more", 2, 2), ("again", 0, 0)]


def test_rows_with_ids_are_jobs_and_more_of_them_than_go_in_one_piece_are_still_one_object(tmp_path: Path) -> None:
    rows = "".join(f"job-{number},A mug number {number}\n" for number in range(2001))
    found = jobs(tmp_path, "job.csv", f"id,prompt\n{rows}")
    assert found == [(f"job-{number}", 1, 1) for number in range(2001)]


def test_rows_without_ids_are_one_job(tmp_path: Path) -> None:
    assert jobs(tmp_path, "job.csv", "prompt\nA mug\nA cup\nA mug\n") == [("job", 2, 2)]
