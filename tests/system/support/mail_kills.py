"""A kill while a message is on its way, whatever the store."""

from __future__ import annotations

import smtplib
from dataclasses import dataclass
from typing import Final

from support.gateway import Gateway
from support.kill_points import Point
from support.scenes import message, send

from gatepost.testing.sink import Behaviour

BOB: Final = "bob@partner.example"
GONE: Final = "gone@partner.example"
REFUSES_GONE: Final = Behaviour(recipients={GONE: "550 5.1.1 No such user"})
DEFERS: Final = Behaviour(replies={"RCPT": "450 4.2.1 Later"})
SEND: Final = "gatepost.mail.outbound.connection:OutboundConnection.send"


@dataclass(frozen=True, slots=True)
class Kill:
    """A kill while a message is on its way.

    stored: the message, or its delivery, outlasts the kill; if not, it must not have been acknowledged. doubled: how
    often it arrives besides. behaviour: of the partner until then; afterwards it refuses GONE alone.
    """

    point: Point
    stored: bool = True
    doubled: int = 0
    to: str = BOB
    size: int = 100
    behaviour: Behaviour = REFUSES_GONE


def is_acknowledged(server: Gateway, kill: Kill, subject: str) -> bool:
    """Whether a message of the kill's size, to its recipient, got its 250."""
    try:
        send(server.port, kill.to, content=message(subject, ("x" * 70 + "\r\n") * (kill.size // 72)))
    except (OSError, smtplib.SMTPException):
        return False
    return True
