from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gatepost.net.lookups.dns import Resolver
from gatepost.net.lookups.evaluation import evaluate, look_up
from gatepost.net.lookups.nameservers import Nameservers
from gatepost.protocols.dns.lookups import DnsRecords, Query

RECORDS = {
    ("b.example", "TXT"): ['"v=spf1 " "-all"'],
    ("b.example", "MX"): ["20 MX2.b.example.", "10 mx1.b.example."],
    ("b.example", "A"): ["192.0.2.1"],
    ("b.example", "AAAA"): ["2001:db8:0::1"],
    ("1.2.0.192.in-addr.arpa", "PTR"): ["B.example."],
}
ANSWERS = {
    Query("b.example", "TXT"): DnsRecords((b"v=spf1 -all",)),
    Query("b.example", "MX"): DnsRecords(values=("mx1.b.example", "mx2.b.example")),
    Query("b.example", "A"): DnsRecords(values=("192.0.2.1",)),
    Query("b.example", "AAAA"): DnsRecords(values=("2001:db8::1",)),
    Query("1.2.0.192.in-addr.arpa", "PTR"): DnsRecords(values=("b.example",)),
    Query("none.b.example", "TXT"): DnsRecords(nxdomain=True),
    Query("none.b.example", "A"): DnsRecords(nxdomain=True),
    Query(".".join(["a" * 60] * 5), "TXT"): DnsRecords(nxdomain=True),
    Query("silent.b.example", "A"): DnsRecords(failure="A of silent.b.example: no answer"),
    Query("bogus.b.example", "TXT"): DnsRecords(failure="TXT of bogus.b.example: DNSSEC validation fails"),
}
BEHAVIOUR = {"silent.b.example": "silent", "bogus.b.example": "explained"}


async def all_of(resolver: Resolver) -> dict[Query, DnsRecords]:
    def evaluation() -> Any:
        found = {}
        for query in ANSWERS:
            found[query] = yield query
        return found

    return await evaluate(resolver, evaluation())  # type: ignore[no-any-return]


def test_answers(nameserver: Any) -> None:
    async def run() -> dict[Query, DnsRecords]:
        async with nameserver(RECORDS, behaviour=BEHAVIOUR) as double:
            return await all_of(Resolver(Nameservers([f"127.0.0.1:{double.port}"], timeout=3, attempts=1)))

    assert asyncio.run(run()) == ANSWERS


@pytest.mark.parametrize("name", ["\xfc.example", "a" * 64 + ".example"])
def test_what_is_no_name_has_no_records(nameserver: Any, name: str) -> None:
    async def run() -> DnsRecords:
        async with nameserver(RECORDS) as double:
            return await look_up(Resolver(Nameservers([f"127.0.0.1:{double.port}"])), Query(name, "A"))

    assert asyncio.run(run()) == DnsRecords(nxdomain=True)
