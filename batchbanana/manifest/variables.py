"""The variables of a job: `vars`, which multiply, and `rows`, which set theirs together."""

import unicodedata
from pathlib import PurePosixPath

from batchbanana.manifest import table
from batchbanana.manifest.context import Context
from batchbanana.manifest.faults import Faults
from batchbanana.manifest.files import find_files, is_encoding, read_pieces, take_lines
from batchbanana.manifest.nodes import List, Map, Node, Scalar, kind, shorten
from batchbanana.manifest.section import Section, scalars
from batchbanana.manifest.values import Axis
from batchbanana.names import FIELDS, is_field

ENCODING_REMEDY = "add `encoding:` beside it, as in rows: {file: products.csv, encoding: gbk}"
_RESERVED = {*FIELDS, "prompt"}  # a variable of such a name could not be told from the axis in `exclude` and names


def read_vars(section: Section, context: Context) -> list[Axis]:
    """Read `vars`: an axis for each variable."""
    node = section.get("vars")
    if node is None:
        return []
    if not isinstance(node, Map):
        section.fault("vars", f"`vars` must be a mapping of variables to their values, not {kind(node)}")
        return []
    axes = [_variable(name, value, node.line_of(name), context) for name, value in node.items.items()]
    return [axis for axis in axes if axis]


def _variable(name: str, node: Node, line: int, context: Context) -> Axis | None:
    name = unicodedata.normalize("NFC", name)
    if name in _RESERVED:
        context.faults.add(line, f"a variable cannot be called `{name}`, which is a word of the matrix: rename it")
    elif not is_field(name):
        context.faults.add(line, f"`{shorten(name)}` is no name for a variable: use letters, digits, _ and -")
    elif isinstance(node, Map):
        return _from_files(name, node, context)
    elif values := scalars(node, f"the variable `{name}`", context.faults):
        _refuse_twice(name, values, context.faults)
        return Axis(names=(name,), values=tuple((value.text,) for value in values))
    return None


def _refuse_twice(name: str, values: tuple[Scalar, ...], faults: Faults) -> None:
    seen: set[str] = set()
    for value in values:
        if value.text in seen:
            faults.add(value.line, f"the variable `{name}` has {kind(value)} twice: keep one")
        seen.add(value.text)


def _from_files(name: str, node: Map, context: Context) -> Axis | None:
    pattern = Section(node, f"the variable `{name}`", ("files",), context.faults).required_text("files")
    if pattern is None:
        return None
    try:
        paths = tuple(find_files(context.base, pattern))
    except ValueError as error:
        context.faults.add(node.line, f"`files: {shorten(pattern)}` {error}")
        return None
    return Axis(names=(name,), values=tuple((PurePosixPath(path).stem,) for path in paths), paths=paths)


def read_rows(section: Section, context: Context) -> Axis | None:
    """Read `rows`: inline, or from a CSV file."""
    node = section.get("rows")
    if node is None:
        return None
    if isinstance(node, List):
        return _inline(node, section.line("rows"), context.faults)
    encoding = None
    if isinstance(node, Map):
        inner = Section(node, "`rows`", ("file", "encoding"), context.faults)
        node, encoding = inner.scalar("file") or Scalar(None, "", node.line), inner.text("encoding")
        if encoding is not None and not is_encoding(encoding):
            inner.fault("encoding", f"the encoding `{shorten(encoding)}` is not known: try utf-16, gbk or cp1252")
            return None
    if not node.is_text:
        section.fault("rows", "`rows` must be a list of rows, a CSV file, or {file: products.csv, encoding: gbk}")
        return None
    return _from_csv(node.text, encoding, section.line("rows"), context)


def _from_csv(name: str, encoding: str | None, line: int, context: Context) -> Axis | None:
    path = context.base / name
    try:
        remedy = ENCODING_REMEDY if encoding is None else "name the encoding it was saved in"
        text = take_lines(read_pieces(path, encoding, remedy))
    except ValueError as error:
        context.faults.add(line, f"the rows file `{shorten(name, 120)}` {error}")
        return None
    rows = table.parse(text, str(path), context.faults)
    if rows is None:
        return None
    if not rows.rows:
        context.faults.add(0, "the file has a header but no rows: add one or take `rows` out", str(path))
    return Axis(names=rows.names, values=rows.rows)


def _inline(node: List, line: int, faults: Faults) -> Axis | None:
    first = node.items[0] if node.items else None
    if not isinstance(first, Map) or not first.items:
        faults.add(line, "`rows` must be a list of mappings such as {name: mug, color: red}")
        return None
    names = tuple(first.items)
    for name in names:
        if not is_field(name):
            faults.add(
                first.line_of(name), f"`{shorten(name)}` is no name for a variable: use letters, digits, _ and -"
            )
    rows = [_row(row, names, faults) for row in node.items]
    return Axis(names=tuple(unicodedata.normalize("NFC", name) for name in names), values=tuple(filter(None, rows)))


def _row(row: Node, names: tuple[str, ...], faults: Faults) -> tuple[str, ...] | None:
    if not isinstance(row, Map):
        faults.add(row.line, f"a row must be a mapping with {', '.join(names)}, not {kind(row)}")
        return None
    if row.items.keys() != set(names):
        odd = sorted(row.items.keys() ^ set(names))
        faults.add(
            row.line, f"every row must set the same variables: this one and the first differ in {', '.join(odd)}"
        )
        return None
    cells = []
    for name in names:
        cell = row.items[name]
        if not isinstance(cell, Scalar) or cell.value is None:
            faults.add(cell.line, f"`{name}` must be a text or a number, not {kind(cell)}")
            return None
        cells.append(cell.text)
    return tuple(cells)
