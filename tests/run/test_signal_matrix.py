"""Every signal in every situation: the run ends in its time with its code, and the next one finishes the job."""

import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from batchbanana import session, signals, watchdog
from batchbanana.sandbox.running import Handle, in_thread
from tests.support.program import Job, environment, manifest, until

TASKS, WORKERS = 6, 3
AT_ONCE = 12.0  # seconds, on a busy machine; nothing is in flight, or it is given up
DRAIN = 60.0  # seconds; with 15 more, that is the promise


@dataclass(frozen=True, kw_only=True)
class Situation:
    """Where a signal meets a run.

    Attributes:
        script: the server's; None for one that takes no connection.
        is_there: whether a run is in it now.
        ends: seconds in which one signal ends it, what is in flight included.
    """

    script: Mapping[str, object] | None = field(default_factory=dict)
    is_there: Callable[[Job, Handle | None], bool]
    ends: float = AT_ONCE
    tasks: int = TASKS


def asked(server: Handle | None) -> int:
    return 0 if server is None else int(server.bill()["requests"])


SITUATIONS: Mapping[str, Situation] = {
    "idle": Situation(
        script={"faults": [{"then": {"error": "rate_minute", "retry_delay": 200}}]},
        is_there=lambda job, _: job.attempts("result = 'rate_limited'") >= WORKERS,
    ),
    "connecting": Situation(
        script=None,
        is_there=lambda job, _: job.attempts("result IS NULL") == WORKERS,
        ends=10.0 + AT_ONCE,
    ),
    "waiting": Situation(script={"latency": 3.0}, is_there=lambda _, server: asked(server) == WORKERS),
    "body": Situation(
        script={"pictures": "plain", "bytes": 20_000, "faults": [{"then": {"drip": 8000}}]},
        is_there=lambda _, server: begun(server),
    ),
    "writing": Situation(
        script={"pictures": "plain", "latency": 0.0}, is_there=lambda job, _: len(job.records) >= 5, tasks=120
    ),
    "finishing": Situation(
        script={"pictures": "plain"}, is_there=lambda job, _: bool(job.attempts("result = 'image'")), tasks=1
    ),
}


def begun(server: Handle | None) -> bool:
    """Whether every worker has the head of an answer, whose body goes on for seconds."""
    return server is not None and sum(row["status"] == 200 for row in server.requests()) == WORKERS


@contextmanager
def deaf() -> Iterator[str]:
    """Listen, but let no connection come about: the line of those who wait to be let in is full."""
    with socket.socket() as listener, ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@dataclass(frozen=True, kw_only=True)
class Stop:
    """What is done to a run; `codes` are those that a shell would see."""

    first: int
    codes: tuple[int, ...]
    second: int | None = None


STOPS: Mapping[str, Stop] = {
    "INT": Stop(first=signal.SIGINT, codes=(130,)),
    "TERM": Stop(first=signal.SIGTERM, codes=(143,)),
    "HUP": Stop(first=signal.SIGHUP, codes=(143,)),
    "INT twice": Stop(first=signal.SIGINT, codes=(130,), second=signal.SIGINT),
    "TERM, KILL": Stop(first=signal.SIGTERM, codes=(137,), second=signal.SIGKILL),
}


@dataclass(kw_only=True)
class Meeting:
    """A run that a stop meets in a situation, with a server of its own."""

    situation: Situation
    stop: Stop
    job: Job
    server: Handle | None
    process: "subprocess.Popen[str]"
    told: float = 0.0

    def send(self) -> None:
        """Wait until the run is where it is to be, and send the first signal."""
        until(lambda: self.situation.is_there(self.job, self.server) or self.process.poll() is not None)
        self.told = time.monotonic()
        self.process.send_signal(self.stop.first)

    def insist(self) -> None:
        """Send the second signal, once the first was heard."""
        if self.stop.second is not None:
            assert self.process.stderr is not None
            heard = any("Stopped by" in line for line in self.process.stderr)
            self.process.send_signal(self.stop.second)
            assert heard or self.situation is SITUATIONS["finishing"], "only a run that was at its end says nothing"

    def ended(self) -> int:
        """Wait for the end, in its time; gives the code as a shell would."""
        seconds = AT_ONCE if self.stop.second is not None else self.situation.ends
        self.process.communicate(timeout=max(0.1, self.told + seconds - time.monotonic()))
        code = self.process.returncode
        return code if code >= 0 else 128 - code


