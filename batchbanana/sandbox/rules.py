"""The script that tells the sandbox how to misbehave: its grammar, its checking, and who is hit by which rule."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import fields, replace
from hashlib import blake2b
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from batchbanana.errors import UsageError
from batchbanana.sandbox.effects import STRICT, Count, Effects, Ratio, Seconds, Share, Size


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class When:
    """Whom a rule hits: every condition named must hold. Counts are 1-based and over requests that match the others.

    Attributes:
        prompt: a part of the prompt.
        nth: the number, or numbers, of the requests that are hit.
        first: only so many from the start.
        every: each so-manyth.
        share: that part of them, chosen by the seed and the request's number.
        alike: count separately for requests alike in model, prompt, ratio and resolution.
        after, before: seconds since the first request between which it hits.
    """

    prompt: str | None = None
    ratio: Ratio | None = None
    resolution: Size | None = None
    model: str | None = None
    nth: Count | Annotated[tuple[Count, ...], Field(min_length=1)] | None = None
    first: Count | None = None
    every: Count | None = None
    share: Share | None = None
    alike: bool = False
    after: Seconds = 0.0
    before: Seconds | None = None

    def is_time(self, seconds: float) -> bool:
        """Tell whether it is the time for this rule, so many seconds after the first request."""
        return seconds >= self.after and (self.before is None or seconds < self.before)

    def counts(self, count: int) -> bool:
        """Tell whether the `count`-th matching request is meant, as far as counting decides."""
        nth = (self.nth,) if isinstance(self.nth, int) else self.nth
        return (
            (nth is None or count in nth)
            and (self.first is None or count <= self.first)
            and (self.every is None or count % self.every == 0)
        )


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Rule:
    """One rule of a script: whom it hits and what then happens."""

    when: When = When()
    then: Effects


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class QuotaRule:
    """How many requests the sandbox admits in any window of a minute and of a day; None is any number."""

    requests_per_minute: Count | None = None
    requests_per_day: Count | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
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

    latency: Seconds = 0.05
    latency_by_size: dict[Size, Seconds] = Field(default_factory=dict)
    keys: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    quota: QuotaRule = QuotaRule()
    format_quirks: Effects = Effects()
    bytes: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    pictures: Literal["drawn", "plain"] = "drawn"
    seed: int = 0
    max_body: Count = 100_000_000
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
        self._began: float | None = None  # when the first request came
        self._quirks = script.format_quirks
        self._rules = [(rule.when, _over(script.format_quirks, rule.then), Counter[object]()) for rule in script.faults]

    def effects(self, asked: Asked, number: int, at: float = 0.0) -> Effects:
        """Count this request and give the effects of the first rule that hits it.

        Args:
            asked: what it asks for.
            number: its own.
            at: when it came, in seconds.
        """
        self._began = at if self._began is None else self._began
        seconds = max(0.0, at - self._began)  # one that came before the first may be read after it
        decided: Effects | None = None
        for index, (when, then, counter) in enumerate(self._rules):
            if not (when.is_time(seconds) and _matches(when, asked)):
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
