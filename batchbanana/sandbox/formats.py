"""The two formats that the sandbox speaks: how each reads a request, composes an answer and says an error."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from batchbanana.sandbox import answers, chat_answers, chat_wire, wire
from batchbanana.sandbox.catalog import MODELS, Model
from batchbanana.sandbox.chat_problems import in_chat_form
from batchbanana.sandbox.plans import Plan
from batchbanana.sandbox.problems import Problem
from batchbanana.sandbox.wanted import Wanted

_CHAT_PATHS = ("/v1/chat/completions", "/v1beta/openai/chat/completions")
_NATIVE_PATH = re.compile(r"/v1(?:beta)?/models/(.+):generateContent")  # the official SDK's own default is v1
_LIST_PATH = re.compile(r"/(v1|v1beta|v1beta/openai)/models(?:/(.*))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """What differs between the formats.

    Attributes:
        read: gives what a body wants; the model is what the path names.
        compose: gives an answer's document, from the plan and its images' addresses.
        spoken: says an error as the format does.
        described: gives a model's entry in a list.
        listed: gives the list of such entries.
    """

    read: Callable[[bytes, str], Wanted]
    compose: Callable[[Plan, Sequence[str]], object]
    spoken: Callable[[Problem], Problem]
    described: Callable[[Model], dict[str, object]]
    listed: Callable[[list[dict[str, object]]], dict[str, object]]


def _native_model(model: Model) -> dict[str, object]:
    return {
        "name": f"models/{model.id}",
        "displayName": model.name,
        "supportedGenerationMethods": ["generateContent"],
    }


def _chat_model(model: Model) -> dict[str, object]:
    return {"id": model.id, "object": "model", "created": 0, "owned_by": "google"}


_NATIVE = Format(
    read=wire.read,
    compose=answers.compose,
    spoken=lambda problem: problem,
    described=_native_model,
    listed=lambda models: {"models": models},
)
_CHAT = Format(
    read=chat_wire.read,
    compose=chat_answers.compose,
    spoken=in_chat_form,
    described=_chat_model,
    listed=lambda models: {"object": "list", "data": models},
)


def generating(path: str) -> tuple[Format, str] | None:
    """Give the format in which a POST to this path makes an image, and the model that the path names, if any."""
    if path in _CHAT_PATHS:
        return _CHAT, ""
    native = _NATIVE_PATH.fullmatch(path)
    return (_NATIVE, native[1]) if native else None


def listing(path: str, auth: str) -> tuple[Format, str] | None:
    """Give the format in which a GET of this path tells of models, and of which; an empty name means all.

    `/v1/models` is both Google's and OpenAI's: relays answer whoever brings Google's header in Google's form.
    """
    found = _LIST_PATH.fullmatch(path)
    if found is None:
        return None
    is_native = found[1] == "v1beta" or (found[1] == "v1" and auth == "google")
    return (_NATIVE if is_native else _CHAT), found[2] or ""


def models(form: Format, name: str) -> dict[str, object] | None:
    """Tell of all models, or of the one of that name; None when there is none."""
    if not name:
        return form.listed([form.described(model) for model in MODELS.values()])
    return form.described(MODELS[name]) if name in MODELS else None
