"""A manifest's matrix: its size, computed and never counted, and a lazy stream of its tasks with their keys."""

import hashlib
import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from json.encoder import encode_basestring_ascii as quoted
from pathlib import Path
from typing import NamedTuple

from batchbanana.manifest import Faults, Job, Manifest, is_google, read
from batchbanana.manifest.forms import AUTO
from batchbanana.manifest.settings import TIMEOUT
from batchbanana.manifest.sheet import SheetJobs
from batchbanana.manifest.space import Cell, Space, Values
from batchbanana.models import Model, Registry, Tier, warning
from batchbanana.names import KEY_DIGITS, safe, slug
from batchbanana.task import Reference, Rung, Task

VERSION = "batchbanana/1"  # of the key; another one buys every image again
MOST_TASKS = 1_000_000  # unless the user says otherwise: more than that is mostly a slip


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPlan:
    """One job's part of the matrix.

    Attributes:
        cells: how many tasks it has, after `exclude`, `pick` and `include`.
        axes: names and numbers of steps, before these.
        models: ids, in the order of the manifest.
    """

    id: str
    cells: int
    axes: tuple[tuple[str, int], ...]
    models: tuple[str, ...]


class Matrix:
    """All tasks of a manifest. Iterating makes them one by one; cells that ask for the same image have the same key."""

    def __init__(self, manifest: Manifest, cells: int, oddities: Sequence[str]) -> None:
        self.manifest = manifest
        self.cells = cells
        self._oddities = tuple(oddities)

    @property
    def registry(self) -> Registry:
        """The models as they hold for this manifest."""
        return self.manifest.registry

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know before anything is spent, if requests go where the manifest says."""
        return self.warnings_at(None)

    def warnings_at(self, base_url: str | None) -> tuple[str, ...]:
        """Likewise for an address that is given instead; which models are dying depends on whom one asks."""
        google = is_google(base_url or self.manifest.provider.base_url)
        said = (warning(model, google) for model in self.manifest.models)
        return (*filter(None, said), *self.manifest.warnings, *self._oddities)

    @property
    def jobs(self) -> tuple[JobPlan, ...]:
        """What each job makes; rows of a CSV without ids are one job."""
        return tuple(_plan(id_, jobs) for id_, jobs in groupby(self.manifest.jobs, key=lambda job: job.id))

    def __iter__(self) -> Iterator[Task]:
        for job in self.manifest.jobs:
            yield from tasks(job)


def load(path: Path, *, models: Path | None = None, max_tasks: int = MOST_TASKS) -> Matrix:
    """Read a manifest, check all of it, and span its matrix.

    Args:
        path: of a YAML or CSV manifest.
        models: a registry of the user's that adds to and wins over what is known of models.
        max_tasks: refuse a larger matrix.

    Raises:
        ManifestError: with every fault that was found.
    """
    faults = Faults(str(path))
    manifest = read(path, faults, models)
    if manifest is None:
        raise faults.error()
    oddities: list[str] = []
    sheet = manifest.jobs if isinstance(manifest.jobs, SheetJobs) else None  # counted when it was checked
    cells = sheet.cells if sheet else sum(_count(job, faults, oddities) for job in manifest.jobs)
    if cells > max_tasks:
        faults.add(0, f"the matrix has {cells:,} tasks, more than {max_tasks:,}: allow it with --max-tasks {cells}")
    faults.raise_any()
    _refuse_shared_names(manifest, faults)
    faults.raise_any()
    return Matrix(manifest, cells, oddities)


def _count(job: Job, faults: Faults, oddities: list[str]) -> int:
    """Compute a job's cells, and say what is odd about its exclusions and its pick."""
    space = _space(job)
    idle = [job.exclude[index].line for index in space.idle()]
    oddities += [f"{faults.file}:{line}: this `exclude` entry of `{job.id}` matches nothing" for line in idle]
    if not space.cells:
        oddities.append(f"{faults.file}:{job.line}: everything that `{job.id}` spans is excluded")
    if job.pick and job.pick.count > space.cells:
        message = f"`pick` takes {job.pick.count:,} cells, but `{job.id}` has {space.cells:,}: lower its count"
        faults.add(job.pick.line, message)
    return _cells(job, space)


