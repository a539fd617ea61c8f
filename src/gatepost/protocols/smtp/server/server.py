"""The SMTP server core: octets in, events out; decisions in, octets out (RFC 5321 and what `Extensions` names).

Driven by `mail.inbound.session`, which owns the stream, the policy and the store: it feeds `receive`, takes
`next_event` until None, answers each event that wants a decision with `accept` or `refuse`, and sends `take_output`.
Octets wait in a `protocols.smtp.server.input`, commands are understood by a `protocols.smtp.server.dialogue`, content
is read by the readers of `protocols.smtp.server.data`; this file owns one of each and says what the client is told. It
opens nothing, waits for nothing and has no clock.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from gatepost.protocols.smtp import replies
from gatepost.protocols.smtp.commands import Verb
from gatepost.protocols.smtp.parameters import CommandError
from gatepost.protocols.smtp.replies import LINE_OCTETS, Reply
from gatepost.protocols.smtp.server import auth
from gatepost.protocols.smtp.server.data import (
    FAULT_REPLIES,
    ChunkReader,
    ContentFault,
    ContentReader,
    DataReader,
    RefusedChunk,
)
from gatepost.protocols.smtp.server.dialogue import (
    LINE_REPLIES,
    TAKES_COMMANDS,
    Chunk,
    Dialogue,
    ImmediateReply,
    RefusedCommandError,
)
from gatepost.protocols.smtp.server.events import (
    AbortEvent,
    AbortReason,
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
from gatepost.protocols.smtp.server.input import BadLine, Input
from gatepost.protocols.smtp.server.states import State
from gatepost.protocols.smtp.server.transcript import Transcript, TranscriptBudget

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gatepost.protocols.smtp.extensions import Extensions
    from gatepost.protocols.smtp.limits import SmtpLimits


# What acceptance says if the shell says nothing itself; encoded once.
_STANDARD: Final[Mapping[type[Event], bytes]] = {
    StartTlsEvent: replies.READY_FOR_TLS.head,
    AuthEvent: auth.AUTHENTICATED.head,
    AuthResponseEvent: auth.AUTHENTICATED.head,
    XclientEvent: replies.BEGIN_ANEW.head,
    MailEvent: replies.SENDER_OK.head,
    RecipientEvent: replies.RECIPIENT_OK.head,
    DataEvent: replies.START_DATA.head,
    MessageEvent: replies.MESSAGE_OK.head,
}

_CHALLENGED: Final = frozenset({AuthEvent, AuthResponseEvent})
_CHANGES_NOTHING: Final = frozenset({MailEvent, RecipientEvent})  # but the dialogue
_BEFORE_CONTENT: Final = frozenset({b"DATA", b"BDAT"})
_PRINTABLE: Final = bytes(octet if 32 <= octet < 127 else ord("?") for octet in range(256))
_SHOWN: Final = 80


@lru_cache(maxsize=64)
def _head(reply: Reply) -> bytes:
    return reply.head


@lru_cache(maxsize=64)
def _ehlo_reply(hostname: str, extensions: Extensions, *, tls_active: bool) -> bytes:
    return Reply(250, "", (hostname, *extensions.keywords(tls_active=tls_active))).encode()


class Server:
    """One session. Not for several threads; no method blocks, none raises for anything that a peer sends.

    Use: `greet`; `receive` what arrives, then `next_event` until None, each `decision` answered; send `take_output`.
    pending: the event whose decision is awaited, None if none is. closing: the last reply was given; flush
    `take_output`, then close. errors: protocol errors so far. transcript: what was said. plaintext_after_starttls:
    octets stood behind STARTTLS in plaintext; the shell must end the session (RFC 3207 section 6).
    """

    __slots__ = (
        "_chunk_octets",
        "_chunks",
        "_content_reply",
        "_dialogue",
        "_events",
        "_held",
        "_hostname",
        "_input",
        "_limits",
        "_output",
        "_reader",
        "_stamp",
        "_stamp_text",
        "_tail",
        "closing",
        "errors",
        "pending",
        "plaintext_after_starttls",
        "transcript",
    )

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
        self._hostname = hostname
        self._limits = limits
        self._stamp = stamp
        self._stamp_text = ""
        self._tail = b""  # the stamp and CRLF as octets; empty: the next reply asks for a new stamp
        self._dialogue = Dialogue(extensions, limits)
        longest = max(limits.command_line, auth.LINE_OCTETS) if extensions.auth else limits.command_line
        self._input = Input(longest, limits.discard_bytes)
        self._output: list[bytes] = []
        self._events: list[Event] = []  # of one command: next to none
        self._held = False
        self._reader: ContentReader | None = None  # has the input while it is content
        self._chunks: ChunkReader | None = None  # of the message that is sent with BDAT
        self._chunk_octets = 0  # of the BDAT command in hand
        self._content_reply: Reply | None = None  # to be given when the content that is read over ends
        self.pending: Event | None = None
        self.closing = False
        self.errors = 0
        self.transcript = Transcript(transcripts)
        self.plaintext_after_starttls = False

    @property
    def state(self) -> State:
        """Where the session stands."""
        return self._dialogue.state

    @property
    def tls_active(self) -> bool:
        """Whether the session is under TLS."""
        return self._dialogue.tls_active

    @property
    def authenticated(self) -> bool:
        """Whether AUTH was accepted."""
        return self._dialogue.authenticated

    @property
    def full(self) -> bool:
        """Whether so much input waits that the shell should stop reading from the network."""
        return self._input.buffer != b"" and self._input.full

    def greet(self, reply: Reply | None = None) -> None:
        """Say the first word: None for 220; a refusal (554, 421) closes. RuntimeError where it was said."""
        if self._dialogue.state is not State.OPENING:
            raise RuntimeError("greeted already")
        self._dialogue.enter(State.CONNECTED)
        if reply is None:
            self._say(Reply(220, "", (f"{self._hostname} ESMTP gatepost",)))
            return
        self._reply(replies.checked(reply))
        if not reply.positive:
            self._close()

    def receive(self, data: bytes) -> None:
        """Octets arrived, cut anywhere. They are kept until `next_event` comes to them; none once it is closing."""
        self._tail = b""
        if self._dialogue.state is State.TLS:
            self.plaintext_after_starttls = True
        elif not self.closing:
            self._input.add(data)

    def next_event(self) -> Event | None:
        """What happened next; None if octets are needed, a decision pends, `hold` is on, or the session is over."""
        if self._held:
            return None
        while not self._events:
            if self.pending is not None or not self._input.buffer or not self._advance():
                return None
        event = self._events.pop(0)
        if event.decision:
            self.pending = event
        return event

    def accept(self, reply: Reply | None = None) -> None:
        """The pending decision is yes; None gives the standard reply. Does nothing once the session is closing.

        BDAT is answered when its octets are read. ValueError for a refusal, RuntimeError if no decision is pending.
        """
        if reply is not None and not 200 <= reply.code < 400:
            raise ValueError(f"a refusal cannot accept: the code is {reply.code}, not 200 to 399")
        event, self.pending = self.pending, None
        if event is None:
            self._come_too_late()
            return
        self._dialogue.accept(event)
        if type(event) not in _CHANGES_NOTHING and self._begin_what_follows(event, reply):
            return
        if reply is not None:
            self._reply(reply)
        else:
            self._output.append(_STANDARD[type(event)] + (self._tail or self._new_tail()))

    def _begin_what_follows(self, event: Event, reply: Reply | None) -> bool:
        """Do what an accepted event means for the octets behind it; whether it has its reply by that."""
        if isinstance(event, DataEvent):
            self._reader = self._chunks or DataReader(self._limits)
            if event.bdat:
                self._read(self._reader)
                return True
        elif isinstance(event, MessageEvent):
            self._chunks = None
        elif isinstance(event, HelloEvent):
            self._abort(AbortReason.HELLO)
            if reply is None:
                self._answer_hello(event)
                return True
        elif isinstance(event, StartTlsEvent):
            self.plaintext_after_starttls = bool(self._input.take_all())
        return False

    def challenge(self, data: bytes) -> None:
        """Answer an AuthEvent or AuthResponseEvent with a challenge (RFC 4954); RuntimeError if neither is pending."""
        if self.pending is None:
            self._come_too_late()
            return
        if type(self.pending) not in _CHALLENGED:
            raise RuntimeError("only AUTH is answered with a challenge")
        self.pending = None
        self._dialogue.enter(State.AUTH)
        self._output.append(auth.challenge(data))

    def refuse(self, reply: Reply) -> None:
        """The pending decision is no. The session goes on, unless the code is 421; errors are as for `accept`."""
        if not 400 <= reply.code < 600:
            raise ValueError(f"an acceptance cannot refuse: the code is {reply.code}, not 400 to 599")
        event, self.pending = self.pending, None
        if event is None:
            self._come_too_late()
            return
        self._dialogue.refuse(event, reply)
        if isinstance(event, DataEvent | MessageEvent):
            self._chunks = None
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

        Before `greet`: under TLS from the first octet (RFC 8314). RuntimeError if STARTTLS was not accepted.
        """
        self._dialogue.secured()

    def shut(self, reply: Reply) -> None:
        """Say this last and close: a time-out, or we are shutting down (421). ValueError for a code that is none."""
        if not self.closing:
            self._tail = b""
            self._reply(replies.checked(reply))
            self._close()

    def take_output(self) -> bytes:
        """What is to be sent now, b"" if nothing."""
        output = b"".join(self._output)
        self._output.clear()
        if output:
            self.transcript.said(output)
        return output

    def _come_too_late(self) -> None:
        if not self.closing:  # else a time-out closed it before the decision
            raise RuntimeError("no decision is pending")

    # Commands

    def _advance(self) -> bool:
        """Take a command or some content of what waits; False if there is not enough of it, or none may come."""
        if self._reader is not None:
            self._read(self._reader)
            return True
        dialogue = self._dialogue
        if not TAKES_COMMANDS[dialogue.state]:
            return dialogue.state is State.AUTH and self._take_response()
        line = self._input.take_line()
        if line is None:
            return False
        if isinstance(line, BadLine):
            self.transcript.heard(line.start)
            self._refuse_command(line.start, CommandError(LINE_REPLIES[line.fault]), whole=False)
        else:
            self.transcript.heard(line)
            try:
                command = dialogue.take(line)
            except CommandError as error:
                self._refuse_command(line, error)
                return True
            if type(command) is ImmediateReply:
                self._answer(command)
            elif type(command) is Chunk:
                self._begin_chunk(command)
            else:
                self._events.append(command)
        return True

    def _take_response(self) -> bool:
        """Take a line that answers a challenge; False if it has not arrived whole."""
        line = self._input.take_line()
        if line is None:
            return False
        self.transcript.heard_secret()
        try:
            self._events.append(self._dialogue.take_response(line))
        except CommandError as error:
            self._refuse_command(b"AUTH", error)
        return True

    def _answer(self, answer: ImmediateReply) -> None:
        if answer.ends is not None:
            self._abort(answer.ends)
        self._say(answer.reply)
        if answer.ends is AbortReason.QUIT:
            self._events.append(QuitEvent())
            self._close()

    def _refuse_command(self, line: bytes, error: CommandError, *, whole: bool = True) -> None:
        """Say no, count what breaks the protocol, and never take for commands what follows as content.

        whole: whether line is the command line, not only the beginning of a bad one.
        """
        reply, octets = error.reply, None
        counts = reply.enhanced.startswith("5.5.")  # RFC 3463 section 3.6: the mail delivery protocol
        if isinstance(error, RefusedCommandError):
            counts, octets = error.counts, error.octets
        if line[:4].upper() == b"AUTH":
            line = b"AUTH"  # what follows may be a password
        self.errors += counts
        if counts and self.errors >= self._limits.errors:
            reply = replies.TOO_MANY_ERRORS
        self._events.append(ErrorEvent(line[:_SHOWN].translate(_PRINTABLE).decode("ascii"), reply))
        if octets is not None:
            self._read_over(octets, reply)
            return
        self._reply(reply)
        word = line[:4].upper() if not line[4:5].isalnum() else b""
        if reply.code == 421:
            self._close()
        elif word == b"DATA" and whole:
            self._close_if_adrift()
        elif word in _BEFORE_CONTENT:  # BDAT with a size that cannot be read, or half a DATA: where do commands go on?
            self._reply(replies.CONTENT_ADRIFT)
            self._close()

    def _close_if_adrift(self) -> None:
        """DATA was refused: what is here already was sent without waiting for 354 and may be content."""
        if self._input:
            self._reply(replies.CONTENT_ADRIFT)
            self._close()

    # Content

    def _begin_chunk(self, chunk: Chunk) -> None:
        first = self._chunks is None
        chunks = self._chunks = self._chunks or ChunkReader(self._limits, binary=self._dialogue.binary)
        chunks.begin(chunk.octets, last=chunk.last)
        if chunks.fault is ContentFault.TOO_BIG:
            reply = FAULT_REPLIES[ContentFault.TOO_BIG]
            self._abort(AbortReason.TOO_BIG, reply)
            self._reply(reply)
            self._close()
        elif first and chunks.fault is None:
            self._chunk_octets = chunk.octets
            self._events.append(DataEvent(bdat=True))
        else:
            self._reader = chunks
            self._read(chunks)

    def _read(self, reader: ContentReader) -> None:
        """Give the input to the reader, and what it passes to the shell."""
        data = self._input.take_all()
        content = reader.feed(data)
        if reader.finished:
            self._input.put_back(reader.rest)
            self._reader = None
        if content:
            self._events.append(ChunkEvent(content))
        if reader.fault is not None and self._content_reply is None:
            self._content_reply = FAULT_REPLIES[reader.fault]
            self._abort(AbortReason(reader.fault.value), self._content_reply)
            self._dialogue.refuse_transaction(self._content_reply)
        if self._content_reply is not None:
            self._input.discarded += len(data) - len(reader.rest)
            self._end_reading_over(self._content_reply, finished=reader.finished)
        elif reader.finished and reader.last:
            self._events.append(MessageEvent(reader.size))
        elif reader.finished:
            self._reply(replies.CHUNK_OK)

    def _read_over(self, octets: int, reply: Reply) -> None:
        """A BDAT command is refused: the reply comes behind its octets.

        421 ends the session at once, and so does a chunk so large that nobody would wait for its end.
        """
        most = min(self._limits.message_bytes, self._limits.discard_bytes - self._input.discarded)
        if reply.code == 421 or octets > most:
            self._reply(reply)
            self._close()
            return
        self._content_reply = reply
        self._reader = RefusedChunk(octets)
        self._read(self._reader)

    def _end_reading_over(self, reply: Reply, *, finished: bool) -> None:
        if finished or self._input.exhausted:
            self._reply(reply)
            self._content_reply = None
            if not finished:
                self._close()

    # The ends of a transaction and of the session

    def _abort(self, reason: AbortReason, reply: Reply | None = None) -> None:
        """Give up the transaction, if one is open."""
        self._chunks = None
        if self._dialogue.end_transaction():
            self._events.append(AbortEvent(reason, reply))

    def _close(self) -> None:
        """The last reply was given. What the shell has not seen yet and cannot decide any more is dropped."""
        self._events = [event for event in self._events if not event.decision]
        self._abort(AbortReason.CLOSED)
        self._dialogue.enter(State.CLOSED)
        self.closing = True
        self.pending = None
        self._reader = None
        self._input.take_all()

    # Output

    def _answer_hello(self, event: HelloEvent) -> None:
        if event.verb == Verb.EHLO:
            # No stamp: a client would read it as a keyword.
            self._output.append(_ehlo_reply(self._hostname, self._dialogue.extensions, tls_active=self.tls_active))
        else:
            self._reply(Reply(250, "", (self._hostname,)))

    def _say(self, reply: Reply) -> None:
        """Give a reply that many sessions give: it is encoded once."""
        head, tail = _head(reply), self._tail or self._new_tail()
        if len(head) + len(tail) <= LINE_OCTETS:
            self._output.append(head + tail)
        else:
            self._reply(reply)

    def _reply(self, reply: Reply) -> None:
        if not self._tail:
            self._new_tail()
        self._output.append(reply.encode(self._stamp_text))

    def _new_tail(self) -> bytes:
        self._stamp_text = self._stamp()
        self._tail = (self._stamp_text + "\r\n").encode("ascii", "replace")
        return self._tail
