"""`python -m tests.crash --kills 1000`: the crash campaign."""

import argparse
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.crash.campaign import Campaign


def main() -> None:
    """Run it and say what it came to; a broken promise ends it with an AssertionError that says which."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash")
    parser.add_argument("--kills", type=int, default=100, help="how many; 100 take about a minute")
    parser.add_argument("--seed", type=int, default=1, help="another one kills at other moments and places")
    parser.add_argument("--folder", type=Path, help="where to work, and where a job that broke a promise stays")
    chosen = parser.parse_args()
    began = time.monotonic()
    with TemporaryDirectory() as folder:
        tally = Campaign(chosen.folder or Path(folder), chosen.seed).run(chosen.kills)
    sys.stdout.write(f"{tally.told()}\nin {time.monotonic() - began:.0f} s, seed {chosen.seed}\n")


if __name__ == "__main__":
    main()
