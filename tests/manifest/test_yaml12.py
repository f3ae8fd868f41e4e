"""Scalars are YAML 1.2's: a ratio is text, `no` is a word, 010 is ten."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchbanana.manifest import Faults, yaml12
from batchbanana.manifest.nodes import Plain, plain


def read(text: str) -> object:
    faults = Faults("m.yaml")
    node = yaml12.parse(text, faults)
    faults.raise_any()
    assert node is not None
    return plain(node)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("16:9", "16:9"),
        ("1:1", "1:1"),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("False", False),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("-7", -7),
        ("1_000", "1_000"),
        ("2026-11-01", "2026-11-01"),
        ("12:30:45", "12:30:45"),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("1.2.3", "1.2.3"),
        ("4K", "4K"),
        ("~", None),
        ("null", None),
        ("nUll", "nUll"),
        ("'512'", "512"),
        ("!!str 512", "512"),
        ("! 512", "512"),
        ("+", "+"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_a_scalar_is_what_the_core_schema_says(text: str, value: Plain) -> None:
    assert read(f"a: {text}") == {"a": value}


@given(st.integers())
def test_whole_numbers_come_back(number: int) -> None:
    assert read(f"a: {number}") == {"a": number}


@given(st.integers(1, 99), st.integers(1, 99))
def test_no_ratio_ever_becomes_a_number(width: int, height: int) -> None:
    assert read(f"[{width}:{height}]") == [f"{width}:{height}"]


def test_merge_keys_give_way_to_a_mappings_own() -> None:
    text = "base: &b {x: 1, y: 2}\nother: &o {y: 3, z: 4}\nsum: {<<: [*b, *o], x: 0}\n"
    assert read(text) == {"base": {"x": 1, "y": 2}, "other": {"y": 3, "z": 4}, "sum": {"x": 0, "y": 2, "z": 4}}


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text_gives_data_or_a_fault_and_never_anything_else(text: str) -> None:
    faults = Faults("m.yaml")
    node = yaml12.parse(text, faults)
    assert node is not None or len(faults)
