"""What `verify` makes of what it reads: the pure part."""

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest

from batchbanana.errors import Exit
from batchbanana.ledger import Image
from batchbanana.task import Billed, Outcome, Picture
from batchbanana.verify import Kind, exit_code
from batchbanana.verify.finding import Seen, judge
from batchbanana.verify.telling import UntoldError, read_line

RECORD: dict[str, object] = {
    "file_name": "images/hero/1.png",
    "key": "0" * 32,
    "job": "hero",
    "prompt": "a mug",
    "variables": {},
    "model": "a-model",
    "ratio": None,
    "resolution": "1K",
    "width": 7,
    "height": 5,
    "mime": "image/png",
    "bytes": 99,
    "sha256": "a" * 64,
    "outcome": "degraded",
    "sample": 1,
    "attempts": 2,
    "cost_usd": 0.045,
    "created": "2026-01-02T03:04:05+00:00",
}
IMAGE = Image(seq=1, key="0" * 32, file="images/hero/1.png", size=99, sha256="a" * 64, record=RECORD)
SEEN = Seen(
    size=99, sha256="a" * 64, picture=Picture(mime="image/png", ending=".png", width=7, height=5), flaw="nothing"
)


def line(**more: object) -> bytes:
    return json.dumps({**RECORD, **more}).encode()


def test_a_file_that_is_what_the_ledger_says_is_all_right() -> None:
    assert judge(IMAGE, SEEN) is None


@pytest.mark.parametrize(
    ("seen", "kind"),
    [
        (replace(SEEN, size=98), Kind.DAMAGED),
        (replace(SEEN, sha256="b" * 64), Kind.DAMAGED),
        (replace(SEEN, picture=None, flaw="the PNG picture is cut off"), Kind.RECORD),
        (replace(SEEN, picture=Picture(mime="image/jpeg", ending=".jpg", width=7, height=5)), Kind.RECORD),
        (replace(SEEN, picture=Picture(mime="image/png", ending=".png", width=8, height=5)), Kind.RECORD),
        (replace(SEEN, picture=Picture(mime="image/png", ending=".png", width=7, height=6)), Kind.RECORD),
    ],
)
def test_only_other_bytes_are_damage_for_bytes_that_were_paid_for_need_not_be_bought_again(
    seen: Seen, kind: Kind
) -> None:
    finding = judge(IMAGE, seen)
    assert finding is not None
    assert (finding.kind, finding.place) == (kind, IMAGE.file)


@pytest.mark.parametrize("changed", [{"file_name": "images/2.png"}, {"bytes": 98}, {"sha256": "b" * 64}])
def test_a_record_that_is_of_another_file_is_told(changed: Mapping[str, object]) -> None:
    finding = judge(replace(IMAGE, record={**RECORD, **changed}), SEEN)
    assert finding is not None
    assert finding.kind is Kind.RECORD


@pytest.mark.parametrize("kind", list(Kind))
def test_the_ledgers_own_faults_end_with_14_all_others_with_13_and_the_ledgers_win(kind: Kind) -> None:
    is_of_ledger = kind in {Kind.UNKNOWN, Kind.LEDGER, Kind.RECORD, Kind.OPEN}
    assert exit_code([kind]) == (Exit.LEDGER if is_of_ledger else Exit.DISK)
    assert exit_code([kind, Kind.OPEN, Kind.MISSING]) == Exit.LEDGER
    assert exit_code([]) == Exit.MADE


def test_a_line_tells_the_outcome_the_file_and_the_money() -> None:
    restored = read_line(line())
    assert read_line(line(extras=["extras/1_x1.png"], replaces="images/0.png")).ending.file == "images/hero/1.png"
    ending = restored.ending
    assert (ending.key, ending.outcome, ending.file) == ("0" * 32, Outcome.DEGRADED, "images/hero/1.png")
    assert (ending.size, ending.sha256, ending.record) == (99, "a" * 64, RECORD)
    assert (restored.cost, restored.billed, restored.resolution, restored.created) == (
        45_000,
        Billed.YES,
        "1K",
        1_767_323_045.0,
    )


@pytest.mark.parametrize(
    ("told", "cost", "billed"), [(None, None, Billed.YES), (0, 0, Billed.NO), (0.0391, 39_100, Billed.YES)]
)
def test_an_unknown_cost_stays_unknown_and_none_means_not_billed(
    told: float | None, cost: int | None, billed: Billed
) -> None:
    restored = read_line(line(cost_usd=told))
    assert (restored.cost, restored.billed) == (cost, billed)


@pytest.mark.parametrize("created", ["2026-01-02T03:04:05", "2026-01-02T04:04:05+01:00"])
def test_a_time_without_a_zone_is_utc(created: str) -> None:
    assert read_line(line(created=created)).created == 1_767_323_045.0


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "is not a JSON object"),
        (json.dumps({name: value for name, value in RECORD.items() if name != "model"}).encode(), "has no model"),
        (line(key="0" * 31), "has no key as a run writes it"),
        (line(key=None), "has no key as a run writes it"),
        (line(sha256="z" * 64), "has no sha256"),
        (line(outcome="failed"), "has no outcome of an image"),
        (line(outcome=[]), "has no outcome of an image"),
        (line(file_name="/etc/passwd"), "below images/"),
        (line(file_name="images"), "below images/"),
        (line(file_name="images/../x.png"), "below images/"),
        (line(file_name="images//x.png"), "below images/"),
        (line(file_name="extras/x.png"), "below images/"),
        (line(file_name=7), "below images/"),
        (line(file_name="images/x\0.png"), "below images/"),
        (line(extras="extras/x.png"), "has no list of extras"),
        (line(extras=["images/x.png"]), "below extras/"),
        (line(replaces="../x.png"), "has no replaces below images/"),
        (line(bytes=True), "has no bytes"),
        (line(bytes=0), "has no bytes"),
        (line(bytes=2**63), "has no bytes"),
        (line(cost_usd=-1), "has no cost_usd"),
        (line(cost_usd="1"), "has no cost_usd"),
        (line(cost_usd=float("nan")), "has no cost_usd"),
        (line(created="yesterday"), "has no time in created"),
    ],
)
def test_a_line_that_no_run_has_written_is_refused_with_the_reason(data: bytes, why: str) -> None:
    with pytest.raises(UntoldError, match=why):
        read_line(data)
