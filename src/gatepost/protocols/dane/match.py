"""Match a server's certificates with the TLSA records of its name (RFC 7671 section 5, RFC 7672 section 3).

Called by `net.dane`, which reads certificates and builds paths; here is only which record asks for what, in which order
they are tried, and what is said if none is satisfied. Knows no X.509: certificates are octets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from gatepost.protocols.dane.tlsa import MatchingType, Records, Selector, Tlsa, Usage

_LOOKED_AT: Final = 10  # certificates of a chain: `net.chain` judges no longer one
_NOT_SENT: Final = (
    20  # authorities in records, not in the chain, to which a path is looked for: each takes milliseconds
)


class Presented(msgspec.Struct, frozen=True):
    """A certificate as it was presented. certificate: DER. spki: its SubjectPublicKeyInfo, DER, as it stands in it."""

    certificate: bytes
    spki: bytes


class DaneFailure(StrEnum):
    """The reason why a record is not satisfied (RFC 8460 section 4.3; all: `protocols.tlsrpt.result.ResultType`).

    Anything but a name or an end of validity is `tlsa-invalid`, as with Exchange. The order is that of the way to go:
    the last one was nearest to success.
    """

    TLSA_INVALID = "tlsa-invalid"
    CERTIFICATE_EXPIRED = "certificate-expired"
    CERTIFICATE_HOST_MISMATCH = "certificate-host-mismatch"


class Refusal(msgspec.Struct, frozen=True):
    """A record that is not satisfied. why: one sentence for an administrator, never sent to a peer."""

    record: Tlsa
    failure: DaneFailure
    why: str


class Anchored(msgspec.Struct, frozen=True):
    """The chain leads to the trust anchor of a DANE-TA record. detail: by which anchor and name."""

    detail: str


class DaneVerdict(msgspec.Struct, frozen=True):
    """Whether the server is who its TLSA records say.

    matched: the record that was satisfied, None if none was. detail: one sentence for an administrator, never sent to a
    peer. failure: for TLS-RPT and the reply, None if matched. refusals: the records that were tried in vain, in order.
    """

    matched: Tlsa | None
    detail: str
    failure: DaneFailure | None = None
    refusals: tuple[Refusal, ...] = ()

    @property
    def authenticated(self) -> bool:
        """Whether a record was satisfied."""
        return self.matched is not None


class _Chain:
    """A presented chain, in the form that records are compared with: each digest is computed once, for all records."""

    __slots__ = ("_not_sent", "_parts", "_presented")

    def __init__(self, presented: Sequence[Presented]) -> None:
        self._presented = tuple(presented[:_LOOKED_AT])
        self._parts: dict[tuple[int, Selector, MatchingType], bytes] = {}
        self._not_sent = _NOT_SENT

    def is_leaf(self, record: Tlsa) -> bool:
        """Whether a record names the server's own certificate."""
        return self._part(0, record) == record.data

    def anchors(self, record: Tlsa) -> tuple[bytes, ...]:
        """The certificates above the server's own that a DANE-TA record names."""
        own = self._presented[0].certificate
        above = range(1, len(self._presented))
        named = (self._presented[depth].certificate for depth in above if self._part(depth, record) == record.data)
        return tuple(certificate for certificate in named if certificate != own)

    def takes_another(self) -> bool:
        """Whether a path is looked for to one more authority that was not sent."""
        self._not_sent -= 1
        return self._not_sent >= 0

    def _part(self, depth: int, record: Tlsa) -> bytes:
        key = depth, record.selector, record.matching
        if key not in self._parts:
            presented = self._presented[depth]
            whole = presented.certificate if record.selector is Selector.CERT else presented.spki
            self._parts[key] = _reduced(whole, record.matching)
        return self._parts[key]


def _reduced(whole: bytes, matching: MatchingType) -> bytes:
    """A certificate or key in the form that a matching type compares (RFC 6698 section 2.1.3)."""
    if matching is MatchingType.FULL:
        return whole
    return (hashlib.sha256 if matching is MatchingType.SHA2_256 else hashlib.sha512)(whole).digest()


