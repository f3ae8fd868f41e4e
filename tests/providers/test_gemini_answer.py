"""What an answer of the native format means."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchbanana.providers import Choice, Link
from batchbanana.providers.gemini import Gemini
from batchbanana.providers.tables import FINISH_REASONS
from batchbanana.task import Billed, Charge, Failure, FailureKind, Outcome
from tests.providers.building import attempt, data_uri, document, image, judged, picture, received, text

WHOLE = picture()  # just what `attempt` asks for
DRAFT = picture(512)
USAGE = {"candidatesTokenCount": 1320, "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}]}
TEXT_USAGE = {"candidatesTokenCount": 9, "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": 9}]}


def chosen(answer: object) -> tuple[int | Link, ...]:
    """Give the images that an answer delivers, the one that counts first."""
    choice = judged(answer)
    assert isinstance(choice, Choice)
    return (choice.main, *choice.extras)


def failed(answer: object, length: int | None = None) -> Failure:
    failure = judged(answer, length=length)
    assert isinstance(failure, Failure)
    assert 0 < len(failure.message) <= 300
    assert failure.message.isprintable()
    return failure


def test_an_image_is_delivered_with_what_the_answer_says_of_it() -> None:
    answer = document(text("Here"), image(WHOLE), usageMetadata=USAGE, modelVersion="nano")
    assert judged(answer) == Choice(main=0, model_version="nano", charge=Charge(image_tokens=1120))


def test_snake_case_is_read_as_well() -> None:
    part = {"inline_data": {"mime_type": "image/png", "data": image(WHOLE)["inlineData"]["data"]}}  # type: ignore[index]  # a dict
    answer = {"candidates": [{"content": {"parts": [part]}, "finish_reason": "STOP"}], "model_version": "nano"}
    assert judged(answer) == Choice(main=0, model_version="nano")
    refused = failed({"prompt_feedback": {"block_reason": "OTHER", "block_reason_message": "no"}})
    assert refused.kind is FailureKind.REFUSED


def test_a_list_of_one_answer_is_an_answer() -> None:
    assert chosen([document(image(WHOLE))]) == (0,)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([image(DRAFT), image(WHOLE)], (1,)),
        ([image(WHOLE), image(DRAFT)], (1,)),
        ([text("one"), image(WHOLE), text("two"), image(WHOLE)], (1, 0)),
        ([image(DRAFT), image(WHOLE), text("two"), image(WHOLE), text("three"), image(DRAFT)], (3, 1, 2)),
        ([image(DRAFT), text(" \n"), image(WHOLE)], (1,)),
        ([image(DRAFT), text("hm", thought=True), image(WHOLE)], (1,)),
        ([image(DRAFT), {"executableCode": {}}, None, image(WHOLE)], (1,)),
        ([image(WHOLE), image(DRAFT, thought=True)], (0,)),
        ([image(DRAFT, thought=True), image(WHOLE)], (1,)),
        ([image(DRAFT, thought=True), image(WHOLE, thought=True)], (1,)),
        ([text("no"), image(WHOLE, thought=True)], (0,)),
        ([image(WHOLE, thoughtSignature="x" * 100_000), text("done")], (0,)),
        ([image(DRAFT)], (0,)),
        ([image(WHOLE), image(WHOLE[:-5])], (0,)),
        ([image(WHOLE), text("two"), image(WHOLE[:-5])], (0,)),
    ],
)
def test_the_last_of_images_back_to_back_counts_and_text_separates_them(
    parts: list[object], expected: tuple[int, ...]
) -> None:
    assert chosen(document(*parts)) == expected


REFUSED = (FailureKind.REFUSED, Outcome.REFUSED, 2)
FILTERED = (FailureKind.NO_IMAGE, Outcome.REFUSED, 2)
GLITCH = (FailureKind.NO_IMAGE, Outcome.FAILED, 2)
CUT = (FailureKind.NO_IMAGE, Outcome.FAILED, 1)
REASONS = {
    "SAFETY": REFUSED,
    "PROHIBITED_CONTENT": REFUSED,
    "BLOCKLIST": REFUSED,
    "SPII": REFUSED,
    "LANGUAGE": REFUSED,
    "IMAGE_PROHIBITED_CONTENT": REFUSED,
    "ESCALATION": REFUSED,
    "MODEL_ARMOR": REFUSED,
    "MISSING_THOUGHT_SIGNATURE": REFUSED,
    "CONTENT_FILTER": REFUSED,
    "IMAGE_SAFETY": FILTERED,
    "RECITATION": FILTERED,
    "IMAGE_RECITATION": FILTERED,
    "STOP": GLITCH,
    "NO_IMAGE": GLITCH,
    "IMAGE_OTHER": GLITCH,
    "OTHER": GLITCH,
    "MAX_TOKENS": CUT,
    "CONTINUATION": CUT,
    "LENGTH": CUT,
    "PUP_LIMITED_DISABLED": (FailureKind.FATAL, Outcome.FAILED, 2),
}


def test_every_reason_of_the_table_is_tested() -> None:
    assert FINISH_REASONS.keys() == REASONS.keys()


UNKNOWN = ["MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "FINISH_REASON_UNSPECIFIED", "NEVER_SEEN_BEFORE", None]


@pytest.mark.parametrize("reason", [*REASONS, *UNKNOWN])
@pytest.mark.parametrize("words", ["", "sorry"])
def test_a_reason_says_what_follows(reason: str | None, words: str) -> None:
    failure = failed(document(text(words), reason=reason))
    assert (failure.kind, failure.final, failure.tries) == REASONS.get(reason or "", GLITCH)
    assert (reason or "no reason given") in failure.message
    if reason:
        assert failed(document(reason=reason.lower())).kind is failure.kind


@pytest.mark.parametrize("reason", ["SAFETY", "OTHER", "BLOCKLIST", "NEVER_SEEN_BEFORE", 7])
def test_a_blocked_prompt_is_refused_whatever_the_reason(reason: object) -> None:
    answer = {"promptFeedback": {"blockReason": reason, "blockReasonMessage": "not so"}}
    failure = failed(answer)
    assert (failure.kind, failure.final, failure.billed) == (FailureKind.REFUSED, Outcome.REFUSED, Billed.NO)
    assert '"not so"' in failure.message


@pytest.mark.parametrize("reason", ["MAX_TOKENS", "NO_IMAGE", "NEVER_SEEN_BEFORE", None])
def test_a_whole_image_stands_in_spite_of_a_glitch(reason: str | None) -> None:
    assert chosen(document(image(DRAFT), reason=reason)) == (0,)


def test_an_image_beside_a_refusal_counts_only_if_it_is_what_was_asked_for() -> None:
    assert chosen(document(image(WHOLE), reason="SAFETY")) == (0,)
    assert failed(document(image(DRAFT), reason="SAFETY")).kind is FailureKind.REFUSED
    assert failed(document(image(WHOLE, thought=True), reason="IMAGE_SAFETY")).final is Outcome.REFUSED


def test_a_thought_does_not_stand_in_for_an_image_that_is_damaged() -> None:
    assert failed(document(image(WHOLE, thought=True), image(b"junk"))).kind is FailureKind.NO_IMAGE


@pytest.mark.parametrize(
    ("answer", "billed"),
    [
        (document(), Billed.UNKNOWN),
        (document(reason="SAFETY"), Billed.NO),
        (document(reason="SAFETY", usageMetadata=USAGE), Billed.YES),
        (document(reason="SAFETY", usageMetadata={"candidatesTokenCount": 12}), Billed.NO),
        (document(reason="SAFETY", usageMetadata={"candidatesTokenCount": 99}), Billed.NO),
        (document(reason="SAFETY", usageMetadata={"candidatesTokenCount": 100}), Billed.UNKNOWN),
        (document(usageMetadata=USAGE), Billed.YES),
        (document(usageMetadata={"promptTokenCount": 12}), Billed.NO),
        (document(usageMetadata={"candidatesTokenCount": "1290"}), Billed.UNKNOWN),
        (document(usageMetadata=TEXT_USAGE), Billed.NO),
        (document(image(b"not a picture")), Billed.YES),
        ({"promptFeedback": {"blockReason": "OTHER"}}, Billed.NO),
        (b"<html>", Billed.UNKNOWN),
    ],
)  # fmt: skip
def test_a_failure_is_billed_by_what_the_answer_says(answer: object, billed: Billed) -> None:
    assert failed(answer).billed is billed


def test_nothing_is_billed_when_the_answer_says_so() -> None:
    answer = document(image(WHOLE), usageMetadata=USAGE)
    answer["candidates"][0]["finishMessage"] = "Unusual. You will not be charged for this."  # type: ignore[index]  # a list
    choice = judged(answer)
    assert isinstance(choice, Choice)
    assert choice.billed is Billed.NO
    broken = json.loads(json.dumps(answer).replace("iVBORw", "AAAAAA"))
    assert failed(broken).billed is Billed.NO


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("####", "bad base64"),
        ("QUJDQUJDQUJDQUJD", "not a picture's"),
        ("", "only 0 bytes"),
        (image(WHOLE[:-1])["inlineData"]["data"], "cut off"),  # type: ignore[index]  # a dict
    ],
)
def test_a_faulty_image_is_no_image_and_its_fault_is_named(data: str, words: str) -> None:
    failure = failed(document({"inlineData": {"data": data}}))
    assert failure.kind is FailureKind.NO_IMAGE
    assert words in failure.message


LINK = Link("https://a.example/x.png")


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([text(f"![image]({data_uri(WHOLE)})")], (0,)),
        ([text(f"Here: {data_uri(WHOLE, 'image/jpg')} bye")], (0,)),
        ([text(f"{data_uri(WHOLE)} and {data_uri(WHOLE)}")], (1, 0)),
        ([text(f"![image]({data_uri(WHOLE)})"), image(WHOLE)], (1,)),
        ([image(WHOLE), text(f"![image]({data_uri(WHOLE)})")], (0,)),
        ([image(b"junk"), text(f"![image]({data_uri(WHOLE)})")], (1,)),
        ([text(f"![image]({data_uri(DRAFT)})"), image(b"junk")], (0,)),
        ([text(f"![image]({data_uri(WHOLE)})", thought=True), image(WHOLE)], (1,)),
        ([text(f"![image]({data_uri(WHOLE)})", thought=True)], (0,)),
        ([text("![image](https://a.example/x.png)")], (LINK,)),
        ([text("![image](https://a.example/x.png)"), text(f"![image]({data_uri(WHOLE)})")], (0,)),
        ([text("![image](/x.png)")], (Link("/x.png"),)),
        ([text("![image](https://a.example/x.png) ![image](/x.png)")], (LINK,)),
        ([image(WHOLE, thought=True), text("![image](http://[::1]/x.png)")], (Link("http://[::1]/x.png"),)),
        ([{"fileData": {"fileUri": "https://a.example/x.png"}}], (LINK,)),
        ([{"file_data": {"file_uri": "https://a.example/x.png", "mime_type": "image/png"}}], (LINK,)),
        ([{"fileData": {"fileUri": "https://a.example/x.png"}}, image(WHOLE)], (0,)),
        ([{"fileData": {"fileUri": "https://a.example/x.png"}}, {"inlineData": {"data": "####"}}], (LINK,)),
    ],
)
def test_an_image_or_address_in_a_text_or_file_part_counts_when_no_better_came(
    parts: list[object], expected: tuple[int | Link, ...]
) -> None:
    assert chosen(document(*parts)) == expected


def test_a_file_that_is_not_on_the_web_is_no_image() -> None:
    assert failed(document({"fileData": {"fileUri": "gs://bucket/x.png"}})).kind is FailureKind.NO_IMAGE


def test_a_number_in_the_place_of_an_image_is_harmless() -> None:
    assert chosen(document(image(WHOLE), {"inlineData": {"data": 0}}, text("x"), {"inlineData": {"data": 0}})) == (0,)
    assert failed(document({"inlineData": {"data": 0}}, {"inlineData": {"data": [{}]}})).kind is FailureKind.NO_IMAGE


def test_text_instead_of_an_image_is_quoted() -> None:
    assert '"I cannot draw that."' in failed(document(text("I cannot\n draw that."))).message


@pytest.mark.parametrize(
    "answer", [b"<html>Sign in</html>", b"{]", b"{a:1}", b"[" * 100, b"[]", b"{}", b"[1]", b"upstream"]
)
def test_what_is_not_an_answer_is_no_image(answer: bytes) -> None:
    assert failed(answer).kind is FailureKind.NO_IMAGE


def test_an_unreadable_document_still_delivers_an_image_that_is_just_what_was_asked_for() -> None:
    data = json.dumps(document(image(WHOLE))).encode()
    assert chosen(data[:-1] + b", oops}") == (0,)
    data = json.dumps(document(image(DRAFT))).encode()
    assert failed(data[:-1] + b", oops}").kind is FailureKind.NO_IMAGE


@pytest.mark.parametrize(
    ("error", "kind", "hint"),
    [
        ({"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "slow down"}, FailureKind.RATE_LIMITED, None),
        ({"status": "UNAVAILABLE", "details": [{"retryDelay": "7s"}]}, FailureKind.UNAVAILABLE, 7.0),
        ({"code": "503", "message": "overloaded"}, FailureKind.UNAVAILABLE, None),
        ({"code": "model_not_found", "message": "No available channel"}, FailureKind.MODEL_GONE, None),
        ({"code": 401, "message": "bad key"}, FailureKind.FATAL, None),
        ("something broke", FailureKind.SERVER_ERROR, None),
    ],
)
def test_an_error_inside_a_200_is_classified_as_an_error(error: object, kind: FailureKind, hint: float | None) -> None:
    failure = failed({"error": error})
    assert (failure.kind, failure.hint, failure.status) == (kind, hint, 200)


def test_a_broken_answer_delivers_a_whole_image_that_is_just_what_was_asked_for() -> None:
    data = json.dumps(document(image(WHOLE), usageMetadata=USAGE)).encode()
    after_image = data.index(b'"', data.index(b'"data": "') + 9) + 1
    for length in range(len(data)):
        verdict = judged(data, length=length)
        if length >= after_image:
            assert isinstance(verdict, Choice)
            assert verdict.main == 0
        else:
            assert isinstance(verdict, Failure)
            assert (verdict.kind, verdict.billed) == (FailureKind.TIMEOUT, Billed.UNKNOWN)


def test_a_broken_answer_with_only_a_draft_is_a_timeout() -> None:
    for parts, missing in (([image(DRAFT)], 1), ([image(DRAFT), image(WHOLE)], 100)):
        data = json.dumps(document(*parts)).encode()
        failure = failed(data, length=len(data) - missing)
        assert (failure.kind, failure.billed) == (FailureKind.TIMEOUT, Billed.UNKNOWN)


def test_the_reader_is_complete_when_the_document_has_closed() -> None:
    reader = Gemini(omit_size=lambda _model: False).reader()
    *most, last = json.dumps(document(image(WHOLE))).encode()
    seen = []
    for data in (bytes(most), bytes([last]), b"more"):
        events = reader.feed(data)
        seen.append((reader.complete, bool(events)))
    assert seen == [(False, True), (True, False), (True, False)]


PARTS = (
    st.sampled_from([WHOLE, DRAFT, WHOLE[:-3], b"junk", b""]).map(image)
    | st.sampled_from([image(WHOLE, thought=True), text("hm", thought=True), text("and"), text(""), {}, None, 3, "x"])
    | st.just({"thoughtSignature": "s" * 70_000})
)
ODD: st.SearchStrategy[object] = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=2) | st.just({})
)
ANSWERS = st.builds(
    document,
    *[st.one_of(PARTS)] * 3,
    reason=st.sampled_from([*FINISH_REASONS, "STOP", None, "NEW"]),
    usageMetadata=ODD | st.just(USAGE),
    modelVersion=ODD,
    promptFeedback=ODD | st.just({"blockReason": None}),
) | st.fixed_dictionaries(
    {},
    optional={
        name: ODD
        | st.fixed_dictionaries({}, optional={"content": ODD, "parts": ODD, "error": ODD, "finishReason": ODD})
        for name in ("candidates", "promptFeedback", "usageMetadata", "error")
    },
)
SPELLINGS = st.sampled_from(
    [lambda data: data, lambda data: data.replace(b"/", rb"\/"), lambda data: data.replace(b"=", rb"\u003d")]
)


@given(data=st.data(), answer=ANSWERS, indent=st.sampled_from([None, 2]), keep=st.floats(0, 1) | st.just(1.0))
def test_the_verdict_never_depends_on_how_the_answer_was_cut(
    data: st.DataObject, answer: object, indent: int | None, keep: float
) -> None:
    body = data.draw(SPELLINGS)(json.dumps(answer, indent=indent).encode())
    body = body[: round(len(body) * keep)]
    cuts = tuple(data.draw(st.lists(st.integers(0, len(body)), max_size=12)))
    whole, cut = (Gemini(omit_size=lambda _model: False).reader() for _ in range(2))
    files, images = received(whole, body)
    assert received(cut, body, cuts) == (files, images)
    assert cut.complete == whole.complete
    verdict = whole.judge(attempt(), images)
    assert cut.judge(attempt(), images) == verdict
    if isinstance(verdict, Choice):
        assert all(isinstance(it, Link) or images[it].picture for it in (verdict.main, *verdict.extras))
    else:
        assert verdict.message.isprintable()


@given(st.binary(max_size=300), st.sampled_from([b"", b'{"candidates":', b'{"candidates":[{"content":{"parts":[']))
def test_any_bytes_give_a_failure_and_no_exception(junk: bytes, start: bytes) -> None:
    failed(start + junk)
