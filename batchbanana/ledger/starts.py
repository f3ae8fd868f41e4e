"""What the ledger tells of the requests of a short while ago: for limits that hold across runs, and for the rate.

Reads the newest first by id, which grows with time, and stops at the first old one instead of reading the whole table.
"""

from batchbanana.ledger.store import Store
from batchbanana.ledger.values import Start


def starts_since(store: Store, moment: float) -> list[Start]:
    """List the requests that were sent after `moment` (unix seconds), the oldest first."""
    query = (
        "SELECT sent, coalesce(result, 'lost') <> 'lost', billed, cost, coalesce(price, 0),"
        " result IN ('not_sent', 'reference') FROM attempts ORDER BY id DESC"
    )
    rows: list[Start] = []
    for sent, is_exact, billed, cost, price, was_none in store.rows(query):
        if sent <= moment:
            break
        worst = store.money.dear(price) if cost is None else cost
        if not was_none:
            rows.append(Start(sent=sent, is_exact=bool(is_exact), price=0 if billed == "no" else worst))
    return rows[::-1]


def images_since(store: Store, moment: float) -> int:
    """Count the images of attempts that were sent after `moment` (unix seconds)."""
    count = 0
    for sent, result in store.rows("SELECT sent, result FROM attempts ORDER BY id DESC"):
        if sent <= moment:
            break
        count += result == "image"
    return count
