"""A CSV manifest: every row is a job, made when it is looked at, so that a million rows cost little memory."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any, overload

from batchbanana.manifest import table
from batchbanana.manifest.checks import check_ladder, check_references, parse_templates
from batchbanana.manifest.context import Context
from batchbanana.manifest.faults import Faults
from batchbanana.manifest.jobs import make_job, used_variables
from batchbanana.manifest.nodes import List, Map, Node, Scalar, shorten
from batchbanana.manifest.section import Section
from batchbanana.manifest.settings import Settings, read_settings
from batchbanana.manifest.table import PackedRows, Table
from batchbanana.manifest.template import Template
from batchbanana.manifest.values import Axis, Job, Kind
from batchbanana.marks import Marks
from batchbanana.models import Model
from batchbanana.names import DEFAULT as DEFAULT_NAME
from batchbanana.names import FIELDS, NameTemplate, is_field, name_problem, suggestion

KNOWN = ("id", "ratio", "resolution", "model", "samples", "references", "prompt")
_SETTINGS = ("ratio", "resolution", "model", "samples")
_OWN = ("id", "line", "prompts", "references", "axes")  # what each row says for itself
_Key = tuple[tuple[str, ...], int]  # the cells of `_SETTINGS`, and the number of references
_Sources = tuple[tuple[Scalar, ...], tuple[str, ...]]  # references, and what is wrong with them
_BAR = re.compile(r"(?<!\|)\|(?!\|)")


def split(cell: str) -> tuple[str, ...]:
    """Cut a cell at its bars into values without the spaces around them; `||` is a bar that does not cut."""
    if "|" not in cell:
        return (cell,)
    return tuple(value.strip().replace("||", "|") for value in _BAR.split(cell))


class SheetJobs(Sequence[Job]):
    """The jobs of a CSV manifest, made anew whenever they are read.

    Attributes, known after `check`:
        cells: of all rows.
        models: those that the rows name, by their ids.
    """

    def __init__(self, sheet: Table, name: str, context: Context) -> None:
        self._rows: PackedRows = sheet.rows
        self._lines = sheet.lines
        self._context = context
        self._name = name
        self._column = {column: index for index, column in enumerate(sheet.names)}
        self._variables = tuple((column, index) for column, index in self._column.items() if column not in KNOWN)
        self._names = frozenset(column for column, _ in self._variables)
        self._images = NameTemplate.parse(DEFAULT_NAME, self._names)
        self._settings = tuple(self._column.get(column, -1) for column in _SETTINGS)
        self._id, self._prompt = self._column.get("id", -1), self._column.get("prompt", -1)
        self._kinds: dict[tuple[object, ...], list[int]] = {}  # the first row of each kind, and how many
        self._shared = lru_cache(maxsize=1024)(self._read_shared)
        self._references = lru_cache(maxsize=1024)(self._read_references)
        self.cells = 0
        self.models: dict[str, Model] = {}

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Job: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Job, ...]: ...
    def __getitem__(self, index: int | slice) -> Job | tuple[Job, ...]:
        if isinstance(index, slice):
            return tuple(self[row] for row in range(len(self))[index])
        return self._job(self._rows[index], self._lines[index], Faults(self._context.faults.file))

    @property
    def has_ids(self) -> bool:
        """Whether each row says its own id; if not, all have the manifest's name."""
        return self._id >= 0

    def kinds(self) -> Iterator[Kind]:
        """Give the rows by kind, each made as it is given; known after `check`."""
        return (Kind(job=self[first], jobs=count) for first, count in self._kinds.values())

    @property
    def digest(self) -> str:
        """A hash that is the same only for the same columns and rows."""
        return hashlib.sha256(f"{[*self._column]} {self._rows.digest}".encode()).hexdigest()

    def check(self) -> None:
        """Look at every row and note what is wrong with it."""
        if self.has_ids:
            self._check_ids()
        for row, (cells, line) in enumerate(zip(self._rows, self._lines, strict=True)):
            self._check_row(row, cells, line)

    def _check_ids(self) -> None:
        seen, again, faults = Marks(), set[str](), self._context.faults
        for line, id_ in self._ids():
            if problem := name_problem(id_):
                faults.add(line, f"the id `{shorten(id_)}` {problem}: give the row a plain name")
            elif not seen.add(int.from_bytes(hashlib.blake2b(id_.encode(), digest_size=8).digest())):
                again.add(id_)
        first: dict[str, int] = {}
        for line, id_ in self._ids() if again else ():
            if id_ in again and first.setdefault(id_, line) != line:
                faults.add(line, f"the id `{id_}` stands here and in line {first[id_]}: rename one")

    def _ids(self) -> Iterable[tuple[int, str]]:
        return ((line, cells[self._id].strip()) for cells, line in zip(self._rows, self._lines, strict=True))

    def _check_row(self, row: int, cells: Sequence[str], line: int) -> None:
        faults, before = self._context.faults, len(self._context.faults)
        job = self._job(cells, line, faults)
        (sources, lacks), spanned = self._sources(cells), job.spanned
        key = self._settings_key(cells, len(sources))
        self.cells += spanned
        self.models.update([(model.id, model) for model in job.models])
        for message in (*self._shared(key).messages, *lacks):
            faults.add(line, message)
        if not all(prompt.text.strip() for prompt in job.prompts):
            faults.add(line, "the prompt is empty: say what to draw")
        used = used_variables((*job.prompts, *job.references))
        for axis in job.axes:
            values = axis.values
            if len(values) > 1 and axis.names[0] not in used:
                message = (
                    f"the prompt does not use `{axis.names[0]}`, so its {len(values)} values would buy the same image"
                )
                faults.add(line, f"{message} again: use it, or write `||` for a bar")
            if len(set(values)) < len(values):
                faults.add(line, f"`{axis.names[0]}` has a value twice: keep one")
        if len(faults) > before:
            return
        self._kinds.setdefault((key, spanned), [row, 0])[1] += 1
        if sources:
            check_references(job, [_at(source, line) for source in sources], self._context)

    def _settings_key(self, cells: Sequence[str], references: int) -> _Key:
        return tuple([cells[at] if at >= 0 else "" for at in self._settings]), references

    def _sources(self, cells: Sequence[str]) -> _Sources:
        return self._references(cells[at]) if (at := self._column.get("references", -1)) >= 0 else ((), ())

    def _read_references(self, cell: str) -> _Sources:
        section, faults = self._section({"references": cell})
        return section.values("references") or (), faults.messages

    def _section(self, cells: Mapping[str, str]) -> tuple[Section, Faults]:
        """Give cells to be read as a job's keys are."""
        given: dict[str, Node] = {name: _node(cell) for name, cell in cells.items() if cell.strip()}
        faults = Faults(self._context.faults.file)
        return Section(Map(given, (0,) * len(given), 0), "a row", (*_SETTINGS, "references"), faults), faults

    def _read_shared(self, key: _Key) -> "_Shared":
        """Read the settings of a row that has so many references."""
        cells, references = key
        section, faults = self._section(dict(zip(_SETTINGS, cells, strict=True)))
        settings = replace(read_settings(section, Settings()), references=(Scalar("", "", 0),) * references)
        job = replace(make_job(self._name, 0, settings, self._context), images=self._images)
        check_ladder(replace(job, references=(Template(text=""),) * references), settings, faults)
        rest = {field.name: getattr(job, field.name) for field in fields(job) if field.name not in _OWN}
        return _Shared(messages=faults.messages, rest=rest)

    def _job(self, cells: Sequence[str], line: int, faults: Faults) -> Job:
        sources = [_at(source, line) for source in self._sources(cells)[0]]
        shared = self._shared(self._settings_key(cells, len(sources)))
        prompts = [Scalar(text, text, line) for text in split(cells[self._prompt])]
        return Job(  # not `replace`, which looks at all fields anew for each of a million rows
            **shared.rest,
            id=cells[self._id].strip() if self._id >= 0 else self._name,
            line=line,
            prompts=parse_templates(prompts, self._names, "the prompt", faults),
            references=parse_templates(sources, self._names, "the reference", faults),
            axes=tuple([Axis(names=(n,), values=[(v,) for v in split(cells[i])]) for n, i in self._variables]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shared:
    """What rows with the same settings share: what is wrong with these, and all of a job but `_OWN`."""

    messages: tuple[str, ...]
    rest: Mapping[str, Any]


def _at(source: Scalar, line: int) -> Scalar:
    return source._replace(line=line)


def read_sheet(text: Iterable[str], name: str, context: Context) -> SheetJobs | None:
    """Read the lines of a CSV manifest; None, with faults, when its header cannot be used."""
    faults, before = context.faults, len(context.faults)
    sheet = table.parse(text, faults.file, faults)
    if sheet is None:
        return None
    _check_header(sheet.names, faults)
    if not sheet.rows and len(faults) == before:
        faults.add(0, "the file has a header but no rows: add a row for each job")
    if len(faults) > before and "prompt" not in sheet.names:
        return None
    jobs = SheetJobs(sheet, name, context)
    jobs.check()
    return jobs


def _check_header(names: Sequence[str], faults: Faults) -> None:
    if "prompt" not in names:
        close = next((name for name in names if name.lower() == "prompt"), None)
        end = f"rename `{close}`" if close else "add one, or use the file as `rows` of a YAML manifest"
        faults.add(1, f"a CSV manifest needs a column `prompt`: {end}")
    for name in names:
        if name in KNOWN:
            continue
        if name in FIELDS or name.lower() in KNOWN:
            end = suggestion(name.lower(), KNOWN) if name.lower() in KNOWN else ": rename it"
            faults.add(1, f"the column `{shorten(name)}` is too close to a word of the matrix{end}")
        elif not is_field(name):
            faults.add(1, f"the column `{shorten(name)}` is no name for a variable: use letters, digits, _ and -")


def _node(cell: str) -> Scalar | List:
    values = tuple(_scalar(text) for text in split(cell.strip()))
    return values[0] if len(values) == 1 else List(values, 0)


def _scalar(text: str) -> Scalar:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text
    return Scalar(number, text, 0)
