"""Classifies error answers, whatever form they have: Google's, a relay's, a proxy's page. Every provider may use it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime

from batchbanana.providers.fields import get, mappings
from batchbanana.providers.jsonskim import Skim
from batchbanana.providers.outline import Use
from batchbanana.providers.quoting import one_line
from batchbanana.providers.tables import OTHERWISE, RULES, STATUS_CODES, WRAPPED, WRAPS, Rule
from batchbanana.task import Failure

MESSAGE_LIMIT = 300  # characters of a failure's sentence
QUOTE_LIMIT = 140
LOOKED_AT = 64 * 1024  # bytes of a body; no error is longer, and the event loop waits for this
LONGEST_HINT = 86_400.0  # seconds; no limit of these services lasts longer than a day
SIGNATURE_WORDS = 8

DURATION = re.compile(r"(\d{1,12}(?:\.\d{0,12})?)(ms|s|m|h)")
RETRY_IN = re.compile(r"\b(?:retry|try again) (?:in|after) ((?:\d{1,12}(?:\.\d{0,12})?(?:ms|s|m|h))+)", re.IGNORECASE)
SHORTEST_PART = 1 / 40  # of the pause that a rule knows; a shorter hint is not meant for it
SECONDS_IN = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
NUMBER = re.compile(r"\d{1,15}(?:\.\d{0,15})?")
HTTP_DATE = re.compile(r"\w{3}, \d{2} \w{3} \d{4} \d{2}:\d{2}:\d{2} GMT", re.ASCII)
TITLE = re.compile(r"<title[^<>]*>([^<]*)", re.IGNORECASE)
TAG = re.compile(r"<[^<>]*>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What an error's body says.

    Attributes:
        form: json, html, text or empty.
        status: Google's name for it.
        code: as it came, a number or a relay's word.
        quotas: ids and values of the quotas that were hit.
        delay: seconds that its RetryInfo asks to wait.
    """

    form: str
    message: str = ""
    status: str = ""
    code: str = ""
    type: str = ""
    reasons: tuple[str, ...] = ()
    quotas: tuple[tuple[str, str], ...] = ()
    delay: float | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it says nothing: some relays put such an error beside every answer."""
        return not (self.message or self.status or self.code or self.type)

    @property
    def facts(self) -> str:
        """The lines that the rules look at."""
        lines = [f"form: {self.form}", f"status: {self.status}", f"code: {self.code}", f"type: {self.type}"]
        lines += [f"reason: {reason}" for reason in self.reasons]
        lines += [f"quota: {name} = {value}" for name, value in self.quotas]
        return "\n".join([*lines, f"message: {self.message}"])


def classify(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """Say what an error answer means.

    Args:
        status: of HTTP, any number.
        headers: with lower-case names.
        body: as much of it as was read.
    """
    return failure_of(status, headers, read_body(body))


def failure_of(status: int, headers: Mapping[str, str], problem: Problem) -> Failure:
    """Apply the rules to a problem that came with an HTTP status."""
    hint = longest_hint(headers, problem.delay if problem.delay is not None else _delay_in(problem.message))
    rule = _rule(status, problem.facts, hint)
    words = re.sub(r"\d+", "#", problem.message).split()[:SIGNATURE_WORDS]
    return Failure(
        kind=rule.kind,
        message=_sentence(rule, status, problem),
        billed=rule.billed,
        status=status,
        hint=rule.hint if hint is None or (rule.hint and hint < SHORTEST_PART * rule.hint) else hint,
        signature=one_line(" ".join([str(status), *words]), 100),
    )


def inner_status(problem: Problem) -> int:
    """Give the HTTP status that an error inside a 200 should have come with.

    It is 500 when the error does not say, and 200 when its number is none of an error's: it only tells of something.
    """
    told = _told_status(problem)
    return told or (200 if problem.code.isdecimal() else 500)


def problem_in(places: Sequence[Mapping[str, object]]) -> Problem | None:
    """Find an error that stands in a 200: under `error`, or as a code of an error with a message; None without one."""
    problems = [(place, read_document(place)) for place in places]
    said = (problem for place, problem in problems if _is_said(problem, named=bool(place.get("error"))))
    return next(said, None)


def _is_said(problem: Problem, *, named: bool) -> bool:
    return not problem.is_empty if named else bool(problem.message and _told_status(problem))


def read_body(body: bytes) -> Problem:
    """Find out what an error's body says, JSON or not, whole or cut."""
    body = body[:LOOKED_AT]
    document = _parsed(body)
    if document is not None:
        return read_document(document)
    text = body.decode(errors="replace").strip()
    if not text:
        return Problem(form="empty")
    if not text.startswith("<"):
        return Problem(form="text", message=one_line(text, 1000))
    title = TITLE.search(text)
    return Problem(form="html", message=one_line(title[1] if title else TAG.sub(" ", text), 1000))


def read_document(document: object) -> Problem:
    """Find out what an error's JSON says: an object, a list of one, or an error that is just a string.

    Some relays pass the error of the service behind them on, as JSON in a string; what it says is added.
    """
    error = _error_of(document)
    outer = _read_error(error)
    raw = get(get(error, "metadata"), "raw")
    document = next(filter(None, map(_inner, (raw, error.get("message")))), None)
    if document is None:
        words = ": ".join(filter(None, (outer.message, raw if isinstance(raw, str) else "")))
        return replace(outer, message=one_line(words, 1000))
    inner = _read_error(_error_of(document))
    return Problem(
        form="json",
        message=inner.message or outer.message,
        status=outer.status or inner.status,
        code=outer.code or inner.code,
        type=outer.type or inner.type,
        reasons=outer.reasons + inner.reasons,
        quotas=outer.quotas + inner.quotas,
        delay=max(filter(None, (outer.delay, inner.delay)), default=None),
    )


