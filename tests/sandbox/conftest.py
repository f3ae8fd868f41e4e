"""What holds for every test here."""

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _nothing_fails_inside(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever a client does, the sandbox itself never has an error to log."""
    yield
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
