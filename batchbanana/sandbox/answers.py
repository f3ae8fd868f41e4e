"""Composes what a model answers in the native format."""

from collections.abc import Sequence

import pybase64

from batchbanana.sandbox.forms import snake
from batchbanana.sandbox.plans import THOUGHTS, Plan, hole, sequence


def compose(plan: Plan, uris: Sequence[str]) -> object:
    """Write the answer's document, with holes for the images' data.

    Args:
        plan: what it holds.
        uris: of each image its address, or its data as a URI.
    """
    document: object = _document(plan, uris)
    return _snaked(document) if plan.effects.snake else document


def _document(plan: Plan, uris: Sequence[str]) -> dict[str, object]:
    tail = {
        "usageMetadata": _usage(plan),
        "modelVersion": plan.version,
        "responseId": f"sandbox-{plan.number}",
    }
    if plan.effects.block:
        return {"promptFeedback": {"blockReason": plan.effects.block}, **tail}
    candidate: dict[str, object] = {"index": 0, "finishReason": plan.reason}
    parts = _parts(plan, uris)
    if parts or plan.reason == "STOP":
        candidate["content"] = {"role": "model", "parts": parts}
    if plan.effects.message is not None:
        candidate["finishMessage"] = plan.effects.message
    return {"candidates": [candidate], **tail}


def _parts(plan: Plan, uris: Sequence[str]) -> list[dict[str, object]]:
    parts = [_part(plan, item, uris) for item in sequence(plan)]
    if plan.effects.signature and parts:
        parts[-1]["thoughtSignature"] = pybase64.b64encode(bytes(plan.effects.signature)).decode()
    return parts


def _part(plan: Plan, item: str | int, uris: Sequence[str]) -> dict[str, object]:
    if isinstance(item, str):
        return {"text": item}
    if plan.effects.image in ("markdown", "url"):
        return {"text": f"![image]({uris[item]})"}
    part: dict[str, object] = {"inlineData": {"mimeType": plan.mime, "data": hole(item)}}
    if plan.images[item] == "thought":
        part["thought"] = True
    return part


def _usage(plan: Plan) -> dict[str, object]:
    prompt, image = plan.tokens
    usage: dict[str, object] = {"promptTokenCount": prompt, "totalTokenCount": prompt + image + THOUGHTS}
    usage["thoughtsTokenCount"] = THOUGHTS
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
