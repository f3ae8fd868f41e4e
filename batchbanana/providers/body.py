"""Builds request bodies: what every format shares."""

import json
import math
from collections.abc import Mapping

from batchbanana.errors import UsageError
from batchbanana.task import Attempt, Task


def headers(attempt: Attempt) -> tuple[tuple[str, str], ...]:
    """Give a request's headers; Google extends its own deadline to ours when it is told, relays ignore that."""
    seconds = max(1, math.ceil(attempt.rung.timeout))
    return ("content-type", "application/json"), ("x-server-timeout", str(seconds))


def check_extra(task: Task, own: frozenset[str]) -> None:
    """See that a task's `extra` leaves alone what is the task's own.

    Raises:
        UsageError: it does not.
    """
    if taken := sorted(own & task.extra.keys()):
        raise UsageError(f"`extra` of job {task.job} sets `{taken[0]}`, which is made from the task; take it out")


def merged(base: Mapping[str, object], extra: Mapping[str, object]) -> dict[str, object]:
    """Merge mappings at every level; what `extra` says wins."""
    result = dict(base)
    for key, value in extra.items():
        under = result.get(key)
        both = isinstance(under, Mapping) and isinstance(value, Mapping)
        result[key] = merged(under, value) if both else value  # type: ignore[arg-type]  # mypy does not follow `both`
    return result


_COMPACT = json.JSONEncoder(separators=(",", ":"))  # making one takes as long as what it does here


def compact(value: object) -> bytes:
    """Write compact JSON in ASCII, which holds any prompt."""
    return _COMPACT.encode(value).encode()
