"""Share among all inbound sessions of a worker: services, configuration, who is connected, stamps.

`node.assembly` makes it and swaps `directory` when a new version is in force; each MAIL goes by the one in force then.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from gatepost.events.metrics.counts import Counts
from gatepost.mail.inbound.recipient_lookups import RecipientLookups
from gatepost.policy.decisions.home import ALONE, Nodes
from gatepost.protocols.message.srs import NO_KEYS, SrsKeys
from gatepost.protocols.smtp.replies import DRAINING, Reply
from gatepost.protocols.smtp.server.transcript import TranscriptBudget
from gatepost.store.interface import Store, StoreFull
from gatepost.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from gatepost.mail.inbound.authentication import Authenticator
    from gatepost.mail.inbound.content import ContentHooks
    from gatepost.mail.inbound.login import Logins
    from gatepost.mail.inbound.quarantine import QuarantineRoom
    from gatepost.mail.inbound.queue_shares import QueueShares
    from gatepost.mail.inbound.source_limits import SourceLimits
    from gatepost.mail.inbound.usage import SendingUsage
    from gatepost.mail.model.message import Delivery
    from gatepost.mail.model.trace_event import TraceEvent
    from gatepost.net.stream import TlsContext
    from gatepost.pki.site.credentials import Admission
    from gatepost.policy.connectors.directory import Directory
    from gatepost.protocols.smtp.extensions import Extensions
    from gatepost.protocols.smtp.grammar import Path
    from gatepost.protocols.smtp.limits import SmtpLimits
    from gatepost.protocols.tls.facts import ChainVerdict, Revocation


SWEEP_SECONDS: Final = 0.5
"""Between two looks at all sessions."""

_log = logging.getLogger(__name__)


class SessionLimits(msgspec.Struct, frozen=True):
    """How long and how slow a session may be (exchange.md §13; RFC 5321 section 4.5.3.2).

    idle_timeout: seconds to the next bytes. command_timeout: seconds to the next completed command. session_time:
    seconds in all. data_rate_min: bytes per second that a message body must keep up, over each period of
    `data_rate_period` seconds; 0 is no check. hops: Received fields from which on a message is a loop (RFC 5321
    section 6.3). unknown_recipients: that a stranger may name in one session; 0 is no limit.
    """

    idle_timeout: float = 300.0
    command_timeout: float = 300.0
    session_time: float = 3600.0
    data_rate_min: int = 100
    data_rate_period: float = 60.0
    hops: int = 30
    unknown_recipients: int = 100


class _Body(Protocol):
    @property
    def bytes_seen(self) -> int:
        """Octets that have come so far."""
        ...


class DataRate:
    """Whether the body of a message arrives as fast as it must, looked at once in each period."""

    __slots__ = ("_end", "_seen")

    def __init__(self) -> None:
        self._end, self._seen = 0.0, 0

    def restart(self) -> None:
        """A body begins, or it was we who were late."""
        self._end = 0.0

    def is_low(self, now: float, body: _Body, limits: SessionLimits) -> bool:
        """Whether a whole period brought too few octets."""
        seen = body.bytes_seen
        if not limits.data_rate_min or now < self._end:
            return False
        is_slow = self._end > 0.0 and seen - self._seen < limits.data_rate_min * limits.data_rate_period
        self._end, self._seen = now + limits.data_rate_period, seen
        return is_slow


class InboundService(msgspec.Struct):
    """One worker's inbound side, for one role of its listeners.

    judge_client: a client's chain (DER, leaf first) against the trust anchors a connector names ("" is the server's);
    None if those cannot be read. trust: another number once trust anchors are read again, or the nodes of the site are
    others: sessions then judge their clients anew. expiration: seconds a message of an organization stays queued.
    stamp: ends a reply. postmaster: who gets mail to <postmaster> without a domain (RFC 5321 section 4.5.1).
    check_revocation: asks about a trusted chain; None asks nobody. srs: keys for reverse-paths of forwarded mail.
    logins: where users submit mail, how they log in; None where other servers do. implicit_tls: the handshake comes
    before the greeting (RFC 8314). admit: where other nodes of the site hand mail over, who presents a chain (DER, leaf
    first); None where anybody may come. nodes: of the site, as they are now. transcripts: of how many sessions in a
    thousand the dialogue is kept, whatever happened. hooks: asks scanners about the content of messages; without it,
    and where the configuration has no content hook, nobody is asked. authenticator: checks SPF, DKIM, DMARC and ARC;
    without it, nobody does. quarantine: whether there is room for what is held. shares: whether an organization has too
    much in a queue that is nearly full. recipients: asks whether a recipient of a relayed domain exists. usage: counts
    what senders with a limit send; None limits nobody. source_limits: what unknown clients may do in a minute; None:
    anything. role: of its listeners. counts: connections and handshakes are counted there. tell: takes events that are
    counted and logged, without a row in the trace.
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
    trust: Callable[[], int] = lambda: 0
    implicit_tls: bool = False
    admit: Callable[[Sequence[bytes]], Admission] | None = None
    nodes: Callable[[], Nodes] = lambda: ALONE
    srs: SrsKeys = NO_KEYS
    transcripts: int = 0
    hooks: ContentHooks | None = None
    recipients: RecipientLookups = msgspec.field(default_factory=lambda: RecipientLookups({}))
    authenticator: Authenticator | None = None
    quarantine: QuarantineRoom | None = None
    shares: QueueShares | None = None
    usage: SendingUsage | None = None
    source_limits: SourceLimits | None = None
    role: str = "mx"
    counts: Counts = msgspec.field(default_factory=Counts)
    tell: Callable[[Sequence[TraceEvent]], None] = lambda _: None

    def cannot_accept(self, size: int, *, draining: bool) -> Reply | None:
        """Why no message of `size` octets can be taken from anybody now; None if one can."""
        if draining:
            return DRAINING
        if self.store.failure is not None:
            return self.store.failure.reply
        return None if self.store.room_for(size) else StoreFull.reply


