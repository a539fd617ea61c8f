"""`gatepost check`: how well mail to a domain, or to one host, is protected; needs no server and no connector.

Called by `manage.cli.check`. It gathers, all hosts at once and each within its time: the DNS with what DNSSEC proves,
TLSA records, the MTA-STS policy, the TLS-RPT record, and what each address shows up to the last EHLO, by the code that
delivers. What that means is said in `analysis.checks.partner_domain` and `analysis.checks.partner_stages`. No message
leaves here.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gatepost.analysis.checks.partner_domain import DomainFacts, dnssec_finding, domain_findings
from gatepost.analysis.checks.partner_report import PartnerCheck, Row
from gatepost.analysis.checks.partner_stages import (
    HostFacts,
    Reached,
    address_row,
    needs_no_dns,
    row_so_far,
    waiting_row,
)
from gatepost.analysis.checks.probe import prober, revocation_checker
from gatepost.net.anchors import TrustAnchors
from gatepost.net.dane import judge
from gatepost.net.lookups.configured import configured_resolver
from gatepost.net.lookups.http import HttpClient, https_context
from gatepost.net.lookups.mtasts import PolicyHosts, StsPolicies
from gatepost.net.lookups.mtasts_cache import policy_folder
from gatepost.net.lookups.mx import HostAddresses, MailHosts, MailRouter, NotAllowed, Queries, Random, allowed
from gatepost.net.lookups.question import LookupFailed
from gatepost.net.lookups.tlsa import TlsaFinder
from gatepost.net.lookups.tlsrpt import report_record
from gatepost.net.own_addresses import reach_of_tenants
from gatepost.policy.decisions.requirement import Opportunistic, Source
from gatepost.policy.decisions.routes import NextHop
from gatepost.protocols.dane.tlsa import TlsaStatus
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.analysis.checks.findings import Seen
    from gatepost.analysis.checks.tasks import HostReport
    from gatepost.mail.outbound.hop import OpenHop
    from gatepost.policy.connectors.addresses import AddressPolicy
    from gatepost.protocols.dns.text_record import RecordError
    from gatepost.protocols.tlsrpt.record import TlsRptRecord
    from gatepost.settings.model import Settings


MAX_HOSTS = 10
_SMTP = 25

type _Found = tuple[HostFacts, Reached]


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits of a check.

    whole: seconds for all of it. port: of MX hosts. policy_hosts: see there. bounded: hosts are reached only at
    addresses that tenants may reach. own: at those of this machine, too, as who checks the own domain wants to see it.
    """

    whole: float = 90.0
    port: int = _SMTP
    policy_hosts: PolicyHosts = field(default_factory=lambda: PolicyHosts(timeout=15.0))
    bounded: bool = False
    own: bool = False


