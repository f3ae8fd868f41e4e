"""Bugs of the kinds that cost people images and money, to be seeded: a harness that misses one is no harness."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import pytest

from batchbanana import allowances, feed, recovery, runner
from batchbanana.errors import Exit
from batchbanana.ledger import Settlement, Store
from batchbanana.ledger.metadata import Metadata
from batchbanana.limits import Limits
from batchbanana.policy import History, Retry, Stop, decide
from batchbanana.shelf import Parcel, Placed, Shelf, _ending, final_name
from batchbanana.spool import Part, Spool
from batchbanana.task import Billed, Failure, FailureKind, Outcome

Seed = Callable[[pytest.MonkeyPatch], None]


def never_synced(patch: pytest.MonkeyPatch) -> None:
    """A file gets its name without ever being synced."""

    def sync(self: Part) -> None:
        self._handle.truncate(self.size)
        self._handle.close()

    patch.setattr(Part, "_sync", sync)


def name_before_bytes(patch: pytest.MonkeyPatch) -> None:
    """A file is synced only after it has its name."""
    patch.setattr(Part, "_sync", lambda _part: None)


def folder_never_synced(patch: pytest.MonkeyPatch) -> None:
    """The folder of the final names is not synced."""
    true = Spool.publish_all

    def publish_all(self: Spool, images: Sequence[tuple[Path, str]]) -> list[bool | Exception]:
        files, sync_folder = self._files, self._files.sync_folder
        patch.setattr(files, "sync_folder", lambda path: None if "images" in path.parts else sync_folder(path))
        return true(self, images)

    patch.setattr(Spool, "publish_all", publish_all)


def commit_before_file(patch: pytest.MonkeyPatch) -> None:
    """The ledger knows an image before it has its name."""

    async def put(self: Shelf, parcel: Parcel) -> Placed:
        files = [final_name(parcel, 0, "")]
        await self._settle(parcel, _ending(parcel, files, Outcome.DONE, ""))
        self._publish_all([(parcel, files)])
        self._tidy(parcel)
        return Placed(outcome=Outcome.DONE, file=files[0], size=parcel.images[0].size)

    patch.setattr(Shelf, "put", put)


def spool_forgets_too_soon(patch: pytest.MonkeyPatch) -> None:
    """The spool's file goes before the ledger knows the image."""
    true = Shelf._settle

    async def settle(self: Shelf, parcel: Parcel, *args: Any) -> None:
        self._tidy(parcel)
        await true(self, parcel, *args)

    patch.setattr(Shelf, "_settle", settle)


def no_adoption(patch: pytest.MonkeyPatch) -> None:
    """What a dead run has left in the spool is thrown away."""
    true = Spool.recover

    def recover(self: Spool) -> list[Any]:
        for ready in true(self):
            self.forget(ready.path)
        return []

    patch.setattr(Spool, "recover", recover)


def parts_stay(patch: pytest.MonkeyPatch) -> None:
    """Half-written files are left in the spool for ever."""
    true = Spool.recover

    def recover(self: Spool) -> list[Any]:
        parts = {path: path.read_bytes() for path in self.folder.glob("*.part")}
        found = true(self)
        for path, data in parts.items():
            path.write_bytes(data)
        return found

    patch.setattr(Spool, "recover", recover)


def _settled(patch: pytest.MonkeyPatch, change: Callable[[Settlement], Settlement]) -> None:
    true = Store.settle

    @wraps(true)
    def settle(self: Store, settlement: Settlement) -> None:
        true(self, change(settlement))

    patch.setattr(Store, "settle", settle)


def a_kill_is_free(patch: pytest.MonkeyPatch) -> None:
    """What was in flight at a kill is taken not to have been billed."""
    _settled(patch, lambda one: replace(one, billed=Billed.NO) if one.result == "lost" else one)


def silence_is_free(patch: pytest.MonkeyPatch) -> None:
    """A timeout is taken not to have been billed."""
    _settled(patch, lambda one: replace(one, billed=Billed.NO) if one.result == "timeout" else one)


