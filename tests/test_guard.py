"""Which addresses an answer may send us to."""

import contextlib
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchbanana.transport import Guard, RefusedError
from batchbanana.transport.guard import is_public

RELAY = Guard("https://relay.example", "canary-key")
LOCAL = Guard("http://127.0.0.1:8000")


@pytest.mark.parametrize(
    "url",
    [
        "https://cdn.example/a.png",
        "https://cdn.example:8443/a.png?sig=x%20y#z",
        "HTTPS://CDN.example./a",
        "https://8.8.8.8/a",
        "https://[2606:4700::1111]/a",
        "https://b\u00fccher.example/a",
        "https://relay.example/files/1.png",
        "https://1.cdn.example/",
        "https://0x7f.example/",
    ],
)
def test_an_address_on_the_open_internet_may_be_asked(url: str) -> None:
    assert RELAY.target(url).url.host


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://cdn.example/a.png", "not https"),
        ("ftp://cdn.example/a.png", "not https"),
        ("file:///etc/passwd", "none"),
        ("data:image/png;base64,AAAA", "none"),
        ("//cdn.example/a.png", "not https"),
        ("https:///a.png", "none"),
        ("https://", "none"),
        ("", "none"),
        ("https://[::1", "none"),
        ("https://cdn.example:0/", "none"),
        ("https://cdn.example:70000/", "none"),
        ("https://cdn.example/\n", "none"),
        ("https://cdn.example/" + "a" * 20_000, "none"),
        ("https://me@cdn.example/", "user name or password"),
        ("https://me:pw@cdn.example/", "user name or password"),
        ("https://cdn.example\\@evil.example/", "user name or password"),
        ("https://cdn.example/?k=canary-key", "holds the API key"),
        ("https://cdn.example/?k=canary%2Dkey", "holds the API key"),
        ("https://CANARY-KEY.cdn.example/", "holds the API key"),
        ("https://canary.key.cdn.example/", "holds the API key"),
        ("https://localhost/", "private network"),
        ("https://LOCALHOST./", "private network"),
        ("https://a.localhost/", "private network"),
        ("https://intranet/", "private network"),
        ("https://printer.local/", "private network"),
        ("https://metadata.google.internal/", "private network"),
        ("https://exa mple/", "no proper host"),
        ("https://127%2e0%2e0%2e1/", "no proper host"),
        ("https://a..b/", "no proper host"),
        ("https://" + ".".join(["a" * 60] * 5), "no proper host"),
        ("https://1.2.3.4.5/", "no proper host"),
        ("https://256.1.1.1/", "none"),
        ("https://0177.0.0.1/", "none"),
        ("https://a.1/", "no proper host"),
        ("https://99999999999/", "no proper host"),
    ],
)
def test_anything_else_is_refused_with_its_reason_and_without_being_quoted(url: str, why: str) -> None:
    with pytest.raises(RefusedError, match=why) as refused:
        RELAY.target(url)
    assert "canary" not in str(refused.value)
    assert "pw" not in str(refused.value)


PRIVATE = [
    "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.1", "017700000001", "127.0.0.1.", "0", "0x0.0.0.0",
    "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0xa9fea9fe", "2852039166", "100.64.0.1", "192.0.0.8",
    "192.88.99.1", "[3fff::1]", "[3fff:fff::1]", "[::ffff:192.88.99.1]", "[2002:c058:6301::]",
    "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "[::1]", "[::]", "[fe80::1]", "[fc00::1]",
    "[fec0::1]", "[ff02::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::ffff:10.0.0.1]", "[::127.0.0.1]",
    "[64:ff9b::10.0.0.1]", "[2002:7f00:1::]", "[2001:0:7f00:1::]", "[2001:db8::1]", "[100::1]",
]  # fmt: skip


@pytest.mark.parametrize("host", PRIVATE)
def test_a_private_address_is_refused_however_it_is_spelled(host: str) -> None:
    with pytest.raises(RefusedError, match="private network"):
        RELAY.target(f"https://{host}/a.png")


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::", "192.88.98.1", "3ffe::1"],
)
def test_a_public_address_is_public_in_ipv6s_clothes_too(address: str) -> None:
    assert is_public(ip_address(address))


