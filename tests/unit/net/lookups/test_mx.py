from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

import dns.name
import dns.rdata
import pytest

from gatepost.net.lookups.dns import DnsAnswer, DnsStatus, Resolver
from gatepost.net.lookups.mx import Family, HostAddresses, MailHosts, MailHostsKind, MailRouter
from gatepost.net.lookups.nameservers import Nameservers
from gatepost.net.lookups.question import LookupFailed

type Table = dict[tuple[str, str], list[str] | LookupFailed]


class Queries:
    """Answers from a table; "" as only text is NXDOMAIN."""

    def __init__(self, table: Table, *, authentic: bool = False) -> None:
        self.table = table
        self.authentic = authentic

    async def query(self, name: str, rdtype: str) -> DnsAnswer:
        found = self.table.get((name, rdtype), [])
        if isinstance(found, LookupFailed):
            raise found
        if found == [""]:
            return DnsAnswer(DnsStatus.NXDOMAIN, (), self.authentic, 60, (name,))
        records = tuple(dns.rdata.from_text("IN", rdtype, text) for text in found)
        return DnsAnswer(DnsStatus.OK if records else DnsStatus.NO_DATA, records, self.authentic, 300, (name,))


def mail_hosts(
    table: Table, domain: str = "b.example", *, seed: int = 1, authentic: bool = False, **settings: Any
) -> MailHosts:
    router = MailRouter(Queries(table, authentic=authentic), Random(seed), **settings)  # noqa: S311 - an order, no secret
    return asyncio.run(router.mail_hosts(domain))


def addresses(table: Table, host: str = "mx.b.example", *, authentic: bool = False, **settings: Any) -> HostAddresses:
    router = MailRouter(Queries(table, authentic=authentic), Random(1), **settings)  # noqa: S311 - an order, no secret
    return asyncio.run(router.addresses(host))


def mx(*texts: str) -> Table:
    return {("b.example", "MX"): list(texts)}


OWN = ("mx1.gate.example", "MX2.gate.example.")


@pytest.mark.parametrize(
    ("table", "kind", "names"),
    [
        (
            mx("20 two.b.example.", "10 One.B.example.", "30 three.b.example."),
            MailHostsKind.LISTED,
            ["one.b.example", "two.b.example", "three.b.example"],
        ),
        ({}, MailHostsKind.IMPLICIT, ["b.example"]),
        (mx(""), MailHostsKind.NO_DOMAIN, []),
        (mx("0 ."), MailHostsKind.NULL, []),
        (mx("5 .", "10 one.b.example."), MailHostsKind.LISTED, ["one.b.example"]),
        (
            mx("10 one.b.example.", "20 mx2.gate.example.", "20 same.b.example.", "30 three.b.example."),
            MailHostsKind.LISTED,
            ["one.b.example"],
        ),
        (mx("10 mx1.gate.example.", "20 two.b.example."), MailHostsKind.OURSELVES, []),
    ],
)
def test_mail_hosts(table: Table, kind: MailHostsKind, names: list[str]) -> None:
    found = mail_hosts(table, own_names=OWN)
    assert (found.kind, [host.name for host in found.hosts], found.domain) == (kind, names, "b.example")


def test_a_domain_that_is_ourselves_without_mx() -> None:
    assert mail_hosts({}, "mx1.gate.example", own_names=OWN).kind is MailHostsKind.OURSELVES


def test_an_address_literal_needs_no_dns() -> None:
    found = mail_hosts({("[192.0.2.1]", "MX"): LookupFailed("asked")}, "[192.0.2.1]", authentic=True)
    assert (found.kind, [host.name for host in found.hosts], found.authentic) == (
        MailHostsKind.LITERAL,
        ["[192.0.2.1]"],
        False,
    )


