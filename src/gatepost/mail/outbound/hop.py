"""Open a connection to one address and check it against policy before any MAIL is sent.

Called by `mail.outbound.deliverer` when `mail.outbound.pool` has none. Greeting, EHLO, STARTTLS if it is offered, the
handshake, EHLO again; what was seen becomes facts, and `policy.decisions.outbound` says whether they are enough. No
message passes here.
"""

from __future__ import annotations

import errno
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from gatepost.mail.outbound.connection import OutboundConnection, SmtpTimeouts, Step, Watch
from gatepost.mail.outbound.contexts import ClientContexts, OurCertificate, has_classical, required_anchors, revocable
from gatepost.mail.outbound.failure import (
    ConnectionEnded,
    HopFailed,
    HopFailure,
    between_nodes,
    cannot_connect,
    fell_short,
    local_fault,
    not_reached,
)
from gatepost.mail.outbound.hop_options import NO_OPTIONS, HopOptions, SmartHostLogin
from gatepost.net import dane, dial
from gatepost.net.stream import LossKind, Stream
from gatepost.policy.connectors.addresses import PUBLIC_ADDRESSES, AddressPolicy, not_allowed
from gatepost.policy.connectors.values import Cleartext, RevocationCheck
from gatepost.policy.decisions.facts import ClassicalOnly, HopFacts
from gatepost.policy.decisions.outbound import judge
from gatepost.policy.decisions.published import NOTHING, Published
from gatepost.policy.decisions.requirement import Authenticated, MxLevel, Opportunistic, Shortfall, Verdict
from gatepost.protocols.smtp.client.client import Client
from gatepost.protocols.smtp.replies import Reply
from gatepost.protocols.tls.facts import ChainVerdict, Revocation, TlsFacts
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gatepost.net.lookups.revocation import RevocationChecker
    from gatepost.policy.decisions.destination_history import DestinationName, Drop
    from gatepost.policy.decisions.requirement import DaneProof, Requirement
    from gatepost.protocols.dane.match import DaneVerdict


_NOT_OURS = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})  # of a source address
_NOT_CHECKED = Revocation("unknown", "revocation was not checked")


class Hop(msgspec.Struct, frozen=True, cache_hash=True):
    """One address of one host and the rules for the way there. Equal hops may share a connection.

    host: the name it was found by, or an IP address. rehearsed: what a connector in rehearsal would require.
    certificate: ours, to present on request. mx: how the host's name is known to be right. generation: of the
    configuration. published: what the domain publishes of the host; as the requirement holds its TLSA records, no
    connection outlives them. without_requiretls: as in `policy.decisions.published.Terms`. internal: a node of our own
    site, with which TLS comes first. bounded: a tenant chose the host; see `policy.decisions.routes.NextHop`.
    options: how the connector has it called.
    """

    host: str
    address: str
    port: int
    requirement: Requirement
    rehearsed: Requirement | None = None
    certificate: OurCertificate | None = None
    mx: MxLevel = MxLevel.NONE
    lmtp: bool = False
    generation: int = 0
    published: Published = NOTHING
    without_requiretls: str = ""
    internal: bool = False
    bounded: bool = False
    options: HopOptions = NO_OPTIONS

    @property
    def endpoint(self) -> str:
        """Address and port, or a socket's path, as logs and replies show them."""
        if self.address.startswith("/"):
            return f"unix:{self.address}"
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    @property
    def server_name(self) -> str:
        """SNI: the TLSA base domain (RFC 7672 section 8.1), else the host's name; an IP address is none (RFC 6066)."""
        if records := _records(self.requirement):
            return records[0].names[0]
        bare = self.host.startswith(("[", "/")) or ":" in self.host or self.host.rpartition(".")[2].isdigit()
        return "" if bare else self.host

    @property
    def session_key(self) -> str:
        """The key of TLS sessions that may be resumed, "" for a full handshake.

        A resumed session shows the certificate it was begun with: what the peer presents by now would go unseen, be it
        mended or wrong. Where the peer must prove itself, be it on trial or for a report, each one shows its own.
        """
        records = self.published.dane
        judged_by = (self.requirement, self.rehearsed, self.published.testing)
        if any(isinstance(requirement, Authenticated) for requirement in judged_by) or (
            records is not None and records.records.usable
        ):
            return ""
        return f"{self.host} {self.endpoint}"


