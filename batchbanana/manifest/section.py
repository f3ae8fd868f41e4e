"""Reading a mapping of the manifest key by key: what is wrong becomes a sentence, and reading goes on."""

import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

from batchbanana.manifest.faults import Faults
from batchbanana.manifest.nodes import SECRET, List, Map, Node, Scalar, kind, shorten
from batchbanana.names import suggestion

_SECRET_KEYS = re.compile(r"(?i)(?:.*[_-])?(?:api[_-]?key|key|token|secret|password)$")
_MOST_MONEY = 10**9  # dollars


class Section:
    """A mapping with known keys.

    Args:
        node: what stands there; anything but a mapping is a fault.
        where: what it is, for sentences: "the manifest", "`limits`".
        known: its keys.
    """

    def __init__(self, node: Node, where: str, known: Sequence[str], faults: Faults) -> None:
        self.where, self.faults, self.base = where, faults, node.line
        self._map = node if isinstance(node, Map) else Map({}, (), node.line)
        if not isinstance(node, Map):
            faults.add(node.line, f"{where} must be a mapping with keys such as `{known[0]}`, not {kind(node)}")
        for key in self._map.items:
            if key not in known:
                self._unknown(key, known)

    def _unknown(self, key: str, known: Sequence[str]) -> None:
        if _SECRET_KEYS.match(key):
            self.fault(key, "a key in a manifest is refused: put it in the environment and name that in `api_key_env`")
        else:
            end = suggestion(key, known) or f": it knows {', '.join(known)}"
            self.fault(key, f"{self.where} has no key `{shorten(key)}`{end}")

    def fault(self, key: str, message: str) -> None:
        """Note a fault where a key stands."""
        self.faults.add(self.line(key), message)

    def line(self, key: str) -> int:
        """Tell where a key stands; the section's own line when it is not there."""
        return self._map.line_of(key)

    def __contains__(self, key: str) -> bool:
        return key in self._map.items

    def get(self, key: str) -> Node | None:
        """Give what stands under a key; None when the key is left out, and with a fault when nothing is there."""
        node = self._map.items.get(key)
        if isinstance(node, Scalar) and node.value is None:
            self.fault(key, f"`{key}` has no value: give it one or take the key out")
            return None
        return node

    def scalar(self, key: str) -> Scalar | None:
        """Give a single value."""
        node = self.get(key)
        if node is None or isinstance(node, Scalar):
            return node
        self.fault(key, f"`{key}` must be a single value, not {kind(node)}")
        return None

    def text(self, key: str) -> str | None:
        """Give a text."""
        node = self.scalar(key)
        if node is None:
            return None
        if isinstance(node.value, str):
            return node.value
        self.fault(key, f"`{key}` must be text, not {kind(node)}: put it in quotes")
        return None

    def required_text(self, key: str) -> str | None:
        """Give a text that must be there."""
        if key not in self:
            self.faults.add(self.base, f"{self.where} needs `{key}`: add it")
        return self.text(key)

    def choice(self, key: str, options: Sequence[str]) -> str | None:
        """Give one of some words."""
        node = self.scalar(key)
        if node is None or node.text in options:
            return node.text if node else None
        self.fault(key, f"`{key}` must be one of {', '.join(options)}, not {kind(node)}")
        return None

    def whole(self, key: str, most: int = 10**9, *, least: int = 1) -> int | None:
        """Give a whole number from `least` to `most`."""
        node = self.scalar(key)
        if node is None:
            return None
        if type(node.value) is int and least <= node.value <= most:
            return node.value
        self.fault(key, f"`{key}` must be a whole number from {least} to {most:,}, not {kind(node)}")
        return None

    def flag(self, key: str) -> bool | None:
        """Give true or false."""
        node = self.scalar(key)
        if node is None or isinstance(node.value, bool):
            return None if node is None else bool(node.value)
        self.fault(key, f"`{key}` must be true or false, not {kind(node)}")
        return None

    def money(self, key: str, *, least: int = 0) -> int | None:
        """Give US dollars as micro-dollars, exactly as they are written; not less than so many of these."""
        node = self.scalar(key)
        if node is None:
            return None
        amount = _micro_dollars(node.text)
        if amount is not None and amount < least:
            self.fault(key, f"`{key}` must be more than nothing, not {kind(node)}: raise it, or leave it out")
            return None
        if amount is None:
            message = "must be US dollars such as 25.00, without a sign and with at most six decimals"
            self.fault(key, f"`{key}` {message}, not {kind(node)}")
        return amount

    def values(self, key: str) -> tuple[Scalar, ...] | None:
        """Give the values of an axis, a single one or a list without repetition; None when left out or faulty."""
        node = self.get(key)
        if node is None:
            return None
        values = scalars(node, f"`{key}`", self.faults)
        seen: dict[str, int] = {}
        for value in values or ():
            if value.text in seen:
                self.faults.add(value.line, f"`{key}` has {kind(value)} twice: keep one")
            seen[value.text] = value.line
        return values

    def refuse_secrets(self) -> None:
        """Refuse any value that looks like an API key, without quoting it, and forget it."""
        secrets = [key for key, node in self._map.items.items() if isinstance(node, Scalar) and SECRET.match(node.text)]
        for key in secrets:
            if not _SECRET_KEYS.match(key):
                message = "looks like an API key, which a manifest must not hold: put it in the environment"
                self.fault(key, f"the value of `{key}` {message} and name that in `api_key_env`")
        self._map = self._map.without(secrets)

    def section(self, key: str, known: Sequence[str]) -> "Section | None":
        """Give the section under a key."""
        node = self.get(key)
        return None if node is None else Section(node, f"`{key}`", known, self.faults)

    @property
    def names(self) -> tuple[str, ...]:
        """The keys that are there, unknown ones too."""
        return tuple(self._map.items)


def scalars(node: Node, where: str, faults: Faults) -> tuple[Scalar, ...] | None:
    """Read a single value or a list of values; None, with faults, when it is anything else or empty."""
    items = node.items if isinstance(node, List) else (node,)
    values = tuple(item for item in items if isinstance(item, Scalar) and item.value is not None)
    for item in items:
        if not isinstance(item, Scalar) or item.value is None:
            braces = isinstance(item, Map) and ": put a value with braces in quotes"
            faults.add(item.line, f"{where} takes a value or a list of values, not {kind(item)}{braces or ''}")
    if not items:
        faults.add(node.line, f"{where} is an empty list: give it a value or take it out")
    return values if values and len(values) == len(items) else None


def _micro_dollars(text: str) -> int | None:
    try:
        dollars = Decimal(text)
    except InvalidOperation:
        return None
    if not dollars.is_finite() or not 0 <= dollars < _MOST_MONEY or int(dollars.as_tuple().exponent) < -12:
        return None
    micro = dollars * 1_000_000
    return int(micro) if micro == micro.to_integral_value() else None
