"""Facts of an inbound session: the input of `policy.connectors.match` and `policy.decisions.inbound`.

Built by `mail.inbound.session` once the session has said EHLO, again after STARTTLS. Offered to policy's callers by
`policy.decisions.facts`. Only names facts; decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from gatepost.policy.connectors.trust_anchors import anchors_label

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatepost.protocols.tls.facts import ChainVerdict, TlsFacts


_NO_CHAINS: Mapping[str, ChainVerdict] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """One inbound session.

    peer_ip: the client's address in text form. hello: what EHLO said, "" before. tls: None if unencrypted.
    client_chain: the client's certificate judged against the server's own trust anchors, None if none was asked for.
    chains: the same chain judged against the anchors that connectors name for themselves (`Directory.client_anchors`),
    by that name. user: the mailbox that logged in, and by which SASL mechanism; "" if nobody did. node: the node of our
    own site that the client proved to be, on an internal listener; "" elsewhere.
    """

    session_id: str
    peer_ip: str
    hello: str = ""
    tls: TlsFacts | None = None
    client_chain: ChainVerdict | None = None
    chains: Mapping[str, ChainVerdict] = field(default=_NO_CHAINS, hash=False)
    user: str = ""
    mechanism: str = ""
    node: str = ""

    def chain(self, anchors: str) -> ChainVerdict | None:
        """The judgement against the anchors of that name; "" is the server's own.

        A row of the trace has those that are certificates by their label.
        """
        if not anchors or not self.chains:
            return None if anchors else self.client_chain
        return self.chains.get(anchors) or self.chains.get(anchors_label(anchors))
