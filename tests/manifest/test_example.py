"""The manifest that the product's description shows, with its files."""

from collections import Counter
from pathlib import Path

from tests.manifest.conftest import JPEG, PNG, Load

EXAMPLE = """\
name: spring
provider:
  format: gemini
  base_url: https://api.example.com
  api_key_env: BANANA_KEY
  auth: bearer
model: gemini-3-pro-image
limits: {concurrency: 16, requests_per_minute: 60, images_per_minute: 60, requests_per_day: 1000,
         spend_per_10_minutes: 10.00, max_cost: 25.00, max_possibly_billed: 5.00}
timeouts: {1K: 180, 2K: 300, 4K: 360, stall: 30}
fallback: {4K: 2K}
ratio: [1:1, 16:9]
resolution: 2K
jobs:
  - id: hero
    prompt: "A {product} on {surface}, soft light"
    vars: {product: [mug, kettle], surface: [marble, oak]}
    resolution: [2K, 4K]
    samples: 2
    references: ["assets/{product}.png", assets/style.jpg]
    exclude: [{product: kettle, ratio: 16:9}]
    include: [{product: teapot, surface: slate, ratio: 21:9}]
  - id: feed
    prompt: ["{name}, studio shot", "{name} in use, {season} light"]
    rows: products.csv
    vars: {season: [spring, autumn]}
    pick: {count: 10, seed: 7}
  - id: retouch
    prompt: {file: prompts/retouch.txt}
    vars: {photo: {files: photos/*.jpg}}
    references: ["{photo}"]
images: "{job}/{slug}_{ratio}_{resolution}_{sample}_{key}"
"""


def write_files(folder: Path) -> None:
    for name in ("mug", "kettle", "teapot"):
        _write(folder / f"assets/{name}.png", PNG + name.encode())
    _write(folder / "assets/style.jpg", JPEG)
    for name in ("p10", "p2"):
        _write(folder / f"photos/{name}.jpg", JPEG + name.encode())
    _write(folder / "prompts/retouch.txt", b"Take the dust off\n")
    _write(folder / "products.csv", "name,sku\nMug,1\nKettle,2\n花瓶,3\n".encode())


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)


def test_the_example_means_what_its_comments_say(tmp_path: Path, load_manifest: Load) -> None:
    write_files(tmp_path)
    matrix = load_manifest(EXAMPLE)
    tasks = list(matrix)
    # hero: 2 products x 2 surfaces x 2 ratios x 2 sizes x 2 samples, less a quarter, and 1 x 2 x 2 included
    assert Counter(task.job for task in tasks) == {"hero": 24 + 4, "feed": 10, "retouch": 4}
    assert [(job.id, job.cells) for job in matrix.jobs] == [("hero", 28), ("feed", 10), ("retouch", 4)]
    assert matrix.cells == len(tasks)
    assert len({task.name for task in tasks}) == len({task.key for task in tasks}), "seasons share the studio shot"
    assert matrix.warnings == ()


def test_the_example_settings_arrive_exactly(tmp_path: Path, load_manifest: Load) -> None:
    write_files(tmp_path)
    manifest = load_manifest(EXAMPLE).manifest
    assert manifest.name == "spring"
    assert manifest.provider.base_url == "https://api.example.com"
    assert manifest.provider.api_key_env == "BANANA_KEY"
    assert manifest.limits.max_cost == 25_000_000
    assert manifest.limits.spend_per_10_minutes == 10_000_000
    assert manifest.limits.requests_per_day == 1000


def test_a_task_carries_its_references_ladder_and_variables(tmp_path: Path, load_manifest: Load) -> None:
    write_files(tmp_path)
    task = next(task for task in load_manifest(EXAMPLE) if task.job == "hero" and task.resolution == "4K")
    assert task.prompt == "A mug on marble, soft light"
    assert task.variables == (("product", "mug"), ("surface", "marble"))
    assert [reference.mime for reference in task.references] == ["image/png", "image/jpeg"]
    assert [(rung.resolution, rung.timeout, rung.price) for rung in task.rungs] == [
        ("4K", 360, 240_000 + 2 * 1_100),
        ("2K", 300, 134_000 + 2 * 1_100),
    ]
    assert task.name.startswith("hero/mug-marble_1x1_4K_1_")


def test_a_variable_of_files_shows_its_stem_and_sends_its_path_in_natural_order(
    tmp_path: Path, load_manifest: Load
) -> None:
    write_files(tmp_path)
    tasks = [task for task in load_manifest(EXAMPLE) if task.job == "retouch"]
    assert [task.variables[0][1] for task in tasks] == ["p2", "p2", "p10", "p10"]
    assert tasks[0].references[0].path == tmp_path / "photos/p2.jpg"
    assert tasks[0].prompt == "Take the dust off"
