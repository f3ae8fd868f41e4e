"""How these tests talk to a sandbox: real requests over a real socket."""

import base64
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
from PIL import Image

from batchbanana.sandbox.running import Handle, in_thread

CHAT = "/v1/chat/completions"
PNG_MODEL = "gemini-nano-banana-2.1"
JPEG_MODEL = "gemini-3.1-flash-image"
QUICK: Mapping[str, object] = {"latency": 0, "pictures": "plain"}
PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII=")


class Caller:
    """A client with a key, and the sandbox it talks to."""

    def __init__(self, handle: Handle, client: httpx.Client) -> None:
        self.handle = handle
        self.client = client

    def ask(self, body: object = None, *, model: str = PNG_MODEL, **options: Any) -> httpx.Response:
        path = f"/v1beta/models/{model}:generateContent"
        return self.client.post(path, json=request() if body is None else body, **options)

    def chat(self, prompt: str = "a mug", *, path: str = CHAT, **body: object) -> httpx.Response:
        """Ask in the chat format; `body` are its fields, the model and a message unless they are among them."""
        messages = [{"role": "user", "content": prompt}]
        return self.client.post(path, json={"model": PNG_MODEL, "messages": messages, **body})

    def image(self, **options: Any) -> bytes:
        return images(self.ask(**options).json())[-1]


@contextmanager
def sandbox(*rules: Mapping[str, object], **script: object) -> Iterator[Caller]:
    faults = [{"then": rule} if "then" not in rule else rule for rule in rules]
    with in_thread({**QUICK, "faults": faults, **script}) as handle:
        headers = {"authorization": "Bearer test"}
        with httpx.Client(base_url=handle.url, headers=headers, trust_env=False, timeout=10) as client:
            yield Caller(handle, client)


def trickle(caller: Caller, into: bytearray, **options: Any) -> None:
    """Ask, and keep whatever arrives even if no more does."""
    path = f"/v1beta/models/{PNG_MODEL}:generateContent"
    with caller.client.stream("POST", path, json=request(), **options) as answer:
        for piece in answer.iter_raw():
            into += piece


def request(prompt: str = "a mug", *, parts: list[object] | None = None, **image: object) -> dict[str, Any]:
    """A generateContent body; `image` are fields of the imageConfig."""
    return {
        "contents": [{"role": "user", "parts": [{"text": prompt}, *(parts or [])]}],
        "generationConfig": {"responseModalities": ["IMAGE"], "imageConfig": image},
    }


def parts(answer: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = answer["candidates"][0]["content"]["parts"]
    return found


def data_uri(data: bytes, mime: str = "image/png") -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def undo(uri: str) -> bytes:
    """Give the bytes of a data URI."""
    head, _, data = uri.partition(",")
    assert head in ("data:image/png;base64", "data:image/jpeg;base64")
    return base64.b64decode(data, validate=True)


def images(answer: Any) -> list[bytes]:
    blobs = [part["inlineData"]["data"] for part in parts(answer) if "inlineData" in part]
    return [base64.b64decode(blob, validate=True) for blob in blobs]


def look(data: bytes) -> tuple[str | None, tuple[int, int]]:
    """Decode every pixel, and give the format and the size."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image.format, image.size
