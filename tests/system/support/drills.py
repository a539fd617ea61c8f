"""Drills of connectors, which a busy machine may be too slow for: the command then says that nothing was shown."""

from __future__ import annotations

from collections.abc import Callable

from gatepost.testing.gateway import CliRun, Gateway
from gatepost.testing.process import FixtureError, wait_until

_INCONCLUSIVE = 3


def drill(gateway: Gateway, name: str, *words: str, json: bool = False, expect: int | None = None) -> CliRun:
    """`gatepost connector drill NAME …`, asked again while the machine is too busy for it. expect: its exit status."""
    run = conclusive(
        lambda: gateway.cli("connector", "drill", name, *words, json=json, expect=None), lambda run: run.status
    )
    if expect is not None and run.status != expect:
        raise FixtureError(f"drill of {name}: exit {run.status}, not {expect}\n{run.stdout}{run.stderr}")
    return run


def conclusive[Run](hold: Callable[[], Run], status: Callable[[Run], int]) -> Run:
    """The first run of a drill that shows something. status: the exit status of a run."""
    runs: list[Run] = []

    def told() -> bool:
        runs.append(hold())
        return status(runs[-1]) != _INCONCLUSIVE

    wait_until(told, "a drill that shows something", timeout=240)  # or as long as the test may take
    return runs[-1]
