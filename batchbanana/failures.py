"""Why tasks are not made as asked for, grouped by cause: pure over what ledger and spool tell.

A cause is what would be mended in one go: the same outcome, the same kind of last attempt, the same HTTP status, and
the same words once everything that changes from task to task is taken out of them.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from batchbanana.ledger import Complaint, Unsettled
from batchbanana.record import BROUGHT_HOME, FETCHED, Errand
from batchbanana.task import FailureKind, Task

PENDING = "pending"
POSSIBLY_BILLED = "possibly_billed"
WAITING = "waiting"  # the image is paid for, but so far only its address has come
LINK = "link"
LOST = "lost"  # the ledger's word for an attempt that was in flight when a run died
IMAGE = "image"
IN_FLIGHT = "It was in flight when a run ended"
MOST_WORDINGS = 12  # groups that differ in words alone; a server that words every answer anew must not make thousands
SIGNIFICANT = 10  # words of a server's sentence; what comes after them is mostly advice and addresses
PROMPT_SHOWN = 80  # characters
HOSTS_SHOWN = 3

# Of these the model's own words are quoted, which are new in every answer; else the server's, which tell causes apart.
MODELS_OWN = {str(FailureKind.REFUSED), str(FailureKind.NO_IMAGE)}
OURS = "of no use"  # but here we quote ourselves
QUOTED = re.compile(r'"[^"]*"|“[^”]*”|`[^`]*`|(?<!\w)\'[^\']*\'(?!\w)')
SERVERS_WORDS = re.compile(r':? ?"(.*)"', re.DOTALL)  # from the first to the last quotation mark: it may quote in turn
NAME = re.compile(r"\S*[\d/\\.@=][^\s,;:)]*\w\S*|\S*\d\S*")  # numbers, paths, addresses, ids
SEVERAL = re.compile(r"…(?:\W*…)+")
ASIDES = (BROUGHT_HOME, FETCHED)  # remarks on how an image came, not on what is wrong with it


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """What tells one group from another.

    Attributes:
        outcome: of the tasks, or `pending`, `possibly_billed` or `waiting`.
        kind: of the last attempt: a failure kind, `lost`, `aside`, `image` where there is one, or `link` to one.
        status: of HTTP; None where there was no answer or it does not matter.
        words: what is said of it, without numbers, names and quotations.
    """

    outcome: str
    kind: str
    status: int | None = None
    words: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One task of a group.

    Attributes:
        key: 32 hex digits.
        text: the sentence that the run said of it.
        job, prompt, variables: None where only the manifest could tell and it does not.
    """

    key: str
    text: str
    job: str | None = None
    prompt: str | None = None
    variables: Mapping[str, str] | None = None

    @classmethod
    def of(cls, complaint: Complaint) -> "Example":
        """Take what the ledger tells of a task."""
        record = complaint.record
        variables = record.get("variables")
        return cls(
            key=complaint.key,
            text=_sentence(complaint),
            job=str(record["job"]) if "job" in record else None,
            prompt=str(record["prompt"]) if "prompt" in record else None,
            variables=variables if isinstance(variables, dict) else None,
        )

    def told_by(self, task: Task) -> "Example":
        """Fill in what the manifest tells."""
        return Example(key=self.key, text=self.text, job=task.job, prompt=task.prompt, variables=dict(task.variables))


@dataclass(slots=True, kw_only=True)
class Group:
    """Tasks that share a cause.

    Attributes:
        count: of tasks; of attempts in a group of those that may have been billed.
        worst: micro-dollars that these attempts have cost at worst; 0 for tasks.
        unpriced: of these attempts, at an unknown price.
    """

    cause: Cause
    example: Example
    count: int = 0
    worst: int = 0
    unpriced: int = 0


@dataclass(slots=True, kw_only=True)
class Causes:
    """What `failures` tells.

    Attributes:
        groups: the largest first.
        left_out: tasks that the ledger knows and the manifest no longer has.
    """

    groups: list[Group] = field(default_factory=list)
    left_out: int = 0


def group(complaints: Iterable[Complaint], is_planned: Callable[[str], bool] = lambda _key: True) -> Causes:
    """Group what the ledger tells, one task after the other; needs memory for the groups only.

    Args:
        complaints: tasks that are not made as asked for.
        is_planned: whether the manifest still has the task of a key.
    """
    groups = _Groups()
    left_out = 0
    for complaint in complaints:
        if is_planned(complaint.key):
            groups.add(cause_of(complaint), complaint)
        else:
            left_out += 1
    return Causes(groups=groups.largest_first(), left_out=left_out)


