"""What `verify` reads of the ledger, and the few changes by which it mends one; speaks SQL, decides nothing."""

import json
from collections.abc import Iterator

from batchbanana.ledger.store import STALE, Store
from batchbanana.ledger.values import OUTSIDE, PLAN, Image, Restored

PAGE = 200  # images read at once: no reader holds the file for long, and what is read may be changed meanwhile

COLUMNS = "seq, key, file, size, sha256, record"


def images(store: Store) -> Iterator[Image]:
    """Give every image of the ledger in the order in which they were made, a page at a time."""
    query = f"SELECT {COLUMNS} FROM outcomes WHERE seq > ? AND file IS NOT NULL ORDER BY seq LIMIT {PAGE}"  # noqa: S608 -- our own words
    last = 0
    while page := list(store.rows(query, (last,))):
        last = page[-1][0]
        yield from map(_image, page)


def image_of(store: Store, key: str) -> Image | None:
    """Give the image of a task as the ledger has it now."""
    query = f"SELECT {COLUMNS} FROM outcomes WHERE key = ? AND file IS NOT NULL"  # noqa: S608 -- our own words
    return next(map(_image, store.rows(query, (bytes.fromhex(key),))), None)


def _image(row: tuple[int, bytes, str, int, str, str]) -> Image:
    seq, key, file, size, sha256, record = row
    return Image(seq=seq, key=key.hex(), file=file, size=size, sha256=sha256, record=json.loads(record))


def index_files(store: Store) -> None:
    """Make looking a file's owner up quick, for this connection only; on the disk where it is large."""
    store.rows("CREATE TEMP TABLE IF NOT EXISTS owned (file TEXT PRIMARY KEY) WITHOUT ROWID")
    store.rows("DELETE FROM owned")
    store.rows("INSERT OR IGNORE INTO owned SELECT file FROM outcomes WHERE file IS NOT NULL")


def own(store: Store, file: str) -> None:
    """Count a file as a task's; after `index_files`."""
    store.rows("INSERT OR IGNORE INTO owned VALUES (?)", (file,))


def is_owned(store: Store, file: str) -> bool:
    """Whether a file, relative to the job directory, is a task's image; after `index_files`."""
    return next(store.rows("SELECT 1 FROM owned WHERE file = ?", (file,)), None) is not None


def put_back(store: Store, key: str) -> None:
    """Let a task be pending again. Its attempts stay: what they have cost is spent.

    In the caller's transaction.
    """
    store.rows("DELETE FROM outcomes WHERE key = ?", (bytes.fromhex(key),))
    store.rows("DELETE FROM meta WHERE name = ?", (f"final:{key.upper()}",))
    store.put(STALE, 1)
    if store.noted(OUTSIDE):  # nobody says on which side of the plan this one was
        store.forget(PLAN)


def restore(store: Store, restored: Restored) -> None:
    """Write down an image whose rows were lost, with one attempt that has cost what the image did.

    In the caller's transaction.
    """
    store.forget(PLAN)  # nobody says on which side of the plan this one is
    ending = restored.ending
    row = next(
        store.rows(
            "INSERT INTO attempts (id, run, key, resolution, sent, price, ended, result, billed, cost)"
            " VALUES (?, 0, ?, ?, ?, ?, ?, 'image', ?, ?) RETURNING id",
            (
                store.next_attempt(),
                bytes.fromhex(ending.key),
                restored.resolution,
                restored.created,
                restored.cost,
                restored.created,
                str(restored.billed),
                restored.cost,
            ),
        )
    )
    store.conclude(ending.resting_on(int(row[0])))
