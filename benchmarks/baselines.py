"""What the program is compared with, as processes: `python -m benchmarks.baselines bare|usual URL SIZE IMAGES WORKERS`.

They ask for the same pictures with the same body and print when they ended, in Unix time.
"""

import asyncio
import base64
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from benchmarks import MODEL

KEY = {"x-goog-api-key": "benchmark"}


def body(number: int, size: str) -> dict[str, object]:
    """Ask as the program does."""
    settings = {"responseModalities": ["IMAGE"], "imageConfig": {"aspectRatio": "1:1", "imageSize": size}}
    return {"contents": [{"parts": [{"text": f"A mug, number {number}"}]}], "generationConfig": settings}


async def bare(url: str, size: str, images: int, workers: int) -> None:
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


async def usual(url: str, size: str, images: int, workers: int) -> None:
    """The script that is usually written: one shared client, the answer parsed whole, no sync, no record."""
    turns = asyncio.Semaphore(workers)

    async def make(client: httpx.AsyncClient, number: int, folder: Path) -> None:
        async with turns:
            answer = await client.post(url, json=body(number, size))
            answer.raise_for_status()
            part = answer.json()["candidates"][0]["content"]["parts"][-1]
            (folder / f"{number}.jpg").write_bytes(base64.b64decode(part["inlineData"]["data"]))

    with tempfile.TemporaryDirectory() as folder:
        async with httpx.AsyncClient(headers=KEY, timeout=None, trust_env=False) as client:  # noqa: S113 -- loopback
            await asyncio.gather(*(make(client, number, Path(folder)) for number in range(images)))


def main() -> None:
    way = {"bare": bare, "usual": usual}[sys.argv[1]]
    url = f"{sys.argv[2]}/v1beta/models/{MODEL}:generateContent"
    asyncio.run(way(url, sys.argv[3], int(sys.argv[4]), int(sys.argv[5])))
    print(json.dumps({"ended": time.time()}))


if __name__ == "__main__":
    main()
