"""What a job has cost, counted from its ledger's rows; while a run writes, the sums are kept in memory.

Runs leave the sums of all that is settled, so that a million rows are not read again only to say how a job stands. The
ledger's own triggers take them back when one of those rows changes, whoever changes it.
"""

import json
import sqlite3
from dataclasses import asdict

from batchbanana.ledger.schema import MONEY, MONEY_UP_TO
from batchbanana.ledger.values import Money

UP_TO = f"coalesce((SELECT value FROM meta WHERE name = '{MONEY_UP_TO}'), 0)"  # noqa: S608 -- constants alone are put in, here and below
# In one statement: of one moment.
SUMS = f"""
SELECT (SELECT value FROM meta WHERE name = '{MONEY}'),
    (SELECT coalesce(sum(cost), 0) FROM attempts WHERE id > {UP_TO} AND id <= :last),
    coalesce(sum(CASE WHEN result IS NULL THEN price END), 0),
    coalesce(sum(CASE WHEN billed = 'unknown' THEN price END), 0),
    count(CASE WHEN billed = 'unknown' THEN 1 END),
    count(CASE WHEN billed = 'unknown' AND price IS NULL THEN 1 END),
    count(CASE WHEN billed = 'yes' AND cost IS NULL THEN 1 END),
    coalesce(max(CASE WHEN cost > price AND price > 0 THEN (cost * 1000 + price - 1) / price END), 1000)
FROM attempts WHERE id > {UP_TO} AND id <= :last
    -- That is all but images at or below their price; looking at a million of these takes half as long again.
    AND (billed IS NOT 'yes' OR cost IS NULL OR cost > price)"""  # noqa: S608
SETTLED = f"""
SELECT {UP_TO},
    coalesce((SELECT min(id) - 1 FROM attempts WHERE result IS NULL), (SELECT max(id) FROM attempts), 0)"""  # noqa: S608
EVERY = 2**63 - 1  # the largest id there can be


def count_money(db: sqlite3.Connection, last: int = EVERY) -> Money:
    """Give what all attempts up to an id have cost, and may."""
    noted, *sums = db.execute(SUMS, {"last": last}).fetchone()
    names = ("settled", "reserved", "possible", "possible_count", "possible_unpriced", "unpriced", "dearest")
    found = Money(**dict(zip(names, sums, strict=True)))
    return found if noted is None else found.plus(Money(**json.loads(noted)))


def note_money(db: sqlite3.Connection) -> None:
    """Leave the sums of all attempts before the first that is open, in the caller's transaction."""
    before, last = db.execute(SETTLED).fetchone()
    if last > before:
        sums = json.dumps(asdict(count_money(db, last)))
        db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?), (?, ?)", (MONEY, sums, MONEY_UP_TO, last))
