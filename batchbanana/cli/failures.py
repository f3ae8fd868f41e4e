"""`batchbanana failures`."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import click

from batchbanana.advice import Commands, advise
from batchbanana.cli import options
from batchbanana.cli.common import load_matrix, manifest_of, read_ledger
from batchbanana.errors import Exit
from batchbanana.failures import PROMPT_SHOWN, Causes, Group, group, possibly_billed
from batchbanana.ledger import Store, last_unanswered, troubles
from batchbanana.matrix import Matrix


@click.command("failures")
@click.argument("target", metavar="MANIFEST|DIR", type=click.Path(path_type=Path))
@options.output
@options.models
@options.max_tasks
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(target: Path, *, output: Path | None, models: Path | None, max_tasks: int, as_json: bool) -> int:
    """Tell what is not made as asked for, grouped by cause, with what to do about each."""
    if target.is_dir():
        folder, manifest = target, manifest_of(target)
        matrix = load_matrix(manifest, max_tasks, models) if manifest.is_file() else None
    else:
        matrix = load_matrix(target, max_tasks, models)
        folder, manifest = options.folder(matrix.manifest.name, output), target
    with read_ledger(folder) as store:
        causes = _causes(store, matrix) if store is not None else Causes()
    usual = matrix is not None and folder.absolute() == options.folder(matrix.manifest.name, None).absolute()
    commands = Commands(
        target=str(manifest), output=None if usual else str(folder), models=None if models is None else str(models)
    )
    click.echo(json.dumps(_data(causes, commands), ensure_ascii=False) if as_json else _text(causes, commands, folder))
    return Exit.MADE


def _causes(store: Store, matrix: Matrix | None) -> Causes:
    """Group the ledger's troubles; of a manifest that has changed since, only tasks that it still has."""
    gone = _not_planned(store, matrix) if matrix is not None else frozenset()
    causes = group(troubles(store), lambda key: _mark(key) not in gone)
    if matrix is not None:
        _complete(causes.groups, matrix)
    last = last_unanswered(store)
    if last is not None:
        causes.groups.append(possibly_billed(store.money, last))
        causes.groups.sort(key=lambda one: -one.count)
    return causes


def _not_planned(store: Store, matrix: Matrix) -> set[int]:
    """Find the troubled tasks that the manifest no longer has, holding 64 bits of each key and no more."""
    left = {_mark(trouble.key) for trouble in troubles(store)}
    for task in matrix:
        if not left:
            break
        left.discard(_mark(task.key))
    return left


def _mark(key: str) -> int:
    return int(key[:16], 16)


def _complete(groups: Iterable[Group], matrix: Matrix) -> None:
    """Let the manifest tell what the ledger does not know of examples: it describes only tasks that have ended."""
    bare = {one.example.key: one for one in groups if one.example.job is None}
    for task in matrix:
        if not bare:
            break
        if (one := bare.pop(task.key, None)) is not None:
            one.example = one.example.told_by(task)


def _data(causes: Causes, commands: Commands) -> dict[str, object]:
    return {
        "groups": [
            {
                "outcome": one.cause.outcome,
                "kind": one.cause.kind,
                "status": one.cause.status,
                "count": one.count,
                "what_to_do": advise(one.cause, commands),
                "example": asdict(one.example),
                **({} if one.worst_usd is None else {"worst_usd": one.worst_usd, "unpriced": one.unpriced}),
            }
            for one in causes.groups
        ],
        "left_out": causes.left_out,
    }


def _text(causes: Causes, commands: Commands, folder: Path) -> str:
    blocks = [_block(one, commands) for one in causes.groups] or [f"Nothing has failed in {folder}"]
    if causes.left_out:
        blocks.append(f"{causes.left_out} more are in the ledger, but no longer in the manifest")
    return "\n\n".join(blocks)


def _block(one: Group, commands: Commands) -> str:
    example = one.example
    lines = [f"{_count(one)}: {example.text}"]
    if example.job is not None:
        prompt = " ".join((example.prompt or "").split())
        shown = prompt if len(prompt) <= PROMPT_SHOWN else prompt[: PROMPT_SHOWN - 1].rstrip() + "…"
        variables = "".join(f", {name}={value}" for name, value in (example.variables or {}).items())
        lines.append(f'    example: {example.job}{variables}, "{shown}", key {example.key}')
    else:
        lines.append(f"    example: key {example.key}")
    return "\n".join([*lines, f"    {advise(one.cause, commands)}"])


def _count(one: Group) -> str:
    if one.worst_usd is None:
        return f"{one.count} {one.cause.outcome}"
    unpriced = f" and {one.unpriced} at an unknown price" if one.unpriced else ""
    return f"{one.count} attempts that may have been billed, at most ${one.worst_usd:.2f}{unpriced}"
