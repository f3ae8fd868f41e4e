"""What every part of a manifest's reading shares."""

from dataclasses import dataclass
from pathlib import Path

from batchbanana.manifest.faults import Faults
from batchbanana.manifest.files import Library
from batchbanana.models import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The manifest's folder, the models, the images already read, and the faults so far."""

    base: Path
    registry: Registry
    faults: Faults
    library: Library
