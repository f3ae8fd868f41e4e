"""The last steps of an image's way: final name, outcome and cost in one transaction, spool entry gone.

An answer that has just come and an image that a dead run left in the spool go the same way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from anyio import CapacityLimiter, to_thread

from batchbanana.images import mismatch
from batchbanana.ledger import Ending, Ledger, Settlement
from batchbanana.record import Errand, Made, image_record
from batchbanana.spool import Spool
from batchbanana.task import Billed, Outcome, Picture, StoredImage

THREADS = 16  # links and syncs under way at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """An image in the spool with all that is known about it.

    Attributes:
        attempt: its id.
        images: the one that counts, then extras.
        cost: micro-dollars if it was billed; None when the price is unknown.
        tries: attempts that this task has taken, this one included.
        replaces: file of an older image of the same task.
    """

    attempt: int
    errand: Errand
    images: Sequence[StoredImage]
    billed: Billed
    cost: int | None
    model_version: str | None
    tries: int
    replaces: str | None = None
    note: str = ""


class ConflictError(Exception):
    """A file that is not ours stands under an image's final name; the image stays in the spool."""


def judge(errand: Errand, picture: Picture) -> tuple[Outcome, str]:
    """Say whether an image is what was asked, and if not, what differs."""
    if (difference := mismatch(picture, errand.ratio, errand.rung)) is not None:
        return Outcome.MISMATCH, difference
    if errand.rung != errand.resolution:
        return Outcome.DEGRADED, f"asked for {errand.resolution}, made at {errand.rung} after timeouts"
    return Outcome.DONE, ""


class Shelf:
    """Puts images under their final names."""

    def __init__(self, spool: Spool, ledger: Ledger) -> None:
        self._spool = spool
        self._ledger = ledger
        self._disk = CapacityLimiter(THREADS)

    async def put(self, parcel: Parcel) -> Outcome:
        """Carry an image from the spool to its final name and into the ledger; run it shielded from cancellation.

        Raises:
            ConflictError: its name is taken by a file that is not ours; it stays in the spool for the next run.
            OSError: the disk refuses; it stays in the spool likewise.
            LedgerError, DiskError: the ledger cannot be written; likewise.
        """
        files = await to_thread.run_sync(self._publish, parcel, limiter=self._disk)
        main, picture = parcel.images[0], parcel.images[0].picture
        outcome, note = judge(parcel.errand, picture)
        made = Made(
            file=files[0],
            size=main.size,
            sha256=main.sha256,
            picture=picture,
            outcome=outcome,
            attempts=parcel.tries,
            cost=parcel.cost if parcel.billed is Billed.YES else 0,
            model_version=parcel.model_version,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            extras=tuple(files[1:]),
            note="; ".join(filter(None, (note, parcel.note))),
        )
        ending = Ending(
            key=parcel.errand.key,
            outcome=outcome,
            attempt=parcel.attempt,
            record=image_record(parcel.errand, made),
            file=made.file,
            size=made.size,
            sha256=made.sha256,
        )
        await self._ledger.settle(
            Settlement(attempt=parcel.attempt, result="image", billed=parcel.billed, cost=parcel.cost, ending=ending)
        )
        await to_thread.run_sync(self._tidy, parcel, limiter=self._disk)
        return outcome

    def _publish(self, parcel: Parcel) -> list[str]:
        files = [
            str(final_name(parcel.errand, image.picture, rank, parcel.attempt if parcel.replaces else None))
            for rank, image in enumerate(parcel.images)
        ]
        for image, file in zip(parcel.images, files, strict=True):
            if not self._spool.publish(image.path, Path(file)):
                raise ConflictError(f"{file} is there already and is not this image; move it away and run again")
        return files

    def _tidy(self, parcel: Parcel) -> None:
        for image in parcel.images:
            self._spool.forget(image.path)
        if parcel.replaces is not None:
            self._spool.set_aside(parcel.replaces)


def final_name(errand: Errand, picture: Picture, rank: int, attempt: int | None) -> PurePosixPath:
    """Give an image's name relative to the job directory.

    Extras stand outside `images/`, because readers of `metadata.jsonl` want a line for every file there. An image that
    replaces another bears its attempt's number, so that both can stand until the ledger knows the new one.
    """
    folder = "extras" if rank else "images"
    marks = f"_x{rank}" if rank else ""
    marks += f"_r{attempt}" if attempt is not None else ""
    return PurePosixPath(folder) / f"{errand.name}{marks}{picture.ending}"
