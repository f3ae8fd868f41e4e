"""Reads a line of `metadata.jsonl` back into what the ledger would hold of its image. Pure."""

import json
import re
from datetime import UTC, datetime
from pathlib import PurePosixPath

from batchbanana.ledger import Ending, Restored
from batchbanana.record import MICRO
from batchbanana.task import Billed, Outcome

KEY = re.compile(r"[0-9a-f]{32}")
SHA256 = re.compile(r"[0-9a-f]{64}")
ASKED = {"job", "prompt", "variables", "model", "ratio", "resolution", "sample", "attempts", "width", "height", "mime"}


class UntoldError(ValueError):
    """A line does not tell of an image; the message is half a sentence that says why."""


def read_line(line: bytes) -> Restored:
    """Read one line.

    Raises:
        UntoldError: it is not a line that a run has written, or it leads out of the job directory.
    """
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        raise UntoldError("is not JSON") from None
    if not isinstance(record, dict):
        raise UntoldError("is not a JSON object")
    lacks = sorted(ASKED - record.keys())
    if lacks:
        raise UntoldError(f"has no {lacks[0]}")
    _check_others(record)
    cost = _cost(record.get("cost_usd"))
    ending = Ending(
        key=_matched(record, "key", KEY),
        outcome=_outcome(record.get("outcome")),
        attempt=0,
        record=record,
        file=_file(record.get("file_name"), "images", "file_name"),
        size=_size(record.get("bytes")),
        sha256=_matched(record, "sha256", SHA256),
    )
    return Restored(
        ending=ending,
        resolution=str(record["resolution"]),
        created=_created(record.get("created")),
        billed=Billed.NO if cost == 0 else Billed.YES,
        cost=cost,
    )


def _matched(record: dict[str, object], name: str, pattern: re.Pattern[str]) -> str:
    value = record.get(name)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise UntoldError(f"has no {name} as a run writes it")
    return value


def _outcome(value: object) -> Outcome:
    if value not in [str(outcome) for outcome in Outcome if outcome.has_image]:
        raise UntoldError("has no outcome of an image")
    return Outcome(str(value))


def _check_others(record: dict[str, object]) -> None:
    """Check the other files that a line names, for they are moved in their time."""
    extras = record.get("extras", [])
    if not isinstance(extras, list):
        raise UntoldError("has no list of extras")
    for extra in extras:
        _file(extra, "extras", "extras")
    if "replaces" in record:
        _file(record["replaces"], "images", "replaces")


def _file(value: object, folder: str, name: str) -> str:
    path = PurePosixPath(value) if isinstance(value, str) else PurePosixPath()
    if (
        path.parts[:1] != (folder,)
        or len(path.parts) < 2
        or {"..", "\0"} & {*path.parts, *str(path)}
        or str(path) != value
    ):
        raise UntoldError(f"has no {name} below {folder}/")
    return str(path)


def _size(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**63:
        raise UntoldError("has no bytes as a run writes them")
    return value


def _cost(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 10**9:
        raise UntoldError("has no cost_usd as a run writes it")
    return round(value * MICRO)


def _created(value: object) -> float:
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        raise UntoldError("has no time in created") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
