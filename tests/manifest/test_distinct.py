"""What is said of keys and names from the axes alone is never wrong, and it is said of common manifests."""

import json
import unicodedata
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from batchbanana.distinct import have_own_keys, have_own_names
from batchbanana.errors import ManifestError
from batchbanana.matrix import Matrix
from tests.manifest.conftest import Load, load_text

# Values that run into each other and into what stands between them, differ in case alone, or are shown the same.
VALUES = ["a", "A", "b", "a b", "b a", "a on b", "on", "-", "a-b", "a_b", "con", "ä", "x" * 70, "x" * 71]
PROMPTS = [
    "{p}{q}",
    "{p} {q}",
    "{p} on {q}",
    "on {p} on {q}",
    "{p}",
    "{q}",
    "{p}, {q}, {p}",
    "a on b",
    "on a",
    "a",
    "b",
]
NAMES = [
    "{p}_{q}",
    "{p}-{q}",
    "{p}{q}",
    "{job}/{p}_{q}",
    "{job}/{q}",
    "co{p}/{q}",
    "{slug}",
    "{p}_{q}_{ratio}_{sample}",
]
some = st.lists(st.sampled_from(VALUES), min_size=1, max_size=4, unique=True)
JOBS = st.lists(
    st.fixed_dictionaries(
        {
            "prompt": st.lists(st.sampled_from(PROMPTS), min_size=1, max_size=2, unique=True),
            "vars": st.fixed_dictionaries({"p": some, "q": some}),
            "images": st.sampled_from(NAMES),
        },
        optional={
            "ratio": st.lists(st.sampled_from(["1:1", "16:9", "auto"]), min_size=1, max_size=2, unique=True),
            "samples": st.integers(1, 2),
            "include": st.just([{"p": "a", "q": "b"}]),
        },
    ),
    min_size=1,
    max_size=2,
)


def names_of(matrix: Matrix) -> list[str]:
    return [unicodedata.normalize("NFC", task.name.casefold()) for task in matrix]


@settings(deadline=None, max_examples=300)  # it reads files
@given(JOBS)
def test_what_is_said_to_be_distinct_is(jobs: list[dict[str, object]]) -> None:
    entries = [{"id": f"job{number}", **job} for number, job in enumerate(jobs)]
    named = [entry["images"] for entry in entries]
    with TemporaryDirectory() as folder:
        try:
            matrix = load_text(Path(folder), json.dumps({"jobs": [{**entry, "images": "{key}"} for entry in entries]}))
        except ManifestError:  # a variable that is used nowhere
            event("has faults")
            return
        keys = [draft.key for draft in matrix.drafts()]
        event(f"keys: {matrix.is_distinct}")
        assert not matrix.is_distinct or len(set(keys)) == len(keys)
        if not all(name == named[0] for name in named):
            return
        try:
            matrix = load_text(Path(folder), json.dumps({"jobs": entries}))
        except ManifestError:
            event("names collide")
            return
        names = names_of(matrix)
        is_certain = have_own_names(matrix.manifest.jobs)
        event(f"names: {is_certain}")
        assert not is_certain or len(set(names)) == len(names)
        both = {(task.name, task.key) for task in matrix}  # one image may have two names, but one name no two images
        assert len(set(names)) == len(both), "else it was to be refused"


@pytest.mark.parametrize(
    "jobs",
    [
        [{"prompt": "A {p} on {q}, soft light", "vars": {"p": ["a mug", "a cup"], "q": ["oak", "dark oak"]}}],
        [{"prompt": "A mug", "ratio": ["1:1", "16:9"], "resolution": ["1K", "2K"], "samples": 3}],
        [{"prompt": ["A {p}", "Two of {p}"], "vars": {"p": ["mug", "cup"]}}, {"prompt": "None"}],
        [{"prompt": "{a} by {b}", "rows": [{"a": "x", "b": "y", "c": "1"}, {"a": "y", "b": "y", "c": "1"}]}],
    ],
)
def test_common_matrices_are_known_to_be_distinct(load_manifest: Load, jobs: list[dict[str, object]]) -> None:
    assert have_own_keys(load_manifest(json.dumps({"jobs": jobs})).manifest.jobs)


@pytest.mark.parametrize(
    "jobs",
    [
        [{"prompt": "{p}{q}", "vars": {"p": ["a", "ab"], "q": ["bc", "c"]}}],
        [{"prompt": "{p} on {q}", "vars": {"p": ["a", "a on b"], "q": ["c", "b on c"]}}],
        [{"prompt": "{a}", "rows": [{"a": "x", "c": "1"}, {"a": "x", "c": "2"}]}],
        [{"prompt": "A {p}", "vars": {"p": ["mug"]}}, {"prompt": "A mug"}],
        [{"prompt": "A {p}", "vars": {"p": ["mug"]}}, {"prompt": "A {q}", "vars": {"q": ["mug"]}}],
        [{"prompt": "{p}", "vars": {"p": ["mug"]}, "include": {"p": "mug"}}],
    ],
)
def test_cells_that_ask_for_the_same_image_are_not_taken_for_distinct(
    load_manifest: Load, jobs: list[dict[str, object]]
) -> None:
    matrix = load_manifest(json.dumps({"jobs": jobs}))
    keys = [draft.key for draft in matrix.drafts()]
    assert len(set(keys)) < len(keys)
    assert not matrix.is_distinct


@pytest.mark.parametrize(
    ("images", "more"),
    [
        ("{p}_{q}", {}),
        ("{job}/{p}/{q}_{ratio}_{resolution}_{sample}", {"ratio": ["1:1", "16:9"], "samples": 2}),
    ],
)
def test_common_names_are_known_to_be_distinct(load_manifest: Load, images: str, more: dict[str, object]) -> None:
    variables = {"p": ["a mug", "a cup"], "q": ["oak", "dark oak"]}
    job = {"prompt": "A {p} on {q}", "vars": variables, "images": images, **more}
    assert have_own_names(load_manifest(json.dumps({"jobs": [job]})).manifest.jobs)


def test_the_digest_of_a_matrix_follows_its_keys_and_nothing_else(load_manifest: Load) -> None:
    base = {"prompt": "A {p}", "vars": {"p": ["mug", "cup"]}, "exclude": [{"p": "cup", "ratio": ["1:1", "16:9"]}]}
    same = {"limits": {"max_cost": 1}, "timeouts": {"1K": 99}, "images": "{p}_{key}"}
    digest = load_manifest(json.dumps({"ratio": ["1:1", "4:3"], "jobs": [base]})).digest
    assert load_manifest("# words\n" + json.dumps({"ratio": ["1:1", "4:3"], "jobs": [base], **same})).digest == digest
    others: list[dict[str, object]] = [
        {"prompt": "An {p}"}, {"vars": {"p": ["mug", "jug"]}, "exclude": []}, {"exclude": []}, {"ratio": "1:1"},
        {"samples": 2}, {"extra": {"generationConfig": {"temperature": 1}}}, {"pick": {"count": 1}},
        {"include": {"p": "jug"}}, {"model": "gemini-3-pro-image"}, {"resolution": "2K"},
    ]  # fmt: skip
    digests = {
        load_manifest(json.dumps({"ratio": ["1:1", "4:3"], "jobs": [{**base, **other}]})).digest for other in others
    }
    assert len(digests | {digest}) == len(others) + 1
