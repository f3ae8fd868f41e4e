"""Images that `metadata.jsonl` tells of and the ledger does not know, because it is an older copy or another job's."""

from collections.abc import Iterator
from itertools import islice

from batchbanana.job import JobDirectory
from batchbanana.ledger import Line, Restored, Store, is_news, restore
from batchbanana.plain import OddFileError, open_plain
from batchbanana.verify.finding import Finding, Kind
from batchbanana.verify.seeing import see
from batchbanana.verify.telling import UntoldError, read_line

PAGE = 256  # images taken over in one transaction
TAKEN = "it is taken over into the ledger with what it has cost"


def untold(job: JobDirectory, store: Store) -> Iterator[tuple[Restored, Finding]]:
    """Find such images whose file has the bytes that the line tells of.

    Raises:
        OSError: `metadata.jsonl` cannot be read.
        DiskError: it is no file.
    """
    try:
        handle = open_plain(job.path / "metadata.jsonl")
    except FileNotFoundError:
        return
    with handle:
        for line in handle:
            try:
                told = read_line(line)
            except UntoldError:
                continue
            if _is_news(job, store, told) and _is_whole(job, told):
                yield told, _finding(str(told.ending.file))


def take_over(job: JobDirectory, store: Store) -> Iterator[Finding]:
    """Write such images into the ledger, many at once; whenever that is killed, the rest is found again."""
    found = untold(job, store)
    while page := list(islice(found, PAGE)):
        store.execute("BEGIN IMMEDIATE")
        taken = [finding for told, finding in page if _take(job, store, told)]
        store.execute("COMMIT")
        yield from (finding.mended(TAKEN) for finding in taken)


def _take(job: JobDirectory, store: Store, told: Restored) -> bool:
    """Write one down, unless a line just before has told of its task."""
    is_first = _is_news(job, store, told)
    if is_first:
        restore(store, told)
    return is_first


def _is_news(job: JobDirectory, store: Store, told: Restored) -> bool:
    ending = told.ending
    line = Line(key=ending.key, file=str(ending.file), sha256=str(ending.sha256))
    try:
        return is_news(store, job.path, line)
    except (OSError, OddFileError):  # which is told where the images of the ledger are looked at
        return False


def _is_whole(job: JobDirectory, told: Restored) -> bool:
    """Whether the file is the one that was paid for; if not, it is a stray, and reading it tells nothing more."""
    try:
        seen = see(job.path / str(told.ending.file))
    except (OSError, OddFileError):
        return False
    return (seen.size, seen.sha256) == (told.ending.size, told.ending.sha256)


def _finding(file: str) -> Finding:
    remedy = "put the newest ledger back, or let `verify --repair` take it over"
    fault = "is paid for, but the ledger does not know it"
    return Finding(kind=Kind.UNKNOWN, place=file, fault=fault, remedy=remedy, can_mend=True)
