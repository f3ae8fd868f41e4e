"""When a run ends although there is more to do."""

from datetime import UTC, datetime

import pytest

from batchbanana.deadline import after, until

NOW = datetime(2026, 11, 22, 22, 30, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("23:00", datetime(2026, 11, 22, 23, 0, tzinfo=UTC)),
        ("07:00", datetime(2026, 11, 23, 7, 0, tzinfo=UTC)),
        ("7:05", datetime(2026, 11, 23, 7, 5, tzinfo=UTC)),
        ("22:30", datetime(2026, 11, 23, 22, 30, tzinfo=UTC)),
        ("00:00", datetime(2026, 11, 23, 0, 0, tzinfo=UTC)),
    ],
)
def test_an_hour_is_the_next_one_to_come(text: str, expected: datetime) -> None:
    deadline = until(text, NOW)
    assert deadline is not None
    assert deadline.moment == expected.timestamp()


@pytest.mark.parametrize("text", ["", "24:00", "7", "7:5", "07:60", "seven", "07:00:00", " 07:00"])
def test_what_is_no_hour_is_refused(text: str) -> None:
    assert until(text, NOW) is None


@pytest.mark.parametrize(
    ("text", "seconds"), [("90m", 5400), ("2h", 7200), ("1h30m", 5400), ("1h 30m", 5400), ("45s", 45), ("1h2m3s", 3723)]
)
def test_a_span_is_counted_from_now(text: str, seconds: int) -> None:
    deadline = after(text, NOW)
    assert deadline is not None
    assert deadline.moment == NOW.timestamp() + seconds


@pytest.mark.parametrize("text", ["", " ", "90", "0m", "m", "1d", "30m1h", "-5m", "1.5h"])
def test_what_is_no_span_is_refused(text: str) -> None:
    assert after(text, NOW) is None
