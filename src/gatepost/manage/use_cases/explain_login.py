"""Say of an explained message how the gateway will log in to the smart hosts, and what keeps it from that.

Used by `manage.use_cases.explain`. No secret is opened, and nobody is called: a validation of the connector tells
whether the smart host takes the log-in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.pki.certificates.connector_secrets import ConnectorSecrets, SecretState
from gatepost.policy.connectors.values import AuthenticationMechanism, Mode, TlsSettings
from gatepost.policy.decisions.routes import SmartHosts
from gatepost.texts import last_argument

if TYPE_CHECKING:
    from gatepost.manage.use_cases.gateway import Gateway
    from gatepost.policy.connectors.authentication import Authentication
    from gatepost.policy.connectors.records import OutboundConnector
    from gatepost.policy.decisions.routes import Route


_MECHANISMS: Final = {
    AuthenticationMechanism.SCRAM_SHA_256: "SCRAM-SHA-256-PLUS or SCRAM-SHA-256",
    AuthenticationMechanism.PLAIN: "PLAIN",
    AuthenticationMechanism.LOGIN: "LOGIN",
    AuthenticationMechanism.OAUTHBEARER: "OAUTHBEARER",
    AuthenticationMechanism.XOAUTH2: "XOAUTH2",
}
_STRONGEST: Final = "the strongest that the smart host offers of {}"
_STATES: Final = {
    SecretState.MISSING: "no secret is stored for the log-in; enter it: gatepost connector secret {}",
    SecretState.STALE: (
        "the secret was entered for another destination, and is not used; enter it again: gatepost connector secret {}"
    ),
}


class ExplainLogin(msgspec.Struct, frozen=True):
    """Log-in to the smart hosts. method: how, in a sentence. missing: why the mail waits, empty if nothing is known."""

    username: str
    method: str
    missing: str


def login_of(gateway: Gateway, route: Route | None) -> ExplainLogin | None:
    """The log-in of a route; None if its connector has none."""
    if not isinstance(route, SmartHosts) or route.connector.authentication is None:
        return None
    connector = route.connector
    authentication = route.connector.authentication
    missing = _unproved(connector) or _without_secret(gateway, route.connector_owner, connector)
    return ExplainLogin(authentication.username, _method(authentication), missing)


def _method(authentication: Authentication) -> str:
    by_token = bool(authentication.token_url)
    offered = "OAUTHBEARER, XOAUTH2" if by_token else "SCRAM-SHA-256-PLUS, SCRAM-SHA-256, PLAIN, LOGIN"
    mechanism = _MECHANISMS.get(authentication.mechanism, _STRONGEST.format(offered))
    return f"with {'an access token' if by_token else 'a password'}, by {mechanism}"


def _unproved(connector: OutboundConnector) -> str:
    """Saving such a connector is refused; it can have been stored otherwise."""
    if connector.tls_settings is TlsSettings.DOMAIN_VALIDATION and connector.mode is Mode.ENFORCE:
        return ""
    return (
        "the connector does not require that the smart host proves its name, so the gateway sends no secret; write "
        'tls_settings = "domain-validation" and mode = "enforce"'
    )


def _without_secret(gateway: Gateway, organization: str, connector: OutboundConnector) -> str:
    with gateway.config() as store:
        state = ConnectorSecrets(store.content, None).state(organization, connector)
    if state is SecretState.SEALED and not gateway.settings.store.master_key:
        return "the secret is encrypted, and store.master_key is not set"
    return _STATES[state].format(last_argument(connector.name)) if state in _STATES else ""
