"""What an answer of the chat format means."""

import base64

import pytest

from batchbanana.providers import Choice, Link
from batchbanana.providers.errors import LONGEST_HINT
from batchbanana.providers.tables import FINISH_REASONS
from batchbanana.task import Billed, Charge, Failure, FailureKind, Outcome
from tests.providers.building import OPENAI, chat, data_uri, document, image, judged, picture

WHOLE = picture()  # just what `attempt` asks for
DRAFT = picture(512)
URI, SMALL = data_uri(WHOLE), data_uri(DRAFT)
RAW = base64.b64encode(WHOLE).decode()
LINK = "https://a.example/x.png"
K = FailureKind


def chosen(answer: object) -> tuple[int | Link, ...]:
    """Give the images that an answer delivers, the one that counts first."""
    choice = judged(answer, provider=OPENAI)
    assert isinstance(choice, Choice), choice
    return (choice.main, *choice.extras)


def failed(answer: object, length: int | None = None) -> Failure:
    failure = judged(answer, length=length, provider=OPENAI)
    assert isinstance(failure, Failure)
    assert 0 < len(failure.message) <= 300
    assert failure.message.isprintable()
    return failure


PLACES: dict[str, object] = {
    "markdown": chat({"content": f"Here: ![x]({URI}) bye"}),
    "bare": chat({"content": URI}),
    "raw": chat({"content": RAW}),
    "list of strings": chat({"content": ["Here", URI]}),
    "part of text": chat({"content": [{"type": "text", "text": f"![x]({URI})"}]}),
    "image_url part": chat({"content": [{"type": "image_url", "image_url": {"url": URI}}]}),
    "image_url string": chat({"content": [{"type": "image_url", "image_url": URI}]}),
    "output_image": chat({"content": [{"type": "output_image", "imageUrl": {"url": URI}}]}),
    "image": chat({"content": [{"type": "image", "image": RAW}]}),
    "image object": chat({"content": {"image": {"b64_json": RAW}}}),
    "b64_json": chat({"content": [{"type": "b64_json", "b64_json": RAW}]}),
    "source": chat({"content": [{"type": "image", "source": {"type": "base64", "data": RAW}}]}),
    "images": chat({"content": None, "images": [{"type": "image_url", "image_url": {"url": URI}}]}),
    "images b64": chat({"content": "", "images": [{"b64Json": RAW}]}),
    "images url": chat({"images": [{"url": URI}]}),
    "images strings": chat({"images": [URI]}),
    "delta": {"choices": [{"delta": {"content": URI}}]},
    "message is a list": {"choices": {"message": [{"content": URI}]}},
    "endpoint": {"created": 1, "data": [{"b64_json": RAW}]},
    "endpoint with a data URI": {"data": [{"url": URI}]},
    "wrapped": {"code": 0, "data": chat({"content": URI})},
    "response": {"output": [{"type": "image_generation_call", "result": RAW}]},
    "list of one": [chat({"content": URI})],
    "native": document(image(WHOLE)),
    "unknown place": {"elsewhere": {"b64_json": RAW}},
}


@pytest.mark.parametrize("place", PLACES)
def test_image_data_is_found_wherever_it_hides(place: str) -> None:
    assert chosen(PLACES[place]) == (0,)


@pytest.mark.parametrize(
    "answer",
    [
        chat({"content": LINK}),
        chat({"content": f"Here: ![x]({LINK})"}),
        chat({"content": [{"type": "image_url", "image_url": {"url": LINK}}]}),
        chat({"content": [{"type": "image_url", "image_url": LINK}]}),
        chat({"content": None, "images": [LINK, {"url": LINK}]}),
        {"data": [{"url": LINK, "revised_prompt": "a cat"}]},
        document({"fileData": {"mimeType": "image/png", "fileUri": LINK}}),
    ],
)
def test_an_address_is_found_wherever_it_stands_and_counts_once(answer: object) -> None:
    assert chosen(answer) == (Link(LINK),)


