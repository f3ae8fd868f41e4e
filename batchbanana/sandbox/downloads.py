"""The pictures behind the addresses that some answers give instead of an image."""

from collections import OrderedDict
from dataclasses import dataclass

from batchbanana.sandbox.effects import Download
from batchbanana.sandbox.line import Answer, Transfer
from batchbanana.sandbox.problems import page

PATH = "/sandbox/images/"
_MOST = 1000  # pictures
_MOST_BYTES = 1 << 30  # a thousand of the largest would be 20 GB
_ENDINGS = {"image/png": "png", "image/jpeg": "jpg"}


@dataclass(slots=True, kw_only=True)
class _Kept:
    data: bytes
    label: str
    effect: Download | None
    asked: int = 0


class Downloads:
    """A bounded shelf of pictures by their path; the oldest goes first, and the newest always stays."""

    def __init__(self, *, most: int = _MOST, most_bytes: int = _MOST_BYTES) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._bytes = 0
        self._count = 0

    def keep(self, data: bytes, *, mime: str, label: str, effect: Download | None) -> str:
        """Keep a picture, and give its path; `mime` is what it is, `label` what its download claims."""
        self._count += 1
        path = f"{PATH}{self._count}.{_ENDINGS[mime]}"
        self._kept[path] = _Kept(data=data, label=label, effect=effect)
        self._bytes += len(data)
        while len(self._kept) > 1 and (len(self._kept) > self._most or self._bytes > self._most_bytes):
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= len(dropped.data)
        return path

    def fetch(self, path: str) -> tuple[Answer, Transfer]:
        """Give what a download gets, and how it is sent."""
        kept = self._kept.get(path)
        if kept is None:
            return _page(404, "Not Found"), Transfer()
        kept.asked += 1
        # With its length, as servers of files send it, so that a cut shows at once.
        headers = {"content-type": kept.label, "content-length": str(len(kept.data))}
        answer = Answer(status=200, headers=headers, body=(kept.data,))
        effect = kept.effect
        if effect is None or (effect.first is not None and kept.asked > effect.first):
            return answer, Transfer()
        if effect.status is not None:
            return _page(effect.status, "No Picture"), Transfer()
        if effect.redirect is not None:
            return Answer(status=302, headers={"location": effect.redirect}), Transfer()
        return answer, Transfer(hang="before" if effect.hang else None, cut=effect.cut)


def _page(status: int, title: str) -> Answer:
    text = str(page(status, title).body).encode()
    return Answer(status=status, headers={"content-type": "text/html; charset=UTF-8"}, body=(text,))