class OpenHop(msgspec.Struct, frozen=True, eq=False):
    """A connection that met its requirement.

    rehearsal: what a connector in rehearsal would have said. testing: what an MTA-STS policy in testing would have.
    drops: for each destination whose mail it was held ready for, how it falls short of what was seen before, None if it
    does not (`mail.outbound.destination_history`). before: how the handshake with other groups failed, if this is a
    second one. since: when it was opened, by time.monotonic. record: what `mail.outbound.record` says of hop, facts and
    verdict, once it was asked; the same for every message.
    """

    hop: Hop
    connection: OutboundConnection
    facts: HopFacts
    verdict: Verdict
    rehearsal: Verdict | None = None
    testing: Verdict | Shortfall | None = None
    drops: dict[DestinationName, Drop | None] = msgspec.field(default_factory=dict)
    before: HopFailure | None = None
    since: float = msgspec.field(default_factory=time.monotonic)
    record: dict[str, Any] = msgspec.field(default_factory=dict)


class LoginService(Protocol):
    """Logs in to smart hosts: `mail.outbound.login`."""

    async def log_in(self, hop: Hop, login: SmartHostLogin, connection: OutboundConnection, verdict: Verdict) -> None:
        """Log in over a connection that met its requirement. Raises HopFailed, ConnectionEnded."""


