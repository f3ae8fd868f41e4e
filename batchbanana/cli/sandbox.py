"""`batchbanana sandbox`."""

from functools import partial
from pathlib import Path

import anyio
import click
import yaml

from batchbanana.errors import Exit, UsageError
from batchbanana.sandbox.running import serve


@click.command("sandbox")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0 takes a free one.")
@click.option("--script", type=click.Path(path_type=Path), metavar="FILE", help="YAML with faults, quotas and latency.")
def command(host: str, port: int, script: Path | None) -> int:
    """Serve the local API, for trying out, rehearsals and tests. Ctrl-C ends it."""
    rules = _read(script) if script is not None else {}
    try:
        anyio.run(partial(serve, rules, host=host, port=port, on_ready=_tell))
    except OSError as error:
        raise UsageError(f"Cannot listen on {host}:{port} ({error.strerror}); choose another --port") from error
    return Exit.MADE


def _tell(url: str) -> None:
    click.echo(f"{url}  (any key will do; {url}/sandbox/bill counts what it would have billed)")


def _read(path: Path) -> dict[str, object]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{path} cannot be read as YAML ({type(error).__name__}); correct it") from error
    if not isinstance(data, dict):
        raise UsageError(f"{path} is not a mapping with keys such as `faults`; see docs/sandbox.md")
    return data
