"""The script that tells the sandbox how to misbehave: its grammar, its checking, and who is hit by which rule."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import UTC
from email.utils import format_datetime, parsedate_to_datetime
from hashlib import blake2b
from typing import Annotated, Any, Literal, Protocol

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from batchbanana.errors import UsageError
from batchbanana.sandbox.catalog import RATIOS, SIZES
from batchbanana.sandbox.problems import PROBLEMS

_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
_FRAMING = {"content-length", "transfer-encoding"}  # a wrong one would break the sandbox's own framing


def _known_ratio(value: str) -> str:
    if value not in RATIOS:
        raise ValueError(f"{value!r} is no ratio of the service")
    return value


def _known_size(value: str) -> str:
    if value not in SIZES:
        raise ValueError(f"{value!r} is none of: {', '.join(SIZES)}")
    return value


def _known_problem(value: str) -> str:
    if value not in PROBLEMS:
        raise ValueError(f"{value!r} is none of: {', '.join(sorted(PROBLEMS))}")
    return value


def _header_lines(value: dict[str, str]) -> dict[str, str]:
    for name, text in value.items():
        if name.lower() in _FRAMING or not re.fullmatch(r"[!-9;-~]+", name) or not re.fullmatch(r"[ -~]*", text):
            raise ValueError(f"{name!r} is no header that a script may set")
    return value


def _seconds_or_date(value: float | str) -> float | str:
    if isinstance(value, str):
        return format_datetime(parsedate_to_datetime(value).astimezone(UTC), usegmt=True)
    return value


_Seconds = Annotated[float, Field(ge=0)]
_Share = Annotated[float, Field(ge=0, le=1)]
_Count = Annotated[int, Field(ge=1)]
_Printable = Annotated[str, Field(pattern=r"^[!-~]+$")]
_Ratio = Annotated[str, AfterValidator(_known_ratio)]
# YAML reads an unquoted 512 as a number, and nothing else can be meant.
_Size = Annotated[str, BeforeValidator(lambda v: "512" if v == 512 else v), AfterValidator(_known_size)]


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Effects:
    """What happens to an answer. The keys of a script's `then` and `format_quirks`.

    Attributes:
        status: answer with this HTTP status, and `body` if there is one, instead of an image.
        body: JSON value, or a text.
        headers: added to the answer's own.
        error: a documented error by its short name; see `problems.PROBLEMS`.
        retry_delay: seconds in the RetryInfo of `error`.
        retry_after: the Retry-After header, seconds or an HTTP date.
        delay: seconds on top of the latency.
        hang: never answer, send nothing but the head, or stop after half of the body.
        drip: bytes per second.
        cut: share of the body after which the connection is closed; `before` closes it without a byte.
        no_end: the whole document comes, the end of the transfer never.
        draft: an image of 1K straight before the real one.
        thought: an image marked as a thought comes first.
        texts: two images with a text between them.
        text: a text part before the image.
        size: the size that is delivered instead of the one asked for.
        pixels: exact width and height of what is delivered.
        ratio: the ratio that is delivered instead of the one asked for.
        label: the MIME type that the answer claims.
        image: `none`, `kept` in spite of `finish`, or `markdown`: hidden in a text part.
        finish: the finishReason; any but STOP takes the image away unless `image` is `kept`.
        block: the promptFeedback's blockReason.
        message: the finishMessage.
        snake: snake_case keys in the answer.
        base64: how the image data is misspelt.
        truncate: bytes missing at the end of the image.
        html: a page with status 200, its text or a ready one.
        signature: size in bytes of a thoughtSignature.
        list: the answer is the only element of a list.
        version: the modelVersion that is claimed.
        redirect: a 302 to this URL.
        billed: overrides who pays by default.
    """

    status: Annotated[int, Field(ge=200, le=599)] | None = None
    body: Any = None
    headers: Annotated[dict[str, str], AfterValidator(_header_lines)] = Field(default_factory=dict)
    error: Annotated[str, AfterValidator(_known_problem)] | None = None
    retry_delay: _Seconds | None = None
    retry_after: Annotated[float | str, AfterValidator(_seconds_or_date)] | None = None
    delay: _Seconds = 0.0
    hang: Literal["before", "headers", "body"] | None = None
    drip: Annotated[float, Field(gt=0)] | None = None
    cut: _Share | Literal["before"] | None = None
    no_end: bool = False
    draft: bool = False
    thought: bool = False
    texts: bool = False
    text: str | None = None
    size: _Size | None = None
    pixels: tuple[Annotated[int, Field(ge=1, le=20_000)], Annotated[int, Field(ge=1, le=20_000)]] | None = None
    ratio: _Ratio | None = None
    label: str | None = None
    image: Literal["none", "kept", "markdown"] | None = None
    finish: str | None = None
    block: str | None = None
    message: str | None = None
    snake: bool = False
    base64: Literal["data_prefix", "urlsafe", "nopad", "linebreaks", "garbage"] | None = None
    truncate: Annotated[int, Field(ge=0)] = 0
    html: bool | str = False
    signature: Annotated[int, Field(ge=0)] = 0
    list: bool = False
    version: str | None = None
    redirect: _Printable | None = None
    billed: bool | None = None

    def __post_init__(self) -> None:
        """Refuse effects that would each be the whole answer."""
        rivals = {"error": self.error, "html": self.html, "redirect": self.redirect, "status": self.status}
        named = [key for key, value in rivals.items() if value]
        if len(named) > 1:
            raise ValueError(f"{' and '.join(named)} exclude each other, keep one")


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class When:
    """Whom a rule hits: every condition named must hold. Counts are 1-based and over requests that match the others.

    Attributes:
        prompt: a part of the prompt.
        nth: the number, or numbers, of the requests that are hit.
        first: only so many from the start.
        every: each so-manyth.
        share: that part of them, chosen by the seed and the request's number.
        alike: count separately for requests alike in model, prompt, ratio and resolution.
    """

    prompt: str | None = None
    ratio: _Ratio | None = None
    resolution: _Size | None = None
    model: str | None = None
    nth: _Count | Annotated[tuple[_Count, ...], Field(min_length=1)] | None = None
    first: _Count | None = None
    every: _Count | None = None
    share: _Share | None = None
    alike: bool = False

    def counts(self, count: int) -> bool:
        """Tell whether the `count`-th matching request is meant, as far as counting decides."""
        nth = (self.nth,) if isinstance(self.nth, int) else self.nth
        return (
            (nth is None or count in nth)
            and (self.first is None or count <= self.first)
            and (self.every is None or count % self.every == 0)
        )


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Rule:
    """One rule of a script: whom it hits and what then happens."""

    when: When = When()
    then: Effects


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class QuotaRule:
    """How many requests the sandbox admits in any window of a minute and of a day; None is any number."""

    requests_per_minute: _Count | None = None
    requests_per_day: _Count | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Script:
    """Everything the sandbox can be told.

    Attributes:
        latency: seconds an image takes.
        latency_by_size: seconds, where a size differs.
        keys: API keys that are accepted; none named means any.
        format_quirks: effects added to every answer; a rule's own come first.
        bytes: the least size of an image; smaller ones are padded and stay valid.
        pictures: `plain` serves one ready picture for each model, size and ratio, for load tests.
        seed: decides whom `share` hits.
        max_body: bytes of a request, above which the answer is 413; 100 MB is Google's own limit.
        faults: the first rule that hits a request decides.
    """

    latency: _Seconds = 0.05
    latency_by_size: dict[_Size, _Seconds] = Field(default_factory=dict)
    keys: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    quota: QuotaRule = QuotaRule()
    format_quirks: Effects = Effects()
    bytes: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    pictures: Literal["drawn", "plain"] = "drawn"
    seed: int = 0
    max_body: _Count = 100_000_000
    faults: tuple[Rule, ...] = ()


class Asked(Protocol):
    """What a rule can look at in a request."""

    @property
    def model_id(self) -> str: ...  # noqa: D102 - named for what it is
    @property
    def prompt(self) -> str: ...  # noqa: D102 - named for what it is
    @property
    def ratio(self) -> str | None: ...  # noqa: D102 - named for what it is
    @property
    def resolution(self) -> str | None: ...  # noqa: D102 - named for what it is


class Rulebook:
    """A script's rules with their counters; every rule counts all that match it, whichever rule decides."""

    def __init__(self, script: Script) -> None:
        self._seed = script.seed
        self._quirks = script.format_quirks
        self._rules = [(rule.when, _over(script.format_quirks, rule.then), Counter[object]()) for rule in script.faults]

    def effects(self, asked: Asked, number: int) -> Effects:
        """Count this request and give the effects of the first rule that hits it; `number` is the request's own."""
        decided: Effects | None = None
        for index, (when, then, counter) in enumerate(self._rules):
            if not _matches(when, asked):
                continue
            alike = (asked.model_id, asked.prompt, asked.ratio, asked.resolution) if when.alike else None
            counter[alike] += 1
            if decided is None and when.counts(counter[alike]) and self._chosen(when, index, number):
                decided = then
        return decided or self._quirks

    def _chosen(self, when: When, rule: int, number: int) -> bool:
        if when.share is None:
            return True
        digest = blake2b(f"{self._seed}/{rule}/{number}".encode(), digest_size=8).digest()
        return int.from_bytes(digest) / 2**64 < when.share


