"""What every test shares: how hypothesis looks for examples, and event loops that let their process end.

Locally examples are fresh on every run, and failing ones are remembered. With CI=true, and for the coverage of each
module by its own tests (scripts/own_coverage.py, HYPOTHESIS_PROFILE=fixed), they are the same on every run: what passed
passes. No example has a time limit of its own, nor have the first ones together: on a busy machine that would only
measure the neighbours.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

os.environ.setdefault("UV_USE_IO_URING", "0")  # as node.worker sets it, and for the same reason
os.environ["LC_ALL"] = "C.UTF-8"  # commands speak English, whatever the language of the terminal is
os.environ.pop("COLUMNS", None)  # pytest-xdist sets it; what we start shall print as into any pipe

_BY_TIME = [HealthCheck.too_slow]
settings.register_profile("fresh", deadline=None, suppress_health_check=_BY_TIME)
settings.register_profile(
    "fixed", deadline=None, suppress_health_check=_BY_TIME, derandomize=True, database=None, print_blob=True
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("fixed" if os.environ.get("CI") == "true" else "fresh"))
