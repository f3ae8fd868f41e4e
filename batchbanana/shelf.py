"""The last steps of an image's way: final name, outcome and cost in one transaction, spool entry gone.

An answer that has just come and an image that a dead run left in the spool go the same way.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from anyio import CapacityLimiter, to_thread

from batchbanana.images import mismatch
from batchbanana.ledger import ASIDE, Ending, Ledger, Settlement, Store
from batchbanana.record import Errand, Made, failure_record, image_record
from batchbanana.spool import SUPERSEDED, Spool
from batchbanana.task import Billed, OnMismatch, Outcome, StoredImage
from batchbanana.together import Together, tried

PUBLISHING = 4  # turns of linking and syncing folders under way at once
# Images that the spool still has under a second name; to forget each by itself takes a tenth of its processor time.
MOST_UNTIDIED = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """An image in the spool with all that is known about it.

    Attributes:
        attempt: its id.
        images: the one that counts, then extras.
        cost: micro-dollars if it was billed; None when the price is unknown.
        tries: attempts that this task has taken, this one included.
        replaces: file of an older image of the same task, and `replaced` its outcome.
        departed: unix seconds at which its request left, where that is known.
        differed: how many images of this task, this one not included, were not what was asked.
    """

    attempt: int
    errand: Errand
    images: Sequence[StoredImage]
    billed: Billed
    cost: int | None
    model_version: str | None
    tries: int
    replaces: str | None = None
    replaced: Outcome | None = None
    differed: int = 0
    departed: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """What became of a parcel.

    Attributes:
        outcome: the task's, from now on.
        file: the image that the task has now, relative to the job directory; None when it was put aside.
        size: of that file in bytes.
        note: what is to be said of it; empty when all is as asked.
        trouble: why the disk could not be tidied after it, which the next run does; empty when it was.
    """

    outcome: Outcome
    file: str | None = None
    size: int | None = None
    note: str = ""
    trouble: str = ""


# Of two images of one task the better stays.
WORTH = {Outcome.MISMATCH: 0, Outcome.DEGRADED: 1, Outcome.DONE: 2}


class ConflictError(Exception):
    """A file that the ledger does not know stands under an image's final name; what is bought stays in the spool.

    Args:
        taken: the file, relative to the job directory.
        is_bought: whether the image is there already; else it is said that another run will pay for it.
    """

    def __init__(self, taken: str, *, is_bought: bool) -> None:
        price = "" if is_bought else ", which makes an image of that name and pays for it"
        remedy = f"move it away and run again{price}"
        super().__init__(f"{taken} is there already, and the ledger does not know it; {remedy}")


class Shelf:
    """Puts images under their final names.

    Args:
        spool: where they come from.
        ledger: where their outcomes go.
        is_other_model: whether a model that the server names is known to be another one than was asked for.
    """

    def __init__(
        self, spool: Spool, ledger: Ledger, is_other_model: Callable[[str, str], bool] = lambda _asked, _told: False
    ) -> None:
        self._spool = spool
        self._ledger = ledger
        self._is_other_model = is_other_model
        self._disk = CapacityLimiter(PUBLISHING)
        self._publishing = Together(self._publish_all, PUBLISHING)
        self._untidied: list[Parcel] = []
        self._placed: set[str] = set()  # names given in this run whose rows may not be committed yet

    def close(self) -> None:
        """Let the threads end; nothing may be put after that."""
        self._publishing.close()

    async def put(self, parcel: Parcel) -> Placed:
        """Carry an image from the spool to its final name and into the ledger; run it shielded from cancellation.

        Raises:
            ConflictError: its name is taken by a file that is not ours; it stays in the spool for the next run.
            OSError: the disk refuses; it stays in the spool likewise.
            LedgerError, DiskError: the ledger cannot be written; likewise.
        """
        outcome, note = self._judge(parcel)
        if parcel.replaced is not None and WORTH[outcome] < WORTH[parcel.replaced]:
            ending = Ending(key=parcel.errand.key, outcome=parcel.replaced, attempt=parcel.attempt, record={})
            await self._put_aside(parcel, ending)  # the outcome stays; only the count of its attempts begins anew
            return Placed(outcome=parcel.replaced, file=parcel.replaces)
        if outcome is Outcome.MISMATCH and parcel.errand.on_mismatch == OnMismatch.FAIL:
            return await self._reject(parcel, note)
        files = await self._find_place(parcel)
        ending = _ending(parcel, files, outcome, "; ".join(filter(None, (note, parcel.note))))
        await self._settle(parcel, ending)
        self._placed.difference_update(files)
        self._untidied.append(parcel)
        # What this run may replace must be tidied first: the ledger then knows it no more, nor would the next start.
        is_lasting = outcome is not Outcome.MISMATCH and parcel.replaces is None
        can_wait = is_lasting and len(self._untidied) < MOST_UNTIDIED
        trouble = "" if can_wait else await self.tidy()
        return Placed(outcome=outcome, file=files[0], size=parcel.images[0].size, note=note, trouble=trouble)

    async def tidy(self) -> str:
        """Let the spool forget what the ledger has; gives why it could not, which the next run does, or nothing."""
        parcels, self._untidied = self._untidied, []
        results = await to_thread.run_sync(tried, self._tidy, parcels, limiter=self._disk) if parcels else []
        for result in results:
            if isinstance(result, OSError):
                return f"The spool cannot be tidied ({result.strerror}); look at the disk and run again"
            if isinstance(result, Exception):
                raise result
        return ""

    def _judge(self, parcel: Parcel) -> tuple[Outcome, str]:
        """Say whether an image is what was asked, and if not, what differs."""
        errand, told = parcel.errand, parcel.model_version
        differences = [mismatch(parcel.images[0].picture, errand.ratio, errand.rung)]
        if told is not None and self._is_other_model(errand.model, told):
            differences.append(f"{told} answered, but {errand.model} was asked for")
        if any(differences):
            return Outcome.MISMATCH, "; ".join(filter(None, differences))
        if errand.rung != errand.resolution:
            return Outcome.DEGRADED, f"asked for {errand.resolution}, made at {errand.rung} after timeouts"
        return Outcome.DONE, ""

    async def _reject(self, parcel: Parcel, difference: str) -> Placed:
        """Keep an image that the manifest does not want, outside `images/`: it was paid for."""
        reason = f"{difference}; the image is kept under {SUPERSEDED}/ and `on_mismatch: fail` makes this a failure"
        record = failure_record(parcel.errand, Outcome.FAILED, parcel.tries, reason)
        ending = Ending(key=parcel.errand.key, outcome=Outcome.FAILED, attempt=parcel.attempt, record=record)
        await self._put_aside(parcel, ending)
        return Placed(outcome=parcel.replaced or Outcome.FAILED, file=parcel.replaces, note=reason)

    async def _settle(self, parcel: Parcel, ending: Ending, result: str = "image") -> None:
        await self._ledger.settle(
            Settlement(
                attempt=parcel.attempt,
                result=result,
                billed=parcel.billed,
                cost=parcel.cost,
                departed=parcel.departed,
                ending=ending,
            )
        )

    async def _put_aside(self, parcel: Parcel, ending: Ending) -> None:
        """Keep images that take no place, because a better one has it or the manifest wants none that differs."""
        await self._settle(parcel, ending, ASIDE)
        for rank, image in enumerate(parcel.images):  # what a crash leaves in the spool, the next run puts aside
            name = final_name(parcel, rank, "")
            await to_thread.run_sync(self._spool.keep_aside, image.path, name, limiter=self._disk)

    async def _find_place(self, parcel: Parcel) -> list[str]:
        """Link the images to their names; where another task's image has the name, to a longer one."""
        taken = ""
        for marks in ("", f"_{parcel.errand.key}"):
            files = [final_name(parcel, rank, marks) for rank in range(len(parcel.images))]
            found = await self._publishing.do((parcel, files))
            if found is None:
                self._placed.update(files)
                return files
            # Eight digits of the key tell two tasks of a name apart almost always, and all of its digits always do.
            taken = found
            if not await self._is_ours(taken):
                break
        raise ConflictError(taken, is_bought=True)

    async def look_ahead(self, name: str, key: str) -> None:
        """See whether a task's image would find its place, before it is bought; what picture will come is not known.

        Args:
            name: of its image below `images/`, without the ending.
            key: the task's.

        Raises:
            ConflictError: it would not.
        """
        for marks in ("", f"_{key}"):
            standing = await to_thread.run_sync(self._spool.standing, name + marks, limiter=self._disk)
            for taken in standing:
                if not await self._is_ours(taken):
                    raise ConflictError(taken, is_bought=False)
            if not standing:
                return

    async def _is_ours(self, file: str) -> bool:
        return file in self._placed or await self._ledger.do(partial(Store.owns, file=file))

    def _publish_all(self, parcels: Sequence[tuple[Parcel, Sequence[str]]]) -> list[str | Exception | None]:
        """Link the images of parcels to their names; gives for each parcel the first name that another file has."""
        images = [
            (image.path, file) for parcel, files in parcels for image, file in zip(parcel.images, files, strict=True)
        ]
        results = iter(self._spool.publish_all(images))
        return tried(self._published, [[(file, next(results)) for file in files] for _, files in parcels])

    def _published(self, images: Sequence[tuple[str, bool | Exception]]) -> str | None:
        """Say what became of one parcel's images; where one has no place, none of them keeps its own."""
        for _, result in images:
            if isinstance(result, Exception):
                raise result
        taken = [file for file, is_there in images if not is_there]
        for file, is_there in images:
            if taken and is_there:
                self._spool.retract(Path(file))
        return taken[0] if taken else None

    def _tidy(self, parcel: Parcel) -> None:
        if (
            parcel.replaces is not None
        ):  # before the spool forgets: a run that dies here is brought to its end by the next
            self._spool.set_aside(parcel.replaces)
        for image in parcel.images:
            self._spool.forget(image.path)


