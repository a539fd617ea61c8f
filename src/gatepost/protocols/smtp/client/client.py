"""The sending side of SMTP and LMTP, sans-IO (RFC 5321, 2033, 2920, 3030, 3207, 4954).

`mail.outbound.connection` feeds what the peer sends to `Client.receive`, acts on the events and writes
`Client.take_output`. Here is the session; one transaction is `protocols.smtp.client.sending`, its envelope
`protocols.smtp.client.transaction`. Never here: sockets, TLS, time-outs, and which messages may go to this peer at all.
"""

from __future__ import annotations

import base64
import re

from gatepost.protocols.smtp.client.client_events import (
    AuthReply,
    ClientEvent,
    Closed,
    Greeting,
    HelloDone,
    RecipientAnswered,
    ResetDone,
    StartTlsReply,
)
from gatepost.protocols.smtp.client.reply_parser import ProtocolError, ReplyParser
from gatepost.protocols.smtp.client.sending import END_OF_DATA, Sending, Wire
from gatepost.protocols.smtp.client.transaction import MailTransaction, Peer, compose
from gatepost.protocols.smtp.replies import Reply

_CONTINUED = frozenset({"DATA", "AUTH"})  # what 3xx may answer
_WORD = re.compile(r"[!-~]+")
_AUTH_LINE = 510  # octets of AUTH with an initial response; a longer one waits for the challenge (RFC 4954 section 4)


def _word(text: str, name: str) -> bytes:
    """Text that stands in a command as a word of its own. Raises ValueError for text that would not stay one."""
    if _WORD.fullmatch(text) is None:
        raise ValueError(f"{name} is {text[:80]!r}, not one word of printable US-ASCII")
    return text.encode("ascii")


