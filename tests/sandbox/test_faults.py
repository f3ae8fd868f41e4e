"""Every effect of a script shows on the wire as it is written."""

import base64
import json
import time
from email.utils import formatdate
from typing import Any

import httpx
import pytest

from batchbanana.sandbox.problems import PROBLEMS
from tests.sandbox.client import JPEG_MODEL, images, look, parts, request, sandbox, trickle


def _answer(**effects: object) -> Any:
    with sandbox(effects) as caller:
        return caller.ask(request(imageSize="2K")).json()


@pytest.mark.parametrize("name", sorted(PROBLEMS))
def test_a_documented_error_comes_as_documented_and_costs_nothing(name: str) -> None:
    with sandbox({"error": name}) as caller:
        answer = caller.ask()
        (seen,) = caller.handle.requests()
    problem = PROBLEMS[name]
    assert answer.status_code == problem.status == seen["status"]
    assert answer.text == problem.body if isinstance(problem.body, str) else answer.json() == problem.body
    assert (seen["accepted"], seen["billed"], seen["micro_usd"]) == (False, False, 0)


def test_an_error_can_say_when_to_come_back() -> None:
    with sandbox({"error": "rate_minute", "retry_delay": 55.2}) as caller:
        details = caller.ask().json()["error"]["details"]
        (seen,) = caller.handle.requests()
    assert "PerMinute" in details[0]["violations"][0]["quotaId"]
    assert [detail["retryDelay"] for detail in details if "retryDelay" in detail] == ["55.2s"]
    assert 55.2 <= seen["retry_at"] - seen["at"] <= 56


def test_a_retry_after_is_sent_in_seconds_or_as_a_date_and_remembered() -> None:
    date = formatdate(time.time() + 120, usegmt=True)
    rules: list[dict[str, object]] = [
        {"when": {"nth": 1}, "then": {"status": 503, "retry_after": 7}},
        {"then": {"retry_after": date}},
    ]
    with sandbox(*rules) as caller:
        assert [caller.ask().headers["retry-after"] for _ in range(2)] == ["7", date]
        first, second = caller.handle.requests()
    assert 7 <= first["retry_at"] - first["at"] <= 8
    assert 118 <= second["retry_at"] - second["at"] <= 121


@pytest.mark.parametrize(
    ("effects", "status", "body"),
    [
        ({"status": 418, "body": {"a": [None]}}, 418, '{"a": [null]}'),
        ({"status": 502, "body": "nope"}, 502, "nope"),
        ({"body": {"candidates": None}}, 200, '{"candidates": null}'),
        ({"html": "<html>wait</html>"}, 200, "<html>wait</html>"),
        ({"status": 204}, 204, ""),
        ({"redirect": "https://example.com/x"}, 302, ""),
    ],
)
def test_an_answer_can_be_anything(effects: dict[str, object], status: int, body: str) -> None:
    with sandbox({**effects, "headers": {"X-Relay": "yes"}}) as caller:
        answer = caller.ask()
        assert caller.ask().status_code == status
    assert (answer.status_code, answer.text, answer.headers["x-relay"]) == (status, body, "yes")


def test_a_status_alone_gets_a_plain_error_that_may_come_in_a_list() -> None:
    with sandbox({"status": 503, "list": True}) as caller:
        assert caller.ask().json()[0]["error"]["status"] == "UNAVAILABLE"


def test_a_redirect_names_its_goal_and_html_its_type() -> None:
    with sandbox({"when": {"nth": 1}, "then": {"redirect": "https://example.com/x"}}, {"html": True}) as caller:
        assert caller.ask().headers["location"] == "https://example.com/x"
        assert caller.ask().headers["content-type"].startswith("text/html")


def test_a_draft_of_1k_comes_straight_before_the_real_image() -> None:
    assert [look(image)[1] for image in images(_answer(draft=True))] == [(1024, 1024), (2048, 2048)]


def test_a_thought_comes_first_and_says_so() -> None:
    assert [part.get("thought") for part in parts(_answer(thought=True))] == [True, None]


def test_texts_make_two_deliverables_and_a_text_can_be_added() -> None:
    assert [next(iter(part)) for part in parts(_answer(texts=True))] == ["inlineData", "text", "inlineData"]
    assert parts(_answer(text="Sorry.", image="none")) == [{"text": "Sorry."}]
    assert parts(_answer(image="none")) == []


@pytest.mark.parametrize(
    ("effects", "pixels"),
    [
        ({"size": "1K"}, (1024, 1024)),
        ({"ratio": "16:9"}, (2752, 1536)),
        ({"pixels": [1408, 768]}, (1408, 768)),
        ({"size": 512, "ratio": "8:1"}, (1536, 192)),
    ],
)
def test_another_picture_than_asked_for_can_come(effects: dict[str, object], pixels: tuple[int, int]) -> None:
    assert look(images(_answer(**effects))[0])[1] == pixels


def test_the_label_and_the_version_can_lie() -> None:
    answer = _answer(label="image/webp", version="gemini-other")
    assert parts(answer)[0]["inlineData"]["mimeType"] == "image/webp"
    assert (answer["modelVersion"], look(images(answer)[0])[0]) == ("gemini-other", "PNG")


