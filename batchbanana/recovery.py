"""What a run does first: bring home the images that a dead run left in the spool, write off what was in flight."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from anyio import to_thread

from batchbanana.images import ImageError, Inspector
from batchbanana.ledger import Ledger, Settlement, Unsettled
from batchbanana.record import Errand
from batchbanana.shelf import ConflictError, Parcel, Shelf
from batchbanana.spool import Ready, Spool
from batchbanana.task import Billed, StoredImage

BLOCK = 1 << 20  # bytes read at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What was found.

    Attributes:
        adopted: images brought home.
        lost: attempts that were in flight, possibly billed.
        problems: sentences about files that need a person.
        held: keys of tasks whose image waits in the spool for a person; they must not be bought again.
    """

    adopted: int
    lost: int
    problems: tuple[str, ...]
    held: frozenset[str]


async def recover(ledger: Ledger, spool: Spool, shelf: Shelf) -> Recovered:
    """Settle everything that earlier runs left open. A crash in here loses nothing: it is all done again."""
    open_attempts = {attempt.id: attempt for attempt in await ledger.do(lambda store: store.unsettled())}
    ready: defaultdict[int, list[Ready]] = defaultdict(list)
    for found in await to_thread.run_sync(spool.recover):
        ready[found.attempt].append(found)
    adopted = 0
    problems: list[str] = []
    held: set[str] = set()
    for number, files in ready.items():
        attempt = open_attempts.pop(number, None)
        if attempt is None:
            problems += [problem for file in files if (problem := await _put_away(file, ledger, spool))]
            continue
        if all(file.rank for file in files):  # only extras are left; the image that counts was brought away already
            for file in files:
                await to_thread.run_sync(spool.keep_aside, file.path, f"extras/{file.path.name}")
            open_attempts[number] = attempt
            continue
        try:
            await _adopt(attempt, sorted(files, key=lambda file: file.rank), ledger, shelf)
            adopted += 1
        except (ConflictError, ImageError) as problem:
            problems.append(f"{files[0].path}: {problem}")
            held.add(Errand.from_json(attempt.errand).key)
    for attempt in open_attempts.values():
        await ledger.settle(Settlement(attempt=attempt.id, result="lost", billed=Billed.UNKNOWN))
    return Recovered(adopted=adopted, lost=len(open_attempts), problems=tuple(problems), held=frozenset(held))


async def _put_away(file: Ready, ledger: Ledger, spool: Spool) -> str | None:
    """Drop a file that the ledger already knew when its run died; one it does not know is somebody's paid image."""
    if await ledger.do(lambda store: store.has_image(file.attempt, file.sha256 if file.rank == 0 else None)):
        replaced = await ledger.do(lambda store: store.replaced_by(file.attempt, file.sha256))
        if replaced is not None:
            await to_thread.run_sync(spool.set_aside, replaced)
        await to_thread.run_sync(spool.forget, file.path)
        return None
    return f"{file.path}: the ledger does not know this image (is it an old copy?); move the file away and run again"


async def _adopt(attempt: Unsettled, files: Sequence[Ready], ledger: Ledger, shelf: Shelf) -> None:
    errand = Errand.from_json(attempt.errand)
    images = [await to_thread.run_sync(_look, file) for file in files]
    known = (await ledger.lookup([errand.key])).get(errand.key)
    await shelf.put(
        Parcel(
            attempt=attempt.id,
            errand=errand,
            images=images,
            billed=Billed.YES,
            cost=attempt.price,
            model_version=None,
            tries=len(known.results) + 1 if known else 1,
            replaces=known.file if known else None,
            replaced=known.outcome if known and known.file else None,
            note="brought home after an interrupted run",
        )
    )


def _look(ready: Ready) -> StoredImage:
    if not ready.intact:
        raise ImageError("its bytes have changed since it was written; move it away and run again")
    inspector = Inspector()
    with Path(ready.path).open("rb") as handle:
        while block := handle.read(BLOCK):
            inspector.feed(block)
    return StoredImage(path=ready.path, size=ready.size, sha256=ready.sha256, picture=inspector.result())
