"""Reads a generateContent request as strictly as Google does: what it does not know is a 400 that names the field."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import parse_qs

import pybase64

from batchbanana.sandbox.catalog import MODELS, Model
from batchbanana.sandbox.problems import PROBLEMS, Problem, Refusal, google, invalid

_BLOB = {"mimeType": str, "data": str}
_PART = {
    "text": str,
    "inlineData": _BLOB,
    "fileData": {"mimeType": str, "fileUri": str},
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
    "thinkingConfig": {"thinkingLevel": str, "includeThoughts": bool, "thinkingBudget": int},
}
_REQUEST = {
    "contents": [_CONTENT],
    "systemInstruction": _CONTENT,
    "generationConfig": _CONFIG,
    "safetySettings": [{"category": str, "threshold": str}],
    "tools": [{"googleSearch": object}],
    "serviceTier": str,
}
_NAMES = ((str, "TYPE_STRING"), (bool, "TYPE_BOOL"), (int, "TYPE_INT32"), (float, "TYPE_FLOAT"))
_TIERS = {"standard", "flex", "priority"}
_MIMES = {"image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A request that could be read.

    Attributes:
        prompt: its texts, a line each.
        ratio: as asked; None leaves it to the model.
        resolution: as asked; None leaves it to the model.
        references: MIME type as claimed, and bytes.
        modalities: what may be answered, TEXT and IMAGE.
        candidates: how many answers are asked for.
        flex: whether the half-price tier is asked for.
        token_cap: the maxOutputTokens that was set.
    """

    model_id: str
    prompt: str
    ratio: str | None
    resolution: str | None
    references: tuple[tuple[str, bytes], ...]
    modalities: frozenset[str]
    candidates: int
    flex: bool
    token_cap: int | None


def admit_key(headers: Mapping[str, str], query: str, keys: tuple[str, ...]) -> None:
    """Check how a request proves who it is; `headers` have lower-case names, no `keys` means that any will do.

    Raises:
        Refusal: two proofs, a key in the URL, none at all, or one that is not accepted.
    """
    google_key, bearer = headers.get("x-goog-api-key"), headers.get("authorization")
    if "key" in parse_qs(query, keep_blank_values=True):
        raise Refusal(invalid("API keys in the URL are not accepted. Send one in a header."))
    if google_key is not None and bearer is not None:
        raise Refusal(invalid("Multiple authentication credentials received. Please pass only one."))
    if google_key:
        _known(google_key, keys, PROBLEMS["bad_key"])
    elif bearer and bearer.lower().startswith("bearer ") and bearer[7:].strip():
        _known(bearer[7:].strip(), keys, PROBLEMS["bad_token"])
    else:
        raise Refusal(PROBLEMS["no_key" if bearer is None else "unauthenticated"])


def _known(key: str, keys: tuple[str, ...], problem: Problem) -> None:
    if keys and key not in keys:
        raise Refusal(problem)


def read(body: bytes, model_id: str) -> Wanted:
    """Read a request's body. It may be tens of megabytes of references, so large ones belong in a thread.

    Raises:
        Refusal: it is not JSON, or not of the service's shape.
    """
    document = _parse(body)
    _shape(document, _REQUEST, "")
    parts = [part for content in document.get("contents") or () for part in content.get("parts") or ()]
    config = document.get("generationConfig") or {}
    image = config.get("imageConfig") or {}
    texts = [part["text"] for part in parts if part.get("text")]
    return Wanted(
        model_id=model_id,
        prompt="\n".join(texts).encode("utf-8", "replace").decode(),  # JSON can spell halves of characters
        ratio=image.get("aspectRatio"),
        resolution=image.get("imageSize"),
        references=_references(parts),
        modalities=frozenset(config.get("responseModalities") or ("TEXT", "IMAGE")),
        candidates=config.get("candidateCount") or 1,
        flex=_tier(document.get("serviceTier")) == "flex",
        token_cap=config.get("maxOutputTokens"),
    )


def check(wanted: Wanted) -> Model:
    """Check a request against the model it names, and give the model.

    Raises:
        Refusal: no such model, or one that cannot do what is asked.
    """
    model = MODELS.get(wanted.model_id)
    if model is None:
        message = f"models/{wanted.model_id} is not found for API version v1beta, or is not supported."
        raise Refusal(google(404, "NOT_FOUND", message))
    if not (wanted.prompt or wanted.references):
        _refuse("* GenerateContentRequest.contents: contents is not specified", "contents")
    if not wanted.modalities <= {"TEXT", "IMAGE"}:
        _refuse("The model does not support the requested response modalities.", "generation_config")
    if wanted.candidates > 1:
        _refuse("Multiple candidates is not enabled for this model", "generation_config.candidate_count")
    if len(wanted.references) > model.references:
        _refuse(f"At most {model.references} images may be sent to {model.id}.", "contents")
    _check_picture(wanted, model)
    for index, (mime, data) in enumerate(wanted.references):
        _check_reference(index, mime, data)
    return model


