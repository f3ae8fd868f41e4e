"""A user's registry changes what it names, is checked as strictly as a manifest, and wins in a known order."""

from fractions import Fraction
from pathlib import Path

import pytest

from batchbanana.errors import ManifestError
from batchbanana.manifest import builtin, load_registry
from batchbanana.manifest.registry import ENTRY_KEYS
from batchbanana.matrix import load
from batchbanana.models import MOST_REFERENCES, Model, Prices, Registry, State, Tier
from tests.manifest.conftest import FaultsOf, Load

JOB = "jobs:\n  - id: a\n    prompt: a mug\n"


def registry(folder: Path, text: str | bytes, name: str = "own.yaml") -> Registry:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_registry(path)


def registry_faults(folder: Path, text: str | bytes) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        registry(folder, text)
    return [str(fault).removeprefix(f"{folder}/own.yaml:").strip() for fault in caught.value.faults]


def test_an_entry_of_a_known_model_changes_only_what_it_names(tmp_path: Path) -> None:
    own = registry(tmp_path, "- id: gemini-3-pro-image\n  prices: {4K: 0.2}\n  references: 6\n  aliases: [pro]\n")
    before, after = builtin().find("gemini-3-pro-image"), own.find("gemini-3-pro-image")
    assert after.prices == Prices(by_size={"1K": 134_000, "2K": 134_000, "4K": 200_000})
    assert (after.references, after.aliases) == (6, ("nano-banana-pro", "pro"))
    assert after.tokens == {"1K": 1120, "2K": 1120}  # a price of one's own is for the call, whatever it is counted as
    kept = ("name", "ratios", "pixels", "sizes", "factors", "output", "state", "known")
    assert [getattr(after, key) for key in kept] == [getattr(before, key) for key in kept]
    assert [model.id for model in own.models] == [model.id for model in builtin().models]
    assert own.find("pro").price("4K") == 200_000


def test_an_alias_or_prefix_names_the_model_whose_entry_is_meant(tmp_path: Path) -> None:
    own = registry(tmp_path, "models: [{id: google/nano-banana-pro, price: 0.09}]\n")
    assert own.find("gemini-3-pro-image").price("4K") == 90_000
    assert len(own.models) == len(builtin().models)


def test_a_new_model_is_known_and_permissive_in_what_is_left_out(tmp_path: Path) -> None:
    model = registry(tmp_path, "- id: relay-banana\n").find("relay-banana")
    assert model == Model(id="relay-banana", name="relay-banana", factors=builtin().factors)
    assert (model.known, model.ratios, model.sizes, model.references) == (True, (), (), MOST_REFERENCES)
    assert model.price("1K") is None


def test_every_key_of_an_entry_arrives_and_ratios_need_no_quotes(tmp_path: Path) -> None:
    text = """\
factors: {flex: 0.4}
pixels:
  mine: &mine {16:9: [1600, 900]}
models:
  - id: b
    name: Banana
    aliases: [bee]
    ratios: [1:1, 16:9]
    pixels: *mine
    sizes: [512, 8K]
    omit_size: true
    references: 0
    prices: {512: 0.000001, 8K: 1}
    reference_price: 0.002
    factors: {batch: 0.25}
    tokens: {8K: 9000}
    output: image/png
    state: deprecated
    note: it is old
    successor: c
"""
    model = registry(tmp_path, text).find("b")
    assert model == Model(
        id="b",
        name="Banana",
        aliases=("bee",),
        ratios=("1:1", "16:9"),
        pixels={"16:9": (1600, 900)},
        sizes=("512", "8K"),
        omit_size=True,
        references=0,
        prices=Prices(by_size={"512": 1, "8K": 1_000_000}),
        reference_price=2_000,
        factors={Tier.FLEX: Fraction(2, 5), Tier.BATCH: Fraction(1, 4)},
        tokens={"8K": 9000},
        output="image/png",
        state=State.DEPRECATED,
        note="it is old",
        successor="c",
    )
    assert (model.price("8K", Tier.FLEX), model.price("8K", Tier.BATCH)) == (400_000, 250_000)
    assert model.price("512", Tier.BATCH) == 1, "rounded up"
    assert model.price("8K", references=3) == 1_006_000
    missing = set(ENTRY_KEYS) - {line.strip(" -").split(":")[0] for line in text.splitlines()}
    assert missing == {"price"}, "a key was added that this test does not know"


