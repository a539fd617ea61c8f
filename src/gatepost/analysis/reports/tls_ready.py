"""Find partners that are ready for mandatory TLS: all their mail would have passed.

Part of `analysis.reports.tls`. No I/O. Only partners of whose mail nothing was demanded are looked at: the others are
forced already. A certificate of more than twenty names is taken not to bear a name that is not among the twenty which
the trace keeps.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gatepost.decoding import from_json
from gatepost.protocols.tls.facts import CertificateFacts, ChainStatus
from gatepost.protocols.tls.names import matches

if TYPE_CHECKING:
    from gatepost.store.trace import HopKind


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
