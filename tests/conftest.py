"""What every test shares: how hypothesis looks for examples, and event loops that let their process end.

Locally examples are fresh on every run, and failing ones are remembered. With CI=true, and for the coverage of each
module by its own tests (scripts/own_coverage.py, HYPOTHESIS_PROFILE=fixed), they are the same on every run: what passed
passes. No example has a time limit of its own: on a busy machine it would only measure the neighbours. Nor do those
checks speak that go by time or luck: how long the first examples take, and how many of them do not apply.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

os.environ.setdefault("UV_USE_IO_URING", "0")  # as node.worker sets it, and for the same reason
os.environ.pop("COLUMNS", None)  # pytest-xdist sets it; what we start shall print as into any pipe

_BY_LUCK = [HealthCheck.too_slow, HealthCheck.filter_too_much]
settings.register_profile("fresh", deadline=None, suppress_health_check=_BY_LUCK)
settings.register_profile(
    "fixed", deadline=None, suppress_health_check=_BY_LUCK, derandomize=True, database=None, print_blob=True
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("fixed" if os.environ.get("CI") == "true" else "fresh"))
