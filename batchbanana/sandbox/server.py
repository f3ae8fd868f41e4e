"""The sandbox's server: routes, and the way of one generate request from its head to the end of its answer."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

import anyio
import anyio.abc
import anyio.to_thread
import h11

from batchbanana.sandbox import keys, replies
from batchbanana.sandbox.books import Books, Entry, Quota
from batchbanana.sandbox.catalog import MODELS
from batchbanana.sandbox.downloads import PATH
from batchbanana.sandbox.effects import Effects
from batchbanana.sandbox.formats import Format, generating, listing, models
from batchbanana.sandbox.line import Answer, ClientGoneError, Line, Transfer
from batchbanana.sandbox.plans import Plan, fill, plan
from batchbanana.sandbox.problems import PROBLEMS, Refusal, invalid, page, unknown_model
from batchbanana.sandbox.rules import Rulebook, Script
from batchbanana.sandbox.studio import Studio
from batchbanana.sandbox.wanted import Wanted, check

_log = logging.getLogger(__name__)
_LARGE = 262_144  # bytes of a request, above which reading it would hold up the loop


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """One generate request under way; `headers` have lower-case names."""

    line: Line
    entry: Entry
    form: Format
    headers: Mapping[str, str]
    query: str


class Sandbox:
    """One server's state. It lives on the event loop that made it."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._rules = Rulebook(script)
        self._quota = Quota(script.quota)
        self._books = Books()
        self._studio = Studio(script)
        self._start = anyio.current_time()

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
        target, _, query = head.target.decode("ascii", "replace").partition("?")
        path, method, headers = unquote(target), head.method.decode(), _headers(head)
        if method == "POST" and (found := generating(path)) is not None:
            form, model = found
            entry = self._books.arrive(
                at=self._now(), time=time.time(), path=path, auth=keys.named(headers), model=model
            )
            await self._generate(_Call(line=line, entry=entry, form=form, headers=headers, query=query))
            return
        await line.body(0)
        if method == "GET" and path.startswith(PATH):
            await self._download(line, path, headers)
            return
        answer = self._look_up(path, query, headers) if method == "GET" else None
        answer = answer or replies.fault(page(404, "Not Found"))
        await line.begin(answer, Transfer())
        if method != "HEAD":
            await line.content(answer, Transfer())
        await line.end()

    def _look_up(self, path: str, query: str, headers: Mapping[str, str]) -> Answer | None:
        if path == "/sandbox/requests":
            return replies.values(self._books.rows())
        if path == "/sandbox/bill":
            return replies.values(self._books.bill())
        found = listing(path, keys.named(headers))
        return self._models(*found, query, headers) if found is not None else None

    def _models(self, form: Format, name: str, query: str, headers: Mapping[str, str]) -> Answer:
        try:
            keys.admit(headers, query, self._script.keys)
        except Refusal as refusal:
            return replies.fault(form.spoken(refusal.problem))
        told = models(form, name)
        return replies.fault(form.spoken(unknown_model(name))) if told is None else replies.values(told)

    async def _download(self, line: Line, path: str, headers: Mapping[str, str]) -> None:
        entry = self._books.fetch(at=self._now(), time=time.time(), path=path, auth=keys.named(headers))
        answer, transfer = self._studio.downloads.fetch(path)
        if transfer.hang is None:
            entry.status = answer.status
        await line.begin(answer, transfer)
        await line.content(answer, transfer)
        await line.end()

    async def _generate(self, call: _Call) -> None:
        try:
            body = await call.line.body(self._script.max_body)
            try:
                wanted = await self._admit(call, body)
            except Refusal as refusal:
                await self._send(call, replies.fault(call.form.spoken(refusal.problem)), Effects())
            else:
                await self._respond(call, wanted)
        finally:
            self._books.close(call.entry)

    async def _admit(self, call: _Call, body: bytes | None) -> Wanted:
        if body is None:
            raise Refusal(PROBLEMS["too_large"])
        entry = call.entry
        keys.admit(call.headers, call.query, self._script.keys)
        timeout = call.headers.get("x-server-timeout", "1")
        if not (timeout.isdecimal() and int(timeout) > 0):
            raise Refusal(invalid("X-Server-Timeout must be a whole number of seconds."))
        if len(body) > _LARGE:
            wanted = await anyio.to_thread.run_sync(call.form.read, body, entry.model)
        else:
            wanted = call.form.read(body, entry.model)
        entry.model, entry.references = wanted.model_name, len(wanted.references)
        entry.prompt, entry.ratio, entry.resolution = wanted.prompt, wanted.ratio, wanted.resolution
        check(wanted)
        self._quota.admit(entry.at)
        return wanted

    async def _respond(self, call: _Call, wanted: Wanted) -> None:
        entry = call.entry
        effects = self._rules.effects(wanted, entry.n, entry.at)
        instead = replies.instead(effects, call.form.spoken)
        planned = plan(wanted, MODELS[wanted.model_id], effects, number=entry.n, time=entry.time)
        entry.accepted = instead is None
        by_default = instead is None and effects.hang != "before" and planned.delivers
        entry.billed = by_default if effects.billed is None else effects.billed
        entry.micro_usd = planned.price if entry.billed else 0
        wait = effects.delay
        if instead is None:
            instead = await self._picture(call, planned)
            wait += self._latency(wanted.resolution or "1K")
            wait -= self._now() - entry.at
        if wait > 0:
            await call.line.listen(wait)
        await self._send(call, instead, effects)

    def _latency(self, resolution: str) -> float:
        return self._script.latency_by_size.get(resolution, self._script.latency)

    async def _picture(self, call: _Call, planned: Plan) -> Answer:
        images = await self._studio.images(planned)
        # The client's own word for this host: it may have come through a forwarded port. HTTP/1.0 need not say it.
        uris = self._studio.uris(planned, images, call.headers.get("host", "localhost"))
        document = call.form.compose(planned, uris)
        pieces = fill([document] if planned.effects.list else document, images)
        return Answer(status=200, headers=replies.JSON, body=pieces)

    async def _send(self, call: _Call, answer: Answer, effects: Effects) -> None:
        transfer = Transfer(hang=effects.hang, drip=effects.drip, cut=effects.cut, no_end=effects.no_end)
        answer = replies.dressed(answer, effects)
        if transfer.hang != "before" and transfer.cut != "before":
            call.entry.status = answer.status
            pause = replies.pause(answer)
            call.entry.retry_at = None if pause is None else self._now() + pause
        await call.line.begin(answer, transfer)
        await call.line.content(answer, transfer)
        self._books.close(call.entry)  # before the last byte leaves: whoever has it may come again at once
        await call.line.end()

    def _now(self) -> float:
        return anyio.current_time() - self._start


async def _reject(line: Line) -> None:
    try:
        await line.reject()
    except ClientGoneError:
        return


def _headers(head: h11.Request) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