def test_where_an_image_should_stand_any_address_is_one() -> None:
    assert chosen({"data": [{"url": "https://a.example/id"}]}) == (Link("https://a.example/id"),)
    assert chosen({"data": [{"url": "https://a.example/[1]."}]}) == (Link("https://a.example/[1]."),)
    assert failed(chat({"content": "see https://a.example/id"})).kind is K.NO_IMAGE
    assert failed({"data": [{"url": "javascript:alert(1)"}]}).kind is K.NO_IMAGE


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"content": f"![a]({SMALL}) ![b]({URI})"}, (1,)),
        ({"content": f"![a]({URI}) and ![b]({URI})"}, (1, 0)),
        ({"content": f"one {URI} two {SMALL} {URI} three"}, (2, 0)),
        ({"content": f"![a]({URI}) and ![a]({LINK})"}, (0,)),
        ({"content": f"![a]({LINK})", "images": [URI]}, (0,)),
        ({"images": [LINK], "content": "![a](https://a.example/draft.png)"}, (Link(LINK),)),
        ({"content": f"![a]({data_uri(b'junk')}) ![a]({LINK})"}, (Link(LINK),)),
        ({"content": f"![a]({LINK}) ![a]({LINK}?2)"}, (Link(f"{LINK}?2"),)),
        ({"content": f"![a]({LINK}) or ![a]({LINK}?2)"}, (Link(f"{LINK}?2"), Link(LINK))),
        ({"content": "![a](/files/1.png)"}, (Link("/files/1.png"),)),
        ({"content": f"![a]({LINK}) ![logo](/logo.png)"}, (Link(LINK),)),
        ({"content": "![a](attachment://1.png)", "unknown": [{"b64_json": URI}]}, (0,)),
        (
            {"content": "![a](//a.example/1.png) or ![b](ftp://a.example/2.png)"},
            (Link("ftp://a.example/2.png"), Link("//a.example/1.png")),
        ),
        ({"content": "Here you are", "images": [{"image_url": {"url": SMALL}}, {"image_url": {"url": URI}}]}, (1,)),
        ({"images": [URI], "content": [{"thought": True, "text": SMALL}]}, (0,)),
        ({"images": [SMALL, "pending", URI]}, (1,)),
        ({"content": [URI, {"thought": True, "text": URI}]}, (0,)),
        ({"content": [{"thought": True, "text": URI}]}, (0,)),
    ],
)
def test_which_image_counts(message: object, expected: tuple[int | Link, ...]) -> None:
    assert chosen(chat(message)) == expected


def test_an_image_is_delivered_with_what_the_answer_says_of_it() -> None:
    usage = {"completion_tokens": 0, "completion_tokens_details": {"image_tokens": 1290}, "cost": 0.0391234567}
    choice = judged(chat({"content": URI}, model="nano", usage=usage), provider=OPENAI)
    assert choice == Choice(
        main=0, model_version="nano", charge=Charge(image_tokens=1290, micro_usd=39_124), billed=Billed.YES
    )


@pytest.mark.parametrize("reason", sorted(FINISH_REASONS))
@pytest.mark.parametrize("field", ["finish_reason", "native_finish_reason", "nativeFinishReason"])
def test_each_finish_reason_is_classified_by_its_row_in_any_case(reason: str, field: str) -> None:
    row = FINISH_REASONS[reason]
    answer = {"choices": [{"finish_reason": "stop", field: reason.lower(), "message": {"content": None}}]}
    failure = failed(answer)
    assert (failure.kind, failure.final, failure.tries) == (row.kind, row.final, row.tries)
    assert reason.lower() in failure.message


@pytest.mark.parametrize(
    ("finish", "native", "kind", "tries"),
    [
        ("content_filter", None, K.REFUSED, 2),
        ("content_filter", "IMAGE_SAFETY", K.NO_IMAGE, 2),
        ("content_filter", "never_seen", K.REFUSED, 2),
        ("stop", "PROHIBITED_CONTENT", K.REFUSED, 2),
        ("content_filter", "STOP", K.NO_IMAGE, 2),
        ("length", None, K.NO_IMAGE, 1),
        ("stop", None, K.NO_IMAGE, 2),
        (None, None, K.NO_IMAGE, 2),
        ("tool_calls", 7, K.NO_IMAGE, 2),
        ({}, [], K.NO_IMAGE, 2),
    ],
)
def test_the_native_reason_is_preferred(finish: object, native: object, kind: FailureKind, tries: int) -> None:
    answer = {"choices": [{"finish_reason": finish, "native_finish_reason": native, "message": {"content": "no"}}]}
    failure = failed(answer)
    assert (failure.kind, failure.tries) == (kind, tries)


@pytest.mark.parametrize(
    "message",
    [
        {"content": None, "refusal": "I can't help with that"},
        {"content": [{"type": "refusal", "refusal": "I can't help with that"}]},
    ],
)
def test_a_refusal_is_quoted(message: object) -> None:
    failure = failed(chat(message))
    assert (failure.kind, failure.final, failure.billed) == (K.REFUSED, Outcome.REFUSED, Billed.NO)
    assert "I can't help with that" in failure.message


def test_an_image_beside_a_refusal_counts_only_if_it_is_what_was_asked_for() -> None:
    assert chosen(chat({"content": URI}, "content_filter")) == (0,)
    assert failed(chat({"content": SMALL}, "content_filter")).kind is K.REFUSED
    assert failed(chat({"content": f"![x]({LINK})"}, "content_filter")).kind is K.REFUSED


