"""When a run ends although there is more to do."""

import time
from datetime import UTC, datetime

import pytest

from batchbanana.deadline import after, until

NOW = datetime.fromisoformat("2026-11-22T22:30:15")  # local time


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("23:00", datetime.fromisoformat("2026-11-22T23:00")),
        ("07:00", datetime.fromisoformat("2026-11-23T07:00")),
        ("7:05", datetime.fromisoformat("2026-11-23T07:05")),
        ("22:30", datetime.fromisoformat("2026-11-23T22:30")),
        ("00:00", datetime.fromisoformat("2026-11-23T00:00")),
    ],
)
def test_an_hour_is_the_next_one_to_come(text: str, expected: datetime) -> None:
    deadline = until(text, NOW)
    assert deadline is not None
    assert deadline.moment == expected.timestamp()


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the system cannot be told another zone")
def test_a_night_in_which_the_clocks_change_ends_at_the_hour_that_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        deadline = until("07:00", datetime.fromisoformat("2026-10-24T23:00"))
        assert deadline is not None
        assert datetime.fromtimestamp(deadline.moment, UTC) == datetime(2026, 10, 25, 6, 0, tzinfo=UTC)
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("text", ["", "24:00", "7", "7:5", "07:60", "seven", "07:00:00", " 07:00"])
def test_what_is_no_hour_is_refused(text: str) -> None:
    assert until(text, NOW) is None


@pytest.mark.parametrize(
    ("text", "seconds"), [("90m", 5400), ("2h", 7200), ("1h30m", 5400), ("1h 30m", 5400), ("45s", 45), ("1h2m3s", 3723)]
)
def test_a_span_is_counted_from_now(text: str, seconds: int) -> None:
    deadline = after(text, lambda: 1000.0)
    assert deadline is not None
    assert deadline.moment == 1000.0 + seconds


@pytest.mark.parametrize("text", ["", " ", "90", "0m", "m", "1d", "30m1h", "-5m", "1.5h"])
def test_what_is_no_span_is_refused(text: str) -> None:
    assert after(text, lambda: 1000.0) is None
