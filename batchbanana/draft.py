"""A job's cells → drafts of tasks: the key at once, the rest only where it is wanted.

Most tasks of a large job are made already, and of these nothing but the key is ever asked for.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from json.encoder import encode_basestring_ascii as quoted
from typing import NamedTuple

from batchbanana.manifest import Job
from batchbanana.manifest.forms import AUTO
from batchbanana.manifest.settings import TIMEOUT
from batchbanana.manifest.space import Cell, Space, Values
from batchbanana.manifest.template import Template
from batchbanana.models import Model, Tier
from batchbanana.names import KEY_DIGITS, safe, slug
from batchbanana.task import OnMismatch, Reference, Rung, Task

VERSION = "batchbanana/1"  # of the key; another one buys every image again
MOST_COMMONS = 256  # settings that are remembered for later jobs


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
    parts = (_head(model), quoted(prompt), _middle(ratio, resolution), canonical([*references]))
    return _digest(f"{''.join(parts)}{_tail(extra)}{sample}]")


def _digest(text: str) -> str:
    """Hash the canonical JSON of a task."""
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:32]


def _head(model: str) -> str:
    return f"[{quoted(VERSION)},{quoted(model)},"


def _middle(ratio: str | None, resolution: str) -> str:
    return f",{'null' if ratio is None else quoted(ratio)},{quoted(resolution)},"


def _tail(extra: Mapping[str, object]) -> str:
    return f",{canonical(extra)},"


def canonical(value: object) -> str:
    """Write plain data as JSON that is the same for equal data."""
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


def space_of(job: Job) -> Space:
    """Give the cells of a job, before `pick` and `include`."""
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


class Draft(NamedTuple):
    """A task whose key is known and whose rest is made on demand.

    Attributes:
        cell: where it stands in its part of the matrix.
        part: what makes it.
    """

    key: str
    cell: Cell
    part: "Part"

    def task(self) -> Task:
        """Make the task."""
        return self.part.task(self.key, self.cell)

    @property
    def job(self) -> str:
        """The id of the job."""
        return self.part.job

    @property
    def number(self) -> int:
        """The job's place among those that are told apart by their ids, from 0."""
        return self.part.number

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """The task's ladder."""
        return self.part.rungs(self.cell)

    @property
    def on_mismatch(self) -> OnMismatch:
        """What to do with an image that differs."""
        return self.part.on_mismatch


class _Subject(NamedTuple):
    """What a task's prompt and variables decide; shared by its ratios, resolutions and samples."""

    prompt: str
    variables: tuple[tuple[str, str], ...]
    references: tuple[Reference, ...]
    names: Mapping[str, str]


class _Setting(NamedTuple):
    """What a task's model, ratio and resolution decide; shared by all subjects."""

    model: str
    ratio: str | None
    rungs: tuple[Rung, ...]
    names: Mapping[str, str]


class _Common:
    """What jobs with the same settings share, as the rows of a CSV mostly do."""

    def __init__(self, job: Job) -> None:
        self.job = job  # which keeps alive what `_settings_of` tells jobs by
        self.tail = _tail(job.extra)
        self.around: dict[Cell, tuple[str, str]] = {}  # the key's text before and after the prompt
        self.settings: dict[Cell, _Setting] = {}


def _settings_of(job: Job) -> tuple[int, ...]:
    """Tell jobs with the same settings by these being the very same objects, as long as they are there."""
    parts = (job.models, job.ratios, job.resolutions, job.fallback, job.timeouts, job.stall, job.extra)
    return (*map(id, parts), len(job.references))


def drafts(jobs: Iterable[Job]) -> Iterator[Draft]:
    """Draft the tasks of some jobs one by one: of each, what was spanned or picked, then what was included."""
    commons: dict[tuple[int, ...], _Common] = {}
    for number, job in numbered(jobs):
        settings = _settings_of(job)
        if settings not in commons:
            if len(commons) == MOST_COMMONS:
                commons.clear()
            commons[settings] = _Common(job)
        space = space_of(job)
        cells = space.pick(job.pick.count, job.pick.seed) if job.pick else iter(space)
        yield from Part(job, number, commons[settings]).drafts(cells)
        for added in job.include:
            yield from Part(added, number, _Common(added)).drafts(iter(space_of(added)))


def numbered(jobs: Iterable[Job]) -> Iterator[tuple[int, Job]]:
    """Number jobs from 0; rows of a sheet without ids all have the id of one job, and are one."""
    number, last = -1, None
    for job in jobs:
        number += job.id != last
        last = job.id
        yield number, job


