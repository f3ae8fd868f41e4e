"""Runs the scenarios that are named, or all, and prints a table for each; `peers --help` tells of the comparison."""

import argparse
import sys

from benchmarks import formats, latency, limits, memory, million, small, stalls, startup
from benchmarks.peers import command as peers

SCENARIOS = {
    "small": small.main,
    "latency": latency.main,
    "memory": memory.main,
    "formats": formats.main,
    "stalls": stalls.main,
    "million": million.main,
    "startup": startup.main,
}


def main() -> int:
    """Give 0, or 1 when a bound of `limits` is broken; an unknown name is argparse's exit 2."""
    if sys.argv[1:2] == ["peers"]:  # not among `all`: it installs other people's packages, and has options of its own
        return peers.main(sys.argv[2:])
    names = [*SCENARIOS, "limits"]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(names)}; all when left out")
    parser.add_argument("--only", action="append", choices=list(limits.SCENARIOS), help="of `limits`; may be repeated")
    options = parser.parse_args()
    chosen = options.names or (["limits"] if options.only else names)
    if unknown := sorted(set(chosen) - set(names)):
        parser.error(f"there is no scenario {unknown[0]!r}; choose from {', '.join(names)}")
    if options.only and "limits" not in chosen:
        parser.error("--only chooses among the scenarios of `limits`; name that too")
    holds = True
    for name in chosen:
        if name == "limits":
            holds = limits.main(options.only or ())
        else:
            SCENARIOS[name]()
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
