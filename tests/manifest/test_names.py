"""Names are legal on every system, whatever goes into them."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchbanana.names import DEFAULT, FIELDS, NameTemplate, TemplateError, name_problem, safe, slug
from tests.manifest.conftest import FaultsOf, Load

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
TEMPLATES = st.lists(st.sampled_from([*(f"{{{field}}}" for field in FIELDS), "/", "-", "con", "a.", " b"]), max_size=10)
RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$) *(\.|$)")


def is_legal(name: str) -> bool:
    parts = name.split("/")
    return len(name.encode()) <= 400 and all(
        part not in {"", ".", ".."}
        and part == part.strip()
        and not part.endswith(".")
        and len(part.encode()) <= 200
        and not RESERVED.match(part)
        and not re.search(r'[<>:"\\|?*\x00-\x1f\x7f]', part)
        for part in parts
    )


@given(TEMPLATES, TEXT, TEXT)
def test_whatever_goes_in_a_name_is_legal_everywhere(template: list[str], one: str, two: str) -> None:
    try:
        names = NameTemplate.parse("".join(template))
    except TemplateError:
        return
    values = {"job": safe(one), "slug": slug([one, two]), "model": safe(two), "ratio": "21x9", "resolution": "4K"}
    values |= {"sample": "1000000", "key": "0123abcd"}
    name = names.render([values[field] for field in names.fields])
    assert is_legal(name), name
    assert name == unicodedata.normalize("NFC", name)
    assert name.count("0123abcd") >= names.fields.count("key"), "the key is never cut"


@given(TEXT)
def test_a_safe_value_has_only_letters_digits_and_single_dashes(text: str) -> None:
    value = safe(text)
    assert 0 < len(value) <= 60
    assert all(c == "-" or unicodedata.category(c)[0] in "LMN" for c in value)
    assert "--" not in value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Red Mug!", "Red-Mug"),
        ("马克杯", "马克杯"),
        ("हिन्दी", "हिन्दी"),
        ("2.1", "2-1"),
        ("../..", "x"),
        ("Mu\u0308ll", "Müll"),
    ],
)
def test_letters_of_every_script_stay(text: str, value: str) -> None:
    assert safe(text) == value


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        ("/abs/{key}", "begins with a slash"),
        ("a/../{key}", "empty or only dots"),
        ("a//{key}", "empty or only dots"),
        ("a\\{key}", "cannot be in file names"),
        ("{key}.", "ends with a dot"),
        ("{nope}", "neither a variable nor one of"),
        ("{key", "write a literal brace"),
        ("x" * 101, "too long"),
        ("", "empty or only dots"),
    ],
)
def test_a_template_that_could_not_be_legal_is_refused(template: str, sentence: str) -> None:
    with pytest.raises(TemplateError, match=re.escape(sentence)):
        NameTemplate.parse(template)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "CON", "aux.txt", "a:b", " a", "a.", "x" * 101])
def test_a_plain_name_is_no_path_and_legal(name: str) -> None:
    assert name_problem(name)
    assert name_problem("Frühling 2026") is None


def test_the_default_template_tells_what_an_image_is(load_manifest: Load) -> None:
    (task,) = load_manifest("jobs:\n  - id: hero\n    prompt: A {x}\n    vars: {x: red mug}\n    ratio: 16:9\n")
    assert task.name == f"hero/red-mug_16x9_1K_1_{task.key[:8]}"
    assert NameTemplate.parse(DEFAULT).has_key


COLLIDING = "images: '{job}/{x}'\njobs:\n  - id: a\n    prompt: A {x}\n    vars: {x: [%s]}\n"


def test_names_that_differ_only_in_case_collide(faults_of: FaultsOf, load_manifest: Load) -> None:
    (found,) = faults_of(COLLIDING % "Mug, mug")
    for part in ("3: `a` (x Mug, ", "and `a` (x mug, ", "add {key}"):
        assert part in found
    assert load_manifest(COLLIDING % "Mug, pot").cells == 2


def test_two_cells_that_are_one_image_may_share_a_name(load_manifest: Load) -> None:
    matrix = load_manifest((COLLIDING % "mug, pot") + "    include: [{x: mug}]\n")
    assert matrix.cells == 3
    assert len({task.key for task in matrix}) == 2