class HopOpener:
    """hello_name: our host name for EHLO. dial: makes the connection (`net.dial.connect`).

    revocation: checks trusted chains where the requirement wants it; without it none is checked, and hard-fail waits.
    tenants: addresses that may be dialled where a tenant chose the host. logins, which may be set: logs in to
    smart hosts; without it nobody does. on_unknown, which may be set: called with a chain for which mail waits, as
    nobody can tell now whether it is revoked.
    """

    def __init__(
        self,
        hello_name: str,
        contexts: ClientContexts,
        timeouts: SmtpTimeouts,
        connect: Callable[..., Awaitable[Stream]] = dial.connect,
        revocation: RevocationChecker | None = None,
        tenants: AddressPolicy = PUBLIC_ADDRESSES,
    ) -> None:
        self.tenants = tenants
        self.logins: LoginService | None = None
        self.on_unknown: Callable[[ChainVerdict], object] = lambda _: None
        self._hello_name = hello_name
        self._contexts = contexts
        self._timeouts = timeouts
        self._connect = connect
        self._revocation = revocation

    async def open(
        self,
        hop: Hop,
        *,
        handshake_error: str = "",
        watch: Watch | None = None,
        classical: ClassicalOnly | None = None,
    ) -> OpenHop:
        """Connect and judge. Raises HopFailed.

        handshake_error: why TLS failed on the connection that this one replaces. It then goes on unencrypted if the
        requirement lets it; the caller has decided that (see `may_go_clear`). watch: called as each step begins, for
        `checks`.

        A peer that leaves the handshake unanswered gets a second one at once, over a connection of its own and with
        classical groups only: boxes on the way, and old stacks, drop a ClientHello that has a post-quantum key share.
        Nothing else is lowered. classical: it did so before (`OpenHop.facts.classical` of then), so it is spared the
        first; if that fails, all groups are offered.
        """
        if classical is not None and not has_classical(hop.requirement):
            classical = None
        try:
            return await self._open(hop, handshake_error, watch, classical)
        except HopFailed as failed:
            if not self._has_other_groups(hop, failed, classical):
                raise
            first = failed
        other = None if classical else ClassicalOnly(first.handshake, self._contexts.clock())
        try:
            opened = await self._open(hop, "", watch, other)
        except HopFailed as again:
            again.handshake = again.handshake or first.handshake  # TLS was agreed with neither
            raise
        return replace(opened, before=first.failure)

    @staticmethod
    def _has_other_groups(hop: Hop, failed: HopFailed, classical: ClassicalOnly | None) -> bool:
        """Whether other groups may be what a failed handshake needs."""
        if hop.internal or not failed.shaken:
            return False
        return classical is not None or (failed.failure.unanswered and has_classical(hop.requirement))

    async def _open(
        self, hop: Hop, handshake_error: str, watch: Watch | None, classical: ClassicalOnly | None
    ) -> OpenHop:
        if watch is not None:
            watch(Step.CONNECT)
        connection = await self._dial(hop)
        if watch is not None:
            connection.watch = watch
            watch.connected(connection.transcript)
        try:
            return await self._establish(hop, connection, handshake_error, classical)
        except ConnectionEnded as ended:
            ended_with = between_nodes(ended.failure) if hop.internal else ended.failure
            failure = ended_with.at(hop.host, hop.endpoint, tuple(connection.transcript))
            # Between nodes TLS comes first: what ends there may be for want of it.
            silent = not connection.greeted and not hop.internal
            raise HopFailed(replace(failure, silent=silent, crowded=failure.crowded and silent)) from ended
        except HopFailed as failed:
            connection.quit()
            failed.failure = replace(failed.failure, local=connection.local)
            if failed.failure.host:
                raise
            # A fault of this machine: where it showed, and what was said until then, belong to the record all the same.
            raise HopFailed(failed.failure.at(hop.host, hop.endpoint, tuple(connection.transcript))) from failed
        except BaseException:
            connection.abort("given up while opening")
            raise

    def forget_session(self, opened: OpenHop) -> None:
        """The next connection to a host shows the certificate it has by then, whatever was kept of this one."""
        hop, classical = opened.hop, opened.facts.classical is not None
        context = self._contexts.context(hop.requirement, hop.certificate, classical=classical)
        context.forget(hop.session_key, hop.server_name)

    async def _dial(self, hop: Hop) -> OutboundConnection:
        policy, source = self.tenants if hop.bounded else None, hop.options.source(hop.address)
        named: dict[str, str] = {"source": source} if source else {}
        try:
            stream = await self._connect(hop.address, hop.port, timeout=self._timeouts.connect, policy=policy, **named)
        except dial.AddressNotAllowed as error:
            raise HopFailed(not_reached(not_allowed(hop.host)).at(hop.host, "")) from error
        except OSError as error:
            failure = cannot_connect(error)
            if source and error.errno in _NOT_OURS:
                failure = local_fault(f"the source address {source} of the connector is none of this machine: {error}")
            raise HopFailed(failure.at(hop.host, hop.endpoint)) from error
        client = Client(hop.options.hello_name or self._hello_name, lmtp=hop.lmtp)
        return OutboundConnection(stream, client, self._timeouts)

    async def _establish(
        self, hop: Hop, connection: OutboundConnection, handshake_error: str, classical: ClassicalOnly | None
    ) -> OpenHop:
        if hop.internal:
            facts = await self._among_nodes(hop, connection)
        elif hop.options.implicit_tls:
            facts = await self._tls_first(hop, connection, classical)
        else:
            facts = await self._in_the_world(hop, connection, handshake_error, classical)
        verdict = judge(hop.requirement, facts)
        if not verdict.passed:
            raise HopFailed(fell_short(verdict, facts, tuple(connection.transcript)))
        rehearsal, testing = await self._rehearse(hop, facts), await self._test(hop.published.testing, facts)
        if hop.options.login is not None and self.logins is not None:
            await self.logins.log_in(hop, hop.options.login, connection, verdict)
        return OpenHop(hop, connection, facts, verdict, rehearsal, testing)

    async def _in_the_world(
        self, hop: Hop, connection: OutboundConnection, handshake_error: str, classical: ClassicalOnly | None
    ) -> HopFacts:
        """Greeting and EHLO unencrypted, then STARTTLS if it is offered."""
        await connection.greeting()
        await connection.hello()
        facts = HopFacts(
            hop.host,
            hop.endpoint,
            starttls_offered="STARTTLS" in connection.extensions,
            handshake_error=handshake_error,
            mx=hop.mx,
        )
        if facts.starttls_offered and not handshake_error:
            facts = await self._secure(hop, connection, replace(facts, classical=classical))
        return facts

    async def _tls_first(self, hop: Hop, connection: OutboundConnection, classical: ClassicalOnly | None) -> HopFacts:
        """TLS from the first octet (RFC 8314 section 3.3), then greeting and EHLO."""
        facts = HopFacts(hop.host, hop.endpoint, starttls_offered=True, mx=hop.mx, classical=classical)
        context = self._contexts.context(hop.requirement, hop.certificate, classical=classical is not None)
        tls: TlsFacts | None = None
        try:
            tls = await connection.secure(context, server_name=hop.server_name, session_key=hop.session_key)
            connection.watch.secured(facts, tls)
            await connection.greeting()
            await connection.hello()
        except ConnectionEnded as ended:
            # TLS 1.3: a server that refuses our certificate says so after the client has finished.
            refused = ended.failure.loss is LossKind.HANDSHAKE
            if tls is not None and not refused:
                raise
            raise self._broken(
                hop, connection, facts, ended.failure.detail, passing=not refused, ended=ended
            ) from ended
        return await self._judged(hop, connection, replace(facts, tls=tls))

    async def _among_nodes(self, hop: Hop, connection: OutboundConnection) -> HopFacts:
        """Begin with TLS. A peer that does not prove to be the node gets no command at all."""
        facts = HopFacts(hop.host, hop.endpoint, mx=hop.mx)
        context, name = self._contexts.context(hop.requirement, hop.certificate), hop.server_name
        try:
            tls = await connection.secure(context, server_name=name, session_key=hop.session_key)
        except ConnectionEnded as ended:
            raise self._broken(hop, connection, facts, ended.failure.detail, passing=True) from ended
        facts = await self._judge_peer(hop.requirement, replace(facts, tls=tls), tls)
        proved = judge(hop.requirement, replace(facts, requiretls_offered=True))
        if not proved.passed:
            raise HopFailed(fell_short(proved, facts, tuple(connection.transcript)))
        await connection.greeting()
        await connection.hello()
        return replace(facts, requiretls_offered="REQUIRETLS" in connection.extensions)

    async def _rehearse(self, hop: Hop, facts: HopFacts) -> Verdict | None:
        """The verdict of a connector in rehearsal on the connection, or on the host if that was judged before."""
        if hop.rehearsed is None:
            return None
        verdict = await self._try(hop.rehearsed, facts)
        return verdict if verdict.shortfall else replace(verdict, shortfall=hop.published.on_trial)

    async def _test(self, tested: Requirement | Shortfall | None, facts: HopFacts) -> Verdict | Shortfall | None:
        return tested if tested is None or isinstance(tested, Shortfall) else await self._try(tested, facts)

    async def _try(self, requirement: Requirement, facts: HopFacts) -> Verdict:
        """Judge by a requirement that is not in force."""
        if facts.tls is not None:
            try:
                facts = await self._judge_peer(requirement, facts, facts.tls)
            except HopFailed:  # its anchors cannot be read: enforced, it would fail, so "not judged" is the truth
                facts = replace(facts, chain=None, chains=())
        return judge(requirement, facts)

    async def _secure(self, hop: Hop, connection: OutboundConnection, facts: HopFacts) -> HopFacts:
        """STARTTLS and what it proved. Whoever breaks it gets nothing on this connection, whatever the requirement."""
        classical = facts.classical is not None
        context = self._contexts.context(hop.requirement, hop.certificate, classical=classical)
        name = hop.server_name
        try:
            tls = await connection.start_tls(context, server_name=name, session_key=hop.session_key)
        except ConnectionEnded as ended:
            passing = ended.failure.loss is not LossKind.HANDSHAKE
            raise self._broken(hop, connection, facts, ended.failure.detail, passing=passing, ended=ended) from ended
        if isinstance(tls, Reply):
            error = f"STARTTLS was answered with {tls.text}"
            raise self._broken(hop, connection, facts, error, passing=tls.transient)
        connection.watch.secured(facts, tls)
        try:
            await connection.hello()
        except ConnectionEnded as ended:
            # TLS 1.3: a server that refuses our certificate says so after the client has finished.
            if ended.failure.loss is LossKind.HANDSHAKE:
                raise self._broken(hop, connection, facts, ended.failure.detail, passing=False) from ended
            raise
        return await self._judged(hop, connection, replace(facts, tls=tls))

    async def _judged(self, hop: Hop, connection: OutboundConnection, facts: HopFacts) -> HopFacts:
        """What the handshake proved, once the peer has answered EHLO under TLS."""
        tls = facts.tls
        if tls is None:  # pragma: no cover - its callers have just shaken hands
            return facts
        facts = replace(facts, requiretls_offered="REQUIRETLS" in connection.extensions)
        # What is tried out is judged as it would be enforced; where nothing is demanded, the same anchors say what the
        # certificate is worth, lest the record contradicts the rehearsal beside it.
        tried = required_anchors(hop.rehearsed) if hop.rehearsed is not None else ()
        on_judged = partial(connection.watch.judged, facts)
        return await self._judge_peer(hop.requirement, facts, tls, on_judged, otherwise=tried)

    async def _judge_peer(
        self,
        requirement: Requirement,
        facts: HopFacts,
        tls: TlsFacts,
        on_judged: Callable[[ChainVerdict], None] | None = None,
        *,
        otherwise: tuple[str, ...] = (),
    ) -> HopFacts:
        """Judge the peer's certificates by each of the requirement's anchors, and by the TLSA records it names.

        on_judged: called with the chain before its revocation is checked. otherwise: anchors to judge by, before the
        server's own, where the requirement names none.
        """
        first, *others = required_anchors(requirement) or dict.fromkeys((*otherwise, ""))
        chain = await self._judge_chain(requirement, tls, first, on_judged)
        judged = [(anchors, await self._judge_chain(requirement, tls, anchors)) for anchors in others]
        chains = tuple((anchors, verdict) for anchors, verdict in judged if verdict is not None)
        return replace(facts, chain=chain, chains=chains, dane=self._judge_dane(requirement, tls))

    def _judge_dane(self, requirement: Requirement, tls: TlsFacts) -> DaneVerdict | None:
        """The peer's chain against the TLSA records; of several sets the first that is not satisfied counts."""
        now = self._contexts.clock()
        verdicts = [
            dane.judge(record.records, tls.peer_chain, names=record.names, now=now) for record in _records(requirement)
        ]
        return next((verdict for verdict in verdicts if not verdict.authenticated), verdicts[0] if verdicts else None)

    async def _judge_chain(
        self,
        requirement: Requirement,
        tls: TlsFacts,
        anchors: str,
        on_judged: Callable[[ChainVerdict], None] | None = None,
    ) -> ChainVerdict | None:
        """The peer's chain against trust anchors and, if it is trusted, among the revoked ones."""
        chain = self._contexts.judge(requirement, tls, anchors)
        if chain is None or not chain.trusted or not revocable(requirement):
            return chain
        hard = isinstance(requirement, Authenticated) and requirement.revocation is RevocationCheck.HARD_FAIL
        if self._revocation is None:
            return chain.checked(_NOT_CHECKED, hard_fail=True) if hard else chain
        if on_judged is not None:
            on_judged(chain)
        revocation = await self._revocation.check(chain, staple=tls.ocsp_response, now=self._contexts.clock())
        if hard and revocation.status == "unknown" and not revocation.demanded:  # else it is for the peer to staple
            self.on_unknown(chain)
        return chain.checked(revocation, hard_fail=hard)

    @staticmethod
    def _broken(
        hop: Hop,
        connection: OutboundConnection,
        facts: HopFacts,
        error: str,
        *,
        passing: bool,
        ended: ConnectionEnded | None = None,
    ) -> HopFailed:
        """ended: how a handshake that had begun did, if that is what broke."""
        facts = replace(facts, handshake_error=error, passing=passing)
        requirement = hop.requirement
        if isinstance(requirement, Opportunistic):
            # What a later, fresh connection may do unencrypted, this one may not: judge it without that permission.
            requirement = replace(requirement, cleartext=Cleartext.ONLY_IF_NOT_OFFERED)
        verdict = judge(requirement, facts)
        failure = fell_short(verdict, facts, tuple(connection.transcript))
        if ended is None:
            return HopFailed(failure, handshake=error)
        unanswered = ended.failure.unanswered
        return HopFailed(replace(failure, unanswered=unanswered), handshake=error, shaken=connection.shaking)


def _records(requirement: Requirement) -> tuple[DaneProof, ...]:
    """The TLSA records that a requirement wants satisfied."""
    return requirement.dane if isinstance(requirement, Authenticated) else ()
