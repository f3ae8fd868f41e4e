"""Small web servers for tests, of the standard library, which share nothing with the sandbox."""

import base64
import io
import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request that came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, kw_only=True)
class Web:
    """A server that is running."""

    port: int
    asked: list[Asked] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def count(self, method: str) -> int:
        return sum(asked.method == method for asked in self.asked)


@contextmanager
def web(respond: Callable[[BaseHTTPRequestHandler], None], tls: ssl.SSLContext | None = None) -> Iterator[Web]:
    """Serve with `respond` until the block ends; an answer that hangs holds nothing up."""
    running: list[Web] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            running[0].asked.append(Asked(method=self.command, path=self.path, headers=headers, body=body))
            respond(self)

        do_GET = do_POST = _any  # noqa: N815 -- the library's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the library's name
            """Keep quiet."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that went away is no news."""

    with Server(("127.0.0.1", 0), Handler) as httpd:
        if tls is not None:
            httpd.socket = tls.wrap_socket(httpd.socket, server_side=True)
        running.append(Web(port=httpd.server_address[1]))
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield running[0]
        finally:
            httpd.shutdown()
            thread.join()


def reply(handler: BaseHTTPRequestHandler, body: bytes = b"", status: int = 200, **headers: str) -> None:
    """Answer; headers are written with underscores."""
    handler.send_response(status)
    handler.send_header("content-length", str(len(body)))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def raw(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    """Answer with these very bytes and hang up."""
    handler.wfile.write(data)
    handler.close_connection = True


@contextmanager
def dripping() -> Iterator[Web]:
    """Serve a byte each 0.05 s without an end."""
    done = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not done.wait(0.05):
            handler.wfile.write(b"x")

    with web(drip) as server:
        try:
            yield server
        finally:
            done.set()


def picture(colour: str = "teal", size: tuple[int, int] = (512, 512)) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", size, colour).save(data, "PNG")
    return data.getvalue()


def pointing(url: str, **more: object) -> bytes:
    """Give a native answer whose text points to an image."""
    parts = [{"text": f"Here it is: ![image]({url})"}]
    return json.dumps({"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}], **more}).encode()


def showing(data: bytes) -> bytes:
    """Give a native answer that holds an image."""
    parts = [{"inlineData": {"mimeType": "image/png", "data": base64.b64encode(data).decode()}}]
    return json.dumps({"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]}).encode()
