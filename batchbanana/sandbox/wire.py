"""Reads a generateContent request as strictly as Google does: what it does not know is a 400 that names the field."""

from typing import Any

from batchbanana.sandbox.forms import clean, compare, decode, parse, refuse, snake
from batchbanana.sandbox.wanted import Wanted


def _either(form: dict[str, object]) -> dict[str, object]:
    """Let a message's fields come in snake_case too, as the official SDK sends these few.

    Elsewhere that is a 400 here, although Google would take it: relays drop such a field without a word, and a client
    should learn of it.
    """
    return form | {snake(key): inner for key, inner in form.items()}


_PART = {
    "text": str,
    "inlineData": _either({"mimeType": str, "data": str}),
    "fileData": _either({"mimeType": str, "fileUri": str}),
    "thought": bool,
    "thoughtSignature": str,
}
_CONTENT = {"role": str, "parts": [_PART]}
_CONFIG = {
    "responseModalities": [str],
    "imageConfig": {"aspectRatio": str, "imageSize": str},
    "candidateCount": int,
    "maxOutputTokens": int,
    "seed": int,
    "temperature": float,
    "topP": float,
    "topK": int,
    "stopSequences": [str],
    "presencePenalty": float,
    "frequencyPenalty": float,
    "mediaResolution": str,
    "responseMimeType": str,
    "thinkingConfig": _either({"thinkingLevel": str, "includeThoughts": bool, "thinkingBudget": int}),
}
_REQUEST = {
    "contents": [_CONTENT],
    "systemInstruction": _CONTENT,
    "generationConfig": _CONFIG,
    "safetySettings": [{"category": str, "threshold": str}],
    "tools": [{"googleSearch": object}],
    "serviceTier": str,
}
_TIERS = {"standard", "flex", "priority"}


def read(body: bytes, model_id: str) -> Wanted:
    """Read a request's body. It may be tens of megabytes of references, so large ones belong in a thread.

    Raises:
        Refusal: it is not JSON, or not of the service's shape.
    """
    document = parse(body)
    compare(document, _REQUEST)
    parts = [part for content in document.get("contents") or () for part in content.get("parts") or ()]
    config = document.get("generationConfig") or {}
    image = config.get("imageConfig") or {}
    return Wanted(
        model_id=model_id,
        model_name=model_id,
        prompt=clean([part.get("text") or "" for part in parts]),
        ratio=image.get("aspectRatio"),
        resolution=image.get("imageSize"),
        references=_references(parts),
        modalities=frozenset(config.get("responseModalities") or ("TEXT", "IMAGE")),
        candidates=config.get("candidateCount") or 1,
        flex=_tier(document.get("serviceTier")) == "flex",
        token_cap=config.get("maxOutputTokens"),
    )


def _references(parts: list[dict[str, Any]]) -> tuple[tuple[str, bytes], ...]:
    blobs = [part["inlineData"] for part in parts if part.get("inlineData")]
    field = "contents.parts.inline_data.data"
    return tuple(
        (blob.get("mimeType") or blob.get("mime_type") or "", decode(blob.get("data") or "", field)) for blob in blobs
    )


def _tier(value: str | None) -> str | None:
    if value is not None and value not in _TIERS:
        refuse(f"Invalid value at 'service_tier': {value!r}", "service_tier")
    return value
