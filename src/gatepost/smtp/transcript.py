"""What was said in a session: the last commands and replies, without content and without secrets (RFC 5321).

`smtp.dialogue` and `smtp.server` note octets as they are, which costs next to nothing; they are made readable only when
somebody wants to keep them (`inbound.session`). A line that is no command of SMTP is not shown: it may be a password
that a client sent at the wrong moment.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from gatepost.smtp.commands import FOREIGN_VERBS, UNIMPLEMENTED_VERBS, Verb

__all__ = ["LINES", "Transcript"]

LINES: Final = 100
"""How many commands and flights of replies are remembered, the last ones."""

_OCTETS: Final = 512  # of one line
_KNOWN: Final = frozenset({*(verb.value for verb in Verb), *FOREIGN_VERBS, *UNIMPLEMENTED_VERBS})
_SECRET: Final = b""  # what is noted of a response within AUTH: an empty command line is never noted


class Transcript:
    """Of one session."""

    __slots__ = ("_noted",)

    def __init__(self) -> None:
        self._noted: deque[bytes | tuple[bytes]] = deque(maxlen=LINES)

    def heard(self, line: bytes) -> None:
        """The client sent a command line, without its CRLF."""
        self._noted.append(line or b" ")

    def heard_secret(self) -> None:
        """The client sent something that no file may have."""
        self._noted.append(_SECRET)

    def said(self, output: bytes) -> None:
        """We sent one or more replies."""
        self._noted.append((output,))

    def lines(self) -> list[str]:
        """Oldest first: "> " before what the client said, "< " before our replies; at most 512 octets of a line."""
        found: list[str] = []
        for noted in self._noted:
            if isinstance(noted, tuple):
                found += (f"< {_text(line)}" for line in noted[0].splitlines())
            else:
                found.append(f"> {_shown(noted)}")
        return found


def _shown(line: bytes) -> str:
    if line == _SECRET:
        return "(a response within AUTH)"
    word, _, arguments = line.partition(b" ")
    verb = word.decode("ascii", "replace").upper()
    if verb not in _KNOWN:
        return f"({len(line)} octets that are no command)"
    if verb == Verb.AUTH and b" " in arguments:
        return f"{_text(word)} {_text(arguments.partition(b' ')[0])} (an initial response)"
    return _text(line)


def _text(line: bytes) -> str:
    text = line[:_OCTETS].decode("utf-8", "replace")
    return "".join(one if one.isprintable() else "?" for one in text) + ("..." if len(line) > _OCTETS else "")
