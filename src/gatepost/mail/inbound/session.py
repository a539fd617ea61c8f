"""One inbound SMTP session: bytes from a stream to the state machine, its events to policy and store, replies back.

It is a `net.stream.Receiver`: called by the stream, never awaited. Where an answer must wait (the commit before 250)
the machine has a decision pending, and the call-back of the commit goes on. No decision is made here:
`policy.decisions.inbound` says who may do what, `protocols.smtp.server.server` what the protocol allows.
"""

from __future__ import annotations

import secrets
from functools import partial
from typing import TYPE_CHECKING, Any, Final, get_args

from gatepost.events.counts import count_connection, count_failed_session, count_session
from gatepost.mail.inbound import decisions
from gatepost.mail.inbound.deliveries import AcceptedRecipient
from gatepost.mail.inbound.login import Login, LoginOutcome, TokenLogin
from gatepost.mail.inbound.record import SessionRecord
from gatepost.mail.inbound.refusals import SessionRefusals
from gatepost.mail.inbound.service import DataRate, InboundService, SessionRegistry
from gatepost.mail.inbound.transaction import Transaction
from gatepost.net.stream import Endpoint, Loss, LossKind, Stream
from gatepost.net.tasks import spawn
from gatepost.policy.connectors.facts import Introduction, Teller
from gatepost.policy.decisions.load import RateLimit
from gatepost.policy.decisions.submission import LOGIN, refused_login
from gatepost.protocols.smtp import replies
from gatepost.protocols.smtp.replies import Reply
from gatepost.protocols.smtp.server.events import (
    AbortEvent,
    AuthEvent,
    AuthResponseEvent,
    ChunkEvent,
    DataEvent,
    ErrorEvent,
    Event,
    HelloEvent,
    MailEvent,
    MessageEvent,
    QuitEvent,
    RecipientEvent,
    StartTlsEvent,
    XclientEvent,
)
from gatepost.protocols.smtp.server.server import Server
from gatepost.store.interface import StoreFailure, StoreFull
from gatepost.values import replace

if TYPE_CHECKING:
    from asyncio import Task
    from collections.abc import Awaitable, Callable, Mapping

    from gatepost.mail.model.message import Delivery, Message
    from gatepost.policy.connectors.match import Attribution
    from gatepost.policy.decisions.decision import InboundVerdict
    from gatepost.policy.decisions.forwarding import Target
    from gatepost.protocols.tls.facts import ChainVerdict, TlsFacts


_LOGINS = 3  # that fail in one session, before it ends


