"""The harness is tested: without a bug it finds nothing, and each bug that is seeded is found."""

import random
from pathlib import Path

import pytest

from tests.crash import bugs, judge
from tests.crash.test_power_loss import judge as judge_power
from tests.crash.test_power_loss import lives


def power_loss(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    chance = random.Random(1)  # noqa: S311 -- for a simulation
    for seed in (1, 2):
        (folder / str(seed)).mkdir()
        for found in lives(folder / str(seed), seed):
            judge_power(found, folder / "found", chance)


HARNESSES = [
    (judge.after_kills, bugs.KILLS),
    (judge.with_a_rate, bugs.RATES),
    (judge.with_a_tight_cap, bugs.CAPS),
    (judge.with_silence, bugs.SILENCE),
    (power_loss, bugs.POWER),
]


@pytest.mark.parametrize("harness", [harness for harness, _ in HARNESSES], ids=lambda harness: str(harness.__name__))
def test_the_program_as_it_is_passes(tmp_path: Path, harness: object) -> None:
    assert callable(harness)
    harness(tmp_path / "job")


@pytest.mark.parametrize(
    ("harness", "seed"),
    [(harness, seed) for harness, seeds in HARNESSES for seed in seeds],
    ids=lambda one: str(one.__name__),
)
def test_a_seeded_bug_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harness: object, seed: object) -> None:
    assert callable(harness)
    assert callable(seed)
    seed(monkeypatch)
    with pytest.raises(Exception) as found:  # noqa: PT011 -- by an assertion, or by a ledger that no longer adds up
        harness(tmp_path / "job")
    assert not isinstance(found.value, TypeError | AttributeError | NameError), "the bug itself is broken"
