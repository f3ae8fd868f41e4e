"""The registry of models: ratios, sizes, prices, life cycle. Its data is `models.yaml`; a user may bring their own."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fractions import Fraction
from functools import cache
from importlib import resources
from typing import Any, Self, TypeVar

import yaml

from batchbanana.errors import UsageError

DEFAULT = "gemini-nano-banana-2.1"
MOST_REFERENCES = 14  # what every current model takes; an unknown one is believed to take as many
T = TypeVar("T")
_KEYS = frozenset(
    ("id", "name", "aliases", "pixels", "sizes", "omit_size", "references", "prices", "state", "note", "successor")
)
_PREFIXES = ("google/", "models/")  # how relays and Google's own listings dress the same ids


class State(StrEnum):
    """Where a model stands in its life."""

    GA = "ga"
    DEPRECATED = "deprecated"
    SHUT = "shut"  # on Google; relays may still take it
    DEAD = "dead"


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What is known of one model.

    Attributes:
        id: as asked for, and as the wire gets it.
        name: for people.
        known: False for a permissive entry made up for an id that nobody has heard of.
        pixels: width and height at 1K, by ratio; vendors' nominal numbers, off by up to 32.
        sizes: resolutions it makes; empty = any.
        omit_size: the request must not name a size.
        references: how many images may go with a request.
        prices: list price in micro-dollars an image, by size; empty when unknown.
        flex_factor: what part of the price flex and batch cost.
        state, note, successor: its life cycle, in a few words; the id to use instead.
    """

    id: str
    name: str
    known: bool = True
    pixels: Mapping[str, tuple[int, int]] = field(default_factory=dict, hash=False)
    sizes: tuple[str, ...] = ()
    omit_size: bool = False
    references: int = MOST_REFERENCES
    prices: Mapping[str, int] = field(default_factory=dict, hash=False)
    flex_factor: Fraction = Fraction(1, 2)
    state: State = State.GA
    note: str = ""
    successor: str | None = None

    @property
    def ratios(self) -> tuple[str, ...]:
        """The ratios it makes; empty = any."""
        return tuple(self.pixels)

    def price(self, size: str, *, flex: bool = False) -> int | None:
        """Tell the expected micro-dollars for an image of a size, rounded up; None when unknown."""
        price = self.prices.get(size)
        if price is None or not flex:
            return price
        return -int(-price * self.flex_factor // 1)

    def nominal(self, ratio: str, size: str) -> tuple[int, int] | None:
        """Tell the width and height that an image should about have; None when unknown."""
        if ratio not in self.pixels:
            return None
        factor = Fraction(edge(size), 1024)
        width, height = self.pixels[ratio]
        return int(width * factor), int(height * factor)


def edge(size: str) -> int:
    """Tell the nominal edge of a square of a size, in pixels: "512" is 512, "2K" is 2048."""
    return int(size[:-1]) * 1024 if size.endswith("K") else int(size)


def warning(model: Model, host_is_google: bool) -> str | None:
    """Say what a user should know of a model before money is spent; None when all is well."""
    if not model.known:
        return f"model `{model.id}` is not in the registry: its ratios, sizes and price are taken on trust"
    if model.state is State.GA or (model.state is State.SHUT and not host_is_google):
        return None
    if model.state is State.DEPRECATED and not host_is_google:
        return None
    note = f"model `{model.id}`: {model.note}"
    return f"{note}; use `{model.successor}` instead" if model.successor else note


class Registry:
    """Models by id and alias."""

    def __init__(self, models: Iterable[Model], aliases: Mapping[str, str]) -> None:
        self.models: tuple[Model, ...] = tuple(models)
        self._known = {model.id: model for model in self.models}
        self._aliases = dict(aliases)

    @classmethod
    def builtin(cls) -> "Registry":
        """Give the registry that is shipped."""
        return _builtin()

    @classmethod
    def parse(cls, text: str, file: str) -> Self:
        """Read a registry from YAML text in the form of `models.yaml`; ratios need quotes there.

        Raises:
            UsageError: naming `file`, the model and the key that is wrong.
        """
        try:
            data = yaml.safe_load(text)
            factor = Fraction(str(data["flex_factor"]))
            entries = data["models"]
            aliases = {alias: entry["id"] for entry in entries for alias in entry.get("aliases", ())}
        except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise UsageError(f"{file} is no registry of models: it needs `flex_factor` and a list `models`") from error
        models = [_model(entry, factor, file) for entry in entries]
        if len({model.id for model in models}) < len(models):
            raise UsageError(f"{file}: two models have one id: take one out")
        return cls(models, aliases)

    def find(self, id: str) -> Model:  # noqa: A002 - the glossary's word
        """Give the model of an id or alias, under the name it was asked by, since that is what a relay expects.

        Never fails: an unknown id gives a permissive entry with `known=False`.
        """
        if id in self._known:
            return self._known[id]
        bare = id
        for prefix in _PREFIXES:
            bare = bare.removeprefix(prefix)
        known = self._known.get(self._aliases.get(bare, bare))
        return replace(known, id=id) if known else Model(id=id, name=id, known=False)


@cache
def _builtin() -> Registry:
    text = resources.files("batchbanana").joinpath("models.yaml").read_text(encoding="utf-8")
    return Registry.parse(text, "models.yaml")


def _model(entry: Mapping[str, Any], factor: Fraction, file: str) -> Model:
    """Check one entry strictly: a wrong price is worse than a refusal to start."""
    if unknown := set(entry) - _KEYS:
        raise UsageError(f"{file}: model {entry['id']}: unknown key {min(map(str, unknown))}: take it out")
    try:
        return Model(
            id=_is(entry["id"], str),
            name=_is(entry["name"], str),
            pixels={_is(ratio, str): (_is(w, int), _is(h, int)) for ratio, (w, h) in entry["pixels"].items()},
            sizes=tuple(_is(size, str) for size in entry["sizes"]),
            omit_size=_is(entry.get("omit_size", False), bool),
            references=_is(entry["references"], int),
            prices={_is(size, str): _is(price, int) for size, price in entry.get("prices", {}).items()},
            flex_factor=factor,
            state=State(entry["state"]),
            note=_is(entry.get("note", ""), str),
            successor=entry.get("successor"),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{file}: model {entry['id']}: {error}: see the shipped models.yaml for the form") from error


def _is(value: object, kind: type[T]) -> T:
    if type(value) is not kind:
        raise TypeError(f"{value!r} should be {kind.__name__}")
    return value
