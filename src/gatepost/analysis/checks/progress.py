"""The progress of a check of several hosts: the reports so far, in the order of the hosts.

Pure. Filled by `analysis.checks.validation` from the reports of the probe; `on_change` gets all of them whenever one
changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.analysis.checks.tasks import HostReport


class HostProgress:
    """The reports on one host: one for each of its addresses; one without an address until there is any."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._found: dict[str, HostReport] = {}

    @property
    def reports(self) -> tuple[HostReport, ...]:
        """The reports so far."""
        return tuple(self._found.values())

    def show(self, report: HostReport) -> None:
        """Add a report, or replace the one of its address."""
        if report.address:
            self._found.pop("", None)
        self._found[report.address] = report
        self._on_change()

    def clear(self) -> None:
        """Remove all reports: others take their place."""
        self._found.clear()


class ProgressReports:
    """The reports on all hosts of a check. on_change: called with all reports whenever one has changed."""

    def __init__(self, on_change: Callable[[tuple[HostReport, ...]], None]) -> None:
        self._on_change = on_change
        self._hosts: list[HostProgress] = []

    def host(self) -> HostProgress:
        """Add a host."""
        host = HostProgress(self._changed)
        self._hosts.append(host)
        return host

    def _changed(self) -> None:
        self._on_change(tuple(report for host in self._hosts for report in host.reports))
