"""Any server that speaks the contract will do: here the standard library's, which shares nothing with the sandbox."""

import base64
import gzip
import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support.program import KEY, Job, command, manifest, until

Seen = list[tuple[str, dict[str, str], dict[str, Any]]]


def picture(size: tuple[int, int] = (512, 512)) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", size, "teal").save(data, "WEBP")
    return data.getvalue()


def answer(data: bytes | None = None) -> bytes:
    image = {"mimeType": "image/png", "data": base64.b64encode(data or picture()).decode()}
    return json.dumps(
        {"candidates": [{"content": {"parts": [{"inlineData": image}]}, "finishReason": "STOP"}]}
    ).encode()


@contextmanager
def server(respond: Callable[[BaseHTTPRequestHandler], None], protocol: str = "HTTP/1.1") -> Iterator[tuple[str, Seen]]:
    """Serve POSTs with `respond` until the block ends; gives the URL and what was seen."""
    seen: Seen = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = protocol

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}, json.loads(body)))
            respond(self)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the library's name
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{httpd.server_address[1]}", seen
        finally:
            httpd.shutdown()
            thread.join()


def send(handler: BaseHTTPRequestHandler, body: bytes, *headers: tuple[str, str], status: int = 200) -> None:
    handler.send_response(status)
    for name, value in (("content-type", "application/json"), ("content-length", str(len(body))), *headers):
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


@pytest.mark.parametrize("protocol", ["HTTP/1.0", "HTTP/1.1"])
@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1beta/"])
def test_a_foreign_server_gets_the_documented_request_and_its_images_are_kept(
    tmp_path: Path, suffix: str, protocol: str
) -> None:
    with server(lambda handler: send(handler, answer()), protocol) as (url, seen):
        job = Job(tmp_path, url + suffix, manifest(3, limits={"concurrency": 1}))
        ended = job.run()
        assert (ended.code, ended.json["done"]) == (0, 3), ended.err
        job.check()
        assert job.records[0]["mime"] == "image/webp"
    path, headers, body = seen[0]
    assert path == "/v1beta/models/gemini-3.1-flash-image:generateContent"
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["x-server-timeout"] == "180"
    assert "x-goog-api-key" not in headers
    assert body == {
        "contents": [{"role": "user", "parts": [{"text": "A mug, number 1"}]}],
        "generationConfig": {
            "responseModalities": ["IMAGE"],
            "imageConfig": {"aspectRatio": "1:1", "imageSize": "512"},
        },
    }


def test_a_manifest_may_name_the_server_the_key_and_its_style(tmp_path: Path) -> None:
    with server(lambda handler: send(handler, answer())) as (url, seen):
        provider = {"base_url": url, "api_key_env": "RELAY_KEY", "auth": "google"}
        job = Job(tmp_path, url, manifest(1, provider=provider))
        ended = command("run", str(job.manifest), "--output", str(job.output), "--json", RELAY_KEY="relay-key")
        assert ended.code == 0, ended.err
    assert seen[0][1]["x-goog-api-key"] == "relay-key"
    assert "authorization" not in seen[0][1]


def test_references_are_sent_with_the_prompt_as_they_are_on_disk(tmp_path: Path) -> None:
    (tmp_path / "mug.png").write_bytes(picture((64, 64)))  # the name lies: it is WebP, and sent as such
    (tmp_path / "style.webp").write_bytes(picture((300, 200)))
    asked = manifest(1, references=["mug.png", "style.webp"])
    with server(lambda handler: send(handler, answer())) as (url, seen):
        assert Job(tmp_path, url, asked).run().code == 0
    parts = seen[0][2]["contents"][0]["parts"]
    assert [part["inlineData"]["mimeType"] for part in parts[1:]] == ["image/webp", "image/webp"]
    assert [base64.b64decode(part["inlineData"]["data"]) for part in parts[1:]] == [
        (tmp_path / name).read_bytes() for name in ("mug.png", "style.webp")
    ]


