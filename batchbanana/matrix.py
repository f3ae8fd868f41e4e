"""A manifest's matrix: its size, computed and never counted, and a lazy stream of its tasks with their keys."""

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from batchbanana.distinct import have_own_keys, have_own_names
from batchbanana.draft import VERSION, Draft, canonical, drafts, space_of
from batchbanana.manifest import Faults, Job, Manifest, is_google, read
from batchbanana.manifest.forms import AUTO
from batchbanana.manifest.sheet import SheetJobs
from batchbanana.manifest.space import Space
from batchbanana.models import Registry, warning
from batchbanana.task import Task

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
    def jobs(self) -> Iterable[JobPlan]:
        """What each job makes, told one by one; rows of a CSV without ids are one job."""
        sheet = self.manifest.jobs
        if isinstance(sheet, SheetJobs) and not sheet.has_ids:
            axes = (("rows", len(sheet)),) if len(sheet) > 1 else _axes(sheet[0])
            return (JobPlan(id=self.manifest.name, cells=self.cells, axes=axes, models=(*sheet.models,)),)
        return map(_plan, self.manifest.jobs)

    @property
    def job_count(self) -> int:
        """How many these are."""
        jobs = self.manifest.jobs
        return 1 if isinstance(jobs, SheetJobs) and not jobs.has_ids else len(jobs)

    @cached_property
    def is_distinct(self) -> bool:
        """Whether it is certain that no two cells ask for the same image; if not, whoever walks must remember keys."""
        return have_own_keys(self.manifest.jobs)

    @cached_property
    def digest(self) -> str:
        """A hash that is the same only for a matrix of the same keys; limits and comments make no difference to it."""
        return _digest(self.manifest)

    def drafts(self) -> Iterator[Draft]:
        """Draft all tasks: their keys, and the rest where it is wanted."""
        return drafts(self.manifest.jobs)

    def __iter__(self) -> Iterator[Task]:
        return (draft.task() for draft in self.drafts())


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
    space = space_of(job)
    idle = [job.exclude[index].line for index in space.idle()]
    oddities += [f"{faults.file}:{line}: this `exclude` entry of `{job.id}` matches nothing" for line in idle]
    if not space.cells:
        oddities.append(f"{faults.file}:{job.line}: everything that `{job.id}` spans is excluded")
    if job.pick and job.pick.count > space.cells:
        message = f"`pick` takes {job.pick.count:,} cells, but `{job.id}` has {space.cells:,}: lower its count"
        faults.add(job.pick.line, message)
    return _cells(job, space)


def cells_of(job: Job) -> int:
    """Compute how many tasks a job has, after `exclude`, `pick` and `include`."""
    return _cells(job, space_of(job))


def _cells(job: Job, space: Space) -> int:
    return (job.pick.count if job.pick else space.cells) + sum(space_of(added).cells for added in job.include)


def _plan(job: Job) -> JobPlan:
    models = dict.fromkeys(model.id for model in job.models)
    return JobPlan(id=job.id, cells=cells_of(job), axes=_axes(job), models=tuple(models))


def _axes(job: Job) -> tuple[tuple[str, int], ...]:
    variables = [axis.names[0] if len(axis.names) == 1 else "rows" for axis in job.axes]
    return tuple(zip(("prompt", *variables, "model", "ratio", "resolution", "samples"), job.sizes, strict=True))


def _refuse_shared_names(manifest: Manifest, faults: Faults) -> None:
    """Look for tasks that would share a name; only where a template does not rule it out are they walked."""
    if isinstance(manifest.jobs, SheetJobs):  # their names have the key
        return
    jobs = [job for job in manifest.jobs if not job.images.has_key]
    if not jobs or have_own_names(jobs):
        return
    taken: dict[int, int] = {}  # marks of names and keys, not the texts: there may be a million
    for job in jobs:
        for task in _tasks(job):
            name, key = _folded(task), int(task.key[:16], 16)
            if taken.setdefault(_mark(name), key) == key:
                continue
            first = next((other for earlier in jobs for other in _tasks(earlier) if _folded(other) == name), task)
            if first.key != task.key:  # else nothing but the marks were the same
                message = f"{_describe(first)} and {_describe(task)} would both be named {task.name}"
                faults.add(job.line, f"{message}: add {{key}} to the name template")
                break


def _tasks(job: Job) -> Iterator[Task]:
    return (draft.task() for draft in drafts([job]))


def _mark(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")


def _digest(manifest: Manifest) -> str:
    found = hashlib.sha256(VERSION.encode())
    jobs: Iterable[Job] = manifest.jobs
    if isinstance(jobs, SheetJobs):
        found.update(jobs.digest.encode())
        jobs = jobs[:1]
    for number, job in enumerate(jobs):
        if not number:  # all jobs share the files
            found.update(repr(sorted((path, image.sha256) for path, image in job.files.items())).encode())
        for part in (job, *job.include):
            found.update(repr(_what_keys_rest_on(part)).encode())
            for row in (row for axis in part.axes for row in axis.values):  # one by one: there may be a million
                found.update(repr(row).encode())
    return found.hexdigest()


def _what_keys_rest_on(job: Job) -> tuple[object, ...]:
    """Give all that decides about the keys of a job but its rows and the content of its references."""
    return (
        [prompt.text for prompt in job.prompts],
        [(axis.names, len(axis.values), axis.paths) for axis in job.axes],
        ([model.id for model in job.models], job.ratios, job.resolutions, list(job.samples)),
        [template.text for template in job.references],
        canonical(job.extra),
        [sorted((name, sorted(values)) for name, values in entry.wanted.items()) for entry in job.exclude],
        job.pick and (job.pick.count, job.pick.seed),
    )


def _folded(task: Task) -> str:
    """Give a name as the most forgetful file systems compare it."""
    return unicodedata.normalize("NFC", task.name.casefold())


def _describe(task: Task) -> str:
    parts = [*(f"{name} {value}" for name, value in task.variables), task.model, task.ratio or AUTO, task.resolution]
    return f"`{task.job}` ({', '.join(parts)}, sample {task.sample})"
