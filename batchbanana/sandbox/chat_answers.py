"""Composes what a model answers in the chat format, with the image in any of the places where relays put it."""

from collections.abc import Sequence

import pybase64

from batchbanana.sandbox.plans import THOUGHTS, Plan, hole, sequence

_DATA_SHAPES = {"b64_json", "data_url"}
# OpenAI's word for a finishReason. A reason in lower case is such a word itself; what else there is ends as `stop`.
_FINISHES = {
    "MAX_TOKENS": "length",
    **dict.fromkeys(
        (
            "SAFETY",
            "PROHIBITED_CONTENT",
            "BLOCKLIST",
            "SPII",
            "LANGUAGE",
            "RECITATION",
            "IMAGE_SAFETY",
            "IMAGE_RECITATION",
            "IMAGE_PROHIBITED_CONTENT",
        ),
        "content_filter",
    ),
}


def compose(plan: Plan, uris: Sequence[str]) -> object:
    """Write the answer's document, with holes for the images' data.

    Args:
        plan: what it holds.
        uris: of each image its address, or its data as a URI.
    """
    items = [item for item in sequence(plan) if isinstance(item, str) or plan.images[item] != "thought"]
    head: dict[str, object] = {"created": int(plan.time), "model": plan.version, "usage": _usage(plan)}
    if plan.effects.shape in _DATA_SHAPES:
        return {**head, "data": [_datum(plan, item, uris) for item in items if isinstance(item, int)]}
    choice: dict[str, object] = {"index": 0, "message": _message(plan, items, uris)}
    if plan.effects.block:
        choice |= {"finish_reason": "content_filter", "native_finish_reason": plan.effects.block}
    elif plan.reason.islower():
        choice["finish_reason"] = plan.reason
    else:
        choice |= {"finish_reason": _FINISHES.get(plan.reason, "stop"), "native_finish_reason": plan.reason}
    return {"id": f"chatcmpl-sandbox-{plan.number}", "object": "chat.completion", **head, "choices": [choice]}


def _datum(plan: Plan, index: int, uris: Sequence[str]) -> dict[str, object]:
    return {"url": uris[index]} if plan.linked else {"b64_json": hole(index)}


def _message(plan: Plan, items: list[str | int], uris: Sequence[str]) -> dict[str, object]:
    effects = plan.effects
    message: dict[str, object] = {"role": "assistant"}
    if "thought" in plan.images:
        message["reasoning_content"] = f"![thought]({uris[plan.images.index('thought')]})"
    message["content"] = _content(plan, items, uris)
    if effects.shape in ("images", "nothing"):
        indexes = [item for item in items if isinstance(item, int)]
        message["images"] = [{**_image_url(uris[index]), "index": at} for at, index in enumerate(indexes)]
    if effects.message is not None:
        message["refusal"] = effects.message
    if effects.signature:
        signature = pybase64.b64encode(bytes(effects.signature)).decode()
        message["extra_content"] = {"google": {"thought_signature": signature}}
    return message


def _content(plan: Plan, items: list[str | int], uris: Sequence[str]) -> object:
    shape = plan.effects.shape
    if shape == "nothing" or (not items and (plan.effects.block or plan.reason not in ("STOP", "stop"))):
        return None
    if shape in ("parts", "output_image", "parts_b64"):
        return [_part(plan, item, uris) for item in items]
    if shape == "images":
        return "\n\n".join(item for item in items if isinstance(item, str))
    bare = shape in ("data_uri", "bare_url")
    shown = [uri if bare else f"![image]({uri})" for uri in uris]
    return "\n\n".join(item if isinstance(item, str) else shown[item] for item in items)


def _part(plan: Plan, item: str | int, uris: Sequence[str]) -> dict[str, object]:
    if isinstance(item, str):
        return {"type": "text", "text": item}
    if plan.effects.shape == "parts":
        return _image_url(uris[item])
    if plan.effects.shape == "output_image":
        return {"type": "output_image", "image_url": uris[item]}
    return {"type": "image", "mime_type": plan.mime, "b64_json": hole(item)}


def _image_url(uri: str) -> dict[str, object]:
    return {"type": "image_url", "image_url": {"url": uri}}


def _usage(plan: Plan) -> dict[str, object]:
    prompt, image = plan.tokens
    completion = image + THOUGHTS
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "completion_tokens_details": {"image_tokens": image, "reasoning_tokens": THOUGHTS},
    }
