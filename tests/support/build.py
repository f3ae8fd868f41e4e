"""Builders of the values that tests speak of; every field has a default, so a test names only what it is about."""

from batchbanana.task import Rung, Task


def rung(resolution: str = "1K", *, timeout: float = 180.0, stall: float = 30.0, price: int | None = 134_000) -> Rung:
    return Rung(resolution=resolution, timeout=timeout, stall=stall, price=price)


def task(number: int = 1, *, rungs: tuple[Rung, ...] = (rung(),), model: str = "gemini-3-pro-image") -> Task:
    return Task(
        key=f"{number:016x}" * 2,
        job="hero",
        model=model,
        prompt=f"mug {number}",
        ratio="1:1",
        sample=1,
        variables=(("product", "mug"),),
        references=(),
        extra={},
        rungs=rungs,
        name=f"hero/mug_{number}",
    )
