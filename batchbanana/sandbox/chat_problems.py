"""Says an error in OpenAI's form, wherever that form has a natural word for it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from batchbanana.sandbox.problems import Problem, decimal


@dataclass(frozen=True, slots=True)
class _Word:
    """OpenAI's status, type and code for an error; a status of 0 leaves Google's."""

    status: int
    type: str
    code: str | None = None


# What is not here stays as it is: the relays' own errors, proxies' pages, and what only Google can say.
_WORDS: Mapping[str, _Word] = {
    "bad_key": _Word(401, "invalid_request_error", "invalid_api_key"),
    "expired_key": _Word(401, "invalid_request_error", "invalid_api_key"),
    "no_key": _Word(401, "invalid_request_error"),
    "unauthenticated": _Word(401, "invalid_request_error"),
    "region": _Word(403, "request_forbidden", "unsupported_country_region_territory"),
    "forbidden": _Word(403, "permission_error"),
    "billing": _Word(429, "billing_not_active", "billing_not_active"),
    "credits": _Word(429, "insufficient_quota", "insufficient_quota"),
    "invalid": _Word(400, "invalid_request_error"),
    "model_gone": _Word(404, "invalid_request_error", "model_not_found"),
    "too_large": _Word(413, "invalid_request_error"),
    "unprocessable": _Word(422, "invalid_request_error"),
    "rate_minute": _Word(429, "requests", "rate_limit_exceeded"),
    "plain429": _Word(429, "requests", "rate_limit_exceeded"),
    "internal": _Word(500, "server_error"),
    "overloaded": _Word(503, "server_error", "overloaded"),
    "status": _Word(0, "api_error"),
}
# Where the native format has a field, and where the chat format has it.
_PLACES = (
    ("generation_config.response_modalities", "modalities"),
    ("generation_config.", ""),
    ("contents.parts.inline_data", "messages.content.image_url"),
    ("contents", "messages"),
)


def in_chat_form(problem: Problem) -> Problem:
    """Give the error as a relay's chat endpoint says it; it says `retry_delay` in a header."""
    word = _WORDS.get(problem.name)
    if word is None or not isinstance(problem.body, dict):
        return problem
    error = problem.body["error"]
    said = {"message": error["message"], "type": word.type, "param": _param(error), "code": word.code}
    delay = problem.retry_delay
    headers = {} if delay is None else {"retry-after": decimal(delay)}
    return replace(problem, status=word.status or problem.status, body={"error": said}, headers=headers)


def _param(error: Mapping[str, Any]) -> str | None:
    fields = [place["field"] for detail in error.get("details", ()) for place in detail.get("fieldViolations", ())]
    if not fields:
        return None
    field: str = fields[0]
    for native, chat in _PLACES:
        if field.startswith(native):
            return chat + field.removeprefix(native)
    return field
