"""The query of a report from its address, and its pictures as series with links. Drawn by `manage.pages.svg`. Pure.

A chart's rows are parts of the time, its columns series; a number that is not 0 leads to its rows of the trace.
"""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from gatepost.analysis.reports.pictures import ClientCertificate, DaySums, Sums, TlsPictures
from gatepost.analysis.reports.tls import Direction, Protection
from gatepost.language import _, grouped
from gatepost.manage.pages import svg
from gatepost.manage.pages.rendering import link
from gatepost.manage.use_cases.reports import Period, period
from gatepost.texts import N_

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from markupsafe import Markup


QUICK: Final = (7, 30, 90)
"""Days of the links beside the form."""
MOST_PARTS: Final = 31
CARRIED: Final = {Direction.INBOUND: "RECEIVE", Direction.OUTBOUND: "SEND"}
_PARTNER: Final = {Direction.INBOUND: "sender", Direction.OUTBOUND: "recipient"}

_DAYS: Final = (
    N_("%(day)s Jan"), N_("%(day)s Feb"), N_("%(day)s Mar"),
    N_("%(day)s Apr"), N_("%(day)s May"), N_("%(day)s Jun"),
    N_("%(day)s Jul"), N_("%(day)s Aug"), N_("%(day)s Sep"),
    N_("%(day)s Oct"), N_("%(day)s Nov"), N_("%(day)s Dec"),
)  # fmt: skip
"""Of each month, the days of an axis."""


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
        if self.first == self.last:
            return self.first
        return _("%(first)s to %(last)s", first=self.first, last=self.last)

    @property
    def code(self) -> str:
        """For an address: "20261124", and how many days if there are more."""
        length = self.places[1] - self.places[0]
        return self.first.replace("-", "") + (f".{length}" if length > 1 else "")


def _day(text: str) -> str:
    parsed = date.fromisoformat(text)
    return _(_DAYS[parsed.month - 1], day=parsed.day)


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


PROTECTIONS: Final = {
    Protection.DANE: ("DANE", "pass-deep"),
    Protection.MTA_STS: ("MTA-STS", "pass"),
    Protection.VERIFIED: (N_("Verified name"), "pass-pale"),
    Protection.ENCRYPTED: (N_("Encrypted only"), "info"),
    Protection.CLEARTEXT: (N_("Unencrypted"), "fail"),
}
"""The name and the tone of each: greens for what is verified, blue for what is only encrypted, as badges have it."""
CERTIFICATES: Final = {
    ClientCertificate.PROVED: (N_("Required name verified"), "pass"),
    ClientCertificate.TRUSTED: (N_("Trusted, not required"), "accent"),
    ClientCertificate.UNTRUSTED: (N_("Not trusted"), "unknown"),
    ClientCertificate.NONE: (N_("No certificate"), "warn"),
    ClientCertificate.CLEARTEXT: (N_("Unencrypted"), "fail"),
}
_TONES: Final = ("pass", "accent", "unknown", "warn")
_CLEAR: Final = "fail"
_NO_TLS: Final = "none"
_SHOWN_AS: Final = {
    ClientCertificate.PROVED: "authenticated",
    ClientCertificate.TRUSTED: "authenticated",
    ClientCertificate.UNTRUSTED: "encrypted",
    ClientCertificate.NONE: "encrypted",
    ClientCertificate.CLEARTEXT: "none",
}
_MOST_GROUPS: Final = 3


class Column(NamedTuple):
    """A series. values, links: one for each part of the time; a link is "" where there is nothing. link: of all."""

    name: str
    tone: str
    values: tuple[int, ...]
    links: tuple[str, ...]
    link: str

    @property
    def total(self) -> int:
        """Of the whole time."""
        return sum(self.values)


class Chart(NamedTuple):
    """key: for ids and exports. note: what has to be known of it. links: of the parts."""

    key: str
    title: str
    note: str
    parts: Sequence[PeriodPart]
    links: Sequence[str]
    columns: Sequence[Column]

    @property
    def total(self) -> int:
        """Rows in all."""
        return sum(column.total for column in self.columns)

    def legend(self, *, linked: bool = True) -> list[tuple[str, str, int, float | None, str]]:
        """For `ui.legend`. linked: whether a name leads to its rows."""
        return [
            (column.name, column.tone, column.total, self.share(column), column.link if linked else "")
            for column in self.columns
        ]

    @property
    def heads(self) -> list[tuple[str, ...]]:
        """For `ui.table`."""
        return [(_("Period"),), *((column.name, "", "number") for column in self.columns)]

    @property
    def picture(self) -> Markup:
        """As SVG."""
        series = [svg.Series(column.name, column.tone, column.values) for column in self.columns]
        return svg.stacked(self.title, [part.label for part in self.parts], series, self.key)

    def share(self, column: Column) -> float | None:
        """Of all rows of the chart."""
        return column.total / self.total if self.total else None


def by_protection(pictures: TlsPictures, view: ReportView, direction: Direction) -> Chart:
    """Chart of mail by protection. Only sent mail is protected by records of its recipient."""
    drawn = _Drawn(pictures, view, direction)
    published = {Protection.DANE, Protection.MTA_STS} if direction is Direction.INBOUND else set()
    columns = [
        drawn.column(*protections()[protection], partial(_protected, protection), protection=str(protection))
        for protection in Protection
        if protection not in published
    ]
    title = _("Outgoing mail by protection") if direction is Direction.OUTBOUND else _("Incoming mail by protection")
    return drawn.chart("protection", title, "", columns)