def test_a_flat_price_holds_for_every_size_until_a_size_is_named(tmp_path: Path) -> None:
    own = registry(tmp_path, "- {id: gemini-3-pro-image, price: 0.05}\n")
    assert {own.find("nano-banana-pro").price(size) for size in ("1K", "2K", "4K", "8K")} == {50_000}
    by_size = registry(tmp_path, "- {id: gemini-3-pro-image, price: {4K: 0.3}}\n").find("gemini-3-pro-image")
    assert (by_size.price("1K"), by_size.price("4K")) == (134_000, 300_000)


def test_a_price_is_read_exactly_as_it_is_written(tmp_path: Path) -> None:
    own = registry(tmp_path, "- {id: a, price: 0.070001}\n")
    assert own.find("a").price("1K") == 70_001  # as a binary fraction it is less


def test_the_word_any_lifts_what_was_known(tmp_path: Path) -> None:
    model = registry(tmp_path, "- {id: gemini-2.5-flash-image, ratios: any, sizes: any}\n").find("nano-banana")
    assert (model.ratios, model.sizes) == ((), ())


def test_pixels_bring_their_ratios(tmp_path: Path) -> None:
    model = registry(tmp_path, "- {id: gemini-2.5-flash-image, pixels: {7:5: [1200, 857]}}\n").find("nano-banana")
    assert model.ratios == (*builtin().find("nano-banana").ratios, "7:5")
    assert model.nominal("7:5", "1K") == (1200, 857)


