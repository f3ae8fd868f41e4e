"""Errors that come inside a 200, alone or beside an image."""

import pytest

from batchbanana.providers import Choice, Provider
from batchbanana.providers.errors import problem_in, read_document
from batchbanana.providers.tables import FINISH_REASONS, SYNONYMS
from batchbanana.task import Billed, Failure, FailureKind
from tests.providers.building import GEMINI, OPENAI, chat, data_uri, judged, picture

K = FailureKind
EMPTY_ERROR = {"message": "", "type": "", "param": "", "code": None}


@pytest.mark.parametrize("error", [EMPTY_ERROR, {**EMPTY_ERROR, "code": 0, "status": ""}, {}, ""])
def test_an_error_that_says_nothing_is_none(error: object) -> None:
    """A relay puts it beside its images; the image is kept although its ratio is not what was asked."""
    answer = {**chat({"content": data_uri(picture(512))}), "error": error}
    assert judged(answer, provider=OPENAI) == Choice(main=0)
    assert problem_in([{"error": error}]) is None


@pytest.mark.parametrize("error", [{**EMPTY_ERROR, name: "x"} for name in ("message", "type", "code", "status")])
def test_an_error_that_says_anything_is_one(error: dict[str, str]) -> None:
    assert problem_in([{"error": error}]) is not None


IMAGE_USAGE = {"completion_tokens": 1290, "completion_tokens_details": {"image_tokens": 1290}}
LINK = "![x](https://a.example/x.png)"


@pytest.mark.parametrize(
    ("content", "usage", "billed"),
    [
        (data_uri(picture(512)), None, Billed.UNKNOWN),
        (data_uri(picture(512)), {"completion_tokens": 9}, Billed.UNKNOWN),
        (data_uri(picture(512)), IMAGE_USAGE, Billed.YES),
        (LINK, None, Billed.UNKNOWN),
        ("![x](/x.png)", None, Billed.UNKNOWN),
        ("", IMAGE_USAGE, Billed.YES),
        ("", None, Billed.NO),
        ("words", {"completion_tokens": 9}, Billed.NO),
    ],
)
def test_what_was_made_beside_an_error_is_never_counted_as_free(content: str, usage: object, billed: Billed) -> None:
    answer = {**chat({"content": content}, usage=usage), "error": {"code": 502, "message": "cut"}}
    failure = judged(answer, provider=OPENAI)
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.billed) == (K.SERVER_ERROR, billed)


def test_an_image_beside_an_error_is_free_when_the_server_says_so() -> None:
    refused = {"role": "assistant", "content": data_uri(picture(512)), "refusal": "You will not be charged"}
    failure = judged({**chat(refused, usage=IMAGE_USAGE), "error": {"code": 502, "message": "cut"}}, provider=OPENAI)
    assert isinstance(failure, Failure)
    assert failure.billed is Billed.NO


@pytest.mark.parametrize("code", [310, "310", 200, 100, 600, 20001])
@pytest.mark.parametrize("named", [True, False])
def test_a_number_inside_a_200_that_is_no_errors_number_is_no_image(code: object, named: bool) -> None:
    error = {"code": code, "msg": "task queued"}
    answer = {"error": error} if named else error
    failure = judged(answer, provider=OPENAI)
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.billed, failure.status) == (K.NO_IMAGE, Billed.UNKNOWN, 200)
    assert "redirect" not in failure.message
    kept = judged({**chat({"content": data_uri(picture(512))}), **answer}, provider=OPENAI)
    assert kept == Choice(main=0)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": 310, "message": "request blocked by Gemini API: PROHIBITED_CONTENT"}, K.REFUSED),
        ({"code": "prompt_blocked", "message": "no"}, K.REFUSED),
        ({"code": "moderation_blocked", "type": "upstream_error", "message": "no"}, K.REFUSED),
        ({"code": 1113, "message": "insufficient balance"}, K.FATAL),
        ({"type": "budget_exceeded", "message": "no"}, K.FATAL),
        ({"code": 7, "message": "无可用渠道"}, K.MODEL_GONE),
        ({"message": "The model is overloaded"}, K.UNAVAILABLE),
        ({"message": "context deadline exceeded"}, K.TIMEOUT),
        ({"code": "empty_response", "message": "no"}, K.NO_IMAGE),
    ],
)
@pytest.mark.parametrize("provider", [GEMINI, OPENAI])
def test_an_error_inside_a_200_is_of_the_kind_that_its_words_tell(
    provider: Provider, error: object, kind: FailureKind
) -> None:
    failure = judged({"error": error}, provider=provider)
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.status) == (kind, 200)


def test_an_error_that_is_a_string_is_read_beside_a_message_of_the_chat() -> None:
    assert read_document({"error": "broke", "message": {"content": ""}}).message == "broke"
    assert read_document({"error": "broke", "message": ""}).message == "broke"


@pytest.mark.parametrize("reason", ["refusal", "sensitive", "content_policy", "Refusal"])
def test_relays_words_for_a_filter_are_a_refusal(reason: str) -> None:
    failure = judged(chat({"content": None}, reason), provider=OPENAI)
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.billed) == (K.REFUSED, Billed.NO)
    assert reason in failure.message
    near = judged(chat({"content": None}, f"{reason}_checked"), provider=OPENAI)
    assert isinstance(near, Failure)
    assert near.kind is K.NO_IMAGE


def test_every_synonym_stands_for_a_reason_of_the_table() -> None:
    assert set(SYNONYMS.values()) <= FINISH_REASONS.keys()
    assert not SYNONYMS.keys() & FINISH_REASONS.keys()
