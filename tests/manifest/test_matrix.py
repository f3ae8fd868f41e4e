"""The matrix is counted without walking, walked without holding, and its keys never change by accident."""

import json
from itertools import islice, product
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchbanana.draft import task_key
from batchbanana.manifest.space import permute
from batchbanana.task import Task
from tests.manifest.conftest import JPEG, PNG, Load, load_text

FROZEN = "b7528d4bbf37db807d413c1aa34ed31d"
SHUFFLED = [733, 407, 653, 245, 841]
RATIOS = ["1:1", "16:9", "21:9", "auto"]
SIZES = ["1K", "2K", "4K"]
VALUES = {"a": ["x", "y", "z"], "b": ["1", "2", "3"], "c": ["u"]}
FIELDS = {**VALUES, "ratio": RATIOS, "resolution": SIZES, "sample": ["1", "2", "3"]}


def some(values: list[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), min_size=1, unique=True)


ENTRIES = st.lists(
    st.dictionaries(st.sampled_from(sorted(FIELDS)), st.integers(0, 7), min_size=1, max_size=3).map(
        lambda entry: {field: FIELDS[field][index % len(FIELDS[field])] for field, index in entry.items()}
    ),
    max_size=4,
)
INCLUDES = st.lists(
    st.sampled_from([{"a": "new"}, {"a": ["x", "y"], "ratio": "4:3"}, {"a": "x", "sample": 7}]), max_size=2
)
HUGE = [f"v{index}" for index in range(1000)]


def as_yaml(entry: dict[str, str]) -> dict[str, object]:
    return {field: int(value) if field == "sample" else value for field, value in entry.items()}


def job(**keys: object) -> dict[str, object]:
    return {"id": "a", "prompt": "{a} {b} {c}", **keys}


def load_job(entry: dict[str, object]) -> "list[Task]":
    with TemporaryDirectory() as folder:
        matrix = load_text(Path(folder), json.dumps({"jobs": [entry]}))
        tasks = list(matrix)
        assert matrix.cells == len(tasks) == sum(plan.cells for plan in matrix.jobs)
        return tasks


def fields(task: Task) -> dict[str, str]:
    shown = {"ratio": task.ratio or "auto", "resolution": task.resolution, "sample": str(task.sample)}
    return {**dict(task.variables), **shown}


@settings(deadline=None)  # it reads files
@given(some(VALUES["a"]), some(VALUES["b"]), some(RATIOS), some(SIZES), st.integers(1, 3), ENTRIES)
def test_exclusions_take_out_exactly_what_they_match(
    a: list[str], b: list[str], ratios: list[str], sizes: list[str], samples: int, exclude: list[dict[str, str]]
) -> None:
    variables = {"a": a, "b": b, "c": ["u"]}
    tasks = load_job(
        job(vars=variables, ratio=ratios, resolution=sizes, samples=samples, exclude=[as_yaml(e) for e in exclude])
    )
    names = ("a", "b", "c", "ratio", "resolution", "sample")
    cells = [
        dict(zip(names, cell, strict=True))
        for cell in product(a, b, ["u"], ratios, sizes, map(str, range(1, samples + 1)))
    ]
    wanted = [cell for cell in cells if not any(entry.items() <= cell.items() for entry in exclude)]
    assert sorted(map(str, map(sorted, map(dict.items, map(fields, tasks))))) == sorted(
        str(sorted(cell.items())) for cell in wanted
    )


@settings(deadline=None)  # it reads files
@given(some(VALUES["a"]), INCLUDES, ENTRIES, st.integers(0, 100), st.integers(1, 6))
def test_a_pick_is_part_of_the_matrix_and_inclusions_are_never_picked_away(
    a: list[str], include: list[dict[str, object]], exclude: list[dict[str, str]], seed: int, count: int
) -> None:
    exclude = [entry for entry in exclude if not entry.keys() & {"b", "c"}]
    base = {"id": "a", "prompt": "{a}", "vars": {"a": a}, "ratio": RATIOS, "samples": 2}
    base["exclude"] = [as_yaml(entry) for entry in exclude]
    whole, added = load_job(base), load_job({**base, "include": include})[len(load_job(base)) :]
    count = min(count, len(whole))
    if not count:
        return
    tasks = load_job({**base, "include": include, "pick": {"count": count, "seed": seed}})
    picked = [task.key for task in tasks[:count]]
    assert len(set(picked)) == count
    assert set(picked) <= {task.key for task in whole}
    assert tasks[count:] == added


