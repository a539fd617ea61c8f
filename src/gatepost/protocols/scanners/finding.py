"""The finding of a content scanner, in one form for all scanners, or its unusable answer.

Made by `protocols.scanners.rspamd` and `protocols.scanners.clamd`, judged by `policy.decisions.content`. Values only.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from gatepost.protocols.message.edit import HeaderEdits

SYMBOLS: Final = 20
TEXT: Final = 200


class ScanAction(StrEnum):
    """The action that a scanner recommends, weakest first: rspamd's in kebab case.

    ClamAV has only the first and the last.
    """

    NO_ACTION = "no-action"
    GREYLIST = "greylist"
    ADD_HEADER = "add-header"
    REWRITE_SUBJECT = "rewrite-subject"
    SOFT_REJECT = "soft-reject"
    REJECT = "reject"


class UnusableAnswer(Exception):  # noqa: N818 - not an error of the program: it is what was found
    """A scanner's answer that nothing can be done with. The text is for us, and bounded."""


class ScanFinding(msgspec.Struct, frozen=True):
    """action: what is recommended. signature: of what is in the message, "" if nothing is known by name.

    score, required: rspamd's sum and the one from which it refuses. symbols: "NAME(SCORE)", those that weigh most, at
    most `SYMBOLS`. said: the scanner's own words for the sender, which only the trace gets. edits: what the header
    shall become, whatever the action; marks: what `ADD_HEADER` means besides; subject: what `REWRITE_SUBJECT` does.
    """

    action: ScanAction
    signature: str = ""
    score: float | None = None
    required: float | None = None
    symbols: tuple[str, ...] = ()
    said: str = ""
    edits: HeaderEdits = msgspec.field(default_factory=HeaderEdits)
    marks: HeaderEdits = msgspec.field(default_factory=HeaderEdits)
    subject: str = ""


def printable(text: str, limit: int = TEXT) -> str:
    """Text of a scanner, for the trace and the log: one line, bounded."""
    cut = text[:limit]
    return cut if cut.isprintable() else "".join(character if character.isprintable() else "?" for character in cut)
