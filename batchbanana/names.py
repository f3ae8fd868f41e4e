"""`{name}` templates, and the file names that are made with them. Legal on Windows, macOS and Linux alike."""

import ntpath
import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import Self

_COMMANDS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
)  # of terminals; of bidirectional text
DEFAULT = "{job}/{slug}_{ratio}_{resolution}_{sample}_{key}"
FIELDS = ("job", "slug", "model", "ratio", "resolution", "sample", "key")
KEY_DIGITS = 8
FIELD_CHARACTERS = 60
SLUG_CHARACTERS = 40
PART_BYTES = 200  # file systems take 255; the ending and a temporary suffix still have to fit
PATH_BYTES = 400  # the whole below `images/`
_LITERAL_BYTES = 100  # with at most twelve fields this always leaves room for the keys
_MOST_FIELDS = 12

_BRACES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_NOT_PLAIN = re.compile(r"[^0-9A-Za-z]+")
_FORBIDDEN = re.compile(r'[<>:"\\|?*\x00-\x1f\x7f]')
_DEVICE = r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(?= *(?:[./]|$))"
_SEPARATOR = re.compile(r"[/\\]")
_RESERVED = re.compile(rf"(?:(?<=/)|^){_DEVICE}", re.IGNORECASE)


class TemplateError(ValueError):
    """A template cannot be read; the message is a sentence that says how to write it."""


def is_field(name: str) -> bool:
    """Whether a variable may be called so: letters and digits of any script, `_` and `-`."""
    return bool(name) and all(c.isalnum() or c in "_-" or unicodedata.category(c)[0] == "M" for c in name)


def pieces(text: str) -> Iterator[tuple[str, str | None]]:
    """Cut a template into pairs of literal text and the field after it; the last pair's field is None.

    Raises:
        TemplateError: at a brace that is neither doubled nor around a plain name.
    """
    literal, end = [], 0
    for match in _BRACES.finditer(text):
        literal.append(text[end : match.start()])
        end = match.end()
        name = match[1]
        if match[0] in {"{{", "}}"}:
            literal.append(match[0][0])
        elif name is not None and is_field(name):
            yield "".join(literal), unicodedata.normalize("NFC", name)
            literal = []
        else:
            shown = match[0] if len(match[0]) <= 40 else match[0][:40] + "…"
            raise TemplateError(
                f"`{shown}` is not a variable such as {{product}}: write a literal brace as {{{{ or }}}}"
            )
    literal.append(text[end:])
    yield "".join(literal), None


def suggestion(word: str, known: Collection[str]) -> str:
    """Say which known word was probably meant, as the end of a sentence; empty when none is close."""
    close = [one for one in known if one.lower() == word.lower()] or get_close_matches(word, list(known), n=1)
    return f": did you mean `{close[0]}`?" if close else ""


def name_problem(name: str) -> str | None:
    """Say why a text cannot be the plain name of a folder on every system; None when it can."""
    if not name.strip() or name in {".", ".."}:
        return "is not a name"
    if "/" in name or "\\" in name:
        return "is a path, not a plain name"
    if bad := _FORBIDDEN.search(name):
        return f"has the character {bad[0]!r}, which file names cannot have everywhere"
    if name != name.strip() or name.endswith("."):
        return "begins or ends with a space or ends with a dot"
    if _RESERVED.match(name):
        return "is a reserved name on Windows"
    if len(name) > 100 or len(name.encode("utf-8", "replace")) > PART_BYTES:
        return "is longer than 100 characters"
    return None


@lru_cache(maxsize=4096)  # values come again and again; a run holds no more of them for going on longer
def safe(text: str) -> str:
    """Fold a value into letters, digits and single dashes; never empty."""
    return _plain(text, FIELD_CHARACTERS)


def _plain(text: str, limit: int) -> str:
    text = unicodedata.normalize("NFC", text)
    if text.isascii():
        text = _NOT_PLAIN.sub("-", text).strip("-")
    elif not text.isalnum():
        folded = "".join(c if unicodedata.category(c)[0] in "LMN" else "-" for c in text)
        text = "-".join(filter(None, folded.split("-")))
    return text[:limit].rstrip("-") or "x"


