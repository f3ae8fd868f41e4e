"""What a document of `generateContent` says, and which of its images count.

Any level may be missing, null, empty or strange, and every key may come in camelCase or snake_case.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from batchbanana.images import mismatch
from batchbanana.providers import Received
from batchbanana.providers.errors import Problem, failure_of, inner_status, read_document
from batchbanana.providers.gemini_tables import FINISH_REASONS, GLITCH, REFUSED, Verdict
from batchbanana.providers.quoting import one_line
from batchbanana.task import Attempt, Billed, Failure, FailureKind

QUOTE_LIMIT = 140  # characters of the server's own words in a failure's sentence
NAME_LIMIT = 200  # characters of a model's name


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The parts of an answer that matter.

    Attributes:
        readable: whether the document was one; else the images that came are all that is known.
        groups: indexes of images, those back to back together; text separates groups.
        thoughts: indexes of images that the model made while it thought.
        text: what it said beside them.
        reason: why it stopped, as the wire spells it.
        verdict: what that means when no image came.
        note: the server's words about it.
        usage: the usage block as it came.
        problem: an error that came instead of an answer.
    """

    readable: bool
    groups: tuple[tuple[int, ...], ...] = ()
    thoughts: tuple[int, ...] = ()
    text: str = ""
    reason: str = ""
    verdict: Verdict = GLITCH
    note: str = ""
    usage: Mapping[str, object]
    model_version: str | None = None
    problem: Problem | None = None

    @property
    def is_free(self) -> bool:
        """Whether the server says that nothing is charged."""
        return "not be charged" in self.note.lower()

    @property
    def billed(self) -> Billed:
        """Say whether an answer without a usable image costs money.

        Image tokens do; an answer whose usage has none does not, and neither does a refusal without usage. Output
        tokens of a kind that is not told, or no usage at all (a relay may charge by the call), leave it unknown.
        """
        if self.is_free:
            return Billed.NO
        details = list(_mappings(_get(self.usage, "candidatesTokensDetails")))
        if any(_get(detail, "modality") == "IMAGE" and _count(_get(detail, "tokenCount")) for detail in details):
            return Billed.YES
        if not _count(_get(self.usage, "candidatesTokenCount")):
            return Billed.NO if self.usage or self.verdict is REFUSED else Billed.UNKNOWN
        return Billed.NO if details else Billed.UNKNOWN


def read_answer(document: object, images: int) -> Answer:
    """Read a document in which numbers stand for images, of which there are so many."""
    roots = list(_mappings(document))
    if not roots:
        return Answer(readable=False, groups=(tuple(range(images)),) if images else (), usage={})
    candidates = [candidate for root in roots for candidate in _mappings(_get(root, "candidates"))]
    parts = [part for candidate in candidates for part in _mappings(_get(_get(candidate, "content"), "parts"))]
    feedback = [_get(root, "promptFeedback") for root in roots]
    blocked = _last_text(_get(block, "blockReason") for block in feedback)
    reason = blocked or _last_text(_get(candidate, "finishReason") for candidate in candidates)
    notes = [_get(candidate, "finishMessage") for candidate in candidates]
    notes += [_get(block, "blockReasonMessage") for block in feedback]
    final = [part for part in parts if part.get("thought") is not True]
    thoughts = [_image(part, images) for part in parts if part.get("thought") is True]
    failed = next((root for root in roots if _get(root, "error") and not candidates), None)
    return Answer(
        readable=True,
        groups=_groups(final, images),
        thoughts=tuple(index for index in thoughts if index is not None),
        text=" ".join(map(_said, final)).strip(),
        reason=reason,
        verdict=REFUSED if blocked else FINISH_REASONS.get(reason.upper(), GLITCH),
        note=_last_text(notes),
        usage=next((usage for root in roots for usage in _mappings(_get(root, "usageMetadata"))), {}),
        model_version=one_line(_last_text(_get(root, "modelVersion") for root in roots), NAME_LIMIT) or None,
        problem=None if failed is None else read_document(failed),
    )


