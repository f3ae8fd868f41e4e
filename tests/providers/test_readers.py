"""Both readers give back what was put into an answer, however it was written, cut, broken off or damaged.

A test takes 200 examples, or as many as BATCHBANANA_EXAMPLES says. Two hundred thousand, 20,000 for each of ten tests:

    BATCHBANANA_EXAMPLES=20000 pytest -q -n 2 tests/providers/test_readers.py
"""

import base64
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchbanana.providers import Choice, Link
from batchbanana.providers.tables import FINISH_REASONS
from batchbanana.task import Failure
from tests.providers.building import (
    PROVIDERS,
    attempt,
    chat,
    check_that_cuts_never_show,
    data_uri,
    document,
    picture,
    received,
    text,
)

EXAMPLES = settings(max_examples=int(os.environ.get("BATCHBANANA_EXAMPLES", "200")))

PICTURES = [picture(1024, colour) for colour in range(4)] + [picture(512)]


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture in an answer: where its data stands, and how its base64 is written."""

    data: bytes
    native: bool = False
    form: Callable[[bytes], bytes] = base64.b64encode
    kind: str = "image/png"

    @property
    def base64(self) -> str:
        return self.form(self.data).decode()

    @property
    def uri(self) -> str:
        return f"data:{self.kind};base64,{self.base64}"


Atom = str | Shown | Link


def in_lines(data: bytes, end: bytes) -> bytes:
    return base64.encodebytes(data).strip().replace(b"\n", end)


FORMS: list[Callable[[bytes], bytes]] = [
    base64.b64encode,
    base64.urlsafe_b64encode,
    lambda data: base64.b64encode(data).rstrip(b"="),
    lambda data: in_lines(data, b"\n"),
    lambda data: in_lines(data, b"\r\n"),
]
KINDS = ["image/png", "image/jpg", "image/webp;charset=utf-8", "IMAGE/JPEG;name=a.jpg", "application/octet-stream", ""]
WORDS = [
    "Here you are",
    "完成。",
    'a "b" \\ c/d',
    "see data:text/plain,x or data:image/png;base64, …",
    "🍌 (fine)",
    "d",
]
SHOWN = st.builds(
    Shown, st.sampled_from(PICTURES), st.booleans(), form=st.sampled_from(FORMS), kind=st.sampled_from(KINDS)
)
LINKS = st.builds(
    "{}://{}/{}.{}{}".format,
    st.sampled_from(["https", "HTTP"]),
    st.sampled_from(["example.com", "a.example:8443", "[2001:db8::1]"][:2]),
    st.text("ab_-%/", min_size=1, max_size=8),
    st.sampled_from(["png", "jpg", "JPEG", "webp", "gif", "avif", "heic"]),
    st.sampled_from(["", "?a=b&c=d%20e", "#x"]),
).map(Link)
ATOMS = st.lists(st.sampled_from(WORDS) | SHOWN | LINKS, min_size=1, max_size=5)


def in_markdown(atom: Atom, form: int) -> str:
    """Write an atom as it may stand in a text, in one of the usual ways."""
    if isinstance(atom, str):
        return atom
    target = atom.url if isinstance(atom, Link) else atom.uri
    forms = [f"![a [b] c]({target})", f"[get it]({target})", f'![](<{target}> "title")', f"<{target}>", target]
    return forms[form % len(forms)]


def native_document(atoms: list[Atom], form: int) -> object:
    """Write atoms as parts of the native format, each in a part of its own or all in one text."""
    if form % 3 == 0 and not any(isinstance(atom, Shown) and atom.native for atom in atoms):
        return document(text("\n\n".join(in_markdown(atom, form + at) for at, atom in enumerate(atoms))))
    parts: list[object] = []
    for at, atom in enumerate(atoms):
        if isinstance(atom, Shown) and atom.native:
            data = atom.base64 if (form + at) % 2 else atom.uri
            parts.append({"inlineData": {"mimeType": "image/png", "data": data}, "thoughtSignature": "s" * 99})
        elif isinstance(atom, Link) and (form + at) % 2:
            parts.append({"fileData": {"mimeType": "image/png", "fileUri": atom.url}})
        else:
            parts.append(text(in_markdown(atom, form + at)))
        parts.append(text("data:image/png;base64,AAAA", thought=True))
    return document(*parts)


def chat_document(atoms: list[Atom], form: int) -> object:
    """Write atoms as a chat's message, all in one text, in parts, or as its images; or as an images endpoint does."""
    if form % 4 == 0:
        return chat({"content": "\n\n".join(in_markdown(atom, form + at) for at, atom in enumerate(atoms))})
    parts = [chat_part(atom, form + at) for at, atom in enumerate(atoms)]
    if form % 4 == 1 or any(isinstance(atom, str) for atom in atoms):
        return chat({"role": "assistant", "content": parts})
    return chat({"content": None, "images": parts}) if form % 4 == 2 else {"created": 1, "data": parts}


