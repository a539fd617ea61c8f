"""Query of a report from its address: days and an organization; and links from a number to the trace behind it.

Used by `manage.pages.reports` and what it draws. Long times are shown in parts of several days, so that a page stays
small.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from gatepost.analysis.reports.tls import Direction, Protection
from gatepost.manage.pages.rendering import link
from gatepost.manage.use_cases.reports import Period, period

if TYPE_CHECKING:
    from collections.abc import Mapping


QUICK: Final = (7, 30, 90)
"""Days of the links beside the form."""
MOST_PARTS: Final = 31
CARRIED: Final = {Direction.INBOUND: "RECEIVE", Direction.OUTBOUND: "SEND"}
_PARTNER: Final = {Direction.INBOUND: "sender", Direction.OUTBOUND: "recipient"}


class PeriodPart(NamedTuple):
    """Some days of a period that are shown as one, both included. places: where they stand among its days."""

    first: str
    last: str
    places: tuple[int, int]

    @property
    def label(self) -> str:
        """For an axis: "24 Nov"."""
        return _day(self.first)

    @property
    def title(self) -> str:
        """In full: the day, or the first and the last."""
        return self.first if self.first == self.last else f"{self.first} to {self.last}"

    @property
    def code(self) -> str:
        """For an address: "20261124", and how many days if there are more."""
        length = self.places[1] - self.places[0]
        return self.first.replace("-", "") + (f".{length}" if length > 1 else "")


def _day(text: str) -> str:
    parsed = date.fromisoformat(text)
    return f"{parsed.day} {parsed:%b}"


class ReportView(NamedTuple):
    """days: asked for. organization: "" for all that are seen. today: the last day that there is. now: in seconds."""

    days: Period
    organization: str
    today: str

    def link(self, path: str, **more: object) -> str:
        """The same days and organization on another page."""
        return link(path, since=self.days.first, until=self.days.last, organization=self.organization, **more)

    def last_days(self, path: str, count: int) -> str:
        """So many days up to today."""
        first = (date.fromisoformat(self.today) - timedelta(days=count - 1)).isoformat()
        return link(path, since=first, until=self.today, organization=self.organization)

    @property
    def parts(self) -> list[PeriodPart]:
        """Parts of the period, one column each: days; weeks or four weeks of a long one."""
        count = self.days.days
        length = 1 if count <= MOST_PARTS else 7 if count <= 7 * MOST_PARTS else 28
        first = date.fromisoformat(self.days.first)
        parts = []
        for begin in range(0, count, length):
            end = min(begin + length, count)
            ends = (first + timedelta(days=begin)).isoformat(), (first + timedelta(days=end - 1)).isoformat()
            parts.append(PeriodPart(*ends, (begin, end)))
        return parts

    def trace(self, first: str = "", last: str = "", **filters: str) -> str:
        """The rows of the trace of some days in UTC, "" for all of the period."""
        end = date.fromisoformat(last or self.days.last) + timedelta(days=1)
        since, until = (f"{day}T00:00Z" for day in (first or self.days.first, end))
        return link("/trace", since=since, until=until, organization=self.organization, **filters)

    def rows(self, direction: Direction, part: PeriodPart | None = None, **filters: str) -> str:
        """The rows that carried mail in one direction."""
        times = (part.first, part.last) if part else ("", "")
        return self.trace(*times, event=CARRIED[direction], **filters)

    def protected(
        self, direction: Direction, protection: Protection, part: PeriodPart | None = None, **more: str
    ) -> str:
        """Those of them that were protected so."""
        return self.rows(direction, part, protection=str(protection), **more)

    def partner(self, direction: Direction, name: str) -> dict[str, str]:
        """The filter for a partner's domain."""
        return {_PARTNER[direction]: f"@{name}"} if name else {}


def read_view(given: Mapping[str, str], now: float) -> ReportView:
    """Read a view from an address. now: seconds since 1970. Raises Refusal (INPUT)."""
    days = period(given.get("since", "").strip(), given.get("until", "").strip(), now)
    return ReportView(days, given.get("organization", ""), period("", "", now).last)
