"""Builds the tasks, documents and pictures that the tests of both formats speak of."""

import base64
import json
from collections.abc import Mapping
from functools import cache
from io import BytesIO
from itertools import pairwise
from pathlib import Path

from PIL import Image

from batchbanana.images import ImageError, Inspector
from batchbanana.providers import Choice, ImageBytes, ImageEnded, ImageStarted, Link, Provider, Reader, Received
from batchbanana.providers.gemini import Gemini
from batchbanana.providers.openai import OpenAI
from batchbanana.task import Attempt, Failure, Reference, Rung, Task

GEMINI = Gemini(omit_size=lambda _model: False)
OPENAI = OpenAI(dialect="none", omit_size=lambda _model: False)
PROVIDERS: dict[str, Provider] = {"gemini": GEMINI, "openai": OPENAI}


def reference(name: str, mime: str = "image/png") -> Reference:
    """Make a reference to a file that need not be there."""
    return Reference(path=Path(name), sha256="0" * 64, mime=mime, size=10)


def attempt(
    *,
    prompt: str = "a cat",
    model: str = "gemini-3-pro-image",
    ratio: str | None = "1:1",
    resolution: str = "1K",
    references: tuple[Reference, ...] = (),
    extra: Mapping[str, object] | None = None,
    timeout: float = 180,
) -> Attempt:
    """Make an attempt at a picture."""
    rung = Rung(resolution=resolution, timeout=timeout, stall=30, price=None)
    task = Task(
        key="0" * 32,
        job="hero",
        model=model,
        prompt=prompt,
        ratio=ratio,
        sample=1,
        variables=(),
        references=references,
        extra=extra or {},
        rungs=(rung,),
        name="a",
    )
    return Attempt(id=1, task=task, rung=rung)


@cache
def picture(side: int = 1024, colour: int = 0) -> bytes:
    """Make a small file of a square picture; 1024 pixels are what `attempt` asks for, fewer than 700 are not."""
    stream = BytesIO()
    Image.new("L", (side, side), colour).save(stream, "PNG")
    return stream.getvalue()


def image(data: bytes, **more: object) -> dict[str, object]:
    """Make a part that holds an image."""
    return {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(data).decode()}, **more}


def text(words: str, **more: object) -> dict[str, object]:
    """Make a part that holds text."""
    return {"text": words, **more}


def document(*parts: object, reason: str | None = "STOP", **more: object) -> dict[str, object]:
    """Make an answer of one candidate."""
    candidate: dict[str, object] = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    if reason is not None:
        candidate["finishReason"] = reason
    return {"candidates": [candidate], **more}


def chat(message: object, reason: str | None = "stop", **more: object) -> dict[str, object]:
    """Make an answer of the chat format with one choice."""
    choice: dict[str, object] = {"index": 0, "message": message}
    if reason is not None:
        choice["finish_reason"] = reason
    return {"id": "x", "object": "chat.completion", "choices": [choice], **more}


def data_uri(data: bytes, kind: str = "image/png") -> str:
    """Write bytes as a data URI."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def received(reader: Reader, data: bytes, cuts: tuple[int, ...] = ()) -> tuple[list[bytes], list[Received]]:
    """Feed an answer in pieces; give each image's bytes (none for worthless ones) and how they were found."""
    files: list[bytes] = []
    faults: list[str | None] = []
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    events = [event for a, b in pairwise(places) for event in reader.feed(data[a:b])]
    for event in [*events, *reader.finish()]:
        match event:
            case ImageStarted(index):
                assert index == len(files) == len(faults)
                files.append(b"")
            case ImageBytes(piece):
                files[-1] += piece
            case ImageEnded(fault):
                faults.append(fault)
    assert len(files) == len(faults)
    found = [_look(file, fault) for file, fault in zip(files, faults, strict=True)]
    return [b"" if fault else file for file, fault in zip(files, faults, strict=True)], found


def _look(data: bytes, fault: str | None) -> Received:
    if fault:
        return Received(picture=None, fault=fault)
    inspector = Inspector()
    inspector.feed(data)
    try:
        return Received(picture=inspector.result(), fault=None)
    except ImageError as error:
        return Received(picture=None, fault=str(error))


def judged(
    answer: object,
    *,
    cuts: tuple[int, ...] = (),
    length: int | None = None,
    asked: Attempt | None = None,
    provider: Provider = GEMINI,
) -> Choice | Failure:
    """Judge an answer, given as bytes or as a value, of which only `length` bytes may have come."""
    data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    reader = provider.reader()
    _, images = received(reader, data[:length], cuts)
    return reader.judge(asked or attempt(), images)


def check_that_cuts_never_show(provider: Provider, body: bytes, cuts: tuple[int, ...]) -> tuple[list[bytes], object]:
    """Read a body whole and in pieces; give the files and the verdict, which must make sense whatever the body is."""
    whole, cut = provider.reader(), provider.reader()
    files, images = received(whole, body)
    assert received(cut, body, cuts) == (files, images)
    assert cut.complete == whole.complete
    verdict = whole.judge(attempt(), images)
    assert cut.judge(attempt(), images) == verdict
    if isinstance(verdict, Failure):
        assert 0 < len(verdict.message) <= 300
        assert (verdict.message + verdict.signature).isprintable()
        return files, verdict
    for one in (verdict.main, *verdict.extras):
        if isinstance(one, Link):
            assert one.url
            assert one.url.isprintable()
            assert "data:" not in one.url.lower() or one.url.lower().startswith(("http://", "https://"))
        else:
            assert images[one].picture is not None
    return files, verdict
