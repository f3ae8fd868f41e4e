"""`batchbanana failures`."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

import click

from batchbanana.advice import Commands, advise
from batchbanana.cli import options
from batchbanana.cli.common import read_ledger
from batchbanana.cli.target import Named, find
from batchbanana.errors import Exit
from batchbanana.failures import (
    POSSIBLY_BILLED,
    PROMPT_SHOWN,
    WAITING,
    Causes,
    Group,
    group,
    note_of,
    possibly_billed,
    waiting,
)
from batchbanana.ledger import Store, Unsettled, complaints, unclear
from batchbanana.matrix import Matrix
from batchbanana.plain import open_plain
from batchbanana.record import usd


@click.command("failures")
@click.argument("target", metavar="MANIFEST|DIR", type=click.Path(path_type=Path))
@options.output
@options.models
@options.max_tasks
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(target: Path, *, output: Path | None, models: Path | None, max_tasks: int, as_json: bool) -> int:
    """Tell what is not made as asked for, grouped by cause, with what to do about each."""
    job = find(Named(command="failures", target=target, output=output, max_tasks=max_tasks, models=models))
    folder, matrix = job.folder, job.matrix
    with read_ledger(folder) as store:
        causes = _causes(store, matrix, folder) if store is not None else Causes()
    usual = matrix is not None and folder.absolute() == options.folder(matrix.manifest.name, None).absolute()
    commands = Commands(
        target=str(job.manifest), output=None if usual else str(folder), models=None if models is None else str(models)
    )
    options.tell(
        json.dumps(_data(causes, commands), ensure_ascii=False) if as_json else _text(causes, commands, folder)
    )
    return Exit.MADE


def _causes(store: Store, matrix: Matrix | None, folder: Path) -> Causes:
    """Group the ledger's complaints; of a manifest that has changed since, only tasks that it still has."""
    held = list(_held(store, folder))
    fetched_first = {attempt.errand["key"] for attempt, _ in held}  # whatever was wrong before, an image waits now
    gone = _not_planned(store, matrix) if matrix is not None else frozenset()
    causes = group(
        (complaint for complaint in complaints(store) if complaint.key not in fetched_first),
        lambda key: _mark(key) not in gone,
    )
    causes.groups += possibly_billed(unclear(store))
    causes.groups += [waiting(held)] if held else []
    causes.groups.sort(key=lambda one: -one.count)
    if matrix is not None:
        _complete(causes.groups, matrix)
    return causes


def _held(store: Store, folder: Path) -> Iterator[tuple[Unsettled, str]]:
    """Find the open attempts whose image waits behind an address, which a note in the spool tells."""
    for attempt in store.unsettled():
        try:
            with open_plain(folder / note_of(attempt.id)) as handle:
                note = handle.read()
        except FileNotFoundError:  # it is in flight, or a run at work has just fetched it
            continue
        yield attempt, _address(note)


def _address(note: bytes) -> str:
    """Read an address; a note that is damaged has none, which the next run tells."""
    try:
        return str(json.loads(note)["url"])
    except (ValueError, KeyError, TypeError):
        return ""


def _not_planned(store: Store, matrix: Matrix) -> set[int]:
    """Find the troubled tasks that the manifest no longer has, holding 64 bits of each key and no more."""
    left = {_mark(complaint.key) for complaint in complaints(store)}
    for task in matrix:
        if not left:
            break
        left.discard(_mark(task.key))
    return left


def _mark(key: str) -> int:
    return int(key[:16], 16)


def _complete(groups: Iterable[Group], matrix: Matrix) -> None:
    """Let the manifest tell what the ledger does not know of examples: it describes only tasks that have ended."""
    bare: defaultdict[str, list[Group]] = defaultdict(list)
    for one in groups:
        if one.example.job is None:
            bare[one.example.key].append(one)
    for task in matrix:
        if not bare:
            break
        for one in bare.pop(task.key, ()):
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
                **_bill(one),
            }
            for one in causes.groups
        ],
        "left_out": causes.left_out,
    }


def _bill(one: Group) -> dict[str, object]:
    if one.cause.outcome != POSSIBLY_BILLED:
        return {}
    return {"worst_usd": usd(one.worst), "unpriced": one.unpriced}


def _text(causes: Causes, commands: Commands, folder: Path) -> str:
    blocks = [_block(one, commands) for one in causes.groups]
    if causes.left_out:
        blocks.append(_left_out(causes.left_out))
    return "\n\n".join(blocks) or f"Nothing has failed in {folder}"


def _left_out(count: int) -> str:
    if count == 1:
        start, whose = "1 outcome is of a task", "its"
    else:
        start, whose = f"{count} outcomes are of tasks", "their"
    return f"{start} that the manifest no longer has ({whose} prompt, references or settings have changed)"


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
    if one.cause.outcome == WAITING:
        they = "1 image is paid for and waits" if one.count == 1 else f"{one.count} images are paid for and wait"
        return f"{they} behind an address"
    if one.cause.outcome != POSSIBLY_BILLED:
        return f"{one.count} {one.cause.outcome}"
    attempts = "1 attempt" if one.count == 1 else f"{one.count} attempts"
    unpriced = f" and {one.unpriced} at an unknown price" if one.unpriced else ""
    return f"{attempts} that may have been billed, at most ${usd(one.worst):.2f}{unpriced}"
