"""The part of an explanation that asks the network: the next hops, reached as a message would reach them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gatepost.analysis.checks.probe import prober
from gatepost.analysis.checks.tasks import HostReport
from gatepost.mail.outbound.contexts import our_certificate
from gatepost.manage.use_cases.admin_resolver import resolver_of
from gatepost.policy.decisions.published import joined_modes
from gatepost.policy.decisions.routes import MxRoute, NextHop, SmartHosts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.analysis.checks.probe import Prober
    from gatepost.mail.outbound.contexts import OurCertificate
    from gatepost.mail.outbound.published import Publication
    from gatepost.manage.use_cases.gateway import Gateway
    from gatepost.policy.decisions.requiretls import Asks
    from gatepost.policy.decisions.routes import Route


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
        case _:  # nowhere, into a mailbox, to a node of the site, or over LMTP, which the prober does not speak
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
