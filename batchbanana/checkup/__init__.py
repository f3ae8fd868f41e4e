"""The checks of `doctor`: everything that keeps a run from working, found out before anything is paid for."""

import time
from collections.abc import Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import anyio

from batchbanana.checkup import far, near
from batchbanana.checkup.check import Check, State, bad, exit_code, ok, warn
from batchbanana.errors import BatchError, Exit, NeedsPersonError
from batchbanana.job import JobDirectory
from batchbanana.ledger import Money, Store
from batchbanana.manifest import LimitSettings
from batchbanana.matrix import Matrix
from batchbanana.service import endpoint
from batchbanana.survey import survey
from batchbanana.transport import Endpoint

__all__ = ["Check", "State", "Subject", "examine", "exit_code"]

NO_KEY = "there-is-no-key"  # builds an endpoint that is only looked at; nothing is ever sent with it


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is examined.

    Attributes:
        folder: the job directory; need not be there.
        limits: with the command's options worked in.
        base_url: where the command wants to go; None leaves it to the manifest.
        sandbox: the endpoint of a sandbox that takes the service's place; then no key is needed.
    """

    matrix: Matrix
    folder: Path
    limits: LimitSettings
    environment: Mapping[str, str]
    base_url: str | None = None
    sandbox: Endpoint | None = None


def examine(subject: Subject) -> list[Check]:
    """Check everything, asking the service one thing that costs nothing.

    Raises:
        UsageError: the base URL is none.
    """
    return [_manifest(subject), *_far(subject), *_near(subject)]


def _manifest(subject: Subject) -> Check:
    matrix = subject.matrix
    if said := matrix.warnings_at(subject.base_url):
        return warn("manifest", "; ".join(said))
    return ok("manifest", f"{matrix.manifest.name}, {matrix.cells} tasks")


def _far(subject: Subject) -> list[Check]:
    settings = subject.matrix.manifest.provider
    if subject.sandbox is not None:
        told, key = ok("key", "none is needed in the sandbox"), subject.sandbox.key
    else:
        told, found = far.check_key(settings, subject.environment)
        key = found or ""
    served = subject.sandbox or endpoint(settings, subject.base_url, key or NO_KEY)
    source = "--sandbox" if subject.sandbox else "--base-url" if subject.base_url else None
    checks = [
        far.check_endpoint(settings, served, source),
        far.check_auth(served),
        told,
        far.check_proxy(served),
        far.check_certificates(served, subject.environment),
    ]
    if not key:
        return [*checks, warn(far.SERVICE, "it was not asked, because there is no key to ask with")]
    try:
        answer = anyio.run(far.ask, served, settings)
    except NeedsPersonError as error:
        return [*checks, bad(far.SERVICE, str(error), Exit.PERSON)]
    checks += far.check_answer(served, answer, far.names_asked(subject.matrix, served))
    if answer.status is not None:
        checks.append(far.check_clock(answer, datetime.fromtimestamp(time.time(), UTC)))
    return checks


def _near(subject: Subject) -> list[Check]:
    matrix, limits = subject.matrix, subject.limits
    job = JobDirectory(subject.folder)
    ledger = near.check_ledger(job, is_rehearsal=None if subject.sandbox else False)
    store = _readable(job)
    with closing(store) if store is not None else nullcontext():
        found = survey(matrix, store)
        spent = store.money if store is not None else Money()
    checks = [
        near.check_disk(subject.folder, near.room_needed(matrix, found.pending)),
        near.check_file_system(subject.folder),
        near.check_files(limits.concurrency),
        ledger,
        near.check_money(matrix, limits, found, spent),
        near.check_limits(limits, found),
    ]
    return [check for check in checks if check is not None]


def _readable(job: JobDirectory) -> Store | None:
    """Open the ledger if it can be; why it cannot is told by its own check."""
    try:
        return job.read_store()
    except BatchError:
        return None
