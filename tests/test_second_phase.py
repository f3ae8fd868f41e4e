"""What an engine does with an answer that points to images: notes, parts, extras, disks that fail, hurries."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from batchbanana.engines import tries
from batchbanana.engines.local import LocalEngine, LocalWorker
from batchbanana.errors import DiskError
from batchbanana.providers import Choice, Event, ImageBytes, ImageEnded, ImageStarted, Link, Received, Request
from batchbanana.spool import Files, Spool
from batchbanana.task import Attempt, Billed, Delivery, Failure, FailureKind, Held, Reference
from batchbanana.transport import Endpoint, Lanes
from tests.support.build import rung, task
from tests.support.web import Web, picture, reply, web

RED, BLUE = picture("red"), picture("blue")
ATTEMPT = Attempt(id=7, task=task(), rung=rung(timeout=20, stall=2))


class Plain:
    """A provider whose answers are a JSON list of base64 and addresses, of which the first counts."""

    def request(self, attempt: Attempt) -> Request:
        return Request(path="/make", headers=(), body=(b"{}",))

    def reader(self) -> "PlainReader":
        return PlainReader()

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        return Failure(kind=FailureKind.SERVER_ERROR, message=str(status))


class PlainReader:
    """Reads the list when it is all there."""

    def __init__(self) -> None:
        self._body = b""
        self._places: list[int | Link] = []

    @property
    def complete(self) -> bool:
        return self._body.endswith(b"]")

    def feed(self, data: bytes) -> Sequence[Event]:
        self._body += data
        return []

    def finish(self) -> Sequence[Event]:
        return list(self._events())

    def _events(self) -> Iterator[Event]:
        index = 0
        for item in json.loads(self._body):
            if item.startswith(("http", "/")):
                self._places.append(Link(item))
                continue
            self._places.append(index)
            yield ImageStarted(index)
            yield ImageBytes(base64.b64decode(item))
            yield ImageEnded(None)
            index += 1

    def judge(self, attempt: Attempt, images: Sequence[Received]) -> Choice | Failure:
        if images and images[0].fault:
            return Failure(kind=FailureKind.NO_IMAGE, message=f'No image: "{images[0].fault}"')
        main, *extras = self._places
        return Choice(main=main, extras=tuple(extras), model_version="made-by-canary-key", billed=Billed.YES)


class Truncated(Plain):
    """A provider who misses the end of every answer."""

    def reader(self) -> "PlainReader":
        return TruncatedReader()


class TruncatedReader(PlainReader):
    """Finds no end."""

    def finish(self) -> Sequence[Event]:
        return []

    def judge(self, attempt: Attempt, images: Sequence[Received]) -> Choice | Failure:
        return Failure(kind=FailureKind.TIMEOUT, message="The answer broke off before its end")


def give(handler: BaseHTTPRequestHandler) -> None:
    """Give the colour that the path names, or nothing."""
    images = {"/red": RED, "/blue": BLUE, "/large": RED + b"x" * 5000}
    data = images.get(handler.path)
    reply(handler, data or b"no", 200 if data else 410)


def inline(data: bytes) -> str:
    return base64.b64encode(data).decode()


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A worker over a real socket and a real folder."""

    relay: Web
    spool: Spool
    engine: LocalEngine
    worker: LocalWorker

    async def carry_out(self) -> Delivery | Failure | Held:
        assert await self.worker.prepare(ATTEMPT) is None
        return await self.worker.carry_out(ATTEMPT, lambda: None)

    @property
    def files(self) -> list[str]:
        return sorted(path.name for path in self.spool.folder.iterdir())


@contextmanager
def bench(folder: Path, *answer: str, files: Files | None = None) -> Iterator[Bench]:
    """Set up a worker whose relay gives this answer; {images} stands for the server of images."""
    with web(give) as images:
        told = json.dumps([item.replace("{images}", images.url) for item in answer]).encode()
        with web(lambda handler: reply(handler, told)) as relay:
            spool = Spool(folder, files)
            spool.open()
            lanes = Lanes(Endpoint.build(relay.url, None, "canary-key"))
            engine = LocalEngine(Plain(), lanes, spool)
            yield Bench(relay=relay, spool=spool, engine=engine, worker=engine.worker())


