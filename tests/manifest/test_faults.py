"""Every fault has a line and a remedy, and all of them come at once."""

from pathlib import Path

import pytest

from batchbanana.errors import ManifestError
from batchbanana.manifest.files import LARGEST_REQUEST
from batchbanana.matrix import load
from tests.manifest.conftest import PNG, FaultsOf, Load

JOB = "jobs:\n  - id: a\n    prompt: a mug\n"  # three lines

YAML_FAULTS: dict[str, tuple[str, str]] = {
    "an unknown key at the top": (f"modle: x\n{JOB}", "1: the manifest has no key `modle`: did you mean `model`?"),
    "an unknown key in a job": (f"{JOB}    ratios: 1:1\n", "4: a job has no key `ratios`: did you mean `ratio`?"),
    "an unknown key in limits": (f"limits: {{rpm: 3}}\n{JOB}", "1: `limits` has no key `rpm`"),
    "a key said twice": (f"{JOB}    ratio: 1:1\n    ratio: 1:1\n", "5: the key `ratio` stands here and in line 4"),
    "an id said twice": (f"{JOB}  - id: a\n    prompt: b\n", "4: the id `a` stands here and in line 2"),
    "an id that is a path": ("jobs:\n  - id: ../a\n    prompt: b\n", "2: the id `../a` is a path"),
    "a reserved id": ("jobs:\n  - id: nul\n    prompt: b\n", "2: the id `nul` is a reserved name on Windows"),
    "extra that sets the size": (
        "extra: {generationConfig: {imageConfig: {imageSize: 4K}}}\njobs:\n  - prompt: b\n",
        "1: `extra` sets `imageConfig`",
    ),
    "extra that sets the number": (
        "extra: {generationConfig: {candidate_count: 4}}\njobs:\n  - prompt: b\n",
        "1: `extra` sets `candidate_count`",
    ),
    "extra that sets the prompt": ("jobs:\n  - prompt: b\n    extra: {contents: []}\n", "3: `extra` sets `contents`"),
    "a job without a prompt": ("jobs:\n  - id: b\n", "2: a job has no `prompt`"),
    "no jobs": ("name: x\n", "1: the manifest has no `jobs`"),
    "an empty file": ("# nothing\n", "the file is empty"),
    "a list at the top": ("- a\n", "1: the manifest must be a mapping"),
    "two documents": (f"{JOB}---\na: b\n", "4: a second YAML document begins here"),
    "a tab": ("jobs:\n\t- id: a\n", "2: a tab indents this line"),
    "an open bracket": ("ratio: [1:1\njobs:\n", "2: the YAML cannot be read here"),
    "braces without quotes": (f"{JOB}    references: [a/{{b}}.png]\n", "4: a value with braces between [ ] or { } is"),
    "a bare variable": (
        f"{JOB}    references: [{{b}}]\n",
        "4: `references` takes a value or a list of values, not a mapping: put",
    ),
    "a secret as a word": (f"provider: {{auth: sk-hidden}}\n{JOB}", "1: the value of `auth` looks like an API key"),
    "a secret as a section": (
        f"provider: sk-hidden\n{JOB}",
        "1: `provider` must be a mapping with keys such as `format`",
    ),
    "a control character": ("name: a\x01\n", "1: the control character U+0001"),
    "a key that is no text": (f"{JOB}    extra: {{null: 1}}\n", "4: a key must be text"),
    "an unknown tag": (
        f"{JOB}    model: !!python/name:os.system x\n",
        "4: the tag `!!python/name:os.system` means nothing",
    ),
    "an alias of itself": (f"{JOB}    extra: &x {{a: *x}}\n", "4: `*x` stands inside what it stands for"),
    "a missing anchor": (f"{JOB}    extra: *x\n", "4: "),
    "deep nesting": (f"{JOB}    extra: {'[' * 80}{']' * 80}\n", "4: this is nested more than 64 levels deep"),
    "a key in the manifest": (f"provider: {{api_key: AIzaSecret}}\n{JOB}", "1: a key in a manifest is refused"),
    "a key in a wrong place": (
        f"provider: {{api_key_env: sk-secret}}\n{JOB}",
        "1: the value of `api_key_env` looks like",
    ),
    "a bad address": (f"provider: {{base_url: example.com}}\n{JOB}", "1: `base_url` must be an address"),
    "a password in the address": (
        f"provider: {{base_url: 'https://a:b@c.d'}}\n{JOB}",
        "1: `base_url` must have no user",
    ),
    "a dialect of the wrong format": (
        f"provider: {{dialect: suffix}}\n{JOB}",
        "1: `dialect` is for `format: openai` only",
    ),
    "a dialect that is mute": (
        f"provider: {{format: openai, dialect: none}}\n{JOB}    ratio: 16:9\n",
        "3: `dialect: none` cannot ask for 16:9",
    ),
    "money with a sign": (f"limits: {{max_cost: $25}}\n{JOB}", "1: `max_cost` must be US dollars such as 25.00"),
    "money too fine": (f"limits: {{max_cost: 0.0000001}}\n{JOB}", "1: `max_cost` must be US dollars"),
    "money without end": (f"limits: {{max_cost: .inf}}\n{JOB}", "1: `max_cost` must be US dollars"),
    "no workers": (f"limits: {{concurrency: 0}}\n{JOB}", "1: `concurrency` must be a whole number from 1"),
    "a small k": (f"{JOB}    resolution: 4k\n", "4: `resolution` cannot be `4k`: a resolution is written 4K"),
    "a ratio with an x": (f"{JOB}    ratio: 16x9\n", "4: `ratio` cannot be `16x9`: a ratio is written like 16:9"),
    "a ratio that is not made": (
        f"{JOB}    ratio:\n      - 1:1\n      - 7:5\n",
        "6: `gemini-nano-banana-2.1` does not make 7:5: it makes 1:1, 2:3",
    ),
    "a size that is not made": (
        f"resolution: 4K\n{JOB}    model: gemini-2.5-flash-image\n",
        "1: `gemini-2.5-flash-image` does not make 4K: it makes 1K",
    ),
    "an axis value twice": (f"{JOB}    ratio: [1:1, 1:1]\n", "4: `ratio` has `1:1` twice"),
    "an empty axis": (f"{JOB}    ratio: []\n", "4: `ratio` is an empty list"),
    "a key without a value": (f"{JOB}    ratio:\n", "4: `ratio` has no value"),
    "no samples": (f"{JOB}    samples: 0\n", "4: `samples` must be a whole number from 1"),
    "a fallback that climbs": (f"{JOB}    fallback: {{2K: 4K}}\n", "4: `fallback` from 2K to 4K does not go down"),
    "a fallback that stays": (f"{JOB}    fallback: {{2K: 2K}}\n", "4: `fallback` from 2K to 2K does not go down"),
    "a timeout of nothing": (f"{JOB}    timeouts: {{2K: 0}}\n", "4: a timeout is a number of seconds"),
    "a number JSON has not": (f"{JOB}    extra: {{seed: .nan}}\n", "4: `extra` has `.nan`"),
    "the same prompt twice": ("jobs:\n  - id: a\n    prompt: [b, b]\n", "3: this prompt stands here twice"),
    "a prompt file that is not there": (
        "jobs:\n  - id: a\n    prompt: {file: p.txt}\n",
        "3: the prompt file `p.txt` does",
    ),
    "a prompt of nothing": ("jobs:\n  - id: a\n    prompt: {}\n", "3: `prompt` needs `file`"),
    "a variable of nothing": (
        "jobs:\n  - {id: a, prompt: '{x}', vars: {x: {}}}\n",
        "2: the variable `x` needs `files`",
    ),
    "rows that are not there": (f"{JOB}    rows: r.csv\n", "4: the rows file `r.csv` does not exist"),
    "rows of different variables": (
        "jobs:\n  - id: a\n    prompt: '{x}'\n    rows:\n      - {x: 1}\n      - {y: 1}\n",
        "6: every row must set the same variables: this one and the first differ in x, y",
    ),
    "an encoding nobody knows": (f"{JOB}    rows: {{file: r.csv, encoding: klingon}}\n", "4: the encoding `klingon`"),
    "files that match nothing": (
        "jobs:\n  - id: a\n    prompt: '{p}'\n    vars: {p: {files: '*.jpg'}}\n",
        "4: `files: *.jpg` matches no file",
    ),
    "a reference that is not there": (f"{JOB}    references: no.png\n", "4: the reference `no.png` does not exist"),
    "a folder as reference": (f"{JOB}    references: .\n", "4: the reference `.` is a directory"),
    "too many references": (
        f"{JOB}    model: gemini-2.5-flash-image\n    references: [m.yaml, b, c, d]\n",
        "5: `gemini-2.5-flash-image` takes at most 3 references, not 4",
    ),
    "a name template that climbs out": (f"images: ../{{key}}\n{JOB}", "1: the name template `../{key}` cannot be used"),
    "an unknown field in names": (f"images: '{{slog}}'\n{JOB}", "did you mean `slug`?"),
    "a pick that is too large": (f"{JOB}    pick: {{count: 2}}\n", "4: `pick` takes 2 cells, but `a` has 1"),
}

