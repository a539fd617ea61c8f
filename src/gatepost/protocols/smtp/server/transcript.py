"""The transcript of a session: the last commands and replies, without content and secrets (RFC 5321).

`protocols.smtp.server.dialogue` and `protocols.smtp.server.server` note octets as they come, cut to what is ever shown;
they are made readable only when somebody wants to keep them (`mail.inbound.session`). A line that is not a command of
SMTP is not shown: it may be a password that a client sent at the wrong moment. Octets are bounded for each session and
for all that share a budget.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from gatepost.protocols.smtp.commands import FOREIGN_VERBS, UNIMPLEMENTED_VERBS, Verb

LINES: Final = 100
"""How many commands and flights of replies are remembered, the last ones."""
OCTETS: Final = 16 << 10
"""How much memory one session's lines take at most; the oldest go first."""
OCTETS_OF_ALL: Final = 32 << 20
"""The same for all sessions of a worker; those whose transcript grew longest ago go first."""

_LINE: Final = 512  # octets that are shown of one line
_FLIGHT: Final = 2048  # octets that are kept of the replies that went out together
_EACH: Final = 100  # octets that an entry takes beside its text, as CPython keeps it
_KNOWN: Final = frozenset({*(verb.value for verb in Verb), *FOREIGN_VERBS, *UNIMPLEMENTED_VERBS})
_PIECE: Final = 2 << 10  # octets that a transcript takes of its budget at a time: most sessions need one or two
_LARGE: Final = 4 << 10  # and from so many on
_HEARD: Final = b">"  # what a command line begins with here; replies are kept as they are, and begin with a digit
_SECRET: Final = _HEARD  # what is noted of a response within AUTH: an empty command line is never noted


class _Cut(NamedTuple):
    """An entry that is not whole. left_out: octets of a command line, or lines of replies."""

    start: bytes
    left_out: int


type _Entry = bytes | _Cut


class Transcript:
    """Of one session. budget: shared with other sessions; `close` gives back what this one takes of it.

    octets: what its lines take. taken: as much or more, what the budget gave for them.
    """

    __slots__ = ("_budget", "_noted", "octets", "taken")

    def __init__(self, budget: TranscriptBudget | None = None) -> None:
        self._noted: list[_Entry] = []  # a deque takes 700 octets more
        self._budget = budget
        self.octets = self.taken = 0

    def heard(self, line: bytes) -> None:
        """The client sent a command line, without its CRLF."""
        if 0 < (octets := len(line)) <= _LINE:  # as `_note`, without the call
            self._noted.append(_HEARD + line)
            self.octets += octets + _EACH
            if self.octets > self.taken:
                self._grow()
        elif octets:
            self._note(_Cut(_HEARD + line[:_LINE], octets - _LINE), _LINE)
        else:
            self._note(_HEARD + b" ", 1)

    def heard_secret(self) -> None:
        """The client sent something that no file may have."""
        self._note(_SECRET, 0)

    def said(self, output: bytes) -> None:
        """We sent one or more replies."""
        if (octets := len(output)) <= _FLIGHT:  # as `_note`, without the call
            self._noted.append(output)  # not a copy: many sessions share a standing reply
            self.octets += octets + _EACH
            if self.octets > self.taken:
                self._grow()
            return
        kept = output[: output.rfind(b"\n", 0, _FLIGHT) + 1] or output[:_FLIGHT]
        self._note(_Cut(kept, output.count(b"\n", len(kept))), len(kept))

    def lines(self) -> list[str]:
        """Oldest first: "> " before what the client said, "< " before our replies; at most 512 octets of a line."""
        result: list[str] = []
        for noted in self._noted[-LINES:]:
            entry, left_out = noted if isinstance(noted, _Cut) else (noted, 0)
            if entry.startswith(_HEARD):
                result.append(f"> {_shown(entry, left_out)}")
            else:
                result += (f"< {_text(line)}" for line in entry.splitlines())
                result += [f"< ({left_out} more lines)"] if left_out else []
        return result

    def clear(self) -> None:
        """Forget all that was said so far."""
        self._noted.clear()
        self.octets = 0
        if self._budget is not None:
            self._budget.take_back(self)

    def close(self) -> None:
        """The session is over: its lines can still be read, and count no more."""
        if self._budget is not None:
            self._budget.take_back(self)
            self._budget = None

    def _note(self, entry: _Entry, text: int) -> None:
        """text: octets of it that are kept."""
        self._noted.append(entry)
        self.octets += text + _EACH
        if self.octets > self.taken:
            self._grow()

    def _grow(self) -> None:
        """Forget what is too much by now, and take more of the budget: not for each entry, so some are not shown.

        Of octets a quarter is forgotten at once, or each entry would be one too many again.
        """
        most = OCTETS if self.octets <= OCTETS else OCTETS - _LARGE
        noted, forgotten = self._noted, 0
        while len(noted) - forgotten > LINES or self.octets > most:
            self.octets -= _octets(noted[forgotten])
            forgotten += 1
        del noted[:forgotten]
        if self._budget is not None:
            self._budget.give(self)


class TranscriptBudget:
    """How much the transcripts of all sessions take together; of who needed more longest ago it is forgotten first."""

    def __init__(self, octets: int = OCTETS_OF_ALL) -> None:
        self._limit = octets
        self._users: dict[Transcript, None] = {}  # in the order in which they last needed more
        self.octets = 0

    def give(self, user: Transcript) -> None:
        """Count what a transcript needs, rounded up."""
        self.take_back(user)
        piece = _PIECE if user.octets < _LARGE else _LARGE
        user.taken = -(-user.octets // piece) * piece
        self.octets += user.taken
        users = self._users
        users[user] = None
        while self.octets > self._limit:
            next(iter(users)).clear()

    def take_back(self, user: Transcript) -> None:
        """A transcript counts no more."""
        self._users.pop(user, None)
        self.octets -= user.taken
        user.taken = 0


def _octets(entry: _Entry) -> int:
    """What an entry takes, without its mark."""
    text = entry.start if isinstance(entry, _Cut) else entry
    return len(text) - text.startswith(_HEARD) + _EACH


def _shown(entry: bytes, left_out: int) -> str:
    if entry == _SECRET:
        return "(a response within AUTH)"
    start = entry[1:]
    word, _, arguments = start.partition(b" ")
    verb = word.decode("ascii", "replace").upper()
    if verb not in _KNOWN:
        return f"({len(start) + left_out} octets that are no command)"
    if verb == Verb.AUTH and b" " in arguments:
        return f"{_text(word)} {_text(arguments.partition(b' ')[0])} (an initial response)"
    return _text(start, cut=left_out > 0)


def _text(line: bytes, *, cut: bool = False) -> str:
    text = line[:_LINE].decode("utf-8", "replace")
    return "".join(character if character.isprintable() else "?" for character in text) + (
        "..." if cut or len(line) > _LINE else ""
    )
