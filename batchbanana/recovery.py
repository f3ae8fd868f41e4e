"""What a run does first: bring home the images that earlier runs have paid for, write off what was in flight.

An image is in the spool, or the spool has a note of where to fetch it; whatever has neither is written off.
"""

import hashlib
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import anyio
from anyio import CapacityLimiter, to_thread

from batchbanana.beginning import Beginning
from batchbanana.engines.links import Fetcher
from batchbanana.images import ImageError, Inspector
from batchbanana.ledger import Ending, Ledger, Settlement, Unsettled
from batchbanana.plain import open_plain
from batchbanana.record import BROUGHT_HOME, FETCHED, Errand, failure_record
from batchbanana.shelf import ConflictError, Parcel, Shelf
from batchbanana.spool import Linked, Ready, Spool
from batchbanana.task import Billed, Failure, FailureKind, Held, Outcome, Rung, StoredImage

BLOCK = 1 << 20  # bytes read at once
FETCHES = 8  # downloads at once, before anything else is done
TRIES = 2  # a download; each was tried more often when the image was made
TIMEOUT, STALL = 180.0, 30.0  # seconds for a download, as for a 1K image; the manifest may have changed since
MOST_DAYS = 2  # after which an address that nobody answers at is given up
MOST_SECONDS = 600.0  # for all downloads; a run must come to its own work
GLANCE = 0.2  # seconds between looks whether the run is to stop


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What was found.

    Attributes:
        adopted: images brought home.
        lost: attempts that were in flight, possibly billed.
        problems: sentences about files that need a person.
        held: keys of tasks whose image waits in the spool, or where it was made; they must not be bought again.
        waiting: sentences about images that may be fetched by a later run.
        newest: the highest attempt that an image in the spool was of; 0 when there was none.
    """

    adopted: int
    lost: int
    problems: tuple[str, ...]
    held: frozenset[str]
    waiting: tuple[str, ...] = ()
    newest: int = 0


async def recover(
    ledger: Ledger, spool: Spool, shelf: Shelf, fetcher: Fetcher, beginning: Beginning | None = None
) -> Recovered:
    """Settle everything that earlier runs left open. A crash in here loses nothing: it is all done again.

    Args:
        ledger: knows which attempts are open.
        spool: holds the images, or notes of where they are.
        shelf: puts images in their places.
        fetcher: fetches what there is only a note of.
        beginning: says whether the run is to stop; what is not brought home by then waits for a later one.
    """
    return await _Recovery(ledger, spool, shelf, fetcher, beginning or Beginning()).run()


class _Recovery:
    """One recovery and what it has found so far."""

    def __init__(self, ledger: Ledger, spool: Spool, shelf: Shelf, fetcher: Fetcher, beginning: Beginning) -> None:
        self._beginning = beginning
        self._ledger = ledger
        self._spool = spool
        self._shelf = shelf
        self._fetcher = fetcher
        self._open: dict[int, Unsettled] = {}
        self._notes: dict[int, Linked] = {}
        self._adopted = 0
        self._problems: list[str] = []
        self._waiting: list[str] = []
        self._held: set[str] = set()
        self._fault: Exception | None = None
        self._newest = 0

    async def run(self) -> Recovered:
        """Take the steps, in the order in which a crash between them does no harm."""
        self._open = {attempt.id: attempt for attempt in await self._ledger.do(lambda store: store.unsettled())}
        unsettled = self._open.keys() | set()
        self._notes = {note.attempt: note for note in await to_thread.run_sync(self._spool.notes)}
        await self._adopt_ready()
        for number in self._notes.keys() - unsettled:  # the ledger has known how that ended
            await to_thread.run_sync(self._spool.forget, self._notes[number].path)
        await self._fetch_all()
        for attempt in self._open.values():
            await self._ledger.settle(Settlement(attempt=attempt.id, result="lost", billed=Billed.UNKNOWN))
        return Recovered(
            adopted=self._adopted,
            lost=len(self._open),
            problems=tuple(self._problems),
            held=frozenset(self._held),
            waiting=tuple(self._waiting),
            newest=self._newest,
        )

    async def _adopt_ready(self) -> None:
        """Bring home what is whole in the spool."""
        ready: defaultdict[int, list[Ready]] = defaultdict(list)
        for file in await to_thread.run_sync(self._spool.recover):
            ready[file.attempt].append(file)
        self._newest = max(ready, default=0)
        for number, files in ready.items():
            self._beginning.step()
            if self._beginning.stopped is not None:
                self._leave(number)
            elif number not in self._open:
                self._problems += [problem for file in files if (problem := await self._put_away(file))]
            elif all(file.rank for file in files):  # only extras; the image that counts was brought away or never came
                for file in files:
                    await to_thread.run_sync(self._spool.keep_aside, file.path, f"extras/{file.path.name}")
            else:
                await self._adopt(self._open.pop(number), sorted(files, key=lambda file: file.rank))

    def _leave(self, number: int) -> None:
        """Leave an attempt's files for the next run: as long as it stays open, nobody buys its image again."""
        if (attempt := self._open.pop(number, None)) is not None:
            self._held.add(Errand.from_json(attempt.errand).key)
            self._waiting = ["An image that is paid for waits in the spool"]

    async def _put_away(self, file: Ready) -> str | None:
        """Drop a file that the ledger already knew when its run died; one it does not know is somebody's paid image."""
        if await self._ledger.do(lambda store: store.is_aside(file.attempt)):
            name = f"images/{file.attempt}.{file.rank}{await to_thread.run_sync(_ending, file)}"
            await to_thread.run_sync(self._spool.keep_aside, file.path, name)
            return None
        sha256 = file.sha256 if file.rank == 0 else None
        if await self._ledger.do(lambda store: store.has_image(file.attempt, sha256)):
            replaced = await self._ledger.do(lambda store: store.replaced_by(file.attempt, file.sha256))
            if replaced is not None:
                await to_thread.run_sync(self._spool.set_aside, replaced)
            await to_thread.run_sync(self._spool.forget, file.path)
            return None
        if await self._is_home(file):
            await to_thread.run_sync(self._spool.forget, file.path)
            return None
        return (
            f"{file.path}: the ledger does not know this image (is it an old copy?); move the file away and run again"
        )

    async def _is_home(self, file: Ready) -> bool:
        """Whether an image that the ledger knows has the very bytes of a file, so that nothing is lost with it."""
        known = await self._ledger.do(lambda store: store.files_with(file.sha256))
        return any([await to_thread.run_sync(self._spool.is_home, file.path, final) for final in known])

    async def _adopt(self, attempt: Unsettled, files: Sequence[Ready]) -> None:
        try:
            images = [await to_thread.run_sync(_look, file) for file in files]
            await self._put(attempt, images, BROUGHT_HOME)
        except (ConflictError, ImageError) as problem:
            self._stick(attempt, f"{files[0].path}: {problem}")

    async def _put(self, attempt: Unsettled, images: Sequence[StoredImage], how: str) -> None:
        """Carry an attempt's images to their names.

        Raises:
            ConflictError: a file that is not ours stands there.
        """
        errand = Errand.from_json(attempt.errand)
        known = (await self._ledger.lookup([errand.key])).get(errand.key)
        note = self._notes.get(attempt.id)
        await self._shelf.put(
            Parcel(
                attempt=attempt.id,
                errand=errand,
                images=images,
                billed=note.billed if note else Billed.YES,
                cost=self._cost(attempt, note),
                model_version=note.model_version if note else None,
                tries=len(known.results) + 1 if known else 1,
                replaces=known.file if known else None,
                replaced=known.outcome if known and known.file else None,
                differed=known.differed if known else 0,
                note=how,
            )
        )
        self._adopted += 1
        if note is not None:
            await to_thread.run_sync(self._spool.forget, note.path)

    def _cost(self, attempt: Unsettled, note: Linked | None) -> int | None:
        """Give what the answer has said that it cost; where that was lost, the price, or more if others were dearer."""
        if note is not None and note.cost is not None:
            return note.cost
        return None if attempt.price is None else -(-attempt.price * self._ledger.money.dearest // 1000)

    def _stick(self, attempt: Unsettled, problem: str) -> None:
        """Leave an attempt open for a person: its image is there and must not be bought again."""
        self._problems.append(problem)
        self._held.add(Errand.from_json(attempt.errand).key)

    async def _fetch_all(self) -> None:
        """Fetch what there is a note of, several at once; what is not fetched in time waits for a later run."""
        left = {number: self._open.pop(number) for number in self._notes.keys() & self._open.keys()}
        if not left:
            return
        slots = CapacityLimiter(FETCHES)
        with anyio.move_on_after(MOST_SECONDS):
            async with anyio.create_task_group() as group:
                group.start_soon(self._watch, left, group.cancel_scope)
                for attempt in list(left.values()):
                    group.start_soon(self._fetch, attempt, left, slots, group.cancel_scope)
        if self._fault is not None:
            raise self._fault
        if left:
            self._waiting.append("An image that is paid for is still to be fetched")
        self._held |= {Errand.from_json(attempt.errand).key for attempt in left.values()}

    async def _fetch(
        self, attempt: Unsettled, left: dict[int, Unsettled], slots: CapacityLimiter, scope: anyio.CancelScope
    ) -> None:
        errand = Errand.from_json(attempt.errand)
        rung = Rung(resolution=errand.rung, timeout=TIMEOUT, stall=STALL, price=attempt.price)
        try:
            async with slots:
                result = await self._fetcher.bring(self._notes[attempt.id], rung, TRIES)
            self._beginning.step()
            with anyio.CancelScope(shield=True):  # what is known now is written down, whoever is in a hurry
                await self._end(attempt, errand, result)
            del left[attempt.id]
        except Exception as error:  # noqa: BLE001 -- carried out of the group by hand, which would wrap it
            self._fault = self._fault or error
            scope.cancel()

    async def _watch(self, left: Mapping[int, Unsettled], scope: anyio.CancelScope) -> None:
        """Call a halt when the run is to stop; ends with the last fetch."""
        while left:
            if self._beginning.stopped is not None:
                scope.cancel()
            await anyio.sleep(GLANCE)

    async def _end(self, attempt: Unsettled, errand: Errand, result: StoredImage | Failure | Held) -> None:
        if isinstance(result, Held) and (given_up := _given_up(self._notes[attempt.id], result)) is not None:
            result = given_up
        if isinstance(result, Held):
            self._waiting.append(result.reason)
            self._held.add(errand.key)
        elif isinstance(result, Failure):
            await self._ledger.settle(await self._written_off(attempt, errand, result))
            await to_thread.run_sync(self._spool.forget, self._notes[attempt.id].path)
        else:
            try:
                await self._put(attempt, [result], FETCHED)
            except ConflictError as problem:
                self._stick(attempt, f"{result.path}: {problem}")

    async def _written_off(self, attempt: Unsettled, errand: Errand, failure: Failure) -> Settlement:
        """Settle an attempt whose image will never come: it is paid for, and its task has failed."""
        known = (await self._ledger.lookup([errand.key])).get(errand.key)
        tries = len(known.results) + 1 if known else 1
        record = failure_record(errand, Outcome.FAILED, tries, failure.message)
        return Settlement(
            attempt=attempt.id,
            result=str(failure.kind),
            billed=failure.billed,
            cost=self._cost(attempt, self._notes[attempt.id]) if failure.billed is Billed.YES else None,
            message=failure.message,
            ending=Ending(key=errand.key, outcome=Outcome.FAILED, attempt=attempt.id, record=record),
        )


def _given_up(note: Linked, held: Held) -> Failure | None:
    """Say that an address has been tried for long enough: such addresses are good for hours."""
    days = (time.time() - note.path.stat().st_mtime) / 86_400
    if days < MOST_DAYS:
        return None
    message = f"{held.reason}; it was tried for {days:.0f} days, so `--retry failed` buys it again"
    return Failure(kind=FailureKind.DOWNLOAD, message=message, billed=note.billed, signature="given up")


def _ending(ready: Ready) -> str:
    try:
        return _look(ready).picture.ending
    except ImageError:
        return ""


def _look(ready: Ready) -> StoredImage:
    """Read a file once, from end to end, and tell what it holds.

    Raises:
        ImageError: it is not what it was when it was written, or no image.
    """
    inspector, digest = Inspector(), hashlib.sha256()
    with open_plain(ready.path) as handle:
        while block := handle.read(BLOCK):
            inspector.feed(block)
            digest.update(block)
    if digest.hexdigest() != ready.sha256:
        raise ImageError("its bytes have changed since it was written; move it away and run again")
    return StoredImage(path=ready.path, size=ready.size, sha256=ready.sha256, picture=inspector.result())