def _check_picture(wanted: Wanted, model: Model) -> None:
    place = "generation_config.image_config."
    if wanted.ratio is not None and wanted.ratio not in model.pixels:
        known = ", ".join(sorted(model.pixels))
        _refuse(f"aspect_ratio must be one of: {known}; got {wanted.ratio!r}.", place + "aspect_ratio")
    if wanted.resolution is not None and not model.takes_size:
        _refuse(f"image_size is not supported by {model.id}.", place + "image_size")
    if wanted.resolution is not None and wanted.resolution not in model.prices:
        known = ", ".join(model.prices)
        _refuse(f"image_size must be one of: {known}; got {wanted.resolution!r}.", place + "image_size")


def _check_reference(index: int, mime: str, data: bytes) -> None:
    place = f"contents.parts.inline_data[{index}]"
    if mime not in _MIMES:
        _refuse(f"Unsupported MIME type: {mime}", place)
    if sniff(data) != mime and not {sniff(data), mime} <= {"image/heic", "image/heif"}:
        _refuse(f"Unable to process input image: its bytes are not {mime}.", place)


def sniff(data: bytes) -> str | None:
    """Tell the MIME type from the first bytes; None when it is no image the service takes."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[4:8] == b"ftyp":
        return "image/heic" if data[8:12] in {b"heic", b"heix", b"hevc"} else "image/heif"
    return None


def _parse(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body.decode("utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        _refuse("Invalid JSON payload received. Expected an object.")
    return document


def _shape(value: object, shape: object, path: str) -> None:
    """Compare a value with the service's messages; null counts as not sent, as in Google's own JSON."""
    if value is None:
        return
    if isinstance(shape, dict) and isinstance(value, dict):
        for key, inner in value.items():
            if key not in shape:
                at = f" at '{path}'" if path else ""
                _refuse(f'Invalid JSON payload received. Unknown name "{key}"{at}: Cannot find field.', path)
            _shape(inner, shape[key], f"{path}.{snake(key)}".lstrip("."))
    elif isinstance(shape, list) and isinstance(value, list):
        for index, inner in enumerate(value):
            _whole(inner, f"{path}[{index}]")
            _shape(inner, shape[0], f"{path}[{index}]")
    elif not _is(value, shape):
        _refuse(f"Invalid value at '{path}' ({_name(shape)}), {_shown(value)}", path)


def _whole(value: object, path: str) -> None:
    if value is None:
        _refuse(f"Invalid value at '{path}': null is no element of a list.", path)


def _is(value: object, kind: object) -> bool:
    if isinstance(value, bool):
        return kind in (bool, object)
    if kind is float:
        return isinstance(value, int | float)
    return isinstance(kind, type) and isinstance(value, kind)


def _name(shape: object) -> str:
    return next((name for kind, name in _NAMES if kind is shape), "a list" if isinstance(shape, list) else "an object")


def _shown(value: object) -> str:
    return "a list" if isinstance(value, list) else "an object" if isinstance(value, dict) else json.dumps(value)[:80]


def _references(parts: list[dict[str, Any]]) -> tuple[tuple[str, bytes], ...]:
    blobs = [part["inlineData"] for part in parts if part.get("inlineData")]
    return tuple((blob.get("mimeType") or "", _decode(blob.get("data") or "")) for blob in blobs)


def _decode(text: str) -> bytes:
    try:
        return pybase64.b64decode(text, validate=True)
    except ValueError:
        _refuse("Invalid value at 'contents.parts.inline_data.data' (TYPE_BYTES), Base64 decoding failed.")


def _tier(value: str | None) -> str | None:
    if value is not None and value not in _TIERS:
        _refuse(f"Invalid value at 'service_tier': {value!r}", "service_tier")
    return value


def _refuse(message: str, field: str = "") -> NoReturn:
    raise Refusal(invalid(message, field))


def snake(name: str) -> str:
    """Spell a camelCase name in snake_case."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda match: "_" + match[1].lower(), name)
