"""A script says who is hit; what it gets wrong is told in one sentence a fault."""

import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import get_args

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from batchbanana.errors import UsageError
from batchbanana.sandbox.effects import Effects, Shape
from batchbanana.sandbox.rules import Rulebook, parse_script

_DOCUMENT = Path(__file__).parents[2] / "docs/sandbox.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    model_id: str = "m"
    prompt: str = "a mug"
    ratio: str | None = "1:1"
    resolution: str | None = "2K"


def _hit(when: dict[str, object], asked: list[_Asked], seed: int = 0) -> list[int]:
    """The numbers of the requests that a rule hits."""
    script = parse_script({"seed": seed, "faults": [{"when": when, "then": {"error": "internal"}}]})
    book = Rulebook(script)
    return [n for n, one in enumerate(asked, 1) if book.effects(one, n).error]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ({"latncy": 1}, ["latncy", "not known"]),
        ({"faults": [{"then": {}}, {"then": {"hnag": "before"}}]}, ["rule 2 > then > hnag", "not known"]),
        ({"faults": [{"then": {"hang": "always"}}]}, ["rule 1 > then > hang", "'before', 'headers' or 'body'"]),
        ({"faults": [{"then": {"error": "tired"}}]}, ["rule 1 > then > error", "overloaded"]),
        ({"faults": [{"then": {"error": "internal", "html": True}}]}, ["rule 1 > then", "error and html", "keep one"]),
        ({"faults": [{"then": {"cut": 1.5}}]}, ["rule 1 > then > cut:"]),
        ({"faults": [{"then": {"no_end": "yes"}}]}, ["rule 1 > then > no_end"]),
        ({"faults": [{"then": {"headers": {"Content-Length": "1"}}}]}, ["headers", "Content-Length"]),
        ({"faults": [{"then": {"headers": {"a": "b\r\nc: d"}}}]}, ["headers"]),
        ({"faults": [{"then": {"retry_after": "soon"}}]}, ["retry_after"]),
        ({"faults": [{"then": {"shape": "round"}}]}, ["rule 1 > then > shape", "data_uri"]),
        ({"faults": [{"then": {"download": {"first": 2}}}]}, ["rule 1 > then > download: name exactly one of status"]),
        ({"format_quirks": {"download": {"status": 503, "hang": True}}}, ["format_quirks > download", "exactly one"]),
        ({"faults": [{"then": {"download": {"status": 200}}}]}, ["rule 1 > then > download > status"]),
        ({"faults": [{"when": {"ratio": 969}, "then": {}}]}, ["rule 1 > when > ratio", "quotes"]),
        ({"faults": [{"when": {"ratio": "16x9"}, "then": {}}]}, ["rule 1 > when > ratio", "16x9"]),
        ({"faults": [{"when": {"nth": []}, "then": {}}]}, ["rule 1 > when > nth"]),
        ({"faults": [{"when": {"first": 0}}]}, ["rule 1 > when > first", "rule 1 > then: field required"]),
        ({"latency_by_size": {"4k": 1}}, ["latency_by_size > 4k", "4K"]),
        ({"latency": float("inf")}, ["latency"]),
        ({"keys": "secret"}, ["keys"]),
        ({"quota": {"requests_per_minute": 0}}, ["quota > requests_per_minute"]),
        ({"keys": {1, 2}}, ["JSON"]),
    ],
)
def test_a_fault_in_the_script_is_named_with_rule_and_key(script: dict[str, object], words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        parse_script(script)
    for word in words:
        assert word in str(caught.value)


@given(
    first=st.integers(1, 9) | st.none(),
    every=st.integers(1, 4) | st.none(),
    nth=st.lists(st.integers(1, 9), min_size=1, max_size=4) | st.none(),
)
def test_all_counts_named_must_agree(first: int | None, every: int | None, nth: list[int] | None) -> None:
    when = {"first": first, "every": every, "nth": nth}
    expected = set(range(1, 10))
    expected &= set(range(1, first + 1)) if first else expected
    expected &= set(range(every, 10, every)) if every else expected
    expected &= set(nth) if nth else expected
    assert _hit({k: v for k, v in when.items() if v}, [_Asked()] * 9) == sorted(expected)


def test_only_matching_requests_are_counted() -> None:
    asked = [_Asked(), _Asked(ratio="16:9"), _Asked(prompt="a kettle"), _Asked(resolution="512"), _Asked(model_id="n")]
    assert _hit({"nth": 1, "prompt": "kettle"}, asked) == [3]
    assert _hit({"nth": 1, "ratio": "16:9"}, asked) == [2]
    assert _hit({"nth": 1, "resolution": 512}, asked) == [4]
    assert _hit({"nth": 1, "model": "n"}, asked) == [5]


def test_alike_counts_each_kind_of_request_for_itself() -> None:
    asked = [_Asked(), _Asked(prompt="b"), _Asked(), _Asked(prompt="b")]
    assert _hit({"first": 1, "alike": True}, asked) == [1, 2]


@given(seed=st.integers(0, 99), share=st.sampled_from([0.0, 0.25, 0.5, 1.0]))
def test_a_share_is_hit_the_same_ones_every_time(seed: int, share: float) -> None:
    hit = _hit({"share": share}, [_Asked()] * 400, seed)
    assert hit == _hit({"share": share}, [_Asked()] * 400, seed)
    assert abs(len(hit) - 400 * share) <= (0 if share in (0, 1) else 60)


def test_the_first_rule_that_hits_decides_and_all_that_match_count() -> None:
    rules = [{"when": {"first": 2}, "then": {"error": "internal"}}, {"when": {"nth": [2, 3]}, "then": {"html": True}}]
    book = Rulebook(parse_script({"faults": rules}))
    effects = [book.effects(_Asked(), n) for n in range(1, 5)]
    assert [(bool(e.error), bool(e.html)) for e in effects] == [
        (True, False),
        (True, False),
        (False, True),
        (False, False),
    ]


def test_quirks_hold_for_every_answer_and_a_rule_adds_its_own() -> None:
    script = {"format_quirks": {"snake": True, "base64": "nopad"}, "faults": [{"then": {"base64": "garbage"}}]}
    effects = Rulebook(parse_script(script)).effects(_Asked(), 1)
    assert (effects.snake, effects.base64) == (True, "garbage")
    assert Rulebook(parse_script({"format_quirks": {"snake": True}})).effects(_Asked(), 1).snake


def test_the_documented_script_is_a_script_and_every_effect_is_documented() -> None:
    text = _DOCUMENT.read_text(encoding="utf-8")
    parse_script(yaml.safe_load(text.split("```yaml")[1].split("```")[0]))
    named = set(re.findall(r"`(\w+)`", text))
    assert {field.name for field in fields(Effects)} <= named
    assert set(get_args(Shape)) <= named


def test_a_rule_may_hit_for_a_while_only_and_one_of_all_times_hits_whoever_came_a_moment_earlier() -> None:
    asked = _Asked()
    for when, expected in (({"after": 10, "before": 70}, [0, 0, 1, 1, 0]), ({}, [1, 1, 1, 1, 1])):
        book = Rulebook(parse_script({"faults": [{"when": when, "then": {"error": "internal"}}]}))
        moments = (100.0, 99.9, 110.0, 169.0, 170.0)
        assert [int(book.effects(asked, 1, at).error is not None) for at in moments] == expected