def test_equal_preferences_are_shuffled_and_others_are_not() -> None:
    table = mx("1 first.b.example.", *(f"10 mx{number}.b.example." for number in range(6)), "20 last.b.example.")
    orders = [[host.name for host in mail_hosts(table, seed=seed).hosts] for seed in range(10)]
    assert all(order[0] == "first.b.example" and order[-1] == "last.b.example" for order in orders)
    assert len({tuple(order) for order in orders}) > 5


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("/run/x.Sock.", r"\047run\047x.sock"),
        ("[::1].", r"\091\058\0581\093"),
        (r"a\.b\\c\"\(,\032.B.example.", r"a\046b\092c\034\040\044\032.b.example"),
        (r"b.example\..", r"b.example\046"),
        (r"\000\255.b.example.", r"\000\255.b.example"),
        ("_mx-1.b.example.", "_mx-1.b.example"),
    ],
)
def test_the_name_of_an_mx_host_is_nothing_but_a_name(written: str, name: str) -> None:
    (host,) = mail_hosts(mx(f"10 {written}")).hosts
    assert host.name == name
    assert dns.name.from_text(host.name) == dns.name.from_text(written)
    assert addresses({(name, "A"): ["192.0.2.1"]}, host.name).addresses == ("192.0.2.1",)


def test_at_most_twenty_hosts() -> None:
    found = mail_hosts(mx(*(f"{number} mx{number}.b.example." for number in range(40))))
    assert [host.preference for host in found.hosts] == list(range(20))
    assert found.cut
    assert not mail_hosts(mx(*(f"{number} mx{number}.b.example." for number in range(20)))).cut


@pytest.mark.parametrize("authentic", [True, False])
def test_authenticity_is_kept(authentic: bool) -> None:
    for table in (mx("10 one.b.example."), mx("0 ."), mx(""), {}):
        assert mail_hosts(table, authentic=authentic).authentic is authentic
    assert addresses({("mx.b.example", "A"): ["192.0.2.1"]}, authentic=authentic).authentic is authentic


def test_a_failed_mx_lookup_is_told() -> None:
    with pytest.raises(LookupFailed, match="servfail"):
        mail_hosts({("b.example", "MX"): LookupFailed("servfail")})


BOTH: Table = {
    ("mx.b.example", "A"): [f"192.0.2.{number}" for number in range(1, 4)],
    ("mx.b.example", "AAAA"): [f"2001:db8::{number}" for number in range(1, 3)],
}


@pytest.mark.parametrize(("prefer", "pattern"), [(Family.IPV6, "64644"), (Family.IPV4, "46464")])
def test_families_alternate(prefer: Family, pattern: str) -> None:
    found = addresses(BOTH, prefer=prefer)
    assert "".join("6" if ":" in address else "4" for address in found.addresses) == pattern
    assert sorted(found.addresses) == sorted(BOTH["mx.b.example", "A"] + BOTH["mx.b.example", "AAAA"])  # type: ignore[operator]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("[192.0.2.1]", "192.0.2.1"),
        ("[IPv6:2001:DB8::1]", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
    ],
)
def test_addresses_need_no_dns(host: str, expected: str) -> None:
    assert addresses({}, host) == HostAddresses(host, host, (expected,), authentic=False)


def test_localhost_needs_no_dns() -> None:
    assert sorted(addresses({}, "localhost").addresses) == ["127.0.0.1", "::1"]


@pytest.mark.parametrize("host", ["[mail.b.example]", "[IPv6:zz]", "[]"])
def test_a_damaged_literal_is_permanent(host: str) -> None:
    with pytest.raises(LookupFailed) as caught:
        addresses({}, host)
    assert not caught.value.temporary


FAILED = LookupFailed("servfail")


@pytest.mark.parametrize(
    ("four", "six", "expected"),
    [
        (["192.0.2.1"], FAILED, ("192.0.2.1",)),
        (FAILED, ["2001:db8::1"], ("2001:db8::1",)),
        ([], [], ()),
        ([""], [""], ()),
    ],
)
def test_one_family_is_enough(
    four: list[str] | LookupFailed, six: list[str] | LookupFailed, expected: tuple[str, ...]
) -> None:
    found = addresses({("mx.b.example", "A"): four, ("mx.b.example", "AAAA"): six}, authentic=True)
    assert found.addresses == expected
    assert found.authentic  # else who stops one answer switches DANE off


