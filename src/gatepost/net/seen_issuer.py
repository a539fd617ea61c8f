"""The issuer that a peer presented above its own certificate: offered as a trust anchor, once somebody compared it.

Nothing here trusts it: who is on the way of a connection can present any issuer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives.serialization import Encoding

from gatepost.net.certificate import MALFORMED, certificate_facts, parse
from gatepost.net.path import climb, is_authority
from gatepost.protocols.tls.facts import ChainStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.protocols.tls.facts import ChainVerdict


_UNKNOWN: Final = frozenset({ChainStatus.UNTRUSTED_ROOT, ChainStatus.INCOMPLETE, ChainStatus.SELF_SIGNED})
_MAX_BYTES: Final = 8 * 1024  # of a certificate; trust anchors of a resource have 16 KiB at most


def issuer_record(presented: Sequence[bytes], verdict: ChainVerdict) -> dict[str, Any]:
    """The highest authority above the first certificate, where only a trust anchor is missing; {} if there is none.

    subject, issuer, sha256, not_before, not_after: of its certificate. pem: the certificate.
    """
    if verdict.status not in _UNKNOWN or verdict.leaf is None:
        return {}
    try:
        path = climb(presented[0], presented[1:], verdict.leaf.not_before)
        certificate, facts = parse(path[-1]), certificate_facts(path[-1])
    except (*MALFORMED, ValueError):
        return {}
    if len(path) < 2 or not is_authority(certificate) or len(path[-1]) > _MAX_BYTES:
        return {}
    return {
        "subject": facts.subject,
        "issuer": facts.issuer,
        "sha256": facts.sha256,
        "not_before": facts.not_before,
        "not_after": facts.not_after,
        "pem": certificate.public_bytes(Encoding.PEM).decode("ascii"),
    }
