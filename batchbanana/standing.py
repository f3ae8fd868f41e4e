"""How a job stands by its ledger's own counts, where these are certain to be the plan's and nobody has to walk it.

They are while the ledger has known no other plan, or once a run has seen the whole of this one: it leaves a note of how
many outcomes are of tasks that the plan has not. A run of another plan takes the note away.
"""

import json
from collections.abc import Mapping

from batchbanana.feed import Tally
from batchbanana.ledger import OUTSIDE, PLAN, Store
from batchbanana.matrix import Matrix


def note_begin(store: Store, matrix: Matrix) -> None:
    """Note or take back whose tasks the ledger knows; to be called before a run changes anything."""
    if store.is_blank and store.next_attempt() == 1:
        _note(store, matrix, matrix.cells if matrix.is_distinct else None, {})
    elif _noted(store).get("digest") != matrix.digest:
        store.forget(PLAN)


def note_end(store: Store, matrix: Matrix, tally: Tally) -> None:
    """Note how a plan stands that a run has seen to its end; `tally` has its tasks."""
    if store.unsettled():
        return  # these may be of tasks that the plan has not, and a later run may end them
    outside = {str(outcome): count - tally.count(outcome) for outcome, count in store.count_outcomes().items()}
    _note(store, matrix, tally.total, {outcome: count for outcome, count in outside.items() if count})


def standing(store: Store, matrix: Matrix) -> Tally | None:
    """Count the plan's tasks by outcome; None where only a walk can tell."""
    noted = _noted(store)
    tasks = noted.get("tasks")
    if not isinstance(tasks, int) or noted["digest"] != matrix.digest:
        return None
    outside = json.loads(store.noted(OUTSIDE) or "{}")
    tally = Tally()
    for outcome, count in store.count_outcomes().items():
        tally.add(outcome, count - outside.get(str(outcome), 0))
    tally.add(None, tasks - tally.total)
    return tally


def _note(store: Store, matrix: Matrix, tasks: int | None, outside: Mapping[str, int]) -> None:
    store.note(PLAN, json.dumps({"digest": matrix.digest, "tasks": tasks}))
    if outside:
        store.note(OUTSIDE, json.dumps(outside))
    else:
        store.forget(OUTSIDE)


def _noted(store: Store) -> dict[str, object]:
    noted: dict[str, object] = json.loads(store.noted(PLAN) or "{}")
    return noted
