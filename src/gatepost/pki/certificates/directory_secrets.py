"""Passwords and client secrets by which the gateway asks directories of accepted domains: sealed, or in files.

Used by `mail.inbound.recipient_directory`, `mail.inbound.recipient_graph` and `manage.use_cases.login_secrets`. A
password is sealed together with where it may go: after a change of the servers, the name to log in with or the roots it
has to be entered again; the client secret for Microsoft Graph after a change of its addresses, tenant or client.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

from gatepost.pki.certificates.connector_secrets import SecretPlace
from gatepost.policy.connectors.values import RecipientValidation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gatepost.policy.connectors.accepted_domain import AcceptedDomain


def asks_graph(domain: AcceptedDomain) -> bool:
    """Whether the domain's password is the client secret for Microsoft Graph, and not that of an LDAP directory."""
    if domain.recipient_directory is None or domain.recipient_graph is None:
        return domain.recipient_graph is not None
    return domain.recipient_validation is RecipientValidation.GRAPH


def logs_in(domain: AcceptedDomain) -> bool:
    """Whether there is anything that the domain needs a password for."""
    return asks_graph(domain) or (domain.recipient_directory is not None and bool(domain.recipient_directory.bind_dn))


def places(organization: str, document: Mapping[str, Any] | None) -> Iterator[str]:
    """Names of content that the domains of an organization need, by its document."""
    for table in (document or {}).get("accepted_domain", []):
        directory, graph = table.get("recipient_directory") or {}, table.get("recipient_graph") or {}
        if directory.get("bind_dn") and not directory.get("password_file"):
            yield _name("directory", organization, str(table["name"]))
        if graph and not graph.get("secret_file"):
            yield _name("graph", organization, str(table["name"]))


def _name(kind: str, organization: str, domain: str) -> str:
    return f"{kind}/{organization}/{domain.lower()}"


def directory_place(organization: str, domain: AcceptedDomain) -> SecretPlace:
    """The place of the password or client secret of a domain as it is now."""
    directory, graph = domain.recipient_directory, domain.recipient_graph
    parts: tuple[object, ...] = ()
    if asks_graph(domain) and graph is not None:
        parts = (graph.token_url, graph.url, graph.client_id)
        bound, field, file = "another tenant_id, client_id, url or login_url", "secret_file", graph.secret_file
    else:
        bound, field, file = "other servers, another bind_dn or other trust_anchors", "password_file", ""
        if directory is not None:
            parts, file = (directory.urls, directory.bind_dn, directory.trust_anchors), directory.password_file
    return SecretPlace(
        _name("graph" if asks_graph(domain) else "directory", organization, domain.name),
        hashlib.sha256(msgspec.json.encode(parts)).hexdigest(),
        f"enter it: gatepost domain password {domain.name}",
        bound,
        field,
        file,
    )
