"""Runs the scenarios that are named, or all, and prints a table for each."""

import sys

from benchmarks import formats, latency, memory, stalls

SCENARIOS = {"latency": latency.main, "memory": memory.main, "formats": formats.main, "stalls": stalls.main}


def main() -> int:
    """Give 0, or 2 when there is no such scenario."""
    names = sys.argv[1:] or list(SCENARIOS)
    if unknown := sorted(set(names) - SCENARIOS.keys()):
        sys.stderr.write(f"There is no scenario {unknown[0]!r}; choose from {', '.join(SCENARIOS)}\n")
        return 2
    for name in names:
        SCENARIOS[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main())