def meet(folder: Path, where: str, stop: Stop) -> None:
    """Start a run, stop it once it is where it is to be, and look at what it leaves."""
    folder.mkdir()
    situation = SITUATIONS[where]
    with ExitStack() as stack:
        server = None if situation.script is None else stack.enter_context(in_thread(situation.script))
        url = stack.enter_context(deaf()) if server is None else server.url
        job = Job(folder, url, manifest(situation.tasks, limits={"concurrency": WORKERS}))
        process = stack.enter_context(job.started())
        meeting = Meeting(situation=situation, stop=stop, job=job, server=server, process=process)
        meeting.send()
        meeting.insist()
        check_end(meeting, where, meeting.ended())


@pytest.mark.parametrize("where", SITUATIONS)
def test_a_stop_ends_a_run_wherever_it_meets_it_and_the_next_run_finishes_the_job(tmp_path: Path, where: str) -> None:
    with ThreadPoolExecutor(len(STOPS)) as pool:
        met = {
            name: pool.submit(meet, tmp_path / re.sub(r"\W+", "-", name), where, stop) for name, stop in STOPS.items()
        }
        faults = {name: done.exception() for name, done in met.items()}
    assert not {name: fault for name, fault in faults.items() if fault is not None}


def check_end(meeting: Meeting, where: str, code: int) -> None:
    """Look at what a stopped run has left, finish the job, and compare the servers' counts with the ledger's."""
    job, stop = meeting.job, meeting.stop
    # It may have come to its end before the first signal, or between the first and the second.
    codes = stop.codes if where != "finishing" else (*stop.codes, 143, 0, 129)
    assert code in codes, (where, stop)
    is_killed = code == 137
    if not is_killed:
        job.check()
        assert not job.attempts("result IS NULL"), "every attempt is written down"
        assert not list(job.output.rglob("*.db-wal")), "the ledger is closed"
    before = {} if meeting.server is None else meeting.server.bill()
    rows = job.attempts("result IS NULL OR result <> 'not_sent'")
    requests = int(before.get("requests", 0))
    slack = WORKERS if stop.second is not None else 0  # given up between the row and the first byte
    assert requests <= rows <= requests + slack, (where, stop)
    with in_thread({"pictures": "plain", "latency": 0.0}) as healthy:
        job.url = healthy.url
        again = job.run()
        assert (again.code, again.json["done"]) == (0, meeting.situation.tasks), (where, stop)
        billed = int(before.get("billed", 0)) + int(healthy.bill()["billed"])
    lost = job.attempts("billed = 'unknown'")
    assert lost <= slack, (where, stop)
    assert meeting.situation.tasks <= billed <= meeting.situation.tasks + lost, (where, stop)
    assert not list(job.output.rglob("*.new")) + list(job.output.rglob("*.part"))
    job.check()


START = """
import sys
from batchbanana import signals
signals.DRAIN = 2.0
from batchbanana.cli import main
sys.exit(main())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_server_that_never_answers_holds_a_terminated_run_for_the_drain_time_and_no_longer(
    tmp_path: Path, number: int
) -> None:
    with in_thread({"faults": [{"then": {"hang": "before"}}]}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(6, limits={"concurrency": WORKERS}))
        with subprocess.Popen(
            [sys.executable, "-c", START, *job.arguments()], env=environment(), stdout=subprocess.PIPE, text=True
        ) as process:
            until(lambda: asked(sandbox) == WORKERS)
            process.send_signal(number)
            out, _ = process.communicate(timeout=2.0 + 15.0)
            assert process.returncode == 143
            assert f'"possibly_billed": {WORKERS}' in out
        job.check()


def test_a_drain_and_what_comes_after_it_stay_within_a_service_managers_patience() -> None:
    assert signals.DRAIN == DRAIN
    assert watchdog.GRACE + 2 * watchdog.LOOK < 15, "what is given up is seen a look late, and so is its end"
    assert session.COUNT_LIMIT < watchdog.GRACE
    assert DRAIN + 15 < 90


def test_a_terminal_that_is_closed_stops_the_run_and_costs_nothing_that_was_in_flight(tmp_path: Path) -> None:
    with in_thread({"latency": 1.0}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(9, limits={"concurrency": WORKERS}))
        arguments = [sys.executable, "-m", "batchbanana", *job.arguments("--yes")]
        pid, terminal = pty.fork()
        if pid == 0:
            os.execve(arguments[0], arguments, environment())  # noqa: S606 -- the program itself
        until(lambda: asked(sandbox) == WORKERS)
        os.close(terminal)
        code = reaped(pid)
        assert code == 143
        assert sandbox.bill()["requests"] == len(job.records) == WORKERS
        job.check()
        assert job.run().json["done"] == 9


def reaped(pid: int) -> int:
    """Wait for a child that `pty` has made."""
    end = time.monotonic() + AT_ONCE
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise AssertionError("the run outlived its terminal")
