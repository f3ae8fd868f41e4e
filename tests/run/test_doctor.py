"""What `doctor` finds out before anything is paid for: each check when all is well, and when it is not."""

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from batchbanana.checkup import State, near
from batchbanana.sandbox.running import in_thread
from tests.support.clinic import ALL_WELL, answering, doctor, listing, told
from tests.support.program import KEY, Job, command, manifest, until


def test_where_all_is_well_every_check_says_so_and_nothing_is_made_or_bought(tmp_path: Path) -> None:
    with in_thread() as sandbox:
        job = Job(tmp_path, sandbox.url, ALL_WELL)
        code, checks = told(job)
        assert code == 0
        assert {state for state, _ in checks.values()} == {"ok"}, checks
        assert {
            "manifest", "endpoint", "auth", "key", "proxy", "certificates", "service", "model gemini-3-pro-image",
            "clock", "disk", "open files", "ledger", "money", "limits",
        } <= set(checks)  # fmt: skip
        assert checks["endpoint"][1] == f"{sandbox.url} (from --base-url), format gemini"
        assert "GEMINI_API_KEY is set" in checks["key"][1]
        assert sandbox.bill()["requests"] == 0
        text = doctor(job).out
        assert "ok    service" in text
        assert text.splitlines()[-1].startswith("0 bad, 0 to know")
    assert not job.output.exists()


def test_faults_of_the_manifest_end_it_as_everywhere(tmp_path: Path) -> None:
    job = Job(tmp_path, "http://127.0.0.1:1", manifest(1, ratio="9:99999"))
    ended = doctor(job)
    assert (ended.code, ended.out) == (2, "")
    assert f"{job.manifest}:" in ended.err


@pytest.mark.parametrize("url", ["no-address", "http://user:pass@127.0.0.1:1"])
def test_an_address_that_is_none_ends_it_as_everywhere(tmp_path: Path, url: str) -> None:
    ended = doctor(Job(tmp_path, "", ALL_WELL), url=url)
    assert ended.code == 2
    assert "base_url" in ended.err


def test_the_sandbox_and_an_address_exclude_each_other(tmp_path: Path) -> None:
    assert doctor(Job(tmp_path, "http://127.0.0.1:1", ALL_WELL), "--sandbox").code == 2


def test_without_a_key_it_says_which_variable_to_set_and_asks_nobody(tmp_path: Path) -> None:
    with answering(listing()) as (url, seen):
        code, checks = told(Job(tmp_path, url, {**ALL_WELL, "provider": {"api_key_env": "MY_KEY"}}))
    assert code == 12
    assert checks["key"] == ("bad", "No API key: set MY_KEY in the environment, or try it out with --sandbox")
    assert checks["service"][0] == "warn"
    assert seen == []


def test_a_key_that_is_not_accepted_is_bad(tmp_path: Path) -> None:
    with in_thread({"keys": ["another-key-altogether"]}) as sandbox:
        code, checks = told(Job(tmp_path, sandbox.url, ALL_WELL))
    assert code == 12
    state, text = checks["service"]
    assert state == "bad"
    assert "The key is not accepted" in text
    assert not [name for name in checks if name.startswith("model ")]


def test_a_server_that_quotes_the_key_does_not_bring_it_into_the_output(tmp_path: Path) -> None:
    with answering(json.dumps({"error": {"message": f"{KEY} is no key"}}).encode(), 403) as (url, _):
        code, checks = told(Job(tmp_path, url, ALL_WELL))
    assert code == 12
    assert "The key may not do this" in checks["service"][1]


def test_where_nothing_listens_it_is_bad(tmp_path: Path) -> None:
    code, checks = told(Job(tmp_path, "http://127.0.0.1:1", ALL_WELL))
    assert code == 12
    assert checks["service"][0] == "bad"
    assert "cannot connect" in checks["service"][1]
    assert "clock" not in checks


def test_tls_that_is_none_is_bad(tmp_path: Path) -> None:
    with in_thread() as sandbox:
        code, checks = told(Job(tmp_path, sandbox.url.replace("http:", "https:"), ALL_WELL))
    assert code == 12
    assert checks["service"][0] == "bad"
    assert "TLS" in checks["service"][1]


