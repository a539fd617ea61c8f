"""Report how mail was protected, and which partners are ready for mandatory TLS: the data of `gatepost report tls`.

No I/O: days of `store.trace.tally_days` go in one after the other, a `TlsReport` comes out. What is
counted are rows, one for each recipient of a message and hop: what was received, what was sent on, what failed for TLS.
Deliveries to mailboxes of ours take no hop. A partner is ready if all its mail would have passed; those of whose mail
something was demanded are forced already. A certificate of more than twenty names is taken not to bear a name that is
not among the twenty which the trace keeps.

A report becomes plain data: for JSON, for CSV, and for what a chart draws.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from gatepost.decoding import from_json
from gatepost.protocols.tls.facts import CertificateFacts, ChainStatus
from gatepost.protocols.tls.names import matches, normalise

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gatepost.store.trace import HopKind


class Protection(StrEnum):
    """The protection of a hop, best first.

    DANE, MTA_STS: the host proved to be the one that the recipient's domain publishes. VERIFIED: it proved its name as
    a connector, a rule or an internal hop demands; inbound, the client did. ENCRYPTED: TLS, and no proof by the
    certificate was demanded. CLEARTEXT: none.
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
    """The protection of the hops of a kind that carried mail."""
    level = _level(kind)
    if level == _AUTHENTICATED and kind.requirement.startswith(_AUTHENTICATED):
        sources = from_json(kind.sources, list[str]) if kind.sources else []
        asking = {source.partition(":")[0] for source in sources}
        if Protection.DANE in asking:
            return Protection.DANE
        return Protection.MTA_STS if Protection.MTA_STS in asking else Protection.VERIFIED
    return Protection.CLEARTEXT if level == "none" else Protection.ENCRYPTED


def _level(kind: HopKind) -> str:
    """The level reached on the TLS ladder."""
    return kind.achieved.rpartition("/")[2] or "none"


@dataclass(slots=True)
class HopSummary:
    """Hops of one direction. carried: those that carried mail. failures: attempts that failed for TLS, by result type.

    trusted: of the encrypted those whose certificate would have passed, had anybody asked. refused: what was refused
    before it was accepted. versions, groups, suites: of the hops that had TLS.
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

    def absorb(self, other: HopSummary) -> None:
        """Add the counts of another summary."""
        for name in ("protections", "versions", "groups", "suites", "failures"):
            getattr(self, name).update(getattr(other, name))
        self.trusted += other.trusted
        self.refused += other.refused

    @property
    def weight(self) -> int:
        """Rows that say something of it."""
        return self.carried + self.refused + self.failures.total()


@dataclass(frozen=True, slots=True)
class Named:
    """The figures of a partner's domain or of a connector ("" where none applied), in one direction."""

    name: str
    direction: Direction
    hops: HopSummary


@dataclass(frozen=True, slots=True)
class TlsReport:
    """first, last: UTC days. days: what protected the mail of each. partners, connectors: most mail first.

    never_tls: domains that were only ever reached unencrypted, and how much went there. ready: partners for whom TLS
    could be demanded without losing mail. unreadable: files of the trace that are not counted. others: partners that
    were not told apart any more, as there were too many, summed up; empty where there were not.
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
    others: tuple[Named, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """The filter of a report; empty fields take everything.

    partner: a domain. at_least: the messages that a partner must have to be called ready. organizations: any of these;
    None for all, including mail of no organization.
    """

    organization: str = ""
    partner: str = ""
    connector: str = ""
    at_least: int = 10
    organizations: frozenset[str] | None = None

    def takes(self, kind: HopKind) -> bool:
        """Whether rows of a kind belong to it."""
        return (
            (self.organizations is None or kind.organization in self.organizations)
            and (not self.organization or kind.organization.lower() == self.organization.lower())
            and (not self.partner or (normalise(kind.partner) or kind.partner) == normalise(self.partner))
            and (not self.connector or kind.connector.lower() == self.connector.lower())
        )


type PartnerKey = tuple[str, Direction]
"""A partner's domain, and which way."""


