from __future__ import annotations

import asyncio
from typing import Any

import dns.rdata
import dns.rdataclass
import dns.rdatatype
import pytest
from support.clock import Clock

from gatepost.net.lookups.dns import DnsAnswer, DnsStatus
from gatepost.net.lookups.mx import HostAddresses
from gatepost.net.lookups.question import LookupFailed
from gatepost.net.lookups.tlsa import TlsaFinder
from gatepost.protocols.dane.tlsa import TlsaLookup, TlsaStatus

GOOD = "030101" + "ab" * 32
OTHER = "020101" + "cd" * 32
HOST, ALIAS, REAL = "mx.b.example", "alias.b.example", "real.b.example"
TLSA = f"_25._tcp.{HOST}"
SERVFAIL = LookupFailed("SERVFAIL")
BOGUS = LookupFailed("SERVFAIL, forged", bogus=True)
TOO_LONG = LookupFailed("a name of more than 255 octets", temporary=False)


class Queries:
    """name → records in hexadecimal, LookupFailed, or None for a name that is not there; "insecure" names apart."""

    def __init__(self, table: dict[str, Any], insecure: tuple[str, ...] = (), ttl: int = 300) -> None:
        self.table, self.insecure, self.ttl = table, insecure, ttl
        self.asked: list[str] = []

    async def query(self, name: str, rdtype: str) -> DnsAnswer:
        self.asked.append(f"{name} {rdtype}")
        found = self.table.get(name)
        if isinstance(found, LookupFailed):
            raise found
        authentic = name not in self.insecure
        if found is None or (rdtype == "TLSA") is not isinstance(found, list):
            return DnsAnswer(DnsStatus.NXDOMAIN, (), authentic, self.ttl, (name,))
        if rdtype == "CNAME":
            return DnsAnswer(DnsStatus.OK, (dns.rdata.from_text("IN", "CNAME", found),), authentic, self.ttl, (name,))
        records = [dns.rdata.GenericRdata(dns.rdataclass.IN, dns.rdatatype.TLSA, bytes.fromhex(text)) for text in found]
        return DnsAnswer(DnsStatus.OK, tuple(records), authentic, self.ttl, (name,))


def host(name: str = HOST, canonical: str = "", *, authentic: bool = True) -> HostAddresses:
    return HostAddresses(name, canonical or name, ("192.0.2.1",), authentic)


def find(queries: Queries, of: HostAddresses | None = None, **options: Any) -> TlsaLookup:
    return asyncio.run(TlsaFinder(queries).find(of or host(), **options))


CASES = [
    # TLSA records of the host, insecure names -> status, words of the detail
    ([GOOD], (), "usable", f"{TLSA}: 1 TLSA record, 1 usable"),
    ([GOOD, "0000"], (), "usable", "2 TLSA records, 1 usable; \\# 2 0000 is ignored: 2 octets of data: too short"),
    (["", "03", "0301", "030101", "03010100"], (), "unusable", "5 TLSA records, 0 usable"),
    (["000101" + "ab" * 32], (), "unusable", "usage 0 is not for SMTP"),
    (["0301003000"], (), "unusable", "its data is no public key that can be read"),
    (["0200003000"], (), "unusable", "its data cannot be used: it is not an X.509 certificate"),
    ([f"030101{number:064x}" for number in range(500)], (), "usable", "400 are not checked, 100 are the most"),
    (None, (), "none", f"{TLSA}: no TLSA records"),
    ([GOOD], (TLSA,), "insecure", f"DNSSEC does not prove the TLSA records of {TLSA}"),
    (None, (TLSA,), "insecure", f"DNSSEC does not prove the absence of TLSA records of {TLSA}"),
    (SERVFAIL, (), "failed", "SERVFAIL"),
    (BOGUS, (), "failed", "SERVFAIL, forged"),
    (TOO_LONG, (), "none", "there can be no TLSA records: a name of more than 255 octets"),
]


@pytest.mark.parametrize(("published", "insecure", "status", "words"), CASES)
def test_what_a_host_publishes(published: Any, insecure: tuple[str, ...], status: str, words: str) -> None:
    found = find(Queries({TLSA: published}, insecure))
    assert found.status == status
    assert words in found.detail
    asks = status in {"usable", "unusable"}
    assert (found.base, found.names) == ((HOST, (HOST,)) if asks else ("", ()))
    assert found.bogus is (published is BOGUS)
    assert (found.records.kind == status) or not asks


def test_an_insecure_way_to_the_host_has_no_dane() -> None:
    queries = Queries({TLSA: [GOOD]})
    found = find(queries, mx_authentic=False)
    assert (found.status, found.detail) == ("insecure", f"DNSSEC does not prove that {HOST} takes this mail")
    found = find(queries, host(authentic=False))
    assert (found.status, found.detail) == ("insecure", f"DNSSEC does not prove the addresses of {HOST}")
    assert queries.asked == []


