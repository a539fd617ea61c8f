"""Facts of an inbound session: the input of `policy.connectors.match` and `policy.decisions.inbound`.

Built by `mail.inbound.session` once the session has said EHLO, again after STARTTLS. Offered to policy's callers by
`policy.decisions.facts`. Only names facts; decides nothing.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gatepost.policy.connectors.trust_anchors import anchors_label

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatepost.protocols.tls.facts import ChainVerdict, TlsFacts


NO_CHAINS: Final[Mapping[str, ChainVerdict]] = MappingProxyType({})
"""Of a client without a certificate."""
_NO_TEXTS: Mapping[str, str] = MappingProxyType({})


class Teller(StrEnum):
    """The ways in which another host says whose connection or message it passes on."""

    PROXY = "PROXY"
    XCLIENT = "XCLIENT"
    RECEIVED = "Received"


class Introduction(msgspec.Struct, frozen=True):
    """The reason why the client's address is another than that of the connection.

    how: PROXY is the header of the PROXY protocol, RECEIVED the Received fields of a message. by: the address that said
    so. tls: what a proxy says of the client's TLS session with it, which decides nothing.
    """

    how: Teller
    by: str
    tls: Mapping[str, str] = _NO_TEXTS

    def __hash__(self) -> int:
        """Without the mapping, which may have none."""
        return hash((self.how, self.by))

    @property
    def text(self) -> str:
        """For people: "by PROXY of 192.0.2.7"."""
        return f"by {self.how} of {self.by}"

    def record(self) -> dict[str, Any]:
        """The form that the trace keeps."""
        return {"how": str(self.how), "by": self.by} | ({"tls": dict(self.tls)} if self.tls else {})

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Introduction:
        """The same again from the trace."""
        return cls(Teller(record["how"]), record["by"], record.get("tls", _NO_TEXTS))


class SessionFacts(msgspec.Struct, frozen=True):
    """One inbound session.

    session_id: any text that tells it from others. peer_ip: the client's address in text form. hello: what EHLO said,
    "" before. tls: None if unencrypted. client_chain: the client's certificate judged against the server's own trust
    anchors, None if none was asked for. chains: the same chain judged against the anchors that connectors name for
    themselves (`Directory.client_anchors`), by that name. user: the mailbox that logged in, and by which SASL
    mechanism; "" if nobody did. node: the node of our own site that the client proved to be, on an internal listener;
    "" elsewhere. introduction: who says that peer_ip is the client, None where the connection itself does.
    """

    session_id: str
    peer_ip: str
    hello: str = ""
    tls: TlsFacts | None = None
    client_chain: ChainVerdict | None = None
    chains: Mapping[str, ChainVerdict] = NO_CHAINS
    user: str = ""
    mechanism: str = ""
    node: str = ""
    introduction: Introduction | None = None

    def __hash__(self) -> int:
        """By the session: `chains` has no hash."""
        return hash((self.session_id, self.peer_ip))

    @property
    def connection_ip(self) -> str:
        """The address that the connection comes from, or is told to by a proxy: never one that a message only names."""
        introduction = self.introduction
        return introduction.by if introduction is not None and introduction.how is Teller.RECEIVED else self.peer_ip

    def chain(self, anchors: str) -> ChainVerdict | None:
        """The judgement against the anchors of that name; "" is the server's own.

        A row of the trace has those that are certificates by their label.
        """
        if not anchors or not self.chains:
            return None if anchors else self.client_chain
        return self.chains.get(anchors) or self.chains.get(anchors_label(anchors))
