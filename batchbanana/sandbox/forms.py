"""Reads a body as JSON and compares it with the fields and types that a format knows; what is wrong is a 400."""

import json
import re
from typing import Any, NoReturn

import pybase64

from batchbanana.sandbox.problems import Refusal, invalid

_NAMES = ((str, "TYPE_STRING"), (bool, "TYPE_BOOL"), (int, "TYPE_INT32"), (float, "TYPE_FLOAT"))
_URL_SAFE = str.maketrans("-_", "+/")


def parse(body: bytes) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        Refusal: it is none.
    """
    try:
        document = json.loads(body.decode("utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        refuse("Invalid JSON payload received. Expected an object.")
    return document


def compare(value: object, form: object, path: str = "", *, tolerant: bool = False) -> None:
    """Compare a value with a form; null counts as not sent, as in Google's own JSON.

    Args:
        value: as it was read.
        form: a type, a dictionary of forms by field, a list of the one form of its elements, or a tuple of forms.
        path: where the value stands, for the message.
        tolerant: fields that the form does not name are let through.

    Raises:
        Refusal: a field that is not known, or a value of another type.
    """
    if value is None:
        return
    if isinstance(form, tuple):
        form = next((one for one in form if _kin(value, one)), form[0])
    if isinstance(form, dict) and isinstance(value, dict):
        _compare_fields(value, form, path, tolerant=tolerant)
    elif isinstance(form, list) and isinstance(value, list):
        for index, inner in enumerate(value):
            at = f"{path}[{index}]"
            if inner is None:
                refuse(f"Invalid value at '{at}': null is no element of a list.", at)
            compare(inner, form[0], at, tolerant=tolerant)
    elif not _is(value, form):
        refuse(f"Invalid value at '{path}' ({_name(form)}), {_shown(value)}", path)


def _compare_fields(value: dict[str, object], form: dict[str, object], path: str, *, tolerant: bool) -> None:
    for key, inner in value.items():
        if key in form:
            compare(inner, form[key], f"{path}.{snake(key)}".lstrip("."), tolerant=tolerant)
        elif not tolerant:
            at = f" at '{path}'" if path else ""
            refuse(f'Invalid JSON payload received. Unknown name "{key}"{at}: Cannot find field.', path)


def _kin(value: object, form: object) -> bool:
    return isinstance(value, type(form)) if isinstance(form, dict | list) else _is(value, form)


def _is(value: object, kind: object) -> bool:
    if isinstance(value, bool):
        return kind in (bool, object)
    if kind is float:
        return isinstance(value, int | float)
    if kind is int and isinstance(value, float):
        return value.is_integer()  # JSON has one kind of number, and an SDK sends 40.0 for 40
    return isinstance(kind, type) and isinstance(value, kind)


def _name(form: object) -> str:
    return next((name for kind, name in _NAMES if kind is form), "a list" if isinstance(form, list) else "an object")


def _shown(value: object) -> str:
    return "a list" if isinstance(value, list) else "an object" if isinstance(value, dict) else json.dumps(value)[:80]


def decode(text: str, field: str) -> bytes:
    """Decode base64 in either alphabet, with padding or without: Google reads them all, and its SDK sends URL-safe.

    Raises:
        Refusal: it is no base64; it names the field.
    """
    if "-" in text or "_" in text:
        text = text.translate(_URL_SAFE)
    try:
        return pybase64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        refuse(f"Invalid value at '{field}' (TYPE_BYTES), Base64 decoding failed.", field)


def clean(texts: list[str]) -> str:
    """Join a request's texts, a line each, without the halves of characters that JSON can spell."""
    return "\n".join(filter(None, texts)).encode("utf-8", "replace").decode()


def refuse(message: str, field: str = "") -> NoReturn:
    """Raise the 400 for a request that breaks the contract, naming the field where one is at fault."""
    raise Refusal(invalid(message, field))


def snake(name: str) -> str:
    """Spell a camelCase name in snake_case."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda match: "_" + match[1].lower(), name)
