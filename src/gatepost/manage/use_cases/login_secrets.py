"""The secrets by which the gateway logs in elsewhere: set, removed, and whether there is one. None shows them.

That of a connector is for its smart hosts, that of an accepted domain for its directory: for Microsoft Graph the client
secret, and the organization's own; that of an LDAP directory is of the gateway's owner alone, as is the directory.

Used by `gatepost connector secret` and `domain password`, over REST, and by the pages of connectors and domains.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.declaration import Visibility, use_cases
from gatepost.manage.use_cases.name_lookup import DOMAIN, OUTBOUND, choose_part
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind, wrong_field
from gatepost.manage.use_cases.sealed_store import destroy_secret, seal_secret, secret_state
from gatepost.pki.certificates.connector_secrets import connector_place
from gatepost.pki.certificates.directory_secrets import asks_graph, directory_place, logs_in

if TYPE_CHECKING:
    from gatepost.manage.use_cases.context import Context
    from gatepost.pki.certificates.connector_secrets import SecretPlace
    from gatepost.policy.connectors.accepted_domain import AcceptedDomain


_connectors = use_cases(visibility=Visibility.ORGANIZATION, tag="connectors")
_domains = use_cases(visibility=Visibility.ORGANIZATION, tag="accepted domains")
_SECRETS: Final = "/organizations/{organization}/connector_secrets/{connector:path}"
_PASSWORDS: Final = "/organizations/{organization}/directory_passwords/{domain:path}"


type _ConnectorOwner = Annotated[str, Meta(description="Whose connector it is.")]
type _Connector = Annotated[str, Meta(description="An outbound connector with authentication.")]


class ShowConnectorSecret(msgspec.Struct, kw_only=True):
    """Whether a connector has a secret."""

    organization: _ConnectorOwner
    connector: _Connector


class SetConnectorSecret(ShowConnectorSecret, kw_only=True):
    """secret: the password, or the client secret of token_url; at most 1024 octets."""

    secret: Annotated[str, Meta(max_length=4096)]


class RemoveConnectorSecret(ShowConnectorSecret, kw_only=True):
    """The secret of a connector."""


class ConnectorSecret(msgspec.Struct):
    """secret: "sealed", "file", "missing", or "stale": entered for other smart hosts, so that it is not used."""

    connector: str
    secret: str


@_connectors(f"GET {_SECRETS}", scope=Scope.READ, may_404=True)
def show_connector_secret(context: Context, request: ShowConnectorSecret) -> ConnectorSecret:
    """Whether a connector has the secret by which it logs in. The secret itself is never shown."""
    name, place = _connector(context, request)
    return ConnectorSecret(name, secret_state(context.gateway, place))


@_connectors(f"PUT {_SECRETS}", scope=Scope.CONNECTORS, action="connector-secret", may_404=True)
def set_connector_secret(context: Context, request: SetConnectorSecret) -> ConnectorSecret:
    """Seal the secret by which a connector logs in to its smart hosts.

    It counts for the next log-in, for the smart hosts, tls_domain, trust_anchors and token_url that the connector has
    now: after a change of these it has to be entered again.
    """
    name, place = _connector(context, request)
    return ConnectorSecret(name, seal_secret(context, place, "secret", request.secret))


@_connectors(f"DELETE {_SECRETS}", scope=Scope.CONNECTORS, action="connector-secret", may_404=True)
def remove_connector_secret(context: Context, request: RemoveConnectorSecret) -> ConnectorSecret:
    """Destroy the secret of a connector: its mail waits until there is another."""
    context.audit.describe(removed=True)
    name, place = _connector(context, request)
    return ConnectorSecret(name, destroy_secret(context, place))


def _connector(context: Context, request: ShowConnectorSecret) -> tuple[str, SecretPlace]:
    """The connector's name, and where its secret is.

    Raises Refusal: MISSING if there is none, INPUT if it does not log in.
    """
    part = choose_part(context.seen(), OUTBOUND, request.connector, request.organization)
    if part.record.authentication is None:
        said = "does not log in; first write its authentication.username"
        raise wrong_field("connector", said, f"{part.label} {said}")
    return part.name, connector_place(part.organization.name, part.record)


type _DomainOwner = Annotated[str, Meta(description="Whose domain it is.")]
type _Domain = Annotated[
    str, Meta(description="An accepted domain whose recipient_directory has a bind_dn, or with recipient_graph.")
]


class ShowDirectoryPassword(msgspec.Struct, kw_only=True):
    """Whether there is a password for a domain's directory."""

    organization: _DomainOwner
    domain: _Domain


class SetDirectoryPassword(ShowDirectoryPassword, kw_only=True):
    """password: of bind_dn, or the client secret of recipient_graph; at most 1024 octets."""

    password: Annotated[str, Meta(max_length=4096)]


class RemoveDirectoryPassword(ShowDirectoryPassword, kw_only=True):
    """The password of a domain's directory."""


class DirectoryPassword(msgspec.Struct):
    """password: "sealed", "file", "missing", or "stale": entered for other servers, so that it is not used."""

    domain: str
    password: str


@_domains(f"GET {_PASSWORDS}", scope=Scope.READ, may_404=True)
def show_directory_password(context: Context, request: ShowDirectoryPassword) -> DirectoryPassword:
    """Whether there is a password for the directory of a domain. The password itself is never shown."""
    name, place = _domain(context, request)
    return DirectoryPassword(name, secret_state(context.gateway, place))


@_domains(f"PUT {_PASSWORDS}", scope=Scope.CONNECTORS, action="directory-password", may_404=True)
def set_directory_password(context: Context, request: SetDirectoryPassword) -> DirectoryPassword:
    """Seal the password by which the gateway logs in to the directory of a domain, or its client secret for Graph.

    It counts for the next log-in, and only for the servers, bind_dn and trust_anchors that recipient_directory has now,
    or for the tenant_id, client_id, url and login_url of recipient_graph: after a change of these, enter it again.
    """
    name, place = _domain(context, request)
    return DirectoryPassword(name, seal_secret(context, place, "password", request.password))


@_domains(f"DELETE {_PASSWORDS}", scope=Scope.CONNECTORS, action="directory-password", may_404=True)
def remove_directory_password(context: Context, request: RemoveDirectoryPassword) -> DirectoryPassword:
    """Destroy the password: until there is another, the directory cannot be asked over new connections."""
    context.audit.describe(removed=True)
    name, place = _domain(context, request)
    return DirectoryPassword(name, destroy_secret(context, place))


def _domain(context: Context, request: ShowDirectoryPassword) -> tuple[str, SecretPlace]:
    """The domain's name, and where its password is.

    Raises Refusal: MISSING if there is none, INPUT if it needs no password, FORBIDDEN for tenants.
    """
    part = choose_part(context.seen(), DOMAIN, request.domain, request.organization)
    context.audit.describe(organization=part.organization.name, subject=part.name)
    if not may_enter(context.principal, part.record):
        said = "only an administrator of the whole gateway enters the password of a directory that the owner named"
        raise Refusal(RefusalKind.FORBIDDEN, f"{part.label}: {said}")
    if not logs_in(part.record):
        said = "logs in to no directory; first write recipient_directory.bind_dn, or recipient_graph"
        raise wrong_field("domain", said, f"{part.label} {said}")
    return part.name, directory_place(part.organization.name, part.record)


def may_enter(principal: Principal, domain: AcceptedDomain) -> bool:
    """Whether a password is theirs to enter: a tenant's is the client secret for one of Microsoft's own clouds."""
    graph = domain.recipient_graph
    return principal.is_of_gateway or (asks_graph(domain) and graph is not None and graph.is_microsofts)
