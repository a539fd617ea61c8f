"""The secret by which a connector logs in to its smart hosts: set, removed, and whether there is one. None shows it.

Used by `gatepost connector secret`, over REST, and by the page of a connector.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta

from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases.declaration import Visibility, use_cases
from gatepost.manage.use_cases.name_lookup import OUTBOUND, Part, choose_part
from gatepost.manage.use_cases.refusal import wrong_field
from gatepost.manage.use_cases.sealed_store import destroy_secret, seal_secret, secret_state
from gatepost.pki.certificates.connector_secrets import ConnectorSecrets, content_name

if TYPE_CHECKING:
    from gatepost.manage.use_cases.context import Context


use_case = use_cases(visibility=Visibility.ORGANIZATION, tag="connectors")
_PATH: Final = "/organizations/{organization}/connector_secrets/{connector:path}"

type _Owner = Annotated[str, Meta(description="Whose connector it is.")]
type _Connector = Annotated[str, Meta(description="An outbound connector with authentication.")]


class ShowConnectorSecret(msgspec.Struct, kw_only=True):
    """Whether a connector has a secret."""

    organization: _Owner
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


@use_case(f"GET {_PATH}", scope=Scope.READ, may_404=True)
def show_connector_secret(context: Context, request: ShowConnectorSecret) -> ConnectorSecret:
    """Whether a connector has the secret by which it logs in. The secret itself is never shown."""
    part = _chosen(context, request)
    return ConnectorSecret(part.name, secret_state(context.gateway, ConnectorSecrets, part))


@use_case(f"PUT {_PATH}", scope=Scope.CONNECTORS, action="connector-secret", may_404=True)
def set_connector_secret(context: Context, request: SetConnectorSecret) -> ConnectorSecret:
    """Seal the secret by which a connector logs in to its smart hosts.

    It counts for the next log-in, for the smart hosts, tls_domain, trust_anchors and token_url that the connector has
    now: after a change of these it has to be entered again.
    """
    part = _chosen(context, request)
    return ConnectorSecret(part.name, seal_secret(context, ConnectorSecrets, part, "secret", request.secret))


@use_case(f"DELETE {_PATH}", scope=Scope.CONNECTORS, action="connector-secret", may_404=True)
def remove_connector_secret(context: Context, request: RemoveConnectorSecret) -> ConnectorSecret:
    """Destroy the secret of a connector: its mail waits until there is another."""
    context.audit.describe(removed=True)
    part = _chosen(context, request)
    place = content_name(part.organization.name, part.name)
    return ConnectorSecret(part.name, destroy_secret(context, ConnectorSecrets, part, place))


def _chosen(context: Context, request: ShowConnectorSecret) -> Part:
    """The connector. Raises Refusal: MISSING if there is none, INPUT if it does not log in."""
    part = choose_part(context.seen(), OUTBOUND, request.connector, request.organization)
    if part.record.authentication is None:
        said = "does not log in; first write its authentication.username"
        raise wrong_field("connector", said, f"{part.label} {said}")
    return part
