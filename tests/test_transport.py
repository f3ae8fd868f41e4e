"""How long an attempt may go on, where requests go, and what is never said."""

import gc
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchbanana.checkup.far import check_clock
from batchbanana.errors import NeedsPersonError, UsageError
from batchbanana.transport import GOOGLE, PROGRESS, Answer, End, Endpoint, Lanes, Patience, Sink, exchange
from batchbanana.transport.proxies import proxy_for
from tests.support.build import rung
from tests.support.web import dripping, raw, reply, web

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
            " https://api.example.com/v1beta/openai/ ", "https://api.example.com/chat/completions",
            "https://api.example.com/v1/chat/completions/", "https://api.example.com/v1beta/openai/chat/completions",
            "https://api.example.com/v1beta/models", "https://api.example.com/v1/models/",
            "https://api.example.com/v1beta/models/gemini-3-pro-image:generateContent",
            "https://api.example.com/models/x:generateContent"]
)  # fmt: skip
def test_a_base_url_works_however_it_was_pasted(url: str) -> None:
    assert Endpoint.build(url, None, "k").base == "https://api.example.com"


def test_a_path_of_the_relay_is_kept() -> None:
    assert Endpoint.build("http://localhost:1/gemini/v1", None, "k").base == "http://localhost:1/gemini"
    assert Endpoint.build("http://localhost:1/models", None, "k").base == "http://localhost:1/models"
    assert Endpoint.build("http://localhost:1/ai/v1/models", None, "k").base == "http://localhost:1/ai"


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


@pytest.mark.parametrize(
    "url",
    [
        "api.example.com?key=s3cret-canary",
        "s3cret-canary@api.example.com",
        "s3cret-canary",
        "ftp://s3cret-canary",
        "https://api.example.com/s3cret-canary",
        "https://api.example.com/v1/S3CRET%2DCANARY/v1beta",
        "https://s3cret-canary.example.com",
        "https://api.example.com:s3cret-canary",
        "https://api.example.com/#s3cret-canary",
        "https:// s3cret-canary",
    ],
)
def test_a_base_url_with_the_key_in_it_is_refused_and_never_quoted(url: str) -> None:
    with pytest.raises(UsageError, match="base_url") as refused:
        Endpoint.build(url, None, "s3cret-canary\n")
    assert "canary" not in str(refused.value).lower()


