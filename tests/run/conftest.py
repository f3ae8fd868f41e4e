"""What holds after every scenario of this folder, whatever it was about."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.program import assert_no_key


@pytest.fixture(autouse=True)
def _the_key_is_in_no_file(tmp_path: Path) -> Iterator[None]:
    yield
    assert_no_key(tmp_path)