class Client:
    """One connection to a peer.

    Order of use: receive (Greeting), hello, perhaps starttls, tls_started and hello again, perhaps auth, then any
    number of transactions (begin, perhaps chunk), quit. A call out of this order is a fault of the caller:
    RuntimeError.

    A peer that breaks the protocol makes `receive` raise ProtocolError, but first every event before that is given out,
    and a running transaction ends with its TransactionDone. From then on `failure` is set, and every method that needs
    the peer raises it again.

    extensions: keyword in upper case -> parameters, after HelloDone. peer: the same, read. closed: the session is over.
    hello_verb: EHLO or LHLO.
    """

    def __init__(self, hello_name: str, *, lmtp: bool = False) -> None:
        """hello_name: our own name, or an address literal, for EHLO (RFC 5321 section 4.1.4). lmtp: RFC 2033.

        Raises ValueError if the name is not one word of printable US-ASCII.
        """
        self.extensions: dict[str, str] = {}
        self.peer = Peer()
        self.failure: ProtocolError | None = None
        self.closed = False
        self._hello_name = _word(hello_name, "hello_name")
        self.hello_verb = "LHLO" if lmtp else "EHLO"
        self._lmtp = lmtp
        self._parser = ReplyParser()
        self._wire = Wire()
        self._wire.awaited.append(("greeting", self._on_greeting))
        self._sending: Sending | None = None
        self._needs_reset = False
        self._starting_tls = False
        self._challenged = False
        self._first_response: bytes | None = None

    @property
    def usable(self) -> bool:
        """Whether `begin` may be called: nothing is under way and nothing went wrong."""
        if self._wire.awaited or self._sending is not None or self.closed or self.failure is not None:
            return False
        return not (self._starting_tls or self._challenged)

    @property
    def wants_body(self) -> bool:
        """Whether `chunk` has an effect. Turns false early if the peer gives the message up meanwhile."""
        return self._sending is not None and self._sending.open

    @property
    def is_behind(self) -> bool:
        """Whether chunks are kept until the peer has answered the one before: give no more of them meanwhile."""
        return self._sending is not None and self._sending.open and self._sending.is_behind

    @property
    def awaiting(self) -> str:
        """The subject of the next reply ("greeting", "EHLO", "MAIL", "DATA", "end of data", …), "" if none is due."""
        return self._wire.awaited[0][0] if self._wire.awaited else ""

    @property
    def is_in_doubt(self) -> bool:
        """Whether the message was sent to its end and a reply to that is due: the peer may have taken it already."""
        return any(name == END_OF_DATA for name, _ in self._wire.awaited)

    # --- what the shell asks for

    def hello(self) -> None:
        """EHLO or LHLO; HelloDone follows."""
        self._check_usable()
        self._parser.hello = True
        line = b"%s %s\r\n" % (self.hello_verb.encode(), self._hello_name)
        self._wire.send(line, self.hello_verb, self._on_hello if self._lmtp else self._on_ehlo)

    def starttls(self) -> None:
        """STARTTLS; StartTlsReply follows."""
        self._check_usable()
        self._wire.send(b"STARTTLS\r\n", "STARTTLS", self._on_starttls)

    def tls_started(self) -> None:
        """The handshake is complete: forget what was learnt without encryption (RFC 3207 section 4.2).

        Call `hello` again. Raises ProtocolError if the peer sent anything behind its reply to STARTTLS: an attacker may
        have put it there.
        """
        if not self._starting_tls:
            raise RuntimeError("called without a positive reply to STARTTLS")
        if self.failure is None and self._parser.pending:
            self.failure = ProtocolError("plaintext behind the reply to STARTTLS")
        self._parser = ReplyParser()
        self._starting_tls = False
        self.extensions = {}
        self.peer = Peer()
        self._check_usable()

    def auth(self, mechanism: str, initial: bytes | None) -> None:
        """AUTH (RFC 4954); AuthReply follows. initial: the initial response, None where the mechanism has none.

        Raises ValueError if the mechanism is not one word of printable US-ASCII.
        """
        self._check_usable()
        line = b"AUTH " + _word(mechanism, "mechanism")
        self._first_response = None
        if initial is not None:
            written = base64.b64encode(initial) or b"="
            if len(line) + 1 + len(written) > _AUTH_LINE:
                self._first_response = initial
            else:
                line += b" " + written
        self._wire.send(line + b"\r\n", "AUTH", self._on_auth)

    def auth_response(self, response: bytes) -> None:
        """Answer a challenge; AuthReply follows. Where there is no answer, close the connection."""
        if not self._challenged:
            raise RuntimeError("called without a challenge")
        self._challenged = False
        self._check_usable()
        self._wire.send(base64.b64encode(response) + b"\r\n", "AUTH", self._on_auth)

    def reset(self) -> None:
        """RSET, to see whether an idle connection lives; ResetDone follows."""
        self._check_usable()
        self._wire.send(b"RSET\r\n", "RSET", self._on_reset)

    def ask_recipient(self, address: str) -> Reply | None:
        """MAIL with the null reverse-path, then RCPT, and no message: RecipientAnswered follows.

        The null reverse-path is refused by no server that follows RFC 5321 section 4.5.5, and sets off no such question
        of its own. Returns our refusal, and asks nothing, where the address cannot be written for this peer. Raises
        ValueError as `begin` does.
        """
        self._check_usable()
        commands = compose(MailTransaction("", [(address, "", "")]), self.peer)
        if not commands.lines:
            return commands.local[0]
        mail, recipient = commands.lines

        def on_mail(reply: Reply, events: list[ClientEvent]) -> None:
            if reply.positive:
                self._wire.send(recipient, "RCPT", on_recipient)
            else:
                events.append(RecipientAnswered(reply, "MAIL"))

        def on_recipient(reply: Reply, events: list[ClientEvent]) -> None:
            self._needs_reset = True
            events.append(RecipientAnswered(reply, "RCPT"))

        self._wire.send(mail, "MAIL", on_mail)
        return None

    def quit(self) -> None:
        """QUIT; Closed follows. Does nothing where it cannot be said: then just close the connection."""
        if self.usable:
            self._wire.send(b"QUIT\r\n", "QUIT", self._on_quit)

    def begin(self, transaction: MailTransaction, first: bytes | None = None, last: bool = False) -> None:  # noqa: FBT001, FBT002  the words of the call
        """Start a transaction; TransactionDone follows, before it perhaps BodyWanted.

        first: the beginning of the body, held back until the peer may have it; with `last` it is all of it. A whole
        body leaves in one flight with the envelope if the peer has PIPELINING and CHUNKING: only give a small one.
        The body has lines that end in CRLF, and no dots added (RFC 5321 section 4.5.2 is done here); bare CR and LF go
        out as they are, and a peer that takes them for line ends may see another message: let none in.
        Raises ValueError if an address or a parameter cannot be written in a command; nothing is begun then.
        """
        self._check_usable()
        sending = Sending(transaction, self._wire, lmtp=self._lmtp)
        sending.start(self.peer, first, last=last, reset=self._needs_reset)
        self._sending = sending

    def chunk(self, data: bytes, last: bool) -> None:  # noqa: FBT001  the words of the call
        """More of the body, `last` ends it (data may be empty then). Dropped unless `wants_body`.

        To a peer without PIPELINING, chunks of a BINARYMIME body are kept here until the chunk before them is answered.
        """
        if self._sending is not None and self._sending.open and (data or last):
            self._sending.chunk(data, last=last)

    def receive(self, data: bytes) -> list[ClientEvent]:
        """Parse bytes from the peer, cut anywhere, into events. Raises ProtocolError as the class says."""
        if self.failure is not None:
            raise self.failure
        events: list[ClientEvent] = []
        if self.closed:
            return events
        try:
            self._parser.feed(data)
            while (reply := self._parser.next_reply()) is not None:
                self._take(reply, events)
        except ProtocolError as error:
            self.failure = error
            self._break_off(Reply(450, "4.5.0", ("The next hop broke the protocol",)), events, local=True)
            if not events:
                raise
        return events

    def lost(self, reply: Reply | None = None) -> list[ClientEvent]:
        """The connection is gone: [TransactionDone] if a transaction was under way, else [].

        reply: for recipients not decided so far; the default is 450 4.4.318 and names the reply that did not come.
        """
        if reply is None:
            where = f"waiting for the reply to {self.awaiting}" if self._wire.awaited else "sending the message"
            reply = Reply(450, "4.4.318", (f"Connection was closed abruptly while {where}",))
        events: list[ClientEvent] = []
        self._break_off(reply, events, local=True)
        self._close()
        return events

    def take_output(self) -> bytes:
        """The bytes to write now as one flight, b"" if none."""
        output = self._wire.output
        if not output:
            return b""
        self._wire.output = []
        return output[0] if len(output) == 1 else b"".join(output)

    # --- replies

    def _take(self, reply: Reply, events: list[ClientEvent]) -> None:
        if reply.code == 421:  # RFC 5321 section 3.8: in reply to anything, or to nothing
            self._break_off(reply, events, local=False)
            self._close()
            events.append(Closed(reply))
            return
        awaited = self._wire.awaited
        if not awaited:
            if self.wants_body and not reply.positive:
                # A refusal in the middle of the body counts, but the peer still takes what we say for body.
                self._break_off(reply, events, local=False)
            raise ProtocolError(f"{reply.code} in reply to nothing")
        name, handler = awaited.popleft()
        if 300 <= reply.code < 400 and name not in _CONTINUED:
            raise ProtocolError(f"{reply.code} in reply to {name}")
        handler(reply, events)
        sending = self._sending
        if sending is not None and sending.over:
            self._needs_reset = sending.needs_reset
            self._sending = None

    def _break_off(self, reply: Reply, events: list[ClientEvent], *, local: bool) -> None:
        self._wire.clear()
        if self._sending is not None:
            self._sending.break_off(reply, events, local=local)
            self._sending = None

    def _close(self) -> None:
        self.closed = True
        self._parser = ReplyParser()  # what the peer says behind its last words is not heard

    def _on_greeting(self, reply: Reply, events: list[ClientEvent]) -> None:
        events.append(Greeting(reply))

    def _on_ehlo(self, reply: Reply, events: list[ClientEvent]) -> None:
        if reply.permanent:
            self._parser.hello = False
            self._wire.send(b"HELO %s\r\n" % self._hello_name, "HELO", self._on_helo)
        else:
            self._on_hello(reply, events)

    def _on_hello(self, reply: Reply, events: list[ClientEvent]) -> None:
        self._parser.hello = False
        self.extensions = {}
        if reply.positive:
            for line in reply.lines[1:]:
                keyword, _, parameters = line.strip().partition(" ")
                self.extensions[keyword.upper()] = parameters.strip()
        self.peer = Peer.read(self.extensions)
        events.append(HelloDone(reply, self.extensions))

    def _on_helo(self, reply: Reply, events: list[ClientEvent]) -> None:
        self.extensions = {}
        self.peer = Peer()
        events.append(HelloDone(reply, self.extensions))

    def _on_starttls(self, reply: Reply, events: list[ClientEvent]) -> None:
        self._starting_tls = reply.positive
        events.append(StartTlsReply(reply))

    def _on_auth(self, reply: Reply, events: list[ClientEvent]) -> None:
        if 300 <= reply.code < 400 and reply.code != 334:
            raise ProtocolError(f"{reply.code} in reply to AUTH")
        first, self._first_response = self._first_response, None
        if reply.code == 334 and first is not None:
            self._wire.send(base64.b64encode(first) + b"\r\n", "AUTH", self._on_auth)
            return
        self._challenged = reply.code == 334
        events.append(AuthReply(reply))

    def _on_reset(self, reply: Reply, events: list[ClientEvent]) -> None:
        self._needs_reset = False
        events.append(ResetDone(reply))

    def _on_quit(self, reply: Reply, events: list[ClientEvent]) -> None:
        self._close()
        events.append(Closed(reply))

    def _check_usable(self) -> None:
        if self.failure is not None:
            raise self.failure
        if self.closed:
            raise ProtocolError("the session is closed")
        if not self.usable:
            raise RuntimeError(f"called while waiting for {self.awaiting or 'TLS or the rest of the message'}")
