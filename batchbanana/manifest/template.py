"""Templates of prompts and references: text with `{variables}`."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

from batchbanana.names import pieces


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A checked template.

    Attributes:
        text: as written; without fields it is also what is rendered.
        fields: the variables in the order they appear, each as often as it does.
        format: the template with numbered fields, for `str.format`; of no use without fields.
    """

    text: str
    fields: tuple[str, ...] = ()
    format: str = ""

    @classmethod
    @lru_cache(maxsize=4096)  # rows of a CSV often have the same prompt
    def parse(cls, text: str) -> Self:
        """Read a template; `{{` and `}}` are braces.

        Raises:
            TemplateError: at a field that is not a plain name.
        """
        form: list[str] = []
        fields: list[str] = []
        for literal, field in pieces(text):
            form.append(literal.replace("{", "{{").replace("}", "}}"))
            if field is not None:
                form.append(f"{{{len(fields)}}}")
                fields.append(field)
        if not fields:
            return cls(text="".join(form).format())
        return cls(text=text, fields=tuple(fields), format="".join(form))

    def render(self, values: Mapping[str, str]) -> str:
        """Fill in the variables."""
        return self.format.format(*[values[field] for field in self.fields]) if self.fields else self.text


def variable(name: str) -> str:
    """Give a variable's name in the one form that names are compared in."""
    return unicodedata.normalize("NFC", name)
