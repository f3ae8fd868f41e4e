"""The sandbox's server: routes, and the way of one generate request from its head to the end of its answer."""

import json
import logging
import time
from collections.abc import Mapping
from email.utils import formatdate, mktime_tz, parsedate_tz
from functools import partial
from urllib.parse import unquote

import anyio
import anyio.abc
import anyio.to_thread
import h11

from batchbanana.sandbox import wire
from batchbanana.sandbox.answers import Plan, compose, paint, plan
from batchbanana.sandbox.books import Books, Entry, Quota
from batchbanana.sandbox.catalog import MODELS, Model
from batchbanana.sandbox.line import Answer, ClientGoneError, Line, Transfer
from batchbanana.sandbox.pictures import WORKERS
from batchbanana.sandbox.problems import PROBLEMS, Problem, Refusal, for_status, google, invalid, page, problem
from batchbanana.sandbox.rules import Effects, Rulebook, Script
from batchbanana.sandbox.wire import Wanted

_log = logging.getLogger(__name__)
_MODELS = "/v1beta/models"
_GENERATE = ":generateContent"
_LARGE = 262_144  # bytes of a request, above which reading it would hold up the loop
_JSON = {"content-type": "application/json; charset=UTF-8"}
_HTML = {"content-type": "text/html; charset=UTF-8"}