def _error_of(document: object) -> Mapping[str, object]:
    first: Mapping[str, object] = next(iter(mappings(document)), {})
    error = first.get("error")
    if isinstance(error, Mapping):
        return error
    if not isinstance(error, str):
        return first
    beside = first.get("message")
    return {**first, "message": beside if isinstance(beside, str) and beside else error}


def _read_error(error: Mapping[str, object]) -> Problem:
    details = mappings(error.get("details"))
    delays = [delay for detail in details if (delay := duration(detail.get("retryDelay"))) is not None]
    return Problem(
        form="json",
        message=one_line(_message(error), 1000),
        status=_word(error.get("status")),
        code=_word(error.get("code") or ""),
        type=_word(error.get("type")),
        reasons=tuple(_word(detail["reason"]) for detail in details if detail.get("reason")),
        quotas=tuple(
            (_word(violation.get("quotaId")), _word(violation.get("quotaValue")))
            for detail in details
            for violation in mappings(detail.get("violations"))
        ),
        delay=max(delays, default=None),
    )


def _inner(said: object) -> object:
    """Give the JSON that a value is or holds as a string; None when there is none."""
    if isinstance(said, str) and said.lstrip()[:1] in {"{", "["}:
        return _parsed(said.encode(errors="replace"))
    return said if isinstance(said, Mapping) else None


def _parsed(body: bytes) -> object:
    """Parse JSON, whole or cut; None when it is none."""
    skim = Skim(lambda _name, _key: Use.KEEP)
    skim.feed(body)
    return skim.document() if skim.is_json else None


def _told_status(problem: Problem) -> int | None:
    """Give the HTTP status that a problem names; None when it names none."""
    if re.fullmatch(r"[45][0-9][0-9]", problem.code):
        return int(problem.code)
    names = (problem.status, problem.code, problem.type)
    return next((STATUS_CODES[name.upper()] for name in names if name.upper() in STATUS_CODES), None)


def longest_hint(headers: Mapping[str, str], delay: float | None) -> float | None:
    """Give the longest pause, in seconds, that a body's delay and the headers ask for; None when none does.

    A Retry-After that is a date counts from the answer's own Date, since this code knows no clock; without one it
    says nothing.
    """
    after = headers.get("retry-after", "").strip()
    hints = [delay, _number(after), _until(after, headers.get("date", "").strip())]
    milliseconds = _number(headers.get("retry-after-ms", "").strip())
    hints.append(None if milliseconds is None else milliseconds / 1000)
    known = [hint for hint in hints if hint is not None]
    return min(max(known), LONGEST_HINT) if known else None


def _delay_in(message: str) -> float | None:
    """Read a pause that is told in words only, as where a relay hands on the message and not the details."""
    found = RETRY_IN.search(message)
    return duration(found[1]) if found else None


def duration(value: object) -> float | None:
    """Read a duration such as "55.2s" or "1m30s" into seconds; None when it is none."""
    if not isinstance(value, str) or not re.fullmatch(rf"(?:{DURATION.pattern})+", value.strip()):
        return None
    return sum(float(number) * SECONDS_IN[unit] for number, unit in DURATION.findall(value))


def _rule(status: int, facts: str, hint: float | None) -> Rule:
    delay = 0.0 if hint is None else hint
    status = _unwrapped(status, facts)
    for rule in RULES:
        fits = status in rule.statuses and delay > rule.delay_over
        if fits and _says(rule.says, facts):
            return rule
    return OTHERWISE


def _unwrapped(status: int, facts: str) -> int:
    if status not in WRAPS or not facts.startswith("form: json"):
        return status
    return next((inner for inner, says in WRAPPED.items() if _says(says, facts)), status)


def _says(pattern: str, facts: str) -> bool:
    return re.search(pattern, facts, re.IGNORECASE | re.MULTILINE) is not None


def _sentence(rule: Rule, status: int, problem: Problem) -> str:
    label = f"{status} {one_line(problem.status, 40)}".rstrip()
    remedy = f"; {rule.remedy}" if rule.remedy else ""
    room = min(QUOTE_LIMIT, MESSAGE_LIMIT - len(rule.words) - len(label) - len(remedy) - len(' (: "")'))
    quote = f': "{one_line(problem.message, room)}"' if problem.message else ""
    return f"{rule.words} ({label}{quote}){remedy}"


def _message(error: Mapping[str, object]) -> str:
    texts = (error.get(name) for name in ("message", "detail", "msg", "error_msg", "error_description"))
    return next((text for text in texts if isinstance(text, str) and text), "")


def _word(value: object) -> str:
    """Give a name or number as a short line; what is neither says nothing."""
    return one_line(str(value), 200) if isinstance(value, str | int) else ""


def _number(text: str) -> float | None:
    return float(text) if NUMBER.fullmatch(text) else None


def _until(then: str, now: str) -> float | None:
    if not (HTTP_DATE.fullmatch(then) and HTTP_DATE.fullmatch(now)):
        return None
    try:
        seconds = (parsedate_to_datetime(then) - parsedate_to_datetime(now)).total_seconds()
    except ValueError:
        return None
    return max(0.0, seconds)
