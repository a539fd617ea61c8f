"""The facts that policy decides on: one record for an inbound session, one for an outbound connection.

Built by `mail.inbound.session` and `mail.outbound.deliverer` from what the network showed; read by
`policy.decisions.inbound` and `policy.decisions.outbound`. Nothing here decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gatepost.policy.decisions.requirement import MxLevel

if TYPE_CHECKING:
    from gatepost.protocols.dane.match import DaneVerdict
    from gatepost.protocols.tls.facts import ChainVerdict, TlsFacts


class ClassicalOnly(msgspec.Struct, frozen=True):
    """A peer is offered no post-quantum key exchange. why: how it left a handshake with one unanswered; since: when."""

    why: str
    since: float


class HopFacts(msgspec.Struct, frozen=True):
    """One connection to a next hop, as it stands when the message could be sent.

    host: the name it was looked up by (MX or smart host), or an IP address. address: "192.0.2.1:25" or the bare
    address. starttls_offered: EHLO listed STARTTLS. tls: None if unencrypted. handshake_error: why the handshake
    failed, on this connection or on the one that this one replaces; "" if none failed. chain: the next hop's
    certificates judged against the requirement's trust anchors, the first of them if it names several, None if they
    were not judged. chains: against those that it names besides, by name. dane: held against the TLSA records that the
    requirement asks to be satisfied, None if it asks for none. mx: how the host's name is known to be right. passing:
    TLS failed for a reason that may pass: the peer said so (4xx), or the connection broke. requiretls_offered: EHLO
    listed REQUIRETLS (RFC 8689), under TLS. classical: why the handshake offered classical groups only, None if it
    offered all.
    """

    host: str
    address: str
    starttls_offered: bool = False
    tls: TlsFacts | None = None
    handshake_error: str = ""
    chain: ChainVerdict | None = None
    chains: tuple[tuple[str, ChainVerdict], ...] = ()
    dane: DaneVerdict | None = None
    mx: MxLevel = MxLevel.NONE
    passing: bool = False
    requiretls_offered: bool = False
    classical: ClassicalOnly | None = None
