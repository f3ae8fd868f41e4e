"""The ledger's few readings and changes that `verify` lives on."""

from pathlib import Path

import pytest

from batchbanana import ledger
from batchbanana.ledger import Caps, Ending, Restored, Store, mending
from batchbanana.task import Billed, Outcome


def restored(number: int, cost: int | None = 100) -> Restored:
    file = f"images/{number}.png"
    ending = Ending(
        key=f"{number:032x}", outcome=Outcome.DONE, attempt=0, record={}, file=file, size=9, sha256="a" * 64
    )
    billed = Billed.NO if cost == 0 else Billed.YES
    return Restored(ending=ending, resolution="1K", created=1000.0 + number, billed=billed, cost=cost)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store.open(tmp_path / "ledger.db", Caps())
    for number, cost in enumerate((100, 0, None, 300, 100), start=1):
        ledger.restore(made, restored(number, cost))
    made.recount()
    return made


def test_all_images_come_in_order_however_many_pages_they_fill(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for page in (1, 2, 5, 6):
        monkeypatch.setattr(mending, "PAGE", page)
        assert [image.file for image in ledger.images(store)] == [f"images/{number}.png" for number in range(1, 6)]
    store.close()


def test_images_may_be_put_back_while_they_are_walked_through(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mending, "PAGE", 2)
    seen = []
    for image in ledger.images(store):
        seen.append(image.file)
        ledger.put_back(store, image.key)
    assert len(seen) == 5
    assert store.count_outcomes() == {}
    assert store.money.settled == 500
    store.close()


def test_restored_images_have_cost_what_they_have_and_are_known_by_their_keys(store: Store) -> None:
    assert (store.money.settled, store.money.unpriced, store.money.possible_count) == (500, 1, 0)
    known = store.lookup([f"{number:032x}" for number in range(1, 7)])
    assert {key: one.file for key, one in known.items()} == {
        f"{number:032x}": f"images/{number}.png" for number in range(1, 6)
    }
    assert [start.sent for start in ledger.starts_since(store, 1003.0)] == [1004.0, 1005.0]
    store.close()


def test_an_image_that_was_told_of_twice_is_the_later_one(store: Store) -> None:
    ledger.restore(store, restored(3))
    assert store.count_outcomes() == {Outcome.DONE: 5}
    image = ledger.image_of(store, f"{3:032x}")
    assert image is not None
    assert image.seq == 6
    store.close()


def test_a_file_is_owned_as_long_as_its_task_has_it(store: Store) -> None:
    ledger.index_files(store)
    assert ledger.is_owned(store, "images/1.png")
    assert not ledger.is_owned(store, "images/6.png")
    ledger.put_back(store, f"{1:032x}")
    ledger.index_files(store)
    assert not ledger.is_owned(store, "images/1.png")
    store.close()


def test_a_whole_file_has_no_flaw(tmp_path: Path, store: Store) -> None:
    store.close()
    assert ledger.flaw(tmp_path / "ledger.db") is None
