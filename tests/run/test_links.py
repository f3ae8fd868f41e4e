"""Answers that only point to their image: it is fetched, and no trouble with that buys it again."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.support.program import KEY, Job, assert_no_key, environment, manifest, until
from tests.support.web import Web, picture, pointing, reply, web

Respond = Callable[[BaseHTTPRequestHandler], None]
SIGNATURE = "signature-9f2c"  # part of an address that nobody needs to see


@contextmanager
def service(files: Respond, address: str = "{url}/{number}.png?sig=" + SIGNATURE) -> Iterator[tuple[Web, Web]]:
    """Serve generations that point to images, and the images on a server of their own; gives both."""

    def generate(handler: BaseHTTPRequestHandler) -> None:
        url = address.format(url=images.url, number=len(relay.asked))
        reply(handler, pointing(url, modelVersion="gemini-3.1-flash-image"))

    with web(files) as images, web(generate) as relay:
        yield relay, images


def give(handler: BaseHTTPRequestHandler) -> None:
    reply(handler, picture())


def fail(status: int, first: int = 1_000_000) -> Respond:
    """Answer the first so many requests with a status and the others with an image."""
    count = 0

    def respond(handler: BaseHTTPRequestHandler) -> None:
        nonlocal count
        count += 1
        reply(handler, b"no", status) if count <= first else give(handler)

    return respond


def spool(job: Job) -> list[str]:
    folder = job.output / ".batchbanana/spool"
    return sorted(path.suffix for path in folder.iterdir()) if folder.exists() else []


def test_an_image_behind_an_address_is_fetched_once_and_without_the_key(tmp_path: Path) -> None:
    with service(give) as (relay, images):
        job = Job(tmp_path, relay.url, manifest(3))
        ended = job.run()
        assert (ended.code, ended.json["done"]) == (0, 3), ended.err
        assert (relay.count("POST"), images.count("GET")) == (3, 3)
        job.check()
        assert {record["model_version"] for record in job.records} == {"gemini-3.1-flash-image"}
        assert job.run().json["attempts"] == 0
    assert all(KEY in asked.headers["authorization"] for asked in relay.asked)
    assert not any(KEY in str(asked) or "authorization" in asked.headers for asked in images.asked)


def test_the_very_host_of_the_base_gets_no_key_with_a_download_either(tmp_path: Path) -> None:
    def respond(handler: BaseHTTPRequestHandler) -> None:
        reply(handler, pointing(f"{relay.url}/files/1.png")) if handler.command == "POST" else give(handler)

    with web(respond) as relay:
        assert Job(tmp_path, relay.url, manifest(1)).run().code == 0
    assert ["authorization" in asked.headers for asked in relay.asked] == [True, False]


@pytest.mark.parametrize("status", [503, 429, 408])
def test_a_download_that_fails_twice_is_tried_again_and_the_generation_is_not(tmp_path: Path, status: int) -> None:
    with service(fail(status, 2)) as (relay, images):
        job = Job(tmp_path, relay.url, manifest(1))
        ended = job.run()
        assert (ended.code, ended.json["done"], ended.json["attempts"]) == (0, 1, 1), ended.err
        assert (relay.count("POST"), images.count("GET")) == (1, 3)
        job.check()


@pytest.mark.parametrize(("status", "tries"), [(404, 5), (410, 1)])
def test_an_image_that_is_gone_fails_its_task_which_is_bought_again_only_when_asked(
    tmp_path: Path, status: int, tries: int
) -> None:
    with service(fail(status, tries)) as (relay, images):
        job = Job(tmp_path, relay.url, manifest(1))
        ended = job.run()
        assert (ended.code, ended.json["failed"]) == (3, 1)
        assert (
            f"it answers with status {status}); --retry failed buys it again"
            in job.rows("SELECT message FROM attempts")[0][0]
        )
        assert job.rows("SELECT result, billed FROM attempts") == [("download", "yes")]
        assert ended.json["cost_usd"] > 0
        assert (relay.count("POST"), images.count("GET"), spool(job)) == (1, tries, [])
        assert job.run().json["attempts"] == 0
        again = job.run("--retry", "failed")
        assert (again.code, again.json["done"], relay.count("POST")) == (0, 1, 2)
        job.check()


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("http://10.1.2.3/a.png", "private network"),
        ("http://169.254.169.254/a.png", "private network"),
        ("http://user:pw@127.0.0.1:1/a.png", "user name or password"),
        ("{url}/a.png?key=" + KEY, "holds the API key"),
        ("https://" + KEY + ".example/a.png", "holds the API key"),
        ("http://[::ffff:169.254.169.254]/a.png", "private network"),
        ("//10.1.2.3/a.png", "private network"),
        ("ftp://127.0.0.1/a.png", "not https"),
        ("file:///etc/passwd", "none"),
    ],
)
def test_an_address_that_must_not_be_asked_is_refused_in_a_sentence(tmp_path: Path, address: str, why: str) -> None:
    with service(give, address) as (relay, images):
        job = Job(tmp_path, relay.url, manifest(1))
        ended = job.run()
        assert (ended.code, ended.json["failed"]) == (3, 1)
        [(message,)] = job.rows("SELECT message FROM attempts")
        assert why in message
        assert (relay.count("POST"), images.asked, spool(job)) == (1, [], [])
    everything = b"".join(path.read_bytes() for path in job.output.rglob("*") if path.is_file())
    assert KEY.encode() not in everything


@pytest.mark.parametrize("address", ["/files/1.png", "files/1.png", "//{host}/files/1.png"])
def test_an_address_without_a_host_or_a_scheme_is_fetched_from_where_the_base_is(tmp_path: Path, address: str) -> None:
    def respond(handler: BaseHTTPRequestHandler) -> None:
        told = address.format(host=relay.url.removeprefix("http://"))
        reply(handler, pointing(told)) if handler.command == "POST" else give(handler)

    with web(respond) as relay:
        job = Job(tmp_path, relay.url, manifest(1))
        ended = job.run()
        assert (ended.code, ended.json["done"]) == (0, 1), ended.err
        job.check()
    assert [(asked.method, "authorization" in asked.headers) for asked in relay.asked] == [
        ("POST", True),
        ("GET", False),
    ]
    assert relay.asked[1].path == "/files/1.png"


def test_a_download_that_is_the_key_itself_is_told_without_it(tmp_path: Path) -> None:
    with service(lambda handler: reply(handler, KEY.encode())) as (relay, _):
        job = Job(tmp_path, relay.url, manifest(1))
        assert job.run().code == 3
        assert relay.count("POST") == 1
        assert "the bytes are not a picture's" in job.rows("SELECT message FROM attempts")[0][0]
    assert_no_key(job.output)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_into_a_private_network_is_refused(tmp_path: Path, status: int) -> None:
    target = "http://10.1.2.3/a.png"
    with service(lambda handler: reply(handler, b"", status, location=target)) as (relay, images):
        job = Job(tmp_path, relay.url, manifest(1))
        assert job.run().code == 3
        assert "private network" in job.rows("SELECT message FROM attempts")[0][0]
        assert (relay.count("POST"), images.count("GET")) == (1, 1)


def test_the_fourth_redirect_is_refused(tmp_path: Path) -> None:
    with service(lambda handler: reply(handler, b"", 302, location=handler.path + "x")) as (relay, images):
        job = Job(tmp_path, relay.url, manifest(1))
        assert job.run().code == 3
        assert "redirected more than 3 times" in job.rows("SELECT message FROM attempts")[0][0]
        assert (relay.count("POST"), images.count("GET")) == (1, 4)


@pytest.mark.parametrize("body", [b"<html>Sorry</html>", picture()[:-20], b""])
def test_what_is_no_whole_image_is_asked_for_three_times_and_given_up(tmp_path: Path, body: bytes) -> None:
    with service(lambda handler: reply(handler, body)) as (relay, images):
        job = Job(tmp_path, relay.url, manifest(1))
        ended = job.run()
        assert (ended.code, ended.json["failed"]) == (3, 1)
        assert (relay.count("POST"), images.count("GET"), spool(job)) == (1, 3, [])


def test_a_connection_that_breaks_in_the_image_is_tried_again(tmp_path: Path) -> None:
    count = 0

    def cut(handler: BaseHTTPRequestHandler) -> None:
        nonlocal count
        count += 1
        data = picture()
        handler.send_response(200)
        handler.send_header("content-length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data if count > 2 else data[: len(data) // 2])
        handler.close_connection = True

    with service(cut) as (relay, images):
        job = Job(tmp_path, relay.url, manifest(1))
        assert job.run().json["done"] == 1
        assert (relay.count("POST"), images.count("GET")) == (1, 3)
        job.check()


class Switch:
    """A server of images that hangs until it is told to give them."""

    def __init__(self, status: int | None = None) -> None:
        self.status = status
        self.opened = threading.Event()

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        if self.opened.is_set():
            give(handler)
        elif self.status is not None:
            reply(handler, b"no", self.status)
        else:
            handler.send_response(200)
            handler.send_header("content-length", str(len(picture())))
            handler.end_headers()
            handler.wfile.write(picture()[:100])
            self.opened.wait(60)
            handler.close_connection = True


def test_killed_in_the_middle_of_a_download_the_next_run_fetches_it_and_buys_nothing(tmp_path: Path) -> None:
    switch = Switch()
    with service(switch) as (relay, images):
        job = Job(tmp_path, relay.url, manifest(3, limits={"concurrency": 3}))
        job.kill(lambda: images.count("GET") == 3)
        assert spool(job).count(".link") == 3
        switch.opened.set()
        ended = job.run()
        assert (ended.code, ended.json["done"], ended.json["attempts"]) == (0, 3, 0), ended.err
        assert (ended.json["possibly_billed"], relay.count("POST")) == (0, 3)
        job.check()
        assert {record["model_version"] for record in job.records} == {"gemini-3.1-flash-image"}
        assert {record["note"] for record in job.records} == {"fetched by a later run"}


def test_while_the_server_of_images_is_down_runs_pause_and_the_first_after_it_brings_them_home(tmp_path: Path) -> None:
    switch = Switch(503)
    with service(switch) as (relay, _):
        job = Job(tmp_path, relay.url, manifest(2))
        for tries in (1, 2):
            ended = job.run()
            assert (ended.code, ended.json["pending"]) == (75, 2), ended.err
            assert "127.0.0.1 does not give an image that is paid for" in ended.json["stopped"]
            assert "run again" in ended.json["stopped"]
            assert SIGNATURE not in ended.err + ended.out
            assert (relay.count("POST"), spool(job)) == (2, [".link", ".link"]), tries
        switch.opened.set()
        ended = job.run()
        assert (ended.code, ended.json["done"], relay.count("POST")) == (0, 2, 2), ended.err
        job.check()


def test_a_run_with_another_base_does_not_give_up_what_was_allowed_before(tmp_path: Path) -> None:
    switch = Switch()
    with service(switch) as (relay, images):
        job = Job(tmp_path, relay.url, manifest(1))
        job.kill(lambda: images.count("GET") == 1)
        switch.status = 503
        assert job.run().code == 75
        asked = images.count("GET")
        job.url = "https://192.0.2.1"
        ended = job.run("--limit", "0")
        assert (ended.code, ended.json["pending"], spool(job)) == (75, 1, [".link"]), ended.err
        assert "may not be asked with this base_url" in ended.err
        assert images.count("GET") == asked
        switch.opened.set()
        job.url = relay.url
        assert (job.run().json["done"], relay.count("POST")) == (1, 1)
        job.check()


@pytest.mark.parametrize("status", [403, 404])
def test_an_image_that_a_later_run_finds_gone_fails_and_is_bought_again_when_asked(tmp_path: Path, status: int) -> None:
    switch = Switch()
    with service(switch) as (relay, images):
        job = Job(tmp_path, relay.url, manifest(1))
        job.kill(lambda: images.count("GET") == 1)
        switch.status = status
        ended = job.run()
        assert (ended.code, ended.json["failed"], ended.json["possibly_billed"]) == (3, 1, 0), ended.err
        assert ended.json["cost_usd"] > 0
        assert (relay.count("POST"), images.count("GET"), spool(job)) == (1, 3, [])
        switch.opened.set()
        assert job.run("--retry", "failed").json["done"] == 1
        assert relay.count("POST") == 2
        job.check()


def test_ctrl_c_twice_in_a_download_leaves_it_to_the_next_run(tmp_path: Path) -> None:
    switch = Switch()
    with service(switch) as (relay, images):
        job = Job(tmp_path, relay.url, manifest(1))
        with job.started() as process:
            until(lambda: images.count("GET") == 1)
            process.send_signal(signal.SIGINT)
            assert process.stderr is not None
            while "Stopped by SIGINT" not in process.stderr.readline():
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=20)
        assert process.returncode == 130
        assert json.loads(out)["possibly_billed"] == 0
        assert spool(job) == [".link"]
        switch.opened.set()
        assert job.run().json["done"] == 1
        assert relay.count("POST") == 1
        job.check()


def test_a_signal_while_a_run_fetches_what_is_left_ends_it_soon_and_loses_nothing(tmp_path: Path) -> None:
    switch = Switch()
    with service(switch) as (relay, images):
        job = Job(tmp_path, relay.url, manifest(1))
        job.kill(lambda: images.count("GET") == 1)
        with job.started() as process:
            until(lambda: images.count("GET") == 2)
            process.send_signal(signal.SIGTERM)
            out, _ = process.communicate(timeout=20)
        assert process.returncode == 143
        assert json.loads(out)["pending"] == 1
        assert spool(job) == [".link"]
        switch.opened.set()
        assert job.run().json["done"] == 1
        assert relay.count("POST") == 1
        job.check()


def test_a_note_that_outlived_its_settlement_is_dropped(tmp_path: Path) -> None:
    with service(give) as (relay, images):
        job = Job(tmp_path, relay.url, manifest(1))
        job.run()
        note = {"url": f"{images.url}/1.png", "model_version": None, "billed": "yes"}
        (job.output / ".batchbanana/spool/1.0.link").write_text(json.dumps(note))
        assert job.run().code == 0
        assert (relay.count("POST"), images.count("GET")) == (1, 1)
        job.check()


def test_a_note_that_is_not_as_it_was_written_stops_the_run_before_anything_is_bought(tmp_path: Path) -> None:
    switch = Switch()
    with service(switch) as (relay, images):
        job = Job(tmp_path, relay.url, manifest(2, limits={"concurrency": 1}))
        job.kill(lambda: images.count("GET") == 1)
        (job.output / ".batchbanana/spool/1.0.link").write_text("{}")
        ended = job.run()
        assert ended.code == 13
        assert "1.0.link cannot be read as it was written" in ended.err
        assert relay.count("POST") == 1


def test_an_image_whose_name_is_taken_stays_in_the_spool_for_a_person(tmp_path: Path) -> None:
    switch = Switch()
    with service(switch) as (relay, images):
        job = Job(tmp_path, relay.url, manifest(1))
        job.kill(lambda: images.count("GET") == 1)
        [(errand,)] = job.rows("SELECT errand FROM attempts")
        foreign = job.output / "images" / f"{json.loads(errand)['name']}.png"
        foreign.parent.mkdir(parents=True, exist_ok=True)
        foreign.write_bytes(b"foreign")
        switch.opened.set()
        ended = job.run()
        assert ended.code == 13
        assert "is there already" in ended.json["stopped"]
        assert (relay.count("POST"), foreign.read_bytes()) == (1, b"foreign")
        foreign.unlink()
        assert job.run().json["done"] == 1
        assert relay.count("POST") == 1
        job.check()


@pytest.mark.parametrize("status", [410, 503])  # lost at the first try, and held after the last
def test_a_relay_whose_addresses_never_work_does_not_sell_the_whole_job(tmp_path: Path, status: int) -> None:
    with service(fail(status)) as (relay, _):
        job = Job(tmp_path, relay.url, manifest(40, limits={"concurrency": 4}))
        ended = job.run()
        assert (ended.code, ended.json["done"]) == (12, 0), ended.err
        assert "could not be fetched" in ended.json["stopped"]
        assert relay.count("POST") <= 5 + 4


FAULTY = """
import sys
from batchbanana import __main__ as program
from batchbanana.engines.local import LocalWorker

async def fail(*args):
    raise ZeroDivisionError

LocalWorker._extras = fail
sys.exit(program.main())
"""


def test_a_fault_of_ours_after_the_image_is_safe_does_not_write_it_off(tmp_path: Path) -> None:
    with service(give) as (relay, _):
        job = Job(tmp_path, relay.url, manifest(1))
        faulty = subprocess.run(
            [sys.executable, "-c", FAULTY, *job.arguments()], env=environment(), check=False, capture_output=True
        )
        assert faulty.returncode == 75, faulty.stderr
        assert b"An internal error (ZeroDivisionError in fail" in faulty.stderr
        ended = job.run()
        assert (ended.code, ended.json["done"], ended.json["possibly_billed"]) == (0, 1, 0), ended.err
        assert relay.count("POST") == 1
        job.check()
