"""One place for what holds in all tests."""

import os

from hypothesis import HealthCheck, settings

# No deadline an example: a busy machine is no fault of the code. A run on all examples is asked for by its profile.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("long", parent=settings.get_profile("default"), max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
