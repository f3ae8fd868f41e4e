"""Decides what a request is answered with, paints its images, and puts them into a document, whatever its format."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from batchbanana.sandbox.catalog import Model, dimensions
from batchbanana.sandbox.effects import Effects
from batchbanana.sandbox.pictures import RAW, Sketch, draw, draw_plain, finish
from batchbanana.sandbox.wanted import Wanted

THOUGHTS = 240  # tokens of thinking that the documents show for a picture
_LINKED_SHAPES = {"url", "bare_url", "data_url"}
_HOLE = re.compile(rb"\\u0000(\d+)\\u0000")  # where image data goes; nobody's text holds this


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one request will be answered with.

    Attributes:
        number: of the request.
        time: Unix time at which it came.
        size: of the image delivered.
        ratio: of the image delivered.
        pixels: of the image delivered.
        images: labels of the images it holds, in order; the real ones carry an empty label.
        reason: the finishReason.
    """

    wanted: Wanted
    model: Model
    effects: Effects
    number: int
    time: float
    size: str
    ratio: str
    pixels: tuple[int, int]
    images: tuple[str, ...]
    reason: str

    @property
    def delivers(self) -> bool:
        """Whether it holds an image that counts, and so costs money."""
        return "" in self.images

    @property
    def price(self) -> int:
        """Micro-dollars at list price for one image of the size delivered; flex is half."""
        price = self.model.prices.get(self.size, 0)
        return price // 2 if self.wanted.flex else price

    @property
    def mime(self) -> str:
        """What the answer claims its images are."""
        return self.effects.label or self.model.mime

    @property
    def version(self) -> str:
        """Which model the answer claims made them."""
        return self.effects.version or self.model.id

    @property
    def linked(self) -> bool:
        """Whether the answer gives addresses of the images instead of their data."""
        return self.effects.shape in _LINKED_SHAPES if self.wanted.chat else self.effects.image == "url"

    @property
    def tokens(self) -> tuple[int, int]:
        """Tokens of the prompt, and of the image; 258 a reference image, as documented."""
        prompt = 1 + len(self.wanted.prompt) // 4 + 258 * len(self.wanted.references)
        return prompt, self.model.tokens.get(self.size, 0) if self.delivers else 0

    @property
    def look(self) -> tuple[object, ...]:
        """All that a plain picture's data depends on."""
        effects = self.effects
        spelling = (effects.label, effects.truncate, effects.base64, self.linked)
        return self.model.id, self.pixels, self.ratio, self.images, spelling


def plan(wanted: Wanted, model: Model, effects: Effects, *, number: int, time: float) -> Plan:
    """Decide what a request is answered with, before anything is drawn."""
    size = effects.size or wanted.resolution or "1K"
    ratio = effects.ratio or wanted.ratio or "1:1"
    capped = wanted.token_cap is not None and wanted.token_cap < model.tokens.get(size, 0)
    images: tuple[str, ...] = ()
    if "IMAGE" in wanted.modalities and not capped and _delivers(effects, chat=wanted.chat):
        images = ("thought",) * effects.thought + ("draft",) * effects.draft + ("",) * (1 + effects.texts)
    return Plan(
        wanted=wanted,
        model=model,
        effects=effects,
        number=number,
        time=time,
        size=size,
        ratio=ratio,
        pixels=effects.pixels or dimensions(model, ratio, size),
        images=images,
        reason=effects.finish or ("MAX_TOKENS" if capped else "STOP"),
    )


def _delivers(effects: Effects, *, chat: bool) -> bool:
    if effects.block or effects.image == "none" or (chat and effects.shape == "nothing"):
        return False
    return effects.finish in (None, "STOP", "stop") or effects.image == "kept"


def paint(plan: Plan, *, size: int = 0, plain: bool = False) -> list[bytes]:
    """Make all images of an answer, each padded to `size` bytes: base64, or files for the addresses of a linked one.

    Not to be called on an event loop.
    """
    effects = plan.effects
    return [
        finish(
            _picture(plan, index, label, plain=plain),
            mime=plan.mime,
            size=size,
            truncate=0 if label else effects.truncate,
            spelling=RAW if plan.linked else effects.base64,
        )
        for index, label in enumerate(plan.images)
    ]


def _picture(plan: Plan, index: int, label: str, *, plain: bool) -> bytes:
    size = "1K" if label else plan.size
    width, height = dimensions(plan.model, plan.ratio, "1K") if label else plan.pixels
    if plain:
        return draw_plain(plan.model.mime, width, height)
    number = f"request {plan.number}" + (f" image {index + 1}" if len(plan.images) > 1 else "")
    title = (plan.model.id, f"{plan.ratio}  {size}  {width}x{height}", " ".join(filter(None, (number, label))))
    references = tuple(data for _, data in plan.wanted.references)
    return draw(
        Sketch(
            mime=plan.model.mime,
            width=width,
            height=height,
            title=title,
            prompt=plan.wanted.prompt,
            references=references,
        )
    )


def sequence(plan: Plan) -> list[str | int]:
    """Give an answer's texts, and the indexes of its images, in their order."""
    items: list[str | int] = []
    for index, label in enumerate(plan.images):
        if not label and index and not plan.images[index - 1]:
            items.append("And another one:")
        items.append(index)
    text = plan.effects.text
    if text is None and "TEXT" in plan.wanted.modalities and (items or plan.wanted.modalities == {"TEXT"}):
        text = "Here is your picture."
    if text is not None:
        items.insert(plan.images.count("thought"), text)
    return items


def hole(index: int) -> str:
    """Give what stands for an image's data in a document until `fill` puts it there."""
    return f"\0{index}\0"


def data_uri(plan: Plan, index: int) -> str:
    """Give an image's data URI; misspelt base64 may bring the prefix itself."""
    prefix = "" if plan.effects.base64 == "data_prefix" else f"data:{plan.mime};base64,"
    return prefix + hole(index)


def fill(document: object, images: Sequence[bytes]) -> tuple[bytes, ...]:
    """Write a document in pieces, with the images that `paint` made in its holes, never copied together."""
    pieces = _HOLE.split(json.dumps(document, ensure_ascii=False).encode("utf-8", "replace"))
    return tuple(images[int(piece)] if at % 2 else piece for at, piece in enumerate(pieces))
