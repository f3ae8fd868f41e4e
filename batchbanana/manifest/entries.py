"""`exclude`, `include` and `pick`: what changes a job's matrix after it was spanned."""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from batchbanana.manifest.checks import ratio_lack, references_lack, size_lack
from batchbanana.manifest.context import Context
from batchbanana.manifest.faults import Faults
from batchbanana.manifest.forms import AUTO, model_problem, ratio_problem, size_problem
from batchbanana.manifest.nodes import List, Map, Scalar, kind
from batchbanana.manifest.section import Section, scalars
from batchbanana.manifest.values import Axis, Exclusion, Job, Pick

AXES = ("prompt", "model", "ratio", "resolution", "sample")


def read_exclude(section: Section, job: Job) -> tuple[Exclusion, ...]:
    """Read `exclude`: entries that take out what they match."""
    entries = []
    for node in _entries(section, "exclude"):
        named = _named(node, job, "exclude", section.faults)
        if named:
            wanted = {field: frozenset(value.text for value in values) for field, values in named.items()}
            entries.append(Exclusion(line=node.line, wanted=wanted))
    return tuple(entries)


def read_include(section: Section, job: Job, context: Context) -> tuple[Job, ...]:
    """Read `include`: each entry becomes a job of its own, which keeps the axes that it does not name."""
    jobs = []
    for node in _entries(section, "include"):
        before = len(section.faults)
        named = _named(node, job, "include", section.faults)
        missing = [name for name in job.variables if name not in named]
        if missing and len(section.faults) == before:
            section.faults.add(
                node.line, f"this `include` entry must name every variable: {', '.join(missing)} is missing"
            )
        if len(section.faults) == before:
            jobs.append(_included(node, named, job, context))
    return tuple(jobs)


def read_pick(section: Section) -> Pick | None:
    """Read `pick`."""
    inner = section.section("pick", ("count", "seed"))
    if inner is None:
        return None
    count, seed = inner.whole("count"), inner.scalar("seed")
    if "count" not in inner:
        inner.fault("pick", "`pick` needs a `count`: say how many cells to take")
    return Pick(line=section.line("pick"), count=count or 1, seed=seed.text if seed else "0")


def _entries(section: Section, key: str) -> Iterable[Map]:
    node = section.get(key)
    if node is None:
        return
    for item in node.items if isinstance(node, List) else (node,):
        if isinstance(item, Map) and item.items:
            yield item
        else:
            section.faults.add(
                item.line, f"`{key}` must be a list of mappings such as {{ratio: 16:9}}, not {kind(item)}"
            )


def _named(node: Map, job: Job, where: str, faults: Faults) -> dict[str, tuple[Scalar, ...]]:
    """Read what an entry names: axes and variables, each with a value or a list of them."""
    named = {}
    known = (*AXES, *job.variables)
    section = Section(node, f"an `{where}` entry", known, faults)
    for key in section.names:
        values = scalars(node.items[key], f"`{key}`", faults) if key in known else None
        if values:
            named[unicodedata.normalize("NFC", key)] = values
    return named


def _included(node: Map, named: dict[str, tuple[Scalar, ...]], job: Job, context: Context) -> Job:
    texts = {field: tuple(dict.fromkeys(value.text for value in values)) for field, values in named.items()}
    models = texts.get("model")
    ratios = texts.get("ratio")
    included = replace(
        job,
        line=node.line,
        axes=tuple(_axis(name, texts[name], job) for name in job.variables),
        prompts=tuple(prompt for prompt in job.prompts if prompt.text in texts.get("prompt", (prompt.text,))),
        models=job.models if models is None else tuple(map(context.registry.find, models)),
        ratios=job.ratios if ratios is None else tuple(None if ratio == AUTO else ratio for ratio in ratios),
        resolutions=texts.get("resolution", job.resolutions),
        samples=job.samples if "sample" not in texts else _numbers(named["sample"], context.faults),
        exclude=(),
        pick=None,
    )
    if not included.prompts:
        context.faults.add(node.line, "this `include` entry names a prompt that the job does not have: copy it exactly")
    _check(node, named, included, context.faults)
    return included


def _axis(name: str, texts: Sequence[str], job: Job) -> Axis:
    """Make an axis of included values; among files, a known stem stands for its file and anything else is a path."""
    files = next((axis for axis in job.axes if axis.names == (name,) and axis.paths), None)
    if files is None or files.paths is None:
        return Axis(names=(name,), values=tuple((text,) for text in texts))
    known = {shown: path for (shown,), path in zip(files.values, files.paths, strict=True)}
    paths = tuple(known.get(text, text) for text in texts)
    return Axis(names=(name,), values=tuple((PurePosixPath(path).stem,) for path in paths), paths=paths)


def _numbers(values: Sequence[Scalar], faults: Faults) -> tuple[int, ...]:
    numbers = []
    for value in values:
        if type(value.value) is int and value.value >= 1:
            numbers.append(value.value)
        else:
            faults.add(value.line, f"`sample` is a whole number from 1, not {kind(value)}")
    return tuple(dict.fromkeys(numbers))


def _check(node: Map, named: dict[str, tuple[Scalar, ...]], job: Job, faults: Faults) -> None:
    """Check included values as those of the axes are: their form first, then the models."""
    problems = (("model", model_problem), ("ratio", ratio_problem), ("resolution", size_problem))
    before = len(faults)
    for field, problem in problems:
        for value in named.get(field, ()):
            if message := problem(value.text):
                faults.add(value.line, f"`{field}` cannot be {kind(value)}: {message}")
    if len(faults) > before:
        return
    for model in job.models:
        lacks = [ratio_lack(model, ratio or AUTO) for ratio in job.ratios]
        lacks.append(references_lack(model, len(job.references)))
        for lack in [*lacks, *(size_lack(model, size) for size in job.resolutions)]:
            if lack:
                faults.add(node.line, lack)
