"""What can only be checked when a job is known as a whole: templates, models, and the files that references name."""

from collections.abc import Collection, Iterator, Sequence
from itertools import product
from math import prod

from batchbanana.manifest.context import Context
from batchbanana.manifest.faults import Faults
from batchbanana.manifest.files import LARGEST_REQUEST
from batchbanana.manifest.forms import AUTO
from batchbanana.manifest.nodes import Scalar, shorten
from batchbanana.manifest.settings import Settings
from batchbanana.manifest.template import Template
from batchbanana.manifest.values import Axis, Job
from batchbanana.models import Model
from batchbanana.names import TemplateError, suggestion
from batchbanana.task import Reference

MOST_PATHS = 1_000_000  # that one template of references may make


def parse_templates(
    sources: Sequence[Scalar], names: Collection[str] | None, what: str, faults: Faults
) -> tuple[Template, ...]:
    """Read templates and check that their variables are known; without any variables, texts are literal.

    `names` is None when the variables could not be read: then only the form is checked.
    """
    templates = []
    for source in sources:
        if names is not None and not names:
            templates.append(Template(text=source.text))
            continue
        try:
            template = Template.parse(source.text)
        except TemplateError as error:
            faults.add(source.line, f"{what} cannot be read: {error}")
            continue
        for field in dict.fromkeys(template.fields):
            if names is not None and field not in names:
                end = suggestion(field, names) or ": give it in `vars` or `rows`, or write {{ and }} for braces"
                faults.add(source.line, f"{what} uses `{{{field}}}`, which has no value{end}")
        templates.append(template)
    return tuple(templates)


def ratio_lack(model: Model, ratio: str) -> str | None:
    """Say that a model does not make a ratio; None when it does."""
    if ratio == AUTO or not model.ratios or ratio in model.ratios:
        return None
    return f"`{model.id}` does not make {ratio}: it makes {', '.join(model.ratios)}"


def size_lack(model: Model, size: str) -> str | None:
    """Say that a model does not make a resolution; None when it does."""
    if not model.sizes or size in model.sizes:
        return None
    return f"`{model.id}` does not make {size}: it makes {', '.join(model.sizes)}"


def references_lack(model: Model, count: int) -> str | None:
    """Say that a model does not take so many references; None when it does."""
    if count <= model.references:
        return None
    return f"`{model.id}` takes at most {model.references} references, not {count}: take some out"


def check_ladder(job: Job, settings: Settings, faults: Faults) -> None:
    """Check ratios, resolutions and the number of references against every model of a job."""
    for model in job.models:
        lacks: list[tuple[int, str | None]] = [(ratio.line, ratio_lack(model, ratio.text)) for ratio in settings.ratios]
        lacks += [(size.line, size_lack(model, size.text)) for size in settings.resolutions]
        lacks += [(first.line, references_lack(model, len(job.references))) for first in settings.references[:1]]
        for line, lack in lacks:
            if lack:
                faults.add(line or job.line, lack)


def check_references(job: Job, sources: Sequence[Scalar], context: Context) -> None:
    """Read every file that the cells of a job and of its inclusions send, and add up what a request would carry."""
    for cells in (job, *job.include):
        before = len(context.faults)
        heaviest = 0
        for source, template in zip(sources, cells.references, strict=True):
            line = source.line or job.line
            sizes = [image.size for name in _paths(cells, template) if (image := _find(name, line, context))]
            heaviest += max(sizes, default=0)
        if heaviest > LARGEST_REQUEST and len(context.faults) == before:
            _weigh(cells, context)


def _find(name: str | None, line: int, context: Context) -> Reference | None:
    if name is None:
        message = f"this reference's variables name more than {MOST_PATHS:,} files: use fewer of them in it"
        context.faults.add(line, message)
        return None
    return context.library.find(name, line)


def _paths(job: Job, template: Template) -> Iterator[str | None]:
    """Render a reference for all combinations of its variables; None ends it when there are too many."""
    if _combinations(job, template.fields) > MOST_PATHS:
        yield None
        return
    seen = set()
    for values in _cells(job, template.fields):
        name = template.render(values)
        if name not in seen:
            seen.add(name)
            yield name


def _weigh(job: Job, context: Context) -> None:
    """Add up references exactly, cell by cell, as far as they can differ."""
    fields = [field for template in job.references for field in template.fields]
    if _combinations(job, fields) > MOST_PATHS:
        return context.faults.add(job.line, "the references of one request may weigh over 15 MB: use smaller files")
    for values in _cells(job, fields):
        names = [template.render(values) for template in job.references]
        weight = sum(job.files[name].size for name in names)
        if weight > LARGEST_REQUEST:
            shown = shorten(", ".join(names), 120)
            message = (
                f"the references {shown} weigh {weight / 1e6:.1f} MB together: a request takes 15 MB, so shrink them"
            )
            return context.faults.add(job.line, message)
    return None


def _combinations(job: Job, fields: Collection[str]) -> int:
    return prod(len(axis.values) for axis in _axes(job, fields))


def _axes(job: Job, fields: Collection[str]) -> list[Axis]:
    return [axis for axis in job.axes if any(name in fields for name in axis.names)]


def _cells(job: Job, fields: Collection[str]) -> Iterator[dict[str, str]]:
    """Yield the variables' values, as references see them, of all combinations that are not wholly excluded."""
    axes = _axes(job, fields)
    names = [name for axis in axes for name in axis.names]
    exclusions = [entry.wanted for entry in job.exclude if entry.wanted.keys() <= set(names)]
    for steps in product(*(range(len(axis.values)) for axis in axes)):
        cells = [axis.values[step] for axis, step in zip(axes, steps, strict=True)]
        shown = dict(zip(names, (value for cell in cells for value in cell), strict=True))
        if any(all(shown[name] in wanted[name] for name in wanted) for wanted in exclusions):
            continue
        paths = {axis.names[0]: axis.paths[step] for axis, step in zip(axes, steps, strict=True) if axis.paths}
        yield {**shown, **paths}
