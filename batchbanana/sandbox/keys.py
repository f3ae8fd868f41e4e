"""How a request proves who it is."""

from collections.abc import Mapping
from urllib.parse import parse_qs

from batchbanana.sandbox.problems import PROBLEMS, Problem, Refusal, invalid


def named(headers: Mapping[str, str]) -> str:
    """Name the proof that came along: google, bearer or none."""
    if "x-goog-api-key" in headers:
        return "google"
    return "bearer" if headers.get("authorization", "").lower().startswith("bearer ") else "none"


def admit(headers: Mapping[str, str], query: str, keys: tuple[str, ...]) -> None:
    """Check the proof; `headers` have lower-case names, no `keys` means that any will do.

    Raises:
        Refusal: two proofs, a key in the URL, none at all, or one that is not accepted.
    """
    google_key, bearer = headers.get("x-goog-api-key"), headers.get("authorization")
    if "key" in parse_qs(query, keep_blank_values=True):
        raise Refusal(invalid("API keys in the URL are not accepted. Send one in a header."))
    if google_key is not None and bearer is not None:
        raise Refusal(invalid("Multiple authentication credentials received. Please pass only one."))
    if google_key:
        _known(google_key, keys, PROBLEMS["bad_key"])
    elif bearer and bearer.lower().startswith("bearer ") and bearer[7:].strip():
        _known(bearer[7:].strip(), keys, PROBLEMS["bad_token"])
    else:
        raise Refusal(PROBLEMS["no_key" if bearer is None else "unauthenticated"])


def _known(key: str, keys: tuple[str, ...], problem: Problem) -> None:
    if keys and key not in keys:
        raise Refusal(problem)
