"""The money cap, whatever the order in which attempts are sent, answered, lost and resumed."""

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from batchbanana.ledger import Caps, Grant, Sending, Settlement, Store
from batchbanana.task import Billed

PRICES = st.sampled_from([33_600, 39_000, 134_000, 240_000])  # micro-dollars


class Spending(RuleBasedStateMachine):
    """A ledger that is written, killed and opened again; what is in flight is what a server may bill."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.flying: dict[int, int] = {}
        self.billable = 0  # micro-dollars that the provider may have on its invoice, at worst
        self.store: Store | None = None

    @initialize(cap=st.integers(0, 1_500_000))
    def begin(self, cap: int) -> None:
        self.cap = cap
        self.open()

    def open(self) -> None:
        self.store = opened(self.folder.name, self.cap)

    @property
    def ledger(self) -> Store:
        assert self.store is not None
        return self.store

    @rule(price=PRICES)
    def send(self, price: int) -> None:
        number = self.ledger.next_attempt()
        sending = Sending(id=number, key=f"{number:032x}", resolution="1K", price=price, errand={})
        if self.ledger.begin(sending) is Grant.GRANTED:
            self.flying[number] = price
            self.billable += price

    @rule(billed=st.sampled_from(list(Billed)), data=st.data())
    def answer(self, billed: Billed, data: st.DataObject) -> None:
        if not self.flying:
            return
        number = data.draw(st.sampled_from(sorted(self.flying)))
        price = self.flying.pop(number)
        told = data.draw(st.integers(0, price))  # what the answer says that it cost, never more than was reserved
        self.ledger.settle(
            Settlement(attempt=number, result="image", billed=billed, cost=told if billed is Billed.YES else None)
        )
        if billed is not Billed.UNKNOWN:
            self.billable -= price - (told if billed is Billed.YES else 0)

    @rule()
    def kill_and_resume(self) -> None:
        self.ledger.close()
        self.open()
        for attempt in self.ledger.unsettled():
            self.ledger.settle(Settlement(attempt=attempt.id, result="lost", billed=Billed.UNKNOWN))
        self.flying.clear()

    @invariant()
    def the_cap_caps(self) -> None:
        if self.store is not None:
            spent = self.store.money
            assert spent.settled + spent.reserved + spent.possible == self.billable <= self.cap

    @invariant()
    def a_fresh_count_says_the_same(self) -> None:
        if self.store is not None:
            told = (self.store.money.settled, self.store.money.reserved, self.store.money.possible)
            self.store.recount()
            assert told == (self.store.money.settled, self.store.money.reserved, self.store.money.possible)

    def teardown(self) -> None:
        if self.store is not None:
            self.store.close()
        self.folder.cleanup()


TestSpending = Spending.TestCase
TestSpending.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@given(st.integers(1001, 5000), st.lists(st.sampled_from(["send", "answer", "lose", "kill"]), max_size=60))
def test_answers_that_cost_more_than_their_price_are_reckoned_with_once_one_is_seen(
    thousandths: int, steps: list[str]
) -> None:
    """What is in flight then can cost as much more; so no more is sent than the cap has room for at that price."""
    price, cap = 134_000, 2_000_000
    cost = price * thousandths // 1000
    with TemporaryDirectory() as folder:
        store = opened(folder, cap)
        assert begin(store, 1, price) is Grant.GRANTED
        store.settle(Settlement(attempt=1, result="image", billed=Billed.YES, cost=cost))
        flying: list[int] = []
        billed = cost  # what the provider has on its invoice, at worst
        for number, step in enumerate(steps, 2):
            if step == "send" and begin(store, number, price) is Grant.GRANTED:
                flying.append(number)
                billed += cost
                assert billed <= max(cap, cost)
            elif step in {"answer", "lose"} and flying:
                is_answer = step == "answer"
                result = Settlement(
                    attempt=flying.pop(),
                    result="image" if is_answer else "lost",
                    billed=Billed.YES if is_answer else Billed.UNKNOWN,
                    cost=cost if is_answer else None,
                )
                store.settle(result)
            elif step == "kill":
                store.close()
                store = opened(folder, cap)
        store.close()


def opened(folder: str, cap: int) -> Store:
    store = Store.open(Path(folder) / "ledger.db", Caps(max_cost=cap))
    store.start_run(("0" * 64, "job.yaml", ""))
    return store


def begin(store: Store, number: int, price: int) -> Grant:
    return store.begin(Sending(id=number, key=f"{number:032x}", resolution="1K", price=price, errand={}))
