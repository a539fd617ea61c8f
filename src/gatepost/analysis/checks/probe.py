"""Connect to a next hop step by step with the code that delivers to it, and report each step.

Called by `analysis.checks.validation`, drills and `explain --live`. The steps are `mail.outbound.hop.HopOpener`'s: what
passes here would pass for a message, and what is refused here would make one wait. No message leaves here.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import asdict

from gatepost.analysis.checks import advice
from gatepost.analysis.checks.findings import Seen, findings, so_far
from gatepost.analysis.checks.tasks import PROBE_TASKS, HostReport, Task, TaskStatus, detail_of, skipped, waiting
from gatepost.mail.outbound.connection import SmtpTimeouts
from gatepost.mail.outbound.contexts import ClientContexts, OurCertificate
from gatepost.mail.outbound.failure import HopFailed
from gatepost.mail.outbound.hop import Hop, HopOpener, OpenHop
from gatepost.mail.outbound.hop_options import NO_OPTIONS, HopOptions, SourceUnusable
from gatepost.mail.outbound.login import SmartHostLogins
from gatepost.mail.outbound.published import Lookups, PolicyUnknown, Publication
from gatepost.net.anchors import AnchorsError, TrustAnchors
from gatepost.net.lookups.access_tokens import AccessTokens
from gatepost.net.lookups.authority_origin import AuthorityOrigin
from gatepost.net.lookups.http import HttpClient, https_context
from gatepost.net.lookups.mtasts import PolicyHosts, StsPolicies
from gatepost.net.lookups.mtasts_cache import policy_folder
from gatepost.net.lookups.mx import HostAddresses, MailHosts, MailHostsKind, MailRouter, NotAllowed, allowed
from gatepost.net.lookups.question import LookupFailed
from gatepost.net.lookups.revocation import RevocationChecker
from gatepost.net.lookups.tlsa import TlsaFinder
from gatepost.net.own_addresses import OwnAddresses, reach_of_tenants
from gatepost.pki.certificates.clients import stored_client_identities
from gatepost.pki.certificates.connector_secrets import stored_secrets
from gatepost.policy.connectors.names import SmartHost, addresses_without_lookup, host_port
from gatepost.policy.decisions.published import NOTHING, Modes, Published, Terms
from gatepost.policy.decisions.requirement import MxLevel, Shortfall
from gatepost.protocols.dane.tlsa import TlsaStatus
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gatepost.net.lookups.dns import Resolver
    from gatepost.policy.connectors.addresses import AddressPolicy
    from gatepost.policy.connectors.records import Organization
    from gatepost.policy.decisions.routes import NextHop
    from gatepost.settings.model import Settings


type Look = Callable[[HostReport, Seen | None], None]
"""Told of an address whenever a step of its attempt begins, and in the end. The attempt is None before there is one."""

_AT_A_TIME = 8
_ADDRESSES = 10
_POLICY_SECONDS = 20.0  # for the policy of a domain: somebody is waiting
# A person waits for the answer: no step gets the patience that a queue has. Slow greeters (postscreen, tarpits) get by.
_PATIENCE = SmtpTimeouts(
    connect=15, greeting=60, hello=60, handshake=30, envelope=60, recipient=5, data=60, block=60, end=120
)

_NO_HOSTS = {
    MailHostsKind.NO_DOMAIN: ("the domain does not exist", "Check the spelling of {domain}."),
    MailHostsKind.NULL: (
        "the domain takes no mail at all (null MX, RFC 7505)",
        "The administrators of {domain} say so in the DNS. If they take mail after all, they must change their MX.",
    ),
    MailHostsKind.OURSELVES: (
        "its most preferred MX is this gateway itself",
        advice.LOOP,
    ),
}


class Prober:
    """router, opener, lookups: as the deliverer has them. revocation: what `close` closes. port: where MX hosts listen.

    clock: seconds since 1970. bounded, which may be set: as `NextHop` has it, for all hosts. is_ours, too: as
    `mail.outbound.delivery_services.DeliveryServices` has it, asked about MX hosts.
    """

    def __init__(
        self,
        router: MailRouter,
        opener: HopOpener,
        *,
        revocation: RevocationChecker | None = None,
        lookups: Lookups | None = None,
        port: int = 25,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.bounded = False
        self.is_ours: Callable[[str, int], bool] = lambda _address, _port: False
        self.port = port
        self._router = router
        self._opener = opener
        self._revocation = revocation
        self._lookups = lookups
        self._clock = clock
        self._slots = asyncio.Semaphore(_AT_A_TIME)

    async def close(self) -> None:
        """Stop whatever is still being fetched."""
        if self._revocation is not None:
            await self._revocation.close()
        if self._lookups is not None:
            await self._lookups.sts.close()

    async def mail_hosts(self, domain: str) -> MailHosts | HostReport:
        """The MX hosts of a domain; a report that says why there are none."""
        begun = time.monotonic()
        try:
            mail_hosts = await self._router.mail_hosts(domain)
        except LookupFailed as failed:
            return _unresolved(domain, _lookup_failed(domain, failed, time.monotonic() - begun))
        if mail_hosts.hosts:
            return mail_hosts
        detail, what = _NO_HOSTS[mail_hosts.kind]
        seconds = time.monotonic() - begun
        task = Task("Resolve", TaskStatus.FAILED, f"{domain}: {detail}", what.format(domain=domain), seconds)
        return _unresolved(domain, task)

    async def probe(  # noqa: PLR0913 - what a delivery to the host would have, and who looks on
        self,
        next_hop: NextHop,
        *,
        certificate: OurCertificate | None = None,
        listed_by: str = "",
        keep: Callable[[HostReport, OpenHop], None] | None = None,
        look: Look | None = None,
        publication: Publication | None = None,
        options: HopOptions = NO_OPTIONS,
        lmtp: bool = False,
    ) -> list[HostReport]:
        """One report for each address, at most ten; one without an address if the host cannot be resolved.

        certificate: ours, to present if asked. listed_by: the domain whose MX named the host. keep: takes over the
        connections that met the requirement, in the order in which they did; without it they end.
        options: of the connector. lmtp: it is an LMTP server. publication: of the way, to be obeyed as a delivery does.
        Without it DANE and MTA-STS are left out of account, and no message may follow.
        """
        if look is not None:
            look(resolving(next_hop.host), None)
        bounded = self.bounded or next_hop.bounded
        task, addresses = await self._resolve(next_hop, listed_by, bounded=bounded, lmtp=lmtp)
        if addresses is None:
            return [_unresolved(next_hop.host, task, look)]
        usable, why = _usable(options, addresses)
        if why:
            return [_unresolved(next_hop.host, replace(task, status=TaskStatus.FAILED, detail=why, ours=True), look)]
        task, terms = await _terms(publication, next_hop, addresses, task)
        if terms is None:
            return [_unresolved(next_hop.host, task, look)]
        shortfall = terms.outcome
        if isinstance(shortfall, Shortfall):
            return [_unresolved(next_hop.host, _barred(task, shortfall), look)]
        hops = [
            Hop(
                next_hop.host,
                address,
                next_hop.port,
                shortfall,
                certificate=certificate,
                mx=terms.mx,
                lmtp=lmtp,
                published=terms.published,
                bounded=bounded,
                options=options,
            )
            for address in usable
        ]
        return list(await asyncio.gather(*(self._attempt(hop, task, listed_by, keep, look) for hop in hops)))

    async def publication(self, modes: Modes, mail_hosts: MailHosts | None = None) -> Publication:
        """Begin the lookups of published data for a route, host by host.

        mail_hosts: None for smart hosts. Where the policy stays unknown, `probe` says so of each host.
        """
        publication = Publication(self._lookups, modes, mail_hosts)
        with suppress(PolicyUnknown):
            await publication.begin()
        return publication

    async def _resolve(
        self, next_hop: NextHop, listed_by: str, *, bounded: bool, lmtp: bool
    ) -> tuple[Task, HostAddresses | None]:
        host, begun = next_hop.host, time.monotonic()
        try:
            addresses = _socket(host) if host.startswith("/") else await self._router.addresses(host)
            if bounded:
                addresses = allowed(addresses, self._opener.tenants)
        except NotAllowed as failed:
            what = advice.NOT_ALLOWED
            return Task("Resolve", TaskStatus.FAILED, failed.detail, what, time.monotonic() - begun), None
        except LookupFailed as failed:
            return _lookup_failed(host, failed, time.monotonic() - begun), None
        seconds = time.monotonic() - begun
        if not addresses.addresses:
            what = advice.resolve_advice(host, listed_by, lmtp=lmtp)
            return Task("Resolve", TaskStatus.FAILED, f"{host} has no address", what, seconds), None
        if listed_by and any(self.is_ours(address, next_hop.port) for address in addresses.addresses):
            detail = f"{host} is this gateway itself"
            return Task("Resolve", TaskStatus.FAILED, detail, advice.LOOP.format(domain=listed_by), seconds), None
        listed = f", an MX of {listed_by}" if listed_by else ""
        return Task("Resolve", TaskStatus.SUCCEEDED, _addresses(addresses) + listed, seconds=seconds), addresses

    async def _attempt(
        self,
        hop: Hop,
        resolve: Task,
        listed_by: str,
        keep: Callable[[HostReport, OpenHop], None] | None,
        look: Look | None,
    ) -> HostReport:
        seen = Seen(hop, time.monotonic, self._clock(), listed_by=listed_by)

        def show() -> None:
            if look is not None:
                look(HostReport(hop.host, hop.endpoint, so_far(seen, resolve)), seen)

        seen.on_step = show if look is not None else None
        async with self._slots:
            seen.now = self._clock()
            opened = await self._open(hop, seen)
            report = HostReport(
                hop.host,
                hop.endpoint,
                findings(seen, resolve),
                seen.facts,
                seen.concluded,
                tuple(seen.transcript),
            )
        if opened is not None:
            if keep is not None and report.usable:
                keep(report, opened)
            else:
                opened.connection.quit()
        if look is not None:
            look(report, seen)
        return report

    async def _open(self, hop: Hop, seen: Seen) -> OpenHop | None:
        try:
            opened = await self._opener.open(hop, watch=seen)
        except HopFailed as failed:
            seen.end()
            seen.failure = failed.failure
            seen.error = failed.__cause__
            seen.facts = failed.failure.facts
            seen.transcript = failed.failure.transcript
            return None
        seen.end()
        seen.facts, seen.verdict = opened.facts, opened.verdict
        seen.transcript = tuple(opened.connection.transcript)
        return opened


def prober(
    settings: Settings,
    resolver: Resolver,
    organizations: Iterable[Organization] = (),
    *,
    staple: bool = False,
    bounded: bool = False,
    tenants: AddressPolicy | None = None,
) -> Prober:
    """Made of the gateway's settings as its workers are; call it where the event loop runs, and close it in the end.

    Lists of revoked certificates are fetched anew, not taken from the gateway's cache: whether they can be had from
    here is a part of the question. organizations: whose connectors may name trust anchors. staple: every server is
    asked to staple an OCSP response. bounded: hosts are reached at addresses that tenants may reach only, whoever named
    them. tenants: which those are, if it is not what workers hold to.
    """
    steps = asdict(_PATIENCE).items()
    patience = SmtpTimeouts(**{step: min(getattr(settings.outbound, f"{step}_timeout"), most) for step, most in steps})
    router = MailRouter(resolver, random.Random(), own_names=[settings.server.hostname])  # noqa: S311 - shuffles equals
    identity = partial(stored_client_identities, settings)
    contexts = ClientContexts(settings.tls.trust_anchors, time.time, staple=staple, identity=identity)
    revocation = revocation_checker(settings, resolver, organizations)
    tenants = tenants or reach_of_tenants(settings)
    opener = HopOpener(settings.server.hostname, contexts, patience, revocation=revocation, tenants=tenants)
    opener.logins = SmartHostLogins(
        stored_secrets(settings), AccessTokens(resolver, settings.tls.trust_anchors, tenants=tenants)
    )
    made = Prober(router, opener, revocation=revocation, lookups=_lookups(settings, resolver))
    made.bounded = bounded
    bound = (host_port(str(listener.address), None, lowest=0) for listener in settings.listeners)
    listening = ((str(address), port) for host, port in bound for address in addresses_without_lookup(host))
    made.is_ours = OwnAddresses(listening, settings.server.own_addresses, time.monotonic)
    return made


def _lookups(settings: Settings, resolver: Resolver) -> Lookups:
    """As a worker has them. Policies are fetched anew: whether they can be had from here is a part of the question.

    If one cannot, the one that the gateway keeps counts, as it does for mail.
    """
    try:
        context = https_context(TrustAnchors.load(settings.tls.trust_anchors))
    except AnchorsError:  # no certificate passes by them, and the opener will say so
        context = https_context()
    kept = policy_folder(settings.server.data_dir)
    hosts = PolicyHosts(timeout=_POLICY_SECONDS, private=settings.outbound.private_policy_hosts)
    policies = StsPolicies(resolver, HttpClient(resolver, context), kept, hosts=hosts, fresh=True)

    async def unvalidated() -> str:
        await resolver.dnssec_fault()
        return resolver.unvalidated

    return Lookups(TlsaFinder(resolver), policies, time.time, resolver.dane_off, resolver.dnssec_fault, unvalidated)


def revocation_checker(
    settings: Settings, resolver: Resolver, organizations: Iterable[Organization] = ()
) -> RevocationChecker:
    """As a worker has one, but without its cache: close it in the end. organizations: as `prober` has them."""
    return RevocationChecker(
        HttpClient(resolver),
        None,
        timeout=settings.tls.revocation_timeout,
        tenants=reach_of_tenants(settings),
        origin=AuthorityOrigin(organizations, settings.tls.trust_anchors),
    )


def resolving(host: str) -> HostReport:
    """Of a host or a domain that is being looked up."""
    return HostReport(host, "", (Task(PROBE_TASKS[0], TaskStatus.RUNNING, ""), *waiting(PROBE_TASKS[1:])))


def _unresolved(host: str, task: Task, look: Look | None = None) -> HostReport:
    report = HostReport(host, "", (task, *skipped(PROBE_TASKS[1:], "Resolve failed")))
    if look is not None:
        look(report, None)
    return report


def _barred(task: Task, shortfall: Shortfall) -> Task:
    """The task of a host that must not be used, by what is published of it."""
    detail = detail_of(task.detail, f"{shortfall.message}: {shortfall.detail}")
    return replace(task, status=TaskStatus.FAILED, detail=detail, advice=advice.published_advice(shortfall))


async def _terms(
    publication: Publication | None, next_hop: NextHop, addresses: HostAddresses, task: Task
) -> tuple[Task, Terms | None]:
    """The task with what is published of a host, and its terms; None if this gateway had no time to learn them."""
    if publication is None:
        return task, Terms(next_hop.requirement, NOTHING, MxLevel.NONE)
    try:
        terms = await publication.terms(next_hop.requirement, next_hop.port, addresses)
    except PolicyUnknown as unknown:
        detail = detail_of(task.detail, f"the MTA-STS policy could not be fetched: {unknown.detail}")
        return replace(task, status=TaskStatus.FAILED, detail=detail, advice=advice.POLICY_UNKNOWN, ours=True), None
    return replace(task, detail=detail_of(task.detail, *_published(terms.published))), terms


def _usable(options: HopOptions, addresses: HostAddresses) -> tuple[tuple[str, ...], str]:
    """The addresses that the connector calls; without one, the reason."""
    try:
        usable = options.usable(addresses.addresses)
    except SourceUnusable as unusable:
        return (), str(unusable)
    return usable, "" if usable else f"{addresses.host} has no address of the family that the connector uses"


def _lookup_failed(host: str, failed: LookupFailed, seconds: float) -> Task:
    if failed.bogus:
        return Task("Resolve", TaskStatus.FAILED, failed.detail, advice.DNSSEC, seconds)
    if failed.temporary:
        return Task("Resolve", TaskStatus.FAILED, failed.detail, advice.NO_DNS, seconds, ours=True)
    what = f"Check the spelling of {host}: no nameserver can be asked for it."
    return Task("Resolve", TaskStatus.FAILED, failed.detail, what, seconds)


def _published(published: Published) -> Iterator[str]:
    """Describe in words the data that a domain publishes about a host."""
    if published.dane is not None and published.dane.status not in {TlsaStatus.NONE, TlsaStatus.INSECURE}:
        yield f"DANE {published.dane.status}: {published.dane.detail}"
    elif published.dane is not None and published.dane.unvalidated:
        yield f"DANE is not known: {published.dane.detail}"
    if published.sts is not None and published.sts.policy is not None:
        yield f"MTA-STS policy of {published.sts.domain}: {published.sts.policy.mode}"
        if published.testing is not None:
            short = isinstance(published.testing, Shortfall)
            yield "which does not allow this host" if short else "which only reports: it demands nothing"
    elif published.sts is not None and published.sts.failure is not None:
        sts = published.sts
        yield f"MTA-STS policy of {sts.domain} cannot be fetched ({sts.failure}): {sts.detail}"


def _socket(path: str) -> HostAddresses:
    return HostAddresses(path, path, (path,), authentic=True)


def _addresses(addresses: HostAddresses) -> str:
    if addresses.host.startswith("/"):
        return f"{addresses.host} is a socket of this machine: nothing to look up"
    if SmartHost(addresses.host).is_address:
        return f"{addresses.host} is an address: nothing to look up"
    alias = f" (an alias of {addresses.canonical})" if addresses.canonical != addresses.host else ""
    proven = ", proven by DNSSEC" if addresses.authentic else ""
    return f"{addresses.host}{alias} has {', '.join(addresses.addresses[:_ADDRESSES])}{proven}"