def test_certificates_that_cannot_be_read_are_bad(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone.pem")
    code, checks = told(Job(tmp_path, "https://127.0.0.1:1", ALL_WELL), SSL_CERT_FILE=gone)
    assert code == 12
    assert checks["certificates"][0] == "bad"
    assert "SSL_CERT_FILE names" in checks["certificates"][1]


def test_certificates_that_are_none_are_bad(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("this is no certificate")
    code, checks = told(Job(tmp_path, "https://127.0.0.1:1", ALL_WELL), SSL_CERT_FILE=str(path))
    assert code == 12
    assert "SSL_CERT_FILE" in checks["service"][1]


def test_a_proxy_is_not_used_for_this_machine(tmp_path: Path) -> None:
    with in_thread() as sandbox:
        code, checks = told(Job(tmp_path, sandbox.url, ALL_WELL), http_proxy="http://me:s3cret@127.0.0.1:1")
    assert code == 0
    assert checks["proxy"] == ("ok", "none; this machine is asked directly")


def test_a_proxy_that_cannot_be_used_is_bad(tmp_path: Path) -> None:
    code, checks = told(Job(tmp_path, "https://relay.example.com", ALL_WELL), https_proxy="socks9://127.0.0.1:1")
    assert code == 12
    assert "cannot be used; correct or unset it" in checks["service"][1]


def test_a_model_that_a_relay_does_not_list_is_left_to_the_probe_and_the_others_are_told(tmp_path: Path) -> None:
    with answering(listing("gemini-3-pro-image", "another")) as (url, seen):
        job = Job(tmp_path, url, manifest(1, model=["gemini-3-pro-image", "gemini-nano-banana-2.1"], resolution="1K"))
        code, checks = told(job)
    assert code == 0
    assert checks["model gemini-3-pro-image"] == ("ok", "is listed")
    assert checks["model gemini-nano-banana-2.1"][0] == "warn"
    assert "--probe tells" in checks["model gemini-nano-banana-2.1"][1]
    assert [asked.path for asked in seen] == ["/v1beta/models?pageSize=1000"]


def test_a_list_with_more_pages_accuses_nobody(tmp_path: Path) -> None:
    page = json.dumps({"models": [{"name": "models/another"}], "nextPageToken": "more"}).encode()
    with answering(page) as (url, _):
        code, checks = told(Job(tmp_path, url, ALL_WELL))
    assert code == 0
    assert checks["model gemini-3-pro-image"][0] == "warn"


def test_the_openai_format_has_its_own_list_and_its_own_header(tmp_path: Path) -> None:
    data = {"object": "list", "data": [{"id": "google/gemini-3-pro-image", "name": "Google: Nano Banana Pro"}]}
    provider = {"format": "openai", "dialect": "image_config"}
    with answering(json.dumps(data).encode()) as (url, seen):
        code, checks = told(Job(tmp_path, url + "/v1", {**ALL_WELL, "provider": provider}))
    assert code == 0
    assert checks["model gemini-3-pro-image"] == ("ok", "is listed")
    assert "format openai, dialect image_config" in checks["endpoint"][1]
    [asked] = seen
    assert asked.path == "/v1/models"
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert "x-goog-api-key" not in asked.headers


def test_a_relay_that_takes_the_size_in_the_models_name_is_asked_for_that_name(tmp_path: Path) -> None:
    provider = {"format": "openai", "dialect": "suffix"}
    data = {"data": [{"id": "gemini-3-pro-image-2k"}]}
    with answering(json.dumps(data).encode()) as (url, _):
        job = Job(tmp_path, url, {**ALL_WELL, "provider": provider, "resolution": "2K"})
        assert told(job)[1]["model gemini-3-pro-image"] == ("ok", "is listed as gemini-3-pro-image-2k")
        job.write({**ALL_WELL, "provider": provider, "resolution": "4K"})
        code, checks = told(job)
    assert (code, checks["model gemini-3-pro-image"][0]) == (0, "warn")
    assert "is asked for as gemini-3-pro-image-4k" in checks["model gemini-3-pro-image"][1]


def test_a_service_without_a_list_of_models_is_not_bad(tmp_path: Path) -> None:
    with answering(b"", 404) as (url, _):
        code, checks = told(Job(tmp_path, url, ALL_WELL))
    assert (code, checks["service"][0]) == (0, "warn")


def test_a_clock_that_is_wrong_is_told(tmp_path: Path) -> None:
    then = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    with answering(listing("gemini-3-pro-image"), date=then) as (url, _):
        code, checks = told(Job(tmp_path, url, ALL_WELL))
    assert (code, checks["clock"][0]) == (0, "warn")
    assert "60 min behind" in checks["clock"][1]


def test_a_place_that_cannot_be_written_is_bad_and_stays_as_it_was(tmp_path: Path) -> None:
    with in_thread() as sandbox:
        job = Job(tmp_path, sandbox.url, ALL_WELL)
        (tmp_path / "file").write_text("")
        job.output = tmp_path / "file" / "out"
        code, checks = told(job)
    assert code == 13
    assert checks["disk"][0] == "bad"
    assert "another --output" in checks["disk"][1]


def test_only_what_is_missing_needs_room(tmp_path: Path) -> None:
    with in_thread({"pictures": "plain"}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(10, model="gemini-3-pro-image", resolution=["2K", "4K"]))
        assert "may take 0.3 GiB" in told(job)[1]["disk"][1]  # ten times 8 and 24 MiB
        job.run("--limit", "15")
        assert "may take 0.1 GiB" in told(job)[1]["disk"][1]


def test_too_few_file_descriptors_are_told() -> None:
    few, many = near.check_files(1), near.check_files(10**12)
    assert few is not None
    assert few.state is State.OK
    if many is not None and many.state is not State.OK:  # where there is no limit at all, any number is well
        assert many.state is State.WARN
        assert "limits.concurrency" in many.text


def test_the_ledger_is_described(tmp_path: Path) -> None:
    with in_thread() as sandbox:
        job = Job(tmp_path, sandbox.url, ALL_WELL)
        assert "none yet" in told(job)[1]["ledger"][1]
        job.run()
        assert told(job)[1]["ledger"] == ("ok", "2 attempts, 2 tasks with an outcome")


def test_a_run_that_is_at_work_is_told(tmp_path: Path) -> None:
    with in_thread({"latency": 60.0}) as sandbox:
        job = Job(tmp_path, sandbox.url, ALL_WELL)
        with job.started():
            until(lambda: job.attempts() == 2)
            state, text = told(job)[1]["ledger"]
    assert state == "warn"
    assert "a run is at work" in text


def damage(job: Job, how: str) -> None:
    ledger = job.output / ".batchbanana/ledger.db"
    if how == "gone":
        for path in ledger.parent.glob("ledger.db*"):
            path.unlink()
    elif how == "garbage":
        ledger.write_bytes(b"this is no database" * 100)
    else:
        with closing(sqlite3.connect(ledger)) as db, db:
            db.execute("PRAGMA user_version = 99" if how == "newer" else "DELETE FROM outcomes WHERE seq > 1")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("gone", "images but no ledger"),
        ("older", "an older copy"),
        ("garbage", "cannot be opened"),
        ("newer", "newer batchbanana"),
    ],
)
def test_a_ledger_that_a_run_could_not_use_is_bad(tmp_path: Path, how: str, words: str) -> None:
    with in_thread() as sandbox:
        job = Job(tmp_path, sandbox.url, ALL_WELL)
        job.run()
        damage(job, how)
        code, checks = told(job)
        assert code == 14
        assert checks["ledger"][0] == "bad"
        assert words in checks["ledger"][1]
        assert job.run().code == 14


