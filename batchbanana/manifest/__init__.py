"""YAML and CSV text → `Manifest`, every fault with file and line."""

from batchbanana.manifest.faults import Faults
from batchbanana.manifest.provider import is_google
from batchbanana.manifest.reading import read
from batchbanana.manifest.registry import builtin, load_registry
from batchbanana.manifest.values import Axis, Exclusion, Job, LimitSettings, Manifest, Pick, ProviderSettings

__all__ = [
    "Axis",
    "Exclusion",
    "Faults",
    "Job",
    "LimitSettings",
    "Manifest",
    "Pick",
    "ProviderSettings",
    "builtin",
    "is_google",
    "load_registry",
    "read",
]
