"""Where everything that is wrong with a manifest is gathered, so that a person hears of all of it at once."""

from batchbanana.errors import Fault, ManifestError


class Faults:
    """The faults found so far; `file` is the manifest as the user named it."""

    def __init__(self, file: str) -> None:
        self.file = file
        self._found: list[Fault] = []

    def __len__(self) -> int:
        return len(self._found)

    def add(self, line: int, message: str, file: str | None = None) -> None:
        """Note a fault at a 1-based line, 0 for the whole file; `file` if it is another one than the manifest."""
        self._found.append(Fault(file=file or self.file, line=line, message=message))

    def take(self, others: "Faults") -> None:
        """Note what was found in another file."""
        self._found += others._found  # noqa: SLF001 - its own kind

    @property
    def messages(self) -> tuple[str, ...]:
        """What was found, without places."""
        return tuple(fault.message for fault in self._found)

    def error(self) -> ManifestError:
        """Give all that was found as one error."""
        return ManifestError(self._found)

    def raise_any(self) -> None:
        """End here if anything is wrong.

        Raises:
            ManifestError: with all that was found.
        """
        if self._found:
            raise self.error()
