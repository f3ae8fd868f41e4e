"""A manifest's data as a tree that remembers lines, whichever syntax it came from."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

SECRET = re.compile(r"AIza|sk-")  # how the keys of Google and of relays begin
Plain = str | int | float | bool | None


class Scalar(NamedTuple):
    """A single value: as resolved, and as it stands in the source."""

    value: Plain
    text: str
    line: int

    @property
    def is_text(self) -> bool:
        """Whether the value is text, not a number, a boolean or nothing."""
        return isinstance(self.value, str)


@dataclass(frozen=True, slots=True)
class List:
    """A sequence; `line` is where it begins."""

    items: tuple["Node", ...]
    line: int


@dataclass(frozen=True, slots=True)
class Map:
    """A mapping with the line of each key, in the order of the keys."""

    items: dict[str, "Node"]
    lines: tuple[int, ...]
    line: int

    def without(self, keys: Collection[str]) -> "Map":
        """Give the mapping without some keys."""
        left = [(key, line) for key, line in zip(self.items, self.lines, strict=True) if key not in keys]
        return Map({key: self.items[key] for key, _ in left}, tuple(line for _, line in left), self.line)

    def line_of(self, key: str) -> int:
        """Tell where a key stands; the mapping's own line when it is not there."""
        for known, line in zip(self.items, self.lines, strict=True):
            if known == key:
                return line
        return self.line


Node = Scalar | List | Map


def plain(node: Node) -> object:
    """Give the data alone: dicts, lists and scalars."""
    if isinstance(node, Map):
        return {key: plain(value) for key, value in node.items.items()}
    if isinstance(node, List):
        return [plain(item) for item in node.items]
    return node.value


def kind(node: Node) -> str:
    """Name what a node is, for sentences; what looks like an API key is not quoted."""
    if isinstance(node, Map):
        return "a mapping"
    if isinstance(node, List):
        return "a list"
    if node.value is None:
        return "nothing"
    return "an API key" if SECRET.match(node.text) else f"`{shorten(node.text)}`"


def shorten(text: str, most: int = 60) -> str:
    """Cut a value for a sentence, which is one line whatever the value is."""
    text = " ".join(text[: most + 1].splitlines())
    return text if len(text) <= most else text[: most - 1] + "…"
