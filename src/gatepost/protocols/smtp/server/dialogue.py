"""The commands of an SMTP session: which may come now, how often, and what they say (RFC 5321 section 4.1).

`protocols.smtp.server.server` gives it command lines one by one and tells it what became of the events that it makes of
them; `protocols.smtp.server.states.TABLE` says what may come. Octets that come and go, and content, are the server's.
No clock, no stream, no decision about mail.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn, final

import msgspec

from gatepost.protocols.smtp import commands, replies
from gatepost.protocols.smtp.commands import Verb
from gatepost.protocols.smtp.parameters import CommandError, MailParameters
from gatepost.protocols.smtp.server import auth
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
    XclientEvent,
)
from gatepost.protocols.smtp.server.input import BadLine, LineFault
from gatepost.protocols.smtp.server.states import TABLE, State, out_of_order
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gatepost.protocols.smtp.extensions import Extensions
    from gatepost.protocols.smtp.limits import SmtpLimits
    from gatepost.protocols.smtp.replies import Reply


TAKES_COMMANDS: Final = tuple(bool(TABLE[state]) for state in State)
"""By state: whether any command may come."""

LINE_REPLIES: Final[Mapping[LineFault, Reply]] = {
    LineFault.BARE_LINE_END: replies.BARE_LINE_END,
    LineFault.TOO_LONG: replies.LINE_TOO_LONG,
    LineFault.ENDLESS: replies.ENDLESS_LINE,
}

# What a client may have sent behind a MAIL, DATA or BDAT before it learned that it was refused.
_PIPELINED: Final = frozenset({Verb.RCPT, Verb.DATA, Verb.BDAT})


class RefusedCommandError(CommandError):
    """A refusal that tells what its status cannot.

    counts: whether it is a protocol error. octets: of the chunk behind a BDAT command, None if it is another command.
    """

    def __init__(self, reply: Reply, *, counts: bool = True, octets: int | None = None) -> None:
        super().__init__(reply)
        self.counts = counts
        self.octets = octets


@final
class ImmediateReply(msgspec.Struct, frozen=True):
    """A command is answered without a decision. ends: why it ends the transaction, None if it does not."""

    reply: Reply
    ends: AbortReason | None = None


@final
class Chunk(msgspec.Struct):
    """BDAT: so many octets of content follow the command line. last: with them the message is complete."""

    octets: int
    last: bool


_MOVES_ON: Final = frozenset({RecipientEvent, DataEvent, HelloEvent, StartTlsEvent})  # and nothing else
_NOOP: Final = ImmediateReply(replies.OK)
_RSET: Final = ImmediateReply(replies.OK, AbortReason.RSET)
_VRFY: Final = ImmediateReply(replies.CANNOT_VERIFY)
_HELP: Final = ImmediateReply(replies.HELP)
_QUIT: Final = ImmediateReply(replies.BYE, AbortReason.QUIT)


class Dialogue:
    """Where a session stands, and what was asked for in it so far.

    state: moves when an event is accepted or refused, and where `enter` says so. tls_active: set by `secured`.
    authenticated: AUTH was accepted. extensions: offered from now on; XCLIENT is only until it was accepted.
    """

    __slots__ = (
        "_idle_commands",
        "_limits",
        "_mail",
        "_next",
        "_recipients",
        "_refusal",
        "_transactions",
        "authenticated",
        "extensions",
        "state",
        "tls_active",
    )

    def __init__(self, extensions: Extensions, limits: SmtpLimits) -> None:
        self._limits = limits
        self._next = State.OPENING  # the state if the command in hand is accepted
        self._mail: MailParameters | None = None  # of the open transaction
        self._recipients = 0  # RCPT commands of the transaction
        self._transactions = 0
        self._idle_commands = 0
        self._refusal = replies.MAIL_FIRST  # what made the state REFUSED
        self.extensions = extensions
        self.state = State.OPENING
        self.tls_active = False
        self.authenticated = False

    @property
    def binary(self) -> bool:
        """Whether the open transaction was begun with BODY=BINARYMIME."""
        return self._mail is not None and self._mail.body == "BINARYMIME"

    def take(self, line: bytes) -> Event | ImmediateReply | Chunk:
        """A command line, without its CRLF. Raises CommandError, which says what it is refused with."""
        word, _, arguments = commands.decode_line(line).partition(" ")
        legal = _DISPATCH[self.state]
        entry = legal.get(word) or legal.get(word.upper())
        if entry is None:
            self._refuse_word(word.upper(), arguments)
        handler, self._next = entry
        return handler(self, arguments)

    def take_response(self, line: bytes | BadLine) -> AuthResponseEvent:
        """A line within AUTH. Raises CommandError; whatever is wrong with it ends the exchange.

        Nobody is told what the line was.
        """
        self._next = self.state = State.GREETED
        if isinstance(line, BadLine):
            raise CommandError(auth.LINE_TOO_LONG if line.fault is LineFault.TOO_LONG else LINE_REPLIES[line.fault])
        return AuthResponseEvent(auth.decode(line))

    # What becomes of it

    def accept(self, event: Event) -> None:
        """The decision on an event is yes."""
        if type(event) in _MOVES_ON:
            self.state = self._next
        elif isinstance(event, MessageEvent):
            self._mail = None
            self._idle_commands = 0
            self.state = State.GREETED
        else:
            self.state = self._next
            if isinstance(event, MailEvent):
                self._mail = event.parameters
                self._recipients = 0
            elif isinstance(event, (AuthEvent, AuthResponseEvent)):
                self.authenticated = True
            else:  # XclientEvent: from here on it may be the client who speaks, through the host that has named it
                self.extensions = replace(self.extensions, xclient=False)

    def refuse(self, event: Event, reply: Reply) -> None:
        """The decision on an event is no."""
        if isinstance(event, MessageEvent):
            self._mail = None
            self.state = State.GREETED
        elif isinstance(event, (MailEvent, DataEvent)):
            self.refuse_transaction(reply)

    def refuse_transaction(self, reply: Reply) -> None:
        """The transaction is over, and what was pipelined behind it is refused alike (RFC 2920 section 3.1)."""
        self._mail = None
        self.state = State.REFUSED
        self._refusal = reply

    def end_transaction(self) -> bool:
        """Forget the transaction; whether one was open."""
        was_open, self._mail = self._mail is not None, None
        return was_open

    def enter(self, state: State) -> None:
        """Something else than a command changed where the session stands."""
        self.state = state

    def secured(self) -> None:
        """TLS is up: the client has to say again who it is. Before the greeting, the session begins so."""
        if self.state is State.TLS:
            self.state = State.CONNECTED
        elif self.state is not State.OPENING:
            raise RuntimeError("STARTTLS was not accepted")
        self.tls_active = True

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
        if verb is Verb.AUTH and not self.extensions.auth:
            raise CommandError(replies.NOT_OFFERED)
        if verb is Verb.XCLIENT and not self.extensions.xclient:
            raise CommandError(replies.XCLIENT_REFUSED)
        octets = commands.parse_bdat(arguments)[0] if verb is Verb.BDAT else None
        if self.state is State.REFUSED and verb in _PIPELINED:
            raise RefusedCommandError(self._refusal, counts=False, octets=octets)
        reply = out_of_order(self.state, verb)
        raise RefusedCommandError(reply, counts=reply is not replies.NO_RECIPIENTS, octets=octets)

    # The commands, each called only where `TABLE` has it

    def _on_ehlo(self, arguments: str) -> HelloEvent:
        return self._hello(Verb.EHLO, arguments)

    def _on_helo(self, arguments: str) -> HelloEvent:
        return self._hello(Verb.HELO, arguments)

    def _hello(self, verb: Verb, arguments: str) -> HelloEvent:
        domain = commands.parse_hello(arguments)
        self._count_idle()
        return HelloEvent(str(verb), domain)

    def _on_starttls(self, arguments: str) -> StartTlsEvent:
        if not self.extensions.starttls:
            raise CommandError(replies.NOT_OFFERED)
        if self.tls_active:
            raise CommandError(replies.TLS_ACTIVE)
        commands.parse_nothing(arguments)
        return StartTlsEvent()

    def _on_auth(self, arguments: str) -> AuthEvent:
        if not self.extensions.auth:
            raise CommandError(replies.NOT_OFFERED)
        if not self.tls_active:
            raise CommandError(auth.TLS_NEEDED)
        if self.authenticated:
            raise CommandError(auth.AUTHENTICATED_ALREADY)
        self._count_idle()
        return AuthEvent(*auth.parse_auth(arguments, self.extensions.auth))

    def _on_xclient(self, arguments: str) -> XclientEvent:
        if not self.extensions.xclient:
            raise CommandError(replies.XCLIENT_REFUSED)
        self._count_idle()
        return XclientEvent(*commands.parse_xclient(arguments))

    def _may_send(self) -> None:
        """Where users are served, mail is taken only from them, and over TLS."""
        if self.extensions.auth and not self.authenticated:
            raise CommandError(auth.AUTHENTICATION_REQUIRED if self.tls_active else auth.STARTTLS_FIRST)

    def _on_mail(self, arguments: str) -> MailEvent:
        self._transactions += 1
        if self._transactions > self._limits.transactions:
            raise CommandError(replies.TOO_MANY_TRANSACTIONS)
        try:
            self._may_send()
            path, parameters = commands.parse_mail(arguments, self.extensions, tls_active=self.tls_active)
        except CommandError as error:
            self.refuse_transaction(error.reply)
            raise
        return MailEvent(path, parameters)

    def _on_rcpt(self, arguments: str) -> RecipientEvent:
        self._recipients += 1
        if self._recipients > self._limits.recipients:
            raise CommandError(replies.TOO_MANY_RECIPIENTS)
        smtputf8 = self._mail is not None and self._mail.smtputf8
        path, parameters = commands.parse_recipient(arguments, self.extensions, smtputf8=smtputf8)
        return RecipientEvent(path, parameters)

    def _on_data(self, arguments: str) -> DataEvent:
        commands.parse_nothing(arguments)
        if self.binary:
            raise CommandError(replies.NEEDS_BDAT)
        return DataEvent(bdat=False)

    def _on_bdat(self, arguments: str) -> Chunk:
        """RFC 3030 section 2: whatever is said to the command, its octets follow and must be read."""
        octets, last = commands.parse_bdat(arguments)
        if not self.extensions.chunking:
            raise RefusedCommandError(replies.NOT_OFFERED, octets=octets)
        return Chunk(octets, last)

    def _on_rset(self, arguments: str) -> ImmediateReply:
        commands.parse_nothing(arguments)
        self._count_idle()
        self.state = self._next
        return _RSET

    def _on_noop(self, _arguments: str) -> ImmediateReply:
        self._count_idle()
        return _NOOP

    def _on_vrfy(self, arguments: str) -> ImmediateReply:
        commands.parse_verify(arguments)
        self._count_idle()
        return _VRFY

    def _on_help(self, _arguments: str) -> ImmediateReply:
        self._count_idle()
        return _HELP

    def _on_quit(self, arguments: str) -> ImmediateReply:
        commands.parse_nothing(arguments)
        return _QUIT

    def _count_idle(self) -> None:
        self._idle_commands += 1
        if self._idle_commands > self._limits.commands_without_mail:
            raise CommandError(replies.TOO_MANY_COMMANDS)


type _Handler = Callable[[Dialogue, str], Event | ImmediateReply | Chunk]

# The method of each command bears its name.
_HANDLERS: Final[Mapping[Verb, _Handler]] = {verb: vars(Dialogue)[f"_on_{verb.lower()}"] for verb in Verb}

# `TABLE` as the hot path reads it: by state, then by the word itself, to what carries the command out.
_DISPATCH: Final[tuple[Mapping[str, tuple[_Handler, State]], ...]] = tuple(
    {verb.value: (_HANDLERS[verb], after) for verb, after in TABLE[state].items()} for state in State
)
