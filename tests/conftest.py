"""One place for what holds in all tests."""

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support import forking

# No deadline an example: a busy machine is no fault of the code. A run on all examples is asked for by its profile.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("long", parent=settings.get_profile("default"), max_examples=5000)
# Tests started in the background, or by `nohup`, would hand ignored signals down to the programs that they run.
for hangup in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(hangup) is signal.SIG_IGN:
        signal.signal(hangup, signal.SIG_DFL if hangup is signal.SIGHUP else signal.default_int_handler)

settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_left_running() -> Iterator[None]:
    yield
    forking.end()
