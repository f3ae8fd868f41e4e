"""Which tasks the options of `run` single out: `--only KEY=VALUE` and `--retry OUTCOMES`."""

from collections import defaultdict
from collections.abc import Callable, Iterable

from batchbanana.errors import UsageError
from batchbanana.matrix import Matrix
from batchbanana.task import Outcome, Task

AGAIN = (Outcome.FAILED, Outcome.REFUSED, Outcome.MISMATCH, Outcome.DEGRADED)
AXES: dict[str, Callable[[Task], str]] = {
    "job": lambda task: task.job,
    "id": lambda task: task.job,
    "model": lambda task: task.model,
    "ratio": lambda task: task.ratio or "auto",
    "resolution": lambda task: task.resolution,
    "sample": lambda task: str(task.sample),
    "key": lambda task: task.key,
}
OUTCOME = "outcome"
STATES = {str(outcome) for outcome in Outcome} | {"pending"}


def outcomes(text: str) -> frozenset[Outcome]:
    """Read the outcomes of `--retry`.

    Raises:
        UsageError: one is not an outcome that can be asked again.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    for word in words:
        if word not in AGAIN:
            raise UsageError(f"--retry {word}: nothing of that name can be asked again; use {', '.join(AGAIN)}")
    return frozenset(Outcome(word) for word in words)


def accepts(pairs: Iterable[str], matrix: Matrix) -> Callable[[Task, Outcome | None], bool]:
    """Build the test that `--only` stands for: any of the values of a key, and all of the keys.

    Raises:
        UsageError: a pair is not KEY=VALUE, or nothing in the manifest has that key.
    """
    wanted: defaultdict[str, set[str]] = defaultdict(set)
    variables = {name for kind in matrix.manifest.kinds() for axis in kind.job.axes for name in axis.names}
    known = {*AXES, OUTCOME} | variables
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign:
            raise UsageError(f"--only {pair}: write KEY=VALUE, such as ratio=16:9")
        if key not in known:
            raise UsageError(
                f"--only {pair}: {key!r} is no axis or variable of this manifest; use {', '.join(sorted(known))}"
            )
        if key == OUTCOME and value not in STATES:
            raise UsageError(f"--only {pair}: {value!r} is no outcome; use {', '.join(sorted(STATES))}")
        wanted[key].add(value)
    return lambda task, outcome: all(_read(task, outcome, key) in values for key, values in wanted.items())


def _read(task: Task, outcome: Outcome | None, key: str) -> str | None:
    if key == OUTCOME:
        return outcome or "pending"
    return AXES[key](task) if key in AXES else dict(task.variables).get(key)
