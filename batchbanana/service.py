"""Whom a manifest asks: the endpoint with its key, and the provider that speaks its format."""

from collections.abc import Mapping

from batchbanana.errors import NeedsPersonError
from batchbanana.manifest import ProviderSettings
from batchbanana.models import Registry
from batchbanana.providers import Provider
from batchbanana.providers.gemini import Gemini
from batchbanana.providers.openai import OpenAI
from batchbanana.transport import Endpoint, is_google

KEY_VARIABLES = ("GEMINI_API_KEY", "GOOGLE_API_KEY")


def find_key(settings: ProviderSettings, environment: Mapping[str, str]) -> str:
    """Take the API key from the environment.

    Raises:
        NeedsPersonError: there is none.
    """
    names = (settings.api_key_env,) if settings.api_key_env else KEY_VARIABLES
    for name in names:
        if environment.get(name, "").strip():
            return environment[name]
    raise NeedsPersonError(f"No API key: set {' or '.join(names)} in the environment, or try it out with --sandbox")


def endpoint(settings: ProviderSettings, base_url: str | None, key: str) -> Endpoint:
    """Say where requests go; a `base_url` that is given wins over the manifest's.

    Raises:
        UsageError: the address is none.
        NeedsPersonError: the key cannot be one.
    """
    # Google takes its own header in its own format only.
    auth = settings.auth or ("bearer" if settings.format == "openai" else None)
    return Endpoint.build(base_url or settings.base_url, auth, key)


def provider(settings: ProviderSettings, registry: Registry, endpoint: Endpoint) -> Provider:
    """Make the provider of a manifest's format."""

    def omit_size(model: str) -> bool:
        return registry.find(model).omit_size

    if settings.format == "openai":
        root = "/v1beta/openai" if is_google(endpoint.host) else "/v1"
        return OpenAI(dialect=settings.dialect or "none", omit_size=omit_size, path=f"{root}/chat/completions")
    return Gemini(omit_size=omit_size)
