"""Measure what a core costs when other work used the processor's caches before it: microseconds of CPU, median.

    .venv/bin/python bench/cold_caches.py [--core NAME] [--seconds N]

NAME is a core of tests/unit/test_budgets.py, by default `relay`: a message from the queue to its settlement. Before
each run so much memory is read; last, nothing is done for 5 ms, in which other processes have the caches.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Final

_KILOBYTES: Final = (0, 512, 2048, 8192, 32768)
_REST: Final = 0.005


def microseconds(run: Callable[[], object], disturb: Callable[[], object], seconds: float) -> float:
    """What a run costs this thread after each disturbance."""
    durations, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        disturb()
        begun = time.thread_time_ns()
        run()
        durations.append(time.thread_time_ns() - begun)
    return median(durations) / 1000


def main() -> None:
    """Measure each disturbance."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "unit"))
    import test_budgets as budgets  # noqa: PLC0415 - it lies among the tests

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--core", default="relay")
    parser.add_argument("--seconds", type=float, default=3.0)
    arguments = parser.parse_args()
    run = getattr(budgets, f"_{arguments.core}")()
    for _ in range(200):
        run()
    for kilobytes in _KILOBYTES:
        memory = bytes(kilobytes << 10)
        cost = microseconds(run, lambda memory=memory: memory.count(b"x"), arguments.seconds)
        print(f"after reading {kilobytes:6} KB: {cost:6.0f} µs", flush=True)
    print(f"after a rest of 5 ms:     {microseconds(run, lambda: time.sleep(_REST), arguments.seconds):6.0f} µs")


if __name__ == "__main__":
    main()
