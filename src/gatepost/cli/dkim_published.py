"""Looks at the DNS for commands about DKIM keys."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from gatepost.administration.resolving import resolver_of
from gatepost.checks.dkim_record import RecordSight, Seen, seen_record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.dkim.record import KeyRecord
    from gatepost.settings.model import Settings

__all__ = ["Sought", "look"]


class Sought(NamedTuple):
    """A key's name and what should stand there."""

    name: str
    record: KeyRecord


def look(settings: Settings, sought: Sequence[Sought]) -> list[RecordSight]:
    """What the DNS has of each, in their order."""

    async def ask() -> list[RecordSight]:
        async with resolver_of(settings) as resolver:

            async def one(each: Sought) -> RecordSight:
                if not each.record.public_key:
                    return RecordSight(Seen.UNKNOWN, "the resource does not say its public_key")
                return await seen_record(resolver, each.name, each.record)

            return list(await asyncio.gather(*map(one, sought)))

    return asyncio.run(ask()) if sought else []