def authenticate(
    records: Records,
    presented: Sequence[Presented],
    anchored: Callable[[Tlsa, Sequence[bytes]], Anchored | Refusal],
) -> DaneVerdict:
    """Try each usable record on what was presented, leaf first; records that need no path building come first.

    anchored(record, anchors): whether a path leads from the leaf to one of the certificates `anchors`, DER, all of them
    named by the DANE-TA record, with the name and the dates that are right; () for a record that brings a bare key,
    which is the anchor itself. One satisfied record is enough (RFC 6698 section 2.1).
    """
    if not presented:
        return DaneVerdict(None, "no certificate was presented", DaneFailure.TLSA_INVALID)
    chain = _Chain(presented)
    refusals: list[Refusal] = []
    for record in sorted(records.usable, key=lambda each: each.usage is not Usage.DANE_EE):
        if _has_stronger(record, records):
            why = "passed over: a SHA2-512 digest is published for the same usage and selector (RFC 7671 section 9)"
            outcome: Anchored | Refusal = Refusal(record, DaneFailure.TLSA_INVALID, why)
        else:
            outcome = _try(record, chain, anchored)
        if not isinstance(outcome, Refusal):
            return DaneVerdict(record, outcome.detail, None, tuple(refusals))
        refusals.append(outcome)
    return _refused(records, refusals)


def _try(
    record: Tlsa, chain: _Chain, anchored: Callable[[Tlsa, Sequence[bytes]], Anchored | Refusal]
) -> Anchored | Refusal:
    compared = "key" if record.selector is Selector.SPKI else "certificate"
    if record.usage is Usage.DANE_EE:
        # Neither names nor dates nor the rest of the chain count (RFC 7672 section 3.1.1).
        if chain.is_leaf(record):
            return Anchored(f"the server's {compared} is that of the TLSA record {record}")
        return Refusal(record, DaneFailure.TLSA_INVALID, f"the server's {compared} is a different one")
    if anchors := chain.anchors(record):
        return anchored(record, anchors)
    bare = record.selector is Selector.SPKI and record.matching is MatchingType.FULL
    if chain.is_leaf(record) and not bare:
        why = "it names the server's own certificate, which is not an authority above itself (DANE-EE would be right)"
        return Refusal(record, DaneFailure.TLSA_INVALID, why)
    if record.matching is not MatchingType.FULL:
        why = f"no authority in the presented chain has this {compared}"
    elif chain.takes_another():
        # A server need not send what the record holds whole (RFC 7671 section 5.2.2).
        return anchored(record, () if bare else (record.data,))
    else:
        why = f"passed over: {_NOT_SENT} records before it hold authorities that were not sent either"
    return Refusal(record, DaneFailure.TLSA_INVALID, why)


def _has_stronger(record: Tlsa, records: Records) -> bool:
    """Whether the domain publishes a stronger digest beside it; who does wants the weaker one to die out."""
    return record.matching is MatchingType.SHA2_256 and any(
        (other.usage, other.selector, other.matching) == (record.usage, record.selector, MatchingType.SHA2_512)
        for other in records.usable
    )


def _refused(records: Records, refusals: Sequence[Refusal]) -> DaneVerdict:
    if not refusals:
        return DaneVerdict(None, f"no TLSA record can be used: {records.detail}", DaneFailure.TLSA_INVALID)
    order = list(DaneFailure)
    nearest = max(refusals, key=lambda refusal: order.index(refusal.failure))  # of equals the first
    more = f"; {len(refusals) - 1} more are not satisfied either" if len(refusals) > 1 else ""
    left_out = f"; {records.left_out} were not checked" if records.left_out else ""
    detail = f"the TLSA record {nearest.record} is not satisfied: {nearest.why}{more}{left_out}"
    return DaneVerdict(None, detail, nearest.failure, tuple(refusals))
