"""The native format, the only one in which ratio, size, the reason of a refusal and usage all survive."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from urllib.parse import quote

from batchbanana.errors import UsageError
from batchbanana.providers import (
    Choice,
    Event,
    ImageBytes,
    ImageEnded,
    ImageStarted,
    Reader,
    Received,
    Request,
)
from batchbanana.providers.base64stream import Base64Stream
from batchbanana.providers.errors import classify
from batchbanana.providers.gemini_answer import choose, failure_of_broken, failure_without_image, read_answer
from batchbanana.providers.gemini_tables import GLITCH
from batchbanana.providers.jsonskim import Piece, Skim
from batchbanana.task import Attempt, Billed, Failure, Reference

IMAGE_LIMIT = 128 * 1024 * 1024  # bytes of one decoded image; whole answers of 30 MB were seen

OWN_KEYS = frozenset({"contents", "model"})
"""What `extra` may not set: prompt, references and model are the task's own, and its key rests on them."""


class Gemini:
    """Builds requests for `generateContent` and reads its answers.

    Args:
        omit_size: given a model's wire id: whether it takes no `imageSize` and answers 400 to one.
    """

    def __init__(self, *, omit_size: Callable[[str], bool]) -> None:
        self._omit_size = omit_size

    def request(self, attempt: Attempt) -> Request:
        """Build the request for an attempt.

        Raises:
            UsageError: the task's `extra` sets what is not its to set.
        """
        task = attempt.task
        if taken := sorted(OWN_KEYS & task.extra.keys()):
            raise UsageError(f"`extra` of job {task.job} sets `{taken[0]}`, which is made from the task; take it out")
        seconds = max(1, math.ceil(attempt.rung.timeout))
        return Request(
            path=f"/v1beta/models/{quote(task.model, safe='')}:generateContent",
            headers=(("content-type", "application/json"), ("x-server-timeout", str(seconds))),
            body=tuple(self._body(attempt)),
        )

    def reader(self) -> Reader:
        """Make a reader for the body of a 200."""
        return GeminiReader()

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """Classify any other answer."""
        return classify(status, headers, body)

    def _body(self, attempt: Attempt) -> Iterator[bytes | Reference]:
        """Write the body around the references, whose base64 is filled in as it is sent."""
        task = attempt.task
        text = b'{"contents":[{"role":"user","parts":[' + _json({"text": task.prompt})
        for reference in task.references:
            yield text + b',{"inlineData":{"mimeType":' + _json(reference.mime) + b',"data":"'
            yield reference
            text = b'"}}'
        yield text + b"]}]," + _json(merged(self._settings(attempt), task.extra))[1:]

    def _settings(self, attempt: Attempt) -> dict[str, object]:
        image = {}
        if attempt.task.ratio is not None:
            image["aspectRatio"] = attempt.task.ratio
        if not self._omit_size(attempt.task.model):
            image["imageSize"] = attempt.rung.resolution
        config: dict[str, object] = {"responseModalities": ["IMAGE"]}
        if image:
            config["imageConfig"] = image
        return {"generationConfig": config}


class GeminiReader:
    """The reader of one answer's body."""

    def __init__(self) -> None:
        self._skim = Skim(_is_image)
        self._decoder = Base64Stream(limit=IMAGE_LIMIT)
        self._started = 0
        self._open = False

    @property
    def complete(self) -> bool:
        """Whether the document has closed."""
        return self._skim.complete

    def feed(self, data: bytes) -> Sequence[Event]:
        """Take the next bytes; never raises."""
        return [event for piece in self._skim.feed(data) for event in self._events(piece)]

    def finish(self) -> Sequence[Event]:
        """Say that no more comes; an image that is still open ends with a fault."""
        events = [ImageEnded("the answer broke off within the image")] if self._open else []
        self._open = False
        return events

    def judge(self, attempt: Attempt, images: Sequence[Received]) -> Choice | Failure:
        """Say what the answer meant; `images` are those that were started, in order."""
        answer = read_answer(self._skim.document(), len(images))
        chosen = choose(answer, images, attempt, whole=self.complete)
        if chosen:
            return Choice(
                main=chosen[-1],
                extras=tuple(chosen[:-1]),
                model_version=answer.model_version,
                billed=Billed.NO if answer.is_free else Billed.YES,
                usage=answer.usage,
            )
        says_why = answer.problem is not None or answer.verdict is not GLITCH
        if says_why or (self.complete and answer.readable):
            return failure_without_image(answer, images)
        fault = "not JSON" if self.complete else self._skim.fault
        return failure_of_broken(answer, fault, self._skim.head)

    def _events(self, piece: Piece) -> Iterator[Event]:
        if piece.index == self._started:
            self._started += 1
            self._decoder = Base64Stream(limit=IMAGE_LIMIT)
            yield ImageStarted(piece.index)
        data = self._decoder.feed(piece.data)
        if piece.last:
            data += self._decoder.finish()
        self._open = not piece.last
        if data:
            yield ImageBytes(data)
        if piece.last:
            yield ImageEnded(self._decoder.fault)


def _is_image(container: str, key: str) -> bool:
    return key == "data" and container in {"inlineData", "inline_data"}


def merged(base: Mapping[str, object], extra: Mapping[str, object]) -> dict[str, object]:
    """Merge mappings at every level; what `extra` says wins."""
    result = dict(base)
    for key, value in extra.items():
        under = result.get(key)
        both = isinstance(under, Mapping) and isinstance(value, Mapping)
        result[key] = merged(under, value) if both else value  # type: ignore[arg-type]  # mypy does not follow `both`
    return result


def _json(value: object) -> bytes:
    """Write compact JSON in ASCII, which holds any prompt."""
    return json.dumps(value, separators=(",", ":")).encode()
