"""A manifest's file → a checked `Manifest`."""

import hashlib
import unicodedata
import zlib
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path

from batchbanana.manifest import yaml12
from batchbanana.manifest.context import Context
from batchbanana.manifest.faults import Faults
from batchbanana.manifest.files import Library, read_pieces, take_lines
from batchbanana.manifest.jobs import read_jobs
from batchbanana.manifest.nodes import Map
from batchbanana.manifest.provider import LIMIT_KEYS, PROVIDER_KEYS, check_dialect, read_limits, read_provider
from batchbanana.manifest.registry import builtin, with_file, with_section
from batchbanana.manifest.section import Section
from batchbanana.manifest.settings import SHARED_KEYS, Settings, free_mapping, read_settings
from batchbanana.manifest.sheet import read_sheet
from batchbanana.manifest.values import Copy, Job, Kind, LimitSettings, Manifest, ProviderSettings
from batchbanana.models import UNPRICED, Model, Registry
from batchbanana.names import name_problem

TOP_KEYS = ("name", "provider", "limits", "sandbox", "models", "jobs", *SHARED_KEYS)
LONGEST_PLAIN = 1 << 20  # bytes of a manifest that is copied as it is; a larger one is packed, for memory's sake
_YAML_REMEDY = "save it as UTF-8"
_CSV_REMEDY = (
    "save it as UTF-8, or use it as rows of a YAML manifest that names its encoding, "
    "as in rows: {file: products.csv, encoding: gbk}"
)


def read(path: Path, faults: Faults, models: Path | None = None) -> Manifest | None:
    """Read a manifest and the files that it names.

    Args:
        path: a `.yaml`, `.yml` or `.csv` file.
        faults: gets everything that is wrong.
        models: a registry of the user's, whose word wins over the manifest's own and the shipped one's.

    Returns:
        The manifest, without the jobs that are at fault; None when not even its top can be read.
    """
    ending = path.suffix.lower()
    if ending not in {".yaml", ".yml", ".csv"}:
        faults.add(0, "is no manifest by its name: it must end in .yaml, .yml or .csv")
        return None
    context = Context(base=path.parent, registry=builtin(), faults=faults, library=Library(path.parent, faults))
    try:
        text = read_pieces(path, None, _CSV_REMEDY if ending == ".csv" else _YAML_REMEDY)
    except ValueError as error:
        faults.add(0, f"the manifest {error}".replace(", which is relative to the manifest", ""))
        return None
    copy = _copy(text)
    if ending == ".csv":
        return _read_csv(path, copy, take_lines(text), context, models)
    return _read_yaml(path, copy, b"".join(text).decode(), context, models)


def _copy(text: Collection[bytes]) -> Copy:
    digest, packer = hashlib.sha256(), zlib.compressobj(1)
    for piece in text:
        digest.update(piece)
    is_long = sum(map(len, text)) > LONGEST_PLAIN
    packed = b"".join([*map(packer.compress, text), packer.flush()]) if is_long else b""
    return Copy(sha256=digest.hexdigest(), content=packed or b"".join(text).decode())


def _read_csv(path: Path, copy: Copy, text: Iterable[str], context: Context, models: Path | None) -> Manifest | None:
    context = _with_registry(context, context.registry, models, ProviderSettings())
    name = _stem(path, context.faults)
    jobs = read_sheet(text, name, context)
    if jobs is None:
        return None
    return Manifest(
        name=name,
        path=path,
        copy=copy,
        provider=ProviderSettings(),
        limits=LimitSettings(),
        jobs=jobs,
        kinds=jobs.kinds,
        registry=context.registry,
        models=tuple(jobs.models.values()),
        sandbox={},
        warnings=tuple(context.library.warnings),
    )


def _read_yaml(path: Path, copy: Copy, text: str, context: Context, models: Path | None) -> Manifest | None:
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
    context = _with_registry(context, with_section(context.registry, section, context.base), models, provider)
    jobs = read_jobs(section, read_settings(section, Settings()), context)
    check_dialect(jobs, provider, faults)
    return Manifest(
        name=_name(section, path),
        path=path,
        copy=copy,
        provider=provider,
        limits=limits,
        jobs=jobs,
        kinds=lambda: (Kind(job=job) for job in jobs),
        registry=context.registry,
        models=_asked(jobs),
        sandbox=free_mapping(section, "sandbox"),
        warnings=tuple(context.library.warnings),
    )


def _with_registry(context: Context, registry: Registry, models: Path | None, provider: ProviderSettings) -> Context:
    """Settle which models hold: the command's file wins over the manifest, and the provider's prices over all."""
    if models is not None:
        registry = with_file(registry, models, context.faults)
    return replace(
        context, registry=registry.charging(provider.price or UNPRICED, has_tiers=provider.format == "gemini")
    )


def _asked(jobs: Iterable[Job]) -> tuple[Model, ...]:
    every = {model.id: model for job in jobs for cells in (job, *job.include) for model in cells.models}
    return tuple(every.values())


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
