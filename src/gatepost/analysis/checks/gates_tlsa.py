"""Check that senders with DANE will accept a staged certificate (RFC 7672 section 8.1, RFC 7671 section 8.1). Pure.

Called by `analysis.checks.changeover`. Records for the next certificate stand beside those for the current one until
nobody can remember the time without them: for as long as the old records may be kept, counted from when the new ones
were first seen from here. Only then may be switched; the old ones go afterwards.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import msgspec

from gatepost.analysis.checks.gates import GateCheck, GateFinding
from gatepost.analysis.checks.partner_report import Mark
from gatepost.pki.certificates.entry import Entry, State
from gatepost.protocols.dane.tlsa import TlsaLookup, TlsaStatus
from gatepost.quantity import quantity
from gatepost.times import minute_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gatepost.protocols.dane.match import DaneVerdict


_finding = partial(GateFinding, GateCheck.TLSA)


class TlsaObservation(msgspec.Struct, frozen=True):
    """The stored observation of a host's TLSA records.

    since: when a record for the next certificate was first seen, 0.0: there is none. ttl: seconds for which senders may
    cache what was published before, the longest that was seen.
    """

    since: float = 0.0
    ttl: int = 0

    @property
    def until(self) -> float:
        """The time from which no cache has only the old records, 0.0 if nothing is known."""
        return self.since + self.ttl if self.since else 0.0


class HostTlsa(msgspec.Struct, frozen=True):
    """A host of ours, what the DNS says of its records, and what certificates make of them.

    entry: whether the certificate in question satisfies them; other: whether the one that it replaces, or that replaced
    it, does. None: not compared. ttl: seconds, as the zone gives it if that is known. takes_mail: it is known to.
    """

    host: str
    lookup: TlsaLookup
    entry: DaneVerdict | None = None
    other: DaneVerdict | None = None
    ttl: int = 0
    takes_mail: bool = True

    @property
    def is_shared(self) -> bool:
        """Whether one record speaks for both: the same key, or the same authority."""
        return self.entry is not None and self.other is not None and self.entry.matched == self.other.matched

    @property
    def is_there(self) -> bool:
        """Whether a record for the certificate in question is published."""
        return self.lookup.status is TlsaStatus.USABLE and self.entry is not None and self.entry.authenticated


def tlsa_line(host: str, entry: Entry) -> str:
    """The record for a certificate as a zone file has it: its key, whatever certificate (RFC 7672 section 3.1.1)."""
    return f"_25._tcp.{host}. IN TLSA 3 1 1 {entry.leaf.spki_sha256}"


def observe(before: TlsaObservation, seen: HostTlsa, *, now: float) -> TlsaObservation:
    """Update the stored observation after a lookup. now: seconds since 1970."""
    if seen.lookup.status is TlsaStatus.FAILED:
        return before
    if not seen.is_there:
        return TlsaObservation(0.0, max(before.ttl, seen.ttl))
    if before.since:
        return before
    return TlsaObservation(now, max(before.ttl, seen.ttl))


def tlsa_findings(
    entry: Entry, seen: Sequence[HostTlsa], sightings: Mapping[str, TlsaObservation], *, now: float
) -> Iterator[GateFinding]:
    """Everything there is to say. sightings: by host, this look included."""
    if not any(host_tlsa.takes_mail for host_tlsa in seen):
        text = "DANE does not apply: it covers neither the gateway's own name nor an MX host"
        yield _finding(Mark.INFO, text)
    for host_tlsa in seen:
        sighting = sightings.get(host_tlsa.host, TlsaObservation())
        finding = (
            next_tlsa(entry, host_tlsa, sighting, now) if entry.state is State.NEXT else own_tlsa(entry, host_tlsa)
        )
        if host_tlsa.takes_mail or host_tlsa.lookup.status is TlsaStatus.USABLE:
            yield finding


def next_tlsa(entry: Entry, seen: HostTlsa, sighting: TlsaObservation, now: float) -> GateFinding:
    """A certificate that is to become current."""
    finding = _no_dane(entry, seen)
    if finding is not None:
        return finding
    add = tlsa_line(seen.host, entry)
    if not seen.is_there:
        fix = f"Add this record to the zone and keep the existing ones: {add}"
        text = f"{seen.host} has TLSA records, but none for this certificate: senders that use DANE would not deliver"
        return _finding(Mark.FAIL, text, _detail(seen.entry), fix)
    if seen.is_shared:
        return _finding(Mark.PASS, f"{seen.host}: one record matches both certificates", _detail(seen.entry))
    if seen.other is not None and not seen.other.authenticated:
        text = (
            f"{seen.host}: a record for this certificate exists, but none for the current one: senders that use "
            "DANE already defer"
        )
        return _finding(Mark.WARN, text, _detail(seen.other), "Switch now, or restore the old record.")
    if now < sighting.until:
        since, until = _minute(sighting.since), _minute(sighting.until)
        text = f"{seen.host}: the record for this certificate was first seen at {since}; wait until {until}"
        evidence = f"senders may cache the old records for {quantity(sighting.ttl, 'second')}"
        fix = f"Wait. You can plan the switch for {until.replace(' ', 'T')}."
        return _finding(Mark.FAIL, text, evidence, fix, until=sighting.until)
    text = f"{seen.host}: the record for this certificate was first seen at {_minute(sighting.since)}, long enough ago"
    return _finding(Mark.PASS, text, _detail(seen.entry))


def own_tlsa(entry: Entry, seen: HostTlsa) -> GateFinding:
    """A certificate that is current: whether its record is there, and that of the old one may go."""
    finding = _no_dane(entry, seen)
    if finding is not None:
        return finding
    if not seen.is_there:
        text = (
            f"{seen.host} has TLSA records, but none for the current certificate: senders that use "
            "DANE defer their mail"
        )
        fix = f"Add this to the zone now, or roll back: {tlsa_line(seen.host, entry)}"
        return _finding(Mark.FAIL, text, _detail(seen.entry), fix)
    if seen.other is not None and seen.other.authenticated and not seen.is_shared:
        text = f"{seen.host}: the record of the previous certificate is still published"
        fix = f"Keep it while you may want to roll back (24 hours), then remove it: {seen.other.matched}"
        return _finding(Mark.INFO, text, fix=fix)
    return _finding(Mark.PASS, f"{seen.host}: the record for this certificate is published", _detail(seen.entry))


def _no_dane(entry: Entry, seen: HostTlsa) -> GateFinding | None:
    """The finding where no record can be compared; None where one can."""
    status, detail = seen.lookup.status, seen.lookup.detail
    match status:
        case TlsaStatus.FAILED:
            text = f"the TLSA records of {seen.host} cannot be looked up"
            fix = (
                "Senders that use DANE cannot deliver meanwhile: correct the signatures of the zone."
                if seen.lookup.bogus
                else "Check that the nameservers in [dns] answer, then check again. Whether senders can look the "
                "records up is not known."
            )
            return _finding(Mark.UNKNOWN, text, detail, fix)
        case TlsaStatus.NONE:
            fix = (
                "Nothing to do. To start using DANE, add this once the certificate is current: "
                f"{tlsa_line(seen.host, entry)}"
            )
            return _finding(Mark.INFO, f"{seen.host} publishes no TLSA records", detail, fix)
        case TlsaStatus.INSECURE:
            return _finding(Mark.INFO, f"{seen.host}: no DANE, as far as this gateway can see", detail)
        case TlsaStatus.UNUSABLE:
            text = f"{seen.host} has only TLSA records that senders cannot use"
            fix = f"Add a usable record: {tlsa_line(seen.host, entry)}"
            return _finding(Mark.WARN, text, detail, fix)
        case TlsaStatus.USABLE:
            return None


def _detail(verdict: DaneVerdict | None) -> str:
    return verdict.detail if verdict is not None else ""


def _minute(seconds: float) -> str:
    """To the minute, rounded up, so that nobody comes too early."""
    return minute_text(-(-seconds // 60) * 60)
