"""The tests' own short cut: a forked command must be what a command is that was started afresh."""

import subprocess
import time
from pathlib import Path

import pytest

from tests.support import forking
from tests.support.program import afresh, environment

pytestmark = pytest.mark.skipif(not forking.IS_POSSIBLE, reason="this system does not fork")


@pytest.mark.parametrize(
    "arguments",
    [["--version"], ["run", "--help"], ["models", "--json"], ["plan", "own.yaml"], ["plan", "none.yaml"], ["nothing"]],
    ids=" ".join,
)
def test_code_and_words_are_those_of_a_command_that_was_started_afresh(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "own.yaml").write_text("jobs: [{prompt: Ein Krug, größer als 2 Krüge}]\n", encoding="utf-8")
    forked, started = (run(arguments, env=environment(), cwd=tmp_path, timeout=60) for run in (forking.run, afresh))
    assert (forked.returncode, forked.stdout, forked.stderr) == (started.returncode, started.stdout, started.stderr)
    assert forked.stdout or forked.stderr


def test_what_does_not_end_in_time_is_killed(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired):
        forking.run(["sandbox", "--port", "0"], env=environment(), cwd=tmp_path, timeout=0.3)
    assert time.monotonic() - began < 60


def test_where_one_runs_and_what_the_environment_says_is_the_commands_own(tmp_path: Path) -> None:
    for name in ("one", "other"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "m.yaml").write_text(f"name: {name}\njobs: [{{prompt: a mug}}]\n")
        ended = forking.run(["run", "m.yaml"], env={"PATH": "/"}, cwd=folder, timeout=60)
        assert (ended.returncode, ended.stdout) == (12, "")
        assert "set GEMINI_API_KEY" in ended.stderr
        plan = forking.run(["plan", "m.yaml", "--json"], env={"PATH": "/"}, cwd=folder, timeout=60)
        assert f'"{name}"' in plan.stdout
