"""One entry of `jobs` → a checked job."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace

from batchbanana.manifest.checks import check_ladder, check_references, parse_templates
from batchbanana.manifest.context import Context
from batchbanana.manifest.entries import read_exclude, read_include, read_pick
from batchbanana.manifest.files import read_text
from batchbanana.manifest.forms import AUTO
from batchbanana.manifest.nodes import List, Map, Node, Scalar, kind, shorten
from batchbanana.manifest.section import Section
from batchbanana.manifest.settings import SHARED_KEYS, Settings, read_settings
from batchbanana.manifest.template import Template, variable
from batchbanana.manifest.values import Axis, Job
from batchbanana.manifest.variables import read_rows, read_vars
from batchbanana.names import NameTemplate, TemplateError, name_problem, suggestion

JOB_KEYS = ("id", "prompt", "vars", "rows", "exclude", "include", "pick", *SHARED_KEYS)


def read_jobs(section: Section, top: Settings, context: Context) -> tuple[Job, ...]:
    """Read the manifest's jobs; one that is at fault is left out."""
    node = section.get("jobs")
    if node is None:
        if "jobs" not in section:
            section.fault("jobs", "the manifest has no `jobs`: add a list with a `prompt` for each")
        return ()
    if not isinstance(node, List) or not node.items:
        section.fault("jobs", "`jobs` must be a list with a `prompt` for each job")
        return ()
    jobs: list[Job] = []
    seen: dict[str, int] = {}
    for number, item in enumerate(node.items, 1):
        entry = Section(item, "a job", JOB_KEYS, context.faults)
        id_ = _read_id(entry, number)
        if id_ in seen:
            entry.fault("id", f"the id `{id_}` stands here and in line {seen[id_]}: rename one job")
        seen.setdefault(id_, entry.line("id"))
        job = _read_job(entry, id_, top, context)
        jobs.extend([job] if job else [])
    return tuple(jobs)


def _read_id(entry: Section, number: int) -> str:
    """Read a job's id; one that is left out is made from the job's place."""
    id_ = entry.scalar("id")
    if id_ is None:
        return f"job-{number}"
    if problem := name_problem(id_.text):
        entry.fault("id", f"the id `{shorten(id_.text)}` {problem}: give the job a plain name such as `hero`")
    return id_.text


def _read_job(entry: Section, id_: str, top: Settings, context: Context) -> Job | None:
    """Read one entry; later checks run in spite of earlier faults, as far as these do not mislead them."""
    faults, before = context.faults, len(context.faults)
    settings = read_settings(entry, top)
    axes, names = _read_axes(entry, context)
    axes_are_sound = len(faults) == before
    sources = _read_prompts(entry, context)
    prompts = parse_templates(sources, names, "the prompt", faults)
    so_far = len(faults)
    references = parse_templates(settings.references, names, "the reference", faults)
    references_are_sound = len(faults) == so_far
    images = read_images(settings.images, names, context)
    job = make_job(id_, entry.base, settings, context)
    job = replace(job, prompts=prompts, axes=axes, references=references, images=images or job.images)
    if axes_are_sound and references_are_sound and images and len(prompts) == len(sources):
        _check_use(entry, job)
    check_ladder(job, settings, faults)
    job = replace(job, pick=read_pick(entry))
    if axes_are_sound:
        job = replace(job, exclude=read_exclude(entry, job))
        job = replace(job, include=read_include(entry, job, context))
    if axes_are_sound and references_are_sound:
        check_references(job, settings.references, context)
    return None if len(faults) > before else job


def _read_axes(entry: Section, context: Context) -> tuple[tuple[Axis, ...], frozenset[str] | None]:
    """Read the variables' axes, and all names that were meant; None when the names could not be read."""
    rows = read_rows(entry, context)
    axes = ([rows] if rows else []) + read_vars(entry, context)
    _refuse_shared_names(entry, axes)
    if "rows" in entry and rows is None:
        return tuple(axes), None
    declared = entry.get("vars")
    names = {name for axis in axes for name in axis.names}
    return tuple(axes), frozenset(names | set(map(variable, declared.items) if isinstance(declared, Map) else ()))


