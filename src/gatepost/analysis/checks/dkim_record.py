"""Check that the DNS publishes the public half of a DKIM key (RFC 6376 section 3.6.2).

Used by `manage.use_cases.dkim`. Only looks; what is to be published is said by `protocols.dkim.record`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, cast

import msgspec

from gatepost.net.lookups.question import LookupFailed
from gatepost.protocols.dkim.record import KeyRecord, parse_record
from gatepost.protocols.dns.text_record import RecordError

if TYPE_CHECKING:
    from dns.rdtypes.txtbase import TXTBase

    from gatepost.net.lookups.dns import Resolver


class DkimObservation(StrEnum):
    """The state of a key in the DNS."""

    PUBLISHED = "published"
    MISSING = "missing"
    DIFFERS = "differs"
    UNKNOWN = "unknown"


class RecordCheck(msgspec.Struct, frozen=True):
    """why: what is wrong with it, or why it cannot be told; "" if it is as it should be."""

    seen: DkimObservation
    why: str = ""

    def __str__(self) -> str:
        return f"{self.seen}: {self.why}" if self.why else str(self.seen)


async def seen_record(resolver: Resolver, name: str, expected: KeyRecord) -> RecordCheck:
    """Whether verifiers find at `name` what they need for signatures made with the key of `expected`."""
    try:
        answer = await resolver.query(name, "TXT")
    except LookupFailed as failed:
        return RecordCheck(DkimObservation.UNKNOWN, failed.detail)
    parsed = parse_record([cast("TXTBase", record).strings for record in answer.records])
    if parsed is None:
        return RecordCheck(DkimObservation.MISSING, f"there is no TXT record at {name}")
    if isinstance(parsed, RecordError):
        return RecordCheck(DkimObservation.DIFFERS, parsed.detail)
    why = parsed.lack(expected)
    return RecordCheck(DkimObservation.DIFFERS, why) if why else RecordCheck(DkimObservation.PUBLISHED)
