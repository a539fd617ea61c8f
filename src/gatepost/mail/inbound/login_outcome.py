"""The result of an AUTH exchange, and the replies that all mechanisms share (RFC 4954 section 6).

Used by `mail.inbound.login` and `mail.inbound.token_login`; read by `mail.inbound.session`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gatepost.protocols.smtp.replies import Reply

INVALID: Final = Reply(535, "5.7.8", ("Authentication credentials invalid",))
THROTTLED: Final = Reply(454, "4.7.0", ("Too many failed log-ins, try again later",))
BUSY: Final = Reply(454, "4.7.0", ("Temporary authentication failure, try again later",))
MALFORMED: Final = Reply(501, "5.5.2", ("Authentication message is malformed",))


@dataclass(frozen=True, slots=True)
class LoginOutcome:
    """How a exchange ended. user: the mailbox's address, "" if nobody is. reason: for us, without secrets.

    error: a challenge that tells the client what is wrong; the reply follows when it has answered that.
    """

    user: str
    reply: Reply
    reason: str
    error: bytes = b""
