"""The checks of `doctor` one by one, where no program need be run."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from batchbanana.checkup import Check, State, far, near
from batchbanana.manifest import ProviderSettings
from batchbanana.matrix import load
from batchbanana.transport import Answer, End, Endpoint
from tests.support.clinic import UNSET
from tests.support.program import KEY, Job, manifest


@pytest.mark.parametrize(
    ("key", "state", "words"),
    [
        ("k" * 39, "ok", "MY_KEY is set, 20 to 100 printable"),
        ("k" * 200, "ok", "more than 100"),
        ("k" * 12, "warn", "shorter than 20"),
        (f'"{"k" * 39}"', "warn", "quotation mark"),
        ("k" * 20 + " " + "k" * 20, "bad", "characters that no key has"),
        ("schlüssel" * 5, "bad", "characters that no key has"),
    ],
)
def test_a_key_is_judged_by_its_form_and_never_shown(key: str, state: str, words: str) -> None:
    check, found = far.check_key(ProviderSettings(api_key_env="MY_KEY"), {"MY_KEY": key})
    assert (check.state, found is None) == (state, state == "bad")
    assert words in check.text
    assert key[:6] not in check.text


@pytest.mark.parametrize(
    ("settings", "url", "state", "words"),
    [
        ({}, "http://127.0.0.1:1", "ok", "Authorization"),
        ({"auth": "google"}, "http://127.0.0.1:1", "ok", "x-goog-api-key"),
        ({"auth": "google"}, "https://relay.example.com", "warn", "auth: bearer"),
        ({}, "https://generativelanguage.googleapis.com", "ok", "x-goog-api-key"),
    ],
)
def test_it_tells_which_header_bears_the_key(settings: dict[str, str], url: str, state: str, words: str) -> None:
    check = far.check_auth(Endpoint.build(url, settings.get("auth"), KEY))
    assert check.state == state
    assert words in check.text


def test_a_certificate_that_is_not_trusted_is_bad_and_says_what_helps() -> None:
    served = Endpoint.build("https://relay.example.com", None, KEY)
    answer = Answer(end=End.TLS, problem="the server's certificate is not trusted")
    [check] = far.check_answer(served, answer, {"m": ["m"]})
    assert (check.state, check.exit_code) == ("bad", 12)
    assert "SSL_CERT_FILE" in check.text


@pytest.mark.parametrize(
    ("url", "environment", "state", "words"),
    [
        ("https://relay.example.com", {}, "ok", "the usual authorities"),
        ("https://relay.example.com", {"SSL_CERT_DIR": "."}, "ok", "SSL_CERT_DIR are trusted"),
        ("https://relay.example.com", {"SSL_CERT_DIR": "not-there"}, "bad", "not-there"),
        ("http://127.0.0.1:1", {"SSL_CERT_FILE": "not-there"}, "ok", "none are needed"),
        ("http://relay.example.com", {}, "warn", "use https"),
    ],
)
def test_it_tells_which_authorities_are_trusted(url: str, environment: dict[str, str], state: str, words: str) -> None:
    check = far.check_certificates(Endpoint.build(url, None, KEY), environment)
    assert check.state == state
    assert words in check.text


@pytest.mark.parametrize(
    ("environment", "state", "words"),
    [
        ({}, "ok", "none is set"),
        ({"HTTPS_PROXY": "http://proxy.example:3128"}, "ok", "HTTPS_PROXY sends this host's requests through http://proxy.example:3128"),
        ({"ALL_PROXY": "proxy.example"}, "ok", "ALL_PROXY sends this host's requests through http://proxy.example"),
        ({"HTTPS_PROXY": "http://me:s3cret@proxy.example:1"}, "ok", "through http://***@proxy.example:1"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": ".example.com"}, "ok", "NO_PROXY takes relay.example.com out"),
        ({"HTTPS_PROXY": "http://p:port"}, "bad", "HTTPS_PROXY is not an address"),
        ({"HTTP_PROXY": "http://p:1"}, "ok", "none is set"),
    ],
)  # fmt: skip
def test_it_tells_which_proxy_stands_between_without_its_password(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], state: str, words: str
) -> None:
    for name in UNSET:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    check = far.check_proxy(Endpoint.build("https://relay.example.com", None, KEY))
    assert check.state == state
    assert words in check.text
    assert "s3cret" not in check.text


@pytest.mark.parametrize(
    ("status", "body", "state", "words"),
    [
        (404, b"", "warn", "no list of models (404)"),
        (405, b"{}", "warn", "no list of models (405)"),
        (200, b"<html>Welcome</html>", "warn", "is no list of models"),
        (200, b"[1]", "warn", "is no list of models"),
        (200, b'{"models": 7}', "warn", "is no list of models"),
        (503, b"", "warn", "overloaded"),
        (500, b"", "warn", "The server failed"),
        (429, b"", "warn", "not now"),
        (302, b"", "bad", "redirects"),
        (402, b"", "bad", "credit"),
    ],
)
def test_what_the_service_answers_is_told_as_what_it_means(status: int, body: bytes, state: str, words: str) -> None:
    served = Endpoint.build("https://relay.example.com", None, KEY)
    [check] = far.check_answer(served, Answer(end=End.WHOLE, status=status, body=body), {"m": ["m"]})
    assert (check.state, check.exit_code) == (state, 12 if state == "bad" else 0)
    assert words in check.text


def test_a_list_that_breaks_off_is_bad() -> None:
    served = Endpoint.build("https://relay.example.com", None, KEY)
    answer = Answer(end=End.BROKEN, status=200, problem="the connection broke in the answer")
    [check] = far.check_answer(served, answer, {"m": ["m"]})
    assert check.state is State.BAD


def about(asked: list[str], body: object, url: str = "https://relay.example.com") -> Check:
    """What the last check says of one model that is asked for by these names, the first of which is its id."""
    answer = Answer(end=End.WHOLE, status=200, body=json.dumps(body).encode())
    return far.check_answer(Endpoint.build(url, None, KEY), answer, {"m": asked})[-1]


@pytest.mark.parametrize(
    ("url", "state", "code"),
    [
        ("https://generativelanguage.googleapis.com", "bad", 12),
        ("https://relay.example.com", "warn", 0),
        ("http://127.0.0.1:1", "warn", 0),
    ],
)
def test_a_model_that_is_not_listed_is_bad_at_google_alone(url: str, state: str, code: int) -> None:
    check = about(["m"], {"models": [{"name": "models/another"}]}, url)
    assert (check.state, check.exit_code) == (state, code)
    assert check.text.startswith("is not in the")


@pytest.mark.parametrize(
    "entry", [{"id": None, "name": "m"}, {"id": "", "name": "google/m"}, {"id": 7, "name": "m"}, {"id": "M"}]
)
def test_an_entry_without_an_id_is_known_by_its_name(entry: dict[str, object]) -> None:
    assert about(["m"], {"data": [entry]}).text == "is listed"


@pytest.mark.parametrize("entries", [[], [{}], [{"id": None, "name": None}], ["m"]])
def test_a_list_that_names_nothing_does_not_say_and_accuses_nobody(entries: list[object]) -> None:
    check = about(["m"], {"models": entries}, "https://generativelanguage.googleapis.com")
    assert (check.name, check.state) == ("service", "warn")
    assert "names none; only --probe can tell" in check.text


def test_a_model_is_looked_for_by_the_names_on_the_wire() -> None:
    listed = {"data": [{"id": "m-2k"}, {"id": "m-16x9-2k"}]}
    assert about(["m-2k", "m-16x9-2k"], listed).text == "is listed as m-2k, m-16x9-2k"
    check = about(["m", "m-2k", "m-4k", "m-1x4", "m-4x1", "m-1x8"], listed)
    assert check.state is State.WARN
    assert check.text.startswith("is asked for as m, m-4k, m-1x4 and 2 more, which is not in the list")


def test_the_names_on_the_wire_are_those_that_the_plan_asks_for(tmp_path: Path) -> None:
    def names(**asked: object) -> dict[str, list[str]]:
        job = Job(tmp_path, "", manifest(2, model=["gemini-3-pro-image", "mine"], **asked))
        return far.names_asked(load(job.manifest), Endpoint.build("https://relay.example.com", None, KEY))

    sizes = {"resolution": ["1K", "2K"], "ratio": ["1:1", "16:9"]}
    spoken = {"format": "openai", "dialect": "suffix"}
    written = ["", "-2k", "-16x9", "-16x9-2k"]
    assert {model: sorted(told) for model, told in names(provider=spoken, **sizes).items()} == {
        model: sorted(f"{model}{word}" for word in written) for model in ("gemini-3-pro-image", "mine")
    }
    assert names(provider={"format": "openai", "dialect": "image_config"}, **sizes) == names(**sizes)
    assert names(**sizes) == {"gemini-3-pro-image": ["gemini-3-pro-image"], "mine": ["mine"]}


@pytest.mark.parametrize(
    ("seconds", "state", "words"), [(299, "ok", "agrees"), (-299, "ok", "agrees"), (301, "warn", "ahead of")]
)
def test_a_clock_may_be_five_minutes_off(seconds: int, state: str, words: str) -> None:
    now = datetime(2026, 11, 22, 12, tzinfo=UTC)
    then = format_datetime(now - timedelta(seconds=seconds), usegmt=True)
    check = far.check_clock(Answer(end=End.WHOLE, status=200, headers={"date": then}), now)
    assert check.state == state
    assert words in check.text


@pytest.mark.parametrize("date", ["", "yesterday"])
def test_a_server_that_does_not_tell_its_time_is_no_fault(date: str) -> None:
    answer = Answer(end=End.WHOLE, status=200, headers={"date": date})
    assert far.check_clock(answer, datetime.now(UTC)).state is State.OK


@pytest.mark.parametrize(("free", "state"), [(4096, "ok"), (4095, "warn"), (1024, "warn"), (1023, "bad")])
def test_free_space_is_compared_with_what_the_missing_images_may_take(tmp_path: Path, free: int, state: str) -> None:
    check = near.check_disk(tmp_path / "not" / "there", 4096, free)
    assert check.state == state
    assert not (tmp_path / "not").exists()


@pytest.mark.parametrize(("kind", "state"), [("ext4", "ok"), ("nfs4", "bad"), ("cifs", "bad")])
def test_a_network_file_system_is_bad_for_the_ledger(tmp_path: Path, kind: str, state: str) -> None:
    mounts = f"/dev/sda1 / ext4 rw 0 0\nserver:/x {tmp_path} {kind} rw 0 0\n"
    check = near.check_file_system(tmp_path / "not" / "there", mounts)
    assert check is not None
    assert check.state == state
    assert check.exit_code == (14 if state == "bad" else 0)
