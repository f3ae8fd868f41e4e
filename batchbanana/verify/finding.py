"""What `verify` may find, in words with the remedy, and what the command then ends with. Pure decisions."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from batchbanana.errors import Exit
from batchbanana.ledger import Image
from batchbanana.task import Picture

MEND = "or let `verify --repair` put its task back, to be made and paid for again"
SHOWN = 12  # hex digits of a hash that tell it from another


class Kind(StrEnum):
    """What is wrong."""

    MISSING = "missing"
    DAMAGED = "damaged"
    UNREADABLE = "unreadable"
    UNKNOWN = "unknown"
    STRAY = "stray"
    METADATA = "metadata"
    SPOOL = "spool"
    RECORD = "record"
    OPEN = "open"
    LEDGER = "ledger"


# Where the ledger cannot be believed, nothing else that is said is certain: this code wins over that of the disk.
OF_THE_LEDGER = {Kind.UNKNOWN, Kind.RECORD, Kind.OPEN, Kind.LEDGER}
BOUGHT_AGAIN = {Kind.MISSING, Kind.DAMAGED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it should be.

    Attributes:
        place: the file or the task.
        fault: half a sentence that says what is wrong with it.
        remedy: what to do; of what is mended, what was done.
        can_mend: whether `--repair` would do something about it.
        is_mended: by `--repair`.
    """

    kind: Kind
    place: str
    fault: str
    remedy: str
    can_mend: bool = False
    is_mended: bool = False

    def __str__(self) -> str:
        """Give the whole sentence."""
        return f"{self.place} {self.fault}; {self.remedy}"

    def mended(self, how: str) -> "Finding":
        """Say that it was mended, and how."""
        return replace(self, remedy=how, is_mended=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A file as it is.

    Attributes:
        picture: what its bytes say; None when they are not a whole picture, and `flaw` says why.
    """

    size: int
    sha256: str
    picture: Picture | None
    flaw: str = ""


def judge(image: Image, seen: Seen) -> Finding | None:
    """Compare an image of the ledger with its file; None when they agree."""
    if (fault := _damage(image, seen)) is not None:
        remedy = f"put it back from a copy, {MEND} (the file is kept aside)"
        return Finding(kind=Kind.DAMAGED, place=image.file, fault=fault, remedy=remedy, can_mend=True)
    said = image.record
    told = (said.get("file_name"), said.get("bytes"), said.get("sha256"))
    if told != (image.file, image.size, image.sha256):
        return _misrecorded(image, "is not what its record in the ledger is about")
    if seen.picture is None:
        return _misrecorded(image, f"has the bytes that were paid for, but {seen.flaw}")
    picture = seen.picture
    if (said.get("mime"), said.get("width"), said.get("height")) != (picture.mime, picture.width, picture.height):
        shown = f"{said.get('mime')} of {said.get('width')}x{said.get('height')} pixels"
        is_what = f"is {picture.mime} of {picture.width}x{picture.height} pixels"
        return _misrecorded(image, f"{is_what}, but its record in the ledger says {shown}")
    return None


def missing(image: Image) -> Finding:
    """Say that an image's file is gone."""
    remedy = f"put it back from a copy, {MEND}"
    return Finding(kind=Kind.MISSING, place=image.file, fault="is missing", remedy=remedy, can_mend=True)


def stray(name: str, original: str | None) -> Finding:
    """Say that a file below `images/` is no task's; `original` is the missing image whose bytes it has, if any."""
    if original is not None:
        fault, remedy = f"has the bytes of {original}, which is missing", "give it that name, or let `verify --repair`"
        return Finding(kind=Kind.STRAY, place=name, fault=fault, remedy=remedy, can_mend=True)
    remedy = "move it away, for a run overwrites nothing and readers of metadata.jsonl want a line for it"
    return Finding(kind=Kind.STRAY, place=name, fault="is no image that the ledger knows", remedy=remedy)


def unrecorded(name: str) -> Finding:
    """Say that a run died when it had given an image its name, and before it could write that down."""
    fault = "is an image that is paid for, of which the ledger does not know yet that it is there"
    return Finding(kind=Kind.SPOOL, place=name, fault=fault, remedy="run again, which writes it down")


def outside(image: Image) -> Finding:
    """Say that the ledger leads out of the job directory, as no run has ever written it."""
    remedy = "nothing is looked at or changed there; put the ledger back from a copy that you trust"
    return Finding(kind=Kind.RECORD, place=image.file, fault="is not in the job directory", remedy=remedy)


def unreadable(image: Image, why: str) -> Finding:
    """Say that an image's file cannot be read; whether it is whole is not known, so it is not bought again."""
    remedy = "mend the disk or the file's rights and verify again"
    return Finding(kind=Kind.UNREADABLE, place=image.file, fault=f"cannot be read ({why})", remedy=remedy)


def exit_code(left: Iterable[Kind]) -> Exit:
    """Choose the code for the kinds of findings that are not mended."""
    kinds = set(left)
    if kinds & OF_THE_LEDGER:
        return Exit.LEDGER
    return Exit.DISK if kinds else Exit.MADE


def _damage(image: Image, seen: Seen) -> str | None:
    if seen.size != image.size:
        return f"has {seen.size} bytes, but {image.size} were paid for"
    if seen.sha256 != image.sha256:
        return f"has other bytes than were paid for (sha256 {seen.sha256[:SHOWN]}…, not {image.sha256[:SHOWN]}…)"
    return None


def _misrecorded(image: Image, fault: str) -> Finding:
    remedy = "put the ledger back from a copy, or keep in mind that its record of this image is wrong"
    return Finding(kind=Kind.RECORD, place=image.file, fault=fault, remedy=remedy)
