"""Finds the images that a text speaks of: marks of image data that came within it, and addresses.

Addresses are of three sorts. A markdown image is one whatever its address looks like, even one that names no host or is
not of the web: where it is shown, an image was made. A markdown link and a bare address are images only if their path
ends as an image's name does, or if the whole text is just that bare address.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from batchbanana.providers import Link

Item = str | int | Link
"""What stands in a text, in order: words, the number of image data, the address of an image."""

ADDRESS_LIMIT = 8192  # characters; signed addresses have some thousand

# Every repetition is possessive or short, so that no text makes this slow.
_LABEL = r"\[(?:[^\[\]]++|\[[^\[\]]{0,300}+\](?!\())*+\]"
_TITLE = r"""(?:\s{1,9}(?:"[^"]{0,300}+"|'[^']{0,300}+'|\([^()]{0,300}+\)))?"""
_MARK = r"data:;base64,\#(?P<{}>[0-9]{{1,4}})\#"
_IN_ANGLES = r"<(?P<{}>https?://[^<>\s]++)>"
_IN_BRACKETS = r"(?P<plain>https?://(?:[^\s<>()\[\]]|\([^\s<>()\[\]]{0,300}+\))++)"
# Of an image alone: brackets in it, no host, or another scheme. Image data that was not taken out is no address.
_ODD = r"(?!<?[^\s<>()]*data:)(?:<(?P<odd_angled>[^<>\s]++)>|(?P<odd>(?:[^\s<>()]|\([^\s<>()]{0,300}+\))++))"
_CJK_PUNCTUATION = r"\u2018-\u201f\u2026\u3000-\u3011\uff01-\uff0c\uff1a\uff1b\uff1f"  # follows without a blank
_BARE_CHARACTER = rf"""[^\s<>()\[\]"'`|\\^{{}}{_CJK_PUNCTUATION}]"""
_BARE = r"(?P<bare>https?://(?:C|\(C{0,300}+\))++)".replace("C", _BARE_CHARACTER)
TOKEN = re.compile(
    rf"(?P<bang>!)?{_LABEL}\(\s{{0,9}}"
    rf"(?:<?{_MARK.format('shown')}>?|{_IN_ANGLES.format('angled')}|{_IN_BRACKETS}|(?(bang){_ODD}|(?!)))"
    rf"{_TITLE}\s{{0,9}}\)|{_MARK.format('mark')}|{_IN_ANGLES.format('auto')}|{_BARE}",
    re.IGNORECASE,
)

ADDRESS = re.compile(rf"https?://[^\s/?#][^\s]{{0,{ADDRESS_LIMIT}}}+", re.IGNORECASE)
IMAGE_PATH = re.compile(r"https?://[^/?#]++/[^?#]*\.(?:png|jpe?g|webp|gif|avif|hei[cf])(?:[?#]|\Z)", re.IGNORECASE)
PUNCTUATION = ".,;:!?*_~"  # that follows a bare address: a sentence's, or markdown's around it
DECORATION = " \t\r\n[]()!<>*_`\"'|#~:.,;-"  # characters that say nothing when they stand alone


@dataclass(slots=True)
class Attention:
    """How much may still be looked at in the texts of one answer; once it is used up, what remains is words.

    Attributes:
        tokens: marks and addresses, which take up to 10 us each.
        characters: of texts, which take up to 0.25 us each; 32,768 tokens, a model's longest answer, are as many.
    """

    tokens: int = 1000
    characters: int = 128 * 1024


def items_of(text: str, attention: Attention) -> Iterator[Item]:
    """Give what stands in a sifted text, in order."""
    whole = text.strip()
    looked_at = text[: attention.characters]
    attention.characters -= len(looked_at)
    position = 0
    for found in islice(TOKEN.finditer(looked_at), attention.tokens):
        attention.tokens -= 1
        yield from _words(text[position : found.start()])
        position = found.end()
        mark = found["shown"] or found["mark"]
        address = None if mark else _image_address(found, whole)
        if mark:
            yield int(mark)
        elif address:
            yield Link(address)
    yield from _words(looked_at[position:])
    if len(looked_at) < len(text):
        yield text[len(looked_at) :]


def address_of(text: str) -> Link | None:
    """Give the address that a text is, with nothing beside it; None when it is none."""
    text = text.strip()
    return Link(text) if ADDRESS.fullmatch(text) and text.isprintable() else None


def is_whole(link: Link) -> bool:
    """Say whether an address is of the web and names its host; others serve only when nothing better came."""
    return ADDRESS.fullmatch(link.url) is not None


def _image_address(found: re.Match[str], whole: str) -> str | None:
    bare = found["auto"] or (found["bare"] or "").rstrip(PUNCTUATION)
    address: str = bare or found["angled"] or found["plain"] or found["odd_angled"] or found["odd"]
    if found["bang"]:
        return address if len(address) <= ADDRESS_LIMIT and address.isprintable() else None
    counts = IMAGE_PATH.match(address) or (bare and whole in {bare, f"<{bare}>"})
    return address if counts and address_of(address) else None


def _words(text: str) -> Iterator[str]:
    if text and text.strip(DECORATION):
        yield text.strip()