def make_job(id_: str, line: int, settings: Settings, context: Context) -> Job:
    """Make a job of settings alone, still without prompts and variables."""
    return Job(
        id=id_,
        line=line,
        prompts=(),
        axes=(),
        models=tuple(context.registry.find(model.text) for model in settings.models),
        ratios=tuple(None if ratio.text == AUTO else ratio.text for ratio in settings.ratios),
        resolutions=tuple(resolution.text for resolution in settings.resolutions),
        samples=range(1, settings.samples + 1),
        references=(),
        files=context.library.images,
        fallback=settings.fallback,
        timeouts=settings.timeouts,
        stall=settings.stall,
        extra=settings.extra,
        on_mismatch=settings.on_mismatch,
        images=NameTemplate.parse("{key}"),
    )


def read_images(source: Scalar, names: Collection[str] | None, context: Context) -> NameTemplate | None:
    """Check the name template against the variables; None if it is at fault or these could not be read."""
    if names is None:
        return None
    try:
        return NameTemplate.parse(source.text, names)
    except TemplateError as error:
        context.faults.add(source.line, f"the name template `{shorten(source.text)}` cannot be used: {error}")
        return None


def _refuse_shared_names(entry: Section, axes: Sequence[Axis]) -> None:
    counts = Counter(name for axis in axes for name in axis.names)
    for name in sorted(name for name, count in counts.items() if count > 1):
        entry.fault("vars", f"`{name}` is set by `rows` and by `vars`: rename one")


def _read_prompts(entry: Section, context: Context) -> tuple[Scalar, ...]:
    """Read `prompt`: a text, a file, or a list of these."""
    node = entry.get("prompt")
    if node is None:
        if "prompt" not in entry and entry.names:
            entry.fault("prompt", "a job has no `prompt`: say what to draw")
        return ()
    items = node.items if isinstance(node, List) else (node,)
    if not items:
        entry.fault("prompt", "`prompt` is an empty list: say what to draw")
    prompts = [prompt for item in items if (prompt := _read_prompt(item, context)) is not None]
    seen: set[str] = set()
    for prompt in prompts:
        if prompt.text in seen:
            context.faults.add(
                prompt.line, "this prompt stands here twice: keep one, and use `samples` for more images"
            )
        seen.add(prompt.text)
    return tuple(prompts)


def _read_prompt(node: Node, context: Context) -> Scalar | None:
    if isinstance(node, Map):
        return _prompt_file(Section(node, "`prompt`", ("file",), context.faults), context)
    if isinstance(node, Scalar) and node.is_text and node.text.strip():
        return node
    shown = "an empty text" if isinstance(node, Scalar) and node.is_text else kind(node)
    context.faults.add(node.line, f"a prompt must be a text or {{file: path}}, not {shown}")
    return None


def _prompt_file(section: Section, context: Context) -> Scalar | None:
    name = section.required_text("file")
    if name is None:
        return None
    try:
        text = read_text(context.base / name, None, "save it as UTF-8").strip()
    except ValueError as error:
        section.fault("file", f"the prompt file `{shorten(name, 120)}` {error}")
        return None
    if not text:
        section.fault("file", f"the prompt file `{shorten(name, 120)}` is empty: write the prompt into it")
        return None
    return Scalar(text, text, section.line("file"))


def _check_use(entry: Section, job: Job) -> None:
    """A variable of `vars` that nothing uses would buy the same image again for each of its values."""
    used = used_variables((*job.prompts, *job.references), job.images)
    for axis in job.axes:
        if len(axis.names) == 1 and axis.names[0] not in used and _is_of_vars(entry, axis):
            name = axis.names[0]
            end = suggestion(name, used) or ": use it in the prompt or take it out"
            entry.fault("vars", f"the variable `{name}` is used nowhere, so the same image would be bought again{end}")


def used_variables(templates: Sequence[Template], images: NameTemplate | None = None) -> set[str]:
    """Tell which variables some templates name."""
    named = {field for template in templates for field in template.fields}
    return named | set(images.fields if images else ())


def _is_of_vars(entry: Section, axis: Axis) -> bool:
    node = entry.get("vars")
    return isinstance(node, Map) and axis.names[0] in node.items
