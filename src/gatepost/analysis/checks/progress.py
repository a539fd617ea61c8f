"""The progress of a check of several hosts: the report on each so far, in the order they were named.

Pure. Filled by `analysis.checks.validation` from what the probe tells; whoever looks on is given all of it whenever it
changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.analysis.checks.tasks import HostReport


class Place:
    """Of one host: a report on each of its addresses; one without an address until there is any."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell
        self._found: dict[str, HostReport] = {}

    @property
    def reports(self) -> tuple[HostReport, ...]:
        """As far as they came."""
        return tuple(self._found.values())

    def show(self, report: HostReport) -> None:
        """There is more."""
        if report.address:
            self._found.pop("", None)
        self._found[report.address] = report
        self._tell()

    def clear(self) -> None:
        """Others say what is to be said."""
        self._found.clear()


class UnderWay:
    """All that are tried. tell: called with all reports whenever one has changed."""

    def __init__(self, tell: Callable[[tuple[HostReport, ...]], None]) -> None:
        self._told = tell
        self._places: list[Place] = []

    def place(self) -> Place:
        """For one more host."""
        place = Place(self._changed)
        self._places.append(place)
        return place

    def _changed(self) -> None:
        self._told(tuple(report for place in self._places for report in place.reports))
