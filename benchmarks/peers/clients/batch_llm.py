"""`async-batch-llm`, as its documents advise for long runs: bounded streams, a checkpoint in SQLite, resumed.

The call that it wraps is ours: httpx, one connection a worker, the image written aside and renamed. What its users must
write is written as well as it goes: refusals are not asked again, the hint in a 429's body is handed on.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import async_batch_llm as abl  # type: ignore[import-not-found]  # in its own environment only
import httpx
import pybase64
from async_batch_llm.strategies import DefaultErrorClassifier, ErrorInfo  # type: ignore[import-not-found]  # likewise

from benchmarks.peers import asking


class Hints(DefaultErrorClassifier):  # type: ignore[misc]  # its base is not there to be looked at
    """Finds the pause that the service asks for, which stands in the body."""

    def classify(self, exception: Exception) -> Any:
        """Judge an exception of the call; refusals come as ValueError, which is not asked again."""
        if isinstance(exception, httpx.HTTPStatusError) and exception.response.status_code == 429:
            details = exception.response.json()["error"].get("details", [])
            hints = [float(each["retryDelay"].rstrip("s")) for each in details if "retryDelay" in each]
            wait = max(hints, default=None)
            return ErrorInfo(True, True, False, "rate_limit", suggested_wait=wait)
        return super().classify(exception)


class Caller:
    """Makes one image a call, over a connection that no other call uses meanwhile."""

    def __init__(self, asked: asking.Asked) -> None:
        self._asked = asked
        self._tls = httpx.create_ssl_context()
        self._idle: list[httpx.AsyncClient] = []

    async def __call__(self, number: str, *, attempt: int, timeout: float, state: object) -> Any:  # noqa: ASYNC109, D102 -- its contract
        client = self._idle.pop() if self._idle else self._connect()
        try:
            answer = await client.post(self._asked.endpoint, json=asking.body(int(number)))
        finally:
            self._idle.append(client)
        answer.raise_for_status()
        path = self._asked.folder / f"{number}.png"
        part = path.with_suffix(".part")
        part.write_bytes(_image(answer.json()))
        part.rename(path)
        return abl.CallOutcome(path.name, token_usage={"input_tokens": 12, "output_tokens": 1120, "total_tokens": 1132})

    def _connect(self) -> httpx.AsyncClient:
        key = {"x-goog-api-key": asking.KEY}
        return httpx.AsyncClient(headers=key, verify=self._tls, timeout=self._asked.timeout, trust_env=False)


def _image(answer: Any) -> bytes:
    candidates = answer.get("candidates") or []
    if not candidates or not (content := candidates[0].get("content")):
        raise ValueError(f"refused: {answer.get('promptFeedback')}")
    return pybase64.b64decode(content["parts"][-1]["inlineData"]["data"], validate=True)


def _settings(asked: asking.Asked) -> Any:
    cap: dict[str, Any] = {}
    if asked.max_cost is not None:
        cap = {"max_total_cost": asked.max_cost, "cost_function": lambda _usage: asking.PRICE / 1e6}
    return abl.ProcessorConfig(
        concurrency=asked.workers,
        attempt_timeout=asked.timeout,
        max_requests_per_minute=asked.rpm,
        max_queue_size=2 * asked.workers,
        max_result_queue_size=2 * asked.workers,
        retry=abl.RetryConfig(max_attempts=10, initial_wait=1.0, max_wait=30.0),
        # Its own defaults wait five minutes after a 429 and start again slowly: the hint is a better measure.
        rate_limit=abl.RateLimitConfig(cooldown_seconds=1.0, slow_start_items=0, slow_start_initial_delay=0.1),
        guardrails=abl.GuardrailConfig(**cap),
    )


async def _numbers(asked: asking.Asked) -> AsyncIterator[tuple[str, str]]:
    for number in range(asked.images):
        yield str(number), str(number)


async def _main(asked: asking.Asked) -> int:
    identity = abl.ArtifactIdentity(provider="relay", model=asking.MODEL)
    durability = "full" if asked.careful else "balanced"
    store = abl.SqliteArtifactStore(asked.folder / "done.sqlite", identity=identity, durability=durability)
    strategy = abl.CallableStrategy(Caller(asked), identity=identity, error_classifier=Hints())
    failed = 0
    async for result in abl.process_stream(
        strategy,
        _numbers(asked),
        config=_settings(asked),
        artifact_store=store,
        resume=abl.ResumePolicy.REUSE_SUCCESSES,
    ):
        failed += not result.success
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(_main(asking.read())))
