"""A loop that only reads the clock: `python -m benchmarks.pauses SECONDS` prints how long it was kept waiting."""

import json
import sys
import time

TICK = 0.001  # seconds; what is shorter is no pause


def main() -> int:
    """Read the clock for so many seconds; print the longest step in milliseconds, and how many were longer than one."""
    before = time.perf_counter()
    end = before + float(sys.argv[1])
    longest, pauses = 0.0, 0
    while before < end:
        now = time.perf_counter()
        longest = max(longest, now - before)
        pauses += now - before > TICK
        before = now
    print(json.dumps({"longest": longest * 1000, "pauses": pauses}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
