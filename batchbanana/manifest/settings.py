"""The settings that may stand at the top of a manifest or in a job."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import cast

from batchbanana.manifest.forms import AUTO, checked, model_problem, ratio_problem, size_problem
from batchbanana.manifest.nodes import List, Map, Node, Scalar, kind, plain
from batchbanana.manifest.section import Section
from batchbanana.models import DEFAULT, edge
from batchbanana.names import DEFAULT as DEFAULT_NAME
from batchbanana.task import OnMismatch

# Of the request's body in either format, without case and underscores: key, price and check of a task rest on them.
MADE_OF_THE_TASK = {
    *("contents", "model", "imageconfig", "candidatecount", "responsemodalities"),
    *("messages", "stream", "n"),
}
_HOLDERS = {"generationconfig", "extrabody", "google"}  # the body's mappings in which such names can stand too
SHARED_KEYS = (  # what may stand at the top or in a job
    *("model", "ratio", "resolution", "samples", "references", "fallback", "timeouts", "extra", "images"),
    "on_mismatch",
)
TIMEOUT = 360.0  # seconds, for a size that has none of its own
# Seconds by size; tails of 150 to 400 s were seen.
TIMEOUTS: Mapping[str, float] = MappingProxyType({"512": 180.0, "1K": 180.0, "2K": 300.0, "4K": 360.0})
_STALL = 30.0
_FALLBACK = MappingProxyType({"4K": "2K"})
_NAME = Scalar(DEFAULT_NAME, DEFAULT_NAME, 0)
_LONGEST_TIMEOUT = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a job inherits from the top; values keep their lines until they are checked against the models."""

    models: tuple[Scalar, ...] = (Scalar(DEFAULT, DEFAULT, 0),)
    ratios: tuple[Scalar, ...] = (Scalar(AUTO, AUTO, 0),)
    resolutions: tuple[Scalar, ...] = (Scalar("1K", "1K", 0),)
    samples: int = 1
    references: tuple[Scalar, ...] = ()
    fallback: Mapping[str, str] = field(default_factory=lambda: _FALLBACK)
    timeouts: Mapping[str, float] = field(default_factory=lambda: TIMEOUTS)
    stall: float = _STALL
    extra: Mapping[str, object] = field(default_factory=dict)
    images: Scalar = _NAME
    on_mismatch: OnMismatch = OnMismatch.KEEP


def read_settings(section: Section, inherited: Settings) -> Settings:
    """Read what may stand at the top or in a job; the job's word wins, in `timeouts` and `extra` key by key."""
    timeouts, stall = _timeouts(section, inherited)
    return replace(
        inherited,
        models=checked(section, "model", model_problem) or inherited.models,
        ratios=checked(section, "ratio", ratio_problem) or inherited.ratios,
        resolutions=checked(section, "resolution", size_problem) or inherited.resolutions,
        samples=section.whole("samples", 1_000_000) or inherited.samples,
        references=_references(section, inherited),
        fallback=_fallback(section, inherited),
        timeouts=timeouts,
        stall=stall,
        extra={**inherited.extra, **_extra(section)},
        images=_images(section) or inherited.images,
        on_mismatch=OnMismatch(section.choice("on_mismatch", tuple(OnMismatch)) or inherited.on_mismatch),
    )


def free_mapping(section: Section, key: str) -> dict[str, object]:
    """Read a mapping whose keys are not ours to know."""
    node = section.get(key)
    if node is None:
        return {}
    if not isinstance(node, Map):
        section.fault(key, f"`{key}` must be a mapping, not {kind(node)}")
        return {}
    _refuse_endless(section, key, node)
    return cast("dict[str, object]", plain(node))


def _extra(section: Section) -> dict[str, object]:
    """Read what is merged into the request's body; what the task itself makes of it is not the user's to set."""
    extra = free_mapping(section, "extra")
    for key in sorted(set(_named(extra))):
        if _plain(key) in MADE_OF_THE_TASK:
            section.fault("extra", f"`extra` sets `{key}`, which is made from the task: take it out")
    for name in extra:
        if _plain(name) == "generationconfig" and name != "generationConfig":
            section.fault("extra", f"`extra` sets `{name}`, which is spelled `generationConfig` on the wire")
    return extra


def _named(extra: Mapping[str, object]) -> Iterator[str]:
    """Yield the names that a free mapping sets, at any depth at which the wire would look for them."""
    for name, value in extra.items():
        yield name
        if _plain(name) in _HOLDERS and isinstance(value, dict):
            yield from _named(value)


def _plain(key: str) -> str:
    """Fold the two spellings of the wire's names, camelCase and snake_case, into one."""
    return key.replace("_", "").lower()


def _refuse_endless(section: Section, key: str, node: Node) -> None:
    """JSON, which this becomes, has neither infinity nor NaN."""
    if isinstance(node, Scalar):
        if isinstance(node.value, float) and not abs(node.value) < float("inf"):
            section.faults.add(node.line, f"`{key}` has {kind(node)}, which JSON cannot say: write a number")
        return
    for child in node.items if isinstance(node, List) else node.items.values():
        _refuse_endless(section, key, child)


def _references(section: Section, inherited: Settings) -> tuple[Scalar, ...]:
    """Read references; an empty list in a job takes the inherited ones away."""
    node = section.get("references")
    if isinstance(node, List) and not node.items:
        return ()
    return section.values("references") or inherited.references


def _images(section: Section) -> Scalar | None:
    text = section.text("images")
    return None if text is None else Scalar(text, text, section.line("images"))


def _timeouts(section: Section, inherited: Settings) -> tuple[Mapping[str, float], float]:
    node = section.get("timeouts")
    if node is None:
        return inherited.timeouts, inherited.stall
    sizes = [key for key in node.items if not size_problem(key)] if isinstance(node, Map) else []
    known = [*TIMEOUTS, "stall", *sizes]
    inner = Section(node, "`timeouts`", known, section.faults)
    given: dict[str, float] = {}
    for key in inner.names:
        value = inner.scalar(key)
        number = value.value if value else None
        if isinstance(number, (int, float)) and not isinstance(number, bool) and 0 < number <= _LONGEST_TIMEOUT:
            given[key] = float(number)
        elif value:
            inner.fault(key, f"a timeout is a number of seconds up to {_LONGEST_TIMEOUT:,}, not {kind(value)}")
    stall = given.pop("stall", inherited.stall)
    return {**inherited.timeouts, **given}, stall


def _fallback(section: Section, inherited: Settings) -> Mapping[str, str]:
    node = section.get("fallback")
    if node is None:
        return inherited.fallback
    if not isinstance(node, Map):
        if not isinstance(node, Scalar) or node.text != "never":
            section.fault("fallback", f"`fallback` is a mapping such as {{4K: 2K}} or the word never, not {kind(node)}")
        return {}
    steps = {size: lower.text if isinstance(lower, Scalar) else "" for size, lower in node.items.items()}
    return {size: target for size, target in steps.items() if _steps_down(section, node, size, target)}


def _steps_down(section: Section, node: Map, size: str, target: str) -> bool:
    """Check one step; since each goes down, there can be no circle."""
    for text in (size, target):
        if problem := size_problem(text):
            section.faults.add(node.line_of(size), f"`fallback` cannot name `{text}`: {problem}")
            return False
    if edge(target) >= edge(size):
        message = f"`fallback` from {size} to {target} does not go down: name a smaller resolution"
        section.faults.add(node.line_of(size), message)
        return False
    return True
