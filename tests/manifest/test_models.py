"""The registry: what is known, what is taken on trust, and who has died."""

import pytest

from batchbanana.manifest import builtin
from batchbanana.models import Tier, warning

REGISTRY = builtin()


@pytest.mark.parametrize(
    ("id_", "size", "price"),
    [
        ("gemini-2.5-flash-image", "1K", 39_000),
        ("gemini-3-pro-image", "2K", 134_000),
        ("gemini-3.1-flash-image", "512", 45_000),
        ("gemini-3.1-flash-lite-image", "1K", 33_600),
        ("gemini-nano-banana-2.1", "4K", 75_600),
        ("gemini-nano-banana-2.1", "512", None),
        ("somebody-elses", "1K", None),
    ],
)
def test_prices_are_the_vendors_list(id_: str, size: str, price: int | None) -> None:
    assert REGISTRY.find(id_).price(size) == price


@pytest.mark.parametrize("tier", [Tier.FLEX, Tier.BATCH])
def test_flex_and_batch_cost_half(tier: Tier) -> None:
    assert REGISTRY.find("gemini-2.5-flash-image").price("1K", tier) == 19_500


def test_an_alias_keeps_the_name_it_was_asked_by() -> None:
    model = REGISTRY.find("google/nano-banana-pro")
    assert (model.id, model.name, model.known) == ("google/nano-banana-pro", "Nano Banana Pro", True)


def test_an_unknown_model_is_permissive_and_warned_of() -> None:
    model = REGISTRY.find("nano-banana-pro-4k")
    assert (model.known, model.ratios, model.sizes) == (False, (), ())
    assert "taken on trust" in (warning(model, host_is_google=False) or "")


@pytest.mark.parametrize(
    ("id_", "on_google", "on_a_relay"),
    [
        ("gemini-3-pro-image", False, False),
        ("gemini-3-pro-image-preview", True, False),
        ("gemini-3.1-flash-image", True, False),
        ("gemini-2.5-flash-image-preview", True, True),
    ],
)
def test_a_dying_model_is_warned_of_where_it_dies_with_its_successor(
    id_: str, on_google: bool, on_a_relay: bool
) -> None:
    model = REGISTRY.find(id_)
    said = [warning(model, host_is_google=google) for google in (True, False)]
    assert [sentence is not None for sentence in said] == [on_google, on_a_relay]
    assert all(f"use `{model.successor}` instead" in sentence for sentence in said if sentence)


def test_every_successor_is_known_and_every_size_has_its_price_and_tokens() -> None:
    for model in REGISTRY.models:
        assert model.successor is None or REGISTRY.known(model.successor)
        assert set(model.prices.by_size) == set(model.tokens) == set(model.sizes)
        assert len(model.ratios) in {10, 14}


def test_nominal_pixels_grow_with_the_size() -> None:
    model = REGISTRY.find("gemini-3.1-flash-image")
    assert model.nominal("16:9", "2K") == (2752, 1536)
    assert model.nominal("1:1", "512") == (512, 512)
    assert model.nominal("7:5", "1K") is None


PRO = [
    "gemini-3-pro-image",
    "gemini-3-pro-image-preview",
    "gemini-3-pro-image-preview-09-2026",
    "gemini-3-pro-image-001",
    "models/gemini-3-pro-image",
    "publishers/google/models/gemini-3-pro-image-002",
    "nano-banana-pro",
    "google/nano-banana-pro",
    "nano-banana-pro-16x9-4k",
    "Nano-Banana-Pro-512",
    "gemini-3-pro-image-latest",
]


@pytest.mark.parametrize("name", PRO)
def test_all_names_of_one_model_are_a_family(name: str) -> None:
    assert REGISTRY.family(name) == "gemini-3-pro-image"


def test_different_models_are_different_families() -> None:
    families = {REGISTRY.family(model.id) for model in REGISTRY.models}
    assert families == {
        "gemini-nano-banana-2.1",
        "gemini-3-pro-image",
        "gemini-3.1-flash-image",
        "gemini-3.1-flash-lite-image",
        "gemini-2.5-flash-image",
    }


@pytest.mark.parametrize("name", ["somebody-elses", "gemini-3-pro", "", "-preview", "google/", "image-001"])
def test_a_model_that_nobody_knows_has_no_family(name: str) -> None:
    assert REGISTRY.family(name) is None
