"""A registry of models as data: the shipped `models.yaml`, and what a user's file or manifest says on top of it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from functools import cache
from importlib import resources
from pathlib import Path

from batchbanana.manifest import yaml12
from batchbanana.manifest.faults import Faults
from batchbanana.manifest.files import read_text
from batchbanana.manifest.forms import AUTO, by_size, checked, model_problem, ratio_problem, read_prices, size_problem
from batchbanana.manifest.nodes import List, Map, Node, Scalar, kind, shorten
from batchbanana.manifest.section import Section
from batchbanana.models import Model, Prices, Registry, State, Tier

FILE_KEYS = ("models", "factors", "pixels")  # `pixels` only holds tables that entries point to
ENTRY_KEYS = (
    *("id", "name", "aliases", "ratios", "pixels", "sizes", "omit_size", "references", "price", "prices"),
    "reference_price",
    *("factors", "tokens", "output", "state", "note", "successor"),
)
ANY = "any"
MOST_IMAGES = 1000  # references of a request
_ENTRIES = "a list of entries such as {id: my-model, price: 0.05}"
_MIME = re.compile(r"image/[a-z0-9.+-]+")


@cache
def builtin() -> Registry:
    """Give the registry that is shipped."""
    text = resources.files("batchbanana").joinpath("models.yaml").read_text(encoding="utf-8")
    faults = Faults("models.yaml")
    registry = _with_text(text, Registry(()), faults)
    faults.raise_any()
    return registry


def load_registry(path: Path | None) -> Registry:
    """Give the shipped registry with a user's file, if there is one, worked in.

    Raises:
        ManifestError: with every fault of the file.
    """
    faults = Faults(str(path))
    registry = builtin() if path is None else with_file(builtin(), path, faults)
    faults.raise_any()
    return registry


def with_file(registry: Registry, path: Path, faults: Faults) -> Registry:
    """Work a file into a registry; its faults carry its own name."""
    inner = Faults(str(path))
    try:
        text = read_text(path, None, "save it as UTF-8")
    except ValueError as error:
        inner.add(0, f"the registry of models {error}".replace(", which is relative to the manifest", ""))
    else:
        registry = _with_text(text, registry, inner)
    faults.take(inner)
    return registry


def with_section(registry: Registry, manifest: Section, base: Path) -> Registry:
    """Work a manifest's `models` into a registry: entries, or a path relative to `base` of a file that has them."""
    node = manifest.get("models")
    if node is None:
        return registry
    if isinstance(node, Scalar) and node.text.lower().endswith((".yaml", ".yml")):
        if (base / node.text).exists():
            return with_file(registry, base / node.text, manifest.faults)
        shown = shorten(node.text, 120)
        manifest.fault(
            "models", f"the file `{shown}` does not exist: check the path, which is relative to the manifest"
        )
        return registry
    if isinstance(node, Scalar) or (isinstance(node, List) and any(isinstance(item, Scalar) for item in node.items)):
        wanted = f"describes models, by a file that ends in .yaml or by {_ENTRIES}, and"
        manifest.fault("models", f"`models` {wanted} cannot be {_shown(node)}: write `model` for those to ask")
        return registry
    return _overlaid(registry, node, manifest.faults)


def _shown(node: Node) -> str:
    return kind(node) if isinstance(node, Scalar) else "a list of names"


def _with_text(text: str, registry: Registry, faults: Faults) -> Registry:
    node = yaml12.parse(text, faults, empty=f"write `models:` and {_ENTRIES} under it")
    return registry if node is None else _overlaid(registry, node, faults)


def _overlaid(registry: Registry, node: Node, faults: Faults) -> Registry:
    """Work data into a registry: a list of entries, or a mapping with `models` and what they have in common."""
    factors: dict[Tier, Fraction] = {}
    entries: Node | None = node
    if isinstance(node, Map):
        section = Section(node, "a registry", FILE_KEYS, faults)
        factors = _factors(section)
        entries = section.get("models")
        if "models" not in section:
            faults.add(node.line, f"a registry needs `models`: add {_ENTRIES}")
    if not isinstance(entries, List):
        if isinstance(entries, (Map, Scalar)):
            faults.add(entries.line, f"a registry of models is {_ENTRIES}, not {kind(entries)}")
        return registry
    models: dict[str, Model] = {}
    lines: dict[str, int] = {}
    for item in entries.items:
        model = _entry(Section(item, "a model", ENTRY_KEYS, faults), registry, factors)
        if model and model.id in lines:
            faults.add(item.line, f"`{model.id}` is described here and in line {lines[model.id]}: keep one entry")
        elif model:
            models[model.id], lines[model.id] = model, item.line
    merged = registry.with_models(models.values(), factors or registry.factors)
    _refuse_shared_aliases(merged, lines, faults)
    return merged


