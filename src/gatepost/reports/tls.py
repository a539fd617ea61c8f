"""How mail was protected over a time: what `gatepost report tls` and `report connectors` say, from the counted trace.

No I/O: days of `store.trace_tally.tally_trace` go in one after the other, a `TlsReport` comes out. What is counted are
rows, one for each recipient of a message and hop: what was received, what was sent on, what failed for TLS. Deliveries
to mailboxes of ours take no hop.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from gatepost.reports.tls_ready import Readiness, Ready
from gatepost.tls.names import normalise

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gatepost.store.trace_tally import HopKind

__all__ = ["Direction", "HopSummary", "Named", "Protection", "TlsCounter", "TlsReport", "Wanted", "protection_of"]


class Protection(StrEnum):
    """What protected a hop, best first.

    DANE, MTA_STS: the host proved to be the one that the recipient's domain publishes. VERIFIED: it proved its name as
    a connector, a rule or an internal hop demands; inbound, the client did. ENCRYPTED: TLS, and nobody demanded that
    the certificate prove anything. CLEARTEXT: none.
    """

    DANE = "dane"
    MTA_STS = "mta-sts"
    VERIFIED = "verified"
    ENCRYPTED = "encrypted"
    CLEARTEXT = "cleartext"


class Direction(StrEnum):
    """Of a hop: to us, or from us."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


_INBOUND = frozenset({"RECEIVE", "REFUSE"})
_CARRIED = frozenset({"RECEIVE", "SEND"})
_FAILED = frozenset({"DEFER", "HOLD", "FAIL", "EXPIRE"})
_POST_QUANTUM = "MLKEM"
_AUTHENTICATED = "authenticated"  # a level of the ladder, and how a requirement for it begins


def protection_of(kind: HopKind) -> Protection:
    """What protected the hops of a kind that carried mail."""
    level = _level(kind)
    if level == _AUTHENTICATED and kind.requirement.startswith(_AUTHENTICATED):
        sources = msgspec.json.decode(kind.sources, type=list[str]) if kind.sources else []
        asking = {source.partition(":")[0] for source in sources}
        if Protection.DANE in asking:
            return Protection.DANE
        return Protection.MTA_STS if Protection.MTA_STS in asking else Protection.VERIFIED
    return Protection.CLEARTEXT if level == "none" else Protection.ENCRYPTED


def _level(kind: HopKind) -> str:
    """What was reached on the TLS ladder."""
    return kind.achieved.rpartition("/")[2] or "none"


@dataclass(slots=True)
class HopSummary:
    """Hops of one direction. carried: those that carried mail. failures: attempts that failed for TLS, by result type.

    trusted: of the encrypted those whose certificate would have passed, had anybody asked. refused: what was refused at
    the door. versions, groups, suites: of the hops that had TLS.
    """

    protections: Counter[Protection] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    groups: Counter[str] = field(default_factory=Counter)
    suites: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    trusted: int = 0
    refused: int = 0

    @property
    def carried(self) -> int:
        """Rows in all that carried mail."""
        return self.protections.total()

    @property
    def post_quantum(self) -> int:
        """Of them those whose key exchange withstands a quantum computer (ML-KEM, FIPS 203)."""
        return sum(count for name, count in self.groups.items() if _POST_QUANTUM in name)

    def add(self, kind: HopKind, rows: int) -> None:
        """Rows of one kind."""
        if kind.event in _CARRIED:
            protection = protection_of(kind)
            self.protections[protection] += rows
            if protection is Protection.ENCRYPTED and _level(kind) == _AUTHENTICATED:
                self.trusted += rows
            if kind.tls_version:
                self.versions[kind.tls_version] += rows
                self.groups[kind.tls_group or "none"] += rows
                self.suites[kind.suite or "unknown"] += rows
        elif kind.event == "REFUSE":
            self.refused += rows
        elif kind.event in _FAILED and kind.result_type:
            self.failures[kind.result_type] += rows


