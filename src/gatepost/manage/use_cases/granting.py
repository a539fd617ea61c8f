"""The gateway owner's grants, decided for a change: who may write what names a file, a socket or a host of the gateway.

Used by `change`, which writes the grants in the transaction of the resources themselves. The rule is in
`policy.connectors.grants`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from gatepost.policy.connectors import grants
from gatepost.policy.connectors.errors import FieldError
from gatepost.policy.connectors.grants import GRANT
from gatepost.policy.connectors.trust_anchors import is_pem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from gatepost.manage.access.principal import Principal
    from gatepost.policy.connectors.records import Organization
    from gatepost.policy.connectors.resources import PrefixLimits, Resources
    from gatepost.store.changes import ConfigStore


class Granting(msgspec.Struct, frozen=True):
    """documents: what is granted then, by organization; None where there is none any more. errors: what is refused."""

    documents: dict[str, dict[str, Any] | None]
    errors: list[FieldError]


def granting(
    principal: Principal, before: Resources, after: Resources, stored: Mapping[str, Any], names: Sequence[str]
) -> Granting:
    """Decide what a change of the named organizations grants. stored: the document of the store, with its grants."""
    documents: dict[str, dict[str, Any] | None] = {}
    errors: list[FieldError] = []
    for name in names:
        organization = after.organization(name)
        if organization is None:
            documents[name] = None
            continue
        granted = stored.get(GRANT, {}).get(name)
        documents[name], refused = grants.decide(
            before.organization(name), organization, granted, by_owner=principal.is_of_gateway
        )
        errors += (*refused, *_unreadable(organization))
    return Granting(documents, errors)


def grant_all(store: ConfigStore, prefixes: PrefixLimits) -> Sequence[str]:
    """Grant what a version without grants stored; the organizations that this was done for. Raises ResourceErrors."""
    version, document = store.load(*grants.STORED_KINDS)
    stored = document.get(GRANT, {})
    first = grants.first_grants(grants.resources_in_force(document, prefixes=prefixes), stored)
    if first:
        note = "what stood here before there were grants counts as granted by the gateway's owner"
        store.apply({GRANT: first}, author="gatepost", note=note, expected=version)
    return sorted(first)


def _unreadable(organization: Organization) -> Iterator[FieldError]:
    """Certificates in the text of a resource that OpenSSL cannot read."""
    written = [
        (key, place, part)
        for key, parts in _with_anchors(organization)
        for place, part in enumerate(parts)
        if is_pem(part.trust_anchors)
    ]
    if not written:
        return
    from gatepost.net.anchors import AnchorsError, TrustAnchors  # noqa: PLC0415 - few changes have certificates in them

    for key, place, part in written:
        try:
            TrustAnchors.load(part.trust_anchors)
        except AnchorsError as error:
            path = f"organization.{organization.name}.{key}[{place}] {part.name!r}.trust_anchors"
            yield FieldError(path, str(error))


def _with_anchors(organization: Organization) -> Iterable[tuple[str, Sequence[Any]]]:
    yield "inbound_connector", organization.inbound_connectors
    yield "outbound_connector", organization.outbound_connectors
    yield "oauth_issuer", organization.oauth_issuers
    yield "content_hook", organization.content_hooks
