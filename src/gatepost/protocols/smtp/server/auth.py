"""Parse the AUTH command (RFC 4954): its arguments, the lines of a exchange, and their replies.

Used by `protocols.smtp.server.dialogue`, which keeps the state; what the octets of a mechanism mean is
`protocols.smtp.sasl` and `protocols.smtp.scram`.
"""

from __future__ import annotations

import binascii
import re
from typing import Final

from gatepost.protocols.smtp.parameters import CommandError
from gatepost.protocols.smtp.replies import Reply

LINE_OCTETS: Final = 12_288
"""The longest line of a exchange with its CRLF (RFC 4954 section 4)."""

AUTHENTICATED: Final = Reply(235, "2.7.0", ("Authentication successful",))
STARTTLS_FIRST: Final = Reply(530, "5.7.0", ("Must issue a STARTTLS command first",))
AUTHENTICATION_REQUIRED: Final = Reply(530, "5.7.0", ("Authentication required",))
TLS_NEEDED: Final = Reply(538, "5.7.11", ("Encryption required for authentication: issue a STARTTLS command first",))
AUTHENTICATED_ALREADY: Final = Reply(503, "5.5.1", ("Already authenticated",))
LINE_TOO_LONG: Final = Reply(500, "5.5.6", ("Authentication exchange line is too long",))
CANCELLED: Final = Reply(501, "5.0.0", ("Authentication cancelled",))
_SYNTAX: Final = Reply(501, "5.5.4", ("Syntax: AUTH mechanism [initial-response]",))
_NO_MECHANISM: Final = Reply(504, "5.5.4", ("Mechanism is not offered here",))
_NOT_BASE64: Final = Reply(501, "5.5.2", ("Response is not base64",))

_MECHANISM: Final = re.compile(r"[A-Z0-9_-]{1,20}")  # RFC 4422 section 3.1


def parse_auth(arguments: str, offered: tuple[str, ...]) -> tuple[str, bytes | None]:
    """Mechanism and initial response, None if there is none ("=" is an empty one). Raises CommandError."""
    name, *rest = arguments.split(" ")
    mechanism = name.upper()
    if not _MECHANISM.fullmatch(mechanism) or len(rest) > 1 or rest == [""]:
        raise CommandError(_SYNTAX)
    if mechanism not in offered:
        raise CommandError(_NO_MECHANISM)
    if not rest:
        return mechanism, None
    return mechanism, b"" if rest == ["="] else decode(rest[0].encode("ascii", "replace"))


def decode(line: bytes) -> bytes:
    """The response on a line of a exchange. Raises CommandError for "*", which cancels, and for what is not base64."""
    if line == b"*":
        raise CommandError(CANCELLED)
    try:
        return binascii.a2b_base64(line, strict_mode=True)
    except binascii.Error as error:
        raise CommandError(_NOT_BASE64, str(error)) from None


def challenge(data: bytes) -> bytes:
    """The 334 line that asks for the next response. It bears no stamp: a client would read that as base64."""
    return b"334 " + binascii.b2a_base64(data, newline=False) + b"\r\n"
