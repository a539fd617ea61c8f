"""Drills of connectors, which a busy machine may be too slow for: the command then says that nothing was shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.testing.process import FixtureError, wait_until

if TYPE_CHECKING:
    from gatepost.testing.gateway import CliRun, Gateway

_INCONCLUSIVE = 3


def drill(gateway: Gateway, name: str, *, json: bool = False, expect: int | None = None) -> CliRun:
    """`gatepost connector drill NAME`, asked again while the machine is too busy for it. expect: its exit status."""
    runs: list[CliRun] = []

    def told() -> bool:
        runs.append(gateway.cli("connector", "drill", name, json=json, expect=None))
        return runs[-1].status != _INCONCLUSIVE

    wait_until(told, f"a drill of {name} that shows something", timeout=90)
    run = runs[-1]
    if expect is not None and run.status != expect:
        raise FixtureError(f"drill of {name}: exit {run.status}, not {expect}\n{run.stdout}{run.stderr}")
    return run
