"""One connection to a next hop: drives `protocols.smtp.client.client` over a `net.stream` and waits for the replies.

Opened by `mail.outbound.hop`, kept by `mail.outbound.pool`, used by `mail.outbound.deliverer`. Every wait has an end
(RFC 5321 section 4.5.3.2). What may be sent over it is not decided here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from gatepost.mail.outbound.body import ONE_FLIGHT, Chunks
from gatepost.mail.outbound.failure import (
    ConnectionEnded,
    HopFailure,
    UnwritableEnvelope,
    connection_lost,
    loss_reply,
    protocol_broken,
    refused,
)
from gatepost.net.stream import Loss, LossKind, Stream, TlsContext
from gatepost.net.timer import IdleTimer
from gatepost.protocols.smtp.client.client_events import (
    AuthReply,
    BodyWanted,
    ClientEvent,
    Closed,
    Greeting,
    HelloDone,
    RecipientAnswered,
    StartTlsReply,
    TransactionDone,
)
from gatepost.protocols.smtp.client.reply_parser import ProtocolError
from gatepost.protocols.smtp.replies import Reply
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatepost.policy.decisions.facts import HopFacts
    from gatepost.protocols.smtp.client.client import Client
    from gatepost.protocols.smtp.client.transaction import MailTransaction, Peer, TransactionResult
    from gatepost.protocols.tls.facts import ChainVerdict, TlsFacts


_CLIENT_EVENTS = (
    Greeting | HelloDone | StartTlsReply | AuthReply | BodyWanted | TransactionDone | RecipientAnswered | Closed
)
_TRANSCRIPT_LINES = 100
_TRANSCRIPT_LINE = 512  # characters that are kept of one


class Step(StrEnum):
    """Steps of opening a connection, in this order; HELLO comes again after HANDSHAKE.

    REVOCATION: only where a trusted chain is checked for revocation. LOGIN: only to smart hosts that want it.
    """

    CONNECT = "connect"
    GREETING = "greeting"
    HELLO = "hello"
    STARTTLS = "starttls"
    HANDSHAKE = "handshake"
    REVOCATION = "revocation"
    LOGIN = "login"


class SmtpTimeouts(msgspec.Struct, frozen=True):
    """Time limits in seconds. The defaults are the least that RFC 5321 section 4.5.3.2 asks for.

    connect: for TCP (the RFC names none). hello: for the reply to EHLO. handshake: for TLS. envelope: for the replies
    to MAIL and RCPT; for each recipient beyond the first `recipient` is added. data: for the 354. block: for the peer
    to take 256 KiB of the body. end: for the reply to the end of the message.
    """

    connect: float = 30.0
    greeting: float = 300.0
    hello: float = 300.0
    handshake: float = 60.0
    envelope: float = 300.0
    recipient: float = 5.0
    data: float = 120.0
    block: float = 180.0
    end: float = 600.0


class Watch:
    """Observer of a connection that is being opened. This one does nothing, for deliveries; `checks` has another."""

    __slots__ = ()

    def __call__(self, step: Step, /) -> None:
        """A step begins, and the one before has gone well."""

    def connected(self, transcript: Sequence[str], /) -> None:
        """There is a connection. transcript: its dialogue, which grows."""

    def secured(self, facts: HopFacts, tls: TlsFacts, /) -> None:
        """The handshake is done. facts: as they were before."""

    def judged(self, facts: HopFacts, chain: ChainVerdict, /) -> None:
        """The chain was judged; it is checked for revocation next. facts: as they were before."""


_UNWATCHED = Watch()


class OutboundConnection:
    """A `net.stream.Receiver` with a coroutine for each step of the sending side.

    Each step raises ConnectionEnded once nothing more can be done here; `send` does not, it has an Outcome always.
    transcript: what was said until the first MAIL, "> " ours, "< " theirs, one line each.
    sent: transactions begun. shaking: the handshake has begun. greeted: the peer has answered EHLO.
    in_doubt: a message was sent to its end, and its reply no longer waited for.
    owned: whether the message is this process's still, asked before its end is sent; set for each `send`.
    on_end: called once when the connection ends while it is idle. watch: called as each step begins.
    """

    def __init__(self, stream: Stream, client: Client, timeouts: SmtpTimeouts) -> None:
        self.transcript: list[str] = []
        self.sent = 0
        self.shaking = False
        self.greeted = False
        self.in_doubt = False
        self.owned: Callable[[], bool] = lambda: True
        self.on_end: Callable[[], None] | None = None
        self.watch = _UNWATCHED
        self._stream = stream
        self._client = client
        self._timeouts = timeouts
        self._events: deque[ClientEvent | TlsFacts] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self._clock = IdleTimer(asyncio.get_running_loop(), self._expired)
        self._patient = 0.0  # seconds that the clock was last set to
        self._ended: HopFailure | None = None
        self._stopping = False  # the caller was cancelled, and only waits for a last reply
        self._loop = asyncio.get_running_loop()
        stream.attach(self)

    @property
    def usable(self) -> bool:
        """Whether another transaction may be begun."""
        return self._ended is None and self._client.usable and not self._events and not self._stopping

    @property
    def local(self) -> str:
        """Our own IP address."""
        return self._stream.local.host

    @property
    def extensions(self) -> dict[str, str]:
        """The extensions of the peer's last reply to EHLO: keyword → parameters."""
        return self._client.extensions

    @property
    def peer(self) -> Peer:
        """The same, parsed."""
        return self._client.peer

    @property
    def recipients_max(self) -> int:
        """Recipients of one transaction the peer says it takes (RFC 9422), 0 if it does not say."""
        return self._client.peer.recipients_max

    @property
    def transactions_max(self) -> int:
        """Transactions of one connection the peer says it takes (RFC 9422), 0 if it does not say."""
        return self._client.peer.transactions_max

    @property
    def counts_domains(self) -> bool:
        """Whether a transaction has recipients in one domain only; see `protocols.smtp.client.transaction.Peer`."""
        return self._client.peer.counts_domains

    @property
    def spent(self) -> bool:
        """Whether the peer takes no more transactions over this connection."""
        return 0 < self.transactions_max <= self.sent

    # Receiver

    def received(self, data: bytes) -> None:
        """Bytes of the peer: see net.stream.Receiver."""
        try:
            self._events.extend(self._client.receive(data))
        except ProtocolError as error:
            self._fail(protocol_broken(str(error)))
            return
        self._flush()
        if self._client.failure is not None:
            self._fail(protocol_broken(str(self._client.failure)))
        # No event comes of a reply that only lets the next octets go, as 354 does: then nobody need wake.
        if self._events or self._waiting is None or self._client.wants_body:
            self._wake()

    def secured(self, facts: TlsFacts) -> None:
        """The handshake is complete."""
        self._events.append(facts)
        self._wake()

    def lost(self, loss: Loss) -> None:
        """The connection is gone; a transaction under way ends with what is known."""
        self._clock.end()
        self._events.extend(self._client.lost(loss_reply(loss, self._client.awaiting)))
        if self._ended is None:
            self._ended = connection_lost(loss)
        self._wake()

    # the steps

    async def greeting(self) -> Reply:
        """Wait for the peer's greeting. Raises ConnectionEnded unless it is positive."""
        self.watch(Step.GREETING)
        event = await self._next(Greeting, self._timeouts.greeting)
        return self._welcome(event.reply, "the connection")

    async def hello(self) -> Reply:
        """Send EHLO, else HELO, or LHLO; sets `extensions`."""
        self.watch(Step.HELLO)
        self._say(self._client.hello, self._client.hello_verb)
        event = await self._next(HelloDone, self._timeouts.hello)
        reply = self._welcome(event.reply, self._client.hello_verb)
        self.greeted = True
        return reply

    async def start_tls(self, context: TlsContext, *, server_name: str, session_key: str) -> TlsFacts | Reply:
        """Send STARTTLS and shake hands; a Reply if the peer refused the command though it had offered it."""
        self.watch(Step.STARTTLS)
        self._say(self._client.starttls, "STARTTLS")
        event = await self._next(StartTlsReply, self._timeouts.hello)
        self._note(event.reply)
        if not event.reply.positive:
            return event.reply
        self.watch(Step.HANDSHAKE)
        self.shaking = True
        self._stream.start_tls(context, server_name=server_name, session_key=session_key)
        facts = await self._shake_hands()
        self._say(self._client.tls_started, f"({facts.version} {facts.suite})")
        return facts

    async def secure(self, context: TlsContext, *, server_name: str, session_key: str) -> TlsFacts:
        """Begin TLS before the peer's greeting; then `greeting`."""
        self.watch(Step.HANDSHAKE)
        self.shaking = True
        self._stream.start_tls(context, server_name=server_name, session_key=session_key)
        facts = await self._shake_hands()
        self._transcribe(f"> ({facts.version} {facts.suite})")
        return facts

    def channel_bindings(self) -> dict[str, bytes]:
        """As `net.stream.Stream` has them."""
        return self._stream.channel_bindings()

    async def auth(self, mechanism: str, initial: bytes | None) -> Reply:
        """Send AUTH. What follows it is a secret, and in no transcript."""
        self.watch(Step.LOGIN)
        self._say(partial(self._client.auth, mechanism, initial), f"AUTH {mechanism}{' ...' if initial else ''}")
        return await self._auth_reply()

    async def auth_response(self, response: bytes) -> Reply:
        """Answer a challenge."""
        self._say(partial(self._client.auth_response, response), "...")
        return await self._auth_reply()

    async def send(self, transaction: MailTransaction, body: bytes | None, chunks: Chunks) -> TransactionResult:
        """Send one message to some recipients. body: all of it if it is in memory, else None and `chunks` yields it.

        Raises UnwritableEnvelope, and the connection remains as it was, if an address cannot be written in a command.
        If the body cannot be read to its end, or the caller is cancelled, the connection is dropped, so that the peer
        does not take a part for the whole; then the exception goes on. A first cancellation has no effect once the
        message was sent to its end, but that nothing else is sent: the peer may have taken it, and the reply tells.
        After a second one `in_doubt` is set, and what the peer has said of some recipients is the result.
        """
        self.sent += 1
        small = body is not None and len(body) <= ONE_FLIGHT
        try:
            self._check_open()
            try:
                self._client.begin(transaction, body if small else None, last=small)
            except ProtocolError as error:
                raise self._violation(error) from error
            except ValueError as error:
                raise UnwritableEnvelope(str(error)) from error
            self._flush()
            event = await self._next_of_transaction(self._patience(len(transaction.recipients), whole=small))
            if isinstance(event, BodyWanted):
                await self._send_body(chunks)
                event = await self._next_of_transaction(self._timeouts.end)
        except asyncio.CancelledError:
            if not self._client.is_in_doubt:
                self.abort("the message could not be sent to its end")
                raise
            event = await self._last_reply()
        except UnwritableEnvelope:
            self.sent -= 1
            raise
        except BaseException:
            self.abort("the message could not be sent to its end")
            raise
        if isinstance(event, BodyWanted):  # pragma: no cover - the machine asks once a transaction
            raise TypeError("the body was wanted twice")
        return event.outcome

    async def ask_recipient(self, address: str) -> RecipientAnswered:
        """Ask whether the peer takes mail for an address, without sending any; see `Client.ask_recipient`.

        Raises ConnectionEnded, and ValueError if the address cannot be written in a command.
        """
        self._check_open()
        try:
            refusal = self._client.ask_recipient(address)
        except ProtocolError as error:
            raise self._violation(error) from error
        if refusal is not None:
            return RecipientAnswered(refusal, "")
        self._flush()
        return await self._next(RecipientAnswered, 2 * self._timeouts.envelope)

    def quit(self) -> None:
        """Say QUIT where it can be said, and close without waiting for the answer."""
        self.on_end = None
        if self.usable:
            self._client.quit()
            self._stream.write(self._client.take_output())
        self._stream.close()

    def abort(self, detail: str) -> None:
        """Drop the connection."""
        self.on_end = None
        self._stream.abort(Loss(LossKind.CLOSED, detail))

    # what the steps are made of

    async def _send_body(self, chunks: Chunks) -> None:
        async for chunk in chunks():
            if not self._client.wants_body:
                return
            self._client.chunk(chunk, last=False)
            self._flush()
            self._start_clock(self._timeouts.block)
            await self._stream.drain()
            await self._answered()
        self._client.chunk(b"", last=True)
        self._flush()

    async def _answered(self) -> None:
        """In lock step, until the peer has answered for what it has: no more than two chunks are in memory."""
        while self._client.is_behind and self._ended is None and not self._events:
            self._start_clock(self._timeouts.block)
            self._waiting = self._loop.create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None
                self._stop_clock()

    async def _last_reply(self) -> BodyWanted | TransactionDone:
        self._stopping = True
        try:
            return await self._next_of_transaction(self._timeouts.end)
        except asyncio.CancelledError:
            self.in_doubt = True
            self.abort("the reply to the message was no longer waited for")
            for event in (*self._events, *self._client.lost()):
                if isinstance(event, TransactionDone) and not all(each.local for each in event.outcome.recipients):
                    return event
            raise
        except BaseException:
            self.abort("the reply to the message was no longer waited for")
            raise

    def _patience(self, recipients: int, *, whole: bool) -> float:
        """Seconds for all replies of a flight: they come together, each with its own share."""
        seconds = self._timeouts.envelope + self._timeouts.recipient * (recipients - 1) + self._timeouts.data
        return seconds + self._timeouts.end if whole else seconds

    async def _next[Event: ClientEvent](self, kind: type[Event], seconds: float) -> Event:
        event = await self._wait(seconds)
        if isinstance(event, kind):
            return event
        if isinstance(event, Closed):
            raise ConnectionEnded(refused(event.reply, "the session"))
        raise TypeError(f"{event} instead of {kind.__name__}")  # pragma: no cover - a fault of ours, not of the peer

    async def _next_facts(self, seconds: float) -> TlsFacts:
        event = await self._wait(seconds)
        if isinstance(event, _CLIENT_EVENTS):
            raise ConnectionEnded(protocol_broken("a reply during the TLS handshake"))
        return event  # type: ignore[return-value] # what is left of the union

    async def _auth_reply(self) -> Reply:
        reply = (await self._next(AuthReply, self._timeouts.hello)).reply
        self._note(Reply(334, "", ("...",)) if reply.code == 334 else reply)
        return reply

    async def _shake_hands(self) -> TlsFacts:
        try:
            return await self._next_facts(self._timeouts.handshake)
        except ConnectionEnded as ended:
            if ended.failure.loss is LossKind.TIMEOUT:
                raise ConnectionEnded(replace(ended.failure, unanswered=True)) from ended
            raise

    async def _next_of_transaction(self, seconds: float) -> BodyWanted | TransactionDone:
        event = await self._wait(seconds)
        if isinstance(event, BodyWanted | TransactionDone):
            return event
        raise TypeError(f"{event} in a transaction")  # pragma: no cover - TransactionDone always comes before Closed

    async def _wait(self, seconds: float) -> ClientEvent | TlsFacts:
        self._start_clock(seconds)
        try:
            while not self._events:
                if self._ended is not None:
                    raise ConnectionEnded(self._ended)
                self._waiting = self._loop.create_future()
                await self._waiting
            return self._events.popleft()
        finally:
            self._waiting = None
            self._stop_clock()

    def _wake(self) -> None:
        waiting = self._waiting
        if waiting is not None:
            if not waiting.done():
                waiting.set_result(None)
        elif self.on_end is not None:
            # No reply is due: whatever arrives on an idle connection ends it.
            end, self.on_end = self.on_end, None
            end()

    def _start_clock(self, seconds: float) -> None:
        if self._ended is None:
            self._patient = seconds
            self._clock.start(seconds)

    def _stop_clock(self) -> None:
        self._clock.start(0)

    def _expired(self) -> None:
        self._stream.abort(Loss(LossKind.TIMEOUT, f"no answer within {self._patient:g} s"))

    def _say(self, command: Callable[[], None], line: str) -> None:
        """Queue a command and send it. Raises ConnectionEnded if the connection has ended meanwhile."""
        self._check_open()
        try:
            command()
        except ProtocolError as error:
            raise self._violation(error) from error
        self._transcribe(f"> {line}")
        self._flush()

    def _check_open(self) -> None:
        if self._ended is not None:
            raise ConnectionEnded(self._ended)

    def _violation(self, error: ProtocolError) -> ConnectionEnded:
        """Drop the connection for what the peer did, and the exception that says so."""
        failure = protocol_broken(str(error))
        self._fail(failure)
        return ConnectionEnded(failure)

    def _flush(self) -> None:
        output = self._client.take_output()
        if output and self._client.is_in_doubt and not self.owned():
            self.abort("the message is another process's by now")
        elif output:
            self._stream.write(output, at_once=True)

    def _fail(self, failure: HopFailure) -> None:
        if self._ended is None:
            self._ended = failure
        self._stream.abort(Loss(LossKind.CLOSED, failure.detail))

    def _welcome(self, reply: Reply, command: str) -> Reply:
        self._note(reply)
        if reply.positive:
            return reply
        failure = refused(reply, command)
        self.quit()
        raise ConnectionEnded(failure)

    def _note(self, reply: Reply) -> None:
        for line in reply.lines or ("",):
            self._transcribe(f"< {reply.code} {reply.enhanced} {line}" if reply.enhanced else f"< {reply.code} {line}")

    def _transcribe(self, line: str) -> None:
        if len(self.transcript) < _TRANSCRIPT_LINES:
            self.transcript.append(line if len(line) <= _TRANSCRIPT_LINE else f"{line[:_TRANSCRIPT_LINE]}...")
