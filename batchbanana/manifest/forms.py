"""How single values are written: ids of models, ratios, resolutions, and what is given by resolution."""

import re
from collections.abc import Callable
from typing import TypeVar

from batchbanana.manifest.nodes import Map, Scalar, kind
from batchbanana.manifest.section import Section
from batchbanana.models import Prices

AUTO = "auto"  # the ratio that is left to the model
SIZES = ("512", "1K", "2K", "4K")  # those that are made today, for suggestions
_RATIO = re.compile(r"[1-9][0-9]{0,3}:[1-9][0-9]{0,3}")
_SIZE = re.compile(r"512|[1-9][0-9]?K")
_MODEL = re.compile(r"[^\s\x00-\x1f]{1,200}")
T = TypeVar("T")


def model_problem(text: str) -> str | None:
    """Say why a text is no model id; None when it may be one."""
    is_id = _MODEL.fullmatch(text) and text.isprintable()
    return None if is_id else "a model is an id such as gemini-3-pro-image, without spaces"


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


def checked(section: Section, key: str, problem: Callable[[str], str | None]) -> tuple[Scalar, ...]:
    """Read an axis and keep the values that are well formed."""
    sound = []
    for value in section.values(key) or ():
        message = problem(value.text)
        if message:
            section.faults.add(value.line, f"`{key}` cannot be {kind(value)}: {message}")
        else:
            sound.append(value)
    return tuple(sound)


def by_size(section: Section, key: str, read: Callable[[Section, str], T | None]) -> dict[str, T]:
    """Read a mapping from resolutions to values, each with a reader of the section that it stands in."""
    node = section.get(key)
    if node is None:
        return {}
    sizes = [size for size in node.items if _SIZE.fullmatch(size)] if isinstance(node, Map) else []
    inner = Section(node, f"`{key}`", (*SIZES, *sizes), section.faults)
    return {size: value for size in sizes if (value := read(inner, size)) is not None}


def read_prices(section: Section, key: str) -> Prices | None:
    """Read US dollars an image: one number, or a mapping from resolutions to numbers; None when left out or faulty."""
    if not isinstance(section.get(key), Map):
        flat = section.money(key)
        return None if flat is None else Prices(flat=flat)
    found = by_size(section, key, Section.money)
    return Prices(by_size=found) if found else None
