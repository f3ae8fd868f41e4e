"""What a job has cost, counted from its ledger's rows; while a run writes, the sums are kept in memory."""

import sqlite3

from batchbanana.ledger.values import Money


def count_money(db: sqlite3.Connection) -> Money:
    """Read what all attempts have cost, and may; once a run, since it reads the whole table."""
    row = db.execute(
        "SELECT (SELECT coalesce(sum(cost), 0) FROM attempts),"
        " coalesce(sum(CASE WHEN result IS NULL THEN price END), 0),"
        " coalesce(sum(CASE WHEN billed = 'unknown' THEN price END), 0),"
        " count(CASE WHEN billed = 'unknown' THEN 1 END),"
        " count(CASE WHEN billed = 'unknown' AND price IS NULL THEN 1 END),"
        " count(CASE WHEN billed = 'yes' AND cost IS NULL THEN 1 END),"
        " coalesce(max(CASE WHEN cost > price AND price > 0 THEN (cost * 1000 + price - 1) / price END), 1000)"
        # That is all but images at or below their price; looking at a million of these takes half as long again.
        " FROM attempts WHERE billed IS NOT 'yes' OR cost IS NULL OR cost > price"
    ).fetchone()
    return Money(
        settled=row[0],
        reserved=row[1],
        possible=row[2],
        possible_count=row[3],
        possible_unpriced=row[4],
        unpriced=row[5],
        dearest=row[6],
    )
