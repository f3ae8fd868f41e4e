"""Texts and plain data for `plan`, `status` and `models`; whoever calls prints them."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, zip_longest
from typing import cast

from batchbanana.manifest import LimitSettings
from batchbanana.manifest.settings import TIMEOUT, TIMEOUTS
from batchbanana.matrix import Matrix
from batchbanana.models import Model, Tier
from batchbanana.record import span, usd
from batchbanana.summary import Summary, counts
from batchbanana.survey import Survey, duration

MOST_LISTED = 1000  # jobs in the text of a plan, and in a piece of its JSON
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


def plan_json(matrix: Matrix, found: Survey, limits: LimitSettings, output: str) -> Iterator[str]:
    """Give a plan as JSON, for `plan --json`, in pieces: it may have a million jobs."""
    seconds, bottleneck = duration(found, limits)
    before = {
        "name": matrix.manifest.name,
        "cells": matrix.cells,
        "repeated": found.repeated,
        **counts(found.tally),
    }
    after = {
        "requests": found.missing,
        "cost_usd_low": usd(found.low),
        "cost_usd_high": usd(found.high),
        "unpriced": found.unpriced,
        "seconds": round(seconds),
        "bottleneck": bottleneck,
        "output": output,
        "warnings": list(matrix.warnings),
    }
    jobs = (
        _in_json(
            {"id": job.id, "axes": dict(job.axes), "tasks": found.by_job[number], "pending": found.pending[number]}
        )
        for number, job in enumerate(matrix.jobs)
    )
    yield f'{_in_json(before)[:-1]}, "jobs": ['
    comma = ""
    while some := list(islice(jobs, MOST_LISTED)):
        yield comma + ", ".join(some)
        comma = ", "
    yield f"], {_in_json(after)[1:]}"


def _in_json(data: Mapping[str, object]) -> str:
    return json.dumps(data, ensure_ascii=False)


def plan_text(matrix: Matrix, found: Survey, limits: LimitSettings, output: str) -> str:
    """Tell a plan to a person."""
    jobs, more = islice(matrix.jobs, MOST_LISTED), matrix.job_count - MOST_LISTED
    rows = [
        (job.id, axes_text(job.axes), str(found.by_job[number]), str(found.pending[number]))
        for number, job in enumerate(jobs)
    ]
    seconds, bottleneck = duration(found, limits)
    made = found.tally.total - found.missing
    lines = [
        f"{matrix.manifest.name}  ->  {output}",
        "",
        table(("job", "axes", "tasks", "missing"), rows),
        *([f"and {more:,} more; --json gives all"] if more > 0 else []),
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
    return f"${usd(found.low):.2f}, at worst ${usd(found.high):.2f} if all goes wrong that can{unpriced}"


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
    if summary.unpriced:
        lines.append(f"{summary.unpriced} images were bought at an unknown price, which is in none of these sums")
    if summary.possibly_billed:
        lines.append(
            f"{summary.possibly_billed} attempts may have been billed, as no answer says otherwise, "
            f"at most ${summary.possibly_billed_usd:.2f}"
        )
    if summary.reserved_usd:
        lines.append(f"${summary.reserved_usd:.2f} are reserved for images that are paid for and still to be fetched")
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
        pauses = cast("list[str]", data["waiting"])
        pace = f"{data['images_per_minute']} images a minute"
        lines.append(f"a run is at work: {'; '.join(f'waiting: {pause}' for pause in pauses) or pace}{ahead}")
    elif data.get("stopped"):
        lines.append(f"the last run stopped: {data['stopped']}")
    if data.get("unpriced"):
        lines.append(f"{data['unpriced']} images were bought at an unknown price, which is in none of these sums")
    return "\n".join(lines)


def models_data(models: Iterable[Model]) -> list[dict[str, object]]:
    """Give what is known of the models as plain data."""
    return [
        {
            "id": model.id,
            "name": model.name,
            "aliases": list(model.aliases),
            "known": model.known,
            "state": str(model.state),
            "note": model.note,
            "successor": model.successor,
            "ratios": list(model.ratios),
            "pixels_at_1k": {ratio: list(size) for ratio, size in model.pixels.items()},
            "sizes": list(model.sizes),
            "omit_size": model.omit_size,
            "references": model.references,
            "prices_usd": _usd_by_size(model, Tier.STANDARD),
            "reference_price_usd": usd(model.reference_price),
            "flex_prices_usd": _usd_by_size(model, Tier.FLEX),
            "batch_prices_usd": _usd_by_size(model, Tier.BATCH),
            "tokens": dict(model.tokens),
            "timeouts": {size: TIMEOUTS.get(size, TIMEOUT) for size in _sizes(model)},
            "output": model.output,
        }
        for model in models
    ]


def _usd_by_size(model: Model, tier: Tier) -> dict[str, float]:
    return {size: usd(price) for size in _sizes(model) if (price := model.price(size, tier)) is not None}


def _sizes(model: Model) -> tuple[str, ...]:
    """Name a model's resolutions; where it takes any, those with a price of their own and `any` for the others."""
    return model.sizes or (*dict.fromkeys((*model.prices.by_size, *model.charged.by_size)), "any")


def models_text(models: Iterable[Model]) -> str:
    """Show what is known of the models as a table with a line for each size, within 120 columns."""
    head = ("model", "size", "USD", "tokens", "seconds", "ratios", "refs", "output", "state")
    return "\n".join(
        (
            table(head, (row for model in models for row in _model_rows(model))),
            "",
            "USD: an image at the standard price; --json has flex and batch too. tokens: what an image is counted as.",
            "seconds: how long an attempt may take unless the manifest says otherwise.",
            "refs: how many reference images a request may carry.",
        )
    )


def _model_rows(model: Model) -> Iterator[tuple[str, ...]]:
    """Lay out a model: beside its sizes, its name stands under its id and its successor under its state."""
    state = str(model.state) if model.known else "unknown"
    left = [(model.id, str(len(model.ratios) or "any"), str(model.references), model.output or "", state)]
    below = (f"  {model.name}" if model.name != model.id else "", f"  use {model.successor}" if model.successor else "")
    if any(below):
        left.append((below[0], "", "", "", below[1]))
    for size, about in zip_longest(_sizes(model), left, fillvalue=None):
        id_, ratios, references, output, life = about or ("",) * 5
        price = model.price(size) if size else None
        tokens = model.tokens.get(size) if size else None
        yield (
            id_,
            size or "",
            "" if price is None else f"{usd(price):.6f}".rstrip("0").ljust(6, "0"),
            "" if tokens is None else str(tokens),
            f"{TIMEOUTS.get(size, TIMEOUT):.0f}" if size else "",
            ratios,
            references,
            output,
            life,
        )
