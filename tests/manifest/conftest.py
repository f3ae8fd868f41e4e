"""Manifests in a temporary folder."""

from collections.abc import Callable
from pathlib import Path

import pytest

from batchbanana.errors import ManifestError
from batchbanana.matrix import Matrix, load

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 8
JPEG = b"\xff\xd8\xff\xe0" + b"\0" * 12

Load = Callable[..., Matrix]
FaultsOf = Callable[..., list[str]]


def load_text(folder: Path, text: str | bytes, name: str = "m.yaml", max_tasks: int = 1_000_000) -> Matrix:
    """Write a manifest and load it."""
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load(path, max_tasks=max_tasks)


@pytest.fixture(name="load_manifest")
def _load_manifest(tmp_path: Path) -> Load:
    """Load a manifest's text from the test's own folder."""
    return lambda text, name="m.yaml", **options: load_text(tmp_path, text, name, **options)


@pytest.fixture
def faults_of(tmp_path: Path) -> FaultsOf:
    """List a manifest's faults as `line: message`, with the file before it where it is another one."""

    def found(text: str | bytes, name: str = "m.yaml", **options: int) -> list[str]:
        with pytest.raises(ManifestError) as caught:
            load_text(tmp_path, text, name, **options)
        prefix = f"{tmp_path}/"
        return [str(fault).removeprefix(prefix).removeprefix(f"{name}:").strip() for fault in caught.value.faults]

    return found
