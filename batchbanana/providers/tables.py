"""What an answer means, as tables: finish reasons, and error answers. The first row that fits counts."""

from collections.abc import Container
from dataclasses import dataclass

from batchbanana.task import Billed, FailureKind, Outcome

DAY_DELAY = 300.0  # seconds; a server that wants a longer pause means its quota for the day
SPEND_WINDOW = 600.0  # seconds; spend is limited in a rolling ten minutes

CHECK_KEY = "check the key, its restrictions and `api_key_env`"
CHECK_BILLING = "check billing and spending limits of the account"
CHECK_URL = "check `base_url`: it names the host, and the path below it if there is one, without `/v1beta/models`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a finish reason means for an answer that brought no image.

    Attributes:
        words: how the failure's sentence begins.
        remedy: how it ends; empty when there is nothing to do.
        may_stand: whether an image that came all the same counts as it is; else it must be just what was asked for.
    """

    kind: FailureKind
    words: str
    remedy: str = ""
    final: Outcome = Outcome.FAILED
    tries: int = 2
    may_stand: bool = False


REFUSED = Verdict(
    kind=FailureKind.REFUSED,
    words="The model refused",
    remedy="change the prompt or the references",
    final=Outcome.REFUSED,
)
FILTERED = Verdict(
    kind=FailureKind.NO_IMAGE, words="The finished image was held back by a filter", final=Outcome.REFUSED
)
GLITCH = Verdict(kind=FailureKind.NO_IMAGE, words="The answer holds no image", may_stand=True)
CUT = Verdict(kind=FailureKind.NO_IMAGE, words="The answer was cut before the image", tries=1, may_stand=True)
LIMITED = Verdict(kind=FailureKind.FATAL, words="The account is limited", remedy="ask the provider why")

FINISH_REASONS = {
    **dict.fromkeys(
        (
            "SAFETY",
            "PROHIBITED_CONTENT",
            "BLOCKLIST",
            "SPII",
            "LANGUAGE",
            "IMAGE_PROHIBITED_CONTENT",
            "ESCALATION",
            "MODEL_ARMOR",
            "MISSING_THOUGHT_SIGNATURE",
            "CONTENT_FILTER",  # of the chat format
        ),
        REFUSED,
    ),
    **dict.fromkeys(("IMAGE_SAFETY", "RECITATION", "IMAGE_RECITATION"), FILTERED),
    **dict.fromkeys(("MAX_TOKENS", "CONTINUATION", "LENGTH"), CUT),
    **dict.fromkeys(("STOP", "NO_IMAGE", "IMAGE_OTHER", "OTHER"), GLITCH),
    "PUP_LIMITED_DISABLED": LIMITED,
}
"""Those of the native format, and two of the chat format. Any other reason and none are a glitch when no image came."""

SYNONYMS = dict.fromkeys(("REFUSAL", "SENSITIVE", "CONTENT_POLICY"), "CONTENT_FILTER")
"""What relays call a reason of the table, in the words of the service behind them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One row of the table of error answers.

    Attributes:
        statuses: HTTP statuses it is about; 200 stands for an error inside one that names no status of an error.
        says: a regular expression to be found in a line of the answer's facts, in any case. The lines are
            `form: json|html|text|empty`, `status: …`, `code: …`, `type: …`, `reason: …`, `quota: ID = VALUE` and
            `message: …`.
        delay_over: the row fits only when the server asked for a longer pause, in seconds.
        words: how the failure's sentence begins.
        remedy: how it ends; empty when there is nothing to do.
        hint: seconds to wait when the server does not say, or asks for a small part of that.
    """

    statuses: Container[int]
    kind: FailureKind
    words: str
    says: str = ""
    delay_over: float = -1.0
    remedy: str = ""
    billed: Billed = Billed.NO
    hint: float | None = None


BAD_KEY = r"API_KEY_(INVALID|EXPIRED|SERVICE_BLOCKED)|API key.{0,20}(expired|not valid|invalid|not found)"
NO_MONEY = (
    r"spending cap|credits are depleted|insufficient_(user_)?quota|insufficient[ _](balance|credits?)\b|"
    r"billing_not_active|billing_hard_limit_reached|余额不足|额度已用尽|"
    r"quota is not enough|\bbudget_exceeded\b|: budget has been exceeded"
)
NO_QUOTA = r"^quota: .* = 0$|^message: .*\bquota\b.{0,200}(?<!remaining )\blimit: 0(?![.\d]| remaining)"
DAY = (
    r"^quota: .*PerDay|^message: .*(\bper[ _-](model[ _-]per[ _-])?day\b|per_model_per_day|requests_per_day|\bRPD\b|"
    r"\bdaily ([a-z]+ )?(quota|limit)\b)"
)
WRONG_PATH = r"\b(models|v1(alpha|beta)?)/v1(alpha|beta)?/"  # a version where none belongs: the base URL brought it
NO_MODEL = (
    r"model_not_found|no available channel|无可用渠道|\bno endpoints found for |\binvalid model name\b|"
    r"is not a valid model ID\b|\b[a-z]+_model_access_denied\b"
)
FLAGGED = (
    r"content_policy_violation|ContentPolicyViolationError|moderation_blocked|content_filter|input was flagged|"
    r"^(code|type): prompt_blocked$|request blocked by Gemini API"
)
ABROAD = r"^status: FAILED_PRECONDITION|^message: .*\buser location is not supported"
WALL = r"^form: (html|text)$(?s:.*)(Just a moment\b|Attention Required!|\berror code: 10[012]\d\b)"
TIMED_OUT = (
    r"\bdeadline[ _]exceeded\b|^message: .*(\btimed out\b|\b(i/o|gateway|upstream request) timeout\b|"
    r"\btimeout (awaiting|exceeded)\b)|^message: request timeout$"
)
NO_WAY = "The service cannot be reached behind its gateway"
NO_TUNNEL = r"^message: .*\berror( code)?:? 1033\b"
SPEND = r"^quota: .*spend|\bspend.{0,80}(10|ten)[ -]min|rolling (10|ten)[ -]min"

RULES = (
    Rule(
        statuses=range(300, 400),
        kind=FailureKind.FATAL,
        words="The server redirects, and the key is never sent on",
        remedy=CHECK_URL,
    ),
    Rule(
        statuses={200, 400, 403, 500, 502},
        says=FLAGGED,
        kind=FailureKind.REFUSED,
        words="The service refused",
        remedy="change the prompt or the references",
    ),
    Rule(
        statuses={200, 400, 401, 402, 403, 429, 500, 502, 503},
        says=NO_MONEY,
        kind=FailureKind.FATAL,
        words="The account has no quota or credit left",
        remedy=CHECK_BILLING,
    ),
    Rule(statuses={404}, says=WRONG_PATH, kind=FailureKind.FATAL, words="There is no such address", remedy=CHECK_URL),
    Rule(
        statuses={200, 400, 401, 403, 404, 500, 503},
        says=NO_MODEL,
        kind=FailureKind.MODEL_GONE,
        words="The model is not served here",
        remedy="choose another with `model`",
    ),
    Rule(statuses={400}, says=BAD_KEY, kind=FailureKind.FATAL, words="The key is not accepted", remedy=CHECK_KEY),
    Rule(
        statuses={400},
        says=ABROAD,
        kind=FailureKind.FATAL,
        words="The account may not use this service",
        remedy="check billing, and whether the service is offered in your region",
    ),
    Rule(statuses={401}, kind=FailureKind.FATAL, words="The key is not accepted", remedy=CHECK_KEY),
    Rule(statuses={402}, kind=FailureKind.FATAL, words="The prepaid credit is used up", remedy=CHECK_BILLING),
    Rule(
        statuses={403},
        says=WALL,
        kind=FailureKind.FATAL,
        words="A wall in front of the service turned the request away",
        remedy="check that this machine's address may use it",
    ),
    Rule(statuses={403}, kind=FailureKind.FATAL, words="The key may not do this", remedy=CHECK_KEY),
    Rule(
        statuses={407}, kind=FailureKind.FATAL, words="The proxy wants a password", remedy="check the proxy's settings"
    ),
    Rule(
        statuses={404},
        says=r"^status: NOT_FOUND|^message: .*\bmodel.{0,120}(not found|not exist)",
        kind=FailureKind.MODEL_GONE,
        words="The model is not served here",
        remedy="choose another with `model`",
    ),
    Rule(statuses={404}, kind=FailureKind.FATAL, words="There is no such address", remedy=CHECK_URL),
    Rule(statuses={525, 526, 527, 530}, kind=FailureKind.UNAVAILABLE, words=NO_WAY),
    Rule(statuses=range(500, 600), says=NO_TUNNEL, kind=FailureKind.UNAVAILABLE, words=NO_WAY),
    Rule(
        statuses={408, 499, 504, *range(520, 525)},
        kind=FailureKind.TIMEOUT,
        words="The request timed out on its way",
        billed=Billed.UNKNOWN,
    ),
    Rule(
        statuses={500, 502},
        says=TIMED_OUT,
        kind=FailureKind.TIMEOUT,
        words="The request timed out on its way",
        billed=Billed.UNKNOWN,
    ),
    Rule(
        statuses={500, 502},
        says=r"^(code|type): empty_response$",
        kind=FailureKind.NO_IMAGE,
        words="The server answered without an image",
        billed=Billed.UNKNOWN,
    ),
    Rule(
        statuses={502},
        says=r"^form: (html|text|empty)",
        kind=FailureKind.TIMEOUT,
        words="A gateway on the way gave up",
        billed=Billed.UNKNOWN,
    ),
    Rule(
        statuses={503},
        says=r"^form: html",
        kind=FailureKind.TIMEOUT,
        words="A gateway on the way gave up",
        billed=Billed.UNKNOWN,
    ),
    Rule(
        statuses={429},
        says=NO_QUOTA,
        kind=FailureKind.MODEL_GONE,  # of this model: another may have one
        words="The account has no quota or credit left",
        remedy=CHECK_BILLING,
    ),
    Rule(statuses={429}, says=DAY, kind=FailureKind.DAY_QUOTA, words="The quota for the day is used up"),
    Rule(
        statuses={429},
        says=SPEND,
        kind=FailureKind.RATE_LIMITED,
        words="The spend of ten minutes is used up",
        hint=SPEND_WINDOW,
    ),
    Rule(
        statuses={429},
        says=r"^quota: .*PerMinute",
        kind=FailureKind.RATE_LIMITED,
        words="The quota for the minute is used up",
    ),
    Rule(statuses={429}, delay_over=DAY_DELAY, kind=FailureKind.DAY_QUOTA, words="The server wants a long pause"),
    Rule(statuses={429}, kind=FailureKind.RATE_LIMITED, words="The server wants fewer requests"),
    Rule(statuses={503, 529}, kind=FailureKind.UNAVAILABLE, words="The service is overloaded"),
    Rule(
        statuses={413},
        kind=FailureKind.INVALID,
        words="The request is too large for the server",
        remedy="use fewer or smaller references",
    ),
    Rule(statuses=range(400, 500), kind=FailureKind.INVALID, words="The server does not accept this request"),
    Rule(
        statuses=range(300),
        kind=FailureKind.NO_IMAGE,
        words="The server answered without an image",
        billed=Billed.UNKNOWN,
    ),
)
OTHERWISE = Rule(statuses=(), kind=FailureKind.SERVER_ERROR, words="The server failed")
"""Every other status: 5xx, and those that no standard knows."""

WRAPS = {500, 502}
WRAPPED = {
    429: r"^(status|code): (RESOURCE_EXHAUSTED|429)$|"
    r"^message: .*\bstatus\W{2,5}RESOURCE_EXHAUSTED\b",
    503: r"^(status|type|code): (UNAVAILABLE|overloaded_error|503)$|^message: overloaded\W*$|"
    r"^message: .*(\bstatus\W{2,5}UNAVAILABLE\b|\b(model|service|server)s?( [`'\"]?[\w./]+-\S+)?"
    r"( is| are)?( currently)? overloaded\b)",
}
"""What JSON says that came with a status of `WRAPS`, by the status that a relay has wrapped so."""

STATUS_CODES = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "INTERNAL": 500,
    "UNKNOWN": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
    "INVALID_REQUEST_ERROR": 400,
    "CONTENT_POLICY_VIOLATION": 400,
    "INVALID_API_KEY": 401,
    "AUTHENTICATION_ERROR": 401,
    "MODEL_NOT_FOUND": 404,
    "RATE_LIMIT_ERROR": 429,
    "RATE_LIMIT_EXCEEDED": 429,
    "INSUFFICIENT_QUOTA": 429,
    "SERVER_ERROR": 500,
    "OVERLOADED_ERROR": 503,
}
"""The HTTP statuses of the names that Google and relays give to errors, for those that come with a 200."""