class TlsCounter:
    """Takes days, makes a report.

    Domains of senders are strangers' to choose, so that there may be as many as messages: who keeps a counter calls
    `shed` from time to time.
    """

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._days: dict[str, dict[Direction, Counter[Protection]]] = {}
        self._hops = {direction: HopSummary() for direction in Direction}
        self._partners: dict[PartnerKey, HopSummary] = {}
        self._others = {direction: HopSummary() for direction in Direction}
        self._late: set[PartnerKey] = set()
        self._has_shed = False
        self._connectors: dict[tuple[str, Direction], HopSummary] = {}
        self._readiness = Readiness(wanted.at_least)

    def add(self, day: str, kinds: Mapping[HopKind, int]) -> None:
        """A day, or a part of one."""
        of_day = self._days.setdefault(day, {direction: Counter() for direction in Direction})
        for kind, rows in kinds.items():
            if not is_hop(kind) or not self._wanted.takes(kind):
                continue
            direction = direction_of(kind)
            self._hops[direction].add(kind, rows)
            key = kind.partner, direction
            if key not in self._partners:
                self._partners[key] = HopSummary()
                if self._has_shed:
                    self._late.add(key)
            self._partners[key].add(kind, rows)
            self._connectors.setdefault((kind.connector, direction), HopSummary()).add(kind, rows)
            self._readiness.add(kind, rows, inbound=direction is Direction.INBOUND)
            if kind.event in _CARRIED:
                of_day[direction][protection_of(kind)] += rows

    def shed(self, most: int) -> set[PartnerKey]:
        """If more partners than that are told apart, forget the lighter ones down to half of it, and say which.

        They stay in all sums, and in `TlsReport.others`. Of who comes after that nobody knows whether it was there
        before: it is not called ready, nor said never to have offered TLS.
        """
        if len(self._partners) <= most:
            return set()
        lighter = sorted(self._partners, key=lambda key: self._partners[key].weight)[: len(self._partners) - most // 2]
        for key in lighter:
            self._others[key[1]].absorb(self._partners.pop(key))
            self._readiness.forget(key[0], inbound=key[1] is Direction.INBOUND)
        gone = set(lighter)
        self._late -= gone
        self._has_shed = True
        return gone

    def report(self, first: str, last: str, unreadable: Iterable[str] = ()) -> TlsReport:
        """All that was added, as of days first to last."""
        partners = _by_weight(self._partners)
        never = (
            (partner.name, partner.hops.carried)
            for partner in partners
            if partner.direction is Direction.OUTBOUND
            and partner.hops.carried
            and not partner.hops.versions
            and not partner.hops.failures
            and (partner.name, partner.direction) not in self._late
        )
        ready = (
            candidate
            for candidate in self._readiness.ready()
            if (candidate.partner, Direction.INBOUND if candidate.inbound else Direction.OUTBOUND) not in self._late
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
            tuple(ready),
            tuple(unreadable),
            tuple(Named("", direction, hops) for direction, hops in self._others.items() if hops.weight),
        )


def direction_of(kind: HopKind) -> Direction:
    """The direction of the hops of a kind."""
    return Direction.INBOUND if kind.event in _INBOUND else Direction.OUTBOUND


def is_hop(kind: HopKind) -> bool:
    """Whether it is about mail on its way between hosts: users' own mail programs and mailboxes are not partners."""
    if kind.event == "REFUSE":
        return True
    return kind.event in _CARRIED or has_failed(kind)


def has_failed(kind: HopKind) -> bool:
    """Whether it is about attempts that failed for TLS."""
    return kind.event in _FAILED and kind.result_type != ""


def _by_weight(summaries: Mapping[tuple[str, Direction], HopSummary]) -> tuple[Named, ...]:
    def weight(one: Named) -> tuple[int, str, str]:
        return -one.hops.weight, one.name, one.direction

    return tuple(sorted((Named(name, way, hops) for (name, way), hops in summaries.items()), key=weight))


def report_record(report: TlsReport) -> dict[str, Any]:
    """All of it, in the names of the dataclasses."""
    return {
        "first": report.first,
        "last": report.last,
        "unreadable": list(report.unreadable),
        "hops": {direction.value: _hops(report.hops[direction]) for direction in Direction},
        "days": {
            day: {direction.value: _counts(counts) for direction, counts in ways.items()}
            for day, ways in report.days.items()
        },
        "partners": [_named(partner) for partner in report.partners],
        "connectors": [_named(connector) for connector in report.connectors],
        "never_tls": [{"partner": name, "messages": messages} for name, messages in report.never_tls],
        "ready": [_ready(partner) for partner in report.ready],
    }


def _hops(hops: HopSummary) -> dict[str, Any]:
    return {
        "carried": hops.carried,
        "post_quantum": hops.post_quantum,
        "trusted": hops.trusted,
        "refused": hops.refused,
        "protections": _counts(hops.protections),
        "versions": _most(hops.versions),
        "groups": _most(hops.groups),
        "suites": _most(hops.suites),
        "failures": _most(hops.failures),
    }


def _counts(counts: Counter[Protection]) -> dict[str, int]:
    return {protection.value: counts[protection] for protection in Protection}


def _most(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _named(one: Named) -> dict[str, Any]:
    return {"name": one.name, "direction": one.direction.value, **_hops(one.hops)}


def _ready(one: Ready) -> dict[str, Any]:
    way = Direction.INBOUND if one.inbound else Direction.OUTBOUND
    return {
        "partner": one.partner,
        "direction": way.value,
        "messages": one.messages,
        "demand": one.demand,
        "names": list(one.names),
    }


_HOSTS = 5  # named of one partner


@dataclass(frozen=True, slots=True)
class Ready:
    """A partner's domain. demand: the strictest that all its mail would have met.

    Outbound a value of tls_settings: "domain-validation", "certificate-validation" or "encryption-only", and names are
    the hosts that proved theirs. Inbound "restrict_domains_to_certificate" or "require_tls", and names are those of the
    certificate that all its sessions showed.
    """

    partner: str
    inbound: bool
    messages: int
    demand: str
    names: tuple[str, ...] = ()


@dataclass(slots=True)
class _Seen:
    """The counts of a partner's hops. lacking: rows that would not have passed, by demand."""

    rows: int = 0
    lacking: Counter[str] = field(default_factory=Counter)
    names: Counter[str] = field(default_factory=Counter)


class Readiness:
    """at_least: rows below which nothing is said of a partner."""

    def __init__(self, at_least: int) -> None:
        self._at_least = at_least
        self._seen: dict[tuple[str, bool], _Seen] = {}

    def add(self, kind: HopKind, rows: int, *, inbound: bool) -> None:
        """Rows of one kind, of hops between hosts."""
        if not kind.partner or (inbound and kind.direction != "incoming"):
            return
        seen = self._seen.setdefault((kind.partner, inbound), _Seen())
        if kind.event == "REFUSE":
            return
        seen.rows += rows
        if kind.result_type or (kind.requirement and not kind.requirement.startswith("opportunistic")):
            seen.lacking["nothing"] += rows  # it fails, or something is demanded already
        elif not kind.tls_version:
            seen.lacking["encryption"] += rows
        else:
            self._look_at_certificate(seen, kind, rows, inbound=inbound)

    def forget(self, partner: str, *, inbound: bool) -> None:
        """Forget the counts of a partner."""
        self._seen.pop((partner, inbound), None)

    @staticmethod
    def _look_at_certificate(seen: _Seen, kind: HopKind, rows: int, *, inbound: bool) -> None:
        if kind.chain != ChainStatus.TRUSTED:
            seen.lacking["certificate"] += rows
            return
        names = _names(kind)
        if inbound:
            seen.names.update(dict.fromkeys(names, rows))
        elif matches(kind.host, _certificate(names)):
            seen.names[kind.host] += rows
        else:
            seen.lacking["name"] += rows

    def ready(self) -> tuple[Ready, ...]:
        """The partners that are ready for something, most mail first."""
        partners = (
            _outbound(partner, seen) if not inbound else _inbound(partner, seen)
            for (partner, inbound), seen in self._seen.items()
            if seen.rows >= self._at_least and not seen.lacking.keys() & {"nothing", "encryption"}
        )
        return tuple(sorted(partners, key=lambda partner: (-partner.messages, partner.partner, partner.inbound)))


def _outbound(partner: str, seen: _Seen) -> Ready:
    if seen.lacking["certificate"]:
        return Ready(partner, inbound=False, messages=seen.rows, demand="encryption-only")
    if seen.lacking["name"]:
        return Ready(partner, inbound=False, messages=seen.rows, demand="certificate-validation")
    hosts = tuple(name for name, _ in seen.names.most_common(_HOSTS))
    return Ready(partner, inbound=False, messages=seen.rows, demand="domain-validation", names=hosts)


def _inbound(partner: str, seen: _Seen) -> Ready:
    shown = tuple(name for name, rows in seen.names.most_common(_HOSTS) if rows == seen.rows)
    if shown and not seen.lacking["certificate"]:
        demand = "restrict_domains_to_certificate"
        return Ready(partner, inbound=True, messages=seen.rows, demand=demand, names=shown)
    return Ready(partner, inbound=True, messages=seen.rows, demand="require_tls")


def _names(kind: HopKind) -> list[str]:
    return from_json(kind.names, list[str]) if kind.names else []


def _certificate(names: list[str]) -> CertificateFacts:
    """As far as names are concerned."""
    return CertificateFacts("", "", "", "", tuple(names), (), "", "", "", 0.0, 0.0, "")
