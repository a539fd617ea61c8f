"""A changeover of the gateway's certificate: checks the gates of a staged one, and switches.

Called by `gatepost certificate changeover` and, for a switch at a time, by `analysis.checks.scheduled` in one worker.
It gathers; `analysis.checks.gates` and its neighbours say what that means, `pki.certificates.lifecycle` what becomes of
the entries.

What came since a switch is compared with as long a time before it, from the message trace. Handshakes that fail leave
no row, only a line in the log (`mail.inbound.service`): a partner that refuses the new certificate shows as mail that
comes unencrypted, that is refused for want of TLS, or that does not come any more.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.analysis.checks import gates, gates_rehearsal, gates_tlsa
from gatepost.analysis.checks.chain import ChainChecker, ChainQuestion
from gatepost.analysis.checks.chain_file import ChainFileError, parse_file
from gatepost.analysis.checks.chain_stores import RootStores
from gatepost.analysis.checks.gates import GateCheck, GateFinding, GateReport
from gatepost.analysis.checks.gates_tlsa import HostTlsa, TlsaObservation
from gatepost.analysis.checks.own_policy import mail_host_names, own_policies
from gatepost.analysis.checks.partner_report import Mark
from gatepost.decoding import from_json
from gatepost.net.anchors import AnchorsError
from gatepost.net.dane import judge as judge_tlsa
from gatepost.net.dane import unreadable
from gatepost.net.identity import IdentityError, ServerIdentity, read_identity
from gatepost.net.lookups.mx import MailRouter
from gatepost.net.lookups.question import LookupFailed
from gatepost.net.lookups.tlsa import TlsaFinder
from gatepost.pki.certificates import lifecycle as course
from gatepost.pki.certificates.entry import Entry, Purpose, State
from gatepost.pki.certificates.files import CertificateFileError
from gatepost.pki.certificates.stapling import Stapler, subject_of
from gatepost.pki.certificates.token_check import problem_of
from gatepost.protocols.dane.tlsa import RecordsKind, TlsaLookup, TlsaStatus, classify
from gatepost.store.changes import on_newest
from gatepost.store.interface import StoreFailure, TraceFilter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from gatepost.analysis.checks.chain_report import ChainCheck
    from gatepost.net.lookups.dns import Resolver
    from gatepost.net.lookups.http import HttpClient
    from gatepost.pki.certificates.inventory import Inventory
    from gatepost.policy.connectors.records import Organization
    from gatepost.protocols.dane.match import DaneVerdict
    from gatepost.settings.model import Settings
    from gatepost.store.trace import Trace


_NO_TLS: Final = ("5.7.0", "5.7.3", "5.7.10", "5.7.51")
_LEAST: Final = 3600.0


class Traffic(msgspec.Struct):
    """Messages received over TLS, unencrypted, and refused though TLS would have let them in.

    domains: those that sent over TLS. failed: TLS handshakes of clients, by address and reason. seconds: in how long.
    """

    over_tls: int = 0
    in_clear: int = 0
    wanted_tls: int = 0
    domains: set[str] = msgspec.field(default_factory=set)
    failed: set[tuple[str, str]] = msgspec.field(default_factory=set)
    seconds: float = 0.0

    @property
    def failed_clients(self) -> int:
        """The number of clients, by address, that failed a TLS handshake."""
        return len({address for address, _ in self.failed})


def watch(trace: Trace, switched: float, now: float) -> tuple[Traffic, Traffic]:
    """Since the switch, and in the same time before it, an hour at least. Times in seconds since 1970. Blocks."""
    span = max(now - switched, _LEAST)
    return traffic(trace, switched, now), traffic(trace, switched - span, switched)


def newly_failing(since: Traffic, before: Traffic) -> list[tuple[str, str]]:
    """Clients whose TLS handshakes failed since the switch, and for which reason; left out what failed before.

    They may refuse the certificate.
    """
    return sorted(since.failed - before.failed)


def traffic(trace: Trace, since: float, until: float) -> Traffic:
    """The traffic in the trace between two times, of its newest 200,000 rows at most."""
    result = Traffic(seconds=until - since)
    columns = ("event", "sender", "tls_version", "reply", "peer_address")
    rows = trace.scan(TraceFilter(since=since, until=until), columns, events=("RECEIVE", "REFUSE", "TLSFAIL"))
    for event, sender, version, reply, address in islice(rows, _ROWS):
        if event == "TLSFAIL":
            result.failed.add((str(address), str(reply)))
        elif event == "RECEIVE" and version:
            result.over_tls += 1
            result.domains.add(str(sender).rpartition("@")[2].lower())
        elif event == "RECEIVE":
            result.in_clear += 1
        elif not version and any(code in str(reply) for code in _NO_TLS):
            result.wanted_tls += 1
    return result


type Told = Callable[[GateCheck, Sequence[GateFinding]], None]
"""Is told of a gate that was looked at, and what was found there."""

SEEN_SECONDS: Final = 30 * 86400.0
"""The period of the trace, in its newest rows, that is searched for partners."""

_ROWS: Final = 200_000

_WHOLE: Final = 90.0  # seconds for all gates
_ADDRESS: Final = 5.0  # for one address of a chain
_DOMAINS: Final = 50  # accepted domains whose MX records are looked up
_HOSTS: Final = 20
_NO_TTL: Final = 86400  # assumed where neither the zone nor the resolver says less than it keeps anything for
_RESOLVER_KEEPS: Final = 3600  # `net.lookups.dns` keeps nothing for longer, and says no more


class CheckContext(msgspec.Struct, frozen=True):
    """The input of a check. entries: all, by id. now: seconds since 1970. seen: as `seen_partners`, or None."""

    entries: Mapping[str, Entry]
    organizations: Sequence[Organization]
    now: float
    seen: Mapping[str, int] | None = None


class GateChecker(msgspec.Struct, frozen=True):
    """Looks at gates. resolver, client: ask the world; stapler: has OCSP responses. For one event loop."""

    settings: Settings
    inventory: Inventory
    resolver: Resolver
    client: HttpClient
    stapler: Stapler

    async def look(self, entry: Entry, context: CheckContext, tell: Told | None = None) -> GateReport:
        """All gates, in at most a minute and a half. Partners are listed if the scene has what was seen of them.

        tell: called with each gate as soon as it was looked at, and what was found there.
        """
        begun = time.monotonic()
        parts: list[list[GateFinding]] = []
        try:
            async with asyncio.timeout(_WHOLE):
                await self._look(entry, context, parts, tell)
            findings = [finding for part in parts for finding in part]
        except TimeoutError:
            findings = [finding for part in parts for finding in part]
            text = f"the checks did not end within {_WHOLE:.0f} seconds"
            findings.append(
                GateFinding(GateCheck.CHAIN, Mark.UNKNOWN, text, fix="Check [dns], and which addresses do not answer.")
            )
        return GateReport(entry, context.now, gates.in_order(findings), time.monotonic() - begun)

    async def sight(self, entry: Entry, context: CheckContext) -> list[GateFinding]:
        """Look at the TLSA records alone; since when they are there is remembered. Raises TimeoutError."""
        if entry.purpose is Purpose.CLIENT:
            return []
        async with asyncio.timeout(_WHOLE):
            hosts = gates.our_hosts(entry, self.settings.server.hostname, await self._mail_hosts(context))
            return await self._tlsa(entry, context, hosts)

    async def _look(
        self, entry: Entry, context: CheckContext, parts: list[list[GateFinding]], tell: Told | None
    ) -> None:
        """parts: is filled as answers come, each where it belongs."""
        identity, problem = self._identity(entry)
        key = gates.key_finding(problem)
        if identity is not None and identity.in_token:
            problem = await asyncio.to_thread(problem_of, identity)
            key = gates.token_key_finding(problem)
            identity = None if problem else identity  # nothing is rehearsed with a PIN that may be wrong
        looks: list[tuple[tuple[GateCheck, ...], Awaitable[Iterable[GateFinding]]]] = [
            ((GateCheck.KEY,), _at_once([key])),
            ((GateCheck.CHAIN,), self._chain(entry, context)),
            ((GateCheck.NAMES, GateCheck.TLSA, GateCheck.REHEARSAL), self._names(entry, context)),
        ]
        if entry.purpose is Purpose.SERVER and identity is not None:
            looks.append(((GateCheck.STAPLING,), self._staple(identity, context.now)))
            looks.append(((GateCheck.REHEARSAL,), self._rehearse(entry, identity, context)))
        if context.seen is not None:
            partners = gates.partners_of(entry, context.organizations, context.seen)
            looks.append(((GateCheck.PARTNERS,), _at_once(gates.partner_findings(partners))))
        open_ = Counter(gate for gates_of, _ in looks for gate in gates_of)
        parts += [[] for _ in looks]

        async def run(at: int, gates_of: Iterable[GateCheck], look: Awaitable[Iterable[GateFinding]]) -> None:
            parts[at] += await look
            open_.subtract(gates_of)
            for gate in gates_of:
                if tell is not None and not open_[gate]:
                    tell(gate, [finding for part in parts for finding in part if finding.gate is gate])

        await asyncio.gather(*(run(at, *check) for at, check in enumerate(looks)))

    def _identity(self, entry: Entry) -> tuple[ServerIdentity | None, str]:
        """The certificate with its key, or why it cannot be had."""
        try:
            identity = self.inventory.identity(entry)
            if read_identity(identity).leaf.sha256 != entry.leaf.sha256:
                return None, f"{entry.chain_file} now holds another certificate"
        except (CertificateFileError, IdentityError) as failure:
            return None, str(failure)
        return identity, ""

    # the chain

    async def _chain(self, entry: Entry, context: CheckContext) -> list[GateFinding]:
        try:
            stores = await asyncio.to_thread(RootStores.load, self.settings.tls.trust_anchors)
        except AnchorsError as error:
            return [
                GateFinding(
                    GateCheck.CHAIN, Mark.UNKNOWN, "the trust anchors of this gateway cannot be read", str(error)
                )
            ]
        full = ChainChecker(self.client, stores, timeout=_ADDRESS, private=True)  # the certificates are our own
        check = await self._checked(entry, full, context.now)
        olds = self._olds(entry, context)
        current = await self._checked(olds[0], ChainChecker(None, stores), context.now) if olds else None
        return list(gates.chain_findings(entry, check, current))

    async def _checked(self, entry: Entry, checker: ChainChecker, now: float) -> ChainCheck | None:
        try:
            file = parse_file(self._chain_pem(entry), f"certificate {entry.id}")
            return await checker.check(ChainQuestion(file), now=now)
        except (ChainFileError, CertificateFileError):
            return None

    def _chain_pem(self, entry: Entry) -> bytes:
        try:
            return self.inventory.chain_pem(entry)
        except CertificateFileError:  # of the settings, and not recorded yet
            return self.inventory.identity(entry).chain_pem

    @staticmethod
    def _olds(entry: Entry, context: CheckContext) -> list[Entry]:
        """Those that it replaces; of one that is current already, those that it replaced."""
        if entry.state is State.NEXT:
            return list(course.replaced(entry, context.entries))
        return [context.entries[number] for number in entry.replaces if number in context.entries]

    # names, and what hangs on them

    async def _names(self, entry: Entry, context: CheckContext) -> list[GateFinding]:
        if entry.purpose is Purpose.CLIENT:
            return list(gates.names_findings(entry, context.entries, (), {}, ()))
        hosts = await self._mail_hosts(context)
        policies = own_policies(context.organizations, self.settings.server.hostname)
        served = bool(self.settings.mta_sts.address)
        expected = gates.expected_names(self.settings.server.hostname, hosts, policies, served=served)
        findings = list(gates.names_findings(entry, context.entries, expected, hosts, policies))
        ours = gates.our_hosts(entry, self.settings.server.hostname, hosts)
        return [*findings, *await self._tlsa(entry, context, ours), *self._demands(entry, context, ours)]

    async def _mail_hosts(self, context: CheckContext) -> dict[str, tuple[str, ...] | str]:
        """The MX hosts of each accepted domain, or why they cannot be had."""
        router = MailRouter(self.resolver, random.Random())  # noqa: S311 - shuffles equals
        domains = [domain.name for organization in context.organizations for domain in organization.accepted_domains][
            :_DOMAINS
        ]
        hosts = await asyncio.gather(*(mail_host_names(router, domain) for domain in domains))
        return dict(zip(domains, hosts, strict=True))

    def _demands(self, entry: Entry, context: CheckContext, hosts: Iterable[str]) -> list[GateFinding]:
        demands = gates_rehearsal.demands_on(context.organizations, (self.settings.server.hostname, *hosts))
        try:
            chain = parse_file(self._chain_pem(entry), entry.id).certificates if demands else ()
        except (ChainFileError, CertificateFileError):  # the chain's own gate says so
            return []
        anchors = self.settings.tls.trust_anchors
        return list(gates_rehearsal.demand_findings(entry, chain, demands, anchors, now=context.now))

    async def _tlsa(self, entry: Entry, context: CheckContext, hosts: Mapping[str, bool]) -> list[GateFinding]:
        seen = await asyncio.gather(*(self._host_tlsa(entry, context, *host) for host in [*hosts.items()][:_HOSTS]))
        before = _observations(self.inventory.seen(entry))
        after = {
            host_tlsa.host: gates_tlsa.observe(
                before.get(host_tlsa.host, TlsaObservation()), host_tlsa, now=context.now
            )
            for host_tlsa in seen
        }
        if entry.state is State.NEXT and after != before:
            await asyncio.to_thread(self._remember, entry, {**before, **after})
        return list(gates_tlsa.tlsa_findings(entry, seen, after, now=context.now))

    def _remember(self, entry: Entry, sightings: Mapping[str, TlsaObservation]) -> None:
        try:
            with self.inventory.apart() as inventory:
                inventory.remember(entry, msgspec.json.encode(sightings))
        except StoreFailure:  # then it is seen for the first time once more
            return

    async def _host_tlsa(self, entry: Entry, context: CheckContext, host: str, takes_mail: bool) -> HostTlsa:  # noqa: FBT001 - as in a table
        lookup, ttl = await self._records(host)
        if lookup.status is not TlsaStatus.USABLE:
            return HostTlsa(host, lookup, ttl=ttl, takes_mail=takes_mail)
        olds = self._olds(entry, context)
        own, other = (
            self._judged(certificate, lookup, context.now) for certificate in (entry, olds[0] if olds else None)
        )
        return HostTlsa(host, lookup, own, other, ttl, takes_mail)

    def _judged(self, entry: Entry | None, lookup: TlsaLookup, now: float) -> DaneVerdict | None:
        if entry is None:
            return None
        try:
            chain = parse_file(self._chain_pem(entry), entry.id).certificates
        except (ChainFileError, CertificateFileError):
            return None
        return judge_tlsa(lookup.records, chain, names=lookup.names, now=now)

    async def _records(self, host: str) -> tuple[TlsaLookup, int]:
        """Look up the published TLSA records, and the seconds for which senders may cache them."""
        try:
            addresses = await MailRouter(self.resolver, random.Random()).addresses(host)  # noqa: S311 - shuffles
            lookup = await TlsaFinder(self.resolver).find(addresses)
            answer = await self.resolver.query(f"_25._tcp.{lookup.base or host}", "TLSA")
        except LookupFailed as failure:
            if not failure.temporary:
                return TlsaLookup(TlsaStatus.NONE, failure.detail), 0
            return TlsaLookup(TlsaStatus.FAILED, failure.detail, bogus=failure.bogus), 0
        if lookup.status is TlsaStatus.INSECURE and self.resolver.dane_off and answer.records:
            # Nobody here can tell whether the zone is signed. Others can: records that are there are taken for good.
            records = classify([record.to_generic().data for record in answer.records], unreadable=unreadable)
            if records.kind is RecordsKind.USABLE:
                detail = f"{records.detail}; not proven from here: {self.resolver.dane_off}"
                lookup = TlsaLookup(TlsaStatus.USABLE, detail, records, host, (host,))
        known = answer.ttl if answer.ttl < _RESOLVER_KEEPS else _NO_TTL
        return lookup, answer.zone_ttl or known

    # handshakes

    async def _staple(self, identity: ServerIdentity, now: float) -> list[GateFinding]:
        subject = subject_of(identity)
        if subject.urls:
            await self.stapler.renew([identity], now)
        kept = subject.thumbprint in self.stapler.kept([identity], now)
        return [gates.staple_finding(responder=bool(subject.urls), must=subject.must, kept=kept)]

    async def _rehearse(self, entry: Entry, identity: ServerIdentity, context: CheckContext) -> list[GateFinding]:
        currents = [
            candidate
            for candidate in context.entries.values()
            if candidate.state is State.CURRENT and candidate.purpose is Purpose.SERVER
        ]
        before = self._identities(sorted(currents, key=lambda current: -current.current_from))
        stay = [candidate for candidate in course.after_switch(entry, context.entries) if candidate.id != entry.id]
        after = [identity, *self._identities(stay)]
        olds = course.replaced(entry, context.entries) if entry.state is State.NEXT else ()
        # Those first that the old ones bear: partners ask for them now, and another kind of key must not be all that
        # is left for one of them.
        borne = [
            name for certificate in (*olds, entry) for name in course.names_of(certificate) if not _is_special(name)
        ]
        names = (self.settings.server.hostname, *borne)
        profile = str(self.settings.tls.profile)
        try:
            met_after = await asyncio.to_thread(gates_rehearsal.meet, after, names, profile)
            met_before = await asyncio.to_thread(gates_rehearsal.meet, before, names, profile) if before else ()
        except IdentityError as error:
            return [GateFinding(GateCheck.REHEARSAL, Mark.FAIL, "it cannot be presented", str(error))]
        return list(gates_rehearsal.rehearsal_findings(entry, met_before, met_after))

    def _identities(self, entries: Iterable[Entry]) -> list[ServerIdentity]:
        identities = (self._identity(entry)[0] for entry in entries)
        return [identity for identity in identities if identity is not None]


async def _at_once(found: Iterable[GateFinding]) -> Iterable[GateFinding]:
    """Wrap findings that need no waiting."""
    return found


def _observations(kept: bytes) -> dict[str, TlsaObservation]:
    try:
        return from_json(kept, dict[str, TlsaObservation]) if kept else {}
    except msgspec.MsgspecError:
        return {}


def _is_special(name: str) -> bool:
    """A wildcard or an address: no client asks for it by server name."""
    return name.startswith("*.") or ":" in name or name.rpartition(".")[2].isdigit()


def seen_partners(trace: Trace, *, now: float) -> dict[str, int]:
    """Messages that came over TLS in the last 30 days, the newest 200,000 at most, by the sender's domain. Blocks."""
    counts: dict[str, int] = {}
    wanted = TraceFilter(since=now - SEEN_SECONDS)
    rows = trace.scan(wanted, ("sender", "tls_version"), events=("RECEIVE",))
    for sender, version in islice(rows, _ROWS):
        domain = str(sender).rpartition("@")[2].lower()
        if version and domain:
            counts[domain] = counts.get(domain, 0) + 1
    return counts


def apply_step(
    inventory: Inventory,
    step: Callable[[Mapping[str, Entry]], Sequence[Entry]],
    entries: Callable[[], tuple[int, Mapping[str, Entry]]],
    *,
    author: str,
    note: str,
) -> tuple[Entry, ...]:
    """Do one step of `pki.certificates.lifecycle` on what is stored, again if somebody else changed it meanwhile.

    entries: all of them as they are now, with the version; those of the settings that are not recorded yet are. Raises
    Refused, ConfigConflict after five tries, StoreFailure.
    """

    def once() -> tuple[Entry, ...]:
        version, known = entries()
        changed = tuple(step(known))
        inventory.change(changed, author=author, note=note, expected=version)
        return changed

    return on_newest(once)
