"""What an answer brought, whatever its format: which of its images count, and what it means when none does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from batchbanana.images import mismatch
from batchbanana.providers import Link, Received
from batchbanana.providers.errors import Problem, failure_of, inner_status
from batchbanana.providers.quoting import one_line
from batchbanana.providers.tables import FINISH_REASONS, GLITCH, SYNONYMS, Verdict
from batchbanana.task import UNTOLD, Attempt, Billed, Charge, Failure, FailureKind

QUOTE_LIMIT = 140  # characters of the server's own words in a failure's sentence
NAME_LIMIT = 200  # characters of a model's name
TEXT_TOKENS = 100  # fewer are a few words and no image: the smallest, of 512 pixels, takes 747

Group = tuple[int | Link, ...]
"""Images back to back: their numbers or addresses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The parts of an answer that matter.

    Attributes:
        readable: whether the document was one; else the images that came are all that is known.
        ranks: its images by their place, the best place first; groups are separated by text.
        pointers: addresses that name no host or are not of the web, likewise; they count when no other image came.
        thoughts: indexes of images that the model made while it thought.
        text: what it said beside them.
        reason: why it stopped, as the wire spells it.
        verdict: what that means when no image came.
        note: the server's words about it.
        billed: whether it costs money if it brought no usable image.
        charge: what it says that it cost.
        problem: an error that came instead of an answer.
    """

    readable: bool = True
    ranks: tuple[tuple[Group, ...], ...] = ()
    pointers: tuple[Group, ...] = ()
    thoughts: tuple[int, ...] = ()
    text: str = ""
    reason: str = ""
    verdict: Verdict = GLITCH
    note: str = ""
    billed: Billed = Billed.UNKNOWN
    charge: Charge = UNTOLD
    model_version: str | None = None
    problem: Problem | None = None

    @property
    def is_free(self) -> bool:
        """Whether the server says that nothing is charged."""
        return says_free(self.note)

    @property
    def says_why(self) -> bool:
        """Whether it gives a reason for bringing no image."""
        return self.problem is not None or self.verdict is not GLITCH


UNREADABLE = Answer(readable=False)


def says_free(note: str) -> bool:
    """Say whether a server's words promise that nothing is charged."""
    return "not be charged" in note.lower()


def billed_without_image(*, image: int | None, output: int | None, refused: bool) -> Billed:
    """Say whether an answer without a usable image costs money.

    Image tokens do; an answer that has used none or too few for an image does not, and neither does a refusal without
    usage. More output tokens of a kind that is not told, or no usage at all (a relay may charge by the call), leave it
    unknown.

    Args:
        image: tokens of images that came out; None when the answer does not say.
        output: all tokens that came out, likewise.
        refused: whether it was refused.
    """
    if image:
        return Billed.YES
    if output is None:
        return Billed.NO if refused else Billed.UNKNOWN
    return Billed.NO if output < TEXT_TOKENS or image == 0 else Billed.UNKNOWN


def verdict_on(reasons: Sequence[str]) -> tuple[str, Verdict]:
    """Give the first reason that is known, else the first there is, and what it means; any case is read."""
    verdicts = [(reason, FINISH_REASONS.get(_in_table(reason))) for reason in reasons if reason]
    known = ((reason, verdict) for reason, verdict in verdicts if verdict is not None)
    return next(known, (verdicts[0][0] if verdicts else "", GLITCH))


def _in_table(reason: str) -> str:
    return SYNONYMS.get(reason.upper(), reason.upper())


def grouped(items: Sequence[str | int | Link], wanted: Callable[[int | Link], bool]) -> tuple[Group, ...]:
    """Group the images that are wanted, each once: those back to back together; words separate groups."""
    groups: list[list[int | Link]] = [[]]
    seen: set[int | Link] = set()
    for item in items:
        if isinstance(item, str):
            groups.append([])
        elif item not in seen and wanted(item):
            seen.add(item)
            groups[-1].append(item)
    return tuple([tuple(group) for group in groups if group])


def choose(answer: Answer, images: Sequence[Received], attempt: Attempt, *, whole: bool) -> list[int | Link]:
    """Choose the images that are delivered, in order; the last one counts.

    Of images back to back the last is the real one, the others are drafts. Where that is in doubt (it is damaged, the
    document is not `whole`, the model says that it refused), the last one is taken that is exactly what was asked for;
    an address, behind which nobody can look here, counts unless the model refused.
    """
    stands = answer.verdict.may_stand and (answer.problem is None or inner_status(answer.problem) < 400)
    sure = stands and whole and answer.readable

    def usable(group: Group) -> int | Link | None:
        last = group[-1]
        if isinstance(last, Link):
            return last if stands else None
        if sure and images[last].picture is not None:
            return last
        indexes = [index for index in group if isinstance(index, int)]
        return next((index for index in reversed(indexes) if _is_as_asked(images[index], attempt)), None)

    for rank in _all_ranks(answer, len(images), sure=sure):
        if chosen := [image for image in map(usable, rank) if image is not None]:
            return chosen
    return []


def failure_without_image(answer: Answer, images: Sequence[Received]) -> Failure:
    """Say why a whole answer delivered nothing."""
    if answer.problem is not None:
        failure = failure_of(inner_status(answer.problem), {}, answer.problem)
        return replace(failure, status=200, billed=_billed_beside(failure, answer, images))
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
        charge=answer.charge,
    )


def _billed_beside(failure: Failure, answer: Answer, images: Sequence[Received]) -> Billed:
    """Say whether an answer with an error in it costs money: what was made may be charged, whatever the error says."""
    if answer.is_free:
        return Billed.NO
    if answer.billed is Billed.YES:
        return Billed.YES
    made = bool(images) or any(answer.ranks) or bool(answer.pointers)
    return Billed.UNKNOWN if made else failure.billed


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
        charge=answer.charge,
    )


def _all_ranks(answer: Answer, images: int, *, sure: bool) -> list[tuple[Group, ...]]:
    """Add what counts only when nothing else came: images from places that nobody knows, and those of thoughts."""
    named = {image for rank in answer.ranks for group in rank for image in group} | set(answer.thoughts)
    others = tuple(index for index in range(images) if index not in named)
    ranks = [*answer.ranks, (others,) if others else (), answer.pointers]
    if sure and answer.thoughts and not any(ranks):
        ranks.append((answer.thoughts,))
    return ranks


def _is_as_asked(image: Received, attempt: Attempt) -> bool:
    return image.picture is not None and mismatch(image.picture, attempt.task.ratio, attempt.rung.resolution) is None
