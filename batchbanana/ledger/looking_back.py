"""What went wrong and what became of single tasks, read from a ledger that a run may be writing."""

import json
from collections.abc import Iterator

from batchbanana.ledger.store import Store
from batchbanana.ledger.values import Complaint, Deed
from batchbanana.task import Outcome

# Both are read row by row, without sorting: there may be a million of them.
ENDED_OTHERWISE = """
SELECT o.key, o.outcome, a.result, a.status, a.message, o.record FROM outcomes o LEFT JOIN attempts a
ON o.file IS NULL AND a.id = (
    SELECT max(f.id) FROM attempts f WHERE f.key = o.key AND f.result <> 'image' AND f.id <= o.attempt)
WHERE o.outcome <> 'done' ORDER BY o.seq
"""
STILL_PENDING = """
SELECT a.key, NULL, a.result, a.status, a.message, NULL, max(a.id) FROM attempts a
WHERE a.result <> 'image' AND NOT EXISTS (SELECT 1 FROM outcomes o WHERE o.key = a.key) GROUP BY a.key
"""


def complaints(store: Store) -> Iterator[Complaint]:
    """Give every task that is not made as asked for: first those with an outcome, then pending ones that were tried."""
    for query in (ENDED_OTHERWISE, STILL_PENDING):
        for key, outcome, result, status, message, record, *_ in store.rows(query):
            yield Complaint(
                key=key.hex(),
                outcome=Outcome(outcome) if outcome else None,
                result=result,
                status=status,
                message=message,
                record=json.loads(record) if record else {},
            )


def unclear(store: Store) -> Iterator[tuple[Complaint, int | None]]:
    """Give every attempt that may have been billed, the newest first, and its micro-dollars at worst, if known."""
    query = "SELECT key, result, status, message, price FROM attempts WHERE billed = 'unknown' ORDER BY id DESC"
    for key, result, status, message, price in store.rows(query):
        yield (
            Complaint(key=key.hex(), outcome=None, result=result, status=status, message=message, record={}),
            price,
        )


def deed(store: Store, key: str) -> Deed | None:
    """Give a task's outcome with what it rests on; None while it is pending."""
    query = (
        "SELECT o.outcome, o.record, a.ended - a.sent FROM outcomes o LEFT JOIN attempts a ON a.id = o.attempt"
        " WHERE o.key = ?"
    )
    rows = store.rows(query, (bytes.fromhex(key),))
    return next((Deed(outcome=Outcome(row[0]), record=json.loads(row[1]), seconds=row[2]) for row in rows), None)
