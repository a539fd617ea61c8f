"""An SMTP reply, for both sides.

RFC 5321 section 4.2 (form), RFC 2034 and RFC 3463 (enhanced status codes). Nothing here knows who sends it.
"""

from __future__ import annotations

from typing import Final

import msgspec

LINE_OCTETS = 512  # of a reply line with its CRLF, RFC 5321 section 4.5.3.1.5

# What is not printable US-ASCII is shown as a question mark: no text of a reply can end its line or open another.
_PRINTABLE = bytes(octet if 32 <= octet < 127 else ord("?") for octet in range(256))


class Reply(msgspec.Struct, frozen=True):
    """One reply, of one line or several.

    code: three digits, 200 to 599. enhanced: RFC 3463 status such as "5.7.64", "" where none applies (greeting, EHLO,
    354). Its class digit equals the code's (never 451 with 5.x.x). lines: the text, without code, status or line end;
    printable US-ASCII.
    """

    code: int
    enhanced: str
    lines: tuple[str, ...]

    @property
    def positive(self) -> bool:
        """Whether the command was carried out or may go on (2xx, 3xx)."""
        return self.code < 400

    @property
    def transient(self) -> bool:
        """Whether trying again later may succeed (4xx)."""
        return 400 <= self.code < 500

    @property
    def permanent(self) -> bool:
        """Whether the same command will not succeed later (5xx)."""
        return self.code >= 500

    @property
    def text(self) -> str:
        """The reply on one line, as a log or a DSN shows it: "550 5.7.64 Relay access denied"."""
        return " ".join(filter(None, (str(self.code), self.enhanced, " ".join(self.lines))))

    def encode(self, stamp: str = "") -> bytes:
        """The reply on the wire, line ends included; stamp is appended to the text of its last line.

        The status stands on each line (RFC 2034 section 4). A line longer than 512 octets loses the end of its text,
        never the stamp; a character that is not printable US-ASCII becomes "?".
        """
        lead = f"{self.code}-{self.enhanced} " if self.enhanced else f"{self.code}-"
        texts = self.lines or ("",)
        last = f"{lead[:3]} {lead[4:]}{texts[-1]}"[: LINE_OCTETS - 2 - len(stamp)] + stamp
        if len(texts) == 1:
            return _line(last)
        return b"".join(_line((lead + text)[: LINE_OCTETS - 2]) for text in texts[:-1]) + _line(last)

    @property
    def head(self) -> bytes:
        """The reply on the wire up to where a stamp and the last CRLF follow: constants are encoded once."""
        return self.encode()[:-2]


def checked(reply: Reply) -> Reply:
    """The reply itself. Raises ValueError if SMTP has no such code."""
    if not 200 <= reply.code < 600:
        raise ValueError(f"a reply has a code from 200 to 599, not {reply.code}")
    return reply


def _line(text: str) -> bytes:
    return text.encode("ascii", "replace").translate(_PRINTABLE) + b"\r\n"


# What the server core says of its own accord. The status tells a protocol error (x.5.x) from other refusals.
OK: Final = Reply(250, "2.0.0", ("OK",))
SENDER_OK: Final = Reply(250, "2.1.0", ("Sender OK",))
RECIPIENT_OK: Final = Reply(250, "2.1.5", ("Recipient OK",))
START_DATA: Final = Reply(354, "", ("Start mail input; end with <CRLF>.<CRLF>",))
CHUNK_OK: Final = Reply(250, "2.0.0", ("Chunk received",))
MESSAGE_OK: Final = Reply(250, "2.0.0", ("Message accepted",))
READY_FOR_TLS: Final = Reply(220, "2.0.0", ("Ready to start TLS",))
BYE: Final = Reply(221, "2.0.0", ("Closing connection",))
CANNOT_VERIFY: Final = Reply(252, "2.0.0", ("Cannot verify the address, but will accept mail and attempt delivery",))
HELP: Final = Reply(214, "2.0.0", ("This server implements SMTP (RFC 5321)",))

UNKNOWN_COMMAND: Final = Reply(500, "5.5.1", ("Command is not known",))
BARE_LINE_END: Final = Reply(500, "5.5.2", ("Command has a bare CR or LF; lines must end in CRLF",))
LINE_TOO_LONG: Final = Reply(500, "5.5.2", ("Command line too long",))
NOT_OFFERED: Final = Reply(502, "5.5.1", ("Command is not offered here",))
BEGIN_ANEW: Final = Reply(220, "", ("ESMTP gatepost, go on as this client",))
XCLIENT_REFUSED: Final = Reply(550, "5.7.0", ("You may not use XCLIENT here",))
TLS_ACTIVE: Final = Reply(503, "5.5.1", ("TLS is active already",))
NEEDS_BDAT: Final = Reply(503, "5.5.1", ("BINARYMIME needs BDAT",))
HELLO_FIRST: Final = Reply(503, "5.5.1", ("Send EHLO first",))
MAIL_FIRST: Final = Reply(503, "5.5.1", ("Send MAIL first",))
TRANSACTION_OPEN: Final = Reply(503, "5.5.1", ("A transaction is open; end it or send RSET",))
CHUNKS_BEGUN: Final = Reply(503, "5.5.1", ("The message is being sent with BDAT",))
NO_RECIPIENTS: Final = Reply(554, "5.5.1", ("No valid recipients",))
TOO_MANY_RECIPIENTS: Final = Reply(452, "4.5.3", ("Too many recipients",))

TOO_MANY_ERRORS: Final = Reply(421, "4.7.0", ("Too many errors, closing",))
TOO_MANY_COMMANDS: Final = Reply(421, "4.7.0", ("Too many commands without mail, closing",))
TOO_MANY_TRANSACTIONS: Final = Reply(421, "4.7.0", ("Too many transactions in one session, closing",))
ENDLESS_LINE: Final = Reply(421, "4.7.0", ("Command line does not end, closing",))
NOT_SMTP: Final = Reply(421, "4.7.0", ("This is not SMTP, closing",))
CONTENT_ADRIFT: Final = Reply(421, "4.7.0", ("Content may follow a refused command, closing",))

# What ends a session from outside the core.
TIMED_OUT: Final = Reply(421, "4.4.2", ("Timed out waiting for your next command",))
TOO_SLOW: Final = Reply(421, "4.4.2", ("The message arrives more slowly than we accept",))
TOO_LONG: Final = Reply(421, "4.4.2", ("The session has lasted as long as we allow",))
FAULT: Final = Reply(421, "4.3.0", ("Temporary server error, try again later",))
LOG_IN_AGAIN: Final = Reply(421, "4.7.0", ("Log in again",))
TOO_MANY_LOGINS: Final = Reply(421, "4.7.0", ("Too many failed log-ins in one session, closing",))
DRAINING: Final = Reply(421, "4.3.2", ("Service shutting down, try again later",))