def test_a_finish_other_than_stop_takes_the_image_away_unless_it_is_kept() -> None:
    with sandbox(
        {"when": {"nth": 1}, "then": {"finish": "IMAGE_SAFETY", "message": "You will not be charged."}},
        {"finish": "MAX_TOKENS", "image": "kept"},
    ) as caller:
        first, second = (caller.ask().json()["candidates"][0] for _ in range(2))
        assert [seen["billed"] for seen in caller.handle.requests()] == [False, True]
    assert "content" not in first
    assert (first["finishReason"], first["finishMessage"]) == ("IMAGE_SAFETY", "You will not be charged.")
    assert (second["finishReason"], len(second["content"]["parts"])) == ("MAX_TOKENS", 1)


def test_a_blocked_prompt_has_no_candidates_and_costs_nothing() -> None:
    with sandbox({"block": "SAFETY"}) as caller:
        answer = caller.ask().json()
        assert caller.handle.bill() | {"accepted": 1, "billed": 0, "micro_usd": 0} == caller.handle.bill()
    assert (answer["promptFeedback"], "candidates" in answer) == ({"blockReason": "SAFETY"}, False)


def test_keys_can_come_in_snake_case_and_the_answer_in_a_list() -> None:
    (answer,) = _answer(snake=True, list=True)
    part = answer["candidates"][0]["content"]["parts"][0]
    assert part["inline_data"]["mime_type"] == "image/png"
    assert answer["usage_metadata"]["candidates_tokens_details"][0]["token_count"] == 1680


def test_a_signature_has_its_size() -> None:
    assert len(base64.b64decode(parts(_answer(signature=5000))[-1]["thoughtSignature"])) == 5000


def test_the_image_can_hide_in_a_text() -> None:
    text = parts(_answer(image="markdown"))[0]["text"]
    head, _, data = text.removesuffix(")").partition(",")
    assert head == "![image](data:image/png;base64"
    assert look(base64.b64decode(data, validate=True))[1] == (2048, 2048)


@pytest.mark.parametrize(
    ("spelling", "trait"),
    [
        ("data_prefix", lambda data: data.startswith("data:image/jpeg;base64,")),
        ("urlsafe", lambda data: set("-_") & set(data) and not set("+/") & set(data)),
        ("nopad", lambda data: len(data) % 4 and "=" not in data),
        ("linebreaks", lambda data: data.index("\n") == 76),
        ("garbage", lambda data: "*** not base64 ***" in data),
    ],
)
def test_base64_can_be_misspelt(spelling: str, trait: Any) -> None:
    with sandbox({"base64": spelling}) as caller:
        answer = caller.ask(model=JPEG_MODEL).json()
    data = parts(answer)[0]["inlineData"]["data"]
    assert trait(data)
    if spelling != "garbage":
        plain = data.rpartition(",")[2].replace("\n", "").translate(str.maketrans("-_", "+/"))
        assert look(base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)) == ("JPEG", (1024, 1024))


def test_bytes_can_be_missing_at_the_end_of_the_image() -> None:
    with sandbox({"when": {"nth": 2}, "then": {"truncate": 9}}) as caller:
        whole, cut = caller.image(), caller.image()
    assert cut == whole[:-9]


@pytest.mark.parametrize("hang", ["before", "headers", "body"])
def test_a_hang_ends_only_when_the_client_leaves(hang: str) -> None:
    """Headers or half of the body arrive, then nothing; it is billed unless it hangs before them."""
    with sandbox({"hang": hang}, bytes=2000) as caller:
        body = bytearray()
        with pytest.raises(httpx.ReadTimeout):
            trickle(caller, body, timeout=0.2)
        (seen,) = caller.handle.requests()
    assert seen["status"] == (None if hang == "before" else 200)
    assert seen["billed"] is (hang != "before")
    assert (len(body) > 1000) is (hang == "body")


def test_a_server_that_stops_ends_all_hangs() -> None:
    started = time.monotonic()
    with sandbox({"hang": "before"}) as caller, pytest.raises(httpx.ReadTimeout):
        caller.ask(timeout=0.1)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("cut", ["before", 0, 0.5, 1])
def test_a_cut_closes_the_connection_there(cut: float | str) -> None:
    body = bytearray()
    with sandbox({"cut": cut}, bytes=2000) as caller:
        with pytest.raises(httpx.RemoteProtocolError):
            trickle(caller, body)
        assert caller.handle.bill()["billed"] == 1
    if cut == 1:
        assert len(images(json.loads(body))) == 1
    else:
        assert (len(body) > 1000) is (cut == 0.5)


def test_the_end_may_never_come_though_the_document_is_whole() -> None:
    body = bytearray()
    with sandbox({"no_end": True}) as caller, pytest.raises(httpx.ReadTimeout):
        trickle(caller, body, timeout=0.2)
    assert len(images(json.loads(body))) == 1


def test_a_drip_takes_the_time_its_rate_gives() -> None:
    with sandbox({"drip": 20_000}, bytes=3000) as caller:
        started = time.monotonic()
        answer = caller.ask()
        seconds = time.monotonic() - started
    assert len(answer.content) / 20_000 <= seconds < 2


def test_delay_comes_on_top_of_the_latency() -> None:
    with sandbox({"delay": 0.1}, latency=0.05, latency_by_size={"2K": 0.15}) as caller:
        started = time.monotonic()
        caller.ask(request(imageSize="2K"))
        assert 0.25 <= time.monotonic() - started < 2


def test_who_pays_can_be_overridden() -> None:
    with sandbox(
        {"when": {"nth": 1}, "then": {"error": "gateway_timeout", "billed": True}}, {"billed": False}
    ) as caller:
        assert [caller.ask().status_code for _ in range(2)] == [504, 200]
        assert [seen["micro_usd"] for seen in caller.handle.requests()] == [33_600, 0]