def chat_part(atom: Atom, form: int) -> object:
    if isinstance(atom, str):
        return [{"type": "text", "text": atom}, atom][form % 2]
    target = atom.url if isinstance(atom, Link) else atom.uri
    forms: list[object] = [
        {"type": "image_url", "image_url": {"url": target}},
        {"type": "output_image", "imageUrl": target},
        {"type": "image", "image": target},
        {"type": "text", "text": in_markdown(atom, form)},
        {"url": target},
        target,
    ]
    if isinstance(atom, Shown):
        forms += [
            {"b64_json": atom.base64},
            {"b64Json": atom.uri},
            {"type": "image", "source": {"type": "base64", "data": atom.base64}},
            {"inlineData": {"data": atom.base64}},
            {"image": atom.base64},
        ]
    return forms[form % len(forms)]


def expected(atoms: list[Atom], *, native_first: bool) -> list[bytes | Link]:
    """Say which images count, the one that matters first: the last of those back to back, data before addresses."""
    ranks: list[Callable[[Atom], bool]] = [
        lambda atom: isinstance(atom, Shown) and (atom.native or not native_first),
        lambda atom: isinstance(atom, Shown),
        lambda atom: isinstance(atom, Link),
    ]
    wanted = next((rank for rank in ranks if any(map(rank, atoms))), None)
    groups: list[list[Atom]] = [[]]
    seen: set[Atom] = set()
    for atom in atoms:
        if isinstance(atom, str):
            groups.append([])
        elif wanted is not None and wanted(atom) and not (isinstance(atom, Link) and atom in seen):
            groups[-1].append(atom)
            seen.add(atom)
    last = [group[-1] for group in groups if group]
    return [
        atom.data if isinstance(atom, Shown) else atom for atom in [*last[-1:], *last[:-1]] if not isinstance(atom, str)
    ]


DOCUMENTS = {"gemini": native_document, "openai": chat_document}


def reordered(value: Any, order: int) -> Any:
    """Put all keys into another order."""
    if isinstance(value, list):
        return [reordered(item, order) for item in value]
    if not isinstance(value, dict):
        return value
    keys = [list(value), sorted(value), sorted(value, reverse=True)][order]
    return {key: reordered(value[key], order) for key in keys}


@st.composite
def spellings(draw: st.DrawFn) -> Callable[[object], bytes]:
    r"""Choose how JSON is written: order of keys, white space, and which characters are `\u` escapes or `\/`."""
    order, indent = draw(st.integers(0, 2)), draw(st.sampled_from([None, None, 1]))
    escaped = draw(st.sampled_from(["", "", "A", "/", "=", "d", "hA/", ":,;(", "1"]))
    slash, ascii_only, before = draw(st.booleans()), draw(st.booleans()), draw(st.sampled_from(["", "\n \ufeff"]))

    def spell(value: object) -> bytes:
        body = json.dumps(reordered(value, order), indent=indent, ensure_ascii=ascii_only)
        pieces = body.split('"')  # every other one is a string, unless it holds quotes
        for at in range(1, len(pieces), 2) if '\\"' not in body else ():
            for char in escaped if "\\" not in pieces[at] else "":
                pieces[at] = pieces[at].replace(char, f"\\u{ord(char):04x}" if char != "1" else char)
            pieces[at] = pieces[at].replace("/", "\\/") if slash else pieces[at]
        return (before + '"'.join(pieces)).encode()

    return spell


CUTS = st.lists(st.integers(0, 4000), max_size=12).map(tuple)
BOTH = pytest.mark.parametrize("name", sorted(PROVIDERS))