FAULTS: dict[str, tuple[str | bytes, str]] = {
    "an unknown key": ("- id: a\n  prize: 1\n", "2: a model has no key `prize`: did you mean `price`?"),
    "an unknown key at the top": (
        "model: []\nmodels: []\n",
        "1: a registry has no key `model`: did you mean `models`?",
    ),
    "no id": ("- price: 1\n", "1: a model needs `id`"),
    "an id with a space": ("- id: a b\n", "1: `id` cannot be `a b`: a model is an id such as"),
    "an id twice": ("- id: a\n- id: a\n", "2: `a` is described here and in line 1: keep one entry"),
    "one model by two names": (
        "- id: nano-banana\n- id: gemini-2.5-flash-image\n",
        "2: `gemini-2.5-flash-image` is described here and in line 1",
    ),
    "an alias of another": (
        "- {id: a, aliases: [nano-banana]}\n",
        "1: the alias `nano-banana` of `a` is a name of `gemini-2.5-flash-image`: take one out",
    ),
    "an alias twice": (
        "- {id: a, aliases: [x]}\n- {id: b, aliases: [x]}\n",
        "2: the alias `x` of `b` is a name of `a`: take one out",
    ),
    "an alias that is an id": ("- {id: a, aliases: [b]}\n- id: b\n", "1: the alias `b` of `a` is a name of `b`"),
    "a price with a sign": ("- {id: a, price: $5}\n", "1: `price` must be US dollars such as 25.00"),
    "a price twice": ("- {id: a, price: 1, prices: {1K: 1}}\n", "1: `price` and `prices` say the same thing"),
    "a size with a small k": ("- {id: a, prices: {4k: 1}}\n", "1: `prices` has no key `4k`: did you mean `4K`?"),
    "prices of one number": ("- {id: a, prices: 1}\n", "1: `prices` must be a mapping with keys such as `512`"),
    "a factor above one": ("- {id: a, factors: {flex: 2}}\n", "1: `flex` is a part of the price from 0 to 1"),
    "a factor of endless digits": (
        "- {id: a, factors: {flex: 1e-99999999}}\n",
        "1: `flex` is a part of the price from 0 to 1",
    ),
    "a factor of a word": ("- {id: a, factors: {flex: half}}\n", "1: `flex` is a part of the price from 0 to 1"),
    "a ratio that is none": (
        "- {id: a, ratios: [16x9]}\n",
        "1: `ratios` cannot be `16x9`: a ratio is written like 16:9",
    ),
    "the ratio auto": ("- {id: a, ratios: auto}\n", "1: `ratios` cannot be `auto`: a ratio is written like 16:9"),
    "pixels of one number": ("- {id: a, pixels: {1:1: 1024}}\n", "1: `pixels` of 1:1 must be width and height"),
    "pixels of words": ("- {id: a, pixels: {1:1: [a, 2, 3]}}\n", "1: `pixels` of 1:1 must be width and height"),
    "pixels without ratio": ("- {id: a, pixels: {wide: [1, 2]}}\n", "1: `pixels` cannot name `wide`: a ratio is"),
    "pixels in a list": ("- {id: a, pixels: [1, 2]}\n", "1: `pixels` must be a mapping such as {16:9: [1376, 768]}"),
    "a type that is none": ("- {id: a, output: png}\n", "1: `output` is a type such as image/jpeg or image/png"),
    "the type image/jpg": ("- {id: a, output: image/jpg}\n", "1: `output` is a type such as image/jpeg"),
    "a state that is none": ("- {id: a, state: old}\n", "1: `state` must be one of ga, deprecated, shut, dead"),
    "a flag of a word": ("- {id: a, omit_size: 1}\n", "1: `omit_size` must be true or false, not `1`"),
    "references below none": ("- {id: a, references: -1}\n", "1: `references` must be a whole number from 0"),
    "an entry of a word": ("- a\n", "1: a model must be a mapping with keys such as `id`"),
    "a word at the top": ("a\n", "1: a registry of models is a list of entries such as"),
    "no models": ("factors: {flex: 1}\n", "1: a registry needs `models`"),
    "models of a word": ("models: a\n", "1: a registry of models is a list of entries"),
    "an empty file": ("# nothing\n", "the file is empty: write `models:` and a list of entries"),
    "torn YAML": ("- {id: a\n", "the YAML cannot be read here"),
    "bytes": (b"- id: \xff\n", "the registry of models cannot be read as UTF-8 at byte 6: save it as UTF-8"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_of_a_registry_names_its_line_and_what_to_do(case: str, tmp_path: Path) -> None:
    text, expected = FAULTS[case]
    (found,) = registry_faults(tmp_path, text)
    assert expected in found


def test_all_faults_of_a_registry_come_at_once(tmp_path: Path) -> None:
    found = registry_faults(tmp_path, "- {id: a, price: x}\n- {id: b, state: y}\n- {z: 1}\n")
    assert [fault.split(":")[0] for fault in found] == ["1", "2", "3", "3"]


@pytest.mark.parametrize(("name", "sentence"), [("no.yaml", "does not exist: check the path"), (".", "is a directory")])
def test_a_registry_that_is_not_there_is_told(name: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        load_registry(tmp_path / name)
    assert sentence in str(caught.value)
    assert "relative" not in str(caught.value)


def test_a_manifest_brings_entries_or_a_file_beside_it(tmp_path: Path, load_manifest: Load) -> None:
    (tmp_path / "own.yaml").write_text("- {id: gemini-nano-banana-2.1, price: 0.01}\n")
    inline = "models: [{id: gemini-nano-banana-2.1, price: 0.02}]\n"
    for text, price in (("models: own.yaml\n", 10_000), (inline, 20_000), ("", 33_600)):
        (task,) = load_manifest(text + JOB)
        assert task.rungs[0].price == price


def test_ratios_and_sizes_are_checked_against_the_users_word(load_manifest: Load, faults_of: FaultsOf) -> None:
    own = "models: [{id: mine, ratios: [7:5], sizes: [8K], references: 0}]\nmodel: mine\n"
    assert [task.resolution for task in load_manifest(f"{own}ratio: 7:5\nresolution: 8K\n{JOB}")] == ["8K"]
    assert faults_of(f"{own}resolution: 1K\nratio: 1:1\n{JOB}") == [
        "3: `mine` does not make 1K: it makes 8K",
        "4: `mine` does not make 1:1: it makes 7:5",
    ]


def test_the_commands_file_wins_over_the_manifest_and_the_provider_over_both(tmp_path: Path) -> None:
    manifest, own = tmp_path / "m.yaml", tmp_path / "own.yaml"
    own.write_text("- {id: gemini-nano-banana-2.1, price: 0.01}\n")
    manifest.write_text(f"models: [{{id: gemini-nano-banana-2.1, price: 0.02, references: 2}}]\n{JOB}")
    matrix = load(manifest, models=own)
    assert [task.rungs[0].price for task in matrix] == [10_000]
    assert matrix.registry.find("gemini-nano-banana-2.1").references == 2, "what the file does not name stays"
    manifest.write_text(f"provider: {{price: 0.03}}\n{manifest.read_text()}")
    assert [task.rungs[0].price for task in load(manifest, models=own)] == [30_000]
    sheet = tmp_path / "s.csv"
    sheet.write_text("prompt\na mug\n")
    assert [task.rungs[0].price for task in load(sheet, models=own)] == [10_000]


def test_faults_of_the_manifest_and_of_its_registry_come_at_once_each_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("\n- {id: a, prize: 1}\n")
    (tmp_path / "m.yaml").write_text(f"modle: x\nmodels: own.yaml\n{JOB}")
    with pytest.raises(ManifestError) as caught:
        load(tmp_path / "m.yaml")
    places = [(Path(fault.file).name, fault.line) for fault in caught.value.faults]
    assert places == [("m.yaml", 1), ("own.yaml", 2)]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "models: no.yaml\n",
            "1: the file `no.yaml` does not exist: check the path, which is relative to the manifest",
        ),
        ("models: nano-banana\n", "cannot be `nano-banana`: write `model` for those to ask"),
        ("models: [nano-banana, b]\n", "cannot be a list of names: write `model` for those to ask"),
        ("models: {id: a}\n", "1: a registry has no key `id`"),
        ("models:\n", "1: `models` has no value"),
    ],
)
def test_a_manifest_whose_models_are_none_is_told_in_its_own_line(
    text: str, sentence: str, faults_of: FaultsOf
) -> None:
    assert any(sentence in fault for fault in faults_of(text + JOB))


