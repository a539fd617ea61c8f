"""The end of a chain of evidence: entries are joined to it in memory before they are stored, together.

Used by the chains of both engines: `store.evidence_chain`, `store.postgres.evidence_chain`. No I/O.
"""

from __future__ import annotations

import secrets
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final

from msgspec import structs

from gatepost import __version__
from gatepost.events.evidence.chain import Place, Signer, join, sign_body
from gatepost.events.evidence.entry import Privacy, begin_body, checkpoint_body, event_body, gap_body
from gatepost.policy.decisions.withheld import without_others

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.mail.model.trace_event import TraceEvent


_SOFTWARE: Final = f"gatepost {__version__}"
_SALT: Final = 12  # octets of a salt
_SALT_TEXT: Final = 16  # characters of it: three octets are four


class ChainEnd:
    """Where a chain stands. node, writer: who writes, for the entries. lines: what is not stored yet."""

    def __init__(self, *, node: str, writer: str, privacy: Privacy | None = None) -> None:
        self._identity = {"node": node, "writer": writer}
        self._privacy = privacy or Privacy()
        self.place = Place()
        self.lines: list[bytes] = []

    def begin(self, day: str, now: float) -> None:
        """The first entry of a day."""
        self._join(begin_body(self.place, now, day=day, software=_SOFTWARE, **self._identity))

    def gap(self, now: float, what: str, count: int, sha256: str = "") -> None:
        """Say that something is missing: see `gap_body`."""
        self._join(gap_body(self.place, now, what=what, count=count, sha256=sha256))

    def events(self, events: Sequence[TraceEvent]) -> None:
        """An entry for each.

        It goes to its organization's auditors as it is written: what is another's is left out for good.
        """
        salts = secrets.token_urlsafe(_SALT * len(events))  # one question to the kernel for all of them
        for place, event in enumerate(events):
            hidden = without_others(event)
            shown = structs.replace(event, **hidden) if hidden else event
            salt = salts[place * _SALT_TEXT : (place + 1) * _SALT_TEXT]
            self._join(event_body(shown, self.place.number + 1, salt, self._privacy))

    def checkpoint(self, now: float, signer: Signer) -> None:
        """The place, signed."""
        self._join(sign_body(checkpoint_body(self.place, now, **self._identity), signer))

    def _join(self, body: dict[str, Any]) -> None:
        head, line = join(self.place.head, body)
        self.place = Place(self.place.number + 1, head)
        self.lines.append(line)


def day_after(day: str) -> str:
    """The next day."""
    return (date.fromisoformat(day) + timedelta(days=1)).isoformat()
