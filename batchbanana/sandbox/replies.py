"""Turns problems, scripted effects and JSON into HTTP answers."""

import json
import time
from collections.abc import Callable
from email.utils import formatdate, mktime_tz, parsedate_tz

from batchbanana.sandbox.effects import Effects
from batchbanana.sandbox.line import Answer
from batchbanana.sandbox.problems import Problem, decimal, for_status, page, problem

JSON = {"content-type": "application/json; charset=UTF-8"}
_HTML = {"content-type": "text/html; charset=UTF-8"}
_TEXT = {"content-type": "text/plain; charset=utf-8"}


def values(value: object) -> Answer:
    """Answer with JSON."""
    return Answer(status=200, headers=JSON, body=(json.dumps(value).encode(),))


def fault(problem: Problem, *, listed: bool = False) -> Answer:
    """Answer with an error, its JSON as the only element of a list where it is to be `listed`."""
    if isinstance(problem.body, str):
        kind = _HTML if "<html" in problem.body.lower() else _TEXT
        return Answer(status=problem.status, headers=kind, body=(problem.body.encode("utf-8", "replace"),))
    text = json.dumps([problem.body] if listed else problem.body).encode()
    headers = {**JSON, **problem.headers}
    return Answer(status=problem.status, headers=headers, body=(text,), retry_delay=problem.retry_delay)


def instead(effects: Effects, spoken: Callable[[Problem], Problem]) -> Answer | None:
    """Give the answer that a script puts in the place of the model's own; None when there is none.

    Args:
        effects: the script's.
        spoken: says a problem in the request's format.
    """
    if effects.error is not None:
        return fault(spoken(problem(effects.error, effects.retry_delay)), listed=effects.list)
    if effects.redirect is not None:
        return Answer(status=302, headers={"location": effects.redirect})
    if effects.html:
        text = effects.html if isinstance(effects.html, str) else str(page(200, "Please wait").body)
        return fault(Problem(status=200, body=text))
    status = effects.status or 200
    if status in {204, 205, 304}:  # statuses that HTTP gives no body
        return Answer(status=status)
    if effects.body is not None:
        return fault(Problem(status=status, body=effects.body), listed=effects.list)
    return fault(spoken(for_status(status)), listed=effects.list) if status != 200 else None


def dressed(answer: Answer, effects: Effects) -> Answer:
    """Add the date and the headers that a script asks for."""
    headers = {"date": formatdate(usegmt=True), **answer.headers}
    if effects.retry_after is not None:
        told = effects.retry_after
        headers["retry-after"] = told if isinstance(told, str) else decimal(told)
    headers |= {name.lower(): value for name, value in effects.headers.items()}
    return Answer(status=answer.status, headers=headers, body=answer.body, retry_delay=answer.retry_delay)


def pause(answer: Answer) -> float | None:
    """Give the seconds that an answer tells its client to wait; None when it tells none."""
    told = [answer.retry_delay, _retry_after(answer.headers.get("retry-after"))]
    return max((delay for delay in told if delay is not None), default=None)


def _retry_after(value: str | None) -> float | None:
    if value is None:
        return None
    date = parsedate_tz(value)
    if date is not None:
        return mktime_tz(date) - time.time()
    try:
        return float(value)
    except ValueError:
        return None