def test_what_the_readme_shows_of_a_relay_means_what_its_comments_say(load_manifest: Load) -> None:
    blocks = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8").split("```yaml\n")[1:]
    (shown,) = [text for block in blocks if "relay-banana" in (text := block.split("```")[0])]
    matrix = load_manifest(f"{shown}model: relay-banana\nratio: 16:9\nresolution: 2K\n{JOB}")
    assert [task.rungs[0].price for task in matrix] == [50_000]
    assert (matrix.registry.find("gemini-3-pro-image").references, matrix.warnings) == (6, ())


def test_images_sent_along_are_in_a_list_price_and_not_in_a_price_of_ones_own(tmp_path: Path) -> None:
    assert builtin().find("gemini-3-pro-image").price("1K", references=14) == 134_000 + 14 * 1_100
    own = registry(tmp_path, "- {id: gemini-3-pro-image, price: 0.05}\n").find("gemini-3-pro-image")
    assert own.price("1K", references=14) == 50_000
    charged = builtin().charging(Prices(flat=40_000)).find("gemini-3-pro-image")
    assert (charged.price("1K", references=14), charged.sending("1K", 14)) == (40_000, 0)


def test_a_relay_that_knows_no_tiers_is_reckoned_at_the_whole_price() -> None:
    assert builtin().charging(Prices(), has_tiers=False).find("gemini-3-pro-image").price("1K", Tier.FLEX) == 134_000