@pytest.mark.parametrize(("four", "six"), [([], FAILED), (FAILED, []), (FAILED, FAILED)])
def test_nothing_found_and_a_failure_is_a_failure(
    four: list[str] | LookupFailed, six: list[str] | LookupFailed
) -> None:
    with pytest.raises(LookupFailed, match="servfail"):
        addresses({("mx.b.example", "A"): four, ("mx.b.example", "AAAA"): six})


def test_at_most_ten_addresses() -> None:
    many: Table = {("mx.b.example", "A"): [f"192.0.2.{number}" for number in range(1, 30)]}
    assert len(addresses(many).addresses) == 10


def test_addresses_that_lead_nowhere_are_left_out() -> None:
    table: Table = {
        ("mx.b.example", "A"): ["0.0.0.0", "224.0.0.1", "192.0.2.8"],
        ("mx.b.example", "AAAA"): ["::", "ff02::1"],
    }
    assert addresses(table).addresses == ("192.0.2.8",)


class Counting(Queries):
    def __init__(self, table: Table) -> None:
        super().__init__(table)
        self.asked = 0

    async def query(self, name: str, rdtype: str) -> DnsAnswer:
        self.asked += 1
        return await super().query(name, rdtype)


def test_what_was_found_is_kept_for_half_a_minute_and_shuffled_each_time() -> None:
    table = BOTH | mx(*(f"10 mx{number}.b.example." for number in range(6)))
    queries, now = Counting(table), [0.0]
    router = MailRouter(queries, Random(1), clock=lambda: now[0])  # noqa: S311 - an order, no secret

    async def run() -> set[tuple[str, ...]]:
        orders = set()
        for _ in range(10):
            orders.add(tuple(host.name for host in (await router.mail_hosts("b.example")).hosts))
            orders.add((await router.addresses("mx.b.example")).addresses)
        return orders

    assert len(asyncio.run(run())) > 10
    assert queries.asked == 3
    now[0] = 30.0
    asyncio.run(run())
    assert queries.asked == 6


@pytest.mark.parametrize(("octets", "asked"), [(20, 1), (240, 2)])
def test_a_domain_with_many_long_names_is_not_kept(octets: int, asked: int) -> None:
    name = ".".join([r"\001" * (octets // 5)] * 5)
    queries = Counting(mx(*(f"{number} {name}." for number in range(50))))
    router = MailRouter(queries, Random(1))  # noqa: S311 - an order, no secret
    for _ in range(2):
        assert len(asyncio.run(router.mail_hosts("b.example")).hosts) == 20
    assert queries.asked == asked


def test_half_an_answer_is_not_kept() -> None:
    queries = Counting({("mx.b.example", "A"): ["192.0.2.1"], ("mx.b.example", "AAAA"): FAILED})
    router = MailRouter(queries, Random(1))  # noqa: S311 - an order, no secret

    async def run() -> None:
        for _ in range(2):
            assert (await router.addresses("mx.b.example")).addresses == ("192.0.2.1",)

    asyncio.run(run())
    assert queries.asked == 4


def test_through_a_real_nameserver_with_a_cname(nameserver: Callable[..., Any]) -> None:
    records = {
        ("b.example", "MX"): ["10 mx.b.example."],
        ("mx.b.example", "CNAME"): ["host.b.example."],
        ("host.b.example", "A"): ["192.0.2.1"],
        ("host.b.example", "AAAA"): ["2001:db8::1"],
    }

    async def run() -> tuple[MailHosts, HostAddresses]:
        async with nameserver(records) as double:
            router = MailRouter(Resolver(Nameservers([f"127.0.0.1:{double.port}"])), Random(1))  # noqa: S311 - an order, no secret
            hosts = await router.mail_hosts("b.example")
            return hosts, await router.addresses(hosts.hosts[0].name)

    hosts, found = asyncio.run(run())
    assert hosts.kind is MailHostsKind.LISTED
    assert found == HostAddresses("mx.b.example", "host.b.example", ("2001:db8::1", "192.0.2.1"), authentic=False)
