"""Nothing is written outside the job directory, wherever a link in it leads."""

from pathlib import Path

import pytest

from batchbanana.sandbox.running import in_thread
from tests.support.program import Job, manifest


@pytest.mark.parametrize(
    "name", ["images", "metadata.jsonl", "summary.json", ".batchbanana", ".batchbanana/spool", ".batchbanana/ledger.db"]
)
def test_a_link_where_a_run_would_write_is_refused_before_anything_is_sent(tmp_path: Path, name: str) -> None:
    away = tmp_path / "away"
    with in_thread() as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(1))
        (job.output / name).parent.mkdir(parents=True)
        (job.output / name).symlink_to(away)
        ended = job.run()
        assert (ended.code, sandbox.requests()) == (13, [])
    assert f"{job.output / name} is a link, and nothing is written outside a job directory" in ended.err
    assert not away.exists()


def test_a_link_on_the_way_to_an_images_name_keeps_the_image_in_the_spool(tmp_path: Path) -> None:
    away = tmp_path / "away"
    away.mkdir()
    with in_thread({"latency": 0.0}) as sandbox:
        job = Job(tmp_path, sandbox.url, manifest(2, limits={"concurrency": 1}))
        (job.output / "images").mkdir(parents=True)
        (job.output / "images/hero").symlink_to(away)
        ended = job.run()
        assert (ended.code, sandbox.bill()["billed"]) == (13, 1), ended.err
        assert "images/hero is a link" in ended.err
        assert list(away.iterdir()) == []
        (job.output / "images/hero").unlink()
        ended = job.run()
        assert (ended.code, ended.json["done"], sandbox.bill()["billed"]) == (0, 2, 2), "nothing is bought twice"
        job.check()