def carried_out(bench: Bench) -> Delivery | Failure | Held:
    async def main() -> Delivery | Failure | Held:
        try:
            return await bench.carry_out()
        finally:
            await bench.worker.close()
            await bench.engine.aclose()

    return anyio.run(main)


def busy(worker: LocalWorker) -> int:
    """Count the workers that are bringing an image home."""
    return worker._permit._landing._busy


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_extras_are_fetched_or_kept_and_the_same_picture_counts_once(tmp_path: Path) -> None:
    answer = [
        "{images}/red",
        inline(RED),
        "{images}/blue",
        inline(BLUE),
        "{images}/red",
        "{images}/gone",
        "http://10.0.0.1/",
    ]
    with bench(tmp_path, *answer) as made:
        result = carried_out(made)
        assert isinstance(result, Delivery)
        assert result.image.sha256 == digest(RED)
        assert [extra.sha256 for extra in result.extras] == [digest(BLUE)]
        assert result.model_version == "made-by-[key]"
        assert made.files == [f"7.0.{digest(RED)}.ready", f"7.2.{digest(BLUE)}.ready"]


def test_extras_within_the_answer_are_kept_once_too(tmp_path: Path) -> None:
    with bench(tmp_path, inline(RED), inline(RED), inline(BLUE), inline(BLUE)) as made:
        result = carried_out(made)
        assert isinstance(result, Delivery)
        assert [extra.sha256 for extra in result.extras] == [digest(BLUE)]
        assert made.files == [f"7.0.{digest(RED)}.ready", f"7.2.{digest(BLUE)}.ready"]


def test_of_the_further_addresses_of_an_answer_no_more_than_eight_are_asked(tmp_path: Path) -> None:
    with web(give) as images:
        answer = [inline(RED), *[f"{images.url}/{number}" for number in range(30)], f"{images.url}/blue", inline(BLUE)]
        with bench(tmp_path, *answer) as made:
            result = carried_out(made)
    assert isinstance(result, Delivery)
    assert [extra.sha256 for extra in result.extras] == [digest(BLUE)]
    assert [asked.path for asked in images.asked] == [f"/{number}" for number in range(8)]


def test_further_images_share_one_deadline_and_those_within_the_answer_are_kept_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batchbanana.engines.local.EXTRAS_TIMEOUT", 0.4)
    done = threading.Event()

    def hang(_handler: BaseHTTPRequestHandler) -> None:
        done.wait(20)

    with web(hang) as images:
        with bench(tmp_path, inline(RED), *[f"{images.url}/{number}" for number in range(3)], inline(BLUE)) as made:
            result = carried_out(made)
            assert made.files == [f"7.0.{digest(RED)}.ready", f"7.4.{digest(BLUE)}.ready"]
        done.set()
    assert isinstance(result, Delivery)
    assert [extra.sha256 for extra in result.extras] == [digest(BLUE)]
    assert [asked.path for asked in images.asked] == ["/0"]


@pytest.mark.parametrize("coding", ["gzip, gzip", "br"])
def test_an_answer_in_an_encoding_that_was_not_asked_for_may_be_billed_and_brings_no_image(
    tmp_path: Path, coding: str
) -> None:
    spool = Spool(tmp_path)
    spool.open()
    with web(lambda handler: reply(handler, b"\x1f\x8b", content_encoding=coding)) as relay:
        engine = LocalEngine(Truncated(), Lanes(Endpoint.build(relay.url, None, "canary-key")), spool)
        result = carried_out(Bench(relay=relay, spool=spool, engine=engine, worker=engine.worker()))
    assert result == Failure(
        kind=FailureKind.NO_IMAGE,
        message="The answer is in an encoding that was not asked for; check `base_url` and the proxy if this goes on",
        billed=Billed.UNKNOWN,
        status=200,
        signature="the answer is in an encoding that was not asked for",
    )
    assert list(spool.folder.iterdir()) == []