@pytest.mark.parametrize(
    ("usage", "billed"),
    [
        (None, Billed.UNKNOWN),
        ({"completion_tokens": 0}, Billed.NO),
        ({"completionTokens": "0"}, Billed.NO),
        ({"output_tokens": 0}, Billed.NO),
        ({"prompt_tokens": 5}, Billed.UNKNOWN),
        ({"completion_tokens": 12}, Billed.NO),
        ({"completion_tokens": 99}, Billed.NO),
        ({"completion_tokens": 100}, Billed.UNKNOWN),
        ({"completion_tokens": 9, "completion_tokens_details": {"image_tokens": 0}}, Billed.NO),
        ({"completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 9}}, Billed.NO),
        ({"completion_tokens": 747, "completion_tokens_details": {"reasoning_tokens": 9}}, Billed.UNKNOWN),
        ({"completion_tokens": 1290, "completion_tokens_details": {"image_tokens": 1290}}, Billed.YES),
        ({"output_tokens": 1290, "output_tokens_details": {"image_tokens": 1290}}, Billed.YES),
        ([], Billed.UNKNOWN),
    ],
)
def test_a_failure_is_billed_by_what_the_usage_says(usage: object, billed: Billed) -> None:
    assert failed(chat({"content": "no"}, usage=usage)).billed is billed


@pytest.mark.parametrize(
    ("error", "kind", "hint"),
    [
        ({"code": 429, "message": "slow down"}, K.RATE_LIMITED, None),
        ({"code": 502, "message": "Provider returned error", "metadata": {"raw": "gone"}}, K.SERVER_ERROR, None),
        ({"code": "rate_limit_exceeded", "message": "slow"}, K.RATE_LIMITED, None),
        ({"type": "insufficient_quota", "message": "no"}, K.FATAL, None),
        ({"type": "authentication_error", "message": "no"}, K.FATAL, None),
        ({"type": "overloaded_error", "message": "no"}, K.UNAVAILABLE, None),
        ({"code": "content_policy_violation", "message": "no"}, K.REFUSED, None),
        ({"code": "model_not_found", "message": "no"}, K.MODEL_GONE, None),
        ({"code": 403, "message": "your input was flagged"}, K.REFUSED, None),
        (
            {
                "code": 429,
                "message": "Provider returned error",
                "metadata": {"raw": '{"error":{"details":[{"retryDelay":"7s"}]}}'},
            },
            K.RATE_LIMITED,
            7.0,
        ),
        ("something broke", K.SERVER_ERROR, None),
        ({}, K.NO_IMAGE, None),
        (None, K.NO_IMAGE, None),
    ],
)
@pytest.mark.parametrize("place", ["top", "choice"])
def test_an_error_inside_a_200_is_classified_as_an_error(
    error: object, kind: FailureKind, hint: float | None, place: str
) -> None:
    choice = {"finish_reason": None, "message": {"content": ""}}
    answer = {"error": error, "choices": []} if place == "top" else {"choices": [{**choice, "error": error}]}
    failure = failed(answer)
    assert (failure.kind, failure.hint, failure.status) == (kind, hint, 200)
    assert hint is None or hint < LONGEST_HINT


def test_an_error_may_stand_at_the_top_without_its_name() -> None:
    assert failed({"code": 429, "message": "slow down"}).kind is K.RATE_LIMITED
    assert failed({"code": 0, "message": "success"}).kind is K.NO_IMAGE


def test_an_image_beside_an_error_counts_only_if_it_is_what_was_asked_for() -> None:
    error = {"code": 502, "message": "cut"}
    assert chosen({**chat({"content": URI}), "error": error}) == (0,)
    assert failed({**chat({"content": SMALL}), "error": error}).kind is K.SERVER_ERROR
    assert failed({**chat({"content": LINK}), "error": error}).kind is K.SERVER_ERROR


def test_text_instead_of_an_image_is_quoted() -> None:
    assert '"I cannot draw that."' in failed(chat({"content": "I cannot\n draw that."})).message


@pytest.mark.parametrize(
    "answer",
    [
        {},
        [],
        {"choices": None},
        {"choices": [None, 3, "x"]},
        {"choices": [{"message": None}]},
        chat({"content": None}),
        chat({"content": [None, 3, {"type": "new"}], "images": None}),
        {"data": [{"b64_json": None}]},
        {"data": 7},
        b"<html>Sign in</html>",
        b"data: {}",
        b"[1]",
    ],
)
def test_what_holds_no_image_is_no_image(answer: object) -> None:
    failure = failed(answer)
    assert (failure.kind, failure.billed) == (K.NO_IMAGE, Billed.UNKNOWN)


def test_a_faulty_image_is_no_image_and_its_fault_is_named() -> None:
    failure = failed({"data": [{"b64_json": "####"}]})
    assert (failure.kind, failure.billed) == (K.NO_IMAGE, Billed.YES)
    assert "bad base64" in failure.message


def test_an_answer_that_breaks_off_is_a_timeout_unless_its_image_or_address_is_whole() -> None:
    cut = b'{"choices":[{"message":{"content":"![x](' + URI.encode()
    assert failed(cut).kind is K.TIMEOUT
    assert chosen(cut + b")") == (0,)
    assert chosen(cut + b')"') == (0,)
    assert failed(cut.replace(URI.encode(), SMALL.encode()) + b") and").kind is K.TIMEOUT
    link = b'{"choices":[{"message":{"content":"' + LINK.encode()
    assert failed(link).kind is K.TIMEOUT
    assert failed(b'{"error":{"code":429,"message":"slow down"},"mor').kind is K.RATE_LIMITED
    assert chosen(link + b'"') == (Link(LINK),)
