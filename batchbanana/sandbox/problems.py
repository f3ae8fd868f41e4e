"""The error bodies that the service and its relays are documented to answer with, under short names."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

_TYPE = "type.googleapis.com/google.rpc."


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """An error answer.

    Attributes:
        status: HTTP status.
        body: JSON value, or the text of a page.
        retry_delay: seconds the client is told to wait; None when it is not told.
        name: its short name, where it has one.
        headers: that it brings, by lower-case name.
    """

    status: int
    body: object
    retry_delay: float | None = None
    name: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


class Refusal(Exception):  # noqa: N818 - a request is refused; nothing has gone wrong in the sandbox
    """The request is answered with `problem` instead of an image."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem


def google(status: int, code: str, message: str, *details: Mapping[str, object]) -> Problem:
    """Make an error in Google's form; `code` is the canonical name, such as INVALID_ARGUMENT."""
    error: dict[str, object] = {"code": status, "message": message, "status": code}
    if details:
        error["details"] = list(details)
    return Problem(status=status, body={"error": error})


def relay(status: int, message: str, kind: str, code: str) -> Problem:
    """Make an error in the form of the relays that resell the service."""
    return Problem(status=status, body={"error": {"message": message, "type": kind, "param": "", "code": code}})


def page(status: int, title: str) -> Problem:
    """Make the HTML page of a proxy on the way."""
    text = (
        f"<html>\r\n<head><title>{status} {title}</title></head>\r\n<body><h1>{status} {title}</h1></body>\r\n</html>"
    )
    return Problem(status=status, body=text)


def invalid(message: str, place: str = "") -> Problem:
    """Make the 400 for a request that breaks the contract, naming the field where one is at fault."""
    violation = {"field": place, "description": message}
    details = [{"@type": _TYPE + "BadRequest", "fieldViolations": [violation]}] if place else []
    return replace(google(400, "INVALID_ARGUMENT", message, *details), name="invalid")


def unknown_model(model: str) -> Problem:
    """Make the 404 for a model that is not served."""
    message = f"models/{model} is not found for API version v1beta, or is not supported."
    return replace(google(404, "NOT_FOUND", message), name="model_gone")


def quota(period: str, limit: int, retry_delay: float | None = None) -> Problem:
    """Make the 429 of a used-up quota; `period` is Minute or Day, `retry_delay` in seconds."""
    violation = {
        "quotaMetric": "generativelanguage.googleapis.com/generate_content_requests",
        "quotaId": f"GenerateRequestsPer{period}PerProjectPerModel",
        "quotaValue": str(limit),
    }
    message = f"You exceeded your current quota, please check your plan and billing details. limit: {limit}"
    problem = google(429, "RESOURCE_EXHAUSTED", message, {"@type": _TYPE + "QuotaFailure", "violations": [violation]})
    problem = replace(problem, name="rate_minute" if period == "Minute" else "rate_day")
    return problem if retry_delay is None else delayed(problem, retry_delay)


def delayed(problem: Problem, seconds: float) -> Problem:
    """Add a RetryInfo of so many seconds, rounded up to a millisecond, to an error in Google's form."""
    if not isinstance(problem.body, dict):
        return problem
    seconds = math.ceil(seconds * 1000) / 1000
    info = {"@type": _TYPE + "RetryInfo", "retryDelay": f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"}
    error = problem.body["error"]
    body = {"error": {**error, "details": [*error.get("details", ()), info]}}
    return replace(problem, body=body, retry_delay=seconds)


def for_status(status: int) -> Problem:
    """Make the plainest error of a status that a script names without a body."""
    plain = google(status, _CANONICAL.get(status, "UNKNOWN"), f"The sandbox was told to answer {status}.")
    return replace(plain, name="status")


def decimal(seconds: float) -> str:
    """Write seconds as a header has them."""
    return f"{seconds:.15g}"


def _key_fault(message: str) -> Problem:
    info = {"@type": _TYPE + "ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}
    return google(400, "INVALID_ARGUMENT", message, info)


def _exhausted(message: str) -> Problem:
    return google(429, "RESOURCE_EXHAUSTED", message)


_CANONICAL = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}

_DOCUMENTED: Mapping[str, Problem] = {
    "bad_key": _key_fault("API key not valid. Please pass a valid API key."),
    "expired_key": _key_fault("API key expired. Please renew the API key."),
    "region": google(400, "FAILED_PRECONDITION", "User location is not supported for the API use."),
    "billing": google(
        400, "FAILED_PRECONDITION", "Image generation needs billing. Please enable billing on your project."
    ),
    "invalid": invalid("Request contains an invalid argument."),
    "unauthenticated": google(401, "UNAUTHENTICATED", "Request had invalid authentication credentials."),
    "bad_token": relay(401, "Invalid token", "new_api_error", "invalid_token"),
    "payment": relay(402, "Insufficient balance, please top up.", "new_api_error", "insufficient_user_quota"),
    "no_key": google(403, "PERMISSION_DENIED", "Method doesn't allow unregistered callers. Please use an API key."),
    "forbidden": google(403, "PERMISSION_DENIED", "The caller does not have permission."),
    "model_gone": google(404, "NOT_FOUND", "The model is not found for API version v1beta, or is not supported."),
    "request_timeout": for_status(408),
    "too_large": google(413, "INVALID_ARGUMENT", "Request payload size exceeds the limit."),
    "unprocessable": google(422, "INVALID_ARGUMENT", "The request could not be processed."),
    "rate_minute": delayed(quota("Minute", 20), 30),
    "rate_day": quota("Day", 250),
    "zero_quota": quota("Day", 0),
    "spend": _exhausted("You exceeded the spend limit of your tier for a rolling window of ten minutes."),
    "spending_cap": _exhausted("Your project has exceeded its monthly spending cap."),
    "credits": _exhausted("Your prepayment credits are depleted. Please go to AI Studio to manage your billing."),
    "plain429": _exhausted("Resource has been exhausted (e.g. check quota)."),
    "cancelled": google(499, "CANCELLED", "The operation was cancelled."),
    "internal": google(500, "INTERNAL", "An internal error has occurred. Please retry."),
    "bad_gateway": relay(502, "bad response from upstream", "upstream_error", "bad_response"),
    "bad_gateway_html": page(502, "Bad Gateway"),
    "overloaded": google(503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
    "unavailable_html": page(503, "Service Unavailable"),
    "no_channel": relay(503, "No available channel for this model", "new_api_error", "model_not_found"),
    "gateway_timeout": google(504, "DEADLINE_EXCEEDED", "Deadline expired before operation could complete."),
    "gateway_timeout_html": page(504, "Gateway Time-out"),
    "cloudflare_timeout": page(524, "A timeout occurred"),
}
PROBLEMS: Mapping[str, Problem] = {name: replace(problem, name=name) for name, problem in _DOCUMENTED.items()}


def problem(name: str, retry_delay: float | None = None) -> Problem:
    """Look up a documented error by its short name; `retry_delay` in seconds replaces the one it has."""
    found = PROBLEMS[name]
    if retry_delay is None:
        return found
    if name == "rate_minute":
        return quota("Minute", 20, retry_delay)
    return delayed(found, retry_delay)
