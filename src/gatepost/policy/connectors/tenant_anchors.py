"""The authorities by which tenants have partners judged: a tenant may have made one, and its certificates.

Certificates say where their revocation lists and OCSP responders are, and the gateway asks there. Used by
`net.lookups.authority_origin`. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gatepost.policy.connectors.grants import TENANTS_CHOOSE
from gatepost.policy.connectors.trust_anchors import is_pem, pem_certificates

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatepost.policy.connectors.records import Organization


class AnchorOrigins(NamedTuple):
    """tenants: DER of those that only organizations name which tenants change. places: files that others name."""

    tenants: frozenset[bytes]
    places: frozenset[str]


def anchor_origins(organizations: Iterable[Organization]) -> AnchorOrigins:
    """Find out who names which trust anchors in connectors, enabled or not.

    A file is always the gateway's owner's word: one that no owner granted has no effect (`policy.connectors.grants`).
    """
    tenants: set[bytes] = set()
    others: set[bytes] = set()
    places: set[str] = set()
    for organization in organizations:
        named = tenants if TENANTS_CHOOSE in organization.ungranted else others
        texts = {connector.trust_anchors for connector in organization.inbound_connectors}
        texts |= {connector.trust_anchors for connector in organization.outbound_connectors}
        for text in texts:
            if is_pem(text):
                named.update(pem_certificates(text))
            elif text:
                places.add(text)
    return AnchorOrigins(frozenset(tenants - others), frozenset(places))
