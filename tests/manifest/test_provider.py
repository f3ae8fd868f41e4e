"""Whom a manifest asks: what a call costs there, what can be said there, and which models are alive there."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from batchbanana.errors import UsageError
from batchbanana.estimate import check_prices, estimate, unpriced
from batchbanana.manifest import Job
from batchbanana.matrix import Matrix, load
from batchbanana.task import OnMismatch
from tests.manifest.conftest import FaultsOf, Load

JOB = "jobs:\n  - id: a\n    prompt: a mug\n"
OPENAI = "provider: {format: openai, dialect: %s}\n"
WORDS = ("image_config", "google_extra_body", "suffix")


def prices(matrix: Matrix) -> list[int | None]:
    return [rung.price for task in matrix for rung in task.rungs]


@pytest.mark.parametrize("model", ["gemini-3-pro-image", "somebody-elses"])
def test_a_flat_price_of_the_provider_holds_for_every_model_and_size(model: str, load_manifest: Load) -> None:
    matrix = load_manifest(f"provider: {{price: 0.05}}\nmodel: {model}\nresolution: 4K\n{JOB}")
    assert prices(matrix) == [50_000, 50_000]
    assert estimate(matrix) == 50_000


def test_a_price_by_size_holds_for_those_sizes_and_the_list_for_the_others(load_manifest: Load) -> None:
    matrix = load_manifest(f"provider: {{price: {{2K: 0.06}}}}\nmodel: gemini-3-pro-image\nresolution: 4K\n{JOB}")
    assert prices(matrix) == [240_000, 60_000]


def test_flex_halves_the_list_price_and_not_the_providers(load_manifest: Load) -> None:
    flex = f"extra: {{serviceTier: flex}}\nmodel: gemini-3-pro-image\nresolution: [1K, 2K]\n{JOB}"
    assert prices(load_manifest(flex)) == [67_000, 67_000]
    assert prices(load_manifest(f"provider: {{price: {{2K: 0.05}}}}\n{flex}")) == [67_000, 50_000]


@pytest.mark.parametrize("price", ["$1", "[1]", "{4k: 1}", "{1K: x}", "-1", ""])
def test_a_providers_price_that_is_none_is_a_fault(price: str, faults_of: FaultsOf) -> None:
    (found,) = faults_of(f"provider:\n  price: {price}\n{JOB}")
    assert found.startswith("2: `")


def test_a_cap_without_a_price_is_refused_and_says_where_to_put_one(load_manifest: Load) -> None:
    text = f"model: somebody-elses\nlimits: {{max_cost: 5}}\n{JOB}"
    matrix = load_manifest(text)
    assert unpriced(matrix) == ["somebody-elses at 1K"]
    with pytest.raises(UsageError, match=r"`provider\.price`.*`models:`.*leave out max_cost"):
        check_prices(matrix, matrix.manifest.limits)
    for remedy in ("provider: {price: 0.05}\n", "models: [{id: somebody-elses, price: 0.05}]\n"):
        priced = load_manifest(remedy + text)
        check_prices(priced, priced.manifest.limits)


class Walked(list[Job]):
    """Jobs that count how often they are walked."""

    walks = 0

    def __iter__(self) -> Iterator[Job]:
        self.walks += 1
        return super().__iter__()


def test_an_estimate_does_not_walk_the_jobs_once_for_each_of_them(load_manifest: Load) -> None:
    rows = "".join(f"r{number},a mug,{'1K' if number % 2 else '4K'}\n" for number in range(50))
    manifest = load_manifest(f"id,prompt,resolution\n{rows}", "m.csv").manifest
    jobs = Walked(manifest.jobs)
    assert estimate(Matrix(replace(manifest, jobs=jobs), 50, ())) == 25 * (33_600 + 75_600)
    assert jobs.walks <= 2


@pytest.mark.parametrize("provider", ["provider: {format: openai}\n", OPENAI % "none"])
@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("ratio: 16:9", "16:9"),
        ("ratio: [1:1, 4:3]", "4:3"),
        ("resolution: 4K", "4K"),
        ("resolution: [1K, 2K]", "2K"),
        ("include: [{ratio: 3:2}]", "3:2"),
    ],
)
def test_what_a_mute_dialect_cannot_ask_for_is_refused_with_the_dialects_that_can(
    provider: str, line: str, shown: str, faults_of: FaultsOf
) -> None:
    (found,) = faults_of(f"{provider}{JOB}    {line}\n")
    assert f"cannot ask for {shown}: keep to 1:1 and 1K, or set `provider.dialect` to one of" in found
    assert all(word in found for word in WORDS)
    assert ("without a `dialect`" in found) == ("dialect" not in provider)


@pytest.mark.parametrize("provider", ["provider: {format: openai}\n", OPENAI % "none"])
@pytest.mark.parametrize("ratio", ["auto", "1:1", "[auto, 1:1]"])
def test_a_mute_dialect_can_ask_for_a_square_of_1k_and_for_nothing(
    provider: str, ratio: str, load_manifest: Load
) -> None:
    matrix = load_manifest(f"{provider}fallback: {{4K: 2K}}\n{JOB}    ratio: {ratio}\n")
    assert {len(task.rungs) for task in matrix} == {1}


@pytest.mark.parametrize("dialect", WORDS)
def test_a_dialect_with_words_can_ask_for_everything(dialect: str, load_manifest: Load) -> None:
    assert load_manifest(f"{OPENAI % dialect}ratio: [1:1, 16:9]\nresolution: [1K, 4K]\n{JOB}").cells == 4


@pytest.mark.parametrize(
    ("extra", "name"),
    [
        ("{messages: []}", "messages"),
        ("{stream: true}", "stream"),
        ("{n: 4}", "n"),
        ("{model: b}", "model"),
        ("{image_config: {image_size: 4K}}", "image_config"),
        ("{extra_body: {google: {image_config: {image_size: 4K}}}}", "image_config"),
        ("{google: {imageConfig: {}}}", "imageConfig"),
        ("{generationConfig: {candidateCount: 2}}", "candidateCount"),
    ],
)
@pytest.mark.parametrize("format_", ["gemini", "openai"])
def test_extra_may_not_set_what_the_task_makes_in_either_format(
    format_: str, extra: str, name: str, faults_of: FaultsOf
) -> None:
    found = faults_of(f"provider: {{format: {format_}}}\nextra: {extra}\n{JOB}")
    assert found == [f"2: `extra` sets `{name}`, which is made from the task: take it out"]


def test_extra_may_set_anything_else_wherever_it_stands(load_manifest: Load) -> None:
    extra = {"seed": 7, "extra_body": {"google": {"thinking": 1}}, "tools": {"model": "x", "n": 2}}
    (task,) = load_manifest(f"extra: {extra}\n{JOB}".replace("'", '"'))
    assert task.extra == extra


def test_on_mismatch_is_the_jobs_word_before_the_manifests_and_no_part_of_the_key(load_manifest: Load) -> None:
    top, own = load_manifest("on_mismatch: retry\njobs:\n  - prompt: a\n  - {prompt: b, on_mismatch: fail}\n")
    assert (top.on_mismatch, own.on_mismatch) == (OnMismatch.RETRY, OnMismatch.FAIL)
    plain, _ = load_manifest("jobs:\n  - prompt: a\n  - prompt: b\n")
    assert (plain.on_mismatch, plain.key) == (OnMismatch.KEEP, top.key)


def test_an_on_mismatch_of_another_word_is_a_fault(faults_of: FaultsOf) -> None:
    assert faults_of(f"on_mismatch: again\n{JOB}") == ["1: `on_mismatch` must be one of keep, retry, fail, not `again`"]


RELAY = "https://api.example.com"
GOOGLE = "https://generativelanguage.googleapis.com"


@pytest.mark.parametrize(
    ("written", "given", "warned"),
    [
        (None, None, True),
        (RELAY, None, False),
        (None, RELAY, False),
        (RELAY, GOOGLE, True),
        (GOOGLE, "http://127.0.0.1:9", False),
        (None, "https://googleapis.com.example.com", False),
        (None, "http://[", False),
    ],
)
def test_who_is_dying_depends_on_the_address_that_is_really_asked(
    written: str | None, given: str | None, warned: bool, load_manifest: Load
) -> None:
    provider = f"provider: {{base_url: '{written}'}}\n" if written else ""
    matrix = load_manifest(f"{provider}model: gemini-3-pro-image-preview\n{JOB}")
    said = matrix.warnings_at(given)
    assert [("use `gemini-3-pro-image` instead" in sentence) for sentence in said] == [True] * warned


def test_every_model_that_may_be_asked_is_warned_of_once_wherever_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(
        "model: [x-one, gemini-3-pro-image]\njobs:\n  - prompt: a\n  - prompt: b\n    include: [{model: x-two}]\n"
    )
    (tmp_path / "m.csv").write_text("prompt,model\na,x-one|x-two\nb,x-one\n")
    for name in ("m.yaml", "m.csv"):
        said = load(tmp_path / name).warnings
        assert [sentence.split("`")[1] for sentence in said] == ["x-one", "x-two"]
        assert all("taken on trust" in sentence for sentence in said)


def test_a_model_that_the_user_has_described_is_not_warned_of(load_manifest: Load) -> None:
    matrix = load_manifest(f"models: [{{id: x-one}}]\nmodel: x-one\n{JOB}")
    assert matrix.warnings == ()
    dying = load_manifest(f"models: [{{id: x-one, state: dead}}]\nmodel: x-one\n{JOB}")
    assert dying.warnings == ("model `x-one`: it is dead",)
