"""The chat format that relays speak beside or instead of the native one."""

from collections.abc import Callable, Iterator, Mapping

from batchbanana.providers import Reader, Request
from batchbanana.providers.body import check_extra, compact, headers, merged
from batchbanana.providers.chat_answer import read_answer, use_of
from batchbanana.providers.errors import classify
from batchbanana.providers.reader import AnswerReader
from batchbanana.task import Attempt, Failure, Reference

OWN_KEYS = frozenset({"messages", "model", "stream", "n"})
"""What `extra` may not set: prompt, references and model are the task's own, and one whole image is asked for."""

UNSAID = frozenset({"1:1", "1K"})  # what no suffix means at relays that put ratio and size into a model's name


class OpenAI:
    """Builds requests for chat completions and reads their answers.

    Args:
        dialect: how ratio and size are said: none, image_config, google_extra_body or suffix.
        omit_size: given a model's wire id: whether it takes no size.
        path: below the base URL.
    """

    def __init__(self, *, dialect: str, omit_size: Callable[[str], bool], path: str = "/v1/chat/completions") -> None:
        self._dialect = dialect
        self._omit_size = omit_size
        self._path = path

    def request(self, attempt: Attempt) -> Request:
        """Build the request for an attempt.

        Raises:
            UsageError: the task's `extra` sets what is not its to set.
        """
        check_extra(attempt.task, OWN_KEYS)
        return Request(path=self._path, headers=headers(attempt), body=tuple(self._body(attempt)))

    def reader(self) -> Reader:
        """Make a reader for the body of a 200."""
        return AnswerReader(use_of, read_answer)

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """Classify any other answer."""
        return classify(status, headers, body)

    def _body(self, attempt: Attempt) -> Iterator[bytes | Reference]:
        """Write the body around the references, whose base64 is filled in as it is sent."""
        task = attempt.task
        settings = merged({"model": self._model(attempt), "stream": False, **self._settings(attempt)}, task.extra)
        text = compact(settings)[:-1] + b',"messages":[{"role":"user","content":'
        if not task.references:  # some relays take nothing but a string
            yield text + compact(task.prompt) + b"}]}"
            return
        text += b"[" + compact({"type": "text", "text": task.prompt})
        for reference in task.references:
            start = compact(f"data:{reference.mime};base64,")[:-1]
            yield text + b',{"type":"image_url","image_url":{"url":' + start
            yield reference
            text = b'"}}'
        yield text + b"]}]}"

    def _size(self, attempt: Attempt) -> str | None:
        return None if self._omit_size(attempt.task.model) else attempt.rung.resolution

    def _model(self, attempt: Attempt) -> str:
        """Name the model; one dialect says ratio and size in its name, `-16x9-2k`."""
        told = [attempt.task.ratio, self._size(attempt)] if self._dialect == "suffix" else []
        suffixes = [f"-{word.replace(':', 'x').lower()}" for word in told if word and word not in UNSAID]
        return attempt.task.model + "".join(suffixes)

    def _settings(self, attempt: Attempt) -> dict[str, object]:
        """Say ratio and size in the body, in the dialects that do."""
        told = {"aspect_ratio": attempt.task.ratio, "image_size": self._size(attempt)}
        image = {name: word for name, word in told.items() if word}
        if self._dialect == "image_config":
            config = {"image_config": image} if image else {}
            return {"modalities": ["image", "text"], **config}
        if self._dialect == "google_extra_body" and image:
            return {"extra_body": {"google": {"image_config": image}}}
        return {}
