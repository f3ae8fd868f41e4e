"""Do limits hold, and does a cap cap? The real program against a server that counts, scenario by scenario.

Unlike the other benchmarks this one fails: a bound that is broken is a fault of the program.
"""

import sys
import time
from collections.abc import Callable, Collection

from benchmarks.limits.money import cap, cap_killed, cap_lost
from benchmarks.limits.outages import one_in_ten, outage
from benchmarks.limits.rates import day, told, told_killed, untold
from benchmarks.limits.trial import Row
from benchmarks.measuring import table

SCENARIOS: dict[str, Callable[[], list[Row]]] = {
    "told": told,
    "told-killed": told_killed,
    "untold": untold,
    "cap": cap,
    "cap-killed": cap_killed,
    "cap-lost": cap_lost,
    "outage": outage,
    "one-in-ten": one_in_ten,
    "day": day,
}


def main(only: Collection[str] = ()) -> bool:
    """Print what was needed and what was seen; gives whether every bound was kept.

    Args:
        only: names of scenarios; all, when empty.
    """
    rows = [(name, row) for name in SCENARIOS if not only or name in only for row in _played(name)]
    table(
        "limits, by the server's own count",
        ["scenario", "needed", "seen", "holds"],
        [[name, row.needed, row.seen, "yes" if row.holds else "NO"] for name, row in rows],
    )
    return all(row.holds for _, row in rows)


def _played(name: str) -> list[Row]:
    began = time.monotonic()
    rows = SCENARIOS[name]()
    word = "holds" if all(row.holds for row in rows) else "DOES NOT HOLD"
    sys.stderr.write(f"{name}: {word}, {time.monotonic() - began:.0f} s\n")
    return rows
