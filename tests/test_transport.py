"""How long an attempt may go on, where requests go, and what is never said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchbanana.errors import NeedsPersonError, UsageError
from batchbanana.transport import GOOGLE, PROGRESS, Endpoint, Patience
from tests.support.build import rung

RUNG = rung("4K", timeout=100, stall=30)


def test_before_the_body_only_the_deadline_counts() -> None:
    assert Patience(RUNG, 1000).before_body == 1100


def test_a_quiet_body_before_any_image_data_may_be_thinking_until_the_deadline() -> None:
    assert Patience(RUNG, 0).arrived(1, 10, in_image=False) == 100


def test_silence_inside_an_image_is_a_stall() -> None:
    patience = Patience(RUNG, 0)
    assert patience.arrived(40, 1000, in_image=True) == 70
    assert patience.arrived(60, 1000, in_image=True) == 70  # a drip is no progress
    assert patience.arrived(65, PROGRESS, in_image=True) == 95


def test_an_image_that_makes_progress_may_pass_the_deadline_up_to_three_times_of_it() -> None:
    patience = Patience(RUNG, 0)
    now, until = 0.0, 100.0
    while now < until:
        until = patience.arrived(now, PROGRESS, in_image=True)
        now += 10
    assert until == 300


@given(st.lists(st.tuples(st.floats(0.001, 50), st.integers(1, 10 * PROGRESS), st.booleans()), max_size=200))
def test_no_body_goes_on_for_more_than_three_deadlines(arrivals: list[tuple[float, int, bool]]) -> None:
    patience = Patience(RUNG, 0)
    now, until = 0.0, 100.0
    for pause, size, in_image in arrivals:
        now += pause
        if now > until:
            break
        until = patience.arrived(now, size, in_image=in_image)
        assert until <= 300


@pytest.mark.parametrize(
    "url", ["https://api.example.com", "https://api.example.com/", "https://api.example.com/v1", "https://api.example.com/v1beta/",
            " https://api.example.com/v1beta/openai/ "]
)  # fmt: skip
def test_a_base_url_works_however_it_was_pasted(url: str) -> None:
    assert Endpoint.build(url, None, "k").base == "https://api.example.com"


def test_a_path_of_the_relay_is_kept() -> None:
    assert Endpoint.build("http://localhost:1/gemini/v1", None, "k").base == "http://localhost:1/gemini"


@pytest.mark.parametrize(
    "url",
    [
        "example.com",
        "ftp://example.com",
        "https://",
        "https://me:pw@example.com",
        "https://e.com/?key=1",
        "http://127.0.0.1:abc",
        "http://127.0.0.1:99999",
        "http://exa mple/",
        "http://[::1",
    ],
)
def test_what_is_no_base_url_is_refused_without_repeating_secrets(url: str) -> None:
    with pytest.raises(UsageError) as refused:
        Endpoint.build(url, None, "k")
    assert "pw" not in str(refused.value)


def test_each_style_of_authentication_sends_its_one_header() -> None:
    assert Endpoint.build(GOOGLE, None, "k").headers() == {"x-goog-api-key": "k"}
    assert Endpoint.build("https://relay.example", None, "k").headers() == {"authorization": "Bearer k"}
    assert Endpoint.build("https://relay.example", "google", "k").headers() == {"x-goog-api-key": "k"}
    assert Endpoint.build(GOOGLE, "bearer", "k").headers() == {"authorization": "Bearer k"}


def test_a_host_that_only_looks_like_googles_gets_no_google_key() -> None:
    assert Endpoint.build("https://evilgoogleapis.com", None, "k").auth == "bearer"


@pytest.mark.parametrize("key", ["", " \n", "a b", "schl\u00fcssel", "a\x00b"])
def test_a_malformed_key_is_refused_without_being_quoted(key: str) -> None:
    with pytest.raises(NeedsPersonError) as refused:
        Endpoint.build(None, None, key)
    assert not key.strip() or key not in str(refused.value)


def test_the_key_is_not_in_the_endpoints_text() -> None:
    endpoint = Endpoint.build(None, None, "canary")
    assert "canary" not in repr(endpoint)
    assert endpoint.hide("you sent canary") == "you sent [key]"


def test_the_beginning_of_a_key_is_hidden_where_a_quotation_was_cut() -> None:
    endpoint = Endpoint.build(None, None, "canary-of-forty-characters-or-so")
    assert endpoint.hide("you sent canary-of-for\u2026") == "you sent [key]\u2026"
    assert endpoint.hide("a canary-of-paradise sings") == "a canary-of-paradise sings"
