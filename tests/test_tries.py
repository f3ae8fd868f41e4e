"""How often a download is tried, and how long it waits in between."""

from collections.abc import Sequence

import pytest

from batchbanana.engines.tries import ENOUGH, LONGEST_HINT, TRIES, Rest, Sign, Trial, Wait, decide, read
from batchbanana.transport import Answer, End


def trials(*signs: Sign, hint: float | None = None) -> list[Trial]:
    return [Trial(sign=sign, reason="", hint=hint) for sign in signs]


P, M, S, U, F = Sign.PASSING, Sign.MISSING, Sign.SPOILT, Sign.UNTRUSTED, Sign.FINAL


@pytest.mark.parametrize(
    ("seen", "most", "follows"),
    [
        ([P], TRIES, Wait(floor=0, spread=1)),
        ([P, P], TRIES, Wait(floor=0, spread=2)),
        ([P, P, P], TRIES, Wait(floor=0, spread=4)),
        ([P, P, P, P], TRIES, Wait(floor=0, spread=8)),
        ([P] * 5, TRIES, Rest.HELD),
        ([P] * 9, 100, Rest.HELD),
        ([M], TRIES, Wait(floor=0.5, spread=0.5)),
        ([M, M], TRIES, Wait(floor=1, spread=1)),
        ([M, M, M], TRIES, Wait(floor=2, spread=2)),
        ([M, M, M, M], TRIES, Wait(floor=4, spread=4)),
        ([M, M, M, M, M], TRIES, Rest.LOST),
        ([M, P, M, P, M], TRIES, Rest.HELD),
        ([P, P, P, P, M], TRIES, Rest.HELD),
        ([S], TRIES, Wait(floor=0.5, spread=0.5)),
        ([S, S], TRIES, Wait(floor=1, spread=1)),
        ([S, S, S], TRIES, Rest.LOST),
        ([S, P, S, S], TRIES, Rest.LOST),
        ([S, P, P, P, S], TRIES, Rest.HELD),
        ([S, S], 2, Rest.LOST),
        ([P, F], TRIES, Rest.LOST),
        ([F], TRIES, Rest.LOST),
        ([U], TRIES, Rest.HELD),
        ([M], 2, Wait(floor=0.5, spread=0.5)),
        ([M, M], 2, Rest.LOST),  # a later run has given it time enough
        ([P, M], 2, Rest.HELD),
        ([P, P], 2, Rest.HELD),
    ],
)
def test_what_may_pass_is_tried_again_and_then_held_and_what_will_not_pass_is_given_up(
    seen: Sequence[Sign], most: int, follows: Wait | Rest
) -> None:
    assert decide(trials(*seen), most) == follows


def test_a_servers_hint_is_honoured_up_to_a_minute_and_waits_never_pass_half_of_that() -> None:
    assert decide(trials(P, hint=7), TRIES) == Wait(floor=7, spread=1)
    assert decide(trials(P, hint=900), TRIES) == Wait(floor=LONGEST_HINT, spread=1)
    for sign in (P, M):
        several = [Trial(sign=F, reason="")] * 20 + trials(sign)
        step = decide(several, 100)
        assert isinstance(step, Wait)
        assert step.floor + step.spread == 30


def test_every_sign_says_when_it_is_enough() -> None:
    assert set(ENOUGH) == set(Sign)


@pytest.mark.parametrize(
    ("answer", "sign", "reason"),
    [
        (Answer(end=End.UNSENT, problem="cannot connect"), P, "cannot connect"),
        (Answer(end=End.LATE, problem="too late"), P, "too late"),
        (Answer(end=End.BROKEN, problem="broke"), P, "broke"),
        (Answer(end=End.BROKEN, status=200, problem="broke"), P, "broke"),
        (Answer(end=End.LATE, status=200, problem="stalled"), P, "stalled"),
        (Answer(end=End.TLS, problem="not trusted"), U, "not trusted; set SSL_CERT_FILE"),
        (Answer(end=End.FORBIDDEN, problem="private"), F, "private"),
        (Answer(end=End.REFUSED_HERE, problem="InvalidURL"), F, "InvalidURL"),
        (Answer(end=End.WHOLE, status=200), S, "no picture"),
        *[(Answer(end=End.WHOLE, status=code), P, str(code)) for code in (202, 408, 425, 429, 500, 501, 503, 599, 799)],
        *[(Answer(end=End.WHOLE, status=code), F, str(code)) for code in (204, 206, 304, 400, 401, 402, 410, 451)],
        *[(Answer(end=End.WHOLE, status=code), M, str(code)) for code in (403, 404)],
        (Answer(end=End.UNREADABLE, status=200, problem="an encoding"), S, "an encoding"),
    ],
)  # fmt: skip
def test_an_answer_is_read_as_one_of_few_signs(answer: Answer, sign: Sign, reason: str) -> None:
    trial = read(answer, "no picture")
    assert trial.sign is sign
    assert reason in trial.reason


def test_the_servers_hint_is_read_from_its_headers() -> None:
    answer = Answer(end=End.WHOLE, status=503, headers={"retry-after": "12"})
    assert read(answer, "").hint == 12
    dated = {"retry-after": "Sun, 22 Nov 2026 10:00:30 GMT", "date": "Sun, 22 Nov 2026 10:00:00 GMT"}
    assert read(Answer(end=End.WHOLE, status=429, headers=dated), "").hint == 30
