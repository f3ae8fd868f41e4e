"""`batchbanana models`."""

import json
from pathlib import Path

import click

from batchbanana import tables
from batchbanana.cli import options
from batchbanana.errors import Exit
from batchbanana.manifest import Faults, load_registry, read
from batchbanana.models import Model


@click.command("models")
@click.argument("manifest", metavar="[MANIFEST]", required=False, type=click.Path(path_type=Path))
@options.models
@click.option("--json", "as_json", is_flag=True, help="One JSON list.")
def command(manifest: Path | None, *, models: Path | None, as_json: bool) -> int:
    """Show what is known of the models: ratios, sizes, prices, life cycle.

    With a MANIFEST, as they hold there: with its own entries and its provider's prices.
    """
    known = load_registry(models).models if manifest is None else _of_manifest(manifest, models)
    options.tell(json.dumps(tables.models_data(known), ensure_ascii=False) if as_json else tables.models_text(known))
    return Exit.MADE


def _of_manifest(path: Path, models: Path | None) -> tuple[Model, ...]:
    """Give the models that hold for a manifest, and at the end those that it asks for on trust."""
    faults = Faults(str(path))
    manifest = read(path, faults, models)
    if manifest is None:
        raise faults.error()
    faults.raise_any()
    return (*manifest.registry.models, *(model for model in manifest.models if not model.known))
