"""Calls `doctor` and `failures` as a user would, and a server to ask."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.support.program import KEY, Ended, Job, command, manifest
from tests.support.web import Asked, web

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
def answering(body: bytes, status: int = 200, **headers: str) -> Iterator[tuple[str, list[Asked]]]:
    """Serve everything with one answer that has no other headers; gives the URL, and what was asked."""

    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response_only(status)
        for name, value in ({"content-length": str(len(body))} | headers).items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    with web(respond) as server:
        yield server.url, server.asked


def listing(*models: str) -> bytes:
    return json.dumps({"models": [{"name": f"models/{model}"} for model in models]}).encode()


ALL_WELL = manifest(2, model="gemini-3-pro-image", resolution="1K")


def failures(job: Job, *more: str) -> Ended:
    ended = command("failures", str(job.manifest), "--output", str(job.output), *more)
    assert (ended.code, ended.err) == (0, "")
    return ended


def groups(job: Job) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = failures(job, "--json").json["groups"]
    return told