@pytest.mark.parametrize(
    "proxy",
    ["http://u:pw@[bad", "u:pw@[bad", "http://u:pw@", "http://h:99999", "http://h:0", "http://h:no", "http://a b:1",
     "what://h:1", "http://"]
)  # fmt: skip
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"])
def test_a_proxy_that_cannot_be_one_is_told_before_anything_is_sent(
    variable: str, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    unset_proxies(monkeypatch)
    monkeypatch.setenv(variable, proxy)
    with pytest.raises(NeedsPersonError, match="HTTPS_PROXY or ALL_PROXY names cannot be used") as refused:
        Lanes(Endpoint.build("https://relay.example", None, "k"))
    assert "pw" not in str(refused.value)
    Lanes(Endpoint.build("http://127.0.0.1:1", None, "k"))


@pytest.mark.parametrize("proxy", ["http://u:p%40w@proxy.corp.example:3128/", "proxy", "proxy:3128", "http://[::1]:1"])
def test_a_proxy_that_may_be_one_is_let_be(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    unset_proxies(monkeypatch)
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    assert Lanes(Endpoint.build("https://relay.example", None, "k")).open()


def test_a_relay_is_asked_through_the_environments_proxy_unless_it_is_taken_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unset_proxies(monkeypatch)
    with web(lambda handler: reply(handler, b"{}")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.removeprefix("http://"))
        answer, came = posted("http://relay.invalid")
        assert (answer.end, answer.status, came) == (End.WHOLE, 200, b"{}")
        assert [(asked.method, asked.path, asked.headers["host"]) for asked in proxy.asked] == [
            ("POST", "http://relay.invalid/x", "relay.invalid")
        ]
        monkeypatch.setenv("no_proxy", "relay.invalid")
        assert posted("http://relay.invalid")[0].end is End.UNSENT
        assert len(proxy.asked) == 1


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.0.0.2", "::1"])
def test_nothing_on_this_machine_is_asked_through_a_proxy(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    unset_proxies(monkeypatch)
    monkeypatch.setenv("ALL_PROXY", "proxy.example:3128")
    assert proxy_for("http", host) is None
    assert proxy_for("https", "relay.example") == "http://proxy.example:3128"


def test_what_must_not_go_through_the_proxy_may_be_named_with_its_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "relay.example:8443")
    assert proxy_for("https", "relay.example", 8443) is None
    assert proxy_for("https", "relay.example", 443) == "http://proxy.example:3128"
    assert proxy_for("https", "relay.example") == "http://proxy.example:3128"


def unset_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize(
    "date",
    ["1 Jan 99999999999 00:00:00 GMT", "1 Jan 99999 00:00:00 GMT", "Sun, 22 Nov 2026 99:00:00 GMT", "0 0 0",
     "Sun, 22 Nov 2026 10:00:00 +999999", "1 Jan 9999 00:00:00 -9959", "1 Jan 0001 00:00:00 +2300", "\x00", "()"]
)  # fmt: skip
def test_a_date_that_no_calendar_knows_is_no_trouble_of_the_clocks(date: str) -> None:
    check_clock(Answer(end=End.WHOLE, status=200, headers={"date": date}), datetime.now(UTC))


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


def asked(url: str, path: str = "/v1beta/models", seconds: float = 10.0) -> Answer:
    """Ask with a lane of its own."""

    async def main() -> Answer:
        lane = Lanes(Endpoint.build(url, None, "canary-key")).open()
        try:
            return await lane.get(path, seconds)
        finally:
            await lane.close()

    return anyio.run(main)


def posted(url: str) -> tuple[Answer, bytes]:
    """Send a request as for an image; gives the answer and what of its body was told."""
    came = bytearray()

    def feed(data: bytes) -> bool:
        came.extend(data)
        return True

    async def body() -> AsyncIterator[bytes]:
        yield b"{}"

    async def main() -> Answer:
        lane = Lanes(Endpoint.build(url, None, "canary-key")).open()
        try:
            return await lane.post("/x", (("content-length", "2"),), body, RUNG, Sink(feed, lambda: False))
        finally:
            await lane.close()

    return anyio.run(main), bytes(came)


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_connecting_has_a_time_of_its_own_tls_and_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever counts a limit's window must know when a request departs at the latest."""
    monkeypatch.setattr(exchange, "LONGEST_CONNECT", 0.3)
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        answer, _ = posted(f"https://127.0.0.1:{mute.getsockname()[1]}")
        gc.collect()  # the HTTP library drops a socket that is cancelled in its TLS, and does not close it
    assert (answer.end, answer.problem) == (End.UNSENT, "cannot connect: connecting took too long")


@pytest.mark.parametrize("status", [600, 799, 999, 299, 418])
def test_an_unknown_status_is_told_as_it_came(status: int) -> None:
    with web(lambda handler: raw(handler, b"HTTP/1.1 %d Odd\r\ncontent-length: 2\r\n\r\nhm" % status)) as server:
        answer, came = posted(server.url)
    assert (answer.end, answer.status, answer.body, came) == (End.WHOLE, status, b"hm", b"")


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 099 Odd", b"HTTP/1.1 101 Switching", b"HTTP/1.1 42 Odd", b"HTTP/1.1 abc", b"\xff\x00", b""]
)
def test_what_is_no_answer_at_all_is_a_broken_connection(head: bytes) -> None:
    with web(lambda handler: raw(handler, head + b"\r\ncontent-length: 2\r\n\r\nhm")) as server:
        answer, _ = posted(server.url)
    assert answer.end is not End.UNSENT
    assert answer.status in {None, 101}


@pytest.mark.parametrize("code", [b"100 Continue", b"103 Early Hints", b"199 Odd"])
def test_a_word_before_the_answer_is_passed_over(code: bytes) -> None:
    whole = b"HTTP/1.1 %b\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhm" % code
    with web(lambda handler: raw(handler, whole)) as server:
        answer, came = posted(server.url)
    assert (answer.end, answer.status, came) == (End.WHOLE, 200, b"hm")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_told_and_never_followed_with_the_key(status: int) -> None:
    with web(reply) as other, web(lambda handler: reply(handler, b"", status, location=other.url)) as server:
        answer, _ = posted(server.url)
        told = asked(server.url)
    assert (answer.end, answer.status) == (End.WHOLE, status)
    assert (told.end, told.status) == (End.WHOLE, status)
    assert other.asked == []


@pytest.mark.parametrize("location", ["http://[::1", "https://b:99999999/", "http://\u00e9\u00ff\u00fe/", "//"])
def test_a_redirect_to_what_is_no_address_is_still_a_redirect(location: str) -> None:
    head = f"HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n".encode("latin-1")
    with web(lambda handler: raw(handler, head)) as server:
        answer, _ = posted(server.url)
    assert (answer.end, answer.status) == (End.WHOLE, 302)


def test_a_request_bears_these_headers_and_no_others() -> None:
    with web(lambda handler: reply(handler, b"{}")) as server:
        posted(server.url)
        asked(server.url)
    both = {
        "host": f"127.0.0.1:{server.port}",
        "accept": "application/json",
        "accept-encoding": "identity",
        "connection": "keep-alive",
        "user-agent": "batchbanana",
        "authorization": "Bearer canary-key",
    }
    assert [dict(request.headers) for request in server.asked] == [{**both, "content-length": "2"}, both]


def test_something_small_is_asked_for_with_the_key_and_told_whatever_its_status() -> None:
    with web(lambda handler: reply(handler, b'{"models":[]}', 200 if "models" in handler.path else 404)) as server:
        listed, missing = asked(server.url), asked(server.url, "/nothing")
    assert (listed.end, listed.status, listed.body) == (End.WHOLE, 200, b'{"models":[]}')
    assert (missing.end, missing.status, missing.body) == (End.WHOLE, 404, b'{"models":[]}')
    assert [request.headers["authorization"] for request in server.asked] == ["Bearer canary-key"] * 2
    assert [request.method for request in server.asked] == ["GET", "GET"]


def test_something_small_that_is_large_is_cut() -> None:
    with web(lambda handler: reply(handler, b"x" * (3 << 20))) as server:
        answer = asked(server.url)
    assert (answer.status, len(answer.body)) == (200, 1 << 20)


def test_asking_a_server_that_drips_ends_in_time() -> None:
    with dripping() as server:
        answer = asked(server.url, seconds=1.0)
    assert (answer.end, answer.status) == (End.LATE, 200)
    assert len(answer.body) < 40  # a byte each 0.05 s: 20 in time, 60 had it the patience that a paid image has


def test_asking_where_nobody_listens_is_an_answer_too() -> None:
    assert asked("http://127.0.0.1:9").end is End.UNSENT
