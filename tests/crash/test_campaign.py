"""A hundred kills in each run of the tests; a thousand and more are for the command."""

import os
from pathlib import Path

import pytest

from tests.crash.campaign import Campaign

KILLS = int(os.environ.get("BATCHBANANA_KILLS", "100"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")
def test_killed_anywhere_it_loses_nothing_and_buys_nothing_twice_but_what_was_in_flight(tmp_path: Path) -> None:
    tally = Campaign(tmp_path, seed=1).run(KILLS)
    assert tally.kills >= KILLS
    assert tally.adopted, "no kill came between an image's way to the spool and its row"
