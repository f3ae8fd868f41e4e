"""What an attempt has cost, from what was expected and what the answer tells."""

import pytest

from batchbanana.task import Charge, Rung


def rung(**more: int | None) -> Rung:
    return Rung(**{"resolution": "4K", "timeout": 1.0, "stall": 1.0, "price": 240_000, "tokens": 2000, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("told", "cost"),
    [
        (Charge(), 240_000),
        (Charge(image_tokens=1120), 134_400),
        (Charge(image_tokens=1), 240_000),
        (Charge(image_tokens=10**9), 240_000),
        (Charge(micro_usd=300_000), 300_000),
        (Charge(micro_usd=60_000), 60_000),
        (Charge(micro_usd=59_999), 240_000),
        (Charge(micro_usd=1, image_tokens=1120), 134_400),
    ],
)
def test_what_is_told_counts_unless_it_is_far_below_the_price(told: Charge, cost: int) -> None:
    assert rung().cost(told) == cost


def test_images_sent_along_cost_the_same_whatever_comes_of_them() -> None:
    assert rung(price=255_400, sending=15_400).cost(Charge(image_tokens=1000)) == 15_400 + 120_000


def test_an_unknown_price_is_known_once_an_answer_tells_it() -> None:
    assert rung(price=None, tokens=None).cost(Charge(micro_usd=1)) == 1
    assert rung(price=None, tokens=None).cost(Charge()) is None
