"""The part of the queue that one organization has, as alarms tell it. A value without any behaviour."""

from __future__ import annotations

import msgspec


class QueueShare(msgspec.Struct, frozen=True):
    """An organization whose mail is refused. octets: of its mail in the queue; part: of all mail there, 0.0 to 1.0."""

    organization: str
    octets: int
    part: float
