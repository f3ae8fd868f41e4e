"""The models: ratios, sizes, prices, life cycle. Their data is `models.yaml`, and what a user brings besides."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fractions import Fraction

DEFAULT = "gemini-nano-banana-2.1"
MOST_REFERENCES = 14  # what every current model takes; an unknown one is believed to take as many
_PREFIX = re.compile(r"^(?:(?:publishers|google|models)/)+")  # how relays and Google's own listings dress the same ids
# What follows a name without naming another model: a version, a preview with or without its date, a ratio, a size.
_SUFFIX = re.compile(r"(?:-0\d\d|-latest|-preview(?:-\d\d-\d\d(?:\d\d)?)?|-\d{1,2}x\d{1,2}|-512|-\dk)+$")


class State(StrEnum):
    """Where a model stands in its life."""

    GA = "ga"
    DEPRECATED = "deprecated"
    SHUT = "shut"  # on Google; relays may still take it
    DEAD = "dead"


class Tier(StrEnum):
    """The ways to ask that have prices of their own."""

    STANDARD = "standard"
    FLEX = "flex"  # synchronous, best effort
    BATCH = "batch"  # within a day


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Micro-dollars an image.

    Attributes:
        by_size: for a resolution.
        flat: for any resolution that is not named; None when unknown.
    """

    by_size: Mapping[str, int] = field(default_factory=dict, hash=False)
    flat: int | None = None

    def at(self, size: str) -> int | None:
        """Tell the price of a resolution; None when unknown."""
        return self.by_size.get(size, self.flat)


UNPRICED = Prices()


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What is known of one model.

    Attributes:
        id: as asked for, and as the wire gets it.
        name: for people.
        aliases: other names of the very same model.
        known: False for a permissive entry made up for an id that nobody has heard of.
        ratios: those it makes; empty = any.
        pixels: width and height at 1K, by ratio; vendors' nominal numbers, off by up to 32.
        sizes: resolutions it makes; empty = any.
        omit_size: the request must not name a size.
        references: how many images may go with a request.
        prices: list prices.
        reference_price: micro-dollars that an image sent along costs at most.
        factors: what part of the list price a tier costs; all of it where none is given.
        charged: what the provider charges a call whatever the tier; wins over the list price.
        tokens: output tokens an image is counted as, by size.
        output: MIME type of its images; None when that is not known.
        state, note, successor: its life cycle, in a few words; the id to use instead.
    """

    id: str
    name: str
    aliases: tuple[str, ...] = ()
    known: bool = True
    ratios: tuple[str, ...] = ()
    pixels: Mapping[str, tuple[int, int]] = field(default_factory=dict, hash=False)
    sizes: tuple[str, ...] = ()
    omit_size: bool = False
    references: int = MOST_REFERENCES
    prices: Prices = UNPRICED
    reference_price: int = 0
    factors: Mapping[Tier, Fraction] = field(default_factory=dict, hash=False)
    charged: Prices = UNPRICED
    tokens: Mapping[str, int] = field(default_factory=dict, hash=False)
    output: str | None = None
    state: State = State.GA
    note: str = ""
    successor: str | None = None

    def price(self, size: str, tier: Tier = Tier.STANDARD, references: int = 0) -> int | None:
        """Tell the expected micro-dollars for an image of a size, rounded up; None when unknown.

        Args:
            size: its resolution.
            tier: of the request.
            references: how many images are sent along.
        """
        charged, listed = self.charged.at(size), self.prices.at(size)
        if charged is not None or listed is None:
            return charged
        return -int(-listed * self.factors.get(tier, 1) // 1) + self.sending(size, references)

    def sending(self, size: str, references: int) -> int:
        """Tell what of the price of a size is for images that are sent along; a call with its own price has it all."""
        return 0 if self.charged.at(size) is not None else references * self.reference_price

    def priced_tokens(self, size: str) -> int | None:
        """Tell the output tokens that the price of a size is for; None where a call has a price of its own."""
        return None if self.charged.at(size) is not None else self.tokens.get(size)

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
        return (
            f"model `{model.id}` is not in the registry: its ratios and sizes are taken on trust; "
            "describe it under `models` to have them checked"
        )
    if model.state is State.GA or (model.state is not State.DEAD and not host_is_google):
        return None
    note = f"model `{model.id}`: {model.note or f'it is {model.state}'}"
    return f"{note}; use `{model.successor}` instead" if model.successor else note


class Registry:
    """Models by id and alias.

    Args:
        models: those that are known.
        factors: for models that are described without any.
        charged: the provider's own prices, which hold for every model, unknown ones too.
    """

    def __init__(
        self, models: Iterable[Model], factors: Mapping[Tier, Fraction] | None = None, charged: Prices = UNPRICED
    ) -> None:
        self.factors = factors or {}
        self.charged = charged
        self.models = tuple(replace(model, charged=charged) for model in models)
        named = {alias: model for model in self.models for alias in model.aliases}
        self._named = named | {model.id: model for model in self.models}
        self._families = {_bare(name): _bare(model.id) for name, model in self._named.items()}

    def with_models(self, models: Iterable[Model], factors: Mapping[Tier, Fraction]) -> "Registry":
        """Give a registry with some models put in the place of those with their ids, or at the end."""
        merged = {model.id: model for model in (*self.models, *models)}
        return Registry(merged.values(), factors, self.charged)

    def charging(self, charged: Prices, *, has_tiers: bool = True) -> "Registry":
        """Give a registry in which a provider's prices win; without tiers, all cost the whole price."""
        models = self.models if has_tiers else tuple(replace(model, factors={}) for model in self.models)
        return Registry(models, self.factors if has_tiers else {}, charged)

    def known(self, id: str) -> Model | None:  # noqa: A002 - the glossary's word
        """Give the model of an id or alias, with or without a prefix such as `google/`; None when nobody knows it."""
        return self._named.get(id) or self._named.get(_PREFIX.sub("", id))

    def find(self, id: str) -> Model:  # noqa: A002 - the glossary's word
        """Give the model of an id or alias, under the name it was asked by, since that is what a relay expects.

        Never fails: an unknown id gives a permissive entry with `known=False`.
        """
        known = self.known(id)
        if known is not None:
            return known if known.id == id else replace(known, id=id)
        return Model(id=id, name=id, known=False, charged=self.charged)

    def family(self, id: str) -> str | None:  # noqa: A002 - the glossary's word
        """Give a name that all names of one model share; None for a model nobody knows.

        Prefixes, aliases, and suffixes that tell a version, a preview, a ratio or a size make no difference.
        """
        return self._families.get(_bare(id))

    def are_same(self, one: str, other: str) -> bool:
        """Whether two names are known to be of one model."""
        return one == other or self.family(one) == self.family(other) is not None

    def are_different(self, one: str, other: str) -> bool:
        """Whether two names are known to be of different models; a relay's own name may mean any."""
        return None is not self.family(one) != self.family(other) is not None


def _bare(name: str) -> str:
    """Take a name's prefix and suffixes away."""
    return _SUFFIX.sub("", _PREFIX.sub("", name.lower()))
