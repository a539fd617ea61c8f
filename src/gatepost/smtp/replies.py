"""A reply: what a server says to a command, on both sides of the wire.

RFC 5321 section 4.2 (form), RFC 2034 and RFC 3463 (enhanced status codes). Nothing here knows who sends it.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Reply"]


@dataclass(frozen=True, slots=True)
class Reply:
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
        words = [str(self.code), self.enhanced, " ".join(self.lines)]
        return " ".join(word for word in words if word)
