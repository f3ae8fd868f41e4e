"""The sandbox remembers what it saw, and its quota is exact in every window."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchbanana.sandbox.books import Books, Quota
from batchbanana.sandbox.problems import Refusal
from batchbanana.sandbox.rules import QuotaRule
from tests.sandbox.client import JPEG_MODEL, PNG_MODEL, request, sandbox

_GAPS = st.lists(st.integers(0, 40), min_size=1, max_size=40)


def _times(gaps: list[int]) -> list[float]:
    return [float(sum(gaps[: at + 1])) for at in range(len(gaps))]


@given(gaps=_GAPS)
def test_the_densest_minute_is_found(gaps: list[int]) -> None:
    books, times = Books(), _times(gaps)
    for at in times:
        books.arrive(at=at, time=0, path="/", auth="none")
    assert books.bill()["max_starts_in_60s"] == max(sum(at - 60 < other <= at for other in times) for at in times)


@given(gaps=_GAPS, limit=st.integers(1, 4))
def test_no_window_of_a_minute_holds_more_than_the_quota_and_the_hint_is_exact(gaps: list[int], limit: int) -> None:
    quota = Quota(QuotaRule(requests_per_minute=limit))
    admitted: list[float] = []
    for at in _times(gaps):
        if sum(at - 60 < other <= at for other in admitted) < limit:
            quota.admit(at)
            admitted.append(at)
        else:
            with pytest.raises(Refusal) as caught:
                quota.admit(at)
            assert caught.value.problem.retry_delay == admitted[-limit] + 60 - at


def test_a_full_minute_is_a_429_that_says_when_it_frees() -> None:
    with sandbox(quota={"requests_per_minute": 2}) as caller:
        answers = [caller.ask() for _ in range(3)]
        bill, seen = caller.handle.bill(), caller.handle.requests()[-1]
    error = answers[-1].json()["error"]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert "PerMinute" in error["details"][0]["violations"][0]["quotaId"]
    assert 59 < float(error["details"][1]["retryDelay"].removesuffix("s")) <= 60
    assert 59 < seen["retry_at"] <= 61
    assert bill == {
        "requests": 3,
        "accepted": 2,
        "billed": 2,
        "micro_usd": 67_200,
        "max_starts_in_60s": 3,
        "status": {"200": 2, "429": 1},
        "downloads": 0,
    }


def test_a_full_day_names_the_day() -> None:
    with sandbox(quota={"requests_per_day": 1}) as caller:
        caller.ask()
        error = caller.ask().json()["error"]
    assert "PerDay" in error["details"][0]["violations"][0]["quotaId"]
    assert float(error["details"][1]["retryDelay"].removesuffix("s")) > 86_000


def test_refused_requests_take_no_place_in_the_quota() -> None:
    with sandbox(quota={"requests_per_minute": 1}) as caller:
        assert [caller.ask(body).status_code for body in ("no object", None, None)] == [400, 200, 429]


@pytest.mark.parametrize(
    ("model", "size", "price"),
    [
        (PNG_MODEL, "4K", 75_600),
        (PNG_MODEL, None, 33_600),
        (JPEG_MODEL, "512", 45_000),
        ("gemini-3-pro-image", "4K", 240_000),
    ],
)
def test_a_request_is_remembered_with_its_price(model: str, size: str | None, price: int) -> None:
    with sandbox() as caller:
        caller.ask(request("a cup", aspectRatio="4:5", imageSize=size), model=model)
        (seen,) = caller.handle.requests()
    assert 0 <= seen.pop("at") < 10
    assert seen.pop("time") > 1.7e9
    assert seen == {
        "kind": "generate",
        "n": 1,
        "path": f"/v1beta/models/{model}:generateContent",
        "model": model,
        "prompt": "a cup",
        "ratio": "4:5",
        "resolution": size,
        "references": 0,
        "auth": "bearer",
        "status": 200,
        "accepted": True,
        "billed": True,
        "micro_usd": price,
        "in_flight_at_arrival": 1,
        "retry_at": None,
    }


def test_requests_under_way_at_once_are_counted() -> None:
    with sandbox(latency=0.2) as caller, ThreadPoolExecutor(5) as pool:
        for future in [pool.submit(caller.ask) for _ in range(5)]:
            assert future.result().status_code == 200
        caller.ask()
        flights = [seen["in_flight_at_arrival"] for seen in caller.handle.requests()]
    assert flights == [1, 2, 3, 4, 5, 1]