def by_version(pictures: TlsPictures, view: ReportView) -> Chart:
    """Incoming mail by TLS version."""
    drawn = _Drawn(pictures, view, Direction.INBOUND)
    names = sorted(drawn.names("versions"), reverse=True)
    columns = [drawn.named("versions", name, tone, "tls_version") for name, tone in _toned(names)]
    columns.append(drawn.clear("versions", _("Unencrypted")))
    return drawn.chart("version", _("Incoming mail by TLS version"), "", columns)


def by_certificate(pictures: TlsPictures, view: ReportView) -> Chart:
    """Incoming mail by what the client's certificate was."""
    drawn = _Drawn(pictures, view, Direction.INBOUND)
    columns = [
        drawn.column(_(name), tone, partial(_shown, certificate), achieved=_SHOWN_AS[certificate])
        for certificate, (name, tone) in CERTIFICATES.items()
    ]
    note = _("Certificates that partners' servers presented. They matter only where a connector requires a name.")
    return drawn.chart("certificate", _("Incoming mail by the partner's certificate"), note, columns)


def by_group(pictures: TlsPictures, view: ReportView, direction: Direction) -> Chart:
    """By key exchange, those that withstand a quantum computer first: the most used ones, the others, and none."""
    drawn = _Drawn(pictures, view, direction)
    counts = drawn.names("groups")
    names = sorted(counts, key=lambda name: ("MLKEM" not in name, -counts[name], name))
    columns = [drawn.named("groups", name, tone, "tls_group") for name, tone in _toned(names[:_MOST_GROUPS])]
    if others := names[_MOST_GROUPS:]:
        columns.append(drawn.column(_("Others (%(count)s)", count=len(others)), _TONES[-1], partial(_sum_of, others)))
    columns.append(drawn.clear("groups", _("None (unencrypted)")))
    title = (
        _("Key exchange of outgoing mail") if direction is Direction.OUTBOUND else _("Key exchange of incoming mail")
    )
    note = _("Post-quantum key exchange (ML-KEM, FIPS 203) protects recorded traffic from future quantum computers.")
    return drawn.chart(f"key-exchange-{direction}", title, note, columns)


def protections() -> dict[Protection, tuple[str, str]]:
    """The name and the tone of each protection, for a legend."""
    return {protection: (_(name), tone) for protection, (name, tone) in PROTECTIONS.items()}


def share_bar(sums: Sums) -> Markup:
    """Bar of the protection of a partner's or connector's mail."""
    parts = zip(PROTECTIONS.values(), sums.protections, strict=True)
    series = [svg.Series(_(name), tone, (count,)) for (name, tone), count in parts]
    text = ", ".join(f"{part.name} {grouped(part.values[0])}" for part in series if part.values[0])
    return svg.shares(text, series)


class _Drawn(NamedTuple):
    """A chart in one direction."""

    pictures: TlsPictures
    view: ReportView
    direction: Direction

    def names(self, counted: str) -> Counter[str]:
        """Totals of a counter by name over all days, without unencrypted mail."""
        counts: Counter[str] = Counter()
        for ways in self.pictures.days.values():
            counts.update(getattr(ways[self.direction], counted))
        del counts[_NO_TLS]
        return counts

    def column(self, name: str, tone: str, value: Callable[[DaySums], int], **filters: str) -> Column:
        """A series. value: of a day. filters: of the trace."""
        days = [ways[self.direction] for ways in self.pictures.days.values()]
        values = tuple(sum(value(day) for day in days[slice(*part.places)]) for part in self.view.parts)
        links = tuple(
            self.view.rows(self.direction, part, **filters) if count else ""
            for part, count in zip(self.view.parts, values, strict=True)
        )
        return Column(name, tone, values, links, self.view.rows(self.direction, None, **filters))

    def named(self, counted: str, name: str, tone: str, field: str) -> Column:
        """Column of one name of a counter."""
        return self.column(name, tone, partial(_counted, counted, name), **{field: name})

    def clear(self, counted: str, name: str) -> Column:
        """Column of unencrypted mail: always red."""
        return self.column(name, _CLEAR, partial(_counted, counted, _NO_TLS), protection=str(Protection.CLEARTEXT))

    def chart(self, key: str, title: str, note: str, columns: Sequence[Column]) -> Chart:
        """All of it."""
        parts = self.view.parts
        return Chart(key, title, note, parts, [self.view.rows(self.direction, part) for part in parts], columns)


def _toned(names: Sequence[str]) -> list[tuple[str, str]]:
    return [(name, _TONES[min(place, len(_TONES) - 1)]) for place, name in enumerate(names)]


def _protected(protection: Protection, sums: DaySums) -> int:
    return sums.protections[protection]


def _shown(certificate: ClientCertificate, sums: DaySums) -> int:
    return sums.certificates[certificate]


def _counted(counted: str, name: str, sums: DaySums) -> int:
    counts: Counter[str] = getattr(sums, counted)
    return counts[name]


def _sum_of(names: Sequence[str], sums: DaySums) -> int:
    return sum(sums.groups[name] for name in names)
