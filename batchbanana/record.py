"""What the ledger and `metadata.jsonl` say of a task and its image: plain mappings, in the documented order."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from batchbanana.images import size_class
from batchbanana.task import OnMismatch, Outcome, Picture, Rung, Task

BROUGHT_HOME = "brought home after an interrupted run"  # remarks in `note` that tell of no difference
FETCHED = "fetched by a later run"
MICRO = 1_000_000  # money is counted in whole millionths of a dollar, so sums never drift


def usd(micro: int) -> float:
    """Give micro-dollars as dollars, for people and JSON."""
    return round(micro / MICRO, 6)


def span(seconds: float) -> str:
    """Write seconds for a person."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """What must be known to finish an attempt's image even if the manifest has changed since it was sent.

    Attributes:
        rung: the resolution this attempt asks for; `resolution` is what the task asks for.
        name: final path below `images/`, without its ending.
        on_mismatch: what the manifest wants done with an image that differs.
    """

    key: str
    job: str
    prompt: str
    variables: dict[str, str]
    model: str
    ratio: str | None
    resolution: str
    rung: str
    sample: int
    name: str
    on_mismatch: str = OnMismatch.KEEP

    @classmethod
    def of(cls, task: Task, rung: Rung) -> "Errand":
        """Write down a task's attempt on one rung."""
        return cls(
            key=task.key,
            job=task.job,
            prompt=task.prompt,
            variables=dict(task.variables),
            model=task.model,
            ratio=task.ratio,
            resolution=task.resolution,
            rung=rung.resolution,
            sample=task.sample,
            name=task.name,
            on_mismatch=str(task.on_mismatch),
        )

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> "Errand":
        """Read back what `to_json` wrote."""
        return cls(**data)  # type: ignore[arg-type]  # our own row, written by to_json

    def to_json(self) -> dict[str, object]:
        """Give plain data for the ledger."""
        return {name: getattr(self, name) for name in ERRAND}  # `asdict` would copy each word, for every attempt


ERRAND = tuple(field.name for field in fields(Errand))


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """An image on disk, as its record tells it.

    Attributes:
        file: relative to the job directory, with forward slashes.
        cost: micro-dollars; None when the price is unknown.
        created: ISO 8601, UTC.
        differed: how many images of the task, this one included, were not what was asked.
    """

    file: str
    size: int
    sha256: str
    picture: Picture
    outcome: Outcome
    attempts: int
    cost: int | None
    model_version: str | None
    created: str
    extras: tuple[str, ...] = ()
    replaces: str | None = None
    differed: int = 0
    note: str = ""


def image_record(errand: Errand, made: Made) -> dict[str, object]:
    """Build the line of `metadata.jsonl` for one image."""
    record: dict[str, object] = {
        "file_name": made.file,
        **_asked(errand),
        "delivered_resolution": size_class(made.picture.width, made.picture.height),
        "width": made.picture.width,
        "height": made.picture.height,
        "mime": made.picture.mime,
        "bytes": made.size,
        "sha256": made.sha256,
        "outcome": str(made.outcome),
        "sample": errand.sample,
        "attempts": made.attempts,
        "cost_usd": None if made.cost is None else usd(made.cost),
        "model_version": made.model_version,
        "created": made.created,
    }
    if made.extras:
        record["extras"] = list(made.extras)
    if made.replaces:
        record["replaces"] = made.replaces
    if made.differed > 1:
        record["differed"] = made.differed
    if made.note:
        record["note"] = made.note
    return record


def failure_record(errand: Errand, outcome: Outcome, attempts: int, reason: str) -> dict[str, object]:
    """Build the ledger's record of a task that ended without an image."""
    told = {"outcome": str(outcome), "sample": errand.sample, "attempts": attempts, "reason": reason}
    return {**_asked(errand), **told}


def _asked(errand: Errand) -> dict[str, object]:
    """Tell what was asked for, as every record begins."""
    return {
        "key": errand.key,
        "job": errand.job,
        "prompt": errand.prompt,
        "variables": errand.variables,
        "model": errand.model,
        "ratio": errand.ratio,
        "resolution": errand.resolution,
    }