def nothing_reserved(patch: pytest.MonkeyPatch) -> None:
    """The cap looks only at what is settled."""
    true = Store.begin

    def begin(self: Store, sending: Any) -> Any:
        granted = true(self, sending)
        self.money.reserved = 0
        return granted

    patch.setattr(Store, "begin", begin)


def refusals_are_asked_again(patch: pytest.MonkeyPatch) -> None:
    """A prompt that was refused is sent again."""

    def again(failure: Failure, after: History, *, others_pass: bool) -> Any:
        if failure.kind is FailureKind.REFUSED and after.in_a_row < 3:
            return Retry(floor=1.0, spread=0.0)
        return decide(failure, after, others_pass=others_pass)

    patch.setattr(runner, "decide", again)


def kills_forget_timeouts(patch: pytest.MonkeyPatch) -> None:
    """Each run gives a task its timeouts anew."""
    patch.setattr(feed, "recall", lambda *_: History())


def places_are_freed_on_errors(patch: pytest.MonkeyPatch) -> None:
    """A request that failed gives its place in the minute back."""
    true = Limits.back

    def back(self: Limits, leave: Any, cost: int | None = None) -> None:
        if cost == 0:
            leave.departed = None
            for window, place in self._taken(leave):
                window._log.remove(place)  # type: ignore[attr-defined]
                window._used -= place.weight  # type: ignore[attr-defined]
            self.concurrency.in_flight -= 1
            self._flying[leave.model] -= 1
            self._wake()
            return
        true(self, leave, cost)

    patch.setattr(Limits, "back", back)


def a_restart_buys_a_fresh_minute(patch: pytest.MonkeyPatch) -> None:
    """Starts of earlier runs are not counted."""
    patch.setattr(allowances, "starts_since", lambda *_: [])


def counted_when_it_may_leave(patch: pytest.MonkeyPatch) -> None:
    """The minute begins when a request may leave, and not when it does."""
    true = Limits.leave

    async def leave(self: Limits, *args: Any, **more: Any) -> Any:
        given = await true(self, *args, **more)
        self.departs(given)
        return given

    patch.setattr(Limits, "leave", leave)


def attempts_stay_open(patch: pytest.MonkeyPatch) -> None:
    """What was in flight at a kill is never written off."""

    async def run(self: Any, stopped: Any) -> recovery.Recovered:
        return recovery.Recovered(adopted=0, lost=0, problems=(), held=frozenset())

    patch.setattr(recovery._Recovery, "run", run)


def metadata_is_trusted_unsynced(patch: pytest.MonkeyPatch) -> None:
    """`metadata.jsonl` is taken to be on the disk as soon as it is written."""
    true = Metadata.remember

    def remember(self: Metadata) -> None:
        self._safe = self._seq, self._bytes
        true(self)

    patch.setattr(Metadata, "remember", remember)


def one_failure_ends_all(patch: pytest.MonkeyPatch) -> None:
    """A fault of one task ends the run and leaves the others pending."""

    def stop(failure: Failure, after: History, *, others_pass: bool) -> Any:
        if failure.kind is FailureKind.SERVER_ERROR:
            return Stop(exit_code=Exit.PERSON, reason="no")
        return decide(failure, after, others_pass=others_pass)

    patch.setattr(runner, "decide", stop)


POWER = (never_synced, name_before_bytes, folder_never_synced, metadata_is_trusted_unsynced)
KILLS = (
    *(commit_before_file, spool_forgets_too_soon, no_adoption, parts_stay, a_kill_is_free, silence_is_free),
    *(refusals_are_asked_again, attempts_stay_open, one_failure_ends_all),
)
RATES = (places_are_freed_on_errors, a_restart_buys_a_fresh_minute, counted_when_it_may_leave)
CAPS = (nothing_reserved,)
SILENCE = (kills_forget_timeouts,)
