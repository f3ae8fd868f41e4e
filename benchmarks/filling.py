"""Fills a job directory as a run would have left it, through the program's own ledger, without buying the images."""

import io
import os
from contextlib import closing
from hashlib import sha256
from itertools import islice
from pathlib import Path

from PIL import Image

from batchbanana.job import JobDirectory
from batchbanana.ledger import Caps, Ending, Metadata, Sending, Settlement, Store
from batchbanana.matrix import Matrix
from batchbanana.record import Errand, Made, image_record
from batchbanana.standing import note_begin
from batchbanana.task import Billed, Outcome, Picture, Task

A_COMMIT = 5000  # images written down in one transaction
LINKS = 60_000  # names that a file may have; ext4 allows 65,000
SIDE = 64  # pixels of every picture


def fill(matrix: Matrix, folder: Path, count: int) -> None:
    """Let the first `count` tasks of a plan be made: rows, files and `metadata.jsonl`, all with the same picture."""
    job = JobDirectory(folder)
    (folder / "images").mkdir(parents=True)
    data = _picture()
    tasks = iter(matrix)
    with job.held(), closing(job.open_store(Caps())) as store:
        manifest = matrix.manifest
        note_begin(store, matrix)
        copy = manifest.copy
        store.start_run((copy.sha256, str(manifest.path.absolute()), copy.content))
        metadata = Metadata(folder / "metadata.jsonl", store)
        for first in range(1, count + 1, A_COMMIT):
            store.execute("BEGIN IMMEDIATE")
            for attempt, task in enumerate(islice(tasks, min(A_COMMIT, count + 1 - first)), first):
                file = _put(folder, task, data, attempt)
                _write_down(store, task, attempt, file, data)
            store.execute("COMMIT")
        metadata.close()


def _picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE), "gold").save(buffer, "JPEG")
    return buffer.getvalue()


def _put(folder: Path, task: Task, data: bytes, number: int) -> str:
    """Give a task's picture its name; most are links, which spare the disk a block each."""
    file = f"images/{task.name}.jpg"
    path = folder / file
    source = folder / f"picture-{number // LINKS}.jpg"
    if not source.exists():
        source.write_bytes(data)
    if not path.parent.exists():
        path.parent.mkdir()
    os.link(source, path)
    return file


def _write_down(store: Store, task: Task, attempt: int, file: str, data: bytes) -> None:
    errand = Errand.of(task, task.rungs[0])
    price = task.rungs[0].price
    store.begin(Sending(id=attempt, key=task.key, resolution=task.resolution, price=price, errand=errand.to_json()))
    made = Made(
        file=file,
        size=len(data),
        sha256=sha256(data).hexdigest(),
        picture=Picture(mime="image/jpeg", ending=".jpg", width=SIDE, height=SIDE),
        outcome=Outcome.DONE,
        attempts=1,
        cost=price,
        model_version=task.model,
        created="2026-11-22T20:00:00+00:00",
    )
    ending = Ending(
        key=task.key,
        outcome=Outcome.DONE,
        attempt=attempt,
        record=image_record(errand, made),
        file=file,
        size=made.size,
        sha256=made.sha256,
    )
    store.settle(Settlement(attempt=attempt, result="image", billed=Billed.YES, cost=price, ending=ending))
