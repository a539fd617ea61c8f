"""The data of report charts: mail day by day, worst results, what was blocked.

No I/O. `manage.use_cases.reports` feeds days of `store.trace` and takes a `TlsPictures`: a value
that holds nothing of the counter, so that the counting goes on while pages are made of it. Every sum is that of
`analysis.reports.tls`.
"""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from gatepost.analysis.reports import tls
from gatepost.decoding import from_json
from gatepost.protocols.tls.facts import ChainStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gatepost.store.trace import HopKind


HEAT_ROWS: Final = 30
_MOST_NAMES: Final = 20_000
_MOST_BLOCKED: Final = 5_000
_ENDED: Final = frozenset({"FAIL", "EXPIRE"})


class DayResult(IntEnum):
    """The result of a domain's day at a glance, from best to worst."""

    NO_MAIL = 0
    VERIFIED = 1
    ENCRYPTED = 2
    FAILED = 3
    CLEARTEXT = 4


class ClientCertificate(StrEnum):
    """The client certificate of a partner.

    PROVED: the name that a connector demands. TRUSTED: a certificate with a trusted chain, and none was demanded.
    UNTRUSTED: one whose chain does not lead to a trusted root. NONE: TLS without one. CLEARTEXT: no TLS.
    """

    PROVED = "proved"
    TRUSTED = "trusted"
    UNTRUSTED = "untrusted"
    NONE = "none"
    CLEARTEXT = "cleartext"


@dataclass(slots=True)
class DaySums:
    """A day of one direction, rows by what they say. versions, groups: "none" is without TLS.

    groups: "unknown" where TLS has a key exchange without a name. certificates: inbound alone.
    """

    protections: Counter[tls.Protection] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    groups: Counter[str] = field(default_factory=Counter)
    certificates: Counter[ClientCertificate] = field(default_factory=Counter)
    failures: int = 0
    refused: int = 0

    @property
    def carried(self) -> int:
        """Rows that carried mail."""
        return self.protections.total()


class Sums(NamedTuple):
    """A partner or a connector in one direction. protections: in the order of `Protection`. failures: most first."""

    name: str
    direction: tls.Direction
    protections: tuple[int, ...]
    post_quantum: int
    refused: int
    failures: tuple[tuple[str, int], ...]

    @property
    def carried(self) -> int:
        """Rows that carried mail."""
        return sum(self.protections)

    @property
    def cleartext(self) -> int:
        """Of them those without TLS."""
        return self.protections[-1]

    @property
    def failed(self) -> int:
        """Attempts that failed for TLS."""
        return sum(count for _, count in self.failures)


class HeatRow(NamedTuple):
    """A domain and the worst of each day of the time, in order. carried: rows in all."""

    name: str
    carried: int
    days: tuple[DayResult, ...]


class Blocked(NamedTuple):
    """Mail to a domain that was held back for TLS. sources: who demanded TLS, () where nobody did.

    attempts: that failed. returned: of them those after which the mail went back to its sender, a row for each
    recipient. errors: result types (RFC 8460 section 4.3), most first. last: the last day.
    """

    domain: str
    sources: tuple[str, ...]
    attempts: int
    returned: int
    errors: tuple[tuple[str, int], ...]
    last: str