def test_the_note_of_a_lost_image_stays_until_the_ledger_knows_and_no_other_step_drops_it(tmp_path: Path) -> None:
    with bench(tmp_path, "{images}/gone") as made:

        async def main() -> None:
            result = await made.carry_out()
            assert isinstance(result, Failure)
            assert (result.kind, result.billed) == (FailureKind.DOWNLOAD, Billed.YES)
            await made.worker.close()
            assert made.files == ["7.0.link"]
            await made.worker.settled()
            assert made.files == []
            await made.worker.settled()

        anyio.run(main)


def test_an_address_that_must_not_be_asked_is_not_even_written_down(tmp_path: Path) -> None:
    """It may hold the key."""
    with bench(tmp_path, "{images}/red?key=canary-key") as made:

        async def main() -> None:
            result = await made.carry_out()
            assert isinstance(result, Failure)
            assert (result.kind, result.billed) == (FailureKind.DOWNLOAD, Billed.YES)
            assert made.files == []
            assert not made.worker.holds
            await made.worker.close()

        anyio.run(main)


def test_a_further_image_may_stand_behind_an_address_without_a_host(tmp_path: Path) -> None:
    with bench(tmp_path, inline(RED), "/files/blue") as made:
        assert isinstance(carried_out(made), Delivery)
        assert [asked.path for asked in made.relay.asked] == ["/make", "/files/blue"]


def test_an_address_without_a_host_is_asked_of_the_base_and_noted_in_full(tmp_path: Path) -> None:
    with bench(tmp_path, "/files/red") as made:

        async def main() -> None:
            result = await made.carry_out()
            assert isinstance(result, Failure)
            assert result.message.startswith("127.0.0.1 never gives the image")
            [note] = made.spool.notes()
            assert note.url == f"{made.relay.url}/files/red"
            await made.worker.close()

        anyio.run(main)
        assert {(asked.method, asked.path) for asked in made.relay.asked} == {("POST", "/make"), ("GET", "/files/red")}


def test_a_reference_that_is_gone_tells_how_to_go_on(tmp_path: Path) -> None:
    gone = Reference(path=tmp_path / "gone.png", sha256="0" * 64, mime="image/png", size=10)

    class Referring(Plain):
        def request(self, attempt: Attempt) -> Request:
            return Request(path="/make", headers=(), body=(gone,))

    with web(reply) as relay:
        spool = Spool(tmp_path)
        spool.open()
        engine = LocalEngine(Referring(), Lanes(Endpoint.build(relay.url, None, "canary-key")), spool)
        result = carried_out(Bench(relay=relay, spool=spool, engine=engine, worker=engine.worker()))
    assert isinstance(result, Failure)
    assert result.kind is FailureKind.REFERENCE
    assert "gone.png cannot be read any more" in result.message
    assert result.message.endswith("put it back and run again with --retry failed")
    assert relay.asked == []


class Failing(Files):
    """A disk that refuses what it is told to."""

    def __init__(self, *, rename: str = "", sync: bool = False, part: str = "") -> None:
        self._rename = rename
        self._sync = sync
        self._part = part

    def create(self, path: Path, size: int):  # type: ignore[no-untyped-def]
        if self._part and path.name.endswith(self._part):
            raise OSError(28, "No space left on device")
        return super().create(path, size)

    def rename(self, source: Path, target: Path) -> None:
        if self._rename and target.suffix == self._rename:
            raise OSError(28, "No space left on device")
        super().rename(source, target)

    def sync_folder(self, path: Path) -> None:
        if self._sync and path.name == "spool":
            raise OSError(5, "Input/output error")


@pytest.mark.parametrize(
    ("files", "whole"),
    [(Failing(part=".1000.part"), []), (Failing(rename=".ready"), [f"7.0.{digest(RED)}.{len(RED)}.whole"])],
)
def test_a_disk_that_fails_in_the_download_stops_the_run_and_leaves_the_note(
    tmp_path: Path, files: Files, whole: list[str]
) -> None:
    with bench(tmp_path, "{images}/red", files=files) as made:
        with pytest.raises(DiskError, match="run again to fetch it"):
            carried_out(made)
        assert made.files == [*whole, "7.0.link"]


