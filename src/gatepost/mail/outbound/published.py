"""Look up what a domain publishes about its mail hosts, DANE and MTA-STS, and turn it into the terms of one host.

Called by `mail.outbound.deliverer` for each way and each host of it, before a connection, and by `checks`. What it
means is decided in `policy.decisions.published`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gatepost.net.lookups.mx import HostAddresses, MailHosts, MailHostsKind
from gatepost.net.lookups.question import LookupFailed
from gatepost.policy.connectors.names import is_this_machine
from gatepost.policy.connectors.values import MtaStsMode, SmtpDaneMode
from gatepost.policy.decisions.published import NAMED, Modes, Naming, Published, StsFound, Terms, terms
from gatepost.policy.decisions.requirement import Requirement, Shortfall
from gatepost.protocols.dane.tlsa import TlsaLookup, TlsaStatus
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gatepost.net.lookups.dns import DnssecFault
    from gatepost.net.lookups.mtasts import StsPolicies, StsState
    from gatepost.net.lookups.tlsa import TlsaFinder


async def no_fault(_domain: str) -> None:
    """Nobody knows a fault of DNSSEC validation."""


async def _validated() -> str:
    return ""


class Lookups(msgspec.Struct, frozen=True):
    """Services for lookups. clock: seconds since 1970 UTC. dane_off: why DNSSEC is never believed, "" if it is.

    dnssec_fault: what is wrong with DNSSEC validation itself now, as `Resolver.dnssec_fault` tells it. unvalidated: why
    no answer is validated now, "" if some are, or if that is not known without asking.
    """

    tlsa: TlsaFinder
    sts: StsPolicies
    clock: Callable[[], float]
    dane_off: str = ""
    dnssec_fault: Callable[[str], Awaitable[DnssecFault | None]] = no_fault
    unvalidated: Callable[[], Awaitable[str]] = _validated


class PolicyUnknown(LookupFailed):
    """Whether a domain has an MTA-STS policy is not known, for a shortage of this gateway: its mail must wait.

    RFC 8461 lets mail go without a policy for faults of the domain only. The next attempt may learn it.
    """


class Publication:
    """DANE and MTA-STS of the hosts of one route plan, looked up for one attempt.

    lookups: None where nothing is looked up: then no host is used if DANE is required. mail_hosts: the MX hosts; None
    for smart hosts, which no MTA-STS policy names and whose names need no proof. delivers: to a delivery agent (LMTP).
    """

    def __init__(
        self, lookups: Lookups | None, modes: Modes, mail_hosts: MailHosts | None = None, *, delivers: bool = False
    ) -> None:
        self._lookups = lookups
        self._modes = modes
        self._mail_hosts = mail_hosts
        self._delivers = delivers
        self._sts: StsFound | None = None
        self._unknown: PolicyUnknown | None = None
        self._rechecked = False

    @property
    def is_common(self) -> bool:
        """Whether a host that other domains share has the same terms for each of them; known after `begin`.

        Not where the domain has a policy, or may have one, nor where DNSSEC proves its MX records: then what a host
        has to prove may depend on the domain's name (RFC 8461 section 4.1, RFC 7672 section 3.2.2). REQUIRETLS asks how
        the domain's record names the host.
        """
        hosts, sts = self._mail_hosts, self._sts
        if hosts is None:
            return True
        unpublished = sts is None or (sts.policy is None and sts.failure is None)
        return unpublished and not hosts.authentic and not self._modes.asks.demands

    async def begin(self) -> None:
        """Find the MTA-STS policy of the domain, if the route heeds one. Raises PolicyUnknown: then it has no terms."""
        if self._lookups is not None and self._mail_hosts is not None and self._modes.sts is not MtaStsMode.NONE:
            try:
                self._sts = await self._policy(self._lookups, self._mail_hosts.domain)
            except PolicyUnknown as unknown:
                self._unknown = unknown
                raise

    async def terms(self, requirement: Requirement, port: int, addresses: HostAddresses) -> Terms:
        """The terms of one host, `addresses.host`, on a port. Raises PolicyUnknown where `begin` did."""
        if self._unknown is not None:
            raise self._unknown
        dane = await self._records(port, addresses)
        result = self._terms(requirement, addresses, dane)
        if self._sts is not None and await self._changed(result):
            return self._terms(requirement, addresses, dane)
        return result

    def _terms(self, requirement: Requirement, addresses: HostAddresses, dane: TlsaLookup | None) -> Terms:
        published = Published(dane, self._sts)
        return terms(requirement, addresses.host, self._modes, published, self._naming(addresses))

    def _naming(self, addresses: HostAddresses) -> Naming:
        hosts = self._mail_hosts
        if hosts is not None:
            # Without an MX record the domain is its own host, and no record need be believed (RFC 8689 section 2).
            domain = "" if hosts.kind is MailHostsKind.IMPLICIT else hosts.domain
            return Naming(domain, hosts.authentic)
        if self._delivers and self._modes.asks.demands:
            return Naming(here=all(is_this_machine(address) for address in addresses.addresses))
        return NAMED

    async def _records(self, port: int, addresses: HostAddresses) -> TlsaLookup | None:
        lookups, hosts = self._lookups, self._mail_hosts
        if lookups is None or self._modes.dane is SmtpDaneMode.NONE:
            return None
        authentic = hosts is None or hosts.authentic
        next_hops = (hosts.domain, hosts.canonical) if hosts is not None else ()
        tlsa_lookup = await lookups.tlsa.find(addresses, port=port, mx_authentic=authentic, next_hops=next_hops)
        if lookups.dane_off:
            return replace(tlsa_lookup, detail=f"{tlsa_lookup.detail}: {lookups.dane_off}")
        demanded = self._modes.dane is SmtpDaneMode.MANDATORY and tlsa_lookup.status is TlsaStatus.INSECURE
        if demanded and (fault := await lookups.dnssec_fault("")):
            return TlsaLookup(TlsaStatus.FAILED, fault.detail)
        if tlsa_lookup.status is TlsaStatus.INSECURE and (why := await lookups.unvalidated()):
            return replace(tlsa_lookup, detail=f"{tlsa_lookup.detail}: {why}", unvalidated=True)
        return tlsa_lookup

    async def _changed(self, found: Terms) -> bool:
        """Whether the domain has another policy by now, where the one at hand does not allow the host.

        A domain that changes its MX changes its policy first; who has the old one asks again, once an attempt, before
        mail waits for it (RFC 8461 section 5.1).
        """
        lookups, before = self._lookups, self._sts
        by_sts = isinstance(found.outcome, Shortfall) and found.outcome.enhanced == "4.4.8"
        if lookups is None or before is None or not by_sts or self._rechecked:
            return False
        self._rechecked = True
        try:
            self._sts = await self._policy(lookups, before.domain, recheck=True)
        except PolicyUnknown:  # the one that was at hand ran out meanwhile: mail waits by it all the same
            return False
        return self._sts != before

    @staticmethod
    async def _policy(lookups: Lookups, domain: str, *, recheck: bool = False) -> StsFound:
        """The policy as it is known. Raises PolicyUnknown."""
        state: StsState = await lookups.sts.find(domain, now=lookups.clock(), recheck=recheck)
        failure = state.failure
        if failure is not None and state.is_unknown:
            raise PolicyUnknown(failure.detail)
        if failure is None:
            return StsFound(state.domain, state.policy, state.id)
        return StsFound(state.domain, state.policy, state.id, failure.result_type, failure.detail)
