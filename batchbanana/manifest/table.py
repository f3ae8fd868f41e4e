"""CSV text → rows, strictly: a stray quote or a short row is a fault, never a guess. Both manifests and row files."""

import csv
import hashlib
import re
import unicodedata
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

from batchbanana.manifest.faults import Faults
from batchbanana.manifest.nodes import shorten

LONGEST_CELL = 1 << 20  # characters
_SEPARATOR = "\x1f"  # between cells, which cannot have it
_END = b"\x1e"  # of a row
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class PackedRows(Sequence[tuple[str, ...]]):
    """Rows of text cells, kept one after the other in one piece of memory and cut apart when read."""

    def __init__(self) -> None:
        self._text = bytearray()
        self._ends = array("Q", (0,))  # where each row ends, after the beginning of the first

    def append(self, cells: Sequence[str]) -> None:
        """Add a row; no cell may have a control character."""
        self._text += _SEPARATOR.join(cells).encode()
        self._text += _END
        self._ends.append(len(self._text))

    @property
    def digest(self) -> str:
        """A hash that is the same only for the same rows."""
        return hashlib.sha256(self._text).hexdigest()

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> tuple[str, ...]: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[tuple[str, ...], ...]: ...
    def __getitem__(self, index: int | slice) -> tuple[str, ...] | tuple[tuple[str, ...], ...]:
        if isinstance(index, slice):
            return tuple([self[row] for row in range(len(self))[index]])
        row = range(len(self))[index]
        text = self._text[self._ends[row] : self._ends[row + 1] - len(_END)].decode()
        return tuple(text.split(_SEPARATOR))

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        return (self[row] for row in range(len(self)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A CSV file that was read.

    Attributes:
        names: the header.
        rows: the cells below it, as many in each as there are names.
        lines: where each row begins, 1-based.
    """

    names: tuple[str, ...]
    rows: PackedRows
    lines: "array[int]"


def parse(text: Iterable[str], file: str, faults: Faults) -> Table | None:
    """Read CSV text with a header; blank lines are skipped. None, with a fault, when there is no usable header.

    Args:
        text: its lines with their ends, as they are.
        file: what faults are said of.
        faults: gets what is wrong.
    """
    records, before = _records(text, file, faults), len(faults)
    line, names = next(records, (0, []))
    names = [unicodedata.normalize("NFC", name.strip()) for name in names]
    if not names:
        if not line and len(faults) == before:
            faults.add(0, "the file has no rows: its first line must name the columns", file)
        return None
    if not _header_is_sound(names, line, file, faults):
        return None
    rows, lines = PackedRows(), array("L")
    for line, cells in records:
        if len(cells) != len(names):
            message = f"this row has {len(cells)} cells, but the header has {len(names)}: quote cells that have commas"
            faults.add(line, message, file)
        elif bad := _CONTROL.search("".join(cells)):
            faults.add(line, f"this row has the control character U+{ord(bad[0]):04X}: take it out", file)
        else:
            rows.append(cells)
            lines.append(line)
    return Table(names=tuple(names), rows=rows, lines=lines)


def _header_is_sound(names: Sequence[str], line: int, file: str, faults: Faults) -> bool:
    before = len(faults)
    seen: set[str] = set()
    for index, name in enumerate(names):
        if not name:
            faults.add(line, f"column {index + 1} has no name: give it one in the header", file)
        elif name in seen:
            faults.add(line, f"two columns are called `{shorten(name)}`: rename one", file)
        seen.add(name)
    return len(faults) == before


def _records(text: Iterable[str], file: str, faults: Faults) -> Iterator[tuple[int, list[str]]]:
    """Yield each record with the line where it begins; quoting that breaks the format ends the reading."""
    source = _Lines(text)
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_CELL))  # so that our own limit is the one that speaks
    reader = csv.reader(source, strict=True)
    while True:
        begin = source.line + 1
        source.raw.clear()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            faults.add(begin, _explain(str(error)), file)
            return
        if any('"' in line for line in source.raw) and _has_stray_quote(source.raw):
            faults.add(
                begin, 'a quote stands inside an unquoted cell: quote the whole cell and double it, "a ""b"""', file
            )
        elif any(len(cell) > LONGEST_CELL for cell in cells):
            faults.add(begin, f"a cell has more than {LONGEST_CELL:,} characters: is a quote missing before it?", file)
        elif any(cell.strip() for cell in cells):  # spreadsheets end with rows of commas
            yield begin, cells


def _explain(problem: str) -> str:
    if "field larger" in problem:
        return f"a cell has more than {LONGEST_CELL:,} characters: is a closing quote missing?"
    if "unexpected end" in problem:
        return "a quoted cell that begins in this row never ends: close its quote"
    return 'a quoted cell goes on after its closing quote: double quotes inside a cell, "a ""b"""'


class _Lines:
    """A text's lines with their ends, and what the record that is being read was made of."""

    def __init__(self, text: Iterable[str]) -> None:
        self._lines = iter(text)
        self.line = 0
        self.raw: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        text = next(self._lines)
        self.line += 1
        self.raw.append(text)
        return text


_RECORD = re.compile(r'(?:"(?:[^"]|"")*"|[^",\r\n]*)(?:,(?:"(?:[^"]|"")*"|[^",\r\n]*))*[\r\n]*')


def _has_stray_quote(raw: Sequence[str]) -> bool:
    r"""Find `a"b`, which the csv module lets pass even when strict."""
    return _RECORD.fullmatch("".join(raw)) is None
