"""Three ways to start a sandbox: on this event loop, in a thread of its own, in a process of its own."""

import http.client
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

import anyio
import anyio.abc
from anyio.from_thread import start_blocking_portal

from batchbanana.errors import NeedsPersonError
from batchbanana.sandbox.rules import parse_script
from batchbanana.sandbox.server import Sandbox

_PAUSE = 0.05  # seconds to wait when no more connections can be taken, until one ends
_GRACE = 5.0  # seconds a child has to end before it is killed


@dataclass(frozen=True, slots=True)
class Handle:
    """A running sandbox.

    Attributes:
        url: the base URL, without a slash at the end.
    """

    url: str

    def requests(self) -> list[dict[str, Any]]:
        """Give every generate request and every download it saw, in order; the keys are those of `books.Entry`."""
        rows: list[dict[str, Any]] = self._get("/sandbox/requests")
        return rows

    def bill(self) -> dict[str, Any]:
        """Give the totals of `Books.bill`: requests, accepted, billed, micro_usd, and others."""
        totals: dict[str, Any] = self._get("/sandbox/bill")
        return totals

    def _get(self, path: str) -> Any:
        # Not urllib: it would send a loopback address through the proxy that the environment names.
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=30)
        try:
            connection.request("GET", path)
            return json.load(connection.getresponse())
        finally:
            connection.close()


async def serve(
    script: Mapping[str, object],
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    on_ready: Callable[[str], None],
) -> None:
    """Serve until cancelled.

    Args:
        script: what `rules.Script` describes; an empty one misbehaves in nothing.
        host: address to listen on.
        port: 0 takes a free one.
        on_ready: called with the base URL once connections are taken.

    Raises:
        UsageError: the script has faults.
        OSError: the address cannot be listened on.
    """
    sandbox = Sandbox(parse_script(script))
    listeners = await anyio.create_tcp_listener(local_host=host, local_port=port)
    async with listeners, anyio.create_task_group() as group:
        for listener in listeners.listeners:
            group.start_soon(_accept, cast("anyio.abc.SocketListener", listener), group, sandbox)
        taken = listeners.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - anyio's, not Django's
        on_ready(f"http://[{host}]:{taken}" if ":" in host else f"http://{host}:{taken}")


async def _accept(listener: anyio.abc.SocketListener, group: anyio.abc.TaskGroup, sandbox: Sandbox) -> None:
    while True:
        try:
            stream = await listener.accept()
        except OSError:  # out of file descriptors, or a client that left while it was let in
            await anyio.sleep(_PAUSE)
        else:
            group.start_soon(sandbox.converse, stream)


@contextmanager
def in_thread(script: Mapping[str, object] | None = None) -> Iterator[Handle]:
    """Serve from a thread of this process, with an event loop of its own, until the block ends.

    Raises:
        UsageError: the script has faults.
    """
    with start_blocking_portal("asyncio") as portal:
        future, url = portal.start_task(_serve_as_task, script or {})
        try:
            yield Handle(url)
        finally:
            future.cancel()


async def _serve_as_task(script: Mapping[str, object], *, task_status: anyio.abc.TaskStatus[str]) -> None:
    await serve(script, on_ready=task_status.started)


@contextmanager
def in_process(script: Mapping[str, object] | None = None) -> Iterator[Handle]:
    """Serve from a process of its own until the block ends; it also ends when this process is gone.

    Raises:
        UsageError: the script has faults.
        NeedsPersonError: the child did not start; its own words are on stderr.
    """
    parse_script(script or {})
    command = [sys.executable, "-m", "batchbanana.sandbox", "--port", "0"]
    pipe = subprocess.PIPE
    # In a session of its own: the terminal's Ctrl-C is for the run, which still waits for what is in flight.
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True) as child:  # noqa: S603 - our own module
        try:
            yield Handle(_introduce(child, script or {}))
        finally:
            _end(child)


def _introduce(child: subprocess.Popen[bytes], script: Mapping[str, object]) -> str:
    assert child.stdin is not None and child.stdout is not None  # noqa: S101, PT018 - both were asked to be pipes
    child.stdin.write(json.dumps(script).encode() + b"\n")
    child.stdin.flush()
    url = child.stdout.readline().decode().strip()
    if not url:
        raise NeedsPersonError("The sandbox did not start; see its message above, and try `batchbanana sandbox`.")
    return url


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(_GRACE)
    except subprocess.TimeoutExpired:
        child.kill()
