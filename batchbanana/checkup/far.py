"""The way to the service: address, key, proxy, certificates, what it answers, and its clock."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from batchbanana.checkup.check import Check, bad, ok, warn
from batchbanana.errors import Exit, NeedsPersonError
from batchbanana.manifest import ProviderSettings
from batchbanana.matrix import Matrix
from batchbanana.providers.errors import classify
from batchbanana.record import span
from batchbanana.service import KEY_VARIABLES, endpoint, find_key, provider
from batchbanana.task import Attempt, FailureKind
from batchbanana.transport import Answer, End, Endpoint, Lanes, is_google
from batchbanana.transport.endpoint import LOOPBACK
from batchbanana.transport.guard import is_loopback

SHORT_KEY = 20  # characters; keys of this service and of relays are about 40 to 60
LONG_KEY = 100
CLOCK_TOLERANCE = 300.0  # seconds; signed addresses and certificates are mostly good for that much
NO_LIST = {404, 405, 501}  # the address of the list is not served, which says nothing of the models
PASSING = {
    FailureKind.RATE_LIMITED,
    FailureKind.UNAVAILABLE,
    FailureKind.SERVER_ERROR,
    FailureKind.TIMEOUT,
    FailureKind.DAY_QUOTA,
}
NAMES_SHOWN = 3  # of a model that is asked for by several
SERVICE = "service"


def check_endpoint(settings: ProviderSettings, served: Endpoint, chosen: str | None) -> Check:
    """Tell where requests go, who said so, and in which format; `chosen` by the command, if it was."""
    source = chosen or ("the manifest" if settings.base_url else "the default")
    dialect = f", dialect {settings.dialect or 'none'}" if settings.format == "openai" else ""
    return ok("endpoint", f"{served.base} (from {source}), format {settings.format}{dialect}")


def check_auth(served: Endpoint) -> Check:
    """Tell which header bears the key."""
    if served.auth == "google":
        if not is_google(served.host) and served.host not in LOOPBACK:
            return warn("auth", "the key goes in x-goog-api-key, which few relays take; try `auth: bearer`")
        return ok("auth", "the key goes in the header x-goog-api-key")
    return ok("auth", "the key goes in the header Authorization, as a bearer token")


def check_key(settings: ProviderSettings, environment: Mapping[str, str]) -> tuple[Check, str | None]:
    """Look at the key; gives it, or None when there is none to ask with."""
    try:
        key = find_key(settings, environment)
        endpoint(settings, None, key)
    except NeedsPersonError as error:
        return bad("key", str(error), Exit.PERSON), None
    names = (settings.api_key_env,) if settings.api_key_env else KEY_VARIABLES
    name = next(name for name in names if environment.get(name) == key)
    bare = key.strip()
    if bare[0] in "\"'" or bare[-1] in "\"'":
        return warn("key", f"{name} begins or ends with a quotation mark, which no key does; set it without"), key
    if len(bare) < SHORT_KEY:
        return warn("key", f"{name} is set, but shorter than {SHORT_KEY} characters; see that it is whole"), key
    long = len(bare) > LONG_KEY
    length = f"more than {LONG_KEY}" if long else f"{SHORT_KEY} to {LONG_KEY}"
    return ok("key", f"{name} is set, {length} printable characters"), key


def check_proxy(served: Endpoint) -> Check:
    """Tell which of the environment's proxies stands between, as far as the environment says."""
    proxies = getproxies()
    scheme = next((name for name in (urlsplit(served.base).scheme, "all") if proxies.get(name)), None)
    if is_loopback(served.host):
        return ok("proxy", "none; this machine is asked directly")
    if scheme is None:
        return ok("proxy", "none is set")
    variable = f"{scheme.upper()}_PROXY"
    if proxy_bypass(served.host):
        return ok("proxy", f"{variable} is set, but NO_PROXY takes {served.host} out")
    try:
        return ok("proxy", f"{variable} sends this host's requests through {_masked(proxies[scheme])}")
    except ValueError:
        return bad("proxy", f"{variable} is not an address; correct or unset it", Exit.PERSON)


def _masked(proxy: str) -> str:
    """Write a proxy's address without name and password."""
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    port = f":{parts.port}" if parts.port is not None else ""
    return f"{parts.scheme}://{'***@' if '@' in parts.netloc else ''}{parts.hostname or ''}{port}"


def check_certificates(served: Endpoint, environment: Mapping[str, str]) -> Check:
    """Tell which authorities are trusted, and whether they can be read."""
    name = "certificates"
    if not served.base.startswith("https"):
        if served.host in LOOPBACK:
            return ok(name, "none are needed on this machine")
        return warn(name, "the base URL is plain http: whoever is on the way can read the key; use https")
    for variable, read in (("SSL_CERT_FILE", _read_file), ("SSL_CERT_DIR", _read_folder)):
        if path := environment.get(variable):
            try:
                read(Path(path))
            except OSError as error:
                text = f"{variable} names {path}, which cannot be read ({error.strerror}); correct or unset it"
                return bad(name, text, Exit.PERSON)
            return ok(name, f"those of {variable} are trusted: {path}")
    return ok(name, "the usual authorities are trusted; SSL_CERT_FILE would name others")


def _read_file(path: Path) -> None:
    path.read_bytes()


def _read_folder(path: Path) -> None:
    next(path.iterdir(), None)


