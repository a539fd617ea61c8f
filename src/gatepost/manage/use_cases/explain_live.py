"""The next hops of an explained message: how the gateway will log in there, and what they answer now.

Used by `manage.use_cases.explain`. `probe` reaches them as a message would; `login_of` calls nobody and opens no
secret.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.analysis.checks.probe import Prober, prober
from gatepost.analysis.checks.tasks import HostReport
from gatepost.mail.outbound.contexts import OurCertificate, our_certificate
from gatepost.manage.use_cases.listener_checks import resolver_of
from gatepost.pki.certificates.connector_secrets import SealedSecrets, SecretState, connector_place
from gatepost.policy.connectors.values import AuthenticationMechanism, Mode, TlsSettings
from gatepost.policy.decisions.published import joined_modes
from gatepost.policy.decisions.routes import LmtpRoute, MxRoute, NextHop, Route, SmartHosts
from gatepost.texts import last_argument

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.mail.outbound.published import Publication
    from gatepost.manage.use_cases.context import Gateway
    from gatepost.policy.connectors.authentication import Authentication
    from gatepost.policy.connectors.records import OutboundConnector
    from gatepost.policy.decisions.requiretls import Asks


_HOSTS = 10


async def probe(gateway: Gateway, route: Route | None, asks: Asks, *, bounded: bool = False) -> list[HostReport]:
    """A report for each address of each next hop; [] where there is none to reach.

    asks: what the message asks. bounded: MX hosts, which whoever owns a domain may name, are reached only at addresses
    that tenants may reach; smart hosts are so bound if a tenant wrote them.
    """
    settings, organizations = gateway.settings, gateway.directory().organizations
    async with resolver_of(settings) as resolver:
        probing = prober(settings, resolver, organizations, bounded=bounded and isinstance(route, MxRoute))
        try:
            return await _reports(probing, route, asks)
        finally:
            await probing.close()


async def _reports(probing: Prober, route: Route | None, asks: Asks) -> list[HostReport]:
    match route:
        case SmartHosts():
            publication = await probing.publication(joined_modes(route.connector, route.sender, asks))
            certificate = our_certificate(route.connector, route.connector_owner)
            return await _reach(probing, route.hops, certificate, publication)
        case MxRoute():
            return await _reach_mail_hosts(probing, route, asks)
        case LmtpRoute():
            return await probing.probe(route.hop, lmtp=True)
        case _:  # nowhere, into a mailbox, or to a node of the site, to which only nodes may speak
            return []


async def _reach(
    probing: Prober,
    hops: Sequence[NextHop],
    certificate: OurCertificate | None,
    publication: Publication,
    domain: str = "",
) -> list[HostReport]:
    groups = await asyncio.gather(
        *(
            probing.probe(hop, certificate=certificate, listed_by=domain, publication=publication)
            for hop in hops[:_HOSTS]
        )
    )
    return [report for group in groups for report in group]


async def _reach_mail_hosts(probing: Prober, route: MxRoute, asks: Asks) -> list[HostReport]:
    mail_hosts = await probing.mail_hosts(route.domain)
    if isinstance(mail_hosts, HostReport):
        return [mail_hosts]
    hops = [NextHop(host.name, probing.port, route.requirement, bounded=route.bounded) for host in mail_hosts.hosts]
    certificate = our_certificate(route.connector, route.connector_owner)
    publication = await probing.publication(joined_modes(route.connector, route.sender, asks), mail_hosts)
    return await _reach(probing, hops, certificate, publication, route.domain)


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
        state = SealedSecrets(store.content, None).state(connector_place(organization, connector))
    if state is SecretState.SEALED and not gateway.settings.store.master_key:
        return "the secret is encrypted, and store.master_key is not set"
    return _STATES[state].format(last_argument(connector.name)) if state in _STATES else ""