@given(st.integers(1, 300), st.text(max_size=5))
def test_a_shuffle_hits_every_place_once(size: int, seed: str) -> None:
    assert sorted(permute(index, size, seed) for index in range(size)) == list(range(size))


def test_a_shuffle_is_the_same_for_ever() -> None:
    assert [permute(index, 1000, "7") for index in range(5)] == SHUFFLED


def test_a_pick_from_a_huge_matrix_is_instant(load_manifest: Load) -> None:
    values = json.dumps([f"v{index}" for index in range(1000)])
    text = f"jobs:\n  - id: a\n    prompt: '{{a}} {{b}} {{c}}'\n    vars: {{a: {values}, b: {values}, c: {values}}}\n"
    matrix = load_manifest(
        f"{text}    exclude: [{{a: v1}}, {{b: v2, c: [v3, v4]}}]\n    pick: {{count: 500, seed: 7}}\n"
    )
    assert matrix.cells == len({task.key for task in matrix}) == 500


def test_a_huge_matrix_is_counted_exactly_and_begins_at_once(load_manifest: Load) -> None:
    entry = job(vars=dict.fromkeys("abc", HUGE), exclude=[{"a": "v0"}, {"b": "v2", "c": ["v3", "v4"]}])
    matrix = load_manifest(json.dumps({"jobs": [entry]}), max_tasks=10**9)
    assert matrix.cells == 999 * 1000 * 1000 - 999 * 2
    assert next(iter(matrix)).prompt == "v1 v0 v0"


KEY_PARTS: dict[str, object] = {
    "model": "gemini-3-pro-image",
    "prompt": "A mug, 马克杯 “so”",
    "ratio": "16:9",
    "resolution": "2K",
    "references": ["ab" * 32],
    "extra": {"seed": 7, "generationConfig": {"temperature": 0.5, "candidateCount": 1}},
    "sample": 2,
}


def test_a_key_is_the_same_for_ever() -> None:
    assert task_key(**KEY_PARTS) == FROZEN  # type: ignore[arg-type] # a table of keywords


@pytest.mark.parametrize("part", KEY_PARTS)
def test_everything_that_reaches_the_wire_is_in_the_key(part: str) -> None:
    other = {"references": [], "extra": {}, "sample": 3, "ratio": None}.get(part, "else")
    assert task_key(**{**KEY_PARTS, part: other}) != FROZEN  # type: ignore[arg-type] # a table of keywords


def test_the_order_of_extra_is_not_in_the_key() -> None:
    extra = {"generationConfig": {"candidateCount": 1, "temperature": 0.5}, "seed": 7}
    assert task_key(**{**KEY_PARTS, "extra": extra}) == FROZEN  # type: ignore[arg-type] # a table of keywords


def test_a_task_has_the_key_of_its_parts(tmp_path: Path, load_manifest: Load) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "b.jpg").write_bytes(JPEG)
    text = "extra: {seed: 7}\njobs:\n  - id: a\n    prompt: 'A {x} mug'\n    vars: {x: [red, ブルー]}\n"
    for task in load_manifest(f"{text}    ratio: [auto, 1:1]\n    references: [a.png, b.jpg]\n    samples: 2\n"):
        assert task.key == task_key(
            model=task.model,
            prompt=task.prompt,
            ratio=task.ratio,
            resolution=task.resolution,
            references=[reference.sha256 for reference in task.references],
            extra=task.extra,
            sample=task.sample,
        )


