"""The script that is usually written, with what its better versions have: one shared client, a semaphore, a timeout,
files that are there are left out, a failure is told and the others go on. No retries, no limits, no record.
"""  # noqa: D205 -- one sentence

import asyncio
import base64
import sys

import httpx

from benchmarks.peers import asking


async def _make(client: httpx.AsyncClient, turns: asyncio.Semaphore, asked: asking.Asked, number: int) -> None:
    path = asked.folder / f"{number}.png"
    async with turns:
        if path.exists():
            return
        answer = await client.post(asked.endpoint, json=asking.body(number))
        answer.raise_for_status()
        part = answer.json()["candidates"][0]["content"]["parts"][-1]
        path.write_bytes(base64.b64decode(part["inlineData"]["data"]))


async def _main(asked: asking.Asked) -> int:
    turns = asyncio.Semaphore(asked.workers)
    room = httpx.Limits(max_connections=asked.workers, max_keepalive_connections=asked.workers)
    key = {"x-goog-api-key": asking.KEY}
    async with httpx.AsyncClient(headers=key, timeout=asked.timeout, limits=room, trust_env=False) as client:
        every = (_make(client, turns, asked, number) for number in range(asked.images))
        failed = [each for each in await asyncio.gather(*every, return_exceptions=True) if each is not None]
    for each in failed[:3]:
        sys.stderr.write(f"{each!r}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(_main(asking.read())))