class Sandbox:
    """One server's state. It lives on the event loop that made it."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._rules = Rulebook(script)
        self._quota = Quota(script.quota)
        self._books = Books()
        self._start = anyio.current_time()
        self._painters = anyio.CapacityLimiter(WORKERS)
        self._painting = anyio.Lock()
        self._ready: dict[object, list[bytes]] = {}  # the plain pictures, by all they depend on

    async def converse(self, stream: anyio.abc.SocketStream) -> None:
        """Serve one client until it leaves; nothing that it does is an error here."""
        async with stream:
            line = Line(stream)
            try:
                while (head := await line.request()) is not None:
                    await self._serve(line, head)
            except h11.RemoteProtocolError:
                await _reject(line)
            except ClientGoneError:
                return
            except Exception:  # noqa: BLE001 - one client's request must not end the server; it is logged
                _log.exception("The sandbox failed at a request; this is its own fault.")

    async def _serve(self, line: Line, head: h11.Request) -> None:
        path, _, query = head.target.decode("ascii", "replace").partition("?")
        path = unquote(path)
        method = head.method.decode()
        if method == "POST" and path.startswith(_MODELS + "/") and path.endswith(_GENERATE):
            await self._generate(line, head, path[len(_MODELS) + 1 : -len(_GENERATE)], query)
            return
        await line.body(0)
        answer = self._look_up(method, path, query, _headers(head))
        await line.begin(answer, Transfer())
        if method != "HEAD":
            await line.content(answer, Transfer())
        await line.end()

    def _look_up(self, method: str, path: str, query: str, headers: Mapping[str, str]) -> Answer:
        if method != "GET":
            return _answer(page(404, "Not Found"))
        if path == "/sandbox/requests":
            return _json(self._books.rows())
        if path == "/sandbox/bill":
            return _json(self._books.bill())
        if path == _MODELS or path.startswith(_MODELS + "/"):
            return self._models(path[len(_MODELS) + 1 :], query, headers)
        return _answer(page(404, "Not Found"))

    def _models(self, name: str, query: str, headers: Mapping[str, str]) -> Answer:
        try:
            wire.admit_key(headers, query, self._script.keys)
        except Refusal as refusal:
            return _answer(refusal.problem)
        if not name:
            return _json({"models": [_described(model) for model in MODELS.values()]})
        if name not in MODELS:
            return _answer(google(404, "NOT_FOUND", f"Model is not found: models/{name} for api version v1beta"))
        return _json(_described(MODELS[name]))

    async def _generate(self, line: Line, head: h11.Request, model_id: str, query: str) -> None:
        headers = _headers(head)
        entry = self._books.arrive(at=self._now(), time=time.time(), model=model_id, auth=_auth(headers))
        try:
            body = await line.body(self._script.max_body)
            try:
                wanted = await self._admit(entry, body, headers, query)
            except Refusal as refusal:
                await self._send(line, entry, _answer(refusal.problem), Effects())
            else:
                await self._respond(line, entry, wanted)
        finally:
            self._books.close(entry)

    async def _admit(self, entry: Entry, body: bytes | None, headers: Mapping[str, str], query: str) -> Wanted:
        if body is None:
            raise Refusal(PROBLEMS["too_large"])
        wire.admit_key(headers, query, self._script.keys)
        timeout = headers.get("x-server-timeout", "1")
        if not (timeout.isdecimal() and int(timeout) > 0):
            raise Refusal(invalid("X-Server-Timeout must be a whole number of seconds."))
        if len(body) > _LARGE:
            wanted = await anyio.to_thread.run_sync(wire.read, body, entry.model)
        else:
            wanted = wire.read(body, entry.model)
        entry.prompt, entry.ratio, entry.resolution = wanted.prompt, wanted.ratio, wanted.resolution
        entry.references = len(wanted.references)
        wire.check(wanted)
        self._quota.admit(entry.at)
        return wanted

    async def _respond(self, line: Line, entry: Entry, wanted: Wanted) -> None:
        effects = self._rules.effects(wanted, entry.n)
        instead = _instead(effects)
        planned = plan(wanted, MODELS[wanted.model_id], effects, entry.n)
        entry.accepted = instead is None
        by_default = instead is None and effects.hang != "before" and planned.delivers
        entry.billed = by_default if effects.billed is None else effects.billed
        entry.micro_usd = planned.price if entry.billed else 0
        wait = effects.delay
        if instead is None:
            instead = await self._picture(planned)
            wait += self._latency(wanted.resolution or "1K")
            wait -= self._now() - entry.at
        if wait > 0:
            await line.listen(wait)
        await self._send(line, entry, instead, effects)

    def _latency(self, resolution: str) -> float:
        return self._script.latency_by_size.get(resolution, self._script.latency)

    async def _picture(self, planned: Plan) -> Answer:
        images = await (self._plain(planned) if self._script.pictures == "plain" else self._paint(planned))
        return Answer(status=200, headers=_JSON, body=compose(planned, images))

    async def _plain(self, planned: Plan) -> list[bytes]:
        key = (planned.model.id, planned.pixels, planned.ratio, planned.images, _image_effects(planned.effects))
        if key not in self._ready:
            async with self._painting:  # a thousand clients at once must not paint the first one a thousand times
                if key not in self._ready:
                    self._ready[key] = await self._paint(planned)
        return self._ready[key]

    async def _paint(self, planned: Plan) -> list[bytes]:
        job = partial(paint, planned, size=self._script.bytes, plain=self._script.pictures == "plain")
        return await anyio.to_thread.run_sync(job, limiter=self._painters)

    async def _send(self, line: Line, entry: Entry, answer: Answer, effects: Effects) -> None:
        transfer = Transfer(hang=effects.hang, drip=effects.drip, cut=effects.cut, no_end=effects.no_end)
        answer = self._dressed(answer, effects)
        if transfer.hang != "before" and transfer.cut != "before":
            entry.status = answer.status
            entry.retry_at = self._retry_at(answer)
        await line.begin(answer, transfer)
        await line.content(answer, transfer)
        self._books.close(entry)  # before the last byte leaves: whoever has it may come again at once
        await line.end()

    def _dressed(self, answer: Answer, effects: Effects) -> Answer:
        headers = {"date": formatdate(usegmt=True), **answer.headers}
        if effects.retry_after is not None:
            told = effects.retry_after
            headers["retry-after"] = told if isinstance(told, str) else f"{told:.15g}"
        headers |= {name.lower(): value for name, value in effects.headers.items()}
        return Answer(status=answer.status, headers=headers, body=answer.body, retry_delay=answer.retry_delay)

    def _retry_at(self, answer: Answer) -> float | None:
        told = [answer.retry_delay, _retry_after(answer.headers.get("retry-after"))]
        delays = [delay for delay in told if delay is not None]
        return self._now() + max(delays) if delays else None

    def _now(self) -> float:
        return anyio.current_time() - self._start


async def _reject(line: Line) -> None:
    try:
        await line.reject()
    except ClientGoneError:
        return


def _headers(head: h11.Request) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}


def _auth(headers: Mapping[str, str]) -> str:
    if "x-goog-api-key" in headers:
        return "google"
    return "bearer" if headers.get("authorization", "").lower().startswith("bearer ") else "none"


def _described(model: Model) -> dict[str, object]:
    return {
        "name": f"models/{model.id}",
        "displayName": model.name,
        "supportedGenerationMethods": ["generateContent"],
    }


def _instead(effects: Effects) -> Answer | None:
    """Give the answer that a script puts in the place of the model's own; None when there is none."""
    if effects.error is not None:
        return _answer(problem(effects.error, effects.retry_delay), listed=effects.list)
    if effects.redirect is not None:
        return Answer(status=302, headers={"location": effects.redirect})
    if effects.html:
        text = effects.html if isinstance(effects.html, str) else str(page(200, "Please wait").body)
        return _answer(Problem(status=200, body=text))
    status = effects.status or 200
    if status in {204, 205, 304}:  # statuses that HTTP gives no body
        return Answer(status=status)
    if effects.body is not None:
        return _answer(Problem(status=status, body=effects.body), listed=effects.list)
    return _answer(for_status(status), listed=effects.list) if status != 200 else None


def _answer(problem: Problem, *, listed: bool = False) -> Answer:
    if isinstance(problem.body, str):
        kind = _HTML if "<html" in problem.body.lower() else {"content-type": "text/plain; charset=utf-8"}
        return Answer(status=problem.status, headers=kind, body=(problem.body.encode("utf-8", "replace"),))
    text = json.dumps([problem.body] if listed else problem.body).encode()
    return Answer(status=problem.status, headers=_JSON, body=(text,), retry_delay=problem.retry_delay)


def _json(value: object) -> Answer:
    return Answer(status=200, headers=_JSON, body=(json.dumps(value).encode(),))


def _retry_after(value: str | None) -> float | None:
    if value is None:
        return None
    date = parsedate_tz(value)
    if date is not None:
        return mktime_tz(date) - time.time()
    try:
        return float(value)
    except ValueError:
        return None


def _image_effects(effects: Effects) -> tuple[object, ...]:
    return effects.label, effects.truncate, effects.base64