def test_a_folder_that_was_made_in_the_sandbox_is_bad_for_a_real_run(tmp_path: Path) -> None:
    with in_thread() as sandbox:
        job = Job(tmp_path, sandbox.url, ALL_WELL)
        assert command("run", str(job.manifest), "--output", str(job.output), "--sandbox").code == 0
        code, checks = told(job)
        assert code == job.run().code == 2
        assert "was made in the sandbox" in checks["ledger"][1]


def of(limits: dict[str, Any], **more: Any) -> dict[str, object]:
    return {**ALL_WELL, "limits": limits, **more}


@pytest.mark.parametrize(
    ("limits", "model", "code", "state", "words"),
    [
        ({}, "gemini-3-pro-image", 0, "ok", "2 images are missing, for $0.27"),
        ({"max_cost": 5}, "gemini-3-pro-image", 0, "ok", "max_cost is $5.00"),
        ({"max_cost": 0.2}, "gemini-3-pro-image", 0, "warn", "raise it"),
        ({}, "unheard-of", 0, "warn", "no price is known for unheard-of at 1K"),
        ({"max_cost": 5}, "unheard-of", 2, "bad", "a money limit cannot be kept"),
    ],
)
def test_money_is_compared_with_the_cap(
    tmp_path: Path, limits: dict[str, Any], model: str, code: int, state: str, words: str
) -> None:
    with answering(listing("gemini-3-pro-image", "unheard-of")) as (url, _):
        found, checks = told(Job(tmp_path, url, of(limits, model=model)))
    assert (found, checks["money"][0]) == (code, state)
    assert words in checks["money"][1]


