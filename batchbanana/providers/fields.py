"""Looks things up in documents where any level may be missing, null, empty or strange, in camelCase or snake_case."""

import re
from collections.abc import Iterable, Mapping
from functools import cache

COUNT = re.compile(r"[0-9]{1,18}")


def mappings(value: object) -> list[Mapping[str, object]]:
    """Give the objects of a list, or the one object that stands where a list should."""
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, dict)]


def get(value: object, name: str) -> object:
    """Look a camelCase name up, in either spelling; None when there is nothing to look in."""
    if not isinstance(value, dict):  # as all objects of JSON are; to ask for a Mapping takes five times as long
        return None
    found = value.get(name)
    return value.get(snake(name)) if found is None else found


def last_text(values: Iterable[object]) -> str:
    """Give the last that is a text or a number, as text; empty when none is."""
    texts = [str(value) for value in values if isinstance(value, (str, int)) and value]
    return texts[-1] if texts else ""


def count(value: object) -> int:
    """Read a count, which may come as a string; what is none is 0."""
    return int(value) if isinstance(value, (str, int)) and COUNT.fullmatch(str(value)) else 0


@cache
def snake(name: str) -> str:
    """Spell a camelCase name in snake_case."""
    return re.sub(r"[A-Z]", lambda letter: "_" + letter[0].lower(), name)