def final_name(parcel: Parcel, rank: int, marks: str) -> str:
    """Give an image's name relative to the job directory.

    Extras stand outside `images/`, because readers of `metadata.jsonl` want a line for every file there. An image that
    replaces another bears its attempt's number, so that both can stand until the ledger knows the new one.
    """
    folder = "extras" if rank else "images"
    marks += f"_x{rank}" if rank else ""
    marks += f"_r{parcel.attempt}" if parcel.replaces is not None else ""
    return f"{folder}/{parcel.errand.name}{marks}{parcel.images[rank].picture.ending}"


def _ending(parcel: Parcel, files: Sequence[str], outcome: Outcome, note: str) -> Ending:
    main = parcel.images[0]
    made = Made(
        file=files[0],
        size=main.size,
        sha256=main.sha256,
        picture=main.picture,
        outcome=outcome,
        attempts=parcel.tries,
        cost=parcel.cost if parcel.billed is Billed.YES else 0,
        model_version=parcel.model_version,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        extras=tuple(files[1:]),
        replaces=parcel.replaces,
        differed=parcel.differed + (outcome is Outcome.MISMATCH),
        note=note,
    )
    return Ending(
        key=parcel.errand.key,
        outcome=outcome,
        attempt=parcel.attempt,
        record=image_record(parcel.errand, made),
        file=made.file,
        size=made.size,
        sha256=made.sha256,
    )
