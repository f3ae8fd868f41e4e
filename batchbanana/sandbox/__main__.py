"""The sandbox as a process: its script comes as the first line of stdin, its URL is the first line of stdout.

It ends when stdin does, so that it never outlives whoever started it.
"""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from threading import Thread

import anyio

from batchbanana.errors import Exit, UsageError
from batchbanana.sandbox.running import serve


def main() -> int:
    """Serve until stdin ends, and give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m batchbanana.sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    options = parser.parse_args()
    try:
        anyio.run(_serve, _script(), options.host, options.port)
    except UsageError as error:
        sys.stderr.write(f"{error}\n")
        return Exit.USAGE
    except OSError as error:
        sys.stderr.write(f"Cannot listen on {options.host} port {options.port}: {error}; choose another --port.\n")
        return Exit.USAGE
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    return Exit.MADE


def _script() -> Mapping[str, object]:
    try:
        script: Mapping[str, object] = json.loads(sys.stdin.buffer.readline() or b"{}")
    except ValueError:
        raise UsageError("The first line of stdin is not JSON; send the script as one line, or {}.") from None
    return script


async def _serve(script: Mapping[str, object], host: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    with anyio.CancelScope() as scope:

        def announce(url: str) -> None:
            sys.stdout.write(url + "\n")
            sys.stdout.flush()
            leave = partial(loop.call_soon_threadsafe, scope.cancel)
            Thread(target=_until_orphaned, args=(leave,), daemon=True).start()

        await serve(script, host=host, port=port, on_ready=announce)


def _until_orphaned(leave: Callable[[], object]) -> None:
    # Not sys.stdin: a daemon thread that holds its lock when the interpreter ends is a fatal error.
    while os.read(0, 4096):
        pass
    leave()


if __name__ == "__main__":
    sys.exit(main())