@given(st.ip_addresses(v=4), st.sampled_from(["{}", "::ffff:{}", "64:ff9b::{}"]))
def test_an_ipv4_address_is_judged_alike_in_all_its_spellings(address: object, form: str) -> None:
    assert is_public(ip_address(form.format(address))) == is_public(ip_address(str(address)))


@given(st.integers(0, 2**32 - 1), st.sampled_from(["{}", "0x{:x}", "0{:o}"]))
def test_a_number_is_read_as_the_address_that_it_is(number: int, form: str) -> None:
    assert Guard("https://a.example").allows("b.example", ip_address(number)) == is_public(ip_address(number))
    own = Guard(f"https://{ip_address(number)}")
    assert own.target(f"https://{ip_address(number)}/").literal == ip_address(number)
    with contextlib.suppress(RefusedError):
        assert RELAY.target(f"https://{form.format(number)}/").literal == ip_address(number)


def test_what_a_public_name_resolves_to_is_judged_and_the_bases_own_host_may_be_anywhere() -> None:
    private = ip_address("10.0.0.1")
    assert not RELAY.allows("cdn.example", private)
    assert RELAY.allows("relay.example", private)
    assert Guard("https://10.0.0.1:8443").target("https://10.0.0.1/a.png").literal == private
    assert Guard("https://relay").target("https://relay/a.png").host == "relay"
    with pytest.raises(RefusedError):
        Guard("https://10.0.0.1").target("https://10.0.0.2/a.png")


def test_a_base_without_tls_may_name_its_own_host_without_tls_and_no_other() -> None:
    relay = Guard("http://relay.example:8080")
    assert relay.target("http://relay.example/a.png").host == "relay.example"
    with pytest.raises(RefusedError, match="not https"):
        relay.target("http://cdn.example/a.png")
    with pytest.raises(RefusedError, match="not https"):
        Guard("https://relay.example").target("http://relay.example/a.png")


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9000/a", "http://localhost/a", "http://127.8.8.8/a", "http://[::1]:1/a", "https://127.0.0.1/a",
            "http://2130706433/a", "http://cdn.example/a", "https://cdn.example/a", "http://[::ffff:127.0.0.1]/"]
)  # fmt: skip
@pytest.mark.parametrize("base", ["http://127.0.0.1:8000", "http://localhost:8000", "http://[::1]:8000"])
def test_a_base_on_loopback_opens_loopback_and_plain_http(base: str, url: str) -> None:
    assert Guard(base).target(url)


@pytest.mark.parametrize("url", ["http://10.0.0.1/a", "http://0/a", "http://169.254.169.254/a", "http://intranet/a"])
def test_a_base_on_loopback_opens_no_other_network(url: str) -> None:
    with pytest.raises(RefusedError, match="private network"):
        LOCAL.target(url)


def test_https_on_loopback_does_not_open_plain_http() -> None:
    with pytest.raises(RefusedError, match="not https"):
        Guard("https://localhost:8443").target("http://localhost/a")


@pytest.mark.parametrize(
    ("url", "whole"),
    [
        ("/files/a.png", "https://relay.example/files/a.png"),
        ("files/a.png?b#c", "https://relay.example/gemini/files/a.png?b#c"),
        ("../a.png", "https://relay.example/a.png"),
        ("//cdn.example/a.png", "https://cdn.example/a.png"),
        ("https://cdn.example/../a", "https://cdn.example/../a"),
        ("file:///etc/passwd", "file:///etc/passwd"),
        ("ftp://cdn.example/a", "ftp://cdn.example/a"),
        ("", ""),
    ],
)
def test_an_address_without_a_host_is_of_the_base(url: str, whole: str) -> None:
    assert Guard("https://relay.example/gemini").absolute(url) == whole


def test_an_address_that_cannot_be_made_whole_is_refused() -> None:
    with pytest.raises(RefusedError, match="none"):
        RELAY.absolute("//[::1")


@given(st.text(max_size=60))
def test_no_text_makes_the_guard_stumble(text: str) -> None:
    for url in (text, f"https://{text}", f"https://cdn.example/{text}"):
        with contextlib.suppress(RefusedError):
            RELAY.target(url)
        with contextlib.suppress(RefusedError):
            RELAY.target(RELAY.absolute(url))
