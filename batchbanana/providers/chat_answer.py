"""What a document of the chat format says, or of an images endpoint that answers in its place.

Relays put images into many places. So the document is walked by the names of those places, at every level and in an
order of our own; what other names hold is passed over.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from math import ceil

from batchbanana.providers import Link, gemini_answer
from batchbanana.providers.answer import (
    NAME_LIMIT,
    UNREADABLE,
    Answer,
    billed_without_image,
    grouped,
    verdict_on,
)
from batchbanana.providers.chattext import Attention, Item, address_of, is_whole, items_of
from batchbanana.providers.errors import problem_in
from batchbanana.providers.fields import count, get, last_text, mappings, snake
from batchbanana.providers.outline import Use
from batchbanana.providers.quoting import one_line
from batchbanana.providers.tables import REFUSED
from batchbanana.task import Billed, Charge

MOST_DOLLARS = 1000  # a call; more is a slip of the server's
STEPS = ("choices", "message", "delta")
TEXTS = ("content", "text", "outputText")
PLACES = ("imageUrl", "image", "images", "b64Json", "url", "source", "inlineData", "data", "result", "output")
ORDER = (*STEPS, *TEXTS, *PLACES)
RANKS = {spelling: rank for rank, name in enumerate(ORDER) for spelling in (name, snake(name))}
DATA_KEYS = frozenset({"b64Json", "data"})
ERRORS = 20  # last roots and choices that are searched for an error; one of each is usual, and a search is dear
SIFTED = frozenset({*TEXTS, *PLACES, "output_text", "image_url"} - {"b64Json"})


def use_of(container: str, key: str) -> Use:
    """Say what is done with a string: image data is handed on, texts and addresses are searched for more."""
    if key in {"b64_json", "b64Json"} or (key == "data" and container in {"inlineData", "inline_data", "source"}):
        return Use.STREAM
    return Use.SIFT if key in SIFTED else Use.KEEP


def read_answer(document: object, images: int) -> Answer:
    """Read a document in which numbers stand for images, of which there are so many."""
    roots = mappings(document)
    if not roots:
        return UNREADABLE
    if any(get(root, "candidates") or get(root, "promptFeedback") for root in roots):
        return gemini_answer.read_answer(document, images)
    choices = [choice for root in roots for choice in mappings(get(root, "choices"))]
    messages = [message for choice in choices for message in mappings(get(choice, "message"))]
    items: list[Item] = []
    _walk(roots, "", Attention(), items)
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
            grouped(items, lambda item: isinstance(item, Link) and is_whole(item)),
        ),
        pointers=grouped(items, lambda item: isinstance(item, Link) and not is_whole(item)),
        text=" ".join(item for item in items if isinstance(item, str)),
        reason=reason,
        verdict=verdict,
        note=refusal,
        billed=_billed(usage, refused=verdict is REFUSED),
        charge=Charge(image_tokens=_image_tokens(usage), micro_usd=_cost(usage)),
        model_version=one_line(last_text(get(root, "model") for root in roots), NAME_LIMIT) or None,
        problem=problem_in([*roots[-ERRORS:], *choices[-ERRORS:]]),
    )


def _walk(value: object, name: str, attention: Attention, into: list[Item]) -> None:
    """Collect what stands in a value that stands under a name."""
    if isinstance(value, list):
        for item in value:
            _walk(item, name, attention, into)
    elif isinstance(value, Mapping):
        ranks = {RANKS[key] for key in value if key in RANKS} if value.get("thought") is not True else ()
        for inner in (ORDER[rank] for rank in sorted(ranks)):
            _walk(get(value, inner), inner, attention, into)
    elif isinstance(value, str):
        into.extend(_in_text(value, name, attention))
    elif type(value) is int and name in DATA_KEYS:
        into.append(value)


def _in_text(text: str, name: str, attention: Attention) -> Iterator[Item]:
    """Give what a string holds; where an image should stand, any address is one, and words say nothing."""
    link = None if name in TEXTS else address_of(text)
    if link is not None:
        yield link
        return
    yield from (item for item in items_of(text, attention) if name in TEXTS or not isinstance(item, str))


def _billed(usage: Mapping[str, object], *, refused: bool) -> Billed:
    """Read the counts by either of their names: of chat completions, or of images and responses."""
    output = _told(usage, "completionTokens", "outputTokens")
    return billed_without_image(image=_image_tokens(usage), output=output, refused=refused)


def _image_tokens(usage: Mapping[str, object]) -> int | None:
    return _told(usage, "completionTokensDetails", "outputTokensDetails", within="imageTokens")


def _cost(usage: Mapping[str, object]) -> int | None:
    """Read what a call cost: with a key of the user's own at the vendor, both the relay and the vendor charge."""
    told = _dollars(get(usage, "cost"))
    if get(usage, "isByok") is not True:
        return told
    upstream = _dollars(get(get(usage, "costDetails"), "upstreamInferenceCost"))
    return None if upstream is None else upstream + (told or 0)


def _dollars(value: object) -> int | None:
    """Read what some relays tell of a call's cost, in dollars, as micro-dollars rounded up; None if it is no price."""
    # Nothing is what relays tell whose user pays the vendor with a key of their own; that is no price of an image.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < MOST_DOLLARS:
        return None
    return ceil(Decimal(str(value)) * 1_000_000)


def _told(usage: Mapping[str, object], *names: str, within: str = "") -> int | None:
    """Give the first count that the answer tells; None when it tells none."""
    found = (get(usage, name) for name in names)
    values = [get(value, within) if within else value for value in found]
    return next((count(value) for value in values if value is not None), None)
