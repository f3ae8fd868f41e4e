"""The native format, the only one in which ratio, size, the reason of a refusal and usage all survive."""

from collections.abc import Callable, Iterator, Mapping
from urllib.parse import quote

from batchbanana.providers import Reader, Request
from batchbanana.providers.body import check_extra, compact, headers, merged
from batchbanana.providers.errors import classify
from batchbanana.providers.gemini_answer import read_answer, use_of
from batchbanana.providers.reader import AnswerReader
from batchbanana.task import Attempt, Failure, Reference

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
        check_extra(attempt.task, OWN_KEYS)
        return Request(
            path=f"/v1beta/models/{quote(attempt.task.model, safe='')}:generateContent",
            headers=headers(attempt),
            body=tuple(self._body(attempt)),
        )

    def reader(self) -> Reader:
        """Make a reader for the body of a 200."""
        return AnswerReader(use_of, read_answer)

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """Classify any other answer."""
        return classify(status, headers, body)

    def _body(self, attempt: Attempt) -> Iterator[bytes | Reference]:
        """Write the body around the references, whose base64 is filled in as it is sent."""
        task = attempt.task
        text = b'{"contents":[{"role":"user","parts":[' + compact({"text": task.prompt})
        for reference in task.references:
            yield text + b',{"inlineData":{"mimeType":' + compact(reference.mime) + b',"data":"'
            yield reference
            text = b'"}}'
        yield text + b"]}]," + compact(merged(self._settings(attempt), task.extra))[1:]

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
