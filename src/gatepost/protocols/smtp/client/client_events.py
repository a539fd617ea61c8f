"""The events of `protocols.smtp.client.client` for its caller."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from gatepost.protocols.smtp.client.transaction import TransactionResult
    from gatepost.protocols.smtp.replies import Reply


class Greeting(msgspec.Struct):
    """The peer's first words. If the reply is not positive, nothing can be sent here: quit."""

    reply: Reply


class HelloDone(msgspec.Struct):
    """The reply to EHLO (LHLO), or to HELO where EHLO got 5xx. extensions: empty after HELO and after a refusal."""

    reply: Reply
    extensions: dict[str, str]


class StartTlsReply(msgspec.Struct):
    """If the reply is positive, begin the handshake now, then call `Client.tls_started`."""

    reply: Reply


class AuthReply(msgspec.Struct):
    """The reply to AUTH or to a response of ours. 334 is a challenge: call `Client.auth_response`."""

    reply: Reply


class BodyWanted(msgspec.Struct):
    """The peer waits for the body: call `Client.chunk`. At most once a transaction, never if `begin` got all of it."""


class TransactionDone(msgspec.Struct):
    """The end of a transaction. It comes once for each `Client.begin`, whatever happens to the connection."""

    outcome: TransactionResult


class ResetDone(msgspec.Struct):
    """The reply to `Client.reset`: the connection is alive."""

    reply: Reply


class RecipientAnswered(msgspec.Struct):
    """The reply to a recipient that `Client.ask_recipient` asked about. command: "MAIL" if that was refused already."""

    reply: Reply
    command: str


class Closed(msgspec.Struct):
    """The peer ends the session: 421 at any point, or the reply to QUIT. Close the connection."""

    reply: Reply


type ClientEvent = (
    Greeting
    | HelloDone
    | StartTlsReply
    | AuthReply
    | BodyWanted
    | TransactionDone
    | ResetDone
    | RecipientAnswered
    | Closed
)
