"""Every error answer is classified, by a table of what was seen in the field."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchbanana.providers import Provider
from batchbanana.providers.errors import (
    LONGEST_HINT,
    _rule,
    classify,
    duration,
    inner_status,
    longest_hint,
    read_body,
    read_document,
)
from batchbanana.providers.quoting import one_line
from batchbanana.providers.tables import OTHERWISE, RULES, STATUS_CODES
from batchbanana.task import Billed, Failure, FailureKind
from tests.providers.building import GEMINI, OPENAI

HTML = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"


def google(code: int, status: str = "", message: str = "it says so", **detail: object) -> bytes:
    """Make an error as Google writes it."""
    error = {"code": code, "status": status, "message": message, "details": [detail] if detail else []}
    return json.dumps({"error": error}).encode()


def quota(name: str, value: str = "20", delay: str | None = None) -> bytes:
    """Make a 429 that names a quota."""
    violations = [{"quotaId": name, "quotaValue": value}]
    return google(429, "RESOURCE_EXHAUSTED", violations=violations, **({"retryDelay": delay} if delay else {}))


def relay(code: object, message: str, kind: str = "new_api_error") -> bytes:
    """Make an error as relays write it."""
    return json.dumps({"error": {"message": message, "type": kind, "code": code}}).encode()


K = FailureKind
CASES = [
    (301, b"", K.FATAL, "base_url"),
    (308, HTML, K.FATAL, "base_url"),
    (400, google(400, "INVALID_ARGUMENT", reason="API_KEY_INVALID"), K.FATAL, "key"),
    (400, google(400, "INVALID_ARGUMENT", "API key expired. Please renew the API key."), K.FATAL, "key"),
    (400, b"[" + google(400, "FAILED_PRECONDITION", "User location is not supported") + b"]", K.FATAL, "region"),
    (400, relay("content_policy_violation", "Your request was rejected"), K.REFUSED, "prompt"),
    (403, relay(403, "Your chosen model requires moderation and your input was flagged"), K.REFUSED, "prompt"),
    (400, google(400, "INVALID_ARGUMENT", "Invalid value at 'imageSize'"), K.INVALID, "imageSize"),
    (400, b"", K.INVALID, ""),
    (401, b"", K.FATAL, "api_key_env"),
    (401, relay("", "Invalid token"), K.FATAL, "Invalid token"),
    (402, relay("x", "pay"), K.FATAL, "billing"),
    (403, google(403, "PERMISSION_DENIED"), K.FATAL, "key"),
    (403, HTML, K.FATAL, "key"),
    (404, google(404, "NOT_FOUND", "models/x is not found for API version v1beta"), K.MODEL_GONE, "`model`"),
    (404, relay("model_not_found", "The model `x` does not exist"), K.MODEL_GONE, "`model`"),
    (404, HTML, K.FATAL, "base_url"),
    (404, relay(None, "Invalid URL (POST /v1/v1beta/x)"), K.FATAL, "base_url"),
    (405, b"", K.INVALID, ""),
    (407, HTML, K.FATAL, "proxy"),
    (408, b"", K.TIMEOUT, ""),
    (413, HTML, K.INVALID, ""),
    (422, b'{"detail":"no"}', K.INVALID, "no"),
    (429, b"", K.RATE_LIMITED, ""),
    (429, google(429, "RESOURCE_EXHAUSTED"), K.RATE_LIMITED, ""),
    (429, google(429, message="You exceeded your current quota, please check your plan"), K.RATE_LIMITED, ""),
    (429, quota("GenerateRequestsPerMinutePerProject"), K.RATE_LIMITED, "minute"),
    (429, quota("GenerateRequestsPerMinutePerProject", delay="400s"), K.RATE_LIMITED, "minute"),
    (429, quota("GenerateRequestsPerDayPerProject", delay="12s"), K.DAY_QUOTA, "day"),
    (429, google(429, retryDelay="55.2s"), K.RATE_LIMITED, ""),
    (429, google(429, retryDelay="300s"), K.RATE_LIMITED, ""),
    (429, google(429, retryDelay="301s"), K.DAY_QUOTA, ""),
    (429, quota("GenerateRequestsPerMinutePerProject", "0"), K.FATAL, "billing"),
    (429, google(429, message="Quota exceeded for metric: x, limit: 0, model: y"), K.FATAL, "billing"),
    (429, google(429, message="Quota exceeded for metric: x, limit: 0.5"), K.RATE_LIMITED, ""),
    (429, google(429, message="Your project has exceeded its spending cap."), K.FATAL, "billing"),
    (429, google(429, message="Your prepayment credits are depleted."), K.FATAL, "billing"),
    (429, relay("insufficient_quota", "no"), K.FATAL, "billing"),
    (429, google(429, message="You have hit your spend limit for the rolling 10 minute window"), K.RATE_LIMITED, "ten"),
    (499, google(499, "CANCELLED"), K.TIMEOUT, ""),
    (500, google(500, "INTERNAL"), K.SERVER_ERROR, ""),
    (500, HTML, K.SERVER_ERROR, ""),
    (502, relay("bad_response", "upstream"), K.SERVER_ERROR, ""),
    (502, HTML, K.TIMEOUT, "Bad Gateway"),
    (502, b"", K.TIMEOUT, ""),
    (503, google(503, "UNAVAILABLE", "The model is overloaded."), K.UNAVAILABLE, "overloaded"),
    (503, relay("model_not_found", "No available channel for model x"), K.MODEL_GONE, "`model`"),
    (503, relay("", "No available channel for model x"), K.MODEL_GONE, "`model`"),
    (503, HTML, K.TIMEOUT, ""),
    (503, b"Service Unavailable", K.UNAVAILABLE, ""),
    (504, google(504, "DEADLINE_EXCEEDED"), K.TIMEOUT, ""),
    (504, HTML, K.TIMEOUT, ""),
    (520, HTML, K.TIMEOUT, ""),
    (524, b"error code: 524", K.TIMEOUT, "error code: 524"),
    (529, b"", K.UNAVAILABLE, ""),
    (100, b"", K.NO_IMAGE, ""),
    (199, HTML, K.NO_IMAGE, ""),
    (204, b"", K.NO_IMAGE, ""),
    (600, b"", K.SERVER_ERROR, ""),
    (666, b"", K.SERVER_ERROR, ""),
    (999, HTML, K.SERVER_ERROR, ""),
    (-1, b"", K.SERVER_ERROR, ""),
    (500, b'{"error":"plain words"}', K.SERVER_ERROR, "plain words"),
    (500, b'{"error":{"message":"cut o', K.SERVER_ERROR, "500"),
    (429, b'[{"error":{"message":"wait","code":429}}]', K.RATE_LIMITED, "wait"),
    (429, b'{"code":"x","message":"at the top"}', K.RATE_LIMITED, "at the top"),
    (500, b"plain words", K.SERVER_ERROR, "plain words"),
    (500, b'{"error":"in a string","message":"beside it"}', K.SERVER_ERROR, "beside it"),
    (500, b'{"error":{"message":"a","metadata":{"raw":"said above"}}}', K.SERVER_ERROR, "a: said above"),
    (
        500,
        b'{"error":{"message":"a","metadata":{"raw":{"error":{"message":"as an object"}}}}}',
        K.SERVER_ERROR,
        "as an",
    ),
    (500, b'{"error":{"message":"a","metadata":{"raw":"{\\"error\\":{\\"message\\":\\"cut"}}}', K.SERVER_ERROR, '"a"'),
    (500, b'{"error":{"message":"{\\"msg\\":\\"in the message\\"}"}}', K.SERVER_ERROR, '"in the message"'),
]


@pytest.mark.parametrize(("status", "body", "kind", "words"), CASES)
def test_each_answer_is_of_its_kind_and_says_what_to_do(
    status: int, body: bytes, kind: FailureKind, words: str
) -> None:
    failure = classify(status, {}, body)
    assert (failure.kind, failure.status) == (kind, status)
    assert words in failure.message
    unsure = kind in {K.TIMEOUT, K.NO_IMAGE}
    assert failure.billed is (Billed.UNKNOWN if unsure else Billed.NO)


def test_every_rule_is_tested() -> None:
    hit = []
    for status, body, _, _ in CASES:
        problem = read_body(body)
        hit.append(_rule(status, problem.facts, longest_hint({}, problem.delay)))
    assert [rule for rule in (*RULES, OTHERWISE) if rule not in hit] == []


@pytest.mark.parametrize("provider", [GEMINI, OPENAI])
def test_the_providers_classify_so(provider: Provider) -> None:
    failure = provider.failure(429, {"retry-after": "9"}, b"")
    assert (failure.kind, failure.hint) == (K.RATE_LIMITED, 9.0)


@pytest.mark.parametrize("name", sorted(STATUS_CODES))
def test_every_name_of_an_error_in_a_200_stands_for_its_status(name: str) -> None:
    for field in ("status", "code", "type"):
        problem = read_document({"error": {field: name.lower(), "message": "no"}})
        assert inner_status(problem) == STATUS_CODES[name]


def wrapped(body: bytes, *, as_text: bool) -> bytes:
    """Wrap an error as a relay does that passes on what the service behind it said."""
    raw = body.decode() if as_text else json.loads(body)
    return json.dumps({"error": {"code": 429, "message": "Provider returned error", "metadata": {"raw": raw}}}).encode()


@pytest.mark.parametrize("as_text", [True, False])
def test_the_error_of_the_service_behind_a_relay_is_read(as_text: bool) -> None:
    inner = quota("GenerateRequestsPerMinutePerProject", delay="12s")
    failure = classify(429, {}, wrapped(inner, as_text=as_text))
    assert (failure.kind, failure.hint) == (K.RATE_LIMITED, 12.0)
    assert "minute" in failure.message
    assert classify(429, {}, wrapped(quota("RequestsPerDay"), as_text=as_text)).kind is K.DAY_QUOTA
    problem = read_body(wrapped(google(429, "RESOURCE_EXHAUSTED", reason="X"), as_text=as_text))
    assert (problem.status, problem.code, problem.reasons) == ("RESOURCE_EXHAUSTED", "429", ("X",))
    assert problem.message == "it says so"


def test_a_rolling_spend_limit_waits_ten_minutes_unless_the_server_says_how_long() -> None:
    body = google(429, message="Spend limit of 10 minutes reached")
    assert classify(429, {}, body).hint == 600
    assert classify(429, {"retry-after": "400"}, body) == classify(429, {"retry-after-ms": "400000"}, body)
    assert classify(429, {"retry-after": "400"}, body).hint == 400


@pytest.mark.parametrize(
    ("headers", "delay", "hint"),
    [
        ({}, None, None),
        ({}, 3.0, 3.0),
        ({"retry-after": "5"}, 3.0, 5.0),
        ({"retry-after": "5", "retry-after-ms": "7500"}, 3.0, 7.5),
        ({"retry-after": "soon"}, None, None),
        ({"retry-after": "-5"}, None, None),
        ({"retry-after": "inf"}, None, None),
        ({"retry-after": "999999999"}, None, LONGEST_HINT),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT"}, None, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, None, 30.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": "Wed, 21 Oct 2026 07:29:00 GMT"}, None, 0.0),
        ({"retry-after": "Wed, 99 Abc 2026 07:28:30 GMT", "date": "Wed, 21 Oct 2026 07:29:00 GMT"}, None, None),
    ],
)
def test_the_longest_of_the_servers_hints_counts(
    headers: dict[str, str], delay: float | None, hint: float | None
) -> None:
    assert longest_hint(headers, delay) == hint


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("55.2s", 55.2),
        ("0s", 0.0),
        ("1m30s", 90.0),
        ("1500ms", 1.5),
        ("1h", 3600.0),
        ("s", None),
        ("5", None),
        (5, None),
    ],
)
def test_a_duration_is_read(value: object, seconds: float | None) -> None:
    assert duration(value) == seconds


def test_two_faults_of_one_sort_have_one_signature() -> None:
    one, two = (
        classify(400, {}, google(400, message=f"Too many tokens: {count} of 32768")) for count in (40001, 50002)
    )
    assert one.signature == two.signature == "400 Too many tokens: # of #"
    assert classify(422, {}, b"other").signature != one.signature


@pytest.mark.parametrize(
    "secret",
    [
        "api_key: abcdefgh12345",
        "key provided: zzzzyyyyxxxx",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc",
        "AIzaSyA1234567890abcdefghijklmnopqrstuvw",
        "sk-abcdef1234567890",
        "Bearer abcdefghijkl",
        "AQ.Ab8RN6Labcdefg",
    ],
)
def test_what_looks_like_a_key_is_masked(secret: str) -> None:
    failure = classify(401, {}, relay("", f"token {secret} is bad"))
    assert secret[7:] not in failure.message + failure.signature
    assert "***" in failure.message


@given(st.text(), st.integers(2, 50))
def test_a_quotation_is_one_printable_line_within_its_limit(text: str, limit: int) -> None:
    line = one_line(text, limit)
    assert len(line) <= limit
    assert line.isprintable()


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["5s", "model_not_found", "[{", '{"error":5}', "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "error",
                    "metadata",
                    "raw",
                    "code",
                    "status",
                    "message",
                    "details",
                    "violations",
                    "quotaId",
                    "retryDelay",
                    "reason",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)
HEADERS = st.dictionaries(
    st.sampled_from(["retry-after", "retry-after-ms", "date"]),
    st.text(max_size=30) | st.from_regex(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", fullmatch=True),
)


@given(st.integers(-5, 1200), HEADERS, st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_answer_gives_a_short_printable_sentence_and_no_exception(
    status: int, headers: dict[str, str], body: bytes
) -> None:
    failure = classify(status, headers, body)
    assert isinstance(failure, Failure)
    assert 0 < len(failure.message) <= 300
    assert (failure.message + failure.signature).isprintable()
    assert failure.hint is None or 0 <= failure.hint <= LONGEST_HINT
