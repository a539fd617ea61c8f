"""The TLSA records of a host, as known before a connection (RFC 7672 section 2.2).

Made by `net.lookups.tlsa`; `policy.decisions.published` says what a connection must then achieve. Values only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from gatepost.protocols.dane.tlsa import Records


class TlsaStatus(StrEnum):
    """The state of DANE for one host in the DNS."""

    USABLE = "usable"  # TLS, and a certificate that satisfies one of the records
    UNUSABLE = "unusable"  # proven records, none of which can be used: TLS, whatever the certificate
    NONE = "none"  # proven: no records. No DANE
    INSECURE = "insecure"  # nothing is proven. No DANE
    FAILED = "failed"  # not known, perhaps attacked: this host must not be used now (RFC 7672 section 2.1.3)


@dataclass(frozen=True, slots=True)
class TlsaLookup:
    """The TLSA records of one host and port.

    base: the TLSA base domain, whose records they are, "" if there are none. names: the reference identifiers for
    DANE-TA records, base first. detail: one sentence for an administrator. bogus: FAILED since DNSSEC proves a fault
    (RFC 8460 calls it dnssec-invalid), not since nobody answers.
    """

    status: TlsaStatus
    detail: str
    records: Records = field(default_factory=Records)
    base: str = ""
    names: tuple[str, ...] = ()
    bogus: bool = False