class Stamp:
    """Makes the end of every reply, ` [HOSTNAME UTC-TIME SESSION-ID]`, by which a refusal is found in the trace.

    The date is formatted once a second, since every reply bears one.
    """

    __slots__ = ("_clock", "_head", "_prefix", "_second")

    def __init__(self, hostname: str, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._second = -1
        self._head = f" [{hostname} "
        self._prefix = ""

    def __call__(self, session_id: str) -> str:
        """The stamp for now: " [mx1.contoso.example 2026-11-24T16:12:52.123Z 1f0c…]"."""
        now = self._clock()
        second = int(now)
        if second != self._second:
            self._second = second
            self._prefix = self._head + rfc3339(second)[:-1]
        return f"{self._prefix}.{int((now - second) * 1000):03d}Z {session_id}]"


class _Session(Protocol):
    def look_over(self, now: float) -> None:
        """End the session if one of its times has passed."""

    def hold_back(self, *, behind: bool) -> None:
        """Read no more of its body, or go on."""

    def drain(self) -> None:
        """End the session now if no message is under way, else after it."""


class CommitWaits:
    """The time that messages wait to be stored: those that still do, and those that did since the last look."""

    __slots__ = ("_began", "_longest")

    def __init__(self) -> None:
        self._began: dict[object, float] = {}
        self._longest = 0.0

    def began(self, session: object, now: float) -> None:
        """The message of a session begins to wait."""
        self._began[session] = now

    def ended(self, session: object, now: float) -> None:
        """It waits no longer."""
        self._longest = max(self._longest, now - self._began.pop(session, now))

    def longest(self, now: float) -> float:
        """The longest wait since the last call, in seconds; 0.0 if there was none."""
        longest, self._longest = self._longest, 0.0
        return max(longest, now - next(iter(self._began.values()), now))


class SessionRegistry:
    """Who is connected: looks for slow sessions twice a second, and ends all in order on shutdown.

    One sweep over all costs less than a timer for each, and gives every time-out a reply instead of a bare close.

    clock: a monotonic one, in seconds. transcripts: how much memory theirs may take together. commits: how long their
    messages wait to be stored. is_behind: the disk has so much to write that bodies are not read. coming: those that
    may hand over a message soon: new ones, and those that sent MAIL; not those that rest, or wait for their commit.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.draining = False
        self.is_behind = False
        self.transcripts = TranscriptBudget()
        self.coming: set[_Session] = set()
        self.commits = CommitWaits()
        self._sessions: set[_Session] = set()

    def __len__(self) -> int:
        return len(self._sessions)

    def add(self, session: _Session) -> None:
        """A session began."""
        self._sessions.add(session)
        self.coming.add(session)

    def remove(self, session: _Session) -> None:
        """A session is over."""
        self._sessions.discard(session)
        self.coming.discard(session)

    def hand_over(self, session: _Session) -> None:
        """The message of a session goes to the store."""
        self.coming.discard(session)
        self.commits.began(session, self.clock())

    def hold_back(self, behind: bool) -> None:  # noqa: FBT001 - as the store tells it
        """The disk is behind with bodies: sessions read no more of theirs until it has caught up."""
        self.is_behind = behind
        for session in tuple(self._sessions):
            session.hold_back(behind=behind)

    def sweep(self) -> None:
        """Look every session over; called every `SWEEP_SECONDS`."""
        now = self.clock()
        for session in tuple(self._sessions):
            session.look_over(now)

    def drain(self) -> None:
        """Let running messages end, and begin no new one."""
        self.draining = True
        for session in tuple(self._sessions):
            session.drain()
