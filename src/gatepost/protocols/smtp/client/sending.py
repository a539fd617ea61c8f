"""One transaction in progress, on the client (RFC 5321 sections 3.3 and 4.1.1, RFC 2920, 3030, 2033).

`protocols.smtp.client.client` starts a `Sending` for each transaction and hands it the replies to the commands it sent.
What may go out together goes out together; every way it can end leads to one TransactionDone. `DotStuffer` encodes for
DATA what `protocols.smtp.server.data` decodes on the other side.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from gatepost.protocols.smtp.client.client_events import BodyWanted, ClientEvent, TransactionDone
from gatepost.protocols.smtp.client.reply_parser import ProtocolError
from gatepost.protocols.smtp.client.transaction import MailTransaction, Peer, RecipientReply, TransactionResult, compose
from gatepost.protocols.smtp.replies import Reply

END_OF_DATA = "end of data"
"""The subject of the last replies of a transaction."""

_TOO_MANY_RECIPIENTS = 552

type Handler = Callable[[Reply, list[ClientEvent]], None]


def _for_now(reply: Reply) -> Reply:
    """552 to RCPT is treated as 452: servers of old say it of too many recipients (RFC 5321 section 4.5.3.1.10)."""
    return Reply(452, "4" + reply.enhanced[1:] if reply.enhanced else "", reply.lines)


class Wire:
    """The commands to write, and the handler of the reply to each.

    awaited: (subject of the reply, its handler), oldest first.
    """

    __slots__ = ("awaited", "output")

    def __init__(self) -> None:
        self.output: list[bytes] = []
        self.awaited: deque[tuple[str, Handler]] = deque()

    def send(self, command: bytes, name: str, handler: Handler) -> None:
        """Queue a command and its handler."""
        self.output.append(command)
        self.awaited.append((name, handler))

    def clear(self) -> None:
        """The session is over: nothing more goes out, nothing more is expected."""
        self.output.clear()
        self.awaited.clear()


class Sending:
    """A transaction from MAIL to the last final reply.

    open: `chunk` is welcome. over: TransactionDone was given out. needs_reset: it is over for us but open for the peer,
    so that RSET must come before the next MAIL. Recipients are indices into `transaction.recipients`.
    """

    __slots__ = (
        "_accepted",
        "_answered",
        "_bdat",
        "_chunk_refused",
        "_conclusion",
        "_data_reply",
        "_finals",
        "_first",
        "_held",
        "_last",
        "_lmtp",
        "_local",
        "_lock_step",
        "_mail_refused",
        "_mail_reply",
        "_order",
        "_replies",
        "_stuffer",
        "_transaction",
        "_unsent",
        "_wire",
        "needs_reset",
        "open",
        "over",
    )

    def __init__(self, transaction: MailTransaction, wire: Wire, *, lmtp: bool) -> None:
        self.open = False
        self.over = False
        self.needs_reset = False
        self._transaction = transaction
        self._wire = wire
        self._lmtp = lmtp
        self._order: list[int] = []  # recipients sent, in the order of their RCPT commands
        self._replies: list[Reply | None] = []  # what is decided so far
        self._local: dict[int, Reply] = {}
        self._unsent: deque[tuple[bytes, str, Handler]] = deque()
        self._answered = 0
        self._accepted: list[int] = []
        self._finals = 0
        self._mail_reply: Reply | None = None
        self._mail_refused = False
        self._data_reply: Reply | None = None
        self._chunk_refused = False
        self._conclusion: Reply | None = None  # the refusal of MAIL or of a chunk: it counts for all not decided
        self._stuffer: DotStuffer | None = None
        self._held: deque[tuple[bytes, bool]] = deque()  # BDAT in lock step: chunks that wait for a reply

    @property
    def is_behind(self) -> bool:
        """Whether chunks wait here for a reply to the one before."""
        return bool(self._held)

    def start(self, peer: Peer, first: bytes | None, *, last: bool, reset: bool) -> None:
        """Say what can be said at once. reset: RSET goes before. Raises ValueError as `compose` does."""
        commands = compose(self._transaction, peer)
        self._order = commands.order
        self._local = commands.local
        self._replies = [commands.local.get(index) for index in range(len(self._transaction.recipients))]
        self._first = b"" if first is None and last else first
        self._last = last
        # In lock step a BDAT is answered before the next goes out. LMTP needs it too: after a refused chunk nobody can
        # say how many replies to the last one are due.
        self._lock_step = self._lmtp or not peer.pipelining
        binary = self._transaction.body_type == "BINARYMIME"
        self._bdat = peer.chunking and (last or binary or not self._lock_step)
        if not commands.lines:
            # Events come from `Client.receive` only, so make the peer say something: RSET is always allowed.
            self._wire.send(b"RSET\r\n", "RSET", self._on_nothing_sent)
            return
        if reset:
            self._unsent.append((b"RSET\r\n", "RSET", self._on_reset))
        self._unsent.append((commands.lines[0], "MAIL", self._on_mail))
        self._unsent.extend([(line, "RCPT", self._on_rcpt) for line in commands.lines[1:]])
        if peer.pipelining:
            self._send_flight()
        else:
            self._wire.send(*self._unsent.popleft())

    def chunk(self, data: bytes, *, last: bool) -> None:
        """More of the body; only while `open`."""
        self.open = not last
        self._write(data, last=last)

    def break_off(self, reply: Reply, events: list[ClientEvent], *, local: bool) -> None:
        """Nothing more will be known: who is undecided gets `reply`. local: it is not the peer's."""
        if not local and self._mail_reply is None:
            self._mail_reply = reply
        elif not local and self._data_reply is None and self._answered == len(self._order):
            self._data_reply = reply
        self._finish(events, reply, local=local)

    # --- replies

    def _on_nothing_sent(self, reply: Reply, events: list[ClientEvent]) -> None:
        self._finish(events, reply)

    def _on_reset(self, reply: Reply, events: list[ClientEvent]) -> None:
        self._advance(events, reply)

    def _on_mail(self, reply: Reply, events: list[ClientEvent]) -> None:
        self._mail_reply = reply
        self.needs_reset = reply.positive
        if not reply.positive:
            self._mail_refused = True
            self._conclusion = reply
        self._advance(events, reply)

    def _on_rcpt(self, reply: Reply, events: list[ClientEvent]) -> None:
        index = self._order[self._answered]
        self._answered += 1
        if reply.positive:
            self._accepted.append(index)
        elif not self._mail_refused:  # else it only says that there was no MAIL
            self._replies[index] = _for_now(reply) if reply.code == _TOO_MANY_RECIPIENTS else reply
        self._advance(events, reply)

    def _on_data(self, reply: Reply, events: list[ClientEvent]) -> None:
        if reply.code < 300:
            raise ProtocolError(f"{reply.code} in reply to DATA")
        if reply.code >= 400:
            self._data_reply = reply
            self._finish(events, reply)
        elif not self._accepted:
            # RFC 2920 section 3.1: DATA was pipelined, and taken though no recipient was. A lone dot ends it.
            self._wire.send(b".\r\n", END_OF_DATA, self._on_lone_dot)
        elif self._mail_refused:
            raise ProtocolError("RCPT and DATA accepted after MAIL was refused")
        else:
            self._stuffer = DotStuffer()
            self._start_body(events)

    def _on_lone_dot(self, reply: Reply, events: list[ClientEvent]) -> None:
        self.needs_reset = False
        self._finish(events, reply)

    def _on_chunk(self, reply: Reply, events: list[ClientEvent]) -> None:
        """A BDAT before the last. RFC 3030 section 2: one refusal fails the whole, what follows means nothing."""
        if not reply.positive and not self._chunk_refused:
            self._chunk_refused = True
            self._conclusion = self._data_reply = reply
            self.open = False
        if self._wire.awaited:
            return
        if self._chunk_refused:
            self._finish(events, reply)
        elif self._held:
            data, last = self._held.popleft()
            self._write_bdat(data, last=last)

    def _on_final(self, reply: Reply, events: list[ClientEvent]) -> None:
        if not self._chunk_refused:
            self._data_reply = reply
            # The dot clears the peer's buffers whatever it answers; a refused BDAT leaves their state open.
            if reply.positive or self._stuffer is not None:
                self.needs_reset = False
            if self._lmtp:
                self._replies[self._accepted[self._finals]] = reply
        self._finals += 1
        if not self._wire.awaited:
            self._finish(events, reply)

    def _advance(self, events: list[ClientEvent], reply: Reply) -> None:
        """After a reply to the envelope: what comes next, once nothing more of the flight is due."""
        if self._wire.awaited:
            return
        if self._mail_refused:
            self._finish(events, reply)
        elif self._unsent:
            self._wire.send(*self._unsent.popleft())
        elif not self._accepted:
            self._finish(events, reply)
        elif self._bdat:
            self._start_body(events)
        else:
            self._wire.send(b"DATA\r\n", "DATA", self._on_data)

    def _finish(self, events: list[ClientEvent], reply: Reply, *, local: bool = False) -> None:
        """Settle all: who is undecided gets `reply`, or what was concluded before. local: `reply` is not the peer's."""
        self.over = True
        self.open = False
        if self._conclusion is not None:
            reply, local = self._conclusion, False
        recipients = []
        for index, (address, _, _) in enumerate(self._transaction.recipients):
            own = self._replies[index]
            if own is not None:
                recipients.append(RecipientReply(address, own, index in self._local))
            else:
                recipients.append(RecipientReply(address, reply, local))
        events.append(TransactionDone(TransactionResult(recipients, self._mail_reply, self._data_reply)))

    # --- writing

    def _send_flight(self) -> None:
        """The envelope, with DATA or a whole body. LMTP's body waits: accepted recipients say how many replies come."""
        for step in self._unsent:
            self._wire.send(*step)
        self._unsent.clear()
        if self._lmtp:
            return
        if not self._bdat:
            self._wire.send(b"DATA\r\n", "DATA", self._on_data)
        elif self._last and self._first is not None:
            self._write_bdat(self._first, last=True)

    def _start_body(self, events: list[ClientEvent]) -> None:
        self.open = not self._last
        if self._first is not None:
            self._write(self._first, last=self._last)
        if self.open:
            events.append(BodyWanted())

    def _write(self, data: bytes, *, last: bool) -> None:
        if self._stuffer is not None:
            self._wire.output.append(self._stuffer.encode(data))
            if last:
                self._wire.output.append(self._stuffer.finish())
                self._await_finals()
        elif self._lock_step and self._wire.awaited:
            self._held.append((data, last))
        else:
            self._write_bdat(data, last=last)

    def _write_bdat(self, data: bytes, *, last: bool) -> None:
        if last:
            self._wire.output += (b"BDAT %d LAST\r\n" % len(data), data)
            self._await_finals()
        else:
            self._wire.send(b"BDAT %d\r\n" % len(data), "BDAT", self._on_chunk)
            self._wire.output.append(data)

    def _await_finals(self) -> None:
        count = len(self._accepted) if self._lmtp else 1
        self._wire.awaited.extend([(END_OF_DATA, self._on_final)] * count)


_WITHIN_LINE, _AFTER_CR, _LINE_START = range(3)


class DotStuffer:
    """Encodes one message."""

    __slots__ = ("_position",)

    def __init__(self) -> None:
        self._position = _LINE_START

    def encode(self, data: bytes) -> bytes:
        """The chunk as it goes on the wire: a dot that begins a line is doubled. Returns `data` itself where it can."""
        if not data:
            return data
        stuffed = data
        if b"." in data and b"\r\n." in data:  # base64 has none, which is found much faster
            stuffed = data.replace(b"\r\n.", b"\r\n..")
        if self._position == _LINE_START and data.startswith(b"."):
            stuffed = b"." + stuffed
        elif self._position == _AFTER_CR and data.startswith(b"\n."):
            stuffed = b"\n." + stuffed[1:]
        if data.endswith(b"\r\n") or (data == b"\n" and self._position == _AFTER_CR):
            self._position = _LINE_START
        else:
            self._position = _AFTER_CR if data.endswith(b"\r") else _WITHIN_LINE
        return stuffed

    def finish(self) -> bytes:
        """The end of the message after its last chunk: the dot, and before it a CRLF where the message has none."""
        return b".\r\n" if self._position == _LINE_START else b"\r\n.\r\n"