def _cells(job: Job, space: Space) -> int:
    return (job.pick.count if job.pick else space.cells) + sum(_space(added).cells for added in job.include)


def _plan(id_: str, jobs: Iterator[Job]) -> JobPlan:
    """Sum up the entries that share an id, which only rows of a CSV do; they are not kept."""
    cells = 0
    axes: tuple[tuple[str, int], ...] = ()
    models: dict[str, None] = {}
    for rows, job in enumerate(jobs, 1):
        cells += _cells(job, _space(job))
        axes = _axes(job) if rows == 1 else (("rows", rows),)
        models |= dict.fromkeys(model.id for model in job.models)
    return JobPlan(id=id_, cells=cells, axes=axes, models=tuple(models))


def _axes(job: Job) -> tuple[tuple[str, int], ...]:
    variables = [axis.names[0] if len(axis.names) == 1 else "rows" for axis in job.axes]
    return tuple(zip(("prompt", *variables, "model", "ratio", "resolution", "samples"), job.sizes, strict=True))


def _space(job: Job) -> Space:
    return Space(job.sizes, _values(job), job.exclude) if job.exclude else Space(job.sizes)


def _values(job: Job) -> list[Values]:
    """Name the fields of each axis and their values, as `exclude` knows them, in the order of `Job.sizes`."""
    words = {"prompt", "model", "ratio", "resolution", "sample"}  # a column of that name is not the one meant
    return [
        (("prompt",), [(prompt.text,) for prompt in job.prompts]),
        *((["" if name in words else name for name in axis.names], axis.values) for axis in job.axes),
        (("model",), [(model.id,) for model in job.models]),
        (("ratio",), [(ratio or AUTO,) for ratio in job.ratios]),
        (("resolution",), [(size,) for size in job.resolutions]),
        (("sample",), ((str(sample),) for sample in job.samples)),
    ]


def task_key(  # noqa: PLR0913 - the key has as many parts as the wire does
    *,
    model: str,
    prompt: str,
    ratio: str | None,
    resolution: str,
    references: Sequence[str],
    extra: Mapping[str, object],
    sample: int,
) -> str:
    """Hash everything that reaches the wire, and nothing else, to 32 hex digits; `references` are their sha256."""
    return _digest(
        _head(model), quoted(prompt), _middle(ratio, resolution), _canonical([*references]), _canonical(extra), sample
    )


def _digest(head: str, prompt: str, middle: str, references: str, extra: str, sample: int) -> str:
    """Hash the canonical JSON of a task, whose parts come ready since most tasks share most of them."""
    text = f"{head}{prompt},{middle},{references},{extra},{sample}]"
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:32]


def _head(model: str) -> str:
    return f"[{quoted(VERSION)},{quoted(model)},"


def _middle(ratio: str | None, resolution: str) -> str:
    return f"{'null' if ratio is None else quoted(ratio)},{quoted(resolution)}"


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def ladder(job: Job, model: Model, resolution: str) -> tuple[Rung, ...]:
    """Give the rungs of a task: the asked resolution, then where the fallback leads, as far as the model makes it."""
    tier = Tier.FLEX if job.extra.get("serviceTier") == "flex" else Tier.STANDARD
    rungs: list[Rung] = []
    step: str | None = resolution
    while step is not None:
        if not rungs or not model.sizes or step in model.sizes:
            rungs.append(
                Rung(
                    resolution=step,
                    timeout=job.timeouts.get(step, TIMEOUT),
                    stall=job.stall,
                    price=model.price(step, tier, len(job.references)),
                    sending=model.sending(step, len(job.references)),
                    tokens=model.priced_tokens(step),
                )
            )
        step = job.fallback.get(step)  # always a smaller one, so this ends
    return tuple(rungs)


class _Subject(NamedTuple):
    """What a task's prompt and variables decide; shared by its ratios, resolutions and samples."""

    prompt: str
    prompt_json: str
    variables: tuple[tuple[str, str], ...]
    references: tuple[Reference, ...]
    digests: str
    names: Mapping[str, str]


class _Setting(NamedTuple):
    """What a task's model, ratio and resolution decide; shared by all subjects."""

    model: str
    ratio: str | None
    rungs: tuple[Rung, ...]
    head: str
    middle: str
    names: Mapping[str, str]


