"""What a document of `generateContent` says."""

from collections.abc import Iterator, Mapping

from batchbanana.providers import Link
from batchbanana.providers.answer import (
    NAME_LIMIT,
    UNREADABLE,
    Answer,
    billed_without_image,
    grouped,
    says_free,
    verdict_on,
)
from batchbanana.providers.chattext import Attention, Item, address_of, is_whole, items_of
from batchbanana.providers.errors import problem_in
from batchbanana.providers.fields import count, get, last_text, mappings
from batchbanana.providers.outline import Use
from batchbanana.providers.quoting import one_line
from batchbanana.providers.tables import REFUSED
from batchbanana.task import Billed, Charge

ERRORS = 20  # last roots that are searched for an error; one is usual, and a search is dear


def use_of(container: str, key: str) -> Use:
    """Say what is done with a string: image data is handed on, and texts are searched for more."""
    if key == "data" and container in {"inlineData", "inline_data"}:
        return Use.STREAM
    return Use.SIFT if key == "text" else Use.KEEP


def read_answer(document: object, images: int) -> Answer:
    """Read a document in which numbers stand for images, of which there are so many."""
    roots = mappings(document)
    if not roots:
        return UNREADABLE
    candidates = [candidate for root in roots for candidate in mappings(get(root, "candidates"))]
    parts = [part for candidate in candidates for part in mappings(get(get(candidate, "content"), "parts"))]
    attention = Attention()
    final = [item for part in parts if part.get("thought") is not True for item in _items(part, attention)]
    thought = [item for part in parts if part.get("thought") is True for item in _items(part, attention)]
    native = {index for part in parts if type(index := get(get(part, "inlineData"), "data")) is int}
    feedback = [get(root, "promptFeedback") for root in roots]
    blocked = last_text([get(block, "blockReason") for block in feedback])
    reason, verdict = verdict_on([last_text([get(candidate, "finishReason") for candidate in candidates])])
    if blocked:
        reason, verdict = blocked, REFUSED
    note = last_text(
        [get(candidate, "finishMessage") for candidate in candidates]
        + [get(block, "blockReasonMessage") for block in feedback]
    )
    usage = next((usage for root in roots for usage in mappings(get(root, "usageMetadata"))), {})
    tokens = _image_tokens(usage)
    return Answer(
        ranks=(
            grouped(final, lambda item: item in native and _is_number(item, images)),
            grouped(final, lambda item: item not in native and _is_number(item, images)),
            grouped(final, lambda item: isinstance(item, Link) and is_whole(item)),
        ),
        pointers=grouped(final, lambda item: isinstance(item, Link) and not is_whole(item)),
        thoughts=tuple(item for item in thought if isinstance(item, int) and _is_number(item, images)),
        text=" ".join(item for item in final if isinstance(item, str)),
        reason=reason,
        verdict=verdict,
        note=note,
        billed=Billed.NO if says_free(note) else _billed(usage, tokens, refused=verdict is REFUSED),
        charge=Charge(image_tokens=tokens),
        model_version=one_line(last_text([get(root, "modelVersion") for root in roots]), NAME_LIMIT) or None,
        problem=None if candidates else problem_in(roots[-ERRORS:]),
    )


def _items(part: Mapping[str, object], attention: Attention) -> Iterator[Item]:
    """Give what a part holds: an image, the address of a file, or a text with whatever is in it."""
    index = get(get(part, "inlineData"), "data")
    if type(index) is int:
        yield index
    address = get(get(part, "fileData"), "fileUri")
    link = address_of(address) if isinstance(address, str) else None
    if link is not None:
        yield link
    text = part.get("text")
    if isinstance(text, str):
        yield from items_of(text, attention)


def _is_number(item: object, images: int) -> bool:
    return type(item) is int and 0 <= item < images


def _billed(usage: Mapping[str, object], image: int | None, *, refused: bool) -> Billed:
    output = count(get(usage, "candidatesTokenCount")) if usage else None
    return billed_without_image(image=image, output=output, refused=refused)


def _image_tokens(usage: Mapping[str, object]) -> int | None:
    details = mappings(get(usage, "candidatesTokensDetails"))
    image = sum(count(get(detail, "tokenCount")) for detail in details if get(detail, "modality") == "IMAGE")
    return image if details else None
