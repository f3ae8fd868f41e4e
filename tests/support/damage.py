"""Ways to harm a finished job, and what `verify` is asked of it."""

import contextlib
import hashlib
import json
import sqlite3
from pathlib import Path

from tests.support.program import Ended, Job, command

SUPERSEDED = ".batchbanana/superseded"
SQLITES = {"ledger.db-wal", "ledger.db-shm", "lock"}  # whoever reads the ledger may make or renew them


def verify(job: Job, *more: str) -> Ended:
    return command("verify", str(job.output), *more)


def images(job: Job) -> list[Path]:
    return [job.output / record["file_name"] for record in job.records]


def spoil(path: Path) -> None:
    """Change a byte, so that the size stays."""
    data = bytearray(path.read_bytes())
    data[-20] ^= 0xFF
    path.write_bytes(data)


def lose_ledger(job: Job) -> None:
    for path in (job.output / ".batchbanana").glob("ledger.db*"):
        path.unlink()


def contents(job: Job) -> dict[str, bytes]:
    return {
        str(path.relative_to(job.output)): path.read_bytes()
        for path in job.output.rglob("*")
        if path.is_file() and path.name not in SQLITES
    }


def change(job: Job, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(job.output / ".batchbanana/ledger.db")) as db, db:
        db.execute(statement)


def gone(job: Job) -> None:
    images(job)[2].unlink()


def spoiled(job: Job) -> None:
    spoil(images(job)[2])


def cut(job: Job) -> None:
    images(job)[2].write_bytes(images(job)[2].read_bytes()[:-7])


def foreign(job: Job) -> None:
    (job.output / "images/deep").mkdir()
    (job.output / "images/deep/mine.png").write_bytes(b"mine")


def metadata_gone(job: Job) -> None:
    (job.output / "metadata.jsonl").unlink()


def metadata_short(job: Job) -> None:
    path = job.output / "metadata.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:4]))


def metadata_long(job: Job) -> None:
    with (job.output / "metadata.jsonl").open("ab") as handle:
        handle.write(b"{}\n")


def metadata_changed(job: Job) -> None:
    path = job.output / "metadata.jsonl"
    path.write_bytes(path.read_bytes().replace(b"number 3", b"number 9"))


def half_written(job: Job) -> None:
    (job.output / ".batchbanana/spool/9.0.part").write_bytes(b"half")


def room_left(job: Job) -> None:
    (job.output / ".batchbanana/spool/9.room.part").write_bytes(bytes(1 << 20))


def not_home(job: Job) -> None:
    (job.output / f".batchbanana/spool/9.0.{'ab' * 32}.ready").write_bytes(b"paid")


def not_written_down(job: Job) -> None:
    name = f"9.0.{hashlib.sha256(b'paid').hexdigest()}.ready"
    (job.output / ".batchbanana/spool" / name).write_bytes(b"paid")
    (job.output / "images/late.png").hardlink_to(job.output / ".batchbanana/spool" / name)


def not_synced(job: Job) -> None:
    (job.output / f".batchbanana/spool/9.0.{'cd' * 32}.4.whole").write_bytes(b"paid")


def noted(job: Job) -> None:
    note = {"url": "http://127.0.0.1:9/a.png", "model_version": None, "billed": "yes"}
    (job.output / ".batchbanana/spool/9.0.link").write_text(json.dumps(note))


def noted_unreadably(job: Job) -> None:
    (job.output / ".batchbanana/spool/9.0.link").write_text("{}")


def squatter(job: Job) -> None:
    (job.output / ".batchbanana/spool/letter.txt").write_text("hello")


def in_flight(job: Job) -> None:
    change(
        job,
        "INSERT INTO attempts (run, key, resolution, sent, errand)"
        """ VALUES (1, x'00', '1K', 0, '{"key": "00000000000000000000000000000000"}')""",
    )


def wrong_size_told(job: Job) -> None:
    change(job, "UPDATE outcomes SET record = json_set(record, '$.width', 3) WHERE seq = 3")


def wrong_hash_told(job: Job) -> None:
    change(job, "UPDATE outcomes SET record = json_set(record, '$.bytes', 3) WHERE seq = 3")


def ledger_gone(job: Job) -> None:
    lose_ledger(job)


def ledger_spoiled(job: Job) -> None:
    verify(job)
    path = job.output / ".batchbanana/ledger.db"
    data = bytearray(path.read_bytes())
    data[4096:] = bytes(len(data) - 4096)
    path.write_bytes(data)


def table_dropped(job: Job) -> None:
    change(job, "DROP TABLE outcomes")


def column_dropped(job: Job) -> None:
    change(job, "ALTER TABLE outcomes DROP COLUMN size")


def ledger_no_database(job: Job) -> None:
    (job.output / ".batchbanana/ledger.db").write_bytes(b"It was a dark and stormy night. " * 200)