class Checker:
    """Checks by the settings of a gateway; to be made where the event loop runs, and closed in the end.

    watch: told what is known so far, whenever a stage begins or has ended.
    Raises AnchorsError if the trust anchors cannot be read, ValidatorError if DNSSEC cannot be validated as the
    settings ask, ValueError if a nameserver cannot be parsed.
    """

    def __init__(
        self, settings: Settings, bounds: Bounds = Bounds(), watch: Callable[[PartnerCheck], None] | None = None
    ) -> None:
        self._bounds = bounds
        self._watch = watch
        self._resolver = configured_resolver(settings.dns)
        client = HttpClient(self._resolver, https_context(TrustAnchors.load(settings.tls.trust_anchors)))
        # Our own name in an MX list cuts nothing off here: who checks the own domain wants to see all of it.
        shuffles = random.Random()  # noqa: S311 - equals
        tenants = settings.network.policy() if bounds.own else reach_of_tenants(settings)
        if bounds.bounded:
            self._router: MailRouter = BoundedRouter(self._resolver, shuffles, tenants)
        else:
            self._router = MailRouter(self._resolver, shuffles)
        self._tlsa = TlsaFinder(self._resolver)
        kept = policy_folder(settings.server.data_dir)  # the gateway applies it, whatever is published now
        self._policies = StsPolicies(self._resolver, client, kept, hosts=bounds.policy_hosts, fresh=True)
        self._prober = prober(settings, self._resolver, staple=True, bounded=bounds.bounded, tenants=tenants)
        self._revocation = revocation_checker(settings, self._resolver)

    async def close(self) -> None:
        """Stop whatever is still being looked up."""
        await self._prober.close()
        await self._revocation.close()
        await self._policies.close()
        await self._resolver.close()

    async def partner(self, domain: str) -> PartnerCheck:
        """All of a domain (A-labels)."""
        at, begun = time.time(), time.monotonic()
        hosts = await self._mail_hosts(domain)
        if isinstance(hosts, DomainFacts) or not hosts.hosts:
            facts = hosts if isinstance(hosts, DomainFacts) else DomainFacts(domain, hosts)
            return PartnerCheck(domain, "partner", at, time.monotonic() - begun, domain_findings(facts), ())
        no_dnssec = await self._no_dnssec(domain, authentic=hosts.authentic)
        in_order = sorted(hosts.hosts, key=lambda host: (host.preference, host.name))[:MAX_HOSTS]
        host_facts = [
            HostFacts(mail_host.name, mail_host.preference, hosts.authentic, no_dnssec=no_dnssec)
            for mail_host in in_order
        ]
        facts = DomainFacts(domain, hosts, no_dnssec=no_dnssec)
        self._begin(PartnerCheck(domain, "partner", at, 0.0, domain_findings(facts), ()), host_facts)
        sts, reports, reached_hosts = await asyncio.gather(
            self._policies.find(domain, now=at),
            self._reports(domain),
            self._check_hosts(host_facts, self._bounds.port, (hosts.domain, hosts.canonical)),
        )
        left_out = max(0, len(hosts.hosts) - MAX_HOSTS)
        facts = DomainFacts(domain, hosts, left_out=left_out, no_dnssec=no_dnssec, sts=sts, reports=reports)
        rows = tuple(address_row(replace(host, sts=sts), reached) for host, reached in reached_hosts)
        return PartnerCheck(domain, "partner", at, time.monotonic() - begun, domain_findings(facts), rows)

    async def host(self, name: str, port: int = _SMTP) -> PartnerCheck:
        """One host (A-labels, or an address) as if an administrator had named it: a smart host."""
        at, begun = time.time(), time.monotonic()
        no_dnssec = "" if needs_no_dns(name) else await self._host_dnssec(name)
        findings = (dnssec_finding(no_dnssec),) if no_dnssec else ()
        target = f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
        host_facts = [HostFacts(name, no_dnssec=no_dnssec)]
        self._begin(PartnerCheck(target, "host", at, 0.0, findings, ()), host_facts)
        reached_hosts = await self._check_hosts(host_facts, port, ())
        rows = tuple(address_row(host, reached) for host, reached in reached_hosts)
        return PartnerCheck(target, "host", at, time.monotonic() - begun, findings, rows)

    # What is known so far.

    def _begin(self, check: PartnerCheck, hosts: list[HostFacts]) -> None:
        self._so_far = check
        self._rows: dict[str, tuple[Row, ...]] = {host.name: (waiting_row(host),) for host in hosts}
        self._tell()

    def _came(self, host: str, *rows: Row) -> None:
        self._rows[host] = rows
        self._tell()

    def _tell(self) -> None:
        if self._watch is not None:
            check = self._so_far
            rows = tuple(row for rows in self._rows.values() for row in rows)
            self._watch(replace(check, rows=rows, seconds=time.time() - check.at))

    # The DNS.

    async def _mail_hosts(self, domain: str) -> MailHosts | DomainFacts:
        try:
            return await self._router.mail_hosts(domain)
        except LookupFailed as failed:
            return DomainFacts(domain, trouble=failed.detail, bogus=failed.bogus, temporary=failed.temporary)

    async def _host_dnssec(self, name: str) -> str:
        try:
            addresses = await self._router.addresses(name)
        except LookupFailed:  # the host's own row says so
            return ""
        return await self._no_dnssec(name, authentic=addresses.authentic)

    async def _no_dnssec(self, name: str, *, authentic: bool) -> str:
        """Explain why it is not known what DNSSEC proves, "" if it is: some answer must be called authentic.

        Of an unsigned zone that is the one that its parent has no DS record for it, else one about the root.
        """
        if authentic or self._resolver.dane_off:
            return self._resolver.dane_off
        with suppress(LookupFailed):
            if (await self._resolver.query(name, "DS")).authentic:
                return ""
        try:
            return await self._resolver.validation_missing()
        except LookupFailed as failed:
            why = failed.detail.replace("; ", ", ")
            return f"no answer was proven by DNSSEC, and the root could not be asked for: {why}"

    async def _reports(self, domain: str) -> TlsRptRecord | RecordError | str | None:
        try:
            return await report_record(self._resolver, domain)
        except LookupFailed as failed:
            return failed.detail

    # The hosts.

    async def _check_hosts(self, hosts: list[HostFacts], port: int, next_hops: tuple[str, ...]) -> list[_Found]:
        by_host = await asyncio.gather(*(self._check_and_show(host, port, next_hops) for host in hosts))
        return [pair for several in by_host for pair in several]

    async def _check_and_show(self, host: HostFacts, port: int, next_hops: tuple[str, ...]) -> list[_Found]:
        result = await self._check_host(host, port, next_hops)
        self._came(host.name, *(address_row(host, reached) for host, reached in result))
        return result

    async def _check_host(self, host: HostFacts, port: int, next_hops: tuple[str, ...]) -> list[_Found]:
        """Check one host: a result for each address, or one without if there is none."""
        late = f"the check of {host.name} did not end within {self._bounds.whole:g} s"
        end = asyncio.get_running_loop().time() + self._bounds.whole
        try:
            async with asyncio.timeout_at(end):
                host = await self._looked_up(host, port, next_hops)
                self._came(host.name, waiting_row(host))
        except TimeoutError:
            host = replace(host, trouble=late, temporary=True)
        if host.addresses is None or not host.addresses.addresses:
            return [(host, Reached(time.time()))]
        attempts: list[Seen] = []
        offered: dict[str, frozenset[str]] = {}
        with suppress(TimeoutError):
            async with asyncio.timeout_at(end):
                await self._probe(host, port, attempts, offered)
        attempts.sort(key=lambda seen: (":" in seen.hop.address, seen.hop.address))
        result = [
            (host, reached)
            for reached in await asyncio.gather(*(self._judged(host, attempt, offered) for attempt in attempts))
        ]
        if len(attempts) < len(host.addresses.addresses):
            result.append((host, Reached(time.time(), why=late)))
        return result

    async def _looked_up(self, host: HostFacts, port: int, next_hops: tuple[str, ...]) -> HostFacts:
        try:
            addresses = await self._router.addresses(host.name)
        except NotAllowed as failed:
            return replace(host, trouble=failed.detail, inside=True)
        except LookupFailed as failed:
            return replace(host, trouble=failed.detail, bogus=failed.bogus, temporary=failed.temporary)
        tlsa = await self._tlsa.find(addresses, port=port, mx_authentic=host.mx_authentic, next_hops=next_hops)
        return replace(host, addresses=addresses, tlsa=tlsa)

    async def _probe(
        self, host: HostFacts, port: int, attempts: list[Seen], offered: dict[str, frozenset[str]]
    ) -> None:
        """Reach every address. attempts, offered: filled as they end."""

        def keep(report: HostReport, opened: OpenHop) -> None:
            offered[report.address] = frozenset(opened.connection.extensions)
            opened.connection.quit()

        rows: dict[str, Row] = {}

        def look(_: HostReport, seen: Seen | None) -> None:
            if seen is None:  # its addresses were looked up before
                return
            if seen.ended:
                attempts.append(seen)
            rows[seen.hop.endpoint] = row_so_far(host, self._proven(host, seen, offered))
            self._came(host.name, *rows.values())

        # Under DANE the server is asked for the certificate of the TLSA base domain (RFC 7672 section 8.1).
        text = (host.tlsa.base if host.tlsa is not None else "") or host.name
        hop = NextHop(text, port, Opportunistic((Source("default"),)))
        await self._prober.probe(hop, keep=keep, look=look)

    async def _judged(self, host: HostFacts, seen: Seen, offered: dict[str, frozenset[str]]) -> Reached:
        reached, facts = self._proven(host, seen, offered), seen.facts
        if facts is not None and facts.tls is not None and facts.chain is not None and facts.chain.trusted:
            revocation = await self._revocation.check(facts.chain, staple=facts.tls.ocsp_response, now=reached.now)
            reached = replace(reached, revocation=revocation)
        return reached

    @staticmethod
    def _proven(host: HostFacts, seen: Seen, offered: dict[str, frozenset[str]]) -> Reached:
        """The results of an attempt, without further lookups."""
        now, facts = time.time(), seen.facts
        reached = Reached(now, seen, extensions=offered.get(seen.hop.endpoint))
        usable = host.tlsa is not None and host.tlsa.status is TlsaStatus.USABLE
        if not usable or not seen.ended or facts is None or facts.tls is None:
            return reached
        assert host.tlsa is not None  # noqa: S101 - usable
        verdict = judge(host.tlsa.records, facts.tls.peer_chain, names=host.tlsa.names, now=now)
        return replace(reached, dane=verdict)


class BoundedRouter(MailRouter):
    """Addresses that a policy does not allow (loopback, RFC 1918, link-local, …) are as if they were not there."""

    def __init__(self, resolver: Queries, random: Random, policy: AddressPolicy) -> None:
        super().__init__(resolver, random)
        self._policy = policy

    async def addresses(self, host: str) -> HostAddresses:
        """Raises LookupFailed; NotAllowed where none is left."""
        return allowed(await super().addresses(host), self._policy)
