"""The password of the gateway at the directory of an accepted domain: set, removed, and whether there is one.

Used by `gatepost domain password`, over REST, and by the page of a domain. For Microsoft Graph it is the client secret,
and the organization's own; that of an LDAP directory is of the gateway's owner alone, as is the directory. None shows
it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.declaration import Visibility, use_cases
from gatepost.manage.use_cases.name_lookup import DOMAIN, Part, choose_part
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind, wrong_field
from gatepost.manage.use_cases.sealed_store import destroy_secret, seal_secret, secret_state
from gatepost.pki.certificates.directory_secrets import DirectorySecrets, asks_graph, content_name, logs_in

if TYPE_CHECKING:
    from gatepost.manage.use_cases.context import Context
    from gatepost.policy.connectors.accepted_domain import AcceptedDomain


use_case = use_cases(visibility=Visibility.ORGANIZATION, tag="accepted domains")
_PATH: Final = "/organizations/{organization}/directory_passwords/{domain:path}"

type _Owner = Annotated[str, Meta(description="Whose domain it is.")]
type _Domain = Annotated[
    str, Meta(description="An accepted domain whose recipient_directory has a bind_dn, or with recipient_graph.")
]


class ShowDirectoryPassword(msgspec.Struct, kw_only=True):
    """Whether there is a password for a domain's directory."""

    organization: _Owner
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


@use_case(f"GET {_PATH}", scope=Scope.READ, may_404=True)
def show_directory_password(context: Context, request: ShowDirectoryPassword) -> DirectoryPassword:
    """Whether there is a password for the directory of a domain. The password itself is never shown."""
    part = _chosen(context, request)
    return DirectoryPassword(part.name, secret_state(context.gateway, DirectorySecrets, part))


@use_case(f"PUT {_PATH}", scope=Scope.CONNECTORS, action="directory-password", may_404=True)
def set_directory_password(context: Context, request: SetDirectoryPassword) -> DirectoryPassword:
    """Seal the password by which the gateway logs in to the directory of a domain, or its client secret for Graph.

    It counts for the next log-in, and only for the servers, bind_dn and trust_anchors that recipient_directory has now,
    or for the tenant_id, client_id, url and login_url of recipient_graph: after a change of these, enter it again.
    """
    part = _chosen(context, request)
    return DirectoryPassword(part.name, seal_secret(context, DirectorySecrets, part, "password", request.password))


@use_case(f"DELETE {_PATH}", scope=Scope.CONNECTORS, action="directory-password", may_404=True)
def remove_directory_password(context: Context, request: RemoveDirectoryPassword) -> DirectoryPassword:
    """Destroy the password: until there is another, the directory cannot be asked over new connections."""
    context.audit.describe(removed=True)
    part = _chosen(context, request)
    place = content_name(part.organization.name, part.record)
    return DirectoryPassword(part.name, destroy_secret(context, DirectorySecrets, part, place))


def _chosen(context: Context, request: ShowDirectoryPassword) -> Part:
    """The domain. Raises Refusal: MISSING if there is none, INPUT if it needs no password, FORBIDDEN for tenants."""
    part = choose_part(context.seen(), DOMAIN, request.domain, request.organization)
    context.audit.describe(organization=part.organization.name, subject=part.name)
    if not may_enter(context.principal, part.record):
        said = "only an administrator of the whole gateway enters the password of a directory that the owner named"
        raise Refusal(RefusalKind.FORBIDDEN, f"{part.label}: {said}")
    if not logs_in(part.record):
        said = "logs in to no directory; first write recipient_directory.bind_dn, or recipient_graph"
        raise wrong_field("domain", said, f"{part.label} {said}")
    return part


def may_enter(principal: Principal, domain: AcceptedDomain) -> bool:
    """Whether a password is theirs to enter: a tenant's is the client secret for one of Microsoft's own clouds."""
    graph = domain.recipient_graph
    return principal.is_of_gateway or (asks_graph(domain) and graph is not None and graph.is_microsofts)