@dataclass(frozen=True, slots=True)
class TlsPictures:
    """All of it. days: every day from first to last, those without mail too. others: as in `TlsReport`.

    heat: the domains with most mail. unblocked: domains with blocked mail that are not in `blocked` any more, as there
    were too many.
    """

    first: str
    last: str
    days: Mapping[str, Mapping[tls.Direction, DaySums]]
    hops: Mapping[tls.Direction, tls.HopSummary]
    partners: tuple[Sums, ...]
    connectors: tuple[Sums, ...]
    never_tls: tuple[tuple[str, int], ...]
    ready: tuple[tls.Ready, ...]
    heat: Mapping[tls.Direction, tuple[HeatRow, ...]]
    blocked: tuple[Blocked, ...]
    others: tuple[Sums, ...] = ()
    unreadable: tuple[str, ...] = ()
    unblocked: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether there was no mail between hosts at all."""
        return not any(hop.weight for hop in self.hops.values())

    def in_clear(self, direction: tls.Direction) -> list[Sums]:
        """Partners with unencrypted mail, most of it first."""
        partners = [partner for partner in self.partners if partner.direction is direction and partner.cleartext]
        return sorted(partners, key=lambda partner: (-partner.cleartext, partner.name))


@dataclass(slots=True)
class _Held:
    """The mail of one domain that one demand blocked."""

    attempts: int = 0
    returned: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    last: str = ""


class PictureCounter:
    """Takes days, or what was added to one, in any order, and makes pictures. most: partners that are told apart."""

    def __init__(self, wanted: tls.Wanted, first: str, last: str, most: int = _MOST_NAMES) -> None:
        self._tls = tls.TlsCounter(wanted)
        self._wanted = wanted
        self._most = most
        self._places = {day: place for place, day in enumerate(span(first, last))}
        self._days = {day: {direction: DaySums() for direction in tls.Direction} for day in self._places}
        self._worst: dict[tls.PartnerKey, bytearray] = {}
        self._held: dict[tuple[str, tuple[str, ...]], _Held] = {}
        self._unblocked = 0

    def add(self, day: str, kinds: Mapping[HopKind, int]) -> None:
        """Rows of one of the days."""
        self._tls.add(day, kinds)
        for kind, rows in kinds.items():
            if tls.is_hop(kind) and self._wanted.takes(kind):
                self._add(day, kind, rows)
        for key in self._tls.shed(self._most):
            self._worst.pop(key, None)

    def _add(self, day: str, kind: HopKind, rows: int) -> None:
        direction = tls.direction_of(kind)
        of_day = self._days[day][direction]
        if tls.has_failed(kind):
            of_day.failures += rows
            self._hold(day, kind, rows)
            outcome = DayResult.FAILED
        elif kind.event == "REFUSE":
            of_day.refused += rows
            return
        else:
            protection = tls.protection_of(kind)
            of_day.protections[protection] += rows
            of_day.versions[kind.tls_version or "none"] += rows
            of_day.groups[kind.tls_group or ("unknown" if kind.tls_version else "none")] += rows
            if direction is tls.Direction.INBOUND:
                of_day.certificates[_shown(kind, protection)] += rows
            outcome = _outcome(protection)
        worst = self._worst.setdefault((kind.partner, direction), bytearray(len(self._places)))
        place = self._places[day]
        worst[place] = max(worst[place], outcome)

    def _hold(self, day: str, kind: HopKind, rows: int) -> None:
        sources = tuple(from_json(kind.sources, list[str])) if kind.sources else ()
        key = kind.partner, sources
        if key not in self._held and len(self._held) >= _MOST_BLOCKED:
            self._unblocked += rows
            return
        held = self._held.setdefault(key, _Held())
        held.attempts += rows
        held.returned += rows if kind.event in _ENDED else 0
        held.errors[kind.result_type] += rows
        held.last = max(held.last, day)

    def pictures(self, unreadable: Iterable[str] = ()) -> TlsPictures:
        """All that was added so far."""
        days = list(self._days)
        report = self._tls.report(days[0], days[-1], unreadable)
        partners = tuple(map(_sums, report.partners))
        return TlsPictures(
            report.first,
            report.last,
            deepcopy(self._days),
            {direction: deepcopy(hops) for direction, hops in report.hops.items()},
            partners,
            tuple(map(_sums, report.connectors)),
            report.never_tls,
            report.ready,
            {direction: self._heat(partners, direction) for direction in tls.Direction},
            tuple(
                sorted((_blocked(*item) for item in self._held.items()), key=lambda item: (-item.attempts, item.domain))
            ),
            tuple(map(_sums, report.others)),
            report.unreadable,
            self._unblocked,
        )

    def _heat(self, partners: Sequence[Sums], direction: tls.Direction) -> tuple[HeatRow, ...]:
        rows = []
        for partner in partners:
            worst = self._worst.get((partner.name, direction))
            if partner.direction is direction and worst is not None and any(worst):
                rows.append(HeatRow(partner.name, partner.carried, tuple(map(DayResult, worst))))
                if len(rows) == HEAT_ROWS:
                    break
        return tuple(rows)


def span(first: str, last: str) -> list[str]:
    """Every day from first to last, "2026-11-24"."""
    begin, end = date.fromisoformat(first), date.fromisoformat(last)
    return [(begin + timedelta(days=number)).isoformat() for number in range((end - begin).days + 1)]


def _outcome(protection: tls.Protection) -> DayResult:
    if protection is tls.Protection.CLEARTEXT:
        return DayResult.CLEARTEXT
    return DayResult.ENCRYPTED if protection is tls.Protection.ENCRYPTED else DayResult.VERIFIED


def _shown(kind: HopKind, protection: tls.Protection) -> ClientCertificate:
    if protection is tls.Protection.CLEARTEXT:
        return ClientCertificate.CLEARTEXT
    if protection is tls.Protection.VERIFIED:
        return ClientCertificate.PROVED
    if kind.chain == ChainStatus.TRUSTED:
        return ClientCertificate.TRUSTED
    return ClientCertificate.NONE if kind.chain in {"", ChainStatus.NO_CERTIFICATE} else ClientCertificate.UNTRUSTED


def _sums(one: tls.Named) -> Sums:
    hops = one.hops
    failures = tuple(sorted(hops.failures.items(), key=lambda failure: (-failure[1], failure[0])))
    shares = tuple(hops.protections[protection] for protection in tls.Protection)
    return Sums(one.name, one.direction, shares, hops.post_quantum, hops.refused, failures)


def _blocked(key: tuple[str, tuple[str, ...]], held: _Held) -> Blocked:
    errors = tuple(sorted(held.errors.items(), key=lambda item: (-item[1], item[0])))
    return Blocked(*key, held.attempts, held.returned, errors, held.last)