def parse_script(mapping: Mapping[str, object]) -> Script:
    """Check a script as it comes from YAML or JSON.

    Raises:
        UsageError: a sentence for each fault, naming the rule's number and the key.
    """
    try:
        return _SCRIPT.validate_json(json.dumps(mapping))
    except ValidationError as error:
        lines = [f"Sandbox script, {_place(fault['loc'])}: {_reason(fault)}." for fault in error.errors()]
        raise UsageError("\n".join(lines)) from None
    except (TypeError, ValueError) as error:
        raise UsageError(f"The sandbox script holds what JSON cannot say ({error}); use plain values.") from None


_SCRIPT = TypeAdapter(Script)
_INSIDE = re.compile(r"^(constrained-|function-|float$|int$|str$|bool$)|\[")  # pydantic's words for a union's members


def _matches(when: When, asked: Asked) -> bool:
    return (
        (when.prompt is None or when.prompt in asked.prompt)
        and when.ratio in (None, asked.ratio)
        and when.resolution in (None, asked.resolution)
        and when.model in (None, asked.model_id)
    )


def _over(quirks: Effects, own: Effects) -> Effects:
    plain = Effects()
    changed = {f.name: getattr(own, f.name) for f in fields(own) if getattr(own, f.name) != getattr(plain, f.name)}
    return replace(quirks, **changed)


def _place(location: tuple[int | str, ...]) -> str:
    location = tuple(step for step in location if not _INSIDE.search(str(step)))
    if location[:1] == ("faults",) and len(location) > 1:
        words = [f"rule {int(location[1]) + 1}", *map(str, location[2:])]
    else:
        words = list(map(str, location)) or ["as a whole"]
    return " > ".join(words)


def _reason(fault: Mapping[str, Any]) -> str:
    if fault["type"] in {"unexpected_keyword_argument", "extra_forbidden"}:
        return "this key is not known, take it out or spell it right"
    message = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "string_type":
        message += ", so put quotes around it"
    return message[:1].lower() + message[1:]
