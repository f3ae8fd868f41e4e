"""`batchbanana models` and `--models FILE`, as a user meets them."""

import json
from pathlib import Path
from typing import Any

import pytest

from batchbanana.manifest import builtin
from batchbanana.manifest.registry import ENTRY_KEYS
from tests.support.program import command

OWN = "- {id: gemini-3-pro-image, price: 0.05}\n- {id: relay-banana, ratios: [1:1], successor: other, state: dead}\n"
MANIFEST = """\
provider: {price: {1K: 0.01}, base_url: 'https://api.example.com'}
models: [{id: relay-banana, sizes: [1K, 2K], prices: {1K: 0.2, 2K: 0.3}}]
model: [relay-banana, somebody-elses]
jobs: [{prompt: a mug}]
"""


def rows(*arguments: str, cwd: Path | None = None) -> dict[str, dict[str, Any]]:
    ended = command("models", "--json", *arguments, cwd=cwd)
    assert ended.code == 0, ended.err
    return {row["id"]: row for row in json.loads(ended.out)}


def test_the_table_fits_a_terminal_and_tells_of_every_model() -> None:
    text = command("models").out
    assert max(map(len, text.splitlines())) <= 120
    for model in builtin().models:
        assert model.id in text
        assert model.name in text
    line = next(line for line in text.splitlines() if line.startswith("gemini-3-pro-image "))
    assert line.split() == ["gemini-3-pro-image", "1K", "0.1340", "1120", "180", "10", "14", "image/jpeg", "ga"]
    assert "use gemini-nano-banana-2.1" in text


def test_json_has_everything() -> None:
    row = rows()["gemini-3.1-flash-image"]
    assert row["prices_usd"] == {"512": 0.045, "1K": 0.067, "2K": 0.101, "4K": 0.151}
    assert row["flex_prices_usd"]["512"] == row["batch_prices_usd"]["512"] == 0.0225
    assert row["timeouts"] == {"512": 180, "1K": 180, "2K": 300, "4K": 360}
    assert row["pixels_at_1k"]["16:9"] == [1376, 768]
    assert (row["successor"], row["state"]) == ("gemini-nano-banana-2.1", "deprecated")
    told = {key.removeprefix("flex_").removeprefix("batch_").removesuffix("_usd").removesuffix("_at_1k") for key in row}
    assert set(ENTRY_KEYS) - told == {"price", "factors"}, "both are worked into the prices"


def test_a_users_file_is_shown_worked_in(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(OWN)
    found = rows("--models", "own.yaml", cwd=tmp_path)
    assert found["gemini-3-pro-image"]["prices_usd"] == dict.fromkeys(("1K", "2K", "4K"), 0.05)
    assert found["gemini-3-pro-image"]["flex_prices_usd"]["4K"] == 0.025
    text = command("models", "--models", "own.yaml", cwd=tmp_path).out
    (place,) = [number for number, line in enumerate(text.splitlines()) if line.startswith("relay-banana")]
    assert text.splitlines()[place].split() == ["relay-banana", "any", "360", "1", "14", "dead"]
    assert text.splitlines()[place + 1].strip() == "use other"


def test_a_manifest_is_shown_with_its_entries_its_provider_and_what_it_takes_on_trust(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(MANIFEST)
    found = rows("m.yaml", cwd=tmp_path)
    assert found["relay-banana"]["prices_usd"] == {"1K": 0.01, "2K": 0.3}
    assert found["gemini-3-pro-image"]["flex_prices_usd"] == {"1K": 0.01, "2K": 0.067, "4K": 0.12}
    assert (found["somebody-elses"]["known"], found["somebody-elses"]["prices_usd"]) == (False, {"1K": 0.01})
    assert "unknown" in command("models", "m.yaml", cwd=tmp_path).out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["models", "--models", "no.yaml"], "no.yaml: the registry of models does not exist: check the path"),
        (["models", "--models", "bad.yaml"], "bad.yaml:2: a model has no key `prize`: did you mean `price`?"),
        (["models", "no.yaml"], "no.yaml: the manifest does not exist"),
        (["models", "bad.yaml"], "bad.yaml:1: the manifest must be a mapping"),
        (["plan", "m.yaml", "--models", "bad.yaml"], "bad.yaml:2: a model has no key `prize`"),
        (["run", "m.yaml", "--sandbox", "--models", "bad.yaml"], "bad.yaml:2: a model has no key `prize`"),
        (["status", "m.yaml", "--models", "bad.yaml"], "bad.yaml:2: a model has no key `prize`"),
    ],
)
def test_a_registry_that_cannot_be_used_ends_it_with_a_sentence(
    arguments: list[str], says: str, tmp_path: Path
) -> None:
    (tmp_path / "bad.yaml").write_text("- id: a\n  prize: 1\n")
    (tmp_path / "m.yaml").write_text(MANIFEST)
    ended = command(*arguments, cwd=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(says) or f": {says}" in ended.err, ended.err
    assert len([line for line in ended.err.splitlines() if "what is known all the same" not in line]) == 1


def test_a_registry_of_the_command_prices_a_plan_and_lifts_the_cap_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("- {id: gemini-3-pro-image, aliases: [relay-pro], price: 0.05}\n")
    (tmp_path / "m.yaml").write_text(
        "model: relay-pro\nlimits: {max_cost: 1}\nresolution: 2K\nsamples: 3\njobs: [{prompt: a mug}]\n"
    )
    refused = command("run", "m.yaml", "--sandbox", cwd=tmp_path)
    assert refused.code == 2
    assert "`provider.price`" in refused.err
    assert "`models:`" in refused.err
    plan = command("plan", "m.yaml", "--models", "own.yaml", "--json", cwd=tmp_path)
    assert (plan.json["cost_usd_low"], plan.json["unpriced"], plan.err) == (pytest.approx(0.15), 0, "")
    status = command("status", "m.yaml", "--models", "own.yaml", "--json", cwd=tmp_path).json
    assert status["pending"] == 3


def test_a_run_reserves_and_spends_by_the_providers_price(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(
        "provider: {price: 0.4}\nlimits: {max_cost: 1, concurrency: 1}\nsamples: 3\njobs: [{prompt: a mug}]\n"
    )
    ended = command("run", "m.yaml", "--sandbox", "--json", cwd=tmp_path)
    assert (ended.code, ended.json["done"], ended.json["cost_usd"]) == (10, 2, pytest.approx(0.8))


def test_a_dying_model_is_warned_of_by_plan_and_by_run_where_it_dies(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("model: gemini-3-pro-image-preview\njobs: [{prompt: a mug}]\n")
    says = (
        "warning: model `gemini-3-pro-image-preview`: Google shut it on 25 June 2026; use `gemini-3-pro-image` instead"
    )
    assert command("plan", "m.yaml", cwd=tmp_path).err.strip() == says
    assert says in command("run", "m.yaml", "--sandbox", cwd=tmp_path).err
    elsewhere = command(
        "run", "m.yaml", "--base-url", "http://127.0.0.1:9", "--limit", "0", "--output", "o", cwd=tmp_path
    )
    assert "warning" not in elsewhere.err


def test_help_and_version_do_not_read_the_registry() -> None:
    """Nor anything else that is slow: they import no YAML."""
    told = command("--help", PYTHONPROFILEIMPORTTIME="1")
    assert "click" in told.err
    assert "yaml" not in told.err