VARIABLES = "jobs:\n  - id: a\n    prompt: A {product}\n    vars: {product: [mug, pot]}\n"  # four lines
VARIABLE_FAULTS: dict[str, tuple[str, str]] = {
    "no value": (
        VARIABLES.replace("A {product}", "A {prodct}"),
        "3: the prompt uses `{prodct}`, which has no value: did",
    ),
    "an attribute": (
        VARIABLES.replace("{product}\n", "{product.__class__}\n"),
        "3: the prompt cannot be read: `{product.",
    ),
    "a conversion": (VARIABLES.replace("{product}\n", "{product!r}\n"), "write a literal brace as {{ or }}"),
    "a lone brace": (VARIABLES.replace("{product}\n", "{product} }\n"), "3: the prompt cannot be read: `}`"),
    "a variable used nowhere": (
        VARIABLES.replace("mug, pot]", "mug, pot], size: [s, l]"),
        "4: the variable `size` is used nowhere, so the same image would be bought again",
    ),
    "a variable twice": (f"{VARIABLES}    rows: [{{product: cup}}]\n", "4: `product` is set by `rows` and by `vars`"),
    "a value twice": (VARIABLES.replace("pot", "mug"), "4: the variable `product` has `mug` twice"),
    "a variable called like an axis": (VARIABLES.replace("product", "ratio"), "4: a variable cannot be called `ratio`"),
    "an unknown field in exclude": (f"{VARIABLES}    exclude: [{{prodct: mug}}]\n", "5: an `exclude` entry has no key"),
    "an include without a variable": (
        f"{VARIABLES}    include: [{{ratio: 1:1}}]\n",
        "5: this `include` entry must name",
    ),
    "an include of a strange ratio": (
        f"{VARIABLES}    include: [{{product: cup, ratio: 7:5}}]\n",
        "5: `gemini-nano-banana-2.1` does not make 7:5",
    ),
}


