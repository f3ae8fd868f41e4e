"""YAML text → a tree of nodes, with the scalars of YAML 1.2's core schema and nothing that could hurt.

PyYAML resolves YAML 1.1, where `16:9` is 969, `no` is false and `010` is 8. So only its scanner and parser are used:
their events become nodes here, which also keeps lines, finds duplicate keys and stops bombs.
"""

import re
from collections.abc import Iterator

import yaml

from batchbanana.manifest.faults import Faults
from batchbanana.manifest.nodes import List, Map, Node, Plain, Scalar, shorten

DEEPEST = 64  # levels of nesting; a manifest needs six
MOST_NODES = 10_000_000  # after aliases are followed: ten columns of a million rows
_LONGEST_NUMBER = 400  # digits; Python refuses 4,300, and no setting needs more

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where it was built in: ten times faster
_TAG = "tag:yaml.org,2002:"
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")
_WORDS: dict[str, Plain] = {"": None, "~": None}
_WORDS |= dict.fromkeys(("null", "Null", "NULL"))
_WORDS |= dict.fromkeys(("true", "True", "TRUE"), True)
_WORDS |= dict.fromkeys(("false", "False", "FALSE"), False)
_BARE_BRACE = re.compile(r"[\[{,]\s*[^\s\"'\[{,][^\"'\[\]{},]*\{")
_DECIMAL = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_KINDS: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,), "null": (type(None),)}


def resolve(text: str) -> Plain:
    """Resolve a plain scalar as YAML 1.2's core schema does."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "-+.0123456789" or len(text) > _LONGEST_NUMBER:
        return text
    if _DECIMAL.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _SPECIAL.fullmatch(text):
        return float(text.replace(".", ""))
    return text


def parse(text: str, faults: Faults, *, empty: str = "write `jobs:` and a list under it") -> Node | None:
    """Read one YAML document; what is wrong goes to `faults`, and None means that nothing can be made of it.

    `empty` is what to do about a file without content.
    """
    if bad := _CONTROL.search(text):
        line = text.count("\n", 0, bad.start()) + 1
        faults.add(line, f"the control character U+{ord(bad[0]):04X} cannot stand in YAML: take it out")
        return None
    try:
        return _Builder(yaml.parse(text, Loader=_Loader), faults).document(empty)
    except _UnreadableError as error:
        faults.add(error.line, str(error))
    except yaml.MarkedYAMLError as error:
        faults.add(*_explain(error, text))
    except yaml.YAMLError as error:
        faults.add(0, f"the YAML cannot be read: {' '.join(str(error).split())}: mend it there")
    return None


def _explain(error: yaml.MarkedYAMLError, text: str) -> tuple[int, str]:
    """Say a syntax error in one sentence with its line."""
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 0
    rows = text.split("\n")
    row = rows[line - 1] if 0 < line <= len(rows) else ""
    problem = " ".join((error.problem or error.context or "it is not YAML").split())
    if "\t" in row[: len(row) - len(row.lstrip())]:
        return line, "a tab indents this line, which YAML does not allow: use spaces"
    if row.lstrip().startswith(("@", "`", "%")):
        return line, f"the YAML cannot be read here ({problem}): put the value in quotes"
    if _BARE_BRACE.search(row):
        return line, "a value with braces between [ ] or { } is not quoted: put it in quotes"
    began = ""
    if error.context_mark and error.context_mark.line + 1 != line:
        began = f" {error.context} that began in line {error.context_mark.line + 1}" if error.context else ""
    return line, f"the YAML cannot be read here ({problem}{began}): check indentation, quotes and brackets"


class _UnreadableError(Exception):
    """The document cannot be read on from a line."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


