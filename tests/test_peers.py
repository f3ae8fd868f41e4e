"""The judge of `python -m benchmarks peers`: what it must see is done to a folder, and it must say so."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from batchbanana.sandbox.pictures import Sketch, draw

pytest.importorskip("benchmarks", reason="the benchmarks are in a checkout only")

from benchmarks.peers import asking
from benchmarks.peers.judging import Found, judge, look
from benchmarks.peers.playing import Play, play
from benchmarks.peers.roster import CLIENTS

IMAGES = 6
USUAL = next(client.installed(Path()) for client in CLIENTS if client.module == "usual")


@pytest.fixture
def played() -> Iterator[Play]:
    with play(USUAL, {}, images=IMAGES, workers=2) as job:
        job.run()
        assert job.words == ""
        yield job


def _redraw(number: int, side: int) -> bytes:
    return draw(Sketch(mime="image/png", width=side, height=side, prompt=asking.prompt(number)))


def test_a_run_without_faults_has_none(played: Play) -> None:
    found = judge(played)
    assert (found.requests, found.bought, found.made) == (IMAGES, IMAGES, IMAGES)
    assert (found.twice, found.lost, found.wrong, found.fine) == (0, 0, 0, 0)
    assert found.micro_usd == IMAGES * asking.PRICE
    assert [run.how for run in played.runs] == ["0"]


def test_an_image_that_is_gone_and_one_that_is_torn_are_lost(played: Play) -> None:
    (played.folder / "1.png").unlink()
    torn = played.folder / "2.png"
    torn.write_bytes(torn.read_bytes()[:-20])
    assert _lost_and_made(judge(played)) == (2, IMAGES - 2)


def test_an_image_under_another_name_is_not_lost(played: Play) -> None:
    (played.folder / "somewhere").mkdir()
    (played.folder / "1.png").rename(played.folder / "somewhere" / "else")
    assert _lost_and_made(judge(played)) == (0, IMAGES)


def test_another_prompts_image_does_not_make_up_for_a_lost_one(played: Play) -> None:
    (played.folder / "1.png").write_bytes((played.folder / "2.png").read_bytes())
    assert _lost_and_made(judge(played)) == (1, IMAGES - 1)


def test_a_prompt_that_is_asked_again_is_bought_twice(played: Play) -> None:
    (played.folder / "1.png").unlink()
    played.run()
    found = judge(played)
    assert (found.bought, found.twice, found.lost) == (IMAGES + 1, 1, 0)


def test_an_image_of_another_size_is_wrong_and_called_fine(played: Play) -> None:
    (played.folder / "1.png").write_bytes(_redraw(1, 512))
    found = judge(played)
    assert (found.wrong, found.fine, found.lost) == (1, 1, 0)


def test_what_is_told_by_the_exit_code_is_not_called_fine() -> None:
    rules = [
        {"when": {"prompt": "number 1,"}, "then": {"pixels": [512, 512]}},
        {"when": {"prompt": "number 2,"}, "then": {"block": "SAFETY", "billed": True}},
    ]
    with play(USUAL, {"faults": rules}, images=IMAGES, workers=2) as job:
        job.run()
        found, strict = judge(job, "number 2,"), judge(job)
    assert [run.how for run in job.runs] == ["1"]
    assert (found.wrong, found.fine) == (1, 0)
    assert (found.bought, found.lost, strict.lost) == (IMAGES, 0, 1)


def test_a_run_is_killed_when_the_time_has_come() -> None:
    with play(USUAL, {"latency": 60.0}, images=IMAGES, workers=2) as job:
        job.kill(lambda: len(job.handle.requests()) >= 2)
    assert [run.how for run in job.runs] == ["killed"]


def test_a_whole_picture_is_looked_at_and_anything_else_is_none(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(_redraw(1, 64))
    picture = look(path)
    assert picture is not None
    assert picture.size == (64, 64)
    for content in (b"", b"{}", path.read_bytes()[:-1]):
        path.write_bytes(content)
        assert look(path) is None


def _lost_and_made(found: Found) -> tuple[int, int]:
    return found.lost, found.made
