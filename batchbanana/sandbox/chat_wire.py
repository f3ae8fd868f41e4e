"""Reads a chat completions request as relays do: fields nobody knows pass, but a wrong type is a 400 that names it.

Ratio and size may be said as `image_config`, as Google's `google.image_config` (inside a literal `extra_body`, or at
the top, where the official SDK puts what its caller calls extra_body), and at the end of the model's name.
"""

from typing import Any

from batchbanana.sandbox.catalog import find
from batchbanana.sandbox.forms import clean, compare, decode, parse, refuse
from batchbanana.sandbox.wanted import Wanted

_IMAGE = {"aspect_ratio": str, "image_size": str}
_GOOGLE = {"image_config": _IMAGE}
_PART = {"type": str, "text": str, "image_url": {"url": str, "detail": str}}
_REQUEST = {
    "model": str,
    "messages": [{"role": str, "content": (str, [_PART])}],
    "stream": bool,
    "n": int,
    "modalities": [str],
    "image_config": _IMAGE,
    "google": _GOOGLE,
    "extra_body": {"google": _GOOGLE},
    "max_tokens": int,
    "max_completion_tokens": int,
    "temperature": float,
    "top_p": float,
    "seed": int,
    "service_tier": str,
}


def read(body: bytes, _model: str = "") -> Wanted:
    """Read a request's body; the model is in it. Large ones belong in a thread.

    Raises:
        Refusal: it is not JSON, not of the format's shape, or asks for what is not to be had here.
    """
    document = parse(body)
    compare(document, _REQUEST, tolerant=True)
    if document.get("stream"):
        refuse("Streaming is not to be had here; send stream: false.", "stream")
    if document.get("n") not in (None, 1):
        refuse("One request makes one image; send n: 1.", "n")
    name = document.get("model")
    if not name:
        refuse("Missing required parameter: 'model'.", "model")
    known = find(name)
    said = [*_configs(document), {"aspect_ratio": known.ratio, "image_size": known.size} if known else {}]
    texts, references = _content(document.get("messages"))
    cap = document.get("max_completion_tokens")
    return Wanted(
        model_id=known.model.id if known else name,
        model_name=name,
        prompt=clean(texts),
        ratio=_agreed(said, "aspect_ratio"),
        resolution=_agreed(said, "image_size"),
        references=references,
        modalities=_modalities(document.get("modalities")),
        flex=document.get("service_tier") == "flex",
        token_cap=document.get("max_tokens") if cap is None else cap,
        chat=True,
    )


def _configs(document: dict[str, Any]) -> list[dict[str, Any]]:
    extra = document.get("extra_body") or {}
    holders = [document, document.get("google") or {}, extra.get("google") or {}]
    return [holder.get("image_config") or {} for holder in holders]


def _agreed(said: list[dict[str, Any]], key: str) -> str | None:
    values = {one[key] for one in said if one.get(key) is not None}
    if len(values) > 1:
        refuse(f"{key} is said in two ways that differ: {', '.join(sorted(values))}.", f"image_config.{key}")
    return next(iter(values), None)


def _modalities(named: list[str] | None) -> frozenset[str]:
    # A text beside the image is a matter of the model's mood; a script can ask for one.
    return frozenset({"IMAGE"} if named is None or "image" in named else map(str.upper, named))


def _content(messages: list[dict[str, Any]] | None) -> tuple[list[str], tuple[tuple[str, bytes], ...]]:
    if not messages:
        refuse("Missing required parameter: 'messages'.", "messages")
    texts: list[str] = []
    references = []
    for number, message in enumerate(messages):
        if not message.get("role"):
            refuse(f"Missing required parameter: 'messages[{number}].role'.", f"messages[{number}].role")
        content = message.get("content") or ()
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        for index, part in enumerate(parts):
            place = f"messages[{number}].content[{index}]"
            if part.get("type") == "image_url":
                references.append(_reference(part, f"{place}.image_url"))
            else:
                texts.append(_text(part, place))
    if not (any(texts) or references):
        refuse("The messages hold neither text nor image.", "messages")
    return texts, tuple(references)


def _text(part: dict[str, Any], place: str) -> str:
    if part.get("type") != "text":
        refuse(f"Invalid value at '{place}.type': {part.get('type')!r} is neither 'text' nor 'image_url'.", place)
    text: str | None = part.get("text")
    if text is None:
        refuse(f"Missing required parameter: '{place}.text'.", f"{place}.text")
    return text


def _reference(part: dict[str, Any], place: str) -> tuple[str, bytes]:
    url: str = (part.get("image_url") or {}).get("url") or ""
    head, comma, data = url.partition(",")
    if not (head.startswith("data:") and head.endswith(";base64") and comma):
        refuse(f"'{place}.url' is not fetched here: send the image itself, as data:<type>;base64,<data>.", place)
    return head.removeprefix("data:").removesuffix(";base64"), decode(data, place)
