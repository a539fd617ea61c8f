from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gatepost.analysis.checks.own_records import OwnHosts
from gatepost.net.lookups.dns import Resolver
from gatepost.net.lookups.nameservers import Nameservers
from gatepost.protocols.dane.tlsa import TlsaStatus
from gatepost.testing.name_server import DnsServer

HOST = "mx1.contoso.example"
RECORD = f"3 1 1 {'ab' * 32}"


def ask[T](
    records: dict[str, list[str]], act: Callable[[OwnHosts], Awaitable[T]], *, trust_ad: bool = True, **server: Any
) -> T:
    async def run(port: int) -> T:
        resolver = Resolver(Nameservers([f"127.0.0.1:{port}"], trust_ad=trust_ad, timeout=5, attempts=1))
        try:
            return await act(OwnHosts(resolver, HOST))
        finally:
            await resolver.close()

    with DnsServer(records, authentic=True, **server) as nameserver:
        return asyncio.run(run(nameserver.port))


ADDRESS = {f"{HOST} A": ["127.0.0.1"]}

# records, accepted domains -> hosts that are ours, and the domains that name them
OURS: list[tuple[dict[str, list[str]], list[str], dict[str, tuple[str, ...]]]] = [
    (ADDRESS, [], {HOST: ()}),
    ({}, ["contoso.example"], {HOST: ()}),
    (
        ADDRESS | {"contoso.example MX": [f"10 {HOST}."]},
        ["contoso.example", "*.b.example"],
        {HOST: ("contoso.example",)},
    ),
    (
        ADDRESS
        | {
            "contoso.example MX": ["10 mx.other.example.", "20 away.other.example."],
            "b.example MX": ["10 mx.other.example."],
            "mx.other.example A": ["127.0.0.9", "127.0.0.1"],
            "away.other.example A": ["127.0.0.9"],
        },
        ["contoso.example", "b.example"],
        {HOST: (), "mx.other.example": ("contoso.example", "b.example")},
    ),
]


@pytest.mark.parametrize(("records", "domains", "expected"), OURS)
def test_hosts_that_are_ours(records, domains, expected):
    assert ask(records, lambda hosts: hosts.ours(domains)) == expected


def test_a_dns_that_fails_leaves_our_own_name():
    failures = {"contoso.example": "SERVFAIL", HOST: "SERVFAIL"}
    assert ask({}, lambda hosts: hosts.ours(["contoso.example"]), failures=failures) == {HOST: ()}


def test_no_more_than_twenty_hosts():
    many = {f"mx{number}.other.example A": ["127.0.0.1"] for number in range(30)}
    domains = {f"d{number}.example MX": [f"10 mx{number}.other.example."] for number in range(30)}
    names = [one.removesuffix(" MX") for one in domains]
    assert len(ask(ADDRESS | many | domains, lambda hosts: hosts.ours(names))) == 20


TLSA = ADDRESS | {f"_25._tcp.{HOST} TLSA": [RECORD]}
BAD = ADDRESS | {f"_25._tcp.{HOST} TLSA": ["0 0 1 " + "ab" * 32]}
LOOKUPS = [
    (TLSA, True, TlsaStatus.USABLE, True),
    (ADDRESS, True, TlsaStatus.NONE, True),
    ({}, True, TlsaStatus.NONE, True),
    (TLSA, False, TlsaStatus.USABLE, False),
    (BAD, False, TlsaStatus.INSECURE, False),
    (ADDRESS, False, TlsaStatus.INSECURE, False),
]


@pytest.mark.parametrize(("records", "trust_ad", "status", "proven"), LOOKUPS)
def test_what_is_published_for_a_host(records, trust_ad, status, proven):
    found = ask(records, lambda hosts: hosts.tlsa(HOST, ["contoso.example"]), trust_ad=trust_ad)
    assert (found[0].status, found[1]) == (status, proven)
    if status is TlsaStatus.USABLE:
        assert found[0].names == (HOST, "contoso.example")


@pytest.mark.parametrize("failing", [HOST, f"_25._tcp.{HOST}"])
@pytest.mark.parametrize("trust_ad", [True, False])
def test_what_cannot_be_looked_up(failing, trust_ad):
    found, _ = ask(TLSA, lambda hosts: hosts.tlsa(HOST, []), trust_ad=trust_ad, failures={failing: "SERVFAIL"})
    assert found.status is TlsaStatus.FAILED
