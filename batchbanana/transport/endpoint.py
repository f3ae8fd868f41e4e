"""Where requests go and how they prove who sends them."""

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx

from batchbanana.errors import NeedsPersonError, UsageError
from batchbanana.transport.secret import Secret

GOOGLE = "https://generativelanguage.googleapis.com"
GOOGLE_HOSTS = (".googleapis.com",)
LOOPBACK = {"localhost", "127.0.0.1", "::1"}
VERSIONS = ("/v1beta/openai", "/v1beta", "/v1")
# What documents show behind the base, and people paste along with it. A bare `/models` may be a relay's own path.
PASTED = re.compile(r"/chat/completions$|/models/[^/]+:[A-Za-z]+$|(?<=/v1)/models$|(?<=/v1beta)/models$")


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

    def shares(self, other: "Endpoint | None") -> bool:
        """Whether another's requests count for the same limits: the same host sees the same key."""
        return other is not None and (self.host, self.key) == (other.host, other.key)

    @classmethod
    def build(cls, base_url: str | None, auth: str | None, key: str) -> "Endpoint":
        """Check and normalise what the user gave.

        Raises:
            UsageError: the base URL is not one, or holds the key; it is never quoted, since people paste keys into it.
            NeedsPersonError: the key cannot be a key.
        """
        base = _normal_base(base_url or GOOGLE)
        if Secret(key.strip()).is_in(base):
            raise UsageError("base_url must not hold the API key, which comes from the environment; take it out")
        host = urlsplit(base).hostname or ""
        return cls(base=base, auth=auth or ("google" if is_google(host) else "bearer"), key=_checked_key(key))

    def headers(self) -> dict[str, str]:
        """Give the one header that authenticates."""
        return {"x-goog-api-key": self.key} if self.auth == "google" else {"authorization": f"Bearer {self.key}"}

    @property
    def secret(self) -> Secret:
        """The key as what must not be told."""
        return Secret(self.key)

    def hide(self, text: str) -> str:
        """Take the key out of a text that a server wrote: some quote the headers they were sent."""
        return self.secret.hide(text)


def is_google(host: str) -> bool:
    """Whether a host is Google's own."""
    return host.endswith(GOOGLE_HOSTS)


def _normal_base(url: str) -> str:
    wrong = UsageError("base_url is not a URL such as https://api.example.com; correct it")
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
    path = PASTED.sub("", parts.path.rstrip("/")).rstrip("/")
    for version in VERSIONS:
        path = path.removesuffix(version).rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path}"


def _checked_key(key: str) -> str:
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise NeedsPersonError("The API key is empty or has characters that no key has; set it again")
    return key
