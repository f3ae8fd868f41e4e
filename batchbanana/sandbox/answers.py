"""Composes what a model answers: the JSON document, with the images in it as pieces that are never copied together."""

import json
import re
from dataclasses import dataclass

import pybase64

from batchbanana.sandbox.catalog import Model, dimensions
from batchbanana.sandbox.pictures import Sketch, draw, draw_plain, finish
from batchbanana.sandbox.rules import Effects
from batchbanana.sandbox.wire import Wanted, snake

_THOUGHTS = 240  # tokens of thinking that the documents show for a picture
_HOLE = re.compile(rb"\\u0000(\d+)\\u0000")  # where image data goes; nobody's text holds this


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one request will be answered with.

    Attributes:
        number: of the request.
        size: of the image delivered.
        ratio: of the image delivered.
        pixels: of the image delivered.
        images: labels of the images it holds, in order; the real ones carry an empty label.
    """

    wanted: Wanted
    model: Model
    effects: Effects
    number: int
    size: str
    ratio: str
    pixels: tuple[int, int]
    images: tuple[str, ...]

    @property
    def delivers(self) -> bool:
        """Whether it holds an image that counts, and so costs money."""
        return "" in self.images

    @property
    def price(self) -> int:
        """Micro-dollars at list price for one image of the size delivered; flex is half."""
        price = self.model.prices.get(self.size, 0)
        return price // 2 if self.wanted.flex else price


def plan(wanted: Wanted, model: Model, effects: Effects, number: int) -> Plan:
    """Decide what a request is answered with, before anything is drawn."""
    size = effects.size or wanted.resolution or "1K"
    ratio = effects.ratio or wanted.ratio or "1:1"
    images: tuple[str, ...] = ()
    if "IMAGE" in wanted.modalities and _delivers(effects) and not _capped(wanted, model, size):
        images = ("thought",) * effects.thought + ("draft",) * effects.draft + ("",) * (1 + effects.texts)
    return Plan(
        wanted=wanted,
        model=model,
        effects=effects,
        number=number,
        size=size,
        ratio=ratio,
        pixels=effects.pixels or dimensions(model, ratio, size),
        images=images,
    )


def _delivers(effects: Effects) -> bool:
    if effects.block or effects.image == "none":
        return False
    return effects.finish in (None, "STOP") or effects.image == "kept"


def _capped(wanted: Wanted, model: Model, size: str) -> bool:
    return wanted.token_cap is not None and wanted.token_cap < model.tokens.get(size, 0)


def paint(plan: Plan, *, size: int = 0, plain: bool = False) -> list[bytes]:
    """Make the base64 of all images of an answer, each padded to `size` bytes. Not to be called on an event loop."""
    effects, mime = plan.effects, plan.model.mime
    return [
        finish(
            _picture(plan, index, label, plain=plain),
            mime=effects.label or mime,
            size=size,
            truncate=0 if label else effects.truncate,
            spelling=effects.base64,
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


def compose(plan: Plan, images: list[bytes]) -> tuple[bytes, ...]:
    """Write the answer in pieces; `images` are those that `paint` made."""
    document: object = _document(plan)
    if plan.effects.snake:
        document = _snaked(document)
    if plan.effects.list:
        document = [document]
    pieces = _HOLE.split(json.dumps(document, ensure_ascii=False).encode("utf-8", "replace"))
    return tuple(images[int(piece)] if at % 2 else piece for at, piece in enumerate(pieces))


def _document(plan: Plan) -> dict[str, object]:
    tail = {
        "usageMetadata": _usage(plan),
        "modelVersion": plan.effects.version or plan.model.id,
        "responseId": f"sandbox-{plan.number}",
    }
    if plan.effects.block:
        return {"promptFeedback": {"blockReason": plan.effects.block}, **tail}
    candidate: dict[str, object] = {"index": 0, "finishReason": _reason(plan)}
    parts = _parts(plan)
    if parts or candidate["finishReason"] == "STOP":
        candidate["content"] = {"role": "model", "parts": parts}
    if plan.effects.message is not None:
        candidate["finishMessage"] = plan.effects.message
    return {"candidates": [candidate], **tail}


def _reason(plan: Plan) -> str:
    return plan.effects.finish or ("MAX_TOKENS" if _capped(plan.wanted, plan.model, plan.size) else "STOP")


def _parts(plan: Plan) -> list[dict[str, object]]:
    effects = plan.effects
    parts: list[dict[str, object]] = []
    for index, label in enumerate(plan.images):
        if not label and index and not plan.images[index - 1]:
            parts.append({"text": "And another one:"})
        parts.append(_image_part(plan, index, label))
    thoughts = sum("thought" in part for part in parts)
    text = effects.text
    if text is None and "TEXT" in plan.wanted.modalities and (parts or plan.wanted.modalities == {"TEXT"}):
        text = "Here is your picture."
    if text is not None:
        parts.insert(thoughts, {"text": text})
    if effects.signature and parts:
        parts[-1]["thoughtSignature"] = pybase64.b64encode(bytes(effects.signature)).decode()
    return parts


def _image_part(plan: Plan, index: int, label: str) -> dict[str, object]:
    mime = plan.effects.label or plan.model.mime
    hole = f"\0{index}\0"
    if plan.effects.image == "markdown":
        return {"text": f"![image](data:{mime};base64,{hole})"}
    part: dict[str, object] = {"inlineData": {"mimeType": mime, "data": hole}}
    if label == "thought":
        part["thought"] = True
    return part


def _usage(plan: Plan) -> dict[str, object]:
    prompt = 1 + len(plan.wanted.prompt) // 4 + 258 * len(plan.wanted.references)  # 258 tokens an image, as documented
    image = plan.model.tokens.get(plan.size, 0) if plan.delivers else 0
    usage: dict[str, object] = {"promptTokenCount": prompt, "totalTokenCount": prompt + image + _THOUGHTS}
    usage["thoughtsTokenCount"] = _THOUGHTS
    if image:
        usage["candidatesTokenCount"] = image
        usage["candidatesTokensDetails"] = [{"modality": "IMAGE", "tokenCount": image}]
    return usage


def _snaked(value: object) -> object:
    if isinstance(value, dict):
        return {snake(key): _snaked(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_snaked(inner) for inner in value]
    return value