def test_what_is_reserved_for_requests_in_flight_counts_against_the_cap(tmp_path: Path) -> None:
    with in_thread({"latency": 60.0}) as sandbox:
        job = Job(tmp_path, sandbox.url, of({"max_cost": 5}))
        job.kill(lambda: job.attempts() == 2)
        assert "max_cost is $5.00, $0.27 is spent or reserved" in told(job)[1]["money"][1]
        job.write(of({"max_cost": 0.5}))
        state, text = told(job)[1]["money"]
    assert (state, "raise it" in text) == ("warn", True)


@pytest.mark.parametrize(
    ("limits", "state", "words"),
    [
        ({"concurrency": 16}, "ok", "about 96 images a minute at 10 s"),
        ({"concurrency": 16, "requests_per_minute": 90}, "ok", "90 a minute are allowed"),
        ({"concurrency": 16, "requests_per_minute": 120}, "warn", "`concurrency: 20` would"),
    ],
)
def test_a_rate_that_the_workers_cannot_reach_is_told(
    tmp_path: Path, limits: dict[str, Any], state: str, words: str
) -> None:
    with in_thread() as sandbox:
        code, checks = told(Job(tmp_path, sandbox.url, of(limits)))
    assert (code, checks["limits"][0]) == (0, state)
    assert words in checks["limits"][1]


def test_what_is_odd_about_the_manifest_is_told(tmp_path: Path) -> None:
    with answering(listing("unheard-of")) as (url, _):
        _, checks = told(Job(tmp_path, url, of({}, model="unheard-of")))
    assert checks["manifest"][0] == "warn"
    assert "not in the registry" in checks["manifest"][1]


def test_a_model_that_is_shut_at_google_is_told_by_where_the_requests_really_go(tmp_path: Path) -> None:
    with in_thread() as sandbox:
        job = Job(tmp_path, sandbox.url, of({}, model="gemini-3-pro-image-preview"))
        assert told(job)[1]["manifest"][0] == "ok"
        job.write(of({}, model="gemini-3-pro-image-preview", provider={"base_url": sandbox.url}))
        code, checks = told(job, url="https://generativelanguage.googleapis.com:1", https_proxy="http://127.0.0.1:1")
    assert (code, checks["manifest"][0]) == (12, "warn")
    assert "use `gemini-3-pro-image`" in checks["manifest"][1]


def test_a_price_of_the_users_is_used(tmp_path: Path) -> None:
    models = tmp_path / "models.yaml"
    models.write_text("models:\n  - id: gemini-3-pro-image\n    price: 0.01\n")
    with in_thread() as sandbox:
        _, checks = told(Job(tmp_path, sandbox.url, ALL_WELL), "--models", str(models))
    assert "2 images are missing, for $0.02" in checks["money"][1]