def test_reordering_commenting_and_renaming_keep_the_keys(load_manifest: Load) -> None:
    one = load_manifest(
        "jobs:\n  - id: a\n    prompt: '{x} {y}'\n    vars: {x: [1, 2], y: [3, 4]}\n    ratio: [1:1, 4:3]\n"
    )
    two = load_manifest(
        "name: other # a comment\nratio:\n  - 4:3\n  - 1:1\ntimeouts: {1K: 10}\nfallback: never\n"
        "jobs:\n- {id: b, vars: {y: [4, 3], x: [2, 1]}, prompt: '{x} {y}', images: '{key}'}\n"
    )
    assert {task.key for task in one} == {task.key for task in two}


@pytest.mark.parametrize(
    ("keys", "rungs"),
    [
        ({}, ["4K", "2K"]),
        ({"fallback": "never"}, ["4K"]),
        ({"fallback": {"4K": "2K", "2K": "1K"}}, ["4K", "2K", "1K"]),
        ({"fallback": {"4K": "512"}}, ["4K"]),
        ({"fallback": {"4K": "3K", "3K": "1K"}}, ["4K", "1K"]),
    ],
)
def test_the_ladder_follows_the_fallback_over_what_the_model_makes(
    keys: dict[str, object], rungs: list[str], load_manifest: Load
) -> None:
    entry = {"id": "a", "prompt": "b", "resolution": "4K", **keys}
    (task,) = load_manifest(json.dumps({"jobs": [entry]}))
    assert [rung.resolution for rung in task.rungs] == rungs


def test_the_jobs_word_wins_and_the_defaults_are_the_documents(load_manifest: Load) -> None:
    matrix = load_manifest(
        "ratio: 16:9\ntimeouts: {2K: 100, stall: 5}\nextra: {serviceTier: flex, seed: 1}\n"
        "jobs:\n  - {id: a, prompt: x, ratio: 1:1, resolution: 2K, timeouts: {4K: 9}, extra: {seed: 2}}\n"
        "  - {id: b, prompt: x}\n"
    )
    one, two = matrix
    assert (one.ratio, one.extra) == ("1:1", {"serviceTier": "flex", "seed": 2})
    assert [(rung.timeout, rung.stall, rung.price) for rung in one.rungs] == [(100, 5, 25_200)]
    assert (two.ratio, two.resolution, two.model, two.rungs[0].timeout) == ("16:9", "1K", "gemini-nano-banana-2.1", 180)


def test_without_any_word_the_ratio_is_the_models(load_manifest: Load) -> None:
    (task,) = load_manifest('jobs:\n  - id: a\n    prompt: \'{"subject": "{mug}"}\'\n')
    assert (task.ratio, task.prompt) == (None, '{"subject": "{mug}"}')
    assert "_auto_" in task.name


def test_rows_are_zipped_variables_multiply_and_numbers_show_as_written(load_manifest: Load) -> None:
    matrix = load_manifest(
        "jobs:\n  - id: a\n    prompt: '{{{name}}} {size} {year}'\n"
        "    rows: [{name: mug, size: 1.50}, {name: pot, size: 010}]\n    vars: {year: [2026, true]}\n"
    )
    assert [task.prompt for task in matrix] == [
        "{mug} 1.50 2026",
        "{mug} 1.50 true",
        "{pot} 010 2026",
        "{pot} 010 true",
    ]
    assert dict(next(iter(matrix.jobs)).axes)["rows"] == 2


def test_an_exclusion_that_matches_nothing_is_told(load_manifest: Load) -> None:
    text = "jobs:\n  - id: a\n    prompt: '{x}'\n    vars: {x: [1, 2]}\n    exclude: [{x: 3}, {x: 1}]\n"
    (warning,) = load_manifest(text).warnings
    assert warning.endswith("m.yaml:5: this `exclude` entry of `a` matches nothing")


def test_a_million_tasks_begin_without_being_made(load_manifest: Load) -> None:
    matrix = load_manifest("jobs:\n  - id: a\n    prompt: x\n    samples: 1000000\n")
    assert [task.sample for task in islice(matrix, 3)] == [1, 2, 3]