def possibly_billed(attempts: Iterable[tuple[Complaint, int | None]]) -> list[Group]:
    """Group the attempts that may have been billed.

    Args:
        attempts: each with its micro-dollars at worst, None where the price is unknown.
    """
    groups = _Groups()
    for complaint, price in attempts:
        one = groups.add(replace(cause_of(complaint), outcome=POSSIBLY_BILLED), complaint)
        one.worst += price or 0
        one.unpriced += price is None
    return groups.largest_first()


class _Groups:
    """Groups by cause that are being filled."""

    def __init__(self) -> None:
        self._groups: dict[Cause, Group] = {}
        self._wordings: Counter[Cause] = Counter()

    def add(self, cause: Cause, complaint: Complaint) -> Group:
        """Count one more and give its group; where there are too many wordings, one that is common to the rest."""
        wordless = replace(cause, words="")
        if cause not in self._groups and self._wordings[wordless] >= MOST_WORDINGS:
            cause = wordless
        if cause not in self._groups:
            self._wordings[wordless] += 1
            self._groups[cause] = Group(cause=cause, example=Example.of(complaint))
        group = self._groups[cause]
        group.count += 1
        return group

    def largest_first(self) -> list[Group]:
        """Give the groups in the order in which they are told."""
        return sorted(self._groups.values(), key=lambda one: -one.count)


def waiting(held: Sequence[tuple[Unsettled, str]]) -> Group:
    """Make the group of the images that are paid for and still to be fetched.

    Args:
        held: their attempts, at least one, and the address of each; of an address only the host is told.
    """
    first, _ = held[0]
    errand = Errand.from_json(first.errand)
    hosts = list(dict.fromkeys(_host(url) for _, url in held))
    more = f" and {len(hosts) - HOSTS_SHOWN} more hosts" if len(hosts) > HOSTS_SHOWN else ""
    example = Example(
        key=errand.key,
        text=f"{', '.join(hosts[:HOSTS_SHOWN])}{more}; the first is noted in {note_of(first.id)}",
        job=errand.job,
        prompt=errand.prompt,
        variables=errand.variables,
    )
    return Group(cause=Cause(outcome=WAITING, kind=LINK), example=example, count=len(held))


def note_of(attempt: int | str) -> str:
    """Name the file, below the job directory, that says where an attempt's image is to be fetched."""
    return f".batchbanana/spool/{attempt}.0.link"


def _host(url: str) -> str:
    """Name an address's host alone: what follows it may hold a signature."""
    try:
        host = urlsplit(url).hostname
    except ValueError:
        host = None
    shown = "".join(char for char in host or "" if char.isprintable())[:100]
    return shown or "an address without a host"


def cause_of(complaint: Complaint) -> Cause:
    """Say what a task has in common with others."""
    outcome = str(complaint.outcome or PENDING)
    if complaint.outcome is not None and complaint.outcome.has_image:
        return Cause(outcome=outcome, kind=IMAGE, words=words(_sentence(complaint)))
    kind = complaint.result or ""
    sentence = _sentence(complaint)
    said = "" if kind == LOST else words(sentence, keep_quotation=kind not in MODELS_OWN or OURS in sentence)
    return Cause(outcome=outcome, kind=kind, status=complaint.status, words=said)


def words(sentence: str, *, keep_quotation: bool = False) -> str:
    """Take out of a sentence what changes from task to task; of a quotation that is kept, the first words stay."""
    quotation = SERVERS_WORDS.search(sentence)
    said = " ".join(_plain(quotation[1]).split()[:SIGNIFICANT]) if quotation and keep_quotation else ""
    frame = SERVERS_WORDS.sub("", sentence) if quotation else sentence
    return f"{_plain(frame)} {said}".rstrip()


def _plain(text: str) -> str:
    return SEVERAL.sub("…", " ".join(NAME.sub("…", QUOTED.sub("…", text)).casefold().split()))


def _sentence(complaint: Complaint) -> str:
    """Give what the run said: of an image what differs, else what the last attempt came to."""
    record = complaint.record
    if complaint.outcome is not None and complaint.outcome.has_image:
        remarks = str(record.get("note", "")).split("; ")
        return "; ".join(remark for remark in remarks if not remark.startswith(ASIDES))
    # The reason of an outcome adds how often it was tried, or that it was in earlier runs.
    return complaint.message or str(record.get("reason", "")) or IN_FLIGHT
