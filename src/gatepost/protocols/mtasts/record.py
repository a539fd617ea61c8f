"""Parse the TXT record at _mta-sts.DOMAIN that announces a policy and its id (RFC 8461 section 3.1).

Used by `net.lookups.mtasts`, which asks for it, and by `protocols.mtasts.publish`, which writes ours. Pure text: the
policy itself is `protocols.mtasts.policy`, and what follows for a delivery is decided in neither.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from gatepost.protocols.dns.text_record import RecordError, TextRecord, shown

MAX_ID: Final = 32  # characters of an id

_RECORD: Final = TextRecord("STSv1", "id")
_ID: Final = re.compile(rf"[A-Za-z0-9]{{1,{MAX_ID}}}")


class StsRecord(msgspec.Struct, frozen=True):
    """The record that announces a policy (RFC 8461 section 3.1).

    id: 1 to 32 letters and digits; another one means that the policy is to be fetched again.
    """

    id: str

    @property
    def text(self) -> str:
        """As it is written into the zone."""
        return f"v=STSv1; id={self.id};"


def parse_record(records: Sequence[Sequence[bytes]]) -> StsRecord | RecordError | None:
    """Parse the TXT records of _mta-sts.DOMAIN (RFC 8461 section 3.1). records: the strings of each, as octets.

    None: no record is about MTA-STS. An error means that the domain has no valid policy, but meant to have one.
    Raises ValueError if a record is no sequence of strings, in octets.
    """
    value = _RECORD.value(records)
    if not isinstance(value, str):
        return value
    if not _ID.fullmatch(value):
        return RecordError(
            f'the id "{shown(value.encode())}" of the TXT record is not 1 to {MAX_ID} letters and digits'
        )
    return StsRecord(value)
