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
    named: dict[bool, set[str]] = {True: set(), False: set()}
    for organization in organizations:
        texts = named[TENANTS_CHOOSE in organization.ungranted]
        texts |= {connector.trust_anchors for connector in organization.inbound_connectors}
        texts |= {connector.trust_anchors for connector in organization.outbound_connectors}
    tenants = _certificates(named[True])
    if tenants:  # else nothing of the others matters, and there may be thousands
        tenants -= _certificates(named[False])
    places = {text for text in named[True] | named[False] if text and not is_pem(text)}
    return AnchorOrigins(tenants, frozenset(places))


def _certificates(texts: Iterable[str]) -> frozenset[bytes]:
    return frozenset(der for text in texts if is_pem(text) for der in pem_certificates(text))
