"""The SMTP server core: octets in, events out; decisions in, octets out (RFC 5321 and what `Extensions` names).

Driven by `mail.inbound.session`, which owns the stream, the policy and the store: it feeds `receive`, takes
`next_event` until None, answers each event that wants a decision with `accept` or `refuse`, and sends `take_output`.
What a client says is read in `protocols.smtp.server.dialogue`; this file holds what the shell calls. It opens nothing,
waits for nothing and has no clock.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from gatepost.protocols.smtp import replies
from gatepost.protocols.smtp.commands import Verb
from gatepost.protocols.smtp.replies import Reply
from gatepost.protocols.smtp.server import auth
from gatepost.protocols.smtp.server.data import DataReader
from gatepost.protocols.smtp.server.dialogue import Dialogue
from gatepost.protocols.smtp.server.events import (
    AbortReason,
    AuthEvent,
    AuthResponseEvent,
    DataEvent,
    Event,
    HelloEvent,
    MailEvent,
    MessageEvent,
    RecipientEvent,
    StartTlsEvent,
)
from gatepost.protocols.smtp.server.states import State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gatepost.protocols.smtp.extensions import Extensions
    from gatepost.protocols.smtp.limits import SmtpLimits
    from gatepost.protocols.smtp.server.transcript import TranscriptBudget


# What acceptance says if the shell says nothing itself; encoded once.
_STANDARD: Final[Mapping[type[Event], bytes]] = {
    StartTlsEvent: replies.READY_FOR_TLS.head,
    AuthEvent: auth.AUTHENTICATED.head,
    AuthResponseEvent: auth.AUTHENTICATED.head,
    MailEvent: replies.SENDER_OK.head,
    RecipientEvent: replies.RECIPIENT_OK.head,
    DataEvent: replies.START_DATA.head,
    MessageEvent: replies.MESSAGE_OK.head,
}


@lru_cache(maxsize=64)
def _ehlo_reply(hostname: str, extensions: Extensions, *, tls_active: bool) -> bytes:
    return Reply(250, "", (hostname, *extensions.keywords(tls_active=tls_active))).encode()


class Server(Dialogue):
    """One session. Not for several threads; no method blocks, none raises for anything that a peer sends.

    state: where the session stands. tls_active: set by `tls_started`. authenticated: AUTH was accepted. pending: the
    event whose decision is awaited. closing: the last reply was given; flush `take_output`, then close. errors:
    protocol errors so far. transcript: what was said. plaintext_after_starttls: octets stood behind STARTTLS in
    plaintext; the shell must end the session (RFC 3207 section 6).
    """

    __slots__ = ("_held", "_hostname", "plaintext_after_starttls")

    def __init__(
        self,
        hostname: str,
        extensions: Extensions,
        limits: SmtpLimits,
        stamp: Callable[[], str],
        transcripts: TranscriptBudget | None = None,
    ) -> None:
        """stamp: what every reply but EHLO's ends in, such as " [HOSTNAME TIME SESSION]"; asked once per `receive`.

        transcripts: what those of all sessions may take together.
        """
        super().__init__(extensions, limits, stamp, transcripts)
        self._hostname = hostname
        self._held = False
        self.plaintext_after_starttls = False

    def greet(self, reply: Reply | None = None) -> None:
        """Say the first word: None for 220; a refusal (554, 421) closes."""
        if self.state is not State.OPENING:
            raise RuntimeError("greeted already")
        self.state = State.CONNECTED
        self._reply(reply or Reply(220, "", (f"{self._hostname} ESMTP gatepost",)))
        if reply is not None and not reply.positive:
            self._close()

    @property
    def full(self) -> bool:
        """Whether so much input waits that the shell should stop reading from the network."""
        return self._input.full

    def receive(self, data: bytes) -> None:
        """Octets arrived. They are kept until `next_event` comes to them."""
        self._tail = b""
        if self.state is State.TLS:
            self.plaintext_after_starttls = True
        elif not self.closing:
            self._input.add(data)

    def next_event(self) -> Event | None:
        """What happened next; None if octets are needed, a decision pends, `hold` is on, or the session is over."""
        if self._held:
            return None
        while not self._queue:
            if self.pending is not None or not self._advance():
                return None
        event = self._queue.popleft()
        if event.decision:
            self.pending = event
        return event

    def accept(self, reply: Reply | None = None) -> None:
        """The pending decision is yes; None gives the standard reply. Does nothing once the session is closing.

        BDAT has no reply of its own here: it is answered when its octets are read.
        """
        if reply is not None and not reply.positive:
            raise ValueError("a refusal cannot accept")
        event = self._decided()
        if event is None:
            return
        self.state = self._next
        if isinstance(event, MailEvent):
            self._mail = event.parameters
            self._recipients = 0
        elif isinstance(event, MessageEvent):
            self._end_transaction()
            self._idle_commands = 0
        elif isinstance(event, HelloEvent):
            self._abort(AbortReason.HELLO)
        elif isinstance(event, AuthEvent | AuthResponseEvent):
            self.authenticated = True
        elif isinstance(event, StartTlsEvent):
            self.plaintext_after_starttls = bool(self._input.take_all())
        elif isinstance(event, DataEvent):
            self._reader = self._chunks or DataReader(self._limits)
            if event.bdat:
                self._read(self._reader)
                return
        self._confirm(event, reply)

    def challenge(self, data: bytes) -> None:
        """Answer an AuthEvent or AuthResponseEvent with a challenge; the next line is the response to it."""
        if self._decided() is not None:
            self.state = State.AUTH
            self._output.append(auth.challenge(data))

    def refuse(self, reply: Reply) -> None:
        """The pending decision is no. The session goes on, unless the code is 421. Does nothing once it is closing."""
        if reply.positive:
            raise ValueError("an acceptance cannot refuse")
        event = self._decided()
        if event is None:
            return
        if isinstance(event, MailEvent | DataEvent):
            self._enter_refused(reply)
        elif isinstance(event, MessageEvent):
            self._end_transaction()
            self.state = self._next
        if isinstance(event, DataEvent) and event.bdat:
            self._read_over(self._chunk_octets, reply)
            return
        self._reply(reply)
        if reply.code == 421:
            self._close()
        elif isinstance(event, DataEvent):
            self._close_if_adrift()

    def hold(self) -> None:
        """Give no more events until `release`: content is coming faster than it can be kept."""
        self._held = True

    def release(self) -> None:
        """Go on after `hold`."""
        self._held = False

    def tls_started(self) -> None:
        """The handshake is complete: all that was said before is forgotten (RFC 3207 section 4.2).

        Before `greet`, it says that the session is under TLS from its first octet.
        """
        if self.state is State.TLS:
            self.state = State.CONNECTED
        elif self.state is not State.OPENING:
            raise RuntimeError("STARTTLS was not accepted")
        self.tls_active = True

    def shut(self, reply: Reply) -> None:
        """Say this last and close: a time-out, or we are shutting down (421)."""
        if not self.closing:
            self._tail = b""
            self._reply(reply)
            self._close()

    def take_output(self) -> bytes:
        """What is to be sent now, b"" if nothing."""
        output = b"".join(self._output)
        self._output.clear()
        if output:
            self.transcript.said(output)
        return output

    def _decided(self) -> Event | None:
        """The event that a decision is about. It may come too late, after a time-out closed the session."""
        event, self.pending = self.pending, None
        if event is None and not self.closing:
            raise RuntimeError("no decision is pending")
        return event

    def _confirm(self, event: Event, reply: Reply | None) -> None:
        if reply is not None:
            self._reply(reply)
        elif not isinstance(event, HelloEvent):
            self._output.append(_STANDARD[type(event)] + (self._tail or self._new_tail()))
        elif event.verb == Verb.EHLO:
            # No stamp: a client would read it as a keyword.
            self._output.append(_ehlo_reply(self._hostname, self._extensions, tls_active=self.tls_active))
        else:
            self._reply(Reply(250, "", (self._hostname,)))