def choose(answer: Answer, images: Sequence[Received], attempt: Attempt, *, whole: bool) -> list[int]:
    """Choose the images that are delivered, in order; the last one counts.

    Of images back to back the last is the real one, the others are drafts. Where that is in doubt (it is damaged, the
    document is not `whole`, the model says that it refused), the last one is taken that is exactly what was asked for.
    """
    sure = whole and answer.readable and answer.verdict.may_stand

    def usable(group: Sequence[int]) -> int | None:
        if sure and images[group[-1]].picture is not None:
            return group[-1]
        return next((index for index in reversed(group) if _is_as_asked(images[index], attempt)), None)

    groups = answer.groups or ((answer.thoughts,) if answer.thoughts and sure else ())
    return [index for index in map(usable, groups) if index is not None]


def failure_without_image(answer: Answer, images: Sequence[Received]) -> Failure:
    """Say why a whole answer delivered nothing."""
    if answer.problem is not None:
        return replace(failure_of(inner_status(answer.problem), {}, answer.problem), status=200)
    verdict, words, quote = answer.verdict, answer.verdict.words, answer.note
    billed = answer.billed
    faults = [image.fault for image in images if image.fault]
    if verdict is GLITCH and images:
        words, quote = "The image that came is of no use", faults[-1] if faults else ""
        billed = Billed.NO if answer.is_free else Billed.YES
    elif verdict is GLITCH and answer.text:
        words, quote = "The model answered with text only", answer.note or answer.text
    reason = one_line(answer.reason, 40) or "no reason given"
    said = f': "{one_line(quote, QUOTE_LIMIT)}"' if quote else ""
    return Failure(
        kind=verdict.kind,
        message=f"{words} ({reason}{said})" + (f"; {verdict.remedy}" if verdict.remedy else ""),
        billed=billed,
        status=200,
        signature=f"200 {reason}",
        final=verdict.final,
        tries=verdict.tries,
    )


def failure_of_broken(answer: Answer, fault: str | None, head: bytes) -> Failure:
    """Say what an answer is that is no whole document, and so says nothing for certain.

    Args:
        answer: what could be read of it.
        fault: why it is no document; None when it only broke off.
        head: its first bytes.
    """
    if fault is None:
        return Failure(
            kind=FailureKind.TIMEOUT,
            message="The answer broke off before its end",
            billed=Billed.UNKNOWN,
            status=200,
            signature="200 broken off",
        )
    start = one_line(head.decode(errors="replace"), QUOTE_LIMIT)
    return Failure(
        kind=FailureKind.NO_IMAGE,
        message=f'The answer is not one of this service ({fault}): "{start}"; check `base_url` if this goes on',
        billed=Billed.YES if answer.billed is Billed.YES else Billed.UNKNOWN,
        status=200,
        signature=f"200 {fault}",
    )


def _groups(parts: Sequence[Mapping[str, object]], images: int) -> tuple[tuple[int, ...], ...]:
    groups: list[list[int]] = [[]]
    for part in parts:
        index = _image(part, images)
        if index is not None:
            groups[-1].append(index)
        elif _said(part).strip():
            groups.append([])
    return tuple(tuple(group) for group in groups if group)


def _image(part: Mapping[str, object], images: int) -> int | None:
    """Give the number of the image that a part holds."""
    index = _get(_get(part, "inlineData"), "data")
    return index if type(index) is int and 0 <= index < images else None


def _said(part: Mapping[str, object]) -> str:
    text = part.get("text")
    return text if isinstance(text, str) else ""


def _is_as_asked(image: Received, attempt: Attempt) -> bool:
    return image.picture is not None and mismatch(image.picture, attempt.task.ratio, attempt.rung.resolution) is None


def _mappings(value: object) -> Iterator[Mapping[str, object]]:
    """Give the objects of a list, or the one object that stands where a list should."""
    items = value if isinstance(value, list) else [value]
    return (item for item in items if isinstance(item, Mapping))


def _get(value: object, name: str) -> object:
    """Look a camelCase name up, in either spelling; None when there is nothing to look in."""
    if not isinstance(value, Mapping):
        return None
    found = value.get(name)
    return value.get(_snake(name)) if found is None else found


@cache
def _snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda letter: "_" + letter[0].lower(), name)


def _last_text(values: Iterator[object] | Sequence[object]) -> str:
    texts = [str(value) for value in values if isinstance(value, str | int) and value]
    return texts[-1] if texts else ""


def _count(value: object) -> int:
    """Read a count, which may come as a string."""
    return int(value) if isinstance(value, str | int) and re.fullmatch(r"\d{1,18}", str(value)) else 0
