"""The transcript of a session: the last commands and replies, without content and secrets (RFC 5321).

`protocols.smtp.server.dialogue` and `protocols.smtp.server.server` note octets as they come, cut to what is ever shown;
they are made readable only when somebody wants to keep them (`mail.inbound.session`). A line that is no command of SMTP
is not shown: it may be a password that a client sent at the wrong moment. Octets are bounded for each session and for
all that share a budget.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from gatepost.protocols.smtp.commands import FOREIGN_VERBS, UNIMPLEMENTED_VERBS, Verb

LINES: Final = 100
"""How many commands and flights of replies are remembered, the last ones."""
OCTETS: Final = 16 << 10
"""How much memory one session's lines take at most; the oldest go first."""
OCTETS_OF_ALL: Final = 32 << 20
"""The same for all sessions of a worker; those that said nothing for longest go first."""

_LINE: Final = 512  # octets that are shown of one line
_FLIGHT: Final = 2048  # octets that are kept of the replies that went out together
_EACH: Final = 100  # octets that an entry takes beside its text, as CPython keeps it
_KNOWN: Final = frozenset({*(verb.value for verb in Verb), *FOREIGN_VERBS, *UNIMPLEMENTED_VERBS})
_SECRET: Final = b""  # what is noted of a response within AUTH: an empty command line is never noted


class _Said(NamedTuple):
    """Replies that went out together, cut at a line's end. left_out: lines behind."""

    output: bytes
    left_out: int


class _LongLine(NamedTuple):
    """The start of a command line that is longer than what is shown; octets: of the whole."""

    start: bytes
    octets: int


type _Entry = bytes | _Said | _LongLine


class Transcript:
    """Of one session. budget: shared with other sessions; `close` gives back what this one takes of it."""

    __slots__ = ("_budget", "_noted", "octets")

    def __init__(self, budget: TranscriptBudget | None = None) -> None:
        self._noted: deque[_Entry] = deque()
        self._budget = budget
        self.octets = 0

    def heard(self, line: bytes) -> None:
        """The client sent a command line, without its CRLF."""
        if len(line) > _LINE:
            self._note(_LongLine(line[:_LINE], len(line)), _LINE)
        else:
            self._note(line or b" ", len(line) or 1)

    def heard_secret(self) -> None:
        """The client sent something that no file may have."""
        self._note(_SECRET, 0)

    def said(self, output: bytes) -> None:
        """We sent one or more replies."""
        if len(output) <= _FLIGHT:
            self._note(_Said(output, 0), len(output))
            return
        kept = output[: output.rfind(b"\n", 0, _FLIGHT) + 1] or output[:_FLIGHT]
        self._note(_Said(kept, output.count(b"\n", len(kept))), len(kept))

    def lines(self) -> list[str]:
        """Oldest first: "> " before what the client said, "< " before our replies; at most 512 octets of a line."""
        result: list[str] = []
        for noted in self._noted:
            if isinstance(noted, _Said):
                result += (f"< {_text(line)}" for line in noted.output.splitlines())
                result += [f"< ({noted.left_out} more lines)"] if noted.left_out else []
            else:
                result.append(f"> {_shown(noted)}")
        return result

    def clear(self) -> None:
        """Forget all that was said so far."""
        self._noted.clear()
        octets, self.octets = self.octets, 0
        if self._budget is not None:
            self._budget.count(self, -octets)

    def close(self) -> None:
        """The session is over: its lines can still be read, and count no more."""
        if self._budget is not None:
            self._budget.leave(self)
            self._budget = None

    def _note(self, entry: _Entry, text: int) -> None:
        """text: octets of it that are kept."""
        noted, octets = self._noted, text + _EACH
        noted.append(entry)
        if len(noted) > LINES or self.octets + octets > OCTETS:
            octets -= self._forget_oldest(octets)
        self.octets += octets
        if self._budget is not None:
            self._budget.count(self, octets)

    def _forget_oldest(self, octets: int) -> int:
        """Forget lines until so many more octets fit; gives those that were forgotten."""
        noted, forgotten = self._noted, 0
        while len(noted) > LINES or self.octets + octets - forgotten > OCTETS:
            forgotten += _octets(noted.popleft())
        return forgotten


class TranscriptBudget:
    """How much the transcripts of all sessions take together; of who said nothing for longest it is forgotten first."""

    def __init__(self, octets: int = OCTETS_OF_ALL) -> None:
        self._limit = octets
        self._users: dict[Transcript, None] = {}  # in the order in which they last said something
        self.octets = 0

    def count(self, user: Transcript, octets: int) -> None:
        """A transcript grew or shrank."""
        self.octets += octets
        if octets <= 0:
            return
        users = self._users
        users.pop(user, None)
        users[user] = None
        while self.octets > self._limit:
            oldest = next(iter(self._users))
            del self._users[oldest]
            oldest.clear()

    def leave(self, user: Transcript) -> None:
        """A transcript counts no more."""
        self._users.pop(user, None)
        self.octets -= user.octets


def _octets(entry: _Entry) -> int:
    match entry:
        case _Said():
            return len(entry.output) + _EACH
        case _LongLine():
            return len(entry.start) + _EACH
        case _:
            return len(entry) + _EACH


def _shown(line: bytes | _LongLine) -> str:
    if line == _SECRET:
        return "(a response within AUTH)"
    start, octets = line if isinstance(line, _LongLine) else (line, len(line))
    word, _, arguments = start.partition(b" ")
    verb = word.decode("ascii", "replace").upper()
    if verb not in _KNOWN:
        return f"({octets} octets that are no command)"
    if verb == Verb.AUTH and b" " in arguments:
        return f"{_text(word)} {_text(arguments.partition(b' ')[0])} (an initial response)"
    return _text(start, cut=octets > len(start))


def _text(line: bytes, *, cut: bool = False) -> str:
    text = line[:_LINE].decode("utf-8", "replace")
    return "".join(character if character.isprintable() else "?" for character in text) + (
        "..." if cut or len(line) > _LINE else ""
    )
