"""Where requests go and how they prove who sends them."""

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx

from batchbanana.errors import NeedsPersonError, UsageError

SHORTEST_SECRET = 6  # characters of a key's beginning that are worth hiding
CUT = r"(?=\u2026|\.\.\.|\W*$)"  # where a quotation was cut, or the text ends

GOOGLE = "https://generativelanguage.googleapis.com"
GOOGLE_HOSTS = (".googleapis.com",)
LOOPBACK = {"localhost", "127.0.0.1", "::1"}
VERSIONS = ("/v1beta/openai", "/v1beta", "/v1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where requests go and how they prove who sends them.

    Attributes:
        base: without version or slash at the end.
        key: never shown; it is kept out of the value's text.
    """

    base: str
    auth: str
    key: str = field(repr=False)

    @property
    def host(self) -> str:
        """The host alone."""
        return urlsplit(self.base).hostname or ""

    @classmethod
    def build(cls, base_url: str | None, auth: str | None, key: str) -> "Endpoint":
        """Check and normalise what the user gave.

        Raises:
            UsageError: the base URL is not one.
            NeedsPersonError: the key cannot be a key.
        """
        base = _normal_base(base_url or GOOGLE)
        host = urlsplit(base).hostname or ""
        return cls(base=base, auth=auth or ("google" if is_google(host) else "bearer"), key=_checked_key(key))

    def headers(self) -> dict[str, str]:
        """Give the one header that authenticates."""
        return {"x-goog-api-key": self.key} if self.auth == "google" else {"authorization": f"Bearer {self.key}"}

    def hide(self, text: str) -> str:
        """Take the key out of a text that a server wrote: some quote the headers they were sent.

        A quotation may have been cut in the middle of the key, so a beginning of it before a cut is taken out as well.
        """
        text = text.replace(self.key, "[key]")
        for length in range(len(self.key) - 1, SHORTEST_SECRET - 1, -1):
            text = re.sub(re.escape(self.key[:length]) + CUT, "[key]", text)
        return text


def is_google(host: str) -> bool:
    """Whether a host is Google's own."""
    return host.endswith(GOOGLE_HOSTS)


def _normal_base(url: str) -> str:
    wrong = UsageError(f"base_url {url!r} is not a URL such as https://api.example.com; correct it")
    try:
        parts = urlsplit(url.strip())
        valid = parts.scheme in {"http", "https"} and httpx.URL(url.strip()).host and parts.port != 0
    except (ValueError, httpx.InvalidURL):  # a port that is none, a bracket that does not close
        raise wrong from None
    if not valid or any(character.isspace() for character in url.strip()):
        raise wrong
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UsageError(
            "base_url must hold no user name, password, query or fragment; the key comes from the environment"
        )
    path = parts.path.rstrip("/")
    for version in VERSIONS:
        path = path.removesuffix(version).rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path}"


def _checked_key(key: str) -> str:
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise NeedsPersonError("The API key is empty or has characters that no key has; set it again")
    return key