@dataclass(frozen=True, slots=True)
class Named:
    """What belongs to a partner's domain or to a connector ("" where none applied), in one direction."""

    name: str
    direction: Direction
    hops: HopSummary


@dataclass(frozen=True, slots=True)
class TlsReport:
    """first, last: UTC days. days: what protected the mail of each. partners, connectors: most mail first.

    never_tls: domains that were only ever reached in clear, and how much went there. ready: partners for whom TLS could
    be demanded without losing mail. unreadable: files of the trace that are not counted.
    """

    first: str
    last: str
    days: Mapping[str, Mapping[Direction, Counter[Protection]]]
    hops: Mapping[Direction, HopSummary]
    partners: tuple[Named, ...]
    connectors: tuple[Named, ...]
    never_tls: tuple[tuple[str, int], ...]
    ready: tuple[Ready, ...]
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a report is about; empty fields take everything.

    partner: a domain. at_least: messages below which no partner is called ready.
    """

    organization: str = ""
    partner: str = ""
    connector: str = ""
    at_least: int = 10

    def takes(self, kind: HopKind) -> bool:
        """Whether rows of a kind belong to it."""
        return (
            (not self.organization or kind.organization.lower() == self.organization.lower())
            and (not self.partner or (normalise(kind.partner) or kind.partner) == normalise(self.partner))
            and (not self.connector or kind.connector.lower() == self.connector.lower())
        )


class TlsCounter:
    """Takes days, makes a report."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._days: dict[str, dict[Direction, Counter[Protection]]] = {}
        self._hops = {direction: HopSummary() for direction in Direction}
        self._partners: dict[tuple[str, Direction], HopSummary] = {}
        self._connectors: dict[tuple[str, Direction], HopSummary] = {}
        self._readiness = Readiness(wanted.at_least)

    def add(self, day: str, kinds: Mapping[HopKind, int]) -> None:
        """A day, or a part of one."""
        of_day = self._days.setdefault(day, {direction: Counter() for direction in Direction})
        for kind, rows in kinds.items():
            if not _is_hop(kind) or not self._wanted.takes(kind):
                continue
            direction = Direction.INBOUND if kind.event in _INBOUND else Direction.OUTBOUND
            self._hops[direction].add(kind, rows)
            self._partners.setdefault((kind.partner, direction), HopSummary()).add(kind, rows)
            self._connectors.setdefault((kind.connector, direction), HopSummary()).add(kind, rows)
            self._readiness.add(kind, rows, inbound=direction is Direction.INBOUND)
            if kind.event in _CARRIED:
                of_day[direction][protection_of(kind)] += rows

    def report(self, first: str, last: str, unreadable: Iterable[str] = ()) -> TlsReport:
        """All that was added, as of days first to last."""
        partners = _by_weight(self._partners)
        never = (
            (one.name, one.hops.carried)
            for one in partners
            if one.direction is Direction.OUTBOUND
            and one.hops.carried
            and not one.hops.versions
            and not one.hops.failures
        )
        connectors = _by_weight(self._connectors)
        days = dict(sorted(self._days.items()))
        return TlsReport(
            first,
            last,
            days,
            self._hops,
            partners,
            connectors,
            tuple(never),
            self._readiness.ready(),
            tuple(unreadable),
        )


def _is_hop(kind: HopKind) -> bool:
    """Whether it is about mail on its way between hosts: users' own mail programs and mailboxes are not partners."""
    if kind.event == "REFUSE":
        return True
    return kind.event in _CARRIED or (kind.event in _FAILED and kind.result_type != "")


def _by_weight(found: Mapping[tuple[str, Direction], HopSummary]) -> tuple[Named, ...]:
    def weight(one: Named) -> tuple[int, str, str]:
        return -(one.hops.carried + one.hops.refused + one.hops.failures.total()), one.name, one.direction

    return tuple(sorted((Named(name, way, hops) for (name, way), hops in found.items()), key=weight))
