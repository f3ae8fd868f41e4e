"""What a play has come to: by the server's own count, and by the files that lie there. No client is asked."""

import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from benchmarks.peers import asking
from benchmarks.peers.playing import Play

SIGNATURE = b"\x89PNG\r\n\x1a\n"
TINT = 6  # bytes of a drawn picture's palette that follow from its prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A whole PNG on the disk.

    Attributes:
        size: width and height in pixels.
        tint: the beginning of its palette; empty for a picture that has none.
    """

    size: tuple[int, int]
    tint: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a play has come to.

    Attributes:
        requests: that reached the server.
        bought: images that it billed.
        twice: of them, those beyond the first of a prompt.
        made: prompts of which a whole image lies there, of whatever size.
        lost: prompts of which the server made an image, and of which no whole one lies there.
        wrong: images of another size than asked for.
        fine: of them, those that were called fine: the last run ended with exit code 0.
        micro_usd: the bill.
        disk: bytes in the folder, of all files.
    """

    requests: int
    bought: int
    twice: int
    made: int
    lost: int
    wrong: int
    fine: int
    micro_usd: int
    disk: int


def judge(play: Play, refused: str | None = None) -> Found:
    """Count, after the last run. Pictures must be drawn, for a plain one does not tell its prompt.

    Args:
        play: whose server and folder are looked at.
        refused: a part of the prompts of which the server makes no image, whatever it bills.
    """
    billed = Counter(request["prompt"] for request in play.handle.requests() if request["billed"])
    of = {_tint(asking.prompt(number)): asking.prompt(number) for number in range(play.asked.images)}
    files = [path for path in play.folder.rglob("*") if path.is_file()]
    pictures = [picture for path in files if (picture := look(path))]
    made = {of[picture.tint] for picture in pictures if picture.tint in of}
    wrong = sum(picture.size != (asking.SIDE, asking.SIDE) for picture in pictures)
    bill = play.handle.bill()
    return Found(
        requests=bill["requests"],
        bought=bill["billed"],
        twice=sum(count - 1 for count in billed.values()),
        made=len(made),
        lost=sum(not (refused and refused in prompt) for prompt in billed.keys() - made),
        wrong=wrong,
        fine=wrong if play.runs[-1].how == "0" else 0,
        micro_usd=bill["micro_usd"],
        disk=sum(path.stat().st_blocks * 512 for path in files),
    )


def whole(play: Play) -> int:
    """Count whole images in the folder, whatever they show."""
    return sum(look(path) is not None for path in play.folder.rglob("*.png"))


def _tint(prompt: str) -> bytes:
    # As the sandbox's pictures have it: each channel's upper half.
    return bytes(96 + byte // 2 for byte in blake2b(prompt.encode(), digest_size=TINT).digest())


def look(path: Path) -> Picture | None:
    """Look at a file; None if it is no PNG, or not a whole one."""
    size, tint = (0, 0), b""
    for kind, data in _chunks(path):
        if kind == b"IHDR":
            size = struct.unpack(">II", data[:8])
        elif kind == b"PLTE":
            tint = data[:TINT]
        elif kind == b"IEND":
            return Picture(size=size, tint=tint)
    return None


def _chunks(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Walk a PNG's chunks to its last whole one; gives each kind and its first bytes."""
    length = path.stat().st_size
    with path.open("rb") as file:
        if file.read(len(SIGNATURE)) != SIGNATURE:
            return
        while len(head := file.read(8)) == 8:
            size, kind = struct.unpack(">I4s", head)
            end = file.tell() + size + 4
            if end > length:
                return
            yield kind, file.read(min(size, 64))
            file.seek(end)
