"""A picture behind an address is served to anybody, is never billed, and can be as hard to get as anything else."""

import re
from typing import Any

import httpx
import pytest

from batchbanana.sandbox.downloads import Downloads
from tests.sandbox.client import JPEG_MODEL, PNG_MODEL, Caller, look, parts, request, sandbox


def _url(caller: Caller, **options: Any) -> str:
    """Ask in the native format, and give the address in the answer."""
    (part,) = parts(caller.ask(request(), **options).json())
    found = re.fullmatch(r"!\[image\]\((http://[^)]+)\)", part["text"])
    assert found is not None
    return found[1]


def test_a_native_answer_can_give_an_address_instead_of_the_image() -> None:
    with sandbox({"image": "url"}, pictures="drawn") as caller:
        first, second = _url(caller), _url(caller, model=JPEG_MODEL)
        one, two = httpx.get(first, trust_env=False), httpx.get(second, trust_env=False)
    assert [first, second] == [f"{caller.handle.url}/sandbox/images/{name}" for name in ("1.png", "2.jpg")]
    assert (one.headers["content-type"], two.headers["content-type"]) == ("image/png", "image/jpeg")
    assert int(one.headers["content-length"]) == len(one.content)
    assert (look(one.content)[0], look(two.content)[0]) == ("PNG", "JPEG")


def test_the_address_is_at_the_host_that_the_client_named() -> None:
    with sandbox({"image": "url"}) as caller:
        assert _url(caller, headers={"host": "banana.test:1"}).startswith("http://banana.test:1/sandbox/images/")


def test_a_download_is_in_the_books_but_in_no_total_of_theirs() -> None:
    with sandbox({"image": "url"}, quota={"requests_per_minute": 1}) as caller:
        url = _url(caller)
        for headers in ({}, {"authorization": "Bearer leaked"}, {"x-goog-api-key": "leaked"}):
            assert httpx.get(url, headers=headers, trust_env=False).status_code == 200
        rows, bill = caller.handle.requests(), caller.handle.bill()
    assert [(row["kind"], row["n"], row["auth"], row["status"]) for row in rows] == [
        ("generate", 1, "bearer", 200),
        ("download", 1, "none", 200),
        ("download", 2, "bearer", 200),
        ("download", 3, "google", 200),
    ]
    assert [row["path"] for row in rows[1:]] == ["/sandbox/images/1.png"] * 3
    assert [row["billed"] for row in rows] == [True, False, False, False]
    assert bill == {
        "requests": 1,
        "accepted": 1,
        "billed": 1,
        "micro_usd": 33_600,
        "max_starts_in_60s": 1,
        "status": {"200": 1},
        "downloads": 3,
    }


def test_the_label_lies_at_the_download_and_truncation_and_padding_show_there() -> None:
    with sandbox({"image": "url", "label": "image/webp", "truncate": 9}, bytes=3000) as caller:
        answer = caller.client.get(_url(caller))
    assert (answer.headers["content-type"], len(answer.content)) == ("image/webp", 2991)


def test_the_same_picture_can_be_in_one_answer_and_behind_the_address_of_the_next() -> None:
    with sandbox({"when": {"nth": 2}, "then": {"image": "url"}}) as caller:
        assert caller.image() == caller.client.get(_url(caller)).content


def test_a_picture_that_is_not_there_is_a_404() -> None:
    with sandbox() as caller:
        assert caller.client.get("/sandbox/images/1.png").status_code == 404
        (row,) = caller.handle.requests()
    assert (row["kind"], row["status"]) == ("download", 404)


def test_a_download_can_fail_a_few_times_and_each_picture_counts_for_itself() -> None:
    with sandbox({"image": "url", "download": {"status": 503, "first": 2}}) as caller:
        first, second = _url(caller), _url(caller)
        assert [caller.client.get(first).status_code for _ in range(4)] == [503, 503, 200, 200]
        assert caller.client.get(second).status_code == 503
        assert caller.handle.bill()["billed"] == 2


def test_a_download_can_be_sent_elsewhere() -> None:
    with sandbox({"image": "url", "download": {"redirect": "http://192.0.2.1/x"}}) as caller:
        answer = caller.client.get(_url(caller))
    assert (answer.status_code, answer.headers["location"]) == (302, "http://192.0.2.1/x")


def test_a_download_can_hang_until_the_client_leaves() -> None:
    with sandbox({"image": "url", "download": {"hang": True}}) as caller:
        with pytest.raises(httpx.ReadTimeout):
            caller.client.get(_url(caller), timeout=0.2)
        assert caller.handle.requests()[-1]["status"] is None


def test_a_download_can_be_cut() -> None:
    body = bytearray()
    with sandbox({"image": "url", "download": {"cut": 0.5}}, bytes=2000) as caller:
        url = _url(caller)
        with pytest.raises(httpx.RemoteProtocolError):
            _pour(caller, url, body)
    assert len(body) == 1000


def _pour(caller: Caller, url: str, into: bytearray) -> None:
    with caller.client.stream("GET", url) as answer:
        for piece in answer.iter_raw():
            into += piece


def _keep(downloads: Downloads, data: bytes) -> str:
    return downloads.keep(data, mime="image/png", label="image/png", effect=None)


def _there(downloads: Downloads, paths: list[str]) -> list[bool]:
    return [downloads.fetch(path)[0].status == 200 for path in paths]


def test_only_so_many_pictures_are_kept_and_the_oldest_goes_first() -> None:
    downloads = Downloads(most=2)
    assert _there(downloads, [_keep(downloads, b"x") for _ in range(3)]) == [False, True, True]


def test_only_so_many_bytes_are_kept_but_always_the_newest_picture() -> None:
    downloads = Downloads(most_bytes=10)
    paths = [_keep(downloads, b"x" * size) for size in (5, 5, 1)]
    assert _there(downloads, paths) == [False, True, True]
    assert _there(downloads, [*paths, _keep(downloads, b"x" * 99)]) == [False, False, False, True]


def test_a_large_answer_with_an_address_is_small() -> None:
    with sandbox({"image": "url"}, bytes=1_000_000) as caller:
        assert len(caller.ask(model=PNG_MODEL).content) < 1000
