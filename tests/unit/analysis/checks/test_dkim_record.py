from __future__ import annotations

import asyncio
from typing import Any

import dns.rdata
import pytest

from gatepost.analysis.checks.dkim_record import DkimObservation, RecordCheck, seen_record
from gatepost.net.lookups.dns import DnsAnswer, DnsStatus
from gatepost.net.lookups.question import LookupFailed
from gatepost.protocols.dkim.record import KeyRecord

NAME = "s._domainkey.b.example"
SEEN: list[tuple[list[str] | LookupFailed, DkimObservation, str]] = [
    (['"v=DKIM1; k=rsa; " "p=QUJD"'], DkimObservation.PUBLISHED, ""),
    ([], DkimObservation.MISSING, f"there is no TXT record at {NAME}"),
    (['"v=DKIM1; p=QUJE"'], DkimObservation.DIFFERS, "another key is published (p= differs)"),
    (['"v=DKIM2; p=QUJD"'], DkimObservation.DIFFERS, 'the TXT record "v=DKIM2; p=QUJD" does not begin with v=DKIM1'),
    (LookupFailed("nobody answers"), DkimObservation.UNKNOWN, "nobody answers"),
]


class Names:
    def __init__(self, found: list[str] | LookupFailed) -> None:
        self.found = found

    async def query(self, name: str, rdtype: str) -> DnsAnswer:
        assert (name, rdtype) == (NAME, "TXT")
        if isinstance(self.found, LookupFailed):
            raise self.found
        records = tuple(dns.rdata.from_text("IN", "TXT", text) for text in self.found)
        return DnsAnswer(DnsStatus.OK, records, authentic=False, ttl=60, names=(name,))


@pytest.mark.parametrize(("found", "seen", "why"), SEEN)
def test_what_the_dns_has_of_a_key(found: Any, seen: DkimObservation, why: str) -> None:
    sight = asyncio.run(seen_record(Names(found), NAME, KeyRecord("QUJD")))  # type: ignore[arg-type] # what is used
    assert sight == RecordCheck(seen, why)
    assert str(sight) == (f"{seen}: {why}" if why else str(seen))
