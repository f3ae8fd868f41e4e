"""What the program is compared with, as processes: `python -m benchmarks.baselines WAY URL SIZE IMAGES WORKERS [DIR]`.

They ask for the same pictures with the same body and print when they ended, in Unix time. Images go to a folder that
is removed at the end, unless one is named.
"""

import asyncio
import base64
import hashlib
import json
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Lock

import httpx

from benchmarks import MODEL

KEY = {"x-goog-api-key": "benchmark"}


def body(number: int, size: str) -> dict[str, object]:
    """Ask as the program does."""
    settings = {"responseModalities": ["IMAGE"], "imageConfig": {"aspectRatio": "1:1", "imageSize": size}}
    return {"contents": [{"parts": [{"text": f"A mug, number {number}"}]}], "generationConfig": settings}


class Shelf:
    """A folder of images, each synced with its name, and a synced row for each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = Lock()
        self._rows = sqlite3.connect(folder / "rows.db", check_same_thread=False)
        self._rows.execute("PRAGMA journal_mode=WAL")
        self._rows.execute("PRAGMA synchronous=FULL")
        self._rows.execute("CREATE TABLE images (number INTEGER PRIMARY KEY, sha256 TEXT)")
        self._names = os.open(folder, os.O_RDONLY)

    def keep(self, number: int, image: bytes) -> None:
        """Return once the image is safe."""
        part = self._folder / f"{number}.part"
        with part.open("wb") as file:
            file.write(image)
            file.flush()
            os.fsync(file.fileno())
        part.rename(part.with_suffix(".jpg"))
        os.fsync(self._names)
        with self._lock, self._rows:
            self._rows.execute("INSERT INTO images VALUES (?, ?)", (number, hashlib.sha256(image).hexdigest()))

    def close(self) -> None:
        """Close the rows."""
        self._rows.close()
        os.close(self._names)


async def bare(url: str, size: str, images: int, workers: int, _folder: Path) -> None:
    """The floor for this HTTP library: a connection a worker; the answer is read and dropped, nothing is kept."""
    tls = httpx.create_ssl_context()  # shared, because building one for every client would be most of the start-up

    async def work(numbers: Iterator[int]) -> None:
        async with httpx.AsyncClient(headers=KEY, verify=tls, timeout=None, trust_env=False) as client:  # noqa: S113 -- loopback
            for number in numbers:
                async with client.stream("POST", url, json=body(number, size)) as answer:
                    answer.raise_for_status()
                    async for _ in answer.aiter_bytes():
                        pass

    numbers = iter(range(images))
    await asyncio.gather(*(work(numbers) for _ in range(workers)))


async def careful(url: str, size: str, images: int, workers: int, folder: Path) -> None:
    """The bare loop, and the least that keeps an image through a power cut with a row that tells of it."""
    tls = httpx.create_ssl_context()

    async def work(numbers: Iterator[int], shelf: Shelf) -> None:
        async with httpx.AsyncClient(headers=KEY, verify=tls, timeout=None, trust_env=False) as client:  # noqa: S113 -- loopback
            for number in numbers:
                answer = await client.post(url, json=body(number, size))
                answer.raise_for_status()
                part = answer.json()["candidates"][0]["content"]["parts"][-1]
                image = base64.b64decode(part["inlineData"]["data"])
                await asyncio.to_thread(shelf.keep, number, image)

    numbers = iter(range(images))
    shelf = Shelf(folder)
    await asyncio.gather(*(work(numbers, shelf) for _ in range(workers)))
    shelf.close()


async def usual(url: str, size: str, images: int, workers: int, folder: Path) -> None:
    """The script that is usually written: one shared client, the answer parsed whole, no sync, no record."""
    turns = asyncio.Semaphore(workers)

    async def make(client: httpx.AsyncClient, number: int) -> None:
        async with turns:
            answer = await client.post(url, json=body(number, size))
            answer.raise_for_status()
            part = answer.json()["candidates"][0]["content"]["parts"][-1]
            (folder / f"{number}.jpg").write_bytes(base64.b64decode(part["inlineData"]["data"]))

    async with httpx.AsyncClient(headers=KEY, timeout=None, trust_env=False) as client:  # noqa: S113 -- loopback
        await asyncio.gather(*(make(client, number) for number in range(images)))


def main() -> None:
    way = {"bare": bare, "careful": careful, "usual": usual}[sys.argv[1]]
    url = f"{sys.argv[2]}/v1beta/models/{MODEL}:generateContent"
    with ExitStack() as stack:
        folder = sys.argv[6] if len(sys.argv) > 6 else stack.enter_context(tempfile.TemporaryDirectory())
        asyncio.run(way(url, sys.argv[3], int(sys.argv[4]), int(sys.argv[5]), Path(folder)))
        print(json.dumps({"ended": time.time()}), flush=True)


if __name__ == "__main__":
    main()
