"""The floor, bare sockets: send the request, read the answer, decode the image, write the file, nothing else."""

import asyncio
import json
from collections.abc import Iterator
from urllib.parse import urlsplit

import pybase64

from benchmarks.peers import asking

DATA = b'"data":'


def _image(answer: bytes) -> bytes:
    start = answer.index(b'"', answer.index(DATA) + len(DATA)) + 1
    return pybase64.b64decode(memoryview(answer)[start : answer.index(b'"', start)], validate=True)


async def _body(reader: asyncio.StreamReader) -> bytes:
    chunks = []
    while length := int(await reader.readuntil(b"\r\n"), 16):
        chunks.append(await reader.readexactly(length))
        await reader.readexactly(2)
    await reader.readexactly(2)
    return b"".join(chunks)


async def _work(asked: asking.Asked, numbers: Iterator[int]) -> None:
    place = urlsplit(asked.endpoint)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    head = f"POST {place.path} HTTP/1.1\r\nhost: {place.netloc}\r\nx-goog-api-key: {asking.KEY}\r\n"
    head += "content-type: application/json\r\ncontent-length: "
    for number in numbers:
        body = json.dumps(asking.body(number)).encode()
        writer.write(f"{head}{len(body)}\r\n\r\n".encode() + body)
        await reader.readuntil(b"\r\n\r\n")
        (asked.folder / f"{number}.png").write_bytes(_image(await _body(reader)))
    writer.close()


async def _main(asked: asking.Asked) -> None:
    numbers = iter(range(asked.images))
    await asyncio.gather(*(_work(asked, numbers) for _ in range(min(asked.workers, asked.images))))


if __name__ == "__main__":
    asyncio.run(_main(asking.read()))