async def ask(served: Endpoint, settings: ProviderSettings) -> Answer:
    """Ask the service for its list of models.

    Raises:
        NeedsPersonError: the certificates or the proxy of the environment cannot be used.
    """
    lane = Lanes(served).open()
    try:
        return await lane.get(_list_path(served, settings))
    finally:
        await lane.close()


def _list_path(served: Endpoint, settings: ProviderSettings) -> str:
    if settings.format == "openai":
        return "/v1beta/openai/models" if is_google(served.host) else "/v1/models"
    return "/v1beta/models?pageSize=1000"  # a page is 50 otherwise


def names_asked(matrix: Matrix, served: Endpoint) -> dict[str, list[str]]:
    """Give the names by which requests ask for each model of a plan; one dialect says ratio and size in them."""
    settings = matrix.manifest.provider
    if settings.dialect != "suffix":
        return {model.id: [model.id] for model in matrix.manifest.models}
    examples = {(task.model, task.ratio, task.resolution): task for task in matrix}
    speaks = provider(settings, matrix.registry, served)
    names: dict[str, list[str]] = {}
    for task in examples.values():  # the provider alone knows how it writes a name, so it is taken from its request
        attempt = Attempt(id=0, task=replace(task, references=(), extra={}), rung=task.rungs[0])
        body = b"".join(part for part in speaks.request(attempt).body if isinstance(part, bytes))
        names.setdefault(task.model, []).append(json.loads(body)["model"])
    return {model: list(dict.fromkeys(written)) for model, written in names.items()}


def check_answer(served: Endpoint, answer: Answer, models: Mapping[str, Sequence[str]]) -> list[Check]:
    """Say what the answer to `ask` means for the service and for each of the models, as `names_asked` gives them."""
    if answer.end is End.TLS:
        remedy = "check base_url, or set SSL_CERT_FILE to your network's CA file"
        return [bad(SERVICE, f"{served.host}: {answer.problem}; {remedy}", Exit.PERSON)]
    if answer.status is None or (answer.end is not End.WHOLE and answer.status == 200):
        text = f"{served.host}: {answer.problem}; check base_url, the network and the proxy"
        return [bad(SERVICE, text, Exit.PERSON)]
    if answer.status in NO_LIST:
        return [_silent(f"it offers no list of models ({answer.status})")]
    if answer.status != 200:
        return [_refused(served, answer)]
    listed = read_list(answer.body)
    if listed is None:
        return [_silent("what it answers is no list of models")]
    names, whole = listed
    if not names:
        return [_silent("its list of models names none")]
    answered = ok(SERVICE, f"{served.host} answers and lists {len(names)} models")
    whole = whole and is_google(served.host)  # any other may serve more than it lists
    return [answered, *(_check_model(model, asked, names, whole=whole) for model, asked in models.items())]


def _silent(why: str) -> Check:
    return warn(SERVICE, f"it answers, but {why}; only --probe can tell whether the models are served")


def _refused(served: Endpoint, answer: Answer) -> Check:
    body = answer.body.replace(served.key.encode(), b"[key]")  # before anything is cut or quoted
    failure = classify(answer.status or 0, answer.headers, body)
    message = served.hide(failure.message)
    if failure.kind in PASSING:
        return warn(SERVICE, f"it answers, but not now: {message}; a run would wait and ask again")
    return bad(SERVICE, message, Exit.PERSON)


def read_list(body: bytes) -> tuple[frozenset[str], bool] | None:
    """Read the names of models, in either format, and whether they are all there; None when it is no such list."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    entries = document.get("models", document.get("data"))
    if not isinstance(entries, list):
        return None
    told = (_name(entry) for entry in entries if isinstance(entry, dict))
    return frozenset(_bare(name) for name in told if name), not document.get("nextPageToken")


def _name(entry: Mapping[str, object]) -> str | None:
    """Read a model's name: OpenRouter's list has an id for the wire and a name for people, others only one of them."""
    return next((name for name in (entry.get("id"), entry.get("name")) if isinstance(name, str) and name), None)


def _bare(name: str) -> str:
    return name.removeprefix("models/").removeprefix("google/").casefold()


def _check_model(model: str, asked: Sequence[str], listed: frozenset[str], *, whole: bool) -> Check:
    name = f"model {model}"
    missing = [written for written in asked if _bare(written) not in listed]
    if not missing:
        return ok(name, "is listed" if asked == [model] else f"is listed as {_some(asked)}")
    told = "is not in" if missing == [model] else f"is asked for as {_some(missing)}, which is not in"
    if not whole:
        return warn(name, f"{told} the list, which may not be all; --probe tells whether it is served")
    return bad(name, f"{told} the service's list; choose another `model`, or another `base_url`", Exit.PERSON)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


def check_clock(answer: Answer, now: datetime) -> Check:
    """Compare this machine's clock with the server's."""
    try:
        told = parsedate_to_datetime(answer.headers.get("date", ""))
        seconds = (now - (told if told.tzinfo else told.replace(tzinfo=UTC))).total_seconds()
    except (ValueError, TypeError, OverflowError):  # whatever a server writes there
        return ok("clock", "the server does not tell its time")
    if abs(seconds) <= CLOCK_TOLERANCE:
        return ok("clock", "it agrees with the server's")
    side = "ahead of" if seconds > 0 else "behind"
    return warn(
        "clock", f"it is {span(abs(seconds))} {side} the server's, which breaks TLS and signed addresses; set it"
    )
