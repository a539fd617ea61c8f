"""The contents of a notification: filled in by `mail.queue.bounce`, written by `protocols.message.dsn`."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class DsnAction(StrEnum):
    """The result for a recipient (RFC 3464 section 2.3.3).

    RELAYED: to a host without DSN, so that no more will be known.
    """

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"


class DsnActor(StrEnum):
    """The party that can change the result."""

    SENDER = "the sender"
    SERVICE = "this mail service"
    RECIPIENT = "the recipient's side"


class Advice(msgspec.Struct, frozen=True):
    """A failure in plain words: why, who must act, what to do. One or more sentences each."""

    cause: str
    actor: DsnActor
    fix: str


class DsnRecipient(msgspec.Struct, frozen=True):
    """One recipient and its outcome.

    address: the forward-path as we sent it or tried to. status: RFC 3463, "5.1.1". orcpt: the ORCPT parameter as given.
    remote_mta: sender of the reply in `diagnostic`, a host name or "[address]"; "" if the words are ours. diagnostic:
    "550 5.1.1 User unknown". detail: what administrators should know beyond it, such as the certificate names that were
    expected and presented. last_attempt, retry_until: seconds since 1970, 0 if there is none. advice: None takes what
    `protocols.message.dsn_advice` knows for the status.
    """

    address: str
    action: DsnAction
    status: str
    orcpt: str = ""
    remote_mta: str = ""
    diagnostic: str = ""
    detail: str = ""
    last_attempt: float = 0.0
    retry_until: float = 0.0
    advice: Advice | None = None


class DsnHop(msgspec.Struct, frozen=True):
    """One step of the message: when (seconds since 1970), at which host, and what happened there."""

    at: float
    host: str
    event: str


class DsnReport(msgspec.Struct, frozen=True):
    """One notification, about one message, to its sender.

    to: the reverse-path of the message; never the null one, to that no notification is sent. reporting_mta: our host
    name. postmaster: the address in From. now, arrival: seconds since 1970. message_id: of the notification,
    "left@right" or in brackets. boundary: unguessable, at most 60 characters of RFC 2046 section 5.1.1. recipients: at
    least one. queue_id, envid, ret: of the message, as the queue keeps them.

    original: the message, or only its beginning with the whole header section. original_complete: which of the two.
    return_limit: a message or header section larger than this, in octets, is not returned whole. utf8: the message came
    with SMTPUTF8, so its sender's side takes it: RFC 6533 types are used; else only a whole original can be 8-bit.
    """

    to: str
    reporting_mta: str
    postmaster: str
    now: float
    message_id: str
    boundary: str
    recipients: tuple[DsnRecipient, ...]
    arrival: float = 0.0
    queue_id: str = ""
    envid: str = ""
    ret: str = ""
    hops: tuple[DsnHop, ...] = ()
    original: bytes = b""
    original_complete: bool = False
    return_limit: int = 262144
    utf8: bool = False


class RedactedNotice(msgspec.Struct, frozen=True):
    """In place of a notification that could not be sent as protected as the message it is about (RFC 8689 section 5).

    domain: of the sender; its postmaster is told. about: Message-ID of the message, "" if it has none. status: RFC
    3463, why the notification was not sent. The rest as in DsnReport.
    """

    domain: str
    reporting_mta: str
    postmaster: str
    now: float
    message_id: str
    about: str
    status: str
