"""The registry: what is known, what is taken on trust, and who has died."""

import pytest

from batchbanana.errors import UsageError
from batchbanana.models import Registry, warning

REGISTRY = Registry.builtin()


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


def test_flex_costs_half_rounded_up() -> None:
    assert REGISTRY.find("gemini-2.5-flash-image").price("1K", flex=True) == 19_500


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


def test_every_successor_is_known_and_every_price_has_its_size() -> None:
    for model in REGISTRY.models:
        assert model.successor is None or REGISTRY.find(model.successor).known
        assert set(model.prices) == set(model.sizes)
        assert len(model.ratios) in {10, 14}


def test_nominal_pixels_grow_with_the_size() -> None:
    model = REGISTRY.find("gemini-3.1-flash-image")
    assert model.nominal("16:9", "2K") == (2752, 1536)
    assert model.nominal("1:1", "512") == (512, 512)
    assert model.nominal("7:5", "1K") is None


@pytest.mark.parametrize(
    "entry", ["{id: a}", "{id: a, name: a, pixels: {}, sizes: [1], references: 1, state: ga}", "{id: a, prize: 1}"]
)
def test_a_registry_with_a_wrong_entry_is_refused_by_name(entry: str) -> None:
    with pytest.raises(UsageError, match=r"own\.yaml: model a"):
        Registry.parse(f"flex_factor: 0.5\nmodels: [{entry}]", "own.yaml")
