"""Stopping: what is in flight is paid for and finishes; a second signal abandons it; nothing is lost either way."""

import signal
import socket
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from batchbanana.sandbox.running import in_thread
from tests.support.program import PATIENCE, Job, manifest, until
from tests.support.web import picture, reply, showing, web


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_one_signal_lets_what_is_in_flight_finish(tmp_path: Path, number: int, code: int) -> None:
    with in_thread({"latency": 1.0}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(20, limits={"concurrency": 4}))
        with job.started() as process:
            until(lambda: sandbox.bill()["requests"] >= 4)
            process.send_signal(number)
            process.communicate(timeout=30)
            assert process.returncode == code
            assert sandbox.bill()["requests"] == 4
            assert len(job.records) == 4
            job.check()
            assert job.run("--concurrency", "16").json["done"] == 20
            assert sandbox.bill()["billed"] == 20


def test_a_second_interrupt_abandons_what_is_in_flight_and_writes_it_down(tmp_path: Path) -> None:
    with in_thread({"latency": 30.0}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(20, limits={"concurrency": 4}))
        with job.started() as process:
            until(lambda: sandbox.bill()["requests"] >= 4)
            process.send_signal(signal.SIGINT)
            assert process.stderr is not None
            while "Stopped by SIGINT" not in process.stderr.readline():
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=10)
            assert process.returncode == 130
            assert '"possibly_billed": 4' in out
            assert job.rows("SELECT result, billed, count(*) FROM attempts GROUP BY 1, 2") == [("lost", "unknown", 4)]


def test_a_run_that_waits_for_nothing_but_a_pause_stops_at_once(tmp_path: Path) -> None:
    script = {"faults": [{"when": {}, "then": {"error": "rate_minute", "retry_delay": 200}}]}
    with in_thread(script) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(4))
        with job.started() as process:
            until(lambda: sandbox.bill()["requests"] >= 4)
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=10)
            assert process.returncode == 143


def test_a_second_run_on_the_same_directory_is_turned_away(tmp_path: Path) -> None:
    opened = threading.Event()

    def respond(handler: BaseHTTPRequestHandler) -> None:
        opened.wait(PATIENCE)
        reply(handler, showing(picture()))

    with web(respond) as relay:
        job = Job(tmp_path, relay.url, manifest(2))
        with job.started() as process:
            until(lambda: relay.count("POST") == 2)
            second = job.run()
            assert second.code == 11
            assert "Another run works in" in second.err
            opened.set()
            process.communicate(timeout=30)
            assert process.returncode == 0
            assert relay.count("POST") == len(job.records) == 2


def test_a_server_that_nobody_runs_is_waited_for_and_the_task_is_not_failed(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        job = Job(tmp_path, url, manifest(2))
        with job.started() as process:
            until(lambda: job.output.exists() and job.attempts("result = 'not_sent'") >= 3)
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=10)
            assert process.returncode == 130
            assert '"pending": 2' in out
            assert '"cost_usd": 0.0' in out
            assert '"possibly_billed": 0' in out
