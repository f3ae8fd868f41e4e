"""What a job has cost, counted from its ledger's rows; while a run writes, the sums are kept in memory.

Runs leave the sums of all that is settled, so that a million rows are not read again only to say how a job stands. The
ledger's own triggers take them back when one of those rows changes, whoever changes it.
"""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict

from batchbanana.ledger.schema import MONEY, MONEY_UP_TO
from batchbanana.ledger.values import Money

FIRST, LAST = -(2**63), 2**63 - 1  # the ids there can be
NOTED = f"(SELECT value FROM meta WHERE name = '{MONEY_UP_TO}')"  # noqa: S608 -- constants alone are put in, here and below
AFTER = f"CASE WHEN :all THEN {FIRST} ELSE coalesce({NOTED}, {FIRST}) END"
# In one statement: of one moment.
SUMS = f"""
SELECT (SELECT value FROM meta WHERE name = '{MONEY}'), {NOTED},
    (SELECT coalesce(sum(cost), 0) FROM attempts WHERE id > {AFTER} AND id <= :last),
    coalesce(sum(CASE WHEN result IS NULL THEN price END), 0),
    coalesce(sum(CASE WHEN billed = 'unknown' THEN price END), 0),
    count(CASE WHEN billed = 'unknown' THEN 1 END),
    count(CASE WHEN billed = 'unknown' AND price IS NULL THEN 1 END),
    count(CASE WHEN billed = 'yes' AND cost IS NULL THEN 1 END),
    coalesce(max(CASE WHEN cost > price AND price > 0 THEN (cost * 1000 + price - 1) / price END), 1000)
FROM attempts WHERE id > {AFTER} AND id <= :last
    -- That is all but images at or below their price; looking at a million of these takes half as long again.
    AND (billed IS NOT 'yes' OR cost IS NULL OR cost > price)"""  # noqa: S608
SETTLED = f"""
SELECT coalesce({NOTED}, {FIRST}),
    coalesce((SELECT min(id) - 1 FROM attempts WHERE result IS NULL), (SELECT max(id) FROM attempts), {FIRST})"""  # noqa: S608


def count_money(db: sqlite3.Connection, last: int = LAST) -> Money:
    """Give what all attempts up to an id have cost, and may."""
    text, up_to, *sums = db.execute(SUMS, {"last": last, "all": False}).fetchone()
    if text is None and up_to is None:
        return _money(sums)
    noted = _read(text, up_to)
    if noted is None:  # a note that nobody can read says nothing
        return _money(db.execute(SUMS, {"last": last, "all": True}).fetchone()[2:])
    return _money(sums).plus(noted)


def note_money(db: sqlite3.Connection) -> None:
    """Leave the sums of all attempts before the first that is open, in the caller's transaction."""
    before, last = db.execute(SETTLED).fetchone()
    if last > before:
        sums = json.dumps({"up_to": last, **asdict(count_money(db, last))})
        db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?), (?, ?)", (MONEY, sums, MONEY_UP_TO, last))


def _money(sums: Sequence[int]) -> Money:
    names = ("settled", "reserved", "possible", "possible_count", "possible_unpriced", "unpriced", "dearest")
    return Money(**dict(zip(names, sums, strict=True)))


def _read(text: object, up_to: object) -> Money | None:
    try:
        facts = json.loads(str(text))
        return Money(**facts) if facts.pop("up_to") == up_to else None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
