"""Tells from axes alone whether tasks of a matrix can share a key or a name, so that nobody has to remember them all.

Only what is certain counts: where nothing can be said, tasks are walked and compared.
"""

from bisect import bisect
from collections.abc import Callable, Iterable, Sequence, Sized
from itertools import pairwise

from batchbanana.manifest import Job
from batchbanana.manifest.forms import AUTO
from batchbanana.manifest.sheet import SheetJobs
from batchbanana.manifest.template import Template
from batchbanana.manifest.values import Axis
from batchbanana.names import PART_BYTES, NameTemplate, pieces, safe


def have_own_keys(jobs: Sequence[Job]) -> bool:
    """Whether no two cells of some jobs can ask for the very same image; False where that is not certain."""
    if isinstance(jobs, SheetJobs) or any(job.include for job in jobs):
        return False
    prompts = [prompt for job in jobs for prompt in job.prompts]
    return _begin_apart(prompts) and all(map(_is_told_by_prompt, jobs))


def have_own_names(jobs: Sequence[Job]) -> bool:
    """Whether no two cells of some jobs can have the same name on any file system; False where that is not certain."""
    if isinstance(jobs, SheetJobs) or any(job.include or len(job.prompts) > 1 for job in jobs):
        return False
    have_own_folders = all(job.images.text.startswith("{job}/") for job in jobs) and _all_differ(
        [_folded(job.id) for job in jobs]
    )
    return (have_own_folders or len(jobs) == 1) and all(map(_is_told_by_name, jobs))


def _begin_apart(prompts: Sequence[Template]) -> bool:
    """Whether texts of different prompts always differ: fixed ones as a whole, others before their first variable."""
    fixed = [prompt.text for prompt in prompts if not prompt.fields]
    begins = sorted(_literals(prompt)[0] for prompt in prompts if prompt.fields)
    if not _all_differ(fixed) or any(later.startswith(earlier) for earlier, later in pairwise(begins)):
        return False
    return not any(text.startswith(begin) for text in fixed for begin in begins[: bisect(begins, text)][-1:])


def _is_told_by_prompt(job: Job) -> bool:
    """Whether the texts of a job's prompts tell its cells apart, as far as its other axes do not."""
    if not all(_all_differ(values) for values in (_models(job), job.ratios, job.resolutions, job.samples)):
        return False
    places = {name: (axis, at) for axis in job.axes for at, name in enumerate(axis.names)}
    return all(
        _is_legible(_literals(prompt), [_column(*places[field]) for field in prompt.fields])
        and all(_differ_in(axis, prompt.fields, str) for axis in job.axes)
        for prompt in job.prompts
    )


def _is_told_by_name(job: Job) -> bool:
    """Whether a job's names tell its cells apart although letters lose their case, and none has to be shortened."""
    template = job.images
    shown = _shown(job)
    for field, count in zip(("model", "ratio", "resolution", "sample"), job.sizes[-4:], strict=True):
        if len(shown[field]) < count or (count > 1 and field not in template.fields):
            return False
    if "slug" in template.fields or not all(_differ_in(axis, template.fields, _folded) for axis in job.axes):
        return False
    values = [shown[field] for field in template.fields]
    literals = [literal.casefold() for literal in _literals(template)]
    longest = sum(map(len, literals)) + sum(max(map(len, column), default=0) for column in values)
    is_plain = all(text.isascii() for column in (*values, literals) for text in column)
    return is_plain and longest < PART_BYTES and _is_legible(literals, values)


def _shown(job: Job) -> dict[str, set[str]]:
    """Give all that a name may show for each field but `slug` and `key`, as file systems compare it."""
    shown = {
        "job": {_folded(job.id)},
        "model": set(map(_folded, _models(job))),
        "ratio": {(ratio or AUTO).replace(":", "x").casefold() for ratio in job.ratios},
        "resolution": {resolution.casefold() for resolution in job.resolutions},
        "sample": set(map(str, job.samples)),
    }
    columns = {name: (axis, at) for axis in job.axes for at, name in enumerate(axis.names)}
    used = columns.keys() & set(job.images.fields)
    return shown | {name: set(map(_folded, _column(*columns[name]))) for name in used}


def _is_legible(literals: Sequence[str], columns: Sequence[Iterable[str]]) -> bool:
    """Whether the values can be read back from a text, each up to the literal after it; the last one always can."""
    return all(
        literal and all((value + literal).find(literal) == len(value) for value in column)
        for literal, column in zip(literals[1:-1], columns, strict=False)
    )


def _differ_in(axis: Axis, fields: Sequence[str], shown: Callable[[str], str]) -> bool:
    """Whether all steps of an axis differ in those of its variables that are among some fields."""
    if len(axis.values) < 2:
        return True
    places = [at for at, name in enumerate(axis.names) if name in fields]
    if len(places) == 1:
        return _all_differ(map(shown, _column(axis, places[0])), len(axis.values))
    # Hashes, as the rows themselves may be a million; two that are the same by accident only cost a walk.
    marks = (hash(tuple([shown(row[at]) for at in places])) for row in axis.values)
    return bool(places) and _all_differ(marks, len(axis.values))


def _column(axis: Axis, at: int) -> Iterable[str]:
    return [row[at] for row in axis.values]


def _all_differ(values: Iterable[object], count: int | None = None) -> bool:
    """Whether so many values are all different; the count is needed only of those that have no length."""
    return len(set(values)) == (len(values) if isinstance(values, Sized) else count)


def _models(job: Job) -> list[str]:
    return [model.id for model in job.models]


def _folded(value: str) -> str:
    return safe(value).casefold()


def _literals(template: Template | NameTemplate) -> list[str]:
    """Give a template's texts before, between and after its fields."""
    return [literal for literal, _ in pieces(template.text)] if template.fields else [template.text]
