"""The events of the SMTP server core for its caller: one class for each thing that can happen in a session.

Made by `protocols.smtp.server.server`, taken by `mail.inbound.session` with `Server.next_event`. Records only: nothing
here parses, answers or decides.

A transaction is open from the acceptance of its `MailEvent`. It ends exactly once: when the decision on its
`MessageEvent` is given, when its `DataEvent` is refused, or with an `AbortEvent`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

import msgspec

from gatepost.values import RedactedStruct

if TYPE_CHECKING:
    from gatepost.protocols.smtp.grammar import Path
    from gatepost.protocols.smtp.parameters import MailParameters, RecipientParameters
    from gatepost.protocols.smtp.replies import Reply


class AbortReason(StrEnum):
    """Why a transaction was given up. The first five are `protocols.smtp.server.data.ContentFault`: in the content."""

    TOO_BIG = "too-big"
    BARE_LINE_END = "bare-line-end"
    NUL = "nul"
    LINE_TOO_LONG = "line-too-long"
    TOO_MANY_CHUNKS = "too-many-chunks"
    RSET = "rset"
    HELLO = "hello"
    QUIT = "quit"
    CLOSED = "closed"


class HelloEvent(msgspec.Struct):
    """EHLO or HELO. verb: "EHLO" or "HELO". domain: the client's name for itself, unproven, printable US-ASCII."""

    decision: ClassVar[bool] = True
    verb: str
    domain: str


class StartTlsEvent(msgspec.Struct):
    """STARTTLS (RFC 3207). Accepted: take the output, start TLS, then call `Server.tls_started`."""

    decision: ClassVar[bool] = True


class AuthEvent(RedactedStruct, frozen=True):
    """AUTH (RFC 4954), over TLS. mechanism: one that is offered. response: the initial one, None if there is none.

    Answer with `Server.challenge`, `accept` or `refuse`. An exchange that the client breaks off ends with ErrorEvent.
    """

    REDACTED = ("response",)

    decision: ClassVar[bool] = True
    mechanism: str
    response: bytes | None


class AuthResponseEvent(RedactedStruct, frozen=True):
    """What the client answers to a challenge. Answer as an AuthEvent."""

    REDACTED = ("response",)

    decision: ClassVar[bool] = True
    response: bytes


class XclientEvent(msgspec.Struct):
    """XCLIENT: the client is at this address. Accepted: the session begins anew, as after the connection."""

    decision: ClassVar[bool] = True
    address: str
    port: int


class MailEvent(msgspec.Struct):
    """MAIL FROM. path: the reverse-path, null for a notification. SIZE is within what is announced."""

    decision: ClassVar[bool] = True
    path: Path
    parameters: MailParameters


class RecipientEvent(msgspec.Struct):
    """RCPT TO. path: a forward-path, never null; its domain is "" for the bare postmaster."""

    decision: ClassVar[bool] = True
    path: Path
    parameters: RecipientParameters


class DataEvent(msgspec.Struct):
    """DATA, or the first BDAT of a message; at least one recipient was accepted. Chunks follow if it is accepted."""

    decision: ClassVar[bool] = True
    bdat: bool


class ChunkEvent(msgspec.Struct):
    """Octets of the message content, at least one, dots unstuffed, cut anywhere."""

    decision: ClassVar[bool] = False
    data: bytes


class MessageEvent(msgspec.Struct):
    """The content is complete. size: the sum of its chunks in octets."""

    decision: ClassVar[bool] = True
    size: int


class AbortEvent(msgspec.Struct):
    """The open transaction was given up: drop what was kept of it.

    reply: the refusal that the core gives when the content ends, None if no refusal was needed (RSET, QUIT, …).
    """

    decision: ClassVar[bool] = False
    reason: AbortReason
    reply: Reply | None = None


class ErrorEvent(msgspec.Struct):
    """The core refused a command on its own.

    line_start: how the line began, at most 80 printable characters. reply: what the client is told; its code is 421 if
    the session ends here.
    """

    decision: ClassVar[bool] = False
    line_start: str
    reply: Reply


class QuitEvent(msgspec.Struct):
    """QUIT was answered; the session is over once the output is sent."""

    decision: ClassVar[bool] = False


type Event = (
    HelloEvent
    | StartTlsEvent
    | AuthEvent
    | AuthResponseEvent
    | XclientEvent
    | MailEvent
    | RecipientEvent
    | DataEvent
    | ChunkEvent
    | MessageEvent
    | AbortEvent
    | ErrorEvent
    | QuitEvent
)
