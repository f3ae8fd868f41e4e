"""What every client is asked, and how: the same prompts, the same words on the command line. Standard library only."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MODEL = "gemini-nano-banana-2.1"  # its pictures are PNG, whose palette tells the judge which prompt they were drawn for
SIZE, RATIO, SIDE = "1K", "1:1", 1024
PRICE = 33_600  # micro-dollars an image: the service's list, November 2026
KEY = "benchmark"


def prompt(number: int) -> str:
    """Give the prompt of an image; no prompt is the beginning of another."""
    return f"A mug, number {number}, on a table"


def body(number: int) -> dict[str, object]:
    """Give the native request for an image, as the program sends it."""
    settings = {"responseModalities": ["IMAGE"], "imageConfig": {"aspectRatio": RATIO, "imageSize": SIZE}}
    part = {"text": prompt(number)}
    return {"contents": [{"role": "user", "parts": [part]}], "generationConfig": settings}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One run of a client.

    Attributes:
        url: the server's base URL.
        images: how many different prompts; the first has number 0.
        workers: requests at a time.
        folder: where images and records go; what an earlier run left there is to be gone on with.
        rpm: the service's quota of requests a minute, where the client is told of it.
        max_cost: dollars that all runs may spend, where there is a cap.
        timeout: seconds that one request may take.
        careful: be safe where the client leaves a choice between that and speed.
    """

    url: str
    images: int
    workers: int
    folder: Path
    rpm: int | None = None
    max_cost: float | None = None
    timeout: int = 120
    careful: bool = False

    @property
    def endpoint(self) -> str:
        """Give the address of the native format."""
        return f"{self.url}/v1beta/models/{MODEL}:generateContent"

    def words(self) -> list[str]:
        """Give the command line that `read` reads."""
        told = {"--rpm": self.rpm, "--max-cost": self.max_cost, "--timeout": self.timeout}
        options = [word for name, value in told.items() if value is not None for word in (name, str(value))]
        options += ["--careful"] if self.careful else []
        return [self.url, str(self.images), str(self.workers), str(self.folder), *options]


def read(words: Sequence[str] | None = None) -> Asked:
    """Read a command line; the process's own when none is given."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("images", type=int)
    parser.add_argument("workers", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rpm", type=int)
    parser.add_argument("--max-cost", type=float)
    parser.add_argument("--timeout", type=int, default=120)
    parser.add_argument("--careful", action="store_true")
    return Asked(**vars(parser.parse_args(words)))
