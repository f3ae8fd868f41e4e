"""What holds after every scenario of this folder, whatever it was about."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from batchbanana.sandbox.running import Handle, in_thread
from tests.support.program import Job, assert_no_key, manifest


@pytest.fixture(autouse=True)
def _the_key_is_in_no_file(tmp_path: Path) -> Iterator[None]:
    yield
    assert_no_key(tmp_path)


@pytest.fixture
def sandbox() -> Iterator[Handle]:
    with in_thread() as running:
        yield running


@pytest.fixture
def job(tmp_path: Path, sandbox: Handle) -> Job:
    """A finished job of six images."""
    made = Job(tmp_path, sandbox.url, manifest(6))
    assert made.run().code == 0
    return made