def _entry(section: Section, registry: Registry, factors: Mapping[Tier, Fraction]) -> Model | None:
    """Read an entry: of a known model it changes what it names, of a new one it leaves the rest permissive."""
    id_ = section.scalar("id")
    if id_ is None or (problem := model_problem(id_.text)):
        if id_ is not None:
            section.fault("id", f"`id` cannot be {kind(id_)}: {problem}")
        elif "id" not in section and section.names:
            section.faults.add(section.base, "a model needs `id`: add the name that requests ask it by")
        return None
    base = registry.known(id_.text) or Model(id=id_.text, name=id_.text, factors=registry.factors)
    pixels = {**base.pixels, **(drawn := _pixels(section))}
    references, omit_size = section.whole("references", MOST_IMAGES, least=0), section.flag("omit_size")
    prices, reference_price = _prices(section, base.prices), section.money("reference_price")
    # A price that is the user's own is for the call, unless they say what it is for.
    counted = {size: count for size, count in base.tokens.items() if prices.at(size) == base.prices.at(size)}
    return replace(
        base,
        name=section.text("name") or base.name,
        aliases=tuple(
            dict.fromkeys((*base.aliases, *(name.text for name in checked(section, "aliases", model_problem))))
        ),
        ratios=_axis(section, "ratios", _ratio, tuple(dict.fromkeys((*base.ratios, *drawn)))),
        pixels=pixels,
        sizes=_axis(section, "sizes", size_problem, base.sizes),
        omit_size=base.omit_size if omit_size is None else omit_size,
        references=base.references if references is None else references,
        prices=prices,
        reference_price=reference_price
        if reference_price is not None
        else base.reference_price * (prices == base.prices),
        factors={**base.factors, **factors, **_factors(section)},
        tokens={**counted, **by_size(section, "tokens", Section.whole)},
        output=_output(section) or base.output,
        state=State(section.choice("state", tuple(State)) or base.state),
        note=section.text("note") or base.note,
        successor=section.text("successor") or base.successor,
    )


def _axis(
    section: Section, key: str, problem: Callable[[str], str | None], otherwise: tuple[str, ...]
) -> tuple[str, ...]:
    """Read ratios or sizes; the word `any` lifts what was known."""
    if key not in section:
        return otherwise
    values = checked(section, key, lambda text: None if text == ANY else problem(text))
    return () if any(value.text == ANY for value in values) else tuple(value.text for value in values)


def _ratio(text: str) -> str | None:
    return "a ratio is written like 16:9, or is the word any" if text == AUTO else ratio_problem(text)


def _pixels(section: Section) -> dict[str, tuple[int, int]]:
    """Read width and height by ratio."""
    node = section.get("pixels")
    if node is None:
        return {}
    if not isinstance(node, Map):
        section.fault("pixels", f"`pixels` must be a mapping such as {{16:9: [1376, 768]}}, not {kind(node)}")
        return {}
    sound = {}
    for ratio, size in node.items.items():
        sides = [side.value for side in size.items if isinstance(side, Scalar)] if isinstance(size, List) else []
        whole = [side for side in sides if type(side) is int and 1 <= side <= 100_000]
        if problem := _ratio(ratio):
            section.faults.add(node.line_of(ratio), f"`pixels` cannot name `{shorten(ratio)}`: {problem}")
        elif len(whole) != 2 or len(sides) != 2:
            section.faults.add(node.line_of(ratio), f"`pixels` of {ratio} must be width and height, as in [1376, 768]")
        else:
            sound[ratio] = (whole[0], whole[1])
    return sound


def _prices(section: Section, base: Prices) -> Prices:
    """Read `price`, which holds for all sizes unless it names them, or `prices`, which adds to what is known."""
    if "price" in section and "prices" in section:
        section.fault("price", "`price` and `prices` say the same thing: keep one")
    if "price" in section:
        given = read_prices(section, "price")
        if given and given.flat is not None:
            return given
    else:
        given = Prices(by_size=by_size(section, "prices", Section.money))
    return Prices(by_size={**base.by_size, **(given.by_size if given else {})}, flat=base.flat)


def _factors(section: Section) -> dict[Tier, Fraction]:
    inner = section.section("factors", (Tier.FLEX, Tier.BATCH))
    factors = {}
    for tier in (Tier.FLEX, Tier.BATCH):
        node = inner.scalar(tier) if inner else None
        if inner and node:
            factor = _part(node.text)
            if factor is None:
                inner.fault(tier, f"`{tier}` is a part of the price from 0 to 1, such as 0.5, not {kind(node)}")
            else:
                factors[tier] = factor
    return factors


def _part(text: str) -> Fraction | None:
    try:
        part = Decimal(text)
    except InvalidOperation:
        return None
    is_short = (
        len(text) < 20 and part.is_finite() and int(part.as_tuple().exponent) > -20
    )  # 1e-99999999 is a large fraction
    return Fraction(part) if is_short and 0 <= part <= 1 else None


def _output(section: Section) -> str | None:
    output = section.text("output")
    if output is None:
        return None
    if output == "image/jpg" or not _MIME.fullmatch(output):
        section.fault("output", f"`output` is a type such as image/jpeg or image/png, not `{shorten(output)}`")
        return None
    return output


def _refuse_shared_aliases(registry: Registry, lines: Mapping[str, int], faults: Faults) -> None:
    """An alias is one model's; whose it is must not depend on the order of entries."""
    taken = {model.id: model.id for model in registry.models}
    for model in registry.models:
        for alias in model.aliases:
            other = taken.setdefault(alias, model.id)
            if other != model.id:
                line = lines.get(model.id) or lines.get(other, 0)
                faults.add(line, f"the alias `{shorten(alias)}` of `{model.id}` is a name of `{other}`: take one out")
