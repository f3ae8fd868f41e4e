"""Runs the real program as a user would: its own process, real sockets, real files."""

import contextlib
import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.support import forking

KEY = "canary-key-5b1f0c-7d2e9a4b8c6f1e3d5a7b9c0d"  # long enough to be cut in the middle when somebody quotes it
SHOWN = 12  # characters of the key that betray it
PATIENCE = 60.0  # seconds after which a run that should have ended is a hang


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads(self.out)
        return data


class Job:
    """A manifest in a folder of its own, its job directory, and the ways to run it."""

    def __init__(self, folder: Path, url: str, manifest: Mapping[str, object]) -> None:
        self.folder = folder
        self.url = url
        self.output = folder / "out"
        self.manifest = folder / "job.yaml"
        self.write(manifest)

    def write(self, manifest: Mapping[str, object]) -> None:
        self.manifest.write_text(yaml.safe_dump(dict(manifest), sort_keys=False, allow_unicode=True), encoding="utf-8")

    def arguments(self, *more: str) -> list[str]:
        return ["run", str(self.manifest), "--output", str(self.output), "--base-url", self.url, "--json", *more]

    def run(self, *more: str) -> Ended:
        """Run to the end."""
        return command(*self.arguments(*more))

    @contextmanager
    def started(self, *more: str) -> Iterator["subprocess.Popen[str]"]:
        """Begin a run and do not wait for it; whatever a test does, it does not outlive the block."""
        process = subprocess.Popen(
            [sys.executable, "-m", "batchbanana", *self.arguments(*more)],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            if process.stdout is not None and not process.stdout.closed:
                process.communicate()

    def kill(self, when: Callable[[], bool], *more: str) -> None:
        """Begin a run and kill it hard as soon as `when` holds."""
        with self.started(*more) as process:
            until(when)
            process.kill()
            process.communicate()
        assert process.returncode == -signal.SIGKILL

    @property
    def records(self) -> list[dict[str, Any]]:
        """The lines of metadata.jsonl."""
        path = self.output / "metadata.jsonl"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the ledger."""
        with contextlib.closing(sqlite3.connect(self.output / ".batchbanana/ledger.db")) as db:
            return db.execute(query).fetchall()

    def attempts(self, where: str = "1") -> int:
        """Count attempts in the ledger, which may not be there yet."""
        try:
            return int(self.rows(f"SELECT count(*) FROM attempts WHERE {where}")[0][0])  # noqa: S608 -- a test's own words
        except sqlite3.OperationalError:
            return 0

    def check(self) -> None:
        """Assert from the outside what must always hold between files, ledger and metadata."""
        on_disk = {str(path.relative_to(self.output)) for path in (self.output / "images").rglob("*") if path.is_file()}
        ledger = {
            row[0]: row[1:] for row in self.rows("SELECT file, size, sha256 FROM outcomes WHERE file IS NOT NULL")
        }
        assert on_disk == set(ledger)
        for file, (size, digest) in ledger.items():
            data = (self.output / file).read_bytes()
            assert (len(data), hashlib.sha256(data).hexdigest()) == (size, digest), file
        assert {record["file_name"]: record["sha256"] for record in self.records} == {
            file: digest for file, (_, digest) in ledger.items()
        }
        assert not list((self.output / ".batchbanana/spool").iterdir())


def assert_no_key(folder: Path) -> None:
    """Look into every file below a folder, pages of databases too, for a beginning of the key."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert KEY[:SHOWN].encode() not in path.read_bytes(), path


def command(*arguments: str, cwd: Path | None = None, **more: str) -> Ended:
    """Run a command to its end; a hang is a failure."""
    # What is said to the interpreter itself needs one that starts.
    is_forked = forking.IS_POSSIBLE and not any(name.startswith("PYTHON") for name in more)
    run = forking.run if is_forked else afresh
    done = run(list(arguments), env=environment(**more), cwd=cwd, timeout=PATIENCE)
    assert "Traceback" not in done.stderr, done.stderr
    assert KEY[:SHOWN] not in done.stdout + done.stderr
    return Ended(code=done.returncode, out=done.stdout, err=done.stderr)


def afresh(
    arguments: list[str], *, env: Mapping[str, str], cwd: Path | None, timeout: float
) -> "subprocess.CompletedProcess[str]":
    """Run a command in an interpreter that starts for it."""
    return subprocess.run(
        [sys.executable, "-m", "batchbanana", *arguments],
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def environment(**more: str) -> dict[str, str]:
    """The machine's environment with a key that must never be seen anywhere."""
    return {**os.environ, "GEMINI_API_KEY": KEY, "PYTHONIOENCODING": "utf-8", **more}


def until(holds: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait for something that another process does."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


def manifest(count: int = 6, **more: object) -> dict[str, object]:
    """A manifest of so many small tasks."""
    job = {"id": "hero", "prompt": "A mug, number {n}", "vars": {"n": list(range(1, count + 1))}}
    return {"model": "gemini-3.1-flash-image", "resolution": "512", "ratio": "1:1", "jobs": [job], **more}
