"""What is told without a walk is what a walk finds."""

import json
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from batchbanana.feed import Tally
from batchbanana.ledger import Caps, Ending, Known, Sending, Settlement, Store, put_back
from batchbanana.matrix import Matrix
from batchbanana.standing import note_begin, note_end, standing
from batchbanana.summary import counts
from batchbanana.survey import Survey, survey
from batchbanana.task import Billed, Outcome
from tests.manifest.conftest import load_text

PLANS: list[dict[str, object]] = [
    {"prompt": "A {p}", "vars": {"p": ["mug", "cup", "jug"]}},
    {"prompt": "A {p}", "vars": {"p": ["mug", "cup", "pot", "pan"]}},
    {"prompt": "{p}{q}", "vars": {"p": ["A m", "A "], "q": ["ug", "mug"]}},  # one cell asks for what another does
]


def plans(folder: Path) -> list[Matrix]:
    return [load_text(folder, json.dumps({"jobs": [{"id": "a", **plan}]})) for plan in PLANS]


def told(found: Survey) -> dict[str, object]:
    return {**asdict(found), "tally": counts(found.tally)}


class Life:
    """A ledger through runs of several plans."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._attempts = 0

    def run(self, matrix: Matrix, outcomes: list[Outcome | None], *, sees_all: bool) -> None:
        """Begin a run, let tasks without outcome end so, and end it; a killed one has not seen all."""
        note_begin(self.store, matrix)
        self.store.start_run(("0" * 64, "m.yaml", ""))
        for draft, outcome in zip(matrix.drafts(), outcomes, strict=False):
            known = self.store.lookup([draft.key]).get(draft.key)
            if outcome is not None and (known is None or known.outcome is None):
                self._end(draft.key, outcome)
        if sees_all:
            note_end(self.store, matrix, survey(matrix, self.store).tally)

    def _end(self, key: str, outcome: Outcome) -> None:
        self._attempts += 1
        file = f"images/{key}.jpg" if outcome.has_image else None
        ending = Ending(
            key=key, outcome=outcome, attempt=self._attempts, record={}, file=file, size=3 if file else None
        )
        self.store.begin(Sending(id=self._attempts, key=key, resolution="1K", price=1, errand={"key": key}))
        result = "image" if file else "refused"
        self.store.settle(Settlement(attempt=self._attempts, result=result, billed=Billed.NO, ending=ending))


OUTCOMES = st.lists(st.sampled_from([None, Outcome.DONE, Outcome.DONE, Outcome.MISMATCH, Outcome.FAILED]), max_size=4)
STEPS = st.lists(st.tuples(st.sampled_from([0, 0, 1, 2]), OUTCOMES, st.booleans(), st.booleans()), max_size=5)


@settings(deadline=None)  # it reads files
@given(STEPS)
def test_the_ledgers_counts_are_told_only_where_they_are_the_plans(
    steps: list[tuple[int, list[Outcome | None], bool, bool]],
) -> None:
    with TemporaryDirectory() as name:
        matrices = plans(Path(name))
        store = Store.open(Path(name) / "ledger.db", Caps())
        life = Life(store)
        for plan, outcomes, sees_all, is_repaired in steps:
            life.run(matrices[plan], outcomes, sees_all=sees_all)
            if is_repaired and (row := next(store.rows("SELECT key FROM outcomes LIMIT 1"), None)):
                put_back(store, row[0].hex())
            for matrix in matrices:
                found = standing(store, matrix)
                event(f"is told: {found is not None}")
                if found is not None:
                    assert counts(found) == counts(survey(matrix, store).tally)
        store.close()


def test_a_first_run_that_never_ends_is_told_without_a_walk(tmp_path: Path) -> None:
    matrix = plans(tmp_path)[0]
    store = Store.open(tmp_path / "ledger.db", Caps())
    Life(store).run(matrix, [Outcome.DONE, None, Outcome.FAILED], sees_all=False)
    found = standing(store, matrix)
    assert found is not None
    assert counts(found) == {**counts(Tally()), "tasks": 3, "done": 1, "failed": 1, "pending": 1}
    store.close()


@pytest.mark.parametrize(
    "more",
    [
        {"on_mismatch": "retry"},
        {"ratio": ["1:1", "4:3"], "resolution": ["1K", "4K"], "model": ["gemini-3-pro-image", "a-relays-own"]},
        {"resolution": "4K", "exclude": {"p": "cup"}},
        {"samples": 3, "pick": {"count": 4}},
        {"include": {"p": "cup"}},
    ],
)
def test_a_plan_that_nothing_is_known_of_is_priced_as_a_walk_would(tmp_path: Path, more: dict[str, object]) -> None:
    first = {"id": "a", **PLANS[0], **more}
    matrix = load_text(tmp_path, json.dumps({"jobs": [first, {"id": "b", "prompt": "Two mugs"}]}))
    walked = Survey()
    seen = set()
    for draft in matrix.drafts():
        if draft.key in seen:
            walked.repeated += 1
        else:
            seen.add(draft.key)
            walked.add(draft.task(), Known(), draft.number)
    assert told(survey(matrix, None)) == told(walked)
    store = Store.open(tmp_path / "ledger.db", Caps())
    assert told(survey(matrix, store)) == told(walked)
    store.close()