def test_an_answer_that_is_compressed_though_nobody_asked_is_read(tmp_path: Path) -> None:
    with server(lambda handler: send(handler, gzip.compress(answer()), ("content-encoding", "gzip"))) as (url, _):
        assert Job(tmp_path, url, manifest(1)).run().json["done"] == 1


@pytest.mark.parametrize("coding", ["gzip, gzip", "br"])
def test_an_answer_that_is_compressed_as_nobody_can_read_is_no_image_and_possibly_billed(
    tmp_path: Path, coding: str
) -> None:
    body = gzip.compress(gzip.compress(answer()))
    with server(lambda handler: send(handler, body, ("content-encoding", coding))) as (url, _):
        job = Job(tmp_path, url, manifest(1))
        ended = job.run()
    assert (ended.code, ended.json["failed"]) == (3, 1)
    assert set(job.rows("SELECT result, billed FROM attempts")) == {("no_image", "unknown")}
    assert "in an encoding that was not asked for; check `base_url`" in job.rows("SELECT message FROM attempts")[0][0]


def test_a_proxy_in_the_environment_is_not_asked_for_a_loopback_address(tmp_path: Path) -> None:
    with server(lambda handler: send(handler, answer())) as (url, _):
        job = Job(tmp_path, url, manifest(1))
        nowhere = "http://127.0.0.1:9"
        assert command(*job.arguments(), http_proxy=nowhere, HTTP_PROXY=nowhere, all_proxy=nowhere).code == 0


def test_a_server_that_closes_after_each_answer_costs_nothing(tmp_path: Path) -> None:
    def respond(handler: BaseHTTPRequestHandler) -> None:
        send(handler, answer())
        handler.close_connection = True  # without having said so

    with server(respond) as (url, seen):
        ended = Job(tmp_path, url, manifest(8, limits={"concurrency": 2})).run()
        assert (ended.code, ended.json["done"], ended.json["possibly_billed"]) == (0, 8, 0)
        assert len(seen) == 8


def test_text_that_is_no_answer_at_all_fails_and_ends(tmp_path: Path) -> None:
    with server(lambda handler: send(handler, b"\x00\xff" * 5000)) as (url, _):
        ended = Job(tmp_path, url, manifest(1)).run()
        assert (ended.code, ended.json["failed"]) == (3, 1)


def test_a_reference_that_changes_after_the_manifest_was_read_is_not_sent_under_the_old_key(tmp_path: Path) -> None:
    reference = tmp_path / "mug.png"
    reference.write_bytes(picture((64, 64)))

    def respond(handler: BaseHTTPRequestHandler) -> None:
        reference.write_bytes(picture((65, 65)))
        send(handler, answer())

    asked = manifest(3, references=["mug.png"], limits={"concurrency": 1})
    with server(respond) as (url, seen):
        ended = Job(tmp_path, url, asked).run()
        assert (ended.code, ended.json["done"], ended.json["failed"]) == (3, 1, 2)
        assert "has changed since the run began" in ended.err
        assert len(seen) == 1


@pytest.mark.parametrize("status", [400, 401, 503, 418])
@pytest.mark.parametrize("filler", [0, 95, 105, 120])
def test_a_server_that_quotes_the_key_does_not_get_it_into_our_words(tmp_path: Path, status: int, filler: int) -> None:
    """Wherever the quotation is cut."""

    def respond(handler: BaseHTTPRequestHandler) -> None:
        text = "x " * (filler // 2) + str(handler.headers["authorization"])
        send(handler, json.dumps({"error": {"code": status, "message": text}}).encode(), status=status)

    with server(respond) as (url, _):
        job = Job(tmp_path, url, manifest(1))
        with job.started() as process:
            until(lambda: job.output.exists() and job.attempts("result IS NOT NULL") >= 1)
            process.terminate()
            out, err = process.communicate()
    told = (
        out
        + err
        + "".join(path.read_bytes().decode(errors="replace") for path in tmp_path.rglob("*") if path.is_file())
    )
    assert not any(KEY[:length] in told for length in range(8, len(KEY) + 1))