@pytest.mark.parametrize("case", YAML_FAULTS | VARIABLE_FAULTS)
def test_a_fault_names_its_line_and_what_to_do(case: str, faults_of: FaultsOf) -> None:
    text, expected = (YAML_FAULTS | VARIABLE_FAULTS)[case]
    found = faults_of(text)
    assert any(fault.startswith(expected) or expected in fault for fault in found), found
    assert len(found) == 1 or case in {"no value", "too many references", "an unknown field in exclude"}, found


def test_all_faults_come_at_once_in_the_order_of_their_lines(faults_of: FaultsOf) -> None:
    found = faults_of(
        "modle: x\nlimits: {max_cost: many}\njobs:\n  - id: a\n    prompt: '{x} {y}'\n    vars: {x: [1]}\n"
        "    ratio: 3:1\n    references: no.png\n    exclude: [{z: 1}]\n  - id: a\n"
    )
    assert [fault.split(":")[0] for fault in found] == ["1", "2", "5", "7", "8", "9", "10", "10"]


def test_a_secret_is_never_quoted(faults_of: FaultsOf) -> None:
    found = faults_of(f"provider: {{base_url: 'AIzaSecretKey', api_key: sk-othersecret}}\n{JOB}")
    assert "Secret" not in " ".join(found)
    assert "othersecret" not in " ".join(found)