@BOTH
@EXAMPLES
@given(atoms=ATOMS, form=st.integers(0, 1000), spell=spellings(), cuts=CUTS)
def test_what_was_put_in_comes_out(
    name: str, atoms: list[Atom], form: int, spell: Callable[[object], bytes], cuts: tuple[int, ...]
) -> None:
    reader = PROVIDERS[name].reader()
    files, images = received(reader, spell(DOCUMENTS[name](atoms, form)), cuts)
    assert reader.complete
    verdict = reader.judge(attempt(), images)
    wanted = expected(atoms, native_first=name == "gemini")
    if not wanted:
        assert isinstance(verdict, Failure)
        return
    assert isinstance(verdict, Choice)
    found = [verdict.main, *verdict.extras]
    assert [one if isinstance(one, Link) else files[one] for one in found] == wanted


@BOTH
@EXAMPLES
@given(atoms=ATOMS, form=st.integers(0, 1000), spell=spellings(), cuts=CUTS, keep=st.floats(0, 1))
def test_an_answer_that_breaks_off_anywhere_delivers_only_what_was_put_in(
    name: str, atoms: list[Atom], form: int, spell: Callable[[object], bytes], cuts: tuple[int, ...], keep: float
) -> None:
    body = spell(DOCUMENTS[name](atoms, form))
    files, verdict = check_that_cuts_never_show(PROVIDERS[name], body[: int(len(body) * keep)], cuts)
    if isinstance(verdict, Choice):
        put_in = {atom.data if isinstance(atom, Shown) else atom for atom in atoms if not isinstance(atom, str)}
        assert {one if isinstance(one, Link) else files[one] for one in (verdict.main, *verdict.extras)} <= put_in


MUTATIONS = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.integers(0, 3),
        st.binary(max_size=3)
        | st.sampled_from([b'"', b"\\", b"{", b"]", b",", b"=", b")", b"\\u", b"\n", b"data:", b"#0#"]),
    ),
    min_size=1,
    max_size=6,
)  # fmt: skip


@BOTH
@EXAMPLES
@given(atoms=ATOMS, form=st.integers(0, 1000), spell=spellings(), cuts=CUTS, mutations=MUTATIONS)
def test_damage_anywhere_raises_nothing_and_never_shows_the_cuts(
    name: str,
    atoms: list[Atom],
    form: int,
    spell: Callable[[object], bytes],
    cuts: tuple[int, ...],
    mutations: list[tuple[float, int, bytes]],
) -> None:
    body = spell(DOCUMENTS[name](atoms, form))
    for share, gone, put in mutations:
        place = int(len(body) * share)
        body = body[:place] + put + body[place + gone :]
    check_that_cuts_never_show(PROVIDERS[name], body, cuts)


NAMES = [
    "candidates", "content", "parts", "text", "inlineData", "inline_data", "data", "thought", "finishReason",
    "promptFeedback", "blockReason", "usageMetadata", "fileData", "fileUri", "modelVersion", "error", "code", "message",
    "details", "metadata", "raw", "choices", "images", "image_url", "url", "b64_json", "finish_reason",
    "native_finish_reason", "refusal", "usage", "completion_tokens", "source", "output", "result", "model", "type",
]  # fmt: skip
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-1, 3)
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from([*FINISH_REASONS, "\ud800", "https://a.b/c.png", "http://", data_uri(PICTURES[0]), "QUJD", "503"])
    | st.sampled_from(['{"error":{"code":429}}', "[{", "![](https://a.b/c)", "iVBORw0KGgoAAAA", "1" * 30])
)
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)
)


@BOTH
@EXAMPLES
@given(tree=TREES, cuts=CUTS)
def test_any_document_of_known_names_in_unknown_places_is_judged(
    name: str, tree: object, cuts: tuple[int, ...]
) -> None:
    check_that_cuts_never_show(PROVIDERS[name], json.dumps(tree).encode(), cuts)


@BOTH
@EXAMPLES
@given(
    body=st.binary(max_size=200),
    start=st.sampled_from([b"", b"{", b'{"choices":[{"message":{"content":"', b'{"candidates":[{"content":{"parts":[']),
    cuts=CUTS,
)
def test_any_bytes_are_judged(name: str, body: bytes, start: bytes, cuts: tuple[int, ...]) -> None:
    check_that_cuts_never_show(PROVIDERS[name], start + body, cuts)