def slug(values: Sequence[str]) -> str:
    """Make the short telling part of a name from variables' values, or from the prompt alone."""
    return _plain("-".join(value[: 2 * SLUG_CHARACTERS] for value in values), SLUG_CHARACTERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class NameTemplate:
    """A checked template of final names.

    Attributes:
        text: as written.
        fields: what `render` takes, in this order.
        format: the template with numbered fields, for `str.format`.
    """

    text: str
    fields: tuple[str, ...]
    format: str

    @classmethod
    def parse(cls, text: str, variables: Collection[str] = ()) -> Self:
        """Check a template against the fields and the variables it may name.

        Raises:
            TemplateError: with a sentence for its author.
        """
        fields: list[str] = []
        literals: list[str] = []
        for literal, field in pieces(unicodedata.normalize("NFC", text)):
            literals.append(literal)
            if field is not None:
                if field not in FIELDS and field not in variables:
                    known = [*FIELDS, *variables]
                    raise TemplateError(
                        f"`{{{field}}}` is neither a variable nor one of {', '.join(FIELDS)}{suggestion(field, known)}"
                    )
                fields.append(field)
        _check_literals(literals, len(fields))
        braced = [literal.replace("{", "{{").replace("}", "}}") for literal in literals]
        form = "".join(f"{literal}{{{index}}}" for index, literal in enumerate(braced[:-1])) + braced[-1]
        return cls(text=text, fields=tuple(fields), format=form)

    @property
    def has_key(self) -> bool:
        """Whether names differ wherever keys do, so that nobody has to look for collisions."""
        return "key" in self.fields

    def render(self, values: Sequence[str]) -> str:
        """Fill in safe values, in the order of `fields`; gives a relative path that is legal everywhere."""
        name = self.format.format(*values)
        if not name.isascii():
            name = unicodedata.normalize("NFC", name)
        if not _fits(name):
            name = self._shortened(list(values))
        if _RESERVED.search(name):
            name = _RESERVED.sub(r"_\g<0>", name)
        return name

    def _shortened(self, values: list[str]) -> str:
        """Cut the longest values but never the key, until the name fits."""
        cuttable = [index for index, field in enumerate(self.fields) if field != "key"]
        while True:
            name = unicodedata.normalize("NFC", self.format.format(*values))
            longest = max(cuttable, key=lambda index: len(values[index]), default=None)
            if _fits(name) or longest is None or len(values[longest]) == 1:
                return name
            values[longest] = values[longest][:-1]


def _fits(name: str) -> bool:
    if len(name) < PART_BYTES and name.isascii():
        return True
    room = name.count("/") + 1  # each part may still get an underscore for a reserved name
    parts = [len(part.encode()) for part in name.split("/")]
    return max(parts) < PART_BYTES and sum(parts) + 2 * room <= PATH_BYTES


def _check_literals(literals: Sequence[str], fields: int) -> None:
    """Refuse what no value can make legal."""
    whole = "\0".join(literals)  # \0 stands for a field, which is never empty and has no dot or slash
    if bad := _FORBIDDEN.search(whole.replace("\0", "")):
        raise TemplateError(
            f"the character {bad[0]!r} cannot be in file names everywhere: use / for folders, - or _ else"
        )
    if whole.startswith("/"):
        raise TemplateError("it begins with a slash, but names are relative to the job's `images` folder: leave it out")
    for part in whole.split("/"):
        if not part.strip(". "):
            raise TemplateError(
                "a folder or file name in it is empty or only dots: give each part between slashes a name"
            )
        if part != part.strip(" ") or part.endswith("."):
            raise TemplateError(
                "a part begins or ends with a space or ends with a dot, which Windows drops: take it out"
            )
    if fields > _MOST_FIELDS or len(whole.encode()) - len(literals) + 1 > _LITERAL_BYTES:
        raise TemplateError(f"it is too long: at most {_MOST_FIELDS} fields and {_LITERAL_BYTES} bytes between them")


def is_confined(file: str) -> bool:
    """Whether a file's name in a ledger or a record, relative to the job directory, can lead nowhere else."""
    # Without the library's paths, which take ten times as long: this comes before every image.
    leads_away = file.startswith("/") or ntpath.splitdrive(file)[0] or "\0" in file or ".." in _SEPARATOR.split(file)
    return not leads_away and any(part not in {"", "."} for part in file.split("/"))


def printable(text: str) -> str:
    """Write out what would command a terminal or turn its text round; lines and tabs stay."""
    return _COMMANDS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