def test_a_note_that_may_not_be_synced_leaves_the_attempt_open(tmp_path: Path) -> None:
    with bench(tmp_path, "{images}/red", files=Failing(sync=True)) as made:
        with pytest.raises(DiskError, match="fetched later"):
            carried_out(made)
        [note] = made.spool.notes()
        assert (note.attempt, note.url.rsplit("/", 1)[1], note.billed) == (7, "red", Billed.YES)


def test_an_image_whose_note_cannot_be_written_is_fetched_all_the_same(tmp_path: Path) -> None:
    with bench(tmp_path, "{images}/red", files=Failing(rename=".link")) as made:
        assert isinstance(carried_out(made), Delivery)
        assert made.files == [f"7.0.{digest(RED)}.ready"]


def test_an_image_that_can_be_neither_fetched_nor_noted_is_a_fault_of_the_disk_and_billed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tries, "BACKOFF", (0.01, 0.01))
    with bench(tmp_path, "http://127.0.0.1:9/nobody", files=Failing(rename=".link")) as made:
        result = carried_out(made)
        assert isinstance(result, Failure)
        assert (result.kind, result.billed) == (FailureKind.DISK, Billed.YES)
        assert made.files == []


def test_a_disk_that_fails_with_an_extra_does_not_cost_the_image_that_counts(tmp_path: Path) -> None:
    with bench(tmp_path, inline(RED), "{images}/blue", files=Failing(part=".1001.part")) as made:
        result = carried_out(made)
        assert isinstance(result, Delivery)
        assert result.extras == ()
        assert made.files == [f"7.0.{digest(RED)}.ready"]


def test_who_gives_up_in_a_download_leaves_something_that_a_later_run_can_bring_home(tmp_path: Path) -> None:
    started, done = threading.Event(), threading.Event()

    def hang(_handler: BaseHTTPRequestHandler) -> None:
        started.set()
        done.wait(20)

    with web(hang) as images, bench(tmp_path, f"{images.url}/red") as made:

        async def main() -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(made.carry_out)
                await to_thread.run_sync(started.wait)
                assert not busy(made.worker), "others need not wait for a download"
                group.cancel_scope.cancel()
            assert made.worker.holds
            assert made.files == ["7.0.link"]
            await made.worker.close()
            assert made.files == ["7.0.link"]

        anyio.run(main)
        done.set()


@pytest.mark.parametrize(
    "answer",
    [(inline(RED),), ("{images}/red",), ("{images}/gone",), (inline(RED), "{images}/blue"), (inline(b"bad"),), ()],
)
def test_whatever_an_answer_brings_the_next_one_has_a_place(tmp_path: Path, answer: Sequence[str]) -> None:
    with bench(tmp_path, *answer) as made:
        with suppress(ValueError):  # of a provider who does not know an answer without anything
            carried_out(made)
        assert busy(made.worker) == 0


def test_an_attempt_that_failed_before_it_was_paid_holds_nothing(tmp_path: Path) -> None:
    with web(lambda handler: reply(handler, b"", 500)) as relay:
        spool = Spool(tmp_path)
        spool.open()
        engine = LocalEngine(Plain(), Lanes(Endpoint.build(relay.url, None, "canary-key")), spool)
        worker = engine.worker()

        async def main() -> None:
            await worker.prepare(ATTEMPT)
            assert isinstance(await worker.carry_out(ATTEMPT, lambda: None), Failure)
            await worker.close()
            await engine.aclose()

        anyio.run(main)
        assert not worker.holds


def test_without_file_descriptors_it_is_tried_again(tmp_path: Path) -> None:
    class Few(Files):
        def __init__(self) -> None:
            self.refusals = 2

        def create(self, path: Path, size: int):  # type: ignore[no-untyped-def]
            if path.name.endswith(".1000.part") and self.refusals:
                self.refusals -= 1
                raise OSError(24, "Too many open files")
            return super().create(path, size)

    with bench(tmp_path, "{images}/red", files=Few()) as made:
        assert isinstance(carried_out(made), Delivery)
