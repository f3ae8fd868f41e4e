"""Calls `doctor` as a user would, and a server for it to ask."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.program import KEY, Ended, Job, command, manifest

UNSET = dict.fromkeys(
    (
        "GOOGLE_API_KEY", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy",
        "all_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR",
    ),
    "",
)  # fmt: skip


SHOWN = KEY[:10]


def doctor(job: Job, *more: str, url: str | None = None, **environment: str) -> Ended:
    arguments = ["doctor", str(job.manifest), "--output", str(job.output), "--base-url", url or job.url, *more]
    ended = command(*arguments, cwd=None, **{**UNSET, **environment})
    assert SHOWN not in ended.out + ended.err
    return ended


def told(job: Job, *more: str, url: str | None = None, **environment: str) -> tuple[int, dict[str, tuple[str, str]]]:
    """The exit code, and state and text of each check by its name."""
    ended = doctor(job, "--json", *more, url=url, **environment)
    data = ended.json
    assert data["exit_code"] == ended.code
    return ended.code, {check["name"]: (check["state"], check["text"]) for check in data["checks"]}


@contextmanager
def answering(body: bytes, status: int = 200, **headers: str) -> Iterator[tuple[str, list[tuple[str, dict[str, str]]]]]:
    """Serve every GET with one answer; gives the URL, and path and headers of what was asked."""
    seen: list[tuple[str, dict[str, str]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            self.send_response_only(status)
            for name, value in ({"content-length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

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


def listing(*models: str) -> bytes:
    return json.dumps({"models": [{"name": f"models/{model}"} for model in models]}).encode()


ALL_WELL = manifest(2, model="gemini-3-pro-image", resolution="1K")
