"""The models that the sandbox serves: a second reading of the wire contract, kept apart from the tool's own registry.

Ratios, sizes, pixels, tokens and list prices are those published for each model in November 2026.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

_TEN: Mapping[str, tuple[int, int]] = {
    "1:1": (1024, 1024),
    "2:3": (848, 1264),
    "3:2": (1264, 848),
    "3:4": (896, 1200),
    "4:3": (1200, 896),
    "4:5": (928, 1152),
    "5:4": (1152, 928),
    "9:16": (768, 1376),
    "16:9": (1376, 768),
    "21:9": (1584, 672),
}
_FOURTEEN: Mapping[str, tuple[int, int]] = {
    **_TEN,
    "1:4": (512, 2048),
    "4:1": (2048, 512),
    "1:8": (384, 3072),
    "8:1": (3072, 384),
}
_GEN_1: Mapping[str, tuple[int, int]] = {
    "1:1": (1024, 1024),
    "2:3": (832, 1248),
    "3:2": (1248, 832),
    "3:4": (864, 1184),
    "4:3": (1184, 864),
    "4:5": (896, 1152),
    "5:4": (1152, 896),
    "9:16": (768, 1344),
    "16:9": (1344, 768),
    "21:9": (1536, 672),
}
_SCALE = {"512": 0.5, "1K": 1.0, "2K": 2.0, "4K": 4.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model, as the sandbox serves it.

    Attributes:
        pixels: width and height at 1K of every ratio it accepts.
        prices: micro-dollars an image, of every size it accepts.
        tokens: output tokens an image, by size.
        references: the most reference images of one request.
        mime: what its pictures are.
        takes_size: whether `imageSize` may be sent at all.
    """

    id: str
    name: str
    pixels: Mapping[str, tuple[int, int]]
    prices: Mapping[str, int]
    tokens: Mapping[str, int]
    references: int = 14
    mime: str = "image/jpeg"
    takes_size: bool = True


def dimensions(model: Model, ratio: str, resolution: str) -> tuple[int, int]:
    """Give the nominal width and height in pixels; a ratio that the model lacks is looked up among all fourteen."""
    width, height = model.pixels.get(ratio) or _FOURTEEN[ratio]
    return int(width * _SCALE[resolution]), int(height * _SCALE[resolution])


def _by_size(sizes: str, values: tuple[int, ...]) -> Mapping[str, int]:
    return MappingProxyType(dict(zip(sizes.split(), values, strict=True)))


_PRO = Model(
    id="gemini-3-pro-image",
    name="Nano Banana Pro",
    pixels=_TEN,
    prices=_by_size("1K 2K 4K", (134_000, 134_000, 240_000)),
    tokens=_by_size("1K 2K 4K", (1120, 1120, 2000)),
)
_NB2 = Model(
    id="gemini-3.1-flash-image",
    name="Nano Banana 2",
    pixels=_FOURTEEN,
    prices=_by_size("512 1K 2K 4K", (45_000, 67_000, 101_000, 151_000)),
    tokens=_by_size("512 1K 2K 4K", (747, 1120, 1680, 2520)),
)

# The shut previews are served, as relays do; `gemini-2.5-flash-image-preview` is dead everywhere and so not here.
MODELS: Mapping[str, Model] = {
    model.id: model
    for model in (
        Model(
            id="gemini-2.5-flash-image",
            name="Nano Banana",
            pixels=_GEN_1,
            prices=_by_size("1K", (39_000,)),
            tokens=_by_size("1K", (1290,)),
            references=3,
            mime="image/png",
            takes_size=False,
        ),
        _PRO,
        replace(_PRO, id="gemini-3-pro-image-preview"),
        _NB2,
        replace(_NB2, id="gemini-3.1-flash-image-preview"),
        Model(
            id="gemini-3.1-flash-lite-image",
            name="Nano Banana 2 Lite",
            pixels=_FOURTEEN,
            prices=_by_size("1K", (33_600,)),
            tokens=_by_size("1K", (1120,)),
        ),
        Model(
            id="gemini-nano-banana-2.1",
            name="Nano Banana 2.1",
            pixels=_FOURTEEN,
            prices=_by_size("1K 2K 4K", (33_600, 50_400, 75_600)),
            tokens=_by_size("1K 2K 4K", (1120, 1680, 2520)),
            mime="image/png",
        ),
    )
}
# What relays call the models, and how they say ratio and size in a name: `google/gemini-3-pro-image-16x9-4k`.
_ALIASES: Mapping[str, str] = {
    "nano-banana": "gemini-2.5-flash-image",
    "nano-banana-pro": "gemini-3-pro-image",
    "nano-banana-2": "gemini-3.1-flash-image",
    "nano-banana-2-lite": "gemini-3.1-flash-lite-image",
    "nano-banana-2.1": "gemini-nano-banana-2.1",
}
_SUFFIXED = re.compile(r"(.+?)(?:-(\d+)x(\d+))?(?:-(512|[124]k))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What a relay reads in a model's name; ratio and size are None where the name says nothing."""

    model: Model
    ratio: str | None = None
    size: str | None = None


def find(name: str) -> Named | None:
    """Read a model's name as a relay does: with a vendor's prefix, an alias, or ratio and size at its end."""
    bare = name.removeprefix("google/").removeprefix("models/")
    if (model := MODELS.get(_ALIASES.get(bare, bare))) is not None:
        return Named(model=model)
    parts = _SUFFIXED.fullmatch(bare)
    if parts is None or (model := MODELS.get(_ALIASES.get(parts[1], parts[1]))) is None:
        return None
    ratio = f"{parts[2]}:{parts[3]}" if parts[2] else None
    return Named(model=model, ratio=ratio, size=parts[4].upper() if parts[4] else None)


RATIOS = frozenset(_FOURTEEN)
SIZES = tuple(_SCALE)
