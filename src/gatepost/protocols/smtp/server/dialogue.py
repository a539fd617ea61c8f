"""The command half of the SMTP server core: a client's commands become events, or a refusal.

`protocols.smtp.server.server.Server` builds on it and adds what the shell decides. Commands are carried out as
`protocols.smtp.server.states.TABLE` allows, content goes through the readers of `protocols.smtp.server.data`. No clock,
no stream, no decision about mail.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NoReturn

from gatepost.protocols.smtp import commands, replies
from gatepost.protocols.smtp.commands import Verb
from gatepost.protocols.smtp.parameters import CommandError, MailParameters
from gatepost.protocols.smtp.server import auth
from gatepost.protocols.smtp.server.data import FAULT_REPLIES, ChunkReader, ContentFault, ContentReader, RefusedChunk
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
)
from gatepost.protocols.smtp.server.input import BadLine, Input, LineFault
from gatepost.protocols.smtp.server.states import TABLE, State, out_of_order
from gatepost.protocols.smtp.server.transcript import Transcript

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gatepost.protocols.smtp.extensions import Extensions
    from gatepost.protocols.smtp.limits import SmtpLimits
    from gatepost.protocols.smtp.replies import Reply
    from gatepost.protocols.smtp.server.transcript import TranscriptBudget


_LINE_REPLIES: Final[Mapping[LineFault, Reply]] = {
    LineFault.BARE_LINE_END: replies.BARE_LINE_END,
    LineFault.TOO_LONG: replies.LINE_TOO_LONG,
    LineFault.ENDLESS: replies.ENDLESS_LINE,
}

# What a client may have sent behind a MAIL, DATA or BDAT before it learned that it was refused.
_PIPELINED: Final = frozenset({Verb.RCPT, Verb.DATA, Verb.BDAT})

_BEFORE_CONTENT: Final = frozenset({b"DATA", b"BDAT"})

_PRINTABLE: Final = bytes(octet if 32 <= octet < 127 else ord("?") for octet in range(256))
_SHOWN: Final = 80


class _RefusedCommandError(CommandError):
    """A refusal that tells what its status cannot.

    counts: whether it is a protocol error. octets: of the chunk behind a BDAT command, None if it is another command.
    """

    def __init__(self, reply: Reply, *, counts: bool = True, octets: int | None = None) -> None:
        super().__init__(reply)
        self.counts = counts
        self.octets = octets


class Dialogue:
    """Input, state and output of one session; `Server` says what the public attributes mean."""

    __slots__ = (
        "_chunk_octets",
        "_chunks",
        "_content_reply",
        "_extensions",
        "_idle_commands",
        "_input",
        "_limits",
        "_mail",
        "_next",
        "_output",
        "_queue",
        "_reader",
        "_recipients",
        "_refusal",
        "_stamp",
        "_stamp_text",
        "_tail",
        "_transactions",
        "authenticated",
        "closing",
        "errors",
        "pending",
        "state",
        "tls_active",
        "transcript",
    )

    def __init__(
        self, extensions: Extensions, limits: SmtpLimits, stamp: Callable[[], str], transcripts: TranscriptBudget | None
    ) -> None:
        self._extensions = extensions
        self._limits = limits
        self._stamp = stamp
        self._stamp_text = ""
        self._tail = b""  # the stamp and CRLF as octets; empty: the next reply asks for a new stamp
        longest = max(limits.command_line, auth.LINE_OCTETS) if extensions.auth else limits.command_line
        self._input = Input(longest, limits.discard_bytes)
        self._output: list[bytes] = []
        self._queue: deque[Event] = deque()
        self._next = State.OPENING  # the state if what is pending is accepted
        self._mail: MailParameters | None = None  # of the open transaction
        self._recipients = 0  # RCPT commands of the transaction
        self._transactions = 0
        self._idle_commands = 0
        self._reader: ContentReader | None = None  # has the input while it is content
        self._chunks: ChunkReader | None = None  # of the message that is sent with BDAT
        self._chunk_octets = 0  # of the BDAT command in hand
        self._content_reply: Reply | None = None  # to be given when the content that is read over ends
        self._refusal = replies.MAIL_FIRST  # what made the state REFUSED
        self.state = State.OPENING
        self.tls_active = False
        self.authenticated = False
        self.pending: Event | None = None
        self.closing = False
        self.errors = 0
        self.transcript = Transcript(transcripts)

    def _advance(self) -> bool:
        """Take a command or some content from the input; False if there is not enough of it, or none may come."""
        if self._reader is not None:
            if not self._input:
                return False
            self._read(self._reader)
            return True
        legal = _DISPATCH[self.state]
        line = self._input.take_line() if legal or self.state is State.AUTH else None
        if line is None:
            return False
        if self.state is State.AUTH:
            self.transcript.heard_secret()
            self._take_response(line)
            return True
        if isinstance(line, BadLine):
            self.transcript.heard(line.start)
            self._refuse_command(line.start, CommandError(_LINE_REPLIES[line.fault]), whole=False)
            return True
        self.transcript.heard(line)
        try:
            word, _, arguments = commands.decode_line(line).partition(" ")
            entry = legal.get(word) or legal.get(word.upper())
            if entry is None:
                self._refuse_word(word.upper(), arguments)
            handler, self._next = entry
            handler(self, arguments)
        except CommandError as error:
            self._refuse_command(line, error)
        return True

    # Refusals

    def _refuse_word(self, word: str, arguments: str) -> NoReturn:
        """A command that may not come now, or that is none."""
        if word in commands.FOREIGN_VERBS:
            raise CommandError(replies.NOT_SMTP)
        if word in commands.UNIMPLEMENTED_VERBS:
            raise CommandError(replies.NOT_OFFERED)
        try:
            verb = Verb(word)
        except ValueError:
            raise CommandError(replies.UNKNOWN_COMMAND) from None
        if verb is Verb.AUTH and not self._extensions.auth:
            raise CommandError(replies.NOT_OFFERED)
        octets = commands.parse_bdat(arguments)[0] if verb is Verb.BDAT else None
        if self.state is State.REFUSED and verb in _PIPELINED:
            raise _RefusedCommandError(self._refusal, counts=False, octets=octets)
        reply = out_of_order(self.state, verb)
        raise _RefusedCommandError(reply, counts=reply is not replies.NO_RECIPIENTS, octets=octets)

    def _refuse_command(self, line: bytes, error: CommandError, *, whole: bool = True) -> None:
        """Say no, count what breaks the protocol, and never take for commands what follows as content.

        whole: whether line is the command line, not only the beginning of a bad one.
        """
        reply, octets = error.reply, None
        counts = reply.enhanced.startswith("5.5.")  # RFC 3463 section 3.6: the mail delivery protocol
        if isinstance(error, _RefusedCommandError):
            counts, octets = error.counts, error.octets
        if line[:4].upper() == b"AUTH":
            line = b"AUTH"  # what follows may be a password
        self.errors += counts
        if counts and self.errors >= self._limits.errors:
            reply = replies.TOO_MANY_ERRORS
        self._queue.append(ErrorEvent(line[:_SHOWN].translate(_PRINTABLE).decode("ascii"), reply))
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

    def _enter_refused(self, reply: Reply) -> None:
        self._end_transaction()
        self.state = State.REFUSED
        self._refusal = reply

    # The commands, each called only where `TABLE` has it

    def _on_ehlo(self, arguments: str) -> None:
        self._hello(Verb.EHLO, arguments)

    def _on_helo(self, arguments: str) -> None:
        self._hello(Verb.HELO, arguments)

    def _hello(self, verb: Verb, arguments: str) -> None:
        domain = commands.parse_hello(arguments)
        self._count_idle()
        self._queue.append(HelloEvent(verb.value, domain))

    def _on_starttls(self, arguments: str) -> None:
        if not self._extensions.starttls:
            raise CommandError(replies.NOT_OFFERED)
        if self.tls_active:
            raise CommandError(replies.TLS_ACTIVE)
        commands.parse_nothing(arguments)
        self._queue.append(StartTlsEvent())

    def _on_auth(self, arguments: str) -> None:
        if not self._extensions.auth:
            raise CommandError(replies.NOT_OFFERED)
        if not self.tls_active:
            raise CommandError(auth.TLS_NEEDED)
        if self.authenticated:
            raise CommandError(auth.AUTHENTICATED_ALREADY)
        self._count_idle()
        self._queue.append(AuthEvent(*auth.parse_auth(arguments, self._extensions.auth)))

    def _take_response(self, line: bytes | BadLine) -> None:
        """A line of a exchange. Whatever is wrong with it ends the exchange, and tells nobody what it was."""
        self._next = self.state = State.GREETED
        if isinstance(line, BadLine):
            reply = auth.LINE_TOO_LONG if line.fault is LineFault.TOO_LONG else _LINE_REPLIES[line.fault]
            self._refuse_command(b"AUTH", CommandError(reply))
            return
        try:
            self._queue.append(AuthResponseEvent(auth.decode(line)))
        except CommandError as error:
            self._refuse_command(b"AUTH", error)

    def _may_send(self) -> None:
        """Where users are served, mail is taken only from them, and over TLS."""
        if self._extensions.auth and not self.authenticated:
            raise CommandError(auth.AUTHENTICATION_REQUIRED if self.tls_active else auth.STARTTLS_FIRST)

    def _on_mail(self, arguments: str) -> None:
        self._transactions += 1
        if self._transactions > self._limits.transactions:
            raise CommandError(replies.TOO_MANY_TRANSACTIONS)
        try:
            self._may_send()
            path, parameters = commands.parse_mail(arguments, self._extensions, tls_active=self.tls_active)
        except CommandError as error:
            self._enter_refused(error.reply)
            raise
        self._queue.append(MailEvent(path, parameters))

    def _on_rcpt(self, arguments: str) -> None:
        self._recipients += 1
        if self._recipients > self._limits.recipients:
            raise CommandError(replies.TOO_MANY_RECIPIENTS)
        smtputf8 = self._mail is not None and self._mail.smtputf8
        path, parameters = commands.parse_recipient(arguments, self._extensions, smtputf8=smtputf8)
        self._queue.append(RecipientEvent(path, parameters))

    def _on_data(self, arguments: str) -> None:
        commands.parse_nothing(arguments)
        if self._binary:
            raise CommandError(replies.NEEDS_BDAT)
        self._queue.append(DataEvent(bdat=False))

    def _on_bdat(self, arguments: str) -> None:
        """RFC 3030 section 2: whatever is said to the command, its octets follow and must be read."""
        octets, last = commands.parse_bdat(arguments)
        if not self._extensions.chunking:
            raise _RefusedCommandError(replies.NOT_OFFERED, octets=octets)
        first = self._chunks is None
        chunks = self._chunks = self._chunks or ChunkReader(self._limits, binary=self._binary)
        chunks.begin(octets, last=last)
        if chunks.fault is ContentFault.TOO_BIG:
            reply = FAULT_REPLIES[ContentFault.TOO_BIG]
            self._abort(AbortReason.TOO_BIG, reply)
            self._reply(reply)
            self._close()
        elif first and chunks.fault is None:
            self._chunk_octets = octets
            self._queue.append(DataEvent(bdat=True))
        else:
            self._reader = chunks
            self._read(chunks)

    def _on_rset(self, arguments: str) -> None:
        commands.parse_nothing(arguments)
        self._count_idle()
        self._abort(AbortReason.RSET)
        self.state = self._next
        self._reply(replies.OK)

    def _on_noop(self, _arguments: str) -> None:
        self._count_idle()
        self._reply(replies.OK)

    def _on_vrfy(self, arguments: str) -> None:
        commands.parse_verify(arguments)
        self._count_idle()
        self._reply(replies.CANNOT_VERIFY)

    def _on_help(self, _arguments: str) -> None:
        self._count_idle()
        self._reply(replies.HELP)

    def _on_quit(self, arguments: str) -> None:
        commands.parse_nothing(arguments)
        self._abort(AbortReason.QUIT)
        self._queue.append(QuitEvent())
        self._reply(replies.BYE)
        self._close()

    def _count_idle(self) -> None:
        self._idle_commands += 1
        if self._idle_commands > self._limits.commands_without_mail:
            raise CommandError(replies.TOO_MANY_COMMANDS)

    @property
    def _binary(self) -> bool:
        return self._mail is not None and self._mail.body == "BINARYMIME"

    # Content

    def _read(self, reader: ContentReader) -> None:
        """Give the input to the reader, and what it passes to the shell."""
        data = self._input.take_all()
        content = reader.feed(data)
        if reader.finished:
            self._input.put_back(reader.rest)
            self._reader = None
        if content:
            self._queue.append(ChunkEvent(content))
        if reader.fault is not None and self._content_reply is None:
            self._content_reply = FAULT_REPLIES[reader.fault]
            self._abort(AbortReason(reader.fault.value), self._content_reply)
            self._enter_refused(self._content_reply)
        if self._content_reply is not None:
            self._input.discarded += len(data) - len(reader.rest)
            self._end_reading_over(self._content_reply, finished=reader.finished)
        elif reader.finished and reader.last:
            self._next = State.GREETED
            self._queue.append(MessageEvent(reader.size))
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

    def _end_transaction(self) -> None:
        self._mail = None
        self._chunks = None

    def _abort(self, reason: AbortReason, reply: Reply | None = None) -> None:
        """Give up the transaction, if one is open."""
        if self._mail is not None:
            self._queue.append(AbortEvent(reason, reply))
        self._end_transaction()

    def _close(self) -> None:
        """The last reply was given. What the shell has not seen yet and cannot decide any more is dropped."""
        self._queue = deque(event for event in self._queue if not event.decision)
        self._abort(AbortReason.CLOSED)
        self.state = State.CLOSED
        self.closing = True
        self.pending = None
        self._reader = None
        self._input.take_all()

    # Output

    def _reply(self, reply: Reply) -> None:
        if not self._tail:
            self._new_tail()
        self._output.append(reply.encode(self._stamp_text))

    def _new_tail(self) -> bytes:
        self._stamp_text = self._stamp()
        self._tail = (self._stamp_text + "\r\n").encode("ascii", "replace")
        return self._tail


type _Handler = Callable[[Dialogue, str], None]

# The method of each command bears its name.
_HANDLERS: Final[Mapping[Verb, _Handler]] = {verb: vars(Dialogue)[f"_on_{verb.lower()}"] for verb in Verb}

# `TABLE` as the hot path reads it: by state, then by the word itself, to what carries the command out.
_DISPATCH: Final[tuple[Mapping[str, tuple[_Handler, State]], ...]] = tuple(
    {verb.value: (_HANDLERS[verb], after) for verb, after in TABLE[state].items()} for state in State
)
