"""What a script can do to an answer, and how each word of it is checked."""

import re
from datetime import UTC
from email.utils import format_datetime, parsedate_to_datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

from batchbanana.sandbox.catalog import RATIOS, SIZES
from batchbanana.sandbox.problems import PROBLEMS

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
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


Seconds = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Ratio = Annotated[str, AfterValidator(_known_ratio)]
# YAML reads an unquoted 512 as a number, and nothing else can be meant.
Size = Annotated[str, BeforeValidator(lambda v: "512" if v == 512 else v), AfterValidator(_known_size)]
Shape = Literal[
    "markdown",
    "data_uri",
    "images",
    "parts",
    "output_image",
    "b64_json",
    "parts_b64",
    "url",
    "bare_url",
    "data_url",
    "nothing",
]

_Printable = Annotated[str, Field(pattern=r"^[!-~]+$")]
_Pixels = Annotated[int, Field(ge=1, le=20_000)]


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Download:
    """What happens when a picture is fetched from the address that an answer gave; one of these, without `first`.

    Attributes:
        status: a page with this HTTP status instead of the picture.
        redirect: a 302 to this URL.
        hang: never answer.
        cut: share of the picture after which the connection is closed.
        first: only the first so many downloads of a picture; every one, when left out.
    """

    status: Annotated[int, Field(ge=400, le=599)] | None = None
    redirect: _Printable | None = None
    hang: bool = False
    cut: Share | None = None
    first: Count | None = None

    def __post_init__(self) -> None:
        """Refuse what would do nothing, or two things at once."""
        named = [self.status is not None, self.redirect is not None, self.hang, self.cut is not None]
        if sum(named) != 1:
            raise ValueError("name exactly one of status, redirect, hang and cut")


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Effects:
    """What happens to an answer. The keys of a script's `then` and `format_quirks`.

    Attributes:
        status: answer with this HTTP status, and `body` if there is one, instead of an image.
        body: JSON value, or a text.
        headers: added to the answer's own.
        error: a documented error by its short name; see `problems.PROBLEMS`.
        retry_delay: seconds in the RetryInfo of `error`; in the chat format in its Retry-After header.
        retry_after: the Retry-After header, seconds or an HTTP date.
        delay: seconds on top of the latency.
        hang: never answer, send nothing but the head, or stop after half of the body.
        drip: bytes per second.
        cut: share of the body after which the connection is closed; `before` closes it without a byte.
        no_end: the whole document comes, the end of the transfer never.
        draft: an image of 1K straight before the real one.
        thought: an image marked as a thought comes first.
        texts: two images with a text between them.
        text: a text before the image.
        size: the size that is delivered instead of the one asked for.
        pixels: exact width and height of what is delivered.
        ratio: the ratio that is delivered instead of the one asked for.
        label: the MIME type that the answer claims.
        image: `none`, `kept` in spite of `finish`, or in a native text part: `markdown` holds it, `url` links it.
        shape: where the chat format puts the image; `markdown` when left out.
        download: what happens when an image is fetched from its address.
        finish: the finishReason; any but STOP takes the image away unless `image` is `kept`.
        block: the promptFeedback's blockReason.
        message: the finishMessage.
        snake: snake_case keys in a native answer.
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
    retry_delay: Seconds | None = None
    retry_after: Annotated[float | str, AfterValidator(_seconds_or_date)] | None = None
    delay: Seconds = 0.0
    hang: Literal["before", "headers", "body"] | None = None
    drip: Annotated[float, Field(gt=0)] | None = None
    cut: Share | Literal["before"] | None = None
    no_end: bool = False
    draft: bool = False
    thought: bool = False
    texts: bool = False
    text: str | None = None
    size: Size | None = None
    pixels: tuple[_Pixels, _Pixels] | None = None
    ratio: Ratio | None = None
    label: str | None = None
    image: Literal["none", "kept", "markdown", "url"] | None = None
    shape: Shape | None = None
    download: Download | None = None
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
