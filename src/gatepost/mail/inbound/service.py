"""The services and the configuration that all inbound sessions of a worker share.

`node.worker` builds one and swaps `directory` when a new version is in force; a session keeps the directory it began
with.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gatepost.events.metrics.counts import Counts
from gatepost.policy.decisions.home import ALONE
from gatepost.protocols.message.srs import NO_KEYS, SrsKeys

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from gatepost.mail.inbound.content import ContentHooks
    from gatepost.mail.inbound.login import Logins
    from gatepost.mail.inbound.stamp import Stamp
    from gatepost.mail.model.message import Delivery
    from gatepost.mail.model.trace_event import TraceEvent
    from gatepost.net.stream import TlsContext
    from gatepost.pki.site.credentials import Admission
    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.decisions.home import Nodes
    from gatepost.protocols.smtp.extensions import Extensions
    from gatepost.protocols.smtp.grammar import Path
    from gatepost.protocols.smtp.limits import SmtpLimits
    from gatepost.protocols.tls.facts import ChainVerdict, Revocation
    from gatepost.store.interface import Store


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """How long and how slow a session may be (exchange.md §13; RFC 5321 section 4.5.3.2).

    idle: seconds to the next bytes. command: seconds to the next completed command. session: seconds in all.
    data_rate: bytes per second that a message body must keep up, over each period of `rate_period` seconds; 0 is no
    check. hops: Received fields from which on a message is a loop (RFC 5321 section 6.3).
    """

    idle: float = 300.0
    command: float = 300.0
    session: float = 3600.0
    data_rate: int = 100
    rate_period: float = 60.0
    hops: int = 30


@dataclass(slots=True)
class InboundService:
    """One worker's inbound side, for one role of its listeners.

    judge_client: a client's chain (DER, leaf first) against the trust anchors a connector names ("" is the
    server's); None if those cannot be read. expiration: seconds a message of an organization stays queued. stamp: ends
    a reply. postmaster: who gets mail to <postmaster> without a domain (RFC 5321 section 4.5.1). check_revocation: asks
    about a trusted chain; None asks nobody. srs: keys for reverse-paths of forwarded mail.
    logins: where users submit mail, how they log in; None where other servers do. implicit_tls: the handshake comes
    before the greeting (RFC 8314). admit: where other nodes of the site hand mail over, who presents a chain (DER, leaf
    first); None where anybody may come. nodes: of the site, as they are now. transcripts: of how many sessions in a
    thousand the dialogue is kept, whatever happened. hooks: asks scanners about the content of messages; without it,
    and where the configuration has no content hook, nobody is asked. role: of its listeners. counts: connections and
    handshakes are counted there.
    """

    hostname: str
    directory: Directory
    store: Store
    offer: Callable[[list[Delivery]], None]
    trace: Callable[[Sequence[TraceEvent]], None]
    judge_client: Callable[[Sequence[bytes], str], ChainVerdict | None]
    expiration: Callable[[str], float]
    tls: TlsContext | None
    extensions: Extensions
    smtp_limits: SmtpLimits
    session_limits: SessionLimits
    stamp: Stamp
    postmaster: Path | None = None
    clock: Callable[[], float] = time.time
    check_revocation: Callable[[ChainVerdict], Awaitable[Revocation]] | None = None
    logins: Logins | None = None
    implicit_tls: bool = False
    admit: Callable[[Sequence[bytes]], Admission] | None = None
    nodes: Callable[[], Nodes] = lambda: ALONE
    srs: SrsKeys = NO_KEYS
    transcripts: int = 0
    hooks: ContentHooks | None = None
    role: str = "mx"
    counts: Counts = field(default_factory=Counts)