ALIASES = [
    # what is published below each name, insecure names, whether the addresses are proven -> base, status
    ({REAL: [GOOD], ALIAS: [OTHER]}, (), True, REAL, "usable"),
    ({REAL: [GOOD]}, (), True, REAL, "usable"),
    ({ALIAS: [OTHER]}, (), True, ALIAS, "usable"),
    ({REAL: ["00"], ALIAS: [OTHER]}, (), True, REAL, "unusable"),
    ({REAL: [GOOD], ALIAS: [OTHER]}, (REAL,), True, ALIAS, "usable"),
    ({REAL: SERVFAIL, ALIAS: [OTHER]}, (), True, "", "failed"),  # who stops one answer must not choose the other
    ({REAL: TOO_LONG, ALIAS: [OTHER]}, (), True, ALIAS, "usable"),
    ({}, (), True, "", "none"),
    ({}, (REAL,), True, "", "none"),
    ({}, (ALIAS,), True, "", "none"),
    ({}, (REAL, ALIAS), True, "", "insecure"),
    # An alias that is proven, of a name that is not: RFC 7672 section 2.2.2
    ({REAL: [GOOD], ALIAS: [OTHER]}, (), False, ALIAS, "usable"),
    ({REAL: [GOOD]}, (), False, "", "none"),
    ({ALIAS: [OTHER]}, ("the alias itself",), False, "", "insecure"),
    ({ALIAS: [OTHER]}, ("no alias",), False, "", "insecure"),
    ({ALIAS: [OTHER]}, ("failing alias",), False, "", "failed"),
]


@pytest.mark.parametrize(("published", "insecure", "authentic", "base", "status"), ALIASES)
def test_an_alias(
    published: dict[str, Any], insecure: tuple[str, ...], authentic: bool, base: str, status: str
) -> None:
    table: dict[str, Any] = {f"_587._tcp.{name}": records for name, records in published.items()}
    table[ALIAS] = {"no alias": None, "failing alias": SERVFAIL}.get("".join(insecure), f"{REAL}.")
    doubtful = tuple(ALIAS if name == "the alias itself" else f"_587._tcp.{name}" for name in insecure)
    queries = Queries(table, doubtful)
    found = find(queries, host(ALIAS, REAL, authentic=authentic), port=587)
    assert (found.status, found.base) == (status, base)
    assert found.names == ((REAL, ALIAS) if base == REAL else (ALIAS,) if base else ())


def test_names_that_a_certificate_may_bear() -> None:
    queries = Queries({f"_25._tcp.{REAL}": [OTHER]})
    found = find(queries, host(ALIAS, REAL), next_hops=("B.example.", "hosted.example", "b.example", ""))
    assert found.names == (REAL, ALIAS, "b.example", "hosted.example")


@pytest.mark.parametrize(
    ("published", "ttl", "moments", "asked"),
    [
        ([GOOD], 300, (0, 29, 30), 2),  # half a minute at most
        ([GOOD], 10, (0, 9, 10), 2),
        (None, 10, (0, 9, 10), 2),  # that there is nothing, too
        ([GOOD], 0, (0, 0), 2),
        (SERVFAIL, 300, (0, 0), 2),
        (TOO_LONG, 300, (0, 0), 2),
    ],
)
def test_what_was_found_is_remembered(published: Any, ttl: int, moments: tuple[int, ...], asked: int) -> None:
    queries, clock = Queries({TLSA: published}, ttl=ttl), Clock(0.0)

    async def run() -> None:
        finder = TlsaFinder(queries, clock=clock)
        results = set()
        for moment in moments:
            clock.now = moment
            results.add(await finder.find(host()))
            await finder.find(host(), mx_authentic=False)  # never answered from what another one asked for
        assert len(results) == 1

    asyncio.run(run())
    assert len(queries.asked) == asked


def test_memory_is_bounded() -> None:
    many = [f"030100307f{number:0254x}" for number in range(100)]
    finder = TlsaFinder(Queries({f"_25._tcp.mx{number}.example": [GOOD] for number in range(9000)} | {TLSA: many}))

    async def run() -> None:
        for number in range(9000):
            await finder.find(host(f"mx{number}.example"))
        await finder.find(host())

    asyncio.run(run())
    assert finder._cache._held <= finder._cache._capacity
    assert len(finder._cache) < 9000


def test_states_are_all_there_is() -> None:
    assert {str(status) for status in TlsaStatus} == {"usable", "unusable", "none", "insecure", "failed"}