def tasks(job: Job) -> Iterator[Task]:
    """Make the tasks of a job one by one: what was spanned or picked, then what was included."""
    space = _space(job)
    cells = space.pick(job.pick.count, job.pick.seed) if job.pick else iter(space)
    yield from _made(job, cells)
    for added in job.include:
        yield from _made(added, iter(_space(added)))


def _made(job: Job, cells: Iterator[Cell]) -> Iterator[Task]:
    """Make tasks of cells; what neighbours share is made once."""
    settings: dict[Cell, _Setting] = {}
    sent = frozenset(field for template in job.references for field in template.fields)
    extra, image, samples = _canonical(job.extra), job.images, job.samples
    for outer, group in groupby(cells, key=lambda cell: cell[:-4]):
        subject = _subject(job, outer, sent)
        for cell in group:
            inner = cell[-4:-1]
            setting = settings.get(inner) or settings.setdefault(inner, _setting(job, inner))
            sample = samples[cell[-1]]
            key = _digest(setting.head, subject.prompt_json, setting.middle, subject.digests, extra, sample)
            names = {**subject.names, **setting.names, "sample": str(sample), "key": key[:KEY_DIGITS]}
            yield Task(
                key=key,
                job=job.id,
                model=setting.model,
                prompt=subject.prompt,
                ratio=setting.ratio,
                sample=sample,
                variables=subject.variables,
                references=subject.references,
                extra=job.extra,
                rungs=setting.rungs,
                name=image.render([names[field] for field in image.fields]),
                on_mismatch=job.on_mismatch,
            )


def _subject(job: Job, outer: Cell, sent: frozenset[str]) -> _Subject:
    """Render one prompt; its slug has only what it sends, since unused columns of rows would clutter it."""
    prompt = job.prompts[outer[0]]
    shown: dict[str, str] = {}
    paths: dict[str, str] = {}
    for axis, step in zip(job.axes, outer[1:], strict=True):
        shown.update(zip(axis.names, axis.values[step], strict=True))
        if axis.paths:
            paths[axis.names[0]] = axis.paths[step]
    text = prompt.render(shown)
    sources = {**shown, **paths} if paths else shown
    references = tuple([job.files[template.render(sources)] for template in job.references])
    used = [value for name, value in shown.items() if name in prompt.fields or name in sent]
    names = {name: safe(value) for name, value in shown.items() if name in job.images.fields}
    return _Subject(
        prompt=text,
        prompt_json=quoted(text),
        variables=tuple(shown.items()),
        references=references,
        digests=_canonical([reference.sha256 for reference in references]) if references else "[]",
        names={**names, "job": safe(job.id), "slug": slug(used or [text])},
    )


def _setting(job: Job, inner: Cell) -> _Setting:
    model, ratio, resolution = job.models[inner[0]], job.ratios[inner[1]], job.resolutions[inner[2]]
    shown = (ratio or AUTO).replace(":", "x")
    return _Setting(
        model=model.id,
        ratio=ratio,
        rungs=ladder(job, model, resolution),
        head=_head(model.id),
        middle=_middle(ratio, resolution),
        names={"model": safe(model.id), "ratio": shown, "resolution": resolution},
    )


def _refuse_shared_names(manifest: Manifest, faults: Faults) -> None:
    """Look for tasks that would share a name; only templates without `{key}` need it, and only they are walked."""
    jobs = [job for job in manifest.jobs if not job.images.has_key]
    taken: dict[str, str] = {}
    for job in jobs:
        for task in tasks(job):
            name = _folded(task)
            if taken.setdefault(name, task.key) != task.key:
                first = next(other for earlier in jobs for other in tasks(earlier) if _folded(other) == name)
                message = f"{_describe(first)} and {_describe(task)} would both be named {task.name}"
                faults.add(job.line, f"{message}: add {{key}} to the name template")
                break


def _folded(task: Task) -> str:
    """Give a name as the most forgetful file systems compare it."""
    return unicodedata.normalize("NFC", task.name.casefold())


def _describe(task: Task) -> str:
    parts = [*(f"{name} {value}" for name, value in task.variables), task.model, task.ratio or AUTO, task.resolution]
    return f"`{task.job}` ({', '.join(parts)}, sample {task.sample})"
