"""Parse TLSA records: RDATA in, a usable record or the reason why not (RFC 6698, RFC 7671, RFC 7672).

Also the records of a host as known before a connection; `policy.decisions.published` says what it must then achieve.
Called by `net.lookups.tlsa`. Whoever signs a zone may publish anything: a record that makes no sense is a value with
its reason, never an error, since a domain all of whose records are unusable still asks for TLS (RFC 7672 section 2.2).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from enum import IntEnum, StrEnum
from itertools import islice
from typing import Final

import msgspec

from gatepost.quantity import quantity

MAX_RECORDS: Final = 100
"""As many records of one name are judged; Postfix stops there too."""

_MAX_DATA: Final = 16384  # octets of a whole certificate or key; post-quantum ones take about 10,000
_SHOWN: Final = 32  # octets of what a record holds, in texts
_HEADER: Final = 3


class Usage(IntEnum):
    """Certificate usage (RFC 6698 section 2.1.1, names of RFC 7218)."""

    PKIX_TA = 0
    PKIX_EE = 1
    DANE_TA = 2
    DANE_EE = 3


class Selector(IntEnum):
    """The part of the certificate that is compared (RFC 6698 section 2.1.2)."""

    CERT = 0
    SPKI = 1


class MatchingType(IntEnum):
    """The comparison of a certificate with a record (RFC 6698 section 2.1.3)."""

    FULL = 0
    SHA2_256 = 1
    SHA2_512 = 2


_DIGEST_OCTETS: Final = {MatchingType.SHA2_256: 32, MatchingType.SHA2_512: 64}


class Tlsa(msgspec.Struct, frozen=True):
    """A record that SMTP can use: usage 2 or 3, a selector and a matching type that are known, data of fitting length.

    data: a digest, or with FULL a whole certificate or SubjectPublicKeyInfo in DER.
    """

    usage: Usage
    selector: Selector
    matching: MatchingType
    data: bytes

    def __str__(self) -> str:
        return _text(bytes((self.usage, self.selector, self.matching)) + self.data)


class Unusable(msgspec.Struct, frozen=True):
    """A record that is ignored. record: as a zone file writes it, cut short. reason: for an administrator."""

    record: str
    reason: str

    def __str__(self) -> str:
        return self.record


class RecordsKind(StrEnum):
    """The demand of a set of records (RFC 7672 section 2.2)."""

    USABLE = "usable"  # TLS, and a certificate that satisfies one of them
    UNUSABLE = "unusable"  # there are records, but none can be used: TLS, whatever the certificate
    NONE = "none"  # nothing


class Records(msgspec.Struct, frozen=True):
    """The TLSA records of one name, judged one by one. left_out: how many more there were than are judged."""

    usable: tuple[Tlsa, ...] = ()
    unusable: tuple[Unusable, ...] = ()
    left_out: int = 0

    @property
    def kind(self) -> RecordsKind:
        """The demand of all records together."""
        if self.usable:
            return RecordsKind.USABLE
        return RecordsKind.UNUSABLE if self.unusable or self.left_out else RecordsKind.NONE

    @property
    def detail(self) -> str:
        """One sentence for an administrator: how many there are, and why some are ignored."""
        count = len(self.usable) + len(self.unusable) + self.left_out
        if not count:
            return "no TLSA records"
        parts = [f"{quantity(count, 'TLSA record')}, {len(self.usable)} usable"]
        parts += [f"{rejected} is ignored: {rejected.reason}" for rejected in self.unusable[:3]]
        if (more := len(self.unusable) - 3) > 0:
            parts.append(f"{more} more are ignored")
        if self.left_out:
            parts.append(f"{self.left_out} are not checked, {MAX_RECORDS} are the most")
        return "; ".join(parts)


def parse(rdata: bytes) -> Tlsa | Unusable:
    """Read the RDATA of one record (RFC 6698 section 2.1). Any octets will do."""
    if reason := _objection(rdata):
        return Unusable(_text(rdata), reason)
    return Tlsa(Usage(rdata[0]), Selector(rdata[1]), MatchingType(rdata[2]), rdata[_HEADER:])


def classify(
    rdatas: Collection[bytes], *, left_out: int = 0, unreadable: Callable[[Tlsa], str] = lambda _: ""
) -> Records:
    """Judge the records of one name, the first hundred of them.

    left_out: how many more there were before they came here. unreadable: why the certificate or key that a record of
    matching type FULL holds cannot be read, "" if it can; this package knows no X.509 (`net.dane.unreadable` does).
    """
    usable: dict[Tlsa, None] = {}  # a set that keeps its order
    unusable: dict[Unusable, None] = {}
    for rdata in islice(rdatas, MAX_RECORDS):
        record = parse(rdata)
        if isinstance(record, Tlsa) and record.matching is MatchingType.FULL and (reason := unreadable(record)):
            record = Unusable(str(record), reason)
        if isinstance(record, Tlsa):
            usable[record] = None
        else:
            unusable[record] = None
    return Records(tuple(usable), tuple(unusable), left_out + max(0, len(rdatas) - MAX_RECORDS))


def _objection(rdata: bytes) -> str:
    """Explain why a record cannot be used, "" if it can (RFC 6698 section 4.1, RFC 7672 section 3.1)."""
    if len(rdata) < _HEADER:
        return f"{quantity(len(rdata), 'octet')} of data: too short for a TLSA record"
    usage, selector, matching = rdata[:_HEADER]
    data = rdata[_HEADER:]
    if usage in {Usage.PKIX_TA, Usage.PKIX_EE}:
        return f"certificate usage {usage} is not for SMTP, which has no common set of public authorities"
    if usage not in {Usage.DANE_TA, Usage.DANE_EE}:
        return f"certificate usage {usage} is not known"
    if selector not in {Selector.CERT, Selector.SPKI}:
        return f"selector {selector} is not known"
    if matching not in {MatchingType.FULL, *_DIGEST_OCTETS}:
        return f"matching type {matching} is not known"
    return _data_objection(MatchingType(matching), data)


def _data_objection(matching: MatchingType, data: bytes) -> str:
    expected = _DIGEST_OCTETS.get(matching)
    if expected is not None:
        wrong = len(data) != expected
        return f"a digest of matching type {matching} has {expected} octets, not {len(data)}" if wrong else ""
    if len(data) > _MAX_DATA:
        return f"{len(data)} octets of data, {_MAX_DATA} are the most"
    return "" if _is_sequence(data) else "its data is not a whole certificate or key in DER"


def _is_sequence(data: bytes) -> bool:
    """Whether `data` is exactly one DER SEQUENCE, as far as its outermost length tells (X.690 section 8.1.3)."""
    if len(data) < 2 or data[0] != 0x30:
        return False
    first = data[1]
    if first < 0x80:
        return len(data) == 2 + first
    octets = first - 0x80
    length = data[2 : 2 + octets]
    return len(length) == octets > 0 and len(data) == 2 + octets + int.from_bytes(length)


def _text(rdata: bytes) -> str:
    """As a zone file has it, cut short: "3 1 1 0a1b…"; in the form of RFC 3597 if it is too short for that."""
    if len(rdata) < _HEADER:
        return f"\\# {len(rdata)} {rdata.hex()}".rstrip()
    data = rdata[_HEADER:]
    more = f"… ({len(data)} octets)" if len(data) > 2 * _SHOWN else ""
    shown = data[:_SHOWN] if more else data
    return f"{rdata[0]} {rdata[1]} {rdata[2]} {shown.hex()}{more}".rstrip()


class TlsaStatus(StrEnum):
    """The state of DANE for one host in the DNS."""

    USABLE = "usable"  # TLS, and a certificate that satisfies one of the records
    UNUSABLE = "unusable"  # proven records, none of which can be used: TLS, whatever the certificate
    NONE = "none"  # proven: no records. No DANE
    INSECURE = "insecure"  # nothing is proven. No DANE
    FAILED = "failed"  # not known, perhaps attacked: this host must not be used now (RFC 7672 section 2.1.3)


class TlsaLookup(msgspec.Struct, frozen=True):
    """The TLSA records of one host and port.

    base: the TLSA base domain, whose records they are, "" if there are none. names: the reference identifiers for
    DANE-TA records, base first. detail: one sentence for an administrator. bogus: FAILED since DNSSEC proves a fault
    (RFC 8460 calls it dnssec-invalid), not since nobody answers. unvalidated: INSECURE for no doing of the domain, as
    nothing is validated at all now.
    """

    status: TlsaStatus
    detail: str
    records: Records = msgspec.field(default_factory=Records)
    base: str = ""
    names: tuple[str, ...] = ()
    bogus: bool = False
    unvalidated: bool = False
