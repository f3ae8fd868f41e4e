"""What a provider is: it builds requests and reads answers, and touches no socket, file or clock.

A provider knows one wire format. The engine feeds its reader with the body as it arrives, writes the image bytes that
come out of it to the spool, and asks the provider at the end what the answer meant.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from batchbanana.task import UNTOLD, Attempt, Billed, Charge, Failure, Picture, Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A POST to make.

    Attributes:
        path: below the base URL, with a leading slash, quoted.
        headers: everything but authentication.
        body: JSON in pieces; a reference stands for the base64 of its file.
    """

    path: str
    headers: tuple[tuple[str, str], ...]
    body: tuple[bytes | Reference, ...]


@dataclass(frozen=True, slots=True)
class ImageStarted:
    """The reader has found image data; `index` counts from 0 in the order of arrival."""

    index: int


@dataclass(frozen=True, slots=True)
class ImageBytes:
    """Decoded bytes of the image that was started last."""

    data: bytes


@dataclass(frozen=True, slots=True)
class ImageEnded:
    """The image's string has closed.

    Attributes:
        fault: None, or why the data is not an image's (bad base64, too long); its bytes are then worthless.
    """

    fault: str | None


Event = ImageStarted | ImageBytes | ImageEnded


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One image of an answer after its bytes were spooled and looked at.

    Attributes:
        picture: None when the bytes are not a whole image; `fault` then says why.
    """

    picture: Picture | None
    fault: str | None


@dataclass(frozen=True, slots=True)
class Link:
    """An image that is not in the answer but behind an address, as the server wrote it: relative, or of any scheme."""

    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What an answer delivered.

    Attributes:
        main: index of the image that counts, or where it is to be fetched from.
        extras: further deliverables, likewise.
        model_version: what the server says made it.
        billed: `no` only where the answer says so.
        charge: what the answer says that it cost.
    """

    main: int | Link
    extras: tuple[int | Link, ...] = ()
    model_version: str | None = None
    billed: Billed = Billed.YES
    charge: Charge = UNTOLD


class Reader(Protocol):
    """A sans-I/O machine for one answer's body; what comes out never depends on how the bytes are cut."""

    @property
    def complete(self) -> bool:
        """Whether the document has closed: a complete document is a complete answer."""
        ...

    def feed(self, data: bytes) -> Sequence[Event]:
        """Take the next bytes; never raises, whatever they are."""
        ...

    def finish(self) -> Sequence[Event]:
        """Say that no more comes; an image still open ends with a fault."""
        ...

    def judge(self, attempt: Attempt, images: Sequence[Received]) -> Choice | Failure:
        """Say what the answer meant; `images` are those that were started, in order."""
        ...


class Provider(Protocol):
    """One wire format."""

    def request(self, attempt: Attempt) -> Request:
        """Build the request for an attempt."""
        ...

    def reader(self) -> Reader:
        """Make a reader for the body of a 200."""
        ...

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """Classify any other answer; `headers` have lower-case names, `body` is cut at 1 MiB."""
        ...
