"""`batchbanana models`."""

import json

import click

from batchbanana import tables
from batchbanana.errors import Exit
from batchbanana.models import Registry


@click.command("models")
@click.option("--json", "as_json", is_flag=True, help="One JSON list.")
def command(*, as_json: bool) -> int:
    """Show what is known of the models: ratios, sizes, prices, life cycle."""
    known = Registry.builtin().models
    click.echo(json.dumps(tables.models_data(known), ensure_ascii=False) if as_json else tables.models_text(known))
    return Exit.MADE