class Part:
    """Makes tasks of a job's cells, apart from its inclusions; what neighbours share is made once.

    Attributes:
        job: its id.
        number: its place among the jobs.
        on_mismatch: what to do with its images that differ.
    """

    def __init__(self, job: Job, number: int, common: _Common) -> None:
        self._job = job
        self._common = common
        self.job = job.id
        self.number = number
        self.on_mismatch = job.on_mismatch
        self._slots = [_slots(job, prompt) for prompt in job.prompts]
        self._sent = frozenset([field for template in job.references for field in template.fields])
        self._outer: Cell | None = None  # whose subject this is
        self._subject: _Subject | None = None

    def rungs(self, cell: Cell) -> tuple[Rung, ...]:
        """Give the ladder of a cell's task."""
        return self._setting(cell[-4:-1]).rungs

    def drafts(self, cells: Iterator[Cell]) -> Iterator[Draft]:
        """Draft a task for each cell, in their order."""
        job, samples = self._job, self._job.samples
        ends, around = self._common.tail, self._common.around
        outer, prompt, sent = None, "", "[]"
        for cell in cells:
            if cell[:-4] != outer:
                outer = cell[:-4]
                prompt = quoted(self._text(outer))
                if job.references:
                    sent = canonical([image.sha256 for image in self._references(self._shown(outer), outer)])
            inner = cell[-4:-1]
            if inner not in around:
                model, ratio, resolution = self._at(inner)
                around[inner] = _head(model.id), _middle(ratio, resolution)
            head, middle = around[inner]
            yield Draft(_digest(f"{head}{prompt}{middle}{sent}{ends}{samples[cell[-1]]}]"), cell, self)

    def task(self, key: str, cell: Cell) -> Task:
        """Make the task of a cell whose key is known."""
        job, inner = self._job, cell[-4:-1]
        if self._subject is None or self._outer != cell[:-4]:
            self._outer = cell[:-4]
            self._subject = self._make_subject(self._outer)
        subject = self._subject
        setting = self._setting(inner)
        sample = job.samples[cell[-1]]
        names = {**subject.names, **setting.names, "sample": str(sample), "key": key[:KEY_DIGITS]}
        return Task(
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
            name=job.images.render([names[field] for field in job.images.fields]),
            on_mismatch=job.on_mismatch,
        )

    def _text(self, outer: Cell) -> str:
        """Render the prompt of a cell."""
        prompt, slots = self._job.prompts[outer[0]], self._slots[outer[0]]
        if not slots:
            return prompt.text
        axes = self._job.axes
        return prompt.format.format(*[axes[axis].values[outer[axis + 1]][at] for axis, at in slots])

    def _shown(self, outer: Cell) -> dict[str, str]:
        """Give the variables of a cell as prompts and names show them."""
        shown: dict[str, str] = {}
        for axis, step in zip(self._job.axes, outer[1:], strict=True):
            shown.update(zip(axis.names, axis.values[step], strict=True))
        return shown

    def _references(self, shown: Mapping[str, str], outer: Cell) -> tuple[Reference, ...]:
        job = self._job
        steps = zip(job.axes, outer[1:], strict=True)
        paths = {axis.names[0]: axis.paths[step] for axis, step in steps if axis.paths}
        sources = {**shown, **paths} if paths else shown
        return tuple([job.files[template.render(sources)] for template in job.references])

    def _make_subject(self, outer: Cell) -> _Subject:
        """Render one prompt; its slug has only what it sends, since unused columns of rows would clutter it."""
        job, shown, text = self._job, self._shown(outer), self._text(outer)
        fields = job.prompts[outer[0]].fields
        used = [value for name, value in shown.items() if name in fields or name in self._sent]
        names = {name: safe(value) for name, value in shown.items() if name in job.images.fields}
        return _Subject(
            prompt=text,
            variables=tuple(shown.items()),
            references=self._references(shown, outer) if job.references else (),
            names={**names, "job": safe(job.id), "slug": slug(used or [text])},
        )

    def _setting(self, inner: Cell) -> _Setting:
        made = self._common.settings
        return made.get(inner) or made.setdefault(inner, self._make_setting(inner))

    def _make_setting(self, inner: Cell) -> _Setting:
        model, ratio, resolution = self._at(inner)
        shown = (ratio or AUTO).replace(":", "x")
        return _Setting(
            model=model.id,
            ratio=ratio,
            rungs=ladder(self._job, model, resolution),
            names={"model": safe(model.id), "ratio": shown, "resolution": resolution},
        )

    def _at(self, inner: Cell) -> tuple[Model, str | None, str]:
        job = self._job
        return job.models[inner[0]], job.ratios[inner[1]], job.resolutions[inner[2]]


def _slots(job: Job, prompt: Template) -> list[tuple[int, int]]:
    """Say where a prompt's variables are: the axis, and the place in its values."""
    places = {name: (number, at) for number, axis in enumerate(job.axes) for at, name in enumerate(axis.names)}
    return [places[field] for field in prompt.fields]
