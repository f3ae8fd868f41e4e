"""What a document of the chat format says, or of an images endpoint that answers in its place.

Relays put images into many places. So the document is walked by the names of those places, at every level and in an
order of our own; what other names hold is passed over.
"""

from collections.abc import Iterator, Mapping

from batchbanana.providers import Link, gemini_answer
from batchbanana.providers.answer import (
    NAME_LIMIT,
    UNREADABLE,
    Answer,
    billed_without_image,
    grouped,
    verdict_on,
)
from batchbanana.providers.chattext import Item, address_of, items_of
from batchbanana.providers.errors import problem_in
from batchbanana.providers.fields import count, get, last_text, mappings
from batchbanana.providers.jsonskim import Use
from batchbanana.providers.quoting import one_line
from batchbanana.providers.tables import REFUSED
from batchbanana.task import Billed

STEPS = ("choices", "message", "delta")
TEXTS = ("content", "text", "outputText")
PLACES = ("imageUrl", "image", "images", "b64Json", "url", "source", "inlineData", "data", "result", "output")
DATA_KEYS = frozenset({"b64Json", "data"})
SIFTED = frozenset({*TEXTS, *PLACES, "output_text", "image_url"} - {"b64Json"})


def use_of(container: str, key: str) -> Use:
    """Say what is done with a string: image data is handed on, texts and addresses are searched for more."""
    if key in {"b64_json", "b64Json"} or (key == "data" and container in {"inlineData", "inline_data", "source"}):
        return Use.STREAM
    return Use.SIFT if key in SIFTED else Use.KEEP


def read_answer(document: object, images: int) -> Answer:
    """Read a document in which numbers stand for images, of which there are so many."""
    roots = list(mappings(document))
    if not roots:
        return UNREADABLE
    if any(get(root, "candidates") or get(root, "promptFeedback") for root in roots):
        return gemini_answer.read_answer(document, images)
    choices = [choice for root in roots for choice in mappings(get(root, "choices"))]
    messages = [message for choice in choices for message in mappings(get(choice, "message"))]
    items = list(_walk(roots, ""))
    native = last_text(get(choice, "nativeFinishReason") for choice in choices)
    reason, verdict = verdict_on([native, last_text(get(choice, "finishReason") for choice in choices)])
    refusal = last_text(
        get(inner, "refusal") for message in messages for inner in (*mappings(get(message, "content")), message)
    )
    if refusal:
        verdict = REFUSED
    usage = next((usage for root in roots for usage in mappings(get(root, "usage"))), {})
    return Answer(
        ranks=(
            grouped(items, lambda item: isinstance(item, int) and 0 <= item < images),
            grouped(items, lambda item: isinstance(item, Link)),
        ),
        text=" ".join(item for item in items if isinstance(item, str)),
        reason=reason,
        verdict=verdict,
        note=refusal,
        billed=_billed(usage, refused=verdict is REFUSED),
        usage=usage,
        model_version=one_line(last_text(get(root, "model") for root in roots), NAME_LIMIT) or None,
        problem=problem_in([*roots, *choices]),
    )


def _walk(value: object, name: str) -> Iterator[Item]:
    """Give what stands in a value that stands under a name."""
    if isinstance(value, list):
        for item in value:
            yield from _walk(item, name)
    elif isinstance(value, Mapping) and value.get("thought") is not True:
        for inner in (*STEPS, *TEXTS, *PLACES):
            yield from _walk(get(value, inner), inner)
    elif isinstance(value, str):
        yield from _in_text(value, name)
    elif type(value) is int and name in DATA_KEYS:
        yield value


def _in_text(text: str, name: str) -> Iterator[Item]:
    """Give what a string holds; where an image should stand, any address is one, and words say nothing."""
    link = None if name in TEXTS else address_of(text)
    if link is not None:
        yield link
        return
    yield from (item for item in items_of(text) if name in TEXTS or not isinstance(item, str))


def _billed(usage: Mapping[str, object], *, refused: bool) -> Billed:
    """Read the counts by either of their names: of chat completions, or of images and responses."""
    image = _told(usage, "completionTokensDetails", "outputTokensDetails", within="imageTokens")
    return billed_without_image(image=image, output=_told(usage, "completionTokens", "outputTokens"), refused=refused)


def _told(usage: Mapping[str, object], *names: str, within: str = "") -> int | None:
    """Give the first count that the answer tells; None when it tells none."""
    found = (get(usage, name) for name in names)
    values = [get(value, within) if within else value for value in found]
    return next((count(value) for value in values if value is not None), None)
