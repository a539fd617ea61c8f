"""The facts of one session as they grow, and the configuration that its mail goes by.

`mail.inbound.session` tells it what happened; `policy` and the trace read it. Client certificates are judged here,
after the handshake: a handshake never fails for them (DESIGN: they are asked for but never break a session).
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

from gatepost.events.trace import introduction_record, login_record, tls_record
from gatepost.mail.inbound.login import refused_as_ended
from gatepost.mail.inbound.repeated import RepeatedDecisions
from gatepost.net.sessions import MAX_AGE
from gatepost.policy.connectors.facts import NO_CHAINS, Introduction, SessionFacts, Teller
from gatepost.policy.decisions.handover import refused_as_removed, refused_stranger
from gatepost.protocols.smtp.replies import Reply
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatepost.mail.inbound.login import Login, TokenLogin
    from gatepost.mail.inbound.service import InboundService
    from gatepost.pki.site.credentials import Admission
    from gatepost.policy.decisions.decision import InboundVerdict
    from gatepost.protocols.tls.facts import ChainVerdict, TlsFacts


_TOO_MANY_UNKNOWN = Reply(421, "4.7.0", ("Too many unknown recipients in one session, closing",))


class SessionRecord:
    """facts: what policy decides on. directory: the configuration in force at the last MAIL, or at the beginning.

    repeated: what was decided by it last. transcribed: whether the dialogue is kept whatever happens, here and where
    its messages go.
    """

    __slots__ = (
        "_inbound",
        "_judged_from",
        "_judged_to",
        "_not_admitted",
        "_service",
        "_tls",
        "_trust",
        "_unknown",
        "directory",
        "facts",
        "repeated",
        "transcribed",
    )

    def __init__(
        self, session_id: str, peer_ip: str, service: InboundService, introduction: Introduction | None = None
    ) -> None:
        self._service = service
        self._tls: dict[str, Any] = {}
        self._not_admitted = ""
        self._unknown = 0
        self._trust = service.trust()
        self._judged_from, self._judged_to = -math.inf, math.inf  # seconds since 1970 in which what was judged counts
        self._inbound: tuple[InboundVerdict, SessionFacts, dict[str, Any]] | None = None
        self.directory = service.directory
        self.repeated = RepeatedDecisions()
        self.facts = SessionFacts(session_id, peer_ip, introduction=introduction)
        self.transcribed = int(session_id, 16) % 1000 < service.transcripts if service.transcripts else False

    def hello(self, domain: str) -> None:
        """The client named itself."""
        self.facts = replace(self.facts, hello=domain)

    def introduced(self, peer_ip: str, introduction: Introduction) -> None:
        """Another host names the client by XCLIENT: it begins anew, and the certificate is not the client's."""
        self.facts = replace(
            self.facts, peer_ip=peer_ip, introduction=introduction, hello="", client_chain=None, chains=NO_CHAINS
        )
        self._tls = tls_record(self.facts.tls, None)

    def secured(self, tls: TlsFacts) -> None:
        """TLS is up; what the client said before is forgotten (RFC 3207 section 4.2)."""
        self.facts = replace(self.facts, hello="", tls=tls)
        self._judge_anew(tls)

    def renew(self) -> dict[str, ChainVerdict]:
        """Go by what is in force now: a message begins, and what was decided before counts no more.

        The client's certificate is judged by anchors that are new; from the start where trust anchors or the nodes of
        the site may be others by now, or the judgement is old (`MAX_AGE`, or the certificate has expired). Returns
        chains to ask about, as of `revocable`: {} as long as nothing is new.
        """
        service = self._service
        is_old = self._trust != service.trust() or not self._judged_from <= service.clock() < self._judged_to
        if self.directory is service.directory and not is_old:
            return {}
        self.directory, self.repeated = service.directory, RepeatedDecisions()
        if (tls := self.facts.tls) is not None and is_old:
            self._judge_anew(tls)
        elif tls is not None and service.admit is None:
            self._judge_for_connectors(tls)
        return self.revocable()

    def _judge_anew(self, tls: TlsFacts) -> None:
        """Judge the client's certificate as if it had been presented now."""
        service = self._service
        self._trust, self._judged_from = service.trust(), service.clock()
        if service.admit is not None:
            own = self._admit(service.admit(tls.peer_chain), tls)
        else:
            own = self._judge(tls, "") if self._presented(tls) else None
            self.facts = replace(self.facts, client_chain=own, chains=NO_CHAINS)
            self._judge_for_connectors(tls)
        ends = own.leaf.not_after if own is not None and own.trusted and own.leaf is not None else math.inf
        self._judged_to = min(self._judged_from + MAX_AGE, ends) if tls.peer_chain else math.inf

    def _judge_for_connectors(self, tls: TlsFacts) -> None:
        """Judge the client's chain by the anchors that connectors name; what was judged already stands."""
        own, judged = self.facts.client_chain, self.facts.chains
        chains = {}
        if self._presented(tls):
            anchors = self.directory.client_anchors(own.leaf if own is not None else None)
            chains = {name: verdict for name in anchors if (verdict := judged.get(name) or self._judge(tls, name))}
        self.facts = replace(self.facts, chains=chains)
        self._tls = tls_record(tls, own, chains)

    def _presented(self, tls: TlsFacts) -> bool:
        """Whether the client showed a certificate, and not a host that speaks for it."""
        introduction = self.facts.introduction
        return bool(tls.peer_chain) and (introduction is None or introduction.how is not Teller.XCLIENT)

    def _admit(self, admission: Admission, tls: TlsFacts) -> ChainVerdict | None:
        self._not_admitted = admission.why
        self.facts = replace(self.facts, client_chain=admission.chain, node=admission.node)
        self._tls = tls_record(tls, admission.chain)
        return admission.chain

    def stranger(self) -> InboundVerdict | None:
        """The refusal of a client that is not a node of the site, where only nodes may come; None for whoever may."""
        if self._service.admit is None or self.facts.node:
            return None
        return refused_stranger(self.directory, self._not_admitted)

    def ended(self, login: Login | TokenLogin | None) -> InboundVerdict | None:
        """The refusal of a message of whoever is not a node of the site, or not logged in, any more; None else.

        login: of the session, if there was one.
        """
        if self._service.admit is not None and not self.facts.node:
            return refused_as_removed(self.directory, self._not_admitted)
        if login is None or not self.facts.user:
            return None
        return refused_as_ended(login, self.directory, self._service.clock())

    def reply_to_recipient(self, refused: InboundVerdict) -> Reply:
        """The reply to a refused recipient; 421 once a stranger has named too many that do not exist (harvesting)."""
        most = self._service.session_limits.unknown_recipients
        self._unknown += refused.reply.enhanced == "5.1.1" and refused.direction != "originating"
        return _TOO_MANY_UNKNOWN if most and self._unknown > most else refused.reply

    def logged_in(self, user: str, mechanism: str) -> None:
        """The client proved which user it speaks for."""
        self.facts = replace(self.facts, user=user, mechanism=mechanism)

    def revocable(self) -> dict[str, ChainVerdict]:
        """Trusted chains, by anchors, that must not be revoked for a connector to know the client by them.

        Those that were asked about already are left out.
        """
        leaf = self.facts.client_chain.leaf if self.facts.client_chain else None
        if leaf is None or self._service.check_revocation is None:
            return {}
        names = self.directory.revocation_anchors(leaf)
        chains = {name: chain for name in names if (chain := self.facts.chain(name)) is not None and chain.trusted}
        return {name: chain for name, chain in chains.items() if chain.revocation is None}

    async def check_revocation(self, chains: Mapping[str, ChainVerdict]) -> None:
        """Find out whether they are. What cannot be learnt is noted: each connector says itself what that means."""
        check = self._service.check_revocation
        assert check is not None  # noqa: S101 - without it there is nothing to check
        revocations = await asyncio.gather(*(check(chain) for chain in chains.values()))
        checked = {
            name: chain.checked(revocation, hard_fail=False)
            for (name, chain), revocation in zip(chains.items(), revocations, strict=True)
        }
        own = checked.pop("", self.facts.client_chain)
        self.facts = replace(self.facts, client_chain=own, chains={**self.facts.chains, **checked})
        self._tls = tls_record(self.facts.tls, own, self.facts.chains)

    def _judge(self, tls: TlsFacts, anchors: str) -> ChainVerdict | None:
        return self._service.judge_client(tls.peer_chain, anchors)

    @property
    def tls(self) -> dict[str, Any]:
        """The handshake as the trace keeps it, {} if unencrypted."""
        return self._tls

    def inbound(self, verdict: InboundVerdict) -> dict[str, Any]:
        """What the queue keeps of the session a message came by: enough to explain it later. Nobody changes it.

        Of the verdict that was last, and the facts that it was on, it is known.
        """
        last = self._inbound
        if last is None or last[0] is not verdict or last[1] is not self.facts:
            last = self._inbound = verdict, self.facts, self._inbound_by(verdict)
        return last[2]

    def _inbound_by(self, verdict: InboundVerdict) -> dict[str, Any]:
        kept = {"transcribed": True} if self.transcribed else {}
        return (
            kept
            | {
                "peer": self.facts.peer_ip,
                "hello": self.facts.hello,
                "connector": verdict.connector,
                "requirement": verdict.requirement,
                "tls": self._tls,
                **login_record(self.facts),
                **introduction_record(self.facts),
            }
            | verdict.detail()
        )
