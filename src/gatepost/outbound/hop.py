"""Opens a connection to one address and has policy judge it before any MAIL is sent.

Called by `outbound.attempt` when `outbound.pool` has none. Greeting, EHLO, STARTTLS if it is offered, the handshake,
EHLO again; what was seen becomes facts, and `policy.outbound` says whether they are enough. No message passes here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gatepost.connectors.values import Cleartext, RevocationCheck
from gatepost.net import dial
from gatepost.net.stream import LossKind
from gatepost.outbound.connection import OutboundConnection, Step
from gatepost.outbound.contexts import revocable
from gatepost.outbound.failure import ConnectionEnded, HopFailed, cannot_connect, fell_short
from gatepost.policy.facts import HopFacts
from gatepost.policy.outbound import judge
from gatepost.policy.requirement import Authenticated, MxLevel, Opportunistic
from gatepost.smtp.client import Client
from gatepost.smtp.replies import Reply
from gatepost.tls.facts import Revocation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gatepost.connectors.model import ClientCertificate
    from gatepost.lookup.revocation import RevocationChecker
    from gatepost.net.stream import Stream
    from gatepost.outbound.connection import SmtpTimeouts
    from gatepost.outbound.contexts import ClientContexts
    from gatepost.policy.requirement import Requirement, Verdict
    from gatepost.tls.facts import ChainVerdict, TlsFacts

__all__ = ["Hop", "HopOpener", "OpenHop"]

_NOBODY_ASKED = Revocation("unknown", "nobody was asked for revocation")


@dataclass(frozen=True, slots=True)
class Hop:
    """One address of one host and the rules for the way there. Equal hops may share a connection.

    host: the name it was found by, or an IP address. rehearsed: what a connector in rehearsal would require.
    certificate: ours, to present if asked. mx: how the host's name is known to be right. generation: of the
    configuration.
    """

    host: str
    address: str
    port: int
    requirement: Requirement
    rehearsed: Requirement | None = None
    certificate: ClientCertificate | None = None
    mx: MxLevel = MxLevel.NONE
    lmtp: bool = False
    generation: int = 0

    @property
    def endpoint(self) -> str:
        """Address and port, as logs and replies show them."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    @property
    def server_name(self) -> str:
        """SNI: the host's name; an IP address is none (RFC 6066 section 3)."""
        bare = self.host.startswith("[") or ":" in self.host or self.host.rpartition(".")[2].isdigit()
        return "" if bare else self.host


@dataclass(frozen=True, slots=True, eq=False)
class OpenHop:
    """A connection that met its requirement. rehearsal: what a connector in rehearsal would have said."""

    hop: Hop
    connection: OutboundConnection
    facts: HopFacts
    verdict: Verdict
    rehearsal: Verdict | None = None


