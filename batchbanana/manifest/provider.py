"""Whom a manifest asks, within which limits, and what can be said in that service's words."""

import re
from collections.abc import Iterable
from dataclasses import fields
from urllib.parse import urlsplit

from batchbanana.manifest.faults import Faults
from batchbanana.manifest.forms import read_prices
from batchbanana.manifest.section import Section
from batchbanana.manifest.values import Job, LimitSettings, ProviderSettings

PROVIDER_KEYS = tuple(field.name for field in fields(ProviderSettings))
LIMIT_KEYS = tuple(field.name for field in fields(LimitSettings))
MUTE = "none"  # the dialect that has no words for ratio and size; the one without any other word
DIALECTS = (MUTE, "image_config", "google_extra_body", "suffix")
_MUTE_BRINGS = {"1:1", "1K"}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def read_provider(section: Section | None) -> ProviderSettings:
    """Read `provider`."""
    if section is None:
        return ProviderSettings()
    section.refuse_secrets()
    env = section.text("api_key_env")
    if env is not None and not _VARIABLE.fullmatch(env):
        section.fault("api_key_env", "`api_key_env` is the name of an environment variable such as BANANA_KEY")
    wire = section.choice("format", ("gemini", "openai")) or "gemini"
    if wire == "gemini" and "dialect" in section:
        section.fault("dialect", "`dialect` is for `format: openai` only: add that or take it out")
    return ProviderSettings(
        format=wire,
        base_url=_base_url(section),
        api_key_env=env,
        auth=section.choice("auth", ("bearer", "google")),
        dialect=section.choice("dialect", DIALECTS),
        price=read_prices(section, "price"),
    )


def read_limits(section: Section | None) -> LimitSettings:
    """Read `limits`."""
    if section is None:
        return LimitSettings()
    return LimitSettings(
        concurrency=section.whole("concurrency", 10_000) or LimitSettings().concurrency,
        requests_per_minute=section.whole("requests_per_minute"),
        images_per_minute=section.whole("images_per_minute"),
        requests_per_day=section.whole("requests_per_day"),
        spend_per_10_minutes=section.money("spend_per_10_minutes", least=1),
        max_cost=section.money("max_cost", least=1),
        max_possibly_billed=section.money("max_possibly_billed", least=1),
    )


def is_google(base_url: str | None) -> bool:
    """Whether requests that go to an address go to Google itself, as they do without any."""
    if base_url is None:
        return True
    try:
        host = urlsplit(base_url).hostname or ""
    except ValueError:  # no address at all, which is told where it is used
        return False
    return host == "googleapis.com" or host.endswith(".googleapis.com")


def check_dialect(jobs: Iterable[Job], provider: ProviderSettings, faults: Faults) -> None:
    """Refuse what a dialect cannot say: without words for it the images would be 1:1 at 1K, and paid for in vain."""
    if provider.format != "openai" or provider.dialect not in {None, MUTE}:
        return
    named = "`dialect: none`" if provider.dialect else "`format: openai` without a `dialect`"
    others = ", ".join(dialect for dialect in DIALECTS if dialect != MUTE)
    for job in jobs:
        for cells in (job, *job.include):
            asked = {*(ratio for ratio in cells.ratios if ratio), *cells.resolutions} - _MUTE_BRINGS
            if asked:
                shown = ", ".join(sorted(asked))
                remedy = f"keep to 1:1 and 1K, or set `provider.dialect` to one of {others}"
                faults.add(cells.line, f"{named} cannot ask for {shown}: {remedy}")


def _base_url(section: Section) -> str | None:
    """Read the address; it is never quoted back, since people paste keys into it."""
    url = section.text("base_url")
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        sound = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        sound = False
    if not sound or re.search(r"\s", url):
        section.fault("base_url", "`base_url` must be an address such as https://api.example.com")
    elif parts.username or parts.password or parts.query or parts.fragment:
        section.fault("base_url", "`base_url` must have no user, password, `?` or `#`: keep only host and path")
    else:
        return url
    return None
