"""Check that senders with DANE would accept an ACME certificate, by what our names publish.

Used by `pki.acme.issuer` before a new certificate is presented. Records count whether or not DNSSEC proves them:
the senders may see more than we do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gatepost.net import dane
from gatepost.net.lookups.question import LookupFailed
from gatepost.protocols.dane.tlsa import Records, RecordsKind, classify

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gatepost.net.lookups.mx import Queries


_POLICY_HOST: Final = "mta-sts."


class PublishedTlsa(msgspec.Struct, frozen=True):
    """The TLSA records for mail of one name. failed: why they are not known, "" if they are."""

    name: str
    records: Records
    failed: str = ""


async def published_tlsa(resolver: Queries, names: Iterable[str]) -> list[PublishedTlsa]:
    """Look up the TLSA records below each name at which mail could come. Never raises."""
    hosts = [name for name in names if not name.startswith(("*", _POLICY_HOST))]
    return [await _published(resolver, host) for host in hosts]


async def _published(resolver: Queries, host: str) -> PublishedTlsa:
    try:
        answer = await resolver.query(f"_25._tcp.{host}", "TLSA")
    except LookupFailed as failure:
        return PublishedTlsa(host, Records(), failure.detail if failure.temporary else "")
    data = [record.to_generic().data for record in answer.records]
    return PublishedTlsa(host, classify(data, left_out=answer.left_out, unreadable=dane.unreadable))


def objection(published: Sequence[PublishedTlsa], chain_pem: bytes, *, key_kept: bool, now: float) -> str:
    """Explain why a chain must not be presented yet, "" if it may be.

    key_kept: it has the key of the one before. now: seconds since 1970.
    """
    chain = [certificate.public_bytes(Encoding.DER) for certificate in x509.load_pem_x509_certificates(chain_pem)]
    for tlsa in published:
        if tlsa.failed and not key_kept:
            return f"its key is new, and the TLSA records of {tlsa.name} are not known: {tlsa.failed}"
        if tlsa.records.kind is not RecordsKind.USABLE:
            continue
        verdict = dane.judge(tlsa.records, chain, names=(tlsa.name,), now=now)
        if not verdict.authenticated:
            return f"the TLSA records of {tlsa.name} do not allow it: {verdict.detail}"
    return ""