def test_a_bomb_of_aliases_is_refused_before_it_grows(faults_of: FaultsOf) -> None:
    lines = ["x0: &x0 [a, a, a, a, a, a, a, a, a, a]"]
    lines += [f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "aliases grow this to more than" in faults_of("\n".join(lines))[0]


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("m.txt", b"", "is no manifest by its name: it must end in .yaml, .yml or .csv"),
        ("m.yaml", b"\x00\x01\xff", "the manifest is not a text file"),
        ("m.yaml", b"name: \xff", "the manifest cannot be read as UTF-8 at byte 6: save it as UTF-8"),
        (
            "m.csv",
            "prompt\n马克杯".encode("gbk"),
            "cannot be read as UTF-8 at byte 7: save it as UTF-8, or use it as rows",
        ),
        ("nul.csv", b"prompt\na\n", "the file's name is a reserved name on Windows"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_fault(name: str, data: bytes, sentence: str, faults_of: FaultsOf) -> None:
    (found,) = faults_of(data, name)
    assert sentence in found


def test_a_missing_manifest_and_a_directory_are_faults(tmp_path: Path) -> None:
    (tmp_path / "d.yaml").mkdir()
    for name, sentence in (("no.yaml", "does not exist"), ("d.yaml", "is a directory")):
        with pytest.raises(ManifestError, match=sentence):
            load(tmp_path / name)


def test_rows_in_another_encoding_say_how_to_name_it(tmp_path: Path, load_manifest: Load, faults_of: FaultsOf) -> None:
    (tmp_path / "r.csv").write_bytes("name\n马克杯\n".encode("gbk"))
    text = "jobs:\n  - id: a\n    prompt: '{name}'\n    rows: "
    (found,) = faults_of(f"{text}r.csv\n")
    assert found.startswith("4: the rows file `r.csv` cannot be read as UTF-8 at byte 5: add `encoding:`")
    (task,) = load_manifest(f"{text}{{file: r.csv, encoding: gbk}}\n")
    assert task.prompt == "马克杯"


@pytest.mark.parametrize(
    ("data", "sentence"), [(b"", "is empty"), (b"GIF89a", "is not an image that can be sent"), (None, "does not exist")]
)
def test_a_reference_that_cannot_be_sent_is_a_fault(
    data: bytes | None, sentence: str, tmp_path: Path, faults_of: FaultsOf
) -> None:
    if data is not None:
        (tmp_path / "r.png").write_bytes(data)
    (found,) = faults_of(f"{JOB}    references: r.png\n")
    assert sentence in found


def test_references_too_heavy_together_are_a_fault(tmp_path: Path, faults_of: FaultsOf, load_manifest: Load) -> None:
    half = PNG + b"\0" * (LARGEST_REQUEST // 2)
    for name in ("a", "b"):
        (tmp_path / f"{name}.png").write_bytes(half)
    (found,) = faults_of(f"{JOB}    references: [a.png, b.png]\n")
    assert found.startswith("2: the references a.png, b.png weigh 15.0 MB together")
    assert "a smaller one is sent faster" in load_manifest(f"{JOB}    references: a.png\n").warnings[0]


def test_a_combination_that_is_excluded_needs_no_file(tmp_path: Path, load_manifest: Load, faults_of: FaultsOf) -> None:
    (tmp_path / "mug.png").write_bytes(PNG)
    text = f'{VARIABLES}    references: "{{product}}.png"\n'
    assert faults_of(text) == [
        "5: the reference `pot.png` does not exist: check the path, which is relative to the manifest"
    ]
    assert load_manifest(f"{text}    exclude: [{{product: pot}}]\n").cells == 1


def test_more_than_a_million_tasks_need_leave(faults_of: FaultsOf, load_manifest: Load) -> None:
    text = f"{JOB}    samples: 1000000\n    ratio: [1:1, 16:9]\n"
    assert "allow it with --max-tasks 2000000" in faults_of(text)[0]
    assert load_manifest(text, max_tasks=2_000_000).cells == 2_000_000
