"""Forks programs that have everything imported already, so that a thousand of them can be killed in minutes.

Reads a JSON line for each child from standard input; tells its process id when it runs, and how it ended.
It has no thread and no event loop, so a fork of it is as good as a fresh process.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import batchbanana.cli.run  # noqa: F401 -- what a child would import first
from batchbanana.cli import main as cli
from tests.crash.failpoints import arm


def serve() -> None:
    for line in sys.stdin:
        order: dict[str, Any] = json.loads(line)
        child = os.fork()
        if child == 0:
            _live(order)
        _tell(pid=child)
        _, status = os.waitpid(child, 0)
        _tell(code=os.waitstatus_to_exitcode(status))


def _tell(**facts: int) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def _live(order: dict[str, Any]) -> None:
    """Be the program; never returns."""
    for name, stream in (("stdout", 1), ("stderr", 2)):
        handle = os.open(Path(order["folder"]) / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if order["place"] is not None:
        arm(order["place"], order["hits"])
    sys.argv = ["batchbanana", *order["arguments"]]
    code = 1
    try:
        code = cli()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
