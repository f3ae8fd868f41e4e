"""A manifest's file → a checked `Manifest`."""

import unicodedata
from pathlib import Path

from batchbanana.manifest import yaml12
from batchbanana.manifest.context import Context
from batchbanana.manifest.faults import Faults
from batchbanana.manifest.files import Library, read_text
from batchbanana.manifest.jobs import read_jobs
from batchbanana.manifest.nodes import Map
from batchbanana.manifest.section import Section
from batchbanana.manifest.settings import (
    LIMIT_KEYS,
    PROVIDER_KEYS,
    SHARED_KEYS,
    Settings,
    free_mapping,
    is_google,
    read_limits,
    read_provider,
    read_settings,
)
from batchbanana.manifest.sheet import read_sheet
from batchbanana.manifest.values import Job, LimitSettings, Manifest, ProviderSettings
from batchbanana.models import Model, Registry, warning
from batchbanana.names import name_problem

TOP_KEYS = ("name", "provider", "limits", "sandbox", "jobs", *SHARED_KEYS)
_YAML_REMEDY = "save it as UTF-8"
_CSV_REMEDY = (
    "save it as UTF-8, or use it as rows of a YAML manifest that names its encoding, "
    "as in rows: {file: products.csv, encoding: gbk}"
)


def read(path: Path, registry: Registry, faults: Faults) -> Manifest | None:
    """Read a manifest and the files that it names.

    Args:
        path: a `.yaml`, `.yml` or `.csv` file.
        registry: the models to check ratios and sizes against.
        faults: gets everything that is wrong.

    Returns:
        The manifest, without the jobs that are at fault; None when not even its top can be read.
    """
    context = Context(base=path.parent, registry=registry, faults=faults, library=Library(path.parent, faults))
    ending = path.suffix.lower()
    if ending not in {".yaml", ".yml", ".csv"}:
        faults.add(0, "is no manifest by its name: it must end in .yaml, .yml or .csv")
        return None
    try:
        text = read_text(path, None, _CSV_REMEDY if ending == ".csv" else _YAML_REMEDY)
    except ValueError as error:
        faults.add(0, f"the manifest {error}".replace(", which is relative to the manifest", ""))
        return None
    return _read_csv(path, text, context) if ending == ".csv" else _read_yaml(path, text, context)


def _read_csv(path: Path, text: str, context: Context) -> Manifest | None:
    name = _stem(path, context.faults)
    jobs = read_sheet(text, name, context)
    if jobs is None:
        return None
    return Manifest(
        name=name,
        path=path,
        text=text,
        provider=ProviderSettings(),
        limits=LimitSettings(),
        jobs=jobs,
        sandbox={},
        warnings=_warnings(jobs.models, ProviderSettings(), context),
    )


def _read_yaml(path: Path, text: str, context: Context) -> Manifest | None:
    faults = context.faults
    node = yaml12.parse(text, faults)
    if node is None:
        return None
    if not isinstance(node, Map):
        faults.add(node.line, "the manifest must be a mapping: write `jobs:` and a list under it")
        return None
    section = Section(node, "the manifest", TOP_KEYS, faults)
    provider = read_provider(section.section("provider", PROVIDER_KEYS))
    limits = read_limits(section.section("limits", LIMIT_KEYS))
    jobs = read_jobs(section, read_settings(section, Settings()), context)
    _check_dialect(jobs, provider, faults)
    every = [model for job in jobs for cells in (job, *job.include) for model in cells.models]
    return Manifest(
        name=_name(section, path),
        path=path,
        text=text,
        provider=provider,
        limits=limits,
        jobs=jobs,
        sandbox=free_mapping(section, "sandbox"),
        warnings=_warnings({model.id: model for model in every}, provider, context),
    )


def _name(section: Section, path: Path) -> str:
    node = section.scalar("name")
    if node is None:
        return _stem(path, section.faults)
    if problem := name_problem(node.text):
        section.fault("name", f"the name `{node.text[:60]}` {problem}: choose a plain name such as `spring`")
    return unicodedata.normalize("NFC", node.text)


def _stem(path: Path, faults: Faults) -> str:
    name = unicodedata.normalize("NFC", path.stem)
    if problem := name_problem(name):
        faults.add(0, f"the file's name {problem}, but it names the job directory too: rename the file, or set `name`")
    return name


def _check_dialect(jobs: tuple[Job, ...], provider: ProviderSettings, faults: Faults) -> None:
    """A dialect without words for ratio and size always brings 1:1 at 1K; anything else would be paid for in vain."""
    if provider.dialect != "none":
        return
    for job in jobs:
        for cells in (job, *job.include):
            asked = {*(ratio for ratio in cells.ratios if ratio), *cells.resolutions} - {"1:1", "1K"}
            if asked:
                shown = ", ".join(sorted(asked))
                faults.add(
                    cells.line, f"`dialect: none` cannot ask for {shown}: keep to 1:1 and 1K or use another dialect"
                )


def _warnings(models: dict[str, Model], provider: ProviderSettings, context: Context) -> tuple[str, ...]:
    said = [warning(model, is_google(provider)) for model in models.values()]
    return (*filter(None, said), *context.library.warnings)
