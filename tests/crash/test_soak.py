"""A few seconds of soaking in each run of the tests, so that the command stays alive; an hour is for the command."""

import sys
from pathlib import Path

import pytest

from tests.crash.soak import FAULTS, Look, judge_growth, soak


@pytest.mark.skipif(sys.platform != "linux", reason="a process is looked at in /proc")
def test_a_run_in_all_faults_at_once_keeps_its_books_right(tmp_path: Path) -> None:
    told = soak(tmp_path, minutes=0.1, is_short=True)
    assert "| minutes | memory MB |" in told
    assert f"{len(FAULTS)} faults at 2% each, 0.1 minutes: " in told
    assert " 0 images" not in told


def looks(growth: float) -> list[Look]:
    """Look at a process once a second that holds so many bytes more each time."""
    return [
        Look(seconds=float(second), memory=round(10**8 + growth * second), descriptors=50, threads=20)
        for second in range(100)
    ]


def test_what_grows_with_the_time_is_seen() -> None:
    judge_growth(looks(0))
    with pytest.raises(AssertionError, match="memory grew"):
        judge_growth(looks(200_000))