class _Builder:
    """Makes nodes of a parser's events."""

    def __init__(self, events: Iterator[yaml.Event], faults: Faults) -> None:
        self._events = events
        self._faults = faults
        self._anchors: dict[str, tuple[Node, int] | None] = {}  # None while the node is still open
        self._count = 0

    def document(self, empty: str) -> Node | None:
        """Read the only document of the stream."""
        next(self._events)  # the stream's start
        if isinstance(next(self._events), yaml.StreamEndEvent):
            raise _UnreadableError(0, f"the file is empty: {empty}")
        node = self._node(next(self._events), 1)
        next(self._events)  # the document's end
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise _UnreadableError(_line(after), "a second YAML document begins here: keep one in a file")
        return node

    def _node(self, event: yaml.Event, depth: int) -> Node:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        self._grow(1, event)
        if depth > DEEPEST:
            raise _UnreadableError(_line(event), f"this is nested more than {DEEPEST} levels deep: flatten it")
        anchor = getattr(event, "anchor", None)
        before = self._count
        if anchor is not None:
            self._anchors[anchor] = None
        node = self._content(event, depth)
        if anchor is not None:
            self._anchors[anchor] = (node, self._count - before + 1)
        return node

    def _content(self, event: yaml.Event, depth: int) -> Node:
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        self._check_tag(event)
        return self._map(event, depth) if isinstance(event, yaml.MappingStartEvent) else self._list(event, depth)

    def _alias(self, event: yaml.AliasEvent) -> Node:
        name = str(event.anchor)
        if name not in self._anchors:
            raise _UnreadableError(_line(event), f"`*{name}` has no anchor `&{name}` before it: add one")
        known = self._anchors[name]
        if known is None:
            raise _UnreadableError(_line(event), f"`*{name}` stands inside what it stands for: write it out")
        self._grow(known[1], event)
        return known[0]

    def _grow(self, nodes: int, event: yaml.Event) -> None:
        self._count += nodes
        if self._count > MOST_NODES:
            raise _UnreadableError(
                _line(event), f"aliases grow this to more than {MOST_NODES:,} values: write it smaller"
            )

    def _scalar(self, event: yaml.ScalarEvent) -> Scalar:
        text, line, tag = event.value, _line(event), event.tag
        if tag is None:
            return Scalar(resolve(text) if event.implicit[0] else text, text, line)
        kinds = _KINDS.get(tag.removeprefix(_TAG))
        if tag in {"!", f"{_TAG}str"}:
            return Scalar(text, text, line)
        if kinds is None:
            self._refuse_tag(event)
        value = resolve(text)
        if kinds is not None and type(value) not in kinds:
            self._faults.add(line, f"`{shorten(text)}` is not what its tag `{tag}` says: take the tag out")
        return Scalar(value, text, line)

    def _check_tag(self, event: yaml.Event) -> None:
        wanted = "map" if isinstance(event, yaml.MappingStartEvent) else "seq"
        if getattr(event, "tag", None) not in {None, "!", f"{_TAG}{wanted}"}:
            self._refuse_tag(event)

    def _refuse_tag(self, event: yaml.Event) -> None:
        tag = str(getattr(event, "tag", "")).replace(_TAG, "!!")
        self._faults.add(_line(event), f"the tag `{shorten(tag)}` means nothing here: take it out")

    def _list(self, start: yaml.Event, depth: int) -> List:
        items = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, depth + 1))
        return List(tuple(items), _line(start))

    def _map(self, start: yaml.Event, depth: int) -> Map:
        items: dict[str, Node] = {}
        lines: dict[str, int] = {}
        merged: list[Map] = []
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._key(event, depth)
            value = self._node(next(self._events), depth + 1)
            line = _line(event)
            if key == "<<":
                merged.extend(self._merge(value, line))
            elif key in items:
                self._faults.add(line, f"the key `{shorten(key)}` stands here and in line {lines[key]}: keep one")
            elif key is not None:
                items[key], lines[key] = value, line
        for source in merged:
            for (key, value), line in zip(source.items.items(), source.lines, strict=True):
                if items.setdefault(key, value) is value:
                    lines.setdefault(key, line)
        return Map(items, tuple(lines.values()), _line(start))

    def _key(self, event: yaml.Event, depth: int) -> str | None:
        """Read a key; whole numbers count as their text, since `512` is a size."""
        node = self._node(event, depth + 1)
        if isinstance(node, Scalar) and type(node.value) in {str, int}:
            return node.text
        self._faults.add(_line(event), "a key must be text: put it in quotes")
        return None

    def _merge(self, value: Node, line: int) -> list[Map]:
        sources = value.items if isinstance(value, List) else (value,)
        maps = [source for source in sources if isinstance(source, Map)]
        if len(maps) < len(sources):
            self._faults.add(line, "`<<` takes a mapping or a list of mappings: point it at one with *anchor")
        return maps


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 0
