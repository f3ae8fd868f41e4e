"""Answers of 30 MB in either format, 16 workers: does an image cost more where it hides in the text of a chat?"""

import tempfile
from pathlib import Path

from benchmarks.measuring import MB, Measured, server, table
from benchmarks.program import run_program

SIZE, BYTES, WORKERS, IMAGES = "4K", 30 * MB, 16, 64
CHAT = {"format": "openai", "dialect": "image_config"}


def _made(provider: dict[str, str], **script: object) -> Measured:
    with server(bytes=BYTES, **script) as handle, tempfile.TemporaryDirectory() as name:
        return run_program(Path(name), handle, images=IMAGES, workers=WORKERS, size=SIZE, provider=provider)


def main() -> None:
    """Print peaks and processor time beside the native format's."""
    native = _made({})
    found = {
        "native": native,
        "chat, data URI in markdown": _made(CHAT, format_quirks={"shape": "markdown"}),
        "chat, message.images": _made(CHAT, format_quirks={"shape": "images"}),
        "chat, an address": _made(CHAT, format_quirks={"shape": "url"}),
    }
    rows = [
        [
            name,
            f"{each.peak / MB:.0f} MB",
            f"{each.peak / native.peak:.2f} x",
            f"{each.cpu / IMAGES * 1000:.0f}",
            f"{each.cpu / native.cpu:.2f} x",
        ]
        for name, each in found.items()
    ]
    head = ["answer", "peak memory", "to native", "CPU ms an image", "to native"]
    table(f"images of {BYTES // MB} MB, {WORKERS} workers, {IMAGES} images", head, rows)
