"""A probe: one image of each model and size, made as a task of the job, and what came set against what was asked.

What is bought is not wasted: a later run finds it made. What the job has already is shown and not bought again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from batchbanana.feed import Selection
from batchbanana.images import ratio_fits
from batchbanana.ledger import Known, Store, deed
from batchbanana.matrix import Matrix
from batchbanana.plan import BLOCK
from batchbanana.survey import Survey
from batchbanana.task import Task


@dataclass(slots=True, kw_only=True)
class Specimen:
    """One model and size of the plan, with the task that stands for it.

    Attributes:
        task: the one that is shown: one with an image, else the first that is missing, else the first that failed.
        known: what the ledger says of it; pending means that it is to be bought.
    """

    task: Task
    known: Known

    @property
    def is_missing(self) -> bool:
        """Whether it would have to be bought."""
        return self.known.outcome is None

    @property
    def rank(self) -> int:
        """How well the task serves: an image there is best, since it costs nothing."""
        return 0 if self.known.file is not None else 1 if self.is_missing else 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What was asked for and what came; None where nothing came or it is not known.

    Attributes:
        told: the model that the server says it was.
        ratio: as asked, `auto` where it was left to the model; `delivered_ratio` is named by the nearest known one.
        seconds: of the attempt that brought it.
        bought: whether this probe asked for it.
        text: what is to be said of it; empty when all is as asked.
    """

    model: str
    told: str | None
    ratio: str
    pixels: str | None
    delivered_ratio: str | None
    resolution: str
    delivered_resolution: str | None
    mime: str | None
    bytes: int | None
    seconds: float | None
    cost_usd: float | None
    outcome: str
    bought: bool
    file: str | None
    text: str


def choose(matrix: Matrix, store: Store | None) -> list[Specimen]:
    """Choose a task for each model and size of the plan, in the plan's order."""
    found: dict[tuple[str, str], Specimen] = {}
    for task, known in _walk(matrix, store):
        pair = (task.model, task.resolution)
        specimen = Specimen(task=task, known=known)
        if pair not in found or specimen.rank < found[pair].rank:
            found[pair] = specimen
    return list(found.values())


def _walk(matrix: Matrix, store: Store | None) -> Iterator[tuple[Task, Known]]:
    tasks = iter(matrix)
    while block := list(islice(tasks, BLOCK)):
        known = store.lookup([task.key for task in block]) if store is not None else {}
        yield from ((task, known.get(task.key, Known())) for task in block)


def selection(specimens: list[Specimen]) -> Selection:
    """Let a run make the missing ones and nothing else."""
    keys = {specimen.task.key for specimen in specimens if specimen.is_missing}
    return Selection(accepts=lambda task, outcome: task.key in keys and outcome is None, limit=len(keys))


def price(specimens: list[Specimen]) -> Survey:
    """Count and price the missing ones as the plan does it."""
    found = Survey()
    for specimen in specimens:
        if specimen.is_missing:
            found.add(specimen.task, specimen.known)
    return found


def rows(specimens: list[Specimen], store: Store | None, ratios: list[str]) -> list[Row]:
    """Set what came against what was asked, after the run; `ratios` are those that have a name."""
    return [_row(specimen, store, ratios) for specimen in specimens]


def _row(specimen: Specimen, store: Store | None, ratios: list[str]) -> Row:
    task = specimen.task
    done = deed(store, task.key) if store is not None else None
    record = done.record if done is not None else {}
    width, height = record.get("width"), record.get("height")
    is_there = done is not None and done.outcome.has_image and isinstance(width, int) and isinstance(height, int)
    asked = task.ratio or "auto"
    return Row(
        model=task.model,
        told=_text(record, "model_version"),
        ratio=asked,
        pixels=f"{width}x{height}" if is_there else None,
        delivered_ratio=_ratio(width, height, [asked, *ratios]) if is_there else None,  # type: ignore[arg-type]  # both are numbers then
        resolution=task.resolution,
        delivered_resolution=_text(record, "delivered_resolution"),
        mime=_text(record, "mime"),
        bytes=record.get("bytes") if is_there else None,  # type: ignore[arg-type]  # our own record
        seconds=round(done.seconds, 1) if done is not None and done.seconds is not None else None,
        cost_usd=record.get("cost_usd"),  # type: ignore[arg-type]  # likewise
        outcome=str(done.outcome) if done is not None else "pending",
        bought=specimen.is_missing,
        file=_text(record, "file_name"),
        text=_text(record, "note") or _text(record, "reason") or "",
    )


def _text(record: dict[str, object], name: str) -> str | None:
    value = record.get(name)
    return value if isinstance(value, str) else None


def _ratio(width: int, height: int, names: list[str]) -> str:
    fitting = (name for name in names if name != "auto" and ratio_fits(width, height, name))
    return next(fitting, f"{width / height:.2f}:1")
