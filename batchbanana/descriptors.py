"""File descriptors: how many a run wants, and how many it may have."""

import contextlib
import sys

A_WORKER = 4  # a connection, a spool file, its room, a reference
BESIDE = 64  # ledger, log, libraries, syncs under way
MOST_ON_MACOS = 10_240  # there, more is refused although the limit says that it is not


def wanted(workers: int) -> int:
    """Say how many descriptors a run with so many workers opens at most."""
    return workers * A_WORKER + BESIDE


def workers_within(limit: int) -> int:
    """Say for how many workers a limit is enough; one is always tried."""
    return max(1, (limit - BESIDE) // A_WORKER)


def limits() -> tuple[int, int] | None:
    """Give this process's limit and what it may be raised to; None where there is no such thing."""
    if sys.platform == "win32":
        return None
    import resource  # noqa: PLC0415 -- only where there is one

    soft, hard = (
        sys.maxsize if limit == resource.RLIM_INFINITY else limit
        for limit in resource.getrlimit(resource.RLIMIT_NOFILE)
    )
    return soft, hard


def provide(workers: int) -> int:
    """Raise this process's own limit as far as so many workers need and the system allows.

    A run that runs out of descriptors could only take turns with its own idle connections.

    Returns:
        For how many of them there are enough.
    """
    found = limits()
    if found is None or found[0] >= wanted(workers):
        return workers
    if sys.platform != "win32":
        import resource  # noqa: PLC0415 -- only where there is one

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        for aim in (wanted(workers), MOST_ON_MACOS):
            with contextlib.suppress(ValueError, OSError):
                if soft < (most := min(aim, found[1])):
                    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
                    break
    now = limits()
    return workers if now is None else min(workers, workers_within(now[0]))