class Session:
    """The server's side of one connection.

    introduce: `net.listener.Listener.introduce`, for a host that may name its client by XCLIENT; None for any other.
    """

    def __init__(
        self,
        stream: Stream,
        service: InboundService,
        registry: SessionRegistry,
        introduce: Callable[[Stream, Endpoint, Introduction], str] | None = None,
    ) -> None:
        self.id = secrets.token_hex(8)
        self._stream = stream
        self._service = service
        self._registry = registry
        self._introduce, self._told_by = introduce, stream.peer.host
        self._record = SessionRecord(self.id, stream.peer.host, service, stream.introduction)
        self._core = Server(
            service.hostname,
            service.extensions if introduce is None else replace(service.extensions, xclient=True),
            service.smtp_limits,
            partial(service.stamp, self.id),
            registry.transcripts,
        )
        self._refusals = SessionRefusals(self._record, service, self._core.transcript.lines)
        self._transaction: Transaction | None = None
        self._attribution: Attribution | None = None
        self._login: Login | TokenLogin | None = None
        self._failed_logins = 0
        self._pending_reply: Reply | None = None  # to a log-in whose error was sent as a challenge
        self._greeted_with = "HELO"
        self._lost = self._committing = self._held = False
        self._owing = self._paused = False  # as the stream was last told
        self._held_back = False  # with its body, as the disk is behind
        self._said_cannot_accept = False  # one row of the trace a session, however often a client repeats MAIL
        self._began = self._received = self._progressed = registry.clock()
        self._data_rate = DataRate()

    def begin(self, refusal: Reply | None = None) -> None:
        """Take the stream and greet; with a refusal (421, 554), say that and close.

        Where TLS comes first (RFC 8314) the greeting follows the handshake, and a refusal is not worth one.
        """
        self._stream.attach(self)
        self._registry.add(self)
        count_connection(self._service.counts, self._service.role)
        if self._service.implicit_tls:
            self._begin_tls(refusal)
            return
        self._core.greet(refusal)
        self._flush()

    def _begin_tls(self, refusal: Reply | None) -> None:
        refusal = refusal or self._refusals.limited(RateLimit.HANDSHAKES)
        if refusal is not None or self._service.tls is None:
            self._stream.abort(Loss(LossKind.CLOSED, refusal.text if refusal else "there is no certificate yet"))
            return
        self._stream.timeout(self._refusals.handshake_seconds())
        self._stream.start_tls(self._service.tls)

    # Receiver

    def received(self, data: bytes) -> None:
        """Bytes of the peer: see net.stream.Receiver."""
        self._received = self._registry.clock()
        self._core.receive(data)
        self._pump()

    def secured(self, facts: TlsFacts) -> None:
        """The handshake is complete: everything said before is forgotten (RFC 3207 section 4.2)."""
        self._stream.timeout(0)
        count_session(self._service.counts, "inbound", facts)
        self._record.secured(facts)
        self._core.tls_started()
        if self._service.implicit_tls:
            self._core.greet(self._refusals.stranger())
        self._progressed = self._registry.clock()
        if chains := self._record.revocable():
            # Answer nothing until it is known whether the client's certificate still counts.
            self._hold_for(self._record.check_revocation(chains), "inbound revocation")
        self._pump()

    def lost(self, loss: Loss) -> None:
        """The connection is gone; what was not acknowledged is forgotten."""
        self._lost = True
        if loss.kind is LossKind.HANDSHAKE:
            count_failed_session(self._service.counts, "inbound", "handshake")
            self._refusals.tell_handshake(loss.detail)
        self._registry.remove(self)
        self._core.transcript.close()
        if self._transaction is not None and not self._committing:
            self._transaction.abort()
            self._transaction = None

    # called by the registry

    def look_over(self, now: float) -> None:
        """End the session if one of its times has passed; our own waiting for the disk does not count."""
        if self._committing or self._held or self._held_back or self._core.closing:
            return
        limits = self._service.session_limits
        if now - self._began > limits.session_time:
            self._end(replies.TOO_LONG)
        elif now - self._received > limits.idle_timeout or now - self._progressed > limits.command_timeout:
            self._end(replies.TIMED_OUT)
        elif (body := self._transaction) is not None and body.receiving and self._data_rate.is_low(now, body, limits):
            self._end(replies.TOO_SLOW)

    def hold_back(self, *, behind: bool) -> None:
        """Read no more of a body while the disk is behind: what thousands of clients send would be in memory."""
        if behind is self._held_back or (
            behind and not (self._transaction is not None and self._transaction.receiving)
        ):
            return
        self._held_back = behind
        self._restart_clocks()
        (self._stream.pause if behind or self._paused else self._stream.resume)()

    def drain(self) -> None:
        """Say 421 and close, at once or when the message under way has its answer."""
        if self._transaction is None or not self._transaction.receiving:
            self._end(replies.DRAINING)

    def _end(self, reply: Reply) -> None:
        self._core.shut(reply)
        self._pump()

    # the machine's events

    def _pump(self) -> None:
        core = self._core
        while (event := core.next_event()) is not None:
            _HANDLERS[type(event)](self, event)
        self._flush()

    def _flush(self) -> None:
        core, stream = self._core, self._stream
        if output := core.take_output():
            self._progressed = self._received  # whatever is answered was complete
            stream.write(output, at_once=not core.closing)
        # Who only stops sending gets the answer to its message.
        owing = self._committing or (self._held and self._transaction is not None)
        if owing is not self._owing:
            self._owing = owing
            stream.owe(owing=owing)
        if core.closing:
            stream.close()
        elif core.full is not self._paused:
            self._paused = core.full
            (stream.pause if self._paused or self._held_back else stream.resume)()

    def _on_quit(self, _event: QuitEvent) -> None:
        """The machine closes the session itself."""

    def _on_error(self, event: ErrorEvent) -> None:
        """The machine has answered, and counts the errors of the session."""
        if event.reply.enhanced.startswith("5.5.") and (reply := self._refusals.limited(RateLimit.ERRORS)):
            self._core.shut(reply)

    def _on_hello(self, event: HelloEvent) -> None:
        self._greeted_with = event.verb
        self._record.hello(event.domain)
        self._core.accept()

    def _on_xclient(self, event: XclientEvent) -> None:
        assert self._introduce is not None  # noqa: S101 - XCLIENT is offered only with it
        introduction = Introduction(Teller.XCLIENT, self._told_by)
        if reason := self._introduce(self._stream, Endpoint(event.address, event.port), introduction):
            self._core.refuse(Reply(421, "4.7.0", (f"{reason}, try again later",)))
        else:
            self._record.introduced(event.address, introduction)
            self._core.accept()

    def _on_starttls(self, _event: StartTlsEvent) -> None:
        self._progressed = self._received
        if self._is_limited(RateLimit.HANDSHAKES):  # by 421 and not 454, after which many clients go on without TLS
            return
        self._core.accept()
        if self._core.plaintext_after_starttls:
            # RFC 3207 section 6: what came before the handshake may be an attacker's; end rather than guess.
            self._stream.abort(Loss(LossKind.INJECTION, "plaintext was pipelined behind STARTTLS"))
            return
        assert self._service.tls is not None  # noqa: S101 - STARTTLS is offered only with a certificate
        self._stream.write(self._core.take_output())
        self._stream.timeout(self._refusals.handshake_seconds())
        self._stream.start_tls(self._service.tls)

    def _on_auth(self, event: AuthEvent) -> None:
        if self._is_limited(RateLimit.FAILED_LOGINS, spent=True):
            return
        logins = self._service.logins
        assert logins is not None  # noqa: S101 - AUTH is offered only with them
        bindings = self._stream.channel_bindings()
        self._pending_reply = None
        self._login = logins.begin(event.mechanism, self._service.directory, self._stream.peer.host, bindings)
        self._login_step(event.response)

    def _on_authresponse(self, event: AuthResponseEvent) -> None:
        self._login_step(event.response)

    def _login_step(self, response: bytes | None) -> None:
        if self._pending_reply is not None:  # whatever the client says to the error (RFC 7628 section 3.2.3)
            self._core.refuse(self._pending_reply)
            return
        assert self._login is not None  # noqa: S101 - responses come only after AUTH
        answer = self._login.step(response)
        match answer:
            case bytes():
                self._core.challenge(answer)
            case LoginOutcome():
                self._on_login(answer)
            case _:
                self._hold_for(self._await_login(answer), "log-in")

    async def _await_login(self, outcome: Awaitable[LoginOutcome]) -> None:
        self._on_login(await outcome)

    def _on_login(self, outcome: LoginOutcome) -> None:
        login = self._login
        assert login is not None  # noqa: S101 - it has just ended
        if outcome.user:
            self._record.logged_in(outcome.user, login.mechanism)
            self._refusals.identified(LOGIN)
            self._core.accept(outcome.reply)
            return
        self._failed_logins += 1
        self._refusals.limited(RateLimit.FAILED_LOGINS)
        reply = outcome.reply if self._failed_logins < _LOGINS else replies.TOO_MANY_LOGINS
        verdict = refused_login(self._record.directory, reply, outcome.reason)
        if outcome.error:
            self._pending_reply = reply
            self._refusals.tell(reply, "", "", verdict)
            self._core.challenge(outcome.error)
        else:
            self._refuse(reply, "", "", verdict)

    def _on_mail(self, event: MailEvent) -> None:
        if chains := self._record.renew():
            self._hold_for(self._mail_once_checked(event, chains), "inbound revocation")
        else:
            self._begin_message(event)

    async def _mail_once_checked(self, event: MailEvent, chains: Mapping[str, ChainVerdict]) -> None:
        await self._record.check_revocation(chains)
        if not self._lost and not self._core.closing:
            self._begin_message(event)

    def _begin_message(self, event: MailEvent) -> None:
        if self._is_limited(RateLimit.MESSAGES, event.path.text):
            return
        if (ended := self._record.ended(self._login)) is not None:
            self._refuse(ended.reply, event.path.text, "", ended)
            return
        refusal = self._service.cannot_accept(event.parameters.size or 0, draining=self._registry.draining)
        if refusal is not None and self._said_cannot_accept:
            self._core.refuse(refusal)
            return
        verdict = decisions.mail_verdict(self._record, event)
        self._said_cannot_accept |= refusal is not None
        if refusal is not None or not verdict.accepted:
            self._refuse(refusal or verdict.reply, event.path.text, "", verdict)
            return
        self._attribution = verdict.attribution
        self._transaction = Transaction(self._service, self._record.facts, event)
        self._registry.coming.add(self)
        self._core.accept()

    def _on_recipient(self, event: RecipientEvent) -> None:
        assert self._transaction is not None  # noqa: S101 - the machine allows RCPT only after an accepted MAIL
        if not event.path.domain and self._service.postmaster is not None:
            event.path = self._service.postmaster
        transaction = self._transaction
        if self._is_limited(RateLimit.RECIPIENTS, transaction.mail.path.text, event.path.text):
            return
        facts = self._record, self._service, transaction
        verdict, targets = decisions.recipient_verdict(*facts, event.path, self._attribution)
        if (settled := decisions.settled_verdict(self._service, verdict)) is not None:
            self._on_recipient_verdict(event, settled, targets)
        else:
            self._hold_for(self._ask_about_recipient(event, verdict, targets), "recipient validation")

    async def _ask_about_recipient(
        self, event: RecipientEvent, verdict: InboundVerdict, targets: tuple[Target, ...]
    ) -> None:
        verdict = await decisions.verdict_of_source(self._record, self._service, verdict)
        if self._transaction is not None and not self._core.closing:
            self._on_recipient_verdict(event, verdict, targets)

    def _on_recipient_verdict(
        self, event: RecipientEvent, verdict: InboundVerdict, targets: tuple[Target, ...]
    ) -> None:
        transaction = self._transaction
        assert transaction is not None  # noqa: S101 - given up only with the session
        verdict = decisions.apart_from_full(self._record, self._service, transaction, verdict, targets)
        verdict = decisions.within_share(self._service, verdict)
        verdict = decisions.within_limits(self._record, self._service, transaction, verdict)
        if not verdict.accepted:
            reply = self._record.reply_to_recipient(verdict)
            self._refuse(reply, transaction.mail.path.text, event.path.text, verdict)
            return
        transaction.recipients.append(AcceptedRecipient(event, verdict, targets))
        self._core.accept()

    def _on_data(self, _event: DataEvent) -> None:
        assert self._transaction is not None  # noqa: S101 - the machine allows DATA only after an accepted RCPT
        if self._registry.is_behind:
            transaction, self._transaction = self._transaction, None
            self._registry.coming.discard(self)
            self._refuse_message(StoreFull.reply, transaction)
            return
        behind = self._transaction.begin_body(self._greeted_with, self._record.directory, self._record.repeated)
        self._data_rate.restart()
        self._core.accept()
        if behind is not None:
            self._hold_for(behind, "inbound body")

    def _on_chunk(self, event: ChunkEvent) -> None:
        assert self._transaction is not None  # noqa: S101 - content comes only after DATA was accepted
        self._progressed = self._received
        if (behind := self._transaction.write(event.data)) is not None:
            self._hold_for(behind, "inbound body")

    def _hold_for(self, ours: Awaitable[None], name: str) -> Task[None]:
        """Read on, but let nothing happen, until something of ours is done."""
        self._held = True
        self._core.hold()
        return spawn(self._wait(ours), name)

    async def _wait(self, ours: Awaitable[None]) -> None:
        try:
            await ours
        except StoreFailure as failure:
            if self._transaction is not None:
                self._transaction.failed(failure)
        except Exception:  # a fault of ours must neither leave the client waiting nor let it pass unchecked
            self._held = False
            self._end(replies.FAULT)
            raise
        self._held = False
        if not self._lost:
            self._restart_clocks()
            self._core.release()
            self._pump()

    def _on_message(self, _event: MessageEvent) -> None:
        transaction = self._transaction
        assert transaction is not None  # noqa: S101 - a message ends only after it began
        if (refusal := transaction.refusal()) is not None:
            self._transaction = None
            self._refuse_message(refusal, transaction)
        elif transaction.is_held() or transaction.examined:
            transaction.examination = self._hold_for(self._examine(transaction), "content hooks")
        else:
            self._commit(transaction)

    async def _examine(self, transaction: Transaction) -> None:
        """Ask about the content before anything is promised. Who hangs up meanwhile ends it (`Transaction.abort`)."""
        refusal = await transaction.examine()
        transaction.examination = None
        if refusal is None:
            self._commit(transaction)
        else:
            self._transaction = None
            self._refuse_message(refusal, transaction)

    def _commit(self, transaction: Transaction) -> None:
        self._committing = True
        self._registry.hand_over(self)
        message, deliveries, body = transaction.queued(self._record.inbound(transaction.recipients[0].verdict))
        self._service.store.accept(message, deliveries, body, partial(self._committed, message, deliveries))

    def _committed(self, message: Message, deliveries: list[Delivery], failure: StoreFailure | None) -> None:
        transaction, self._transaction, self._committing = self._transaction, None, False
        self._registry.commits.ended(self, self._registry.clock())
        assert transaction is not None  # noqa: S101 - kept while the commit was under way
        if failure is None:
            reply = Reply(250, "2.0.0", (f"Queued as {transaction.queue_id}",))
            transcript = self._core.transcript.lines() if self._record.transcribed else []
            self._service.trace(transaction.received(message, deliveries, reply, transcript))
            self._refusals.identified(transaction.recipients[0].verdict.basis)
            self._service.offer([delivery for delivery in deliveries if not delivery.quarantine])
        if self._lost:
            return
        self._restart_clocks()
        if failure is None:
            self._core.accept(reply)
            self._end_if_draining()
        else:
            self._refuse_message(failure.reply, transaction)
        self._pump()

    def _refuse_message(self, reply: Reply, transaction: Transaction) -> None:
        transaction.abort()
        self._core.refuse(reply)
        self._refusals.tell_message(reply, transaction)
        self._end_if_draining()

    def _end_if_draining(self) -> None:
        """The message under way has its answer; no other shall begin."""
        if self._registry.draining:
            self._core.shut(replies.DRAINING)

    def _on_abort(self, event: AbortEvent) -> None:
        transaction, self._transaction = self._transaction, None
        self._registry.coming.discard(self)
        if transaction is None:
            return
        transaction.abort()
        if event.reply is not None:
            self._refusals.tell_message(event.reply, transaction)

    def _is_limited(self, limit: RateLimit, sender: str = "", recipient: str = "", *, spent: bool = False) -> bool:
        """Refuse what an unknown client does too much of. sender, recipient: as far as there are any."""
        reply = self._refusals.limited(limit, sender, recipient, spent=spent)
        if reply is not None:
            self._core.refuse(reply)
        return reply is not None

    def _refuse(self, reply: Reply, sender: str, recipient: str, verdict: InboundVerdict) -> None:
        self._core.refuse(reply)
        self._refusals.tell(reply, sender, recipient, verdict)

    def _restart_clocks(self) -> None:
        """It was we who were late; from here on it is the client."""
        self._received = self._progressed = self._registry.clock()
        self._data_rate.restart()


# By type and not by `match`, which tries each type in turn: a message has nine events. Methods bear the events' names.
_HANDLERS: Final[Mapping[type[Event], Callable[[Session, Any], None]]] = {
    event: vars(Session)[f"_on_{event.__name__.removesuffix('Event').lower()}"] for event in get_args(Event.__value__)
}
