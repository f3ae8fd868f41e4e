"""The chat format that relays speak beside or instead of the native one."""

from collections.abc import Callable, Mapping

from batchbanana.providers import Reader, Request
from batchbanana.providers.errors import classify
from batchbanana.task import Attempt, Failure


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
        """Build the request for an attempt."""
        raise NotImplementedError

    def reader(self) -> Reader:
        """Make a reader for the body of a 200."""
        raise NotImplementedError

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """Classify any other answer."""
        return classify(status, headers, body)
