"""Every error answer is classified, by a table of what was seen in the field."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchbanana.providers import Provider
from batchbanana.providers.errors import (
    LONGEST_HINT,
    _rule,
    _unwrapped,
    classify,
    duration,
    inner_status,
    longest_hint,
    read_body,
    read_document,
)
from batchbanana.providers.quoting import one_line
from batchbanana.providers.tables import OTHERWISE, RULES, STATUS_CODES, WRAPPED, WRAPS
from batchbanana.task import Billed, Failure, FailureKind
from tests.providers.building import GEMINI, OPENAI
from tests.providers.error_cases import CASES, K, google, quota, relay


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


def test_every_wrapped_status_is_tested() -> None:
    found = {_unwrapped(status, read_body(body).facts) for status, body, _, _ in CASES if status in WRAPS}
    assert found == WRAPS | WRAPPED.keys()


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
    assert classify(429, {"retry-after": "0"}, body).hint == 600, "none of that window's answers means at once"


def test_a_pause_that_is_told_in_words_only_is_kept_where_nothing_else_says_it() -> None:
    body = relay("", "Too many requests. Please retry in 1m12.5s.")
    assert classify(429, {}, body).hint == 72.5
    assert classify(503, {}, relay("", "Overloaded, try again after 20s")).hint == 20
    assert classify(429, {}, relay("", "Please retry in a while")).hint is None


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
