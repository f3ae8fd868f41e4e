"""Texts and plain data for `plan`, `status` and `models`; whoever calls prints them."""

from collections.abc import Iterable, Sequence

from batchbanana.manifest import LimitSettings
from batchbanana.matrix import Matrix
from batchbanana.models import Model
from batchbanana.record import span, usd
from batchbanana.summary import Summary, counts
from batchbanana.survey import Survey, duration

BOTTLENECKS = {
    "concurrency": "the number of workers (concurrency)",
    "requests_per_minute": "requests_per_minute",
    "images_per_minute": "images_per_minute",
    "requests_per_day": "requests_per_day",
    "spend_per_10_minutes": "spend_per_10_minutes",
}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out rows in columns as wide as their widest cell; columns of numbers stand to the right."""
    cells = [tuple(head), *(tuple(row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    numeric = [all(row[column][:1] in "0123456789$-" for row in cells[1:]) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in cells
    )


def plan_data(matrix: Matrix, found: Survey, limits: LimitSettings, output: str) -> dict[str, object]:
    """Give a plan as plain data, for `plan --json`."""
    seconds, bottleneck = duration(found, limits)
    return {
        "name": matrix.manifest.name,
        "cells": matrix.cells,
        "repeated": found.repeated,
        **counts(found.tally),
        "jobs": [
            {"id": job.id, "axes": dict(job.axes), "tasks": found.by_job[job.id], "pending": found.pending[job.id]}
            for job in matrix.jobs
        ],
        "requests": found.missing,
        "cost_usd_low": usd(found.low),
        "cost_usd_high": usd(found.high),
        "unpriced": found.unpriced,
        "seconds": round(seconds),
        "bottleneck": bottleneck,
        "output": output,
        "warnings": list(matrix.warnings),
    }


def plan_text(matrix: Matrix, found: Survey, limits: LimitSettings, output: str) -> str:
    """Tell a plan to a person."""
    rows = [(job.id, axes_text(job.axes), str(found.by_job[job.id]), str(found.pending[job.id])) for job in matrix.jobs]
    seconds, bottleneck = duration(found, limits)
    made = found.tally.total - found.missing
    lines = [
        f"{matrix.manifest.name}  ->  {output}",
        "",
        table(("job", "axes", "tasks", "missing"), rows),
        "",
        f"tasks     {found.tally.total}, {made} have an outcome already, {found.missing} to make",
        f"requests  {found.missing}, more if some have to be asked again",
        f"price     {_price(found)}",
        f"time      about {span(seconds)}; what decides is {BOTTLENECKS[bottleneck]}",
    ]
    if found.repeated:
        lines.append(f"repeated  {found.repeated} cells ask for the very same image as another; it is made once")
    return "\n".join(lines)


def _price(found: Survey) -> str:
    unpriced = f"; no price is known for {found.unpriced} of them" if found.unpriced else ""
    return f"${usd(found.low):.2f}, at worst ${usd(found.high):.2f} if requests time out and are billed{unpriced}"


def axes_text(axes: Iterable[tuple[str, int]]) -> str:
    """Write axes as `3 prompt x 2 ratio`; those with a single value are left out."""
    return " x ".join(f"{count} {name}" for name, count in axes if count > 1) or "1"


def summary_text(summary: Summary) -> str:
    """Tell a run's end to a person, the last line saying what to do next."""
    others = ("degraded", "mismatch", "refused", "failed", "pending")
    parts = [f"{summary.done} done"] + [f"{count} {name}" for name in others if (count := getattr(summary, name))]
    spent = f"this run ${summary.run_cost_usd:.2f}, the job ${summary.cost_usd:.2f} so far"
    lines = [
        f"{', '.join(parts)} of {summary.tasks} in {summary.output}",
        f"{summary.attempts} requests in {span(summary.seconds)}; {spent}",
    ]
    if summary.possibly_billed:
        lines.append(
            f"{summary.possibly_billed} attempts got no answer and may have been billed, "
            f"at most ${summary.possibly_billed_usd:.2f}"
        )
    if summary.stopped:
        lines.append(f"stopped: {summary.stopped}")
    if again := [name for name in ("failed", "refused") if getattr(summary, name)]:
        lines.append(f"Running again does not ask for these again; --retry {','.join(again)} does")
    return "\n".join(lines)


def status_text(data: dict[str, object]) -> str:
    """Tell a job's state to a person."""
    names = ("done", "degraded", "mismatch", "refused", "failed", "pending")
    possible = f"possibly billed ${data['possibly_billed_usd']:.2f} ({data['possibly_billed']} attempts)"
    lines = [
        f"{data['name']}: {data['tasks']} tasks",
        ", ".join(f"{data[name]} {name}" for name in names if data[name] or name in {"done", "pending"}),
        f"settled ${data['cost_usd']:.2f}, reserved ${data['reserved_usd']:.2f}, {possible}",
    ]
    if data.get("running"):
        left = data["seconds_left"]
        ahead = f", about {span(left)} left" if isinstance(left, int) else ""
        lines.append(f"a run is at work: {data['images_per_minute']} images a minute{ahead}")
    elif data.get("stopped"):
        lines.append(f"the last run stopped: {data['stopped']}")
    return "\n".join(lines)


def models_data(models: Iterable[Model]) -> list[dict[str, object]]:
    """Give what is known of the models as plain data."""
    return [
        {
            "id": model.id,
            "name": model.name,
            "state": str(model.state),
            "successor": model.successor,
            "ratios": list(model.ratios),
            "sizes": list(model.sizes),
            "references": model.references,
            "prices_usd": {size: usd(price) for size, price in model.prices.items()},
            "note": model.note,
        }
        for model in models
    ]


def models_text(models: Iterable[Model]) -> str:
    """Show what is known of the models as a table."""
    rows = [
        (
            model.id,
            model.name,
            " ".join(model.sizes),
            str(len(model.ratios)),
            str(model.references),
            " ".join(f"{usd(price):.4f}".rstrip("0") for price in model.prices.values()),
            str(model.state) + (f", use {model.successor}" if model.successor else ""),
        )
        for model in models
    ]
    return table(("id", "name", "sizes", "ratios", "references", "USD an image", "state"), rows)