class HopOpener:
    """hello_name: our host name for EHLO. dial: makes the connection (`net.dial.connect`).

    revocation: asked for trusted chains where the requirement wants it; without it nobody is, and hard-fail waits.
    """

    def __init__(
        self,
        hello_name: str,
        contexts: ClientContexts,
        timeouts: SmtpTimeouts,
        connect: Callable[..., Awaitable[Stream]] = dial.connect,
        revocation: RevocationChecker | None = None,
    ) -> None:
        self._hello_name = hello_name
        self._contexts = contexts
        self._timeouts = timeouts
        self._connect = connect
        self._revocation = revocation

    async def open(
        self, hop: Hop, *, handshake_error: str = "", watch: Callable[[Step], None] | None = None
    ) -> OpenHop:
        """Connect and judge. Raises HopFailed.

        handshake_error: why TLS failed on the connection that this one replaces. It then goes on in clear if the
        requirement lets it; that is for the caller to have decided (see `may_go_clear`). watch: called as each step
        begins, for `checks`.
        """
        if watch is not None:
            watch(Step.CONNECT)
        connection = await self._dial(hop)
        if watch is not None:
            connection.watch = watch
        try:
            return await self._establish(hop, connection, handshake_error)
        except ConnectionEnded as ended:
            failure = ended.failure.at(hop.host, hop.endpoint, tuple(connection.transcript))
            raise HopFailed(failure) from ended
        except HopFailed as failed:
            connection.quit()
            if failed.failure.host:
                raise
            # A fault of this machine: where it showed, and what was said until then, belong to the record all the same.
            raise HopFailed(failed.failure.at(hop.host, hop.endpoint, tuple(connection.transcript))) from failed
        except BaseException:
            connection.abort("given up while opening")
            raise

    async def _dial(self, hop: Hop) -> OutboundConnection:
        try:
            stream = await self._connect(hop.address, hop.port, timeout=self._timeouts.connect)
        except OSError as error:
            raise HopFailed(cannot_connect(error).at(hop.host, hop.endpoint)) from error
        return OutboundConnection(stream, Client(self._hello_name, lmtp=hop.lmtp), self._timeouts)

    async def _establish(self, hop: Hop, connection: OutboundConnection, handshake_error: str) -> OpenHop:
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
            facts = await self._secure(hop, connection, facts)
        verdict = judge(hop.requirement, facts)
        if not verdict.passed:
            raise HopFailed(fell_short(verdict, facts, tuple(connection.transcript)))
        return OpenHop(hop, connection, facts, verdict, await self._rehearse(hop, facts))

    async def _rehearse(self, hop: Hop, facts: HopFacts) -> Verdict | None:
        if hop.rehearsed is None:
            return None
        if facts.tls is not None:
            try:
                facts = replace(facts, chain=await self._judge_chain(hop.rehearsed, facts.tls))
            except HopFailed:  # its anchors cannot be read: enforced, it would fail, so "not judged" is the truth
                facts = replace(facts, chain=None)
        return judge(hop.rehearsed, facts)

    async def _secure(self, hop: Hop, connection: OutboundConnection, facts: HopFacts) -> HopFacts:
        """STARTTLS and what it proved. Whoever breaks it gets nothing on this connection, whatever the requirement."""
        context = self._contexts.context(hop.requirement, hop.certificate)
        key = f"{hop.host} {hop.endpoint}"
        try:
            tls = await connection.start_tls(context, server_name=hop.server_name, session_key=key)
        except ConnectionEnded as ended:
            raise self._broken(hop, connection, facts, ended.failure.detail) from ended
        if isinstance(tls, Reply):
            raise self._broken(hop, connection, facts, f"STARTTLS was answered with {tls.text}")
        try:
            await connection.hello()
        except ConnectionEnded as ended:
            # TLS 1.3: a server that refuses our certificate says so after the client has finished.
            if ended.failure.loss is LossKind.HANDSHAKE:
                raise self._broken(hop, connection, facts, ended.failure.detail) from ended
            raise
        return replace(facts, tls=tls, chain=await self._judge_chain(hop.requirement, tls))

    async def _judge_chain(self, requirement: Requirement, tls: TlsFacts) -> ChainVerdict | None:
        """The peer's chain against the requirement's anchors and, if it is trusted, among the revoked ones."""
        chain = self._contexts.judge(requirement, tls)
        if chain is None or not chain.trusted or not revocable(requirement):
            return chain
        hard = isinstance(requirement, Authenticated) and requirement.revocation is RevocationCheck.HARD_FAIL
        if self._revocation is None:
            return chain.checked(_NOBODY_ASKED, hard_fail=True) if hard else chain
        found = await self._revocation.check(chain, staple=tls.ocsp_response, now=self._contexts.clock())
        return chain.checked(found, hard_fail=hard)

    @staticmethod
    def _broken(hop: Hop, connection: OutboundConnection, facts: HopFacts, error: str) -> HopFailed:
        facts = replace(facts, handshake_error=error)
        requirement = hop.requirement
        if isinstance(requirement, Opportunistic):
            # What a later, fresh connection may do in clear, this one may not: judge it without that permission.
            requirement = replace(requirement, cleartext=Cleartext.ONLY_IF_NOT_OFFERED)
        verdict = judge(requirement, facts)
        return HopFailed(fell_short(verdict, facts, tuple(connection.transcript)), handshake=error)
