"""How the threads beside the event loop share a processor with it."""

import contextlib
import os
import sys


def give_way() -> None:
    """Let this thread take the processor from no other when it wakes, but wait until one is free or its turn comes.

    A thread that is handed something small wakes at once, on one core in place of the event loop, finds that the loop
    has the interpreter's lock, and sleeps again: two switches for nothing, many times an image. Only Linux can be
    told.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a container may forbid it, and not every C library knows it
            if os.sched_getscheduler(0) == os.SCHED_OTHER:  # whoever chose another wants that one
                os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
