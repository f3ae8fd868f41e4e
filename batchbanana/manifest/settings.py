"""The settings of a manifest: provider and limits, and what may stand at the top or in a job."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import cast
from urllib.parse import urlsplit

from batchbanana.manifest.nodes import List, Map, Node, Scalar, kind, plain
from batchbanana.manifest.section import Section
from batchbanana.manifest.values import LimitSettings, ProviderSettings
from batchbanana.models import DEFAULT, edge
from batchbanana.names import DEFAULT as DEFAULT_NAME

# What may stand at the top or in a job.
# Of the request's body, without case and underscores: key, price and check of a task rest on them.
MADE_OF_THE_TASK = {"contents", "model", "imageconfig", "candidatecount", "responsemodalities"}
SHARED_KEYS = ("model", "ratio", "resolution", "samples", "references", "fallback", "timeouts", "extra", "images")
AUTO = "auto"  # the ratio that is left to the model
TIMEOUT = 360.0  # seconds, for a size that has none of its own
_TIMEOUTS = MappingProxyType({"512": 180.0, "1K": 180.0, "2K": 300.0, "4K": 360.0})  # tails of 150 to 400 s were seen
_STALL = 30.0
_FALLBACK = MappingProxyType({"4K": "2K"})
_NAME = Scalar(DEFAULT_NAME, DEFAULT_NAME, 0)
_LONGEST_TIMEOUT = 86_400
_DIALECTS = ("none", "image_config", "google_extra_body", "suffix")
_RATIO = re.compile(r"[1-9][0-9]{0,3}:[1-9][0-9]{0,3}")
_SIZE = re.compile(r"512|[1-9][0-9]?K")
_MODEL = re.compile(r"[^\s\x00-\x1f]{1,200}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a job inherits from the top; values keep their lines until they are checked against the models."""

    models: tuple[Scalar, ...] = (Scalar(DEFAULT, DEFAULT, 0),)
    ratios: tuple[Scalar, ...] = (Scalar(AUTO, AUTO, 0),)
    resolutions: tuple[Scalar, ...] = (Scalar("1K", "1K", 0),)
    samples: int = 1
    references: tuple[Scalar, ...] = ()
    fallback: Mapping[str, str] = field(default_factory=lambda: _FALLBACK)
    timeouts: Mapping[str, float] = field(default_factory=lambda: _TIMEOUTS)
    stall: float = _STALL
    extra: Mapping[str, object] = field(default_factory=dict)
    images: Scalar = _NAME


def read_settings(section: Section, inherited: Settings) -> Settings:
    """Read what may stand at the top or in a job; the job's word wins, in `timeouts` and `extra` key by key."""
    timeouts, stall = _timeouts(section, inherited)
    return replace(
        inherited,
        models=_checked(section, "model", model_problem) or inherited.models,
        ratios=_checked(section, "ratio", ratio_problem) or inherited.ratios,
        resolutions=_checked(section, "resolution", size_problem) or inherited.resolutions,
        samples=section.whole("samples", 1_000_000) or inherited.samples,
        references=_references(section, inherited),
        fallback=_fallback(section, inherited),
        timeouts=timeouts,
        stall=stall,
        extra={**inherited.extra, **_extra(section)},
        images=_images(section) or inherited.images,
    )


def model_problem(text: str) -> str | None:
    """Say why a text is no model id; None when it may be one."""
    return None if _MODEL.fullmatch(text) else "a model is an id such as gemini-3-pro-image, without spaces"


def ratio_problem(text: str) -> str | None:
    """Say why a text is no ratio; None when it is."""
    if text == AUTO or _RATIO.fullmatch(text):
        return None
    swapped = re.sub(r"\s*[x/\u00d7]\s*", ":", text)
    return f"a ratio is written like {swapped if _RATIO.fullmatch(swapped) else '16:9'}, or is the word auto"


def size_problem(text: str) -> str | None:
    """Say why a text is no resolution; None when it is."""
    if _SIZE.fullmatch(text):
        return None
    upper = text.upper()
    return f"a resolution is written {upper if _SIZE.fullmatch(upper) else '512, 1K, 2K or 4K'}"


def read_provider(section: Section | None) -> ProviderSettings:
    """Read `provider`."""
    if section is None:
        return ProviderSettings()
    section.refuse_secrets()
    env = section.text("api_key_env")
    if env is not None and not _VARIABLE.fullmatch(env):
        section.fault("api_key_env", "`api_key_env` is the name of an environment variable such as BANANA_KEY")
    wire = section.choice("format", ("gemini", "openai")) or "gemini"
    if wire == "gemini" and "dialect" in section:
        section.fault("dialect", "`dialect` is for `format: openai` only: add that or take it out")
    return ProviderSettings(
        format=wire,
        base_url=_base_url(section),
        api_key_env=env,
        auth=section.choice("auth", ("bearer", "google")),
        dialect=section.choice("dialect", _DIALECTS),
    )


PROVIDER_KEYS = tuple(field.name for field in fields(ProviderSettings))
LIMIT_KEYS = tuple(field.name for field in fields(LimitSettings))


def read_limits(section: Section | None) -> LimitSettings:
    """Read `limits`."""
    if section is None:
        return LimitSettings()
    return LimitSettings(
        concurrency=section.whole("concurrency", 10_000) or LimitSettings().concurrency,
        requests_per_minute=section.whole("requests_per_minute"),
        images_per_minute=section.whole("images_per_minute"),
        requests_per_day=section.whole("requests_per_day"),
        spend_per_10_minutes=section.money("spend_per_10_minutes"),
        max_cost=section.money("max_cost"),
        max_possibly_billed=section.money("max_possibly_billed"),
    )


def is_google(provider: ProviderSettings) -> bool:
    """Whether requests go to Google itself."""
    host = urlsplit(provider.base_url).hostname if provider.base_url else "googleapis.com"
    return host is not None and (host == "googleapis.com" or host.endswith(".googleapis.com"))


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
    generation = {name: value for name, value in extra.items() if _plain(name) == "generationconfig"}
    inner = {key for value in generation.values() if isinstance(value, dict) for key in value}
    for key in sorted({*extra, *inner}):
        if _plain(key) in MADE_OF_THE_TASK:
            section.fault("extra", f"`extra` sets `{key}`, which is made from the task: take it out")
    for name in generation:
        if name != "generationConfig":
            section.fault("extra", f"`extra` sets `{name}`, which is spelled `generationConfig` on the wire")
    return extra


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


def _checked(section: Section, key: str, problem: Callable[[str], str | None]) -> tuple[Scalar, ...]:
    """Read an axis and keep the values that are well formed."""
    sound = []
    for value in section.values(key) or ():
        message = problem(value.text)
        if message:
            section.faults.add(value.line, f"`{key}` cannot be {kind(value)}: {message}")
        else:
            sound.append(value)
    return tuple(sound)


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
    known = [*_TIMEOUTS, "stall", *(key for key in getattr(node, "items", ()) if _SIZE.fullmatch(str(key)))]
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


def _base_url(section: Section) -> str | None:
    """Read the address; it is never quoted back, since people paste keys into it."""
    url = section.text("base_url")
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        sound = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        sound = False
    if not sound or re.search(r"\s", url):
        section.fault("base_url", "`base_url` must be an address such as https://api.example.com")
    elif parts.username or parts.password or parts.query or parts.fragment:
        section.fault("base_url", "`base_url` must have no user, password, `?` or `#`: keep only host and path")
    else:
        return url
    return None
