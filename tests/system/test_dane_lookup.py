"""Proves that what a mail host publishes for DANE is told right by a real signed zone and a real validating resolver.

NSD serves the zones, Unbound validates them; domains of every defect, one row each: forged signatures, a wrong key in
the parent, insecure delegations, no records, unusable ones, aliases.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import pytest
from support.dnssec import SignedDns

from gatepost.net.lookups.dns import Resolver
from gatepost.net.lookups.mx import MailHosts, MailRouter
from gatepost.net.lookups.nameservers import Nameservers
from gatepost.net.lookups.question import LookupFailed
from gatepost.net.lookups.tlsa import TlsaFinder
from gatepost.protocols.dane.tlsa import TlsaLookup, TlsaStatus
from gatepost.testing.signed_zone import Zone

GOOD, OTHER = "030101" + "ab" * 32, "020101" + "cd" * 32
ZONES = {
    "good": Zone(
        [
            "@ MX 10 mx",
            "mx A 127.0.0.1",
            f"_25._tcp.mx TLSA {GOOD}",
            f"_25._tcp.mx TLSA {OTHER}",
            "none MX 10 none-mx",
            "none-mx A 127.0.0.1",
            "unusable MX 10 unusable-mx",
            "unusable-mx A 127.0.0.1",
            f"_25._tcp.unusable-mx TLSA 000101{'ab' * 32}",
            f"_25._tcp.unusable-mx TLSA 030107{'ab' * 32}",
            "_25._tcp.unusable-mx TLSA 03010100",
            "alias MX 10 alias-mx",
            "alias-mx CNAME mx",
            "away MX 10 away-mx",
            "away-mx CNAME mx.plain.test.",
            f"_25._tcp.away-mx TLSA {GOOD}",
            "renamed CNAME good.test.",
            "elsewhere MX 10 elsewhere-mx",
            "elsewhere-mx A 127.0.0.1",
            "_25._tcp.elsewhere-mx CNAME tlsa.good.test.",
            f"tlsa TLSA {GOOD}",
            "direct A 127.0.0.1",
            f"_25._tcp.direct TLSA {GOOD}",
            "insecure MX 10 mx.plain.test.",
            "crowd MX 10 crowd-mx",
            "crowd-mx A 127.0.0.1",
            *[f"_25._tcp.crowd-mx TLSA 030101{number:064x}" for number in range(500)],
            "lame MX 10 lame-mx",
            "lame-mx A 127.0.0.1",
            "_tcp.lame-mx NS ns.test.",
            f"_tcp.lame-mx DS 1 13 2 {'00' * 32}",
        ]
    ),
    "plain": Zone(
        [
            "@ MX 10 mx",
            "mx A 127.0.0.1",
            f"_25._tcp.mx TLSA {GOOD}",
            "secure-host MX 10 mx.good.test.",
        ],
        unsigned=True,
    ),
    "forged": Zone(["@ MX 10 mx", "mx A 127.0.0.1", f"_25._tcp.mx TLSA {GOOD}"], forged=["TLSA"]),
    "forged-address": Zone(["@ MX 10 mx", "mx A 127.0.0.1", f"_25._tcp.mx TLSA {GOOD}"], forged=["A"]),
    "forged-absence": Zone(["@ MX 10 mx", "mx A 127.0.0.1"], forged=["NSEC"]),
    "wrong-key": Zone(["@ MX 10 mx", "mx A 127.0.0.1", f"_25._tcp.mx TLSA {GOOD}"], wrong_ds=True),
}

DOMAINS = [
    # domain -> status, base, reference identifiers
    ("good.test", "usable", "mx.good.test", ["good.test"]),
    ("none.good.test", "none", "", []),
    ("unusable.good.test", "unusable", "unusable-mx.good.test", ["unusable.good.test"]),
    ("alias.good.test", "usable", "mx.good.test", ["alias-mx.good.test", "alias.good.test"]),
    ("away.good.test", "usable", "away-mx.good.test", ["away.good.test"]),
    ("renamed.good.test", "usable", "mx.good.test", ["renamed.good.test", "good.test"]),
    ("elsewhere.good.test", "usable", "elsewhere-mx.good.test", ["elsewhere.good.test"]),
    ("direct.good.test", "usable", "direct.good.test", []),
    ("insecure.good.test", "insecure", "", []),
    ("crowd.good.test", "usable", "crowd-mx.good.test", ["crowd.good.test"]),
    ("plain.test", "insecure", "", []),
    ("secure-host.plain.test", "insecure", "", []),
    ("lame.good.test", "failed", "", []),
    ("forged.test", "failed, bogus", "", []),
    ("forged-absence.test", "failed, bogus", "", []),  # that there is no record cannot be proven
]


@pytest.fixture(scope="module")
def lab(signed_dns: Callable[..., SignedDns]) -> SignedDns:
    return signed_dns(ZONES)


def ask[T](lab: SignedDns, use: Callable[[Resolver], Awaitable[T]], *, trust_ad: bool = True, seconds: float = 30) -> T:
    async def run() -> T:
        resolver = Resolver(Nameservers([lab.address], timeout=seconds, attempts=1, trust_ad=trust_ad))
        try:
            return await use(resolver)
        finally:
            await resolver.close()

    return asyncio.run(run())


async def found(resolver: Resolver, domain: str) -> TlsaLookup:
    """What a delivery to `domain` would learn of its first host."""
    router, finder = MailRouter(resolver, Random(1)), TlsaFinder(resolver)  # noqa: S311 - an order, no secret
    hosts: MailHosts = await router.mail_hosts(domain)
    addresses = await router.addresses(hosts.hosts[0].name)
    return await finder.find(addresses, mx_authentic=hosts.authentic, next_hops=(hosts.domain, hosts.canonical))


@pytest.mark.parametrize(("domain", "status", "base", "others"), DOMAINS)
def test_what_a_domain_publishes(lab: SignedDns, domain: str, status: str, base: str, others: list[str]) -> None:
    lookup = ask(lab, lambda resolver: found(resolver, domain))
    assert f"{lookup.status}{', bogus' if lookup.bogus else ''}" == status, lookup.detail
    assert (lookup.base, lookup.names) == (base, tuple(dict.fromkeys((base, *others))) if base else ())
    assert lookup.detail


def test_nothing_is_authentic_from_a_nameserver_that_is_not_believed(lab: SignedDns) -> None:
    for domain in ("good.test", "alias.good.test", "unusable.good.test"):
        assert ask(lab, lambda resolver, of=domain: found(resolver, of), trust_ad=False).status is TlsaStatus.INSECURE
    assert ask(lab, lambda resolver: resolver.validation_missing("good.test"), trust_ad=False).startswith("DANE is off")
    assert ask(lab, lambda resolver: resolver.validation_missing("good.test")) == ""
    assert "switch on its DNSSEC validation" in ask(lab, lambda resolver: resolver.validation_missing("plain.test"))


@pytest.mark.parametrize("domain", ["wrong-key.test", "forged-address.test"])
def test_a_bogus_zone_is_not_no_record(lab: SignedDns, domain: str) -> None:
    with pytest.raises(LookupFailed, match="forged or badly signed") as caught:
        ask(lab, lambda resolver: found(resolver, domain))
    assert (caught.value.temporary, caught.value.bogus) == (True, True)


def test_a_second_nameserver_that_does_not_validate_is_not_heard_about_a_bogus_zone(lab: SignedDns) -> None:
    async def answer(domain: str) -> str:
        resolver = Resolver(Nameservers([lab.address, lab.authority], timeout=30, trust_ad=True))
        try:
            found = await resolver.query(domain, "MX")
        except LookupFailed as failed:
            return "bogus" if failed.bogus else failed.detail
        finally:
            await resolver.close()
        return "authentic" if found.authentic else "insecure"

    domains = ("good.test", "plain.test", "wrong-key.test")
    assert [asyncio.run(answer(domain)) for domain in domains] == ["authentic", "insecure", "bogus"]


def test_the_records_are_as_published(lab: SignedDns) -> None:
    records = ask(lab, lambda resolver: found(resolver, "good.test")).records
    assert sorted(str(record) for record in records.usable) == [f"2 1 1 {'cd' * 32}", f"3 1 1 {'ab' * 32}"]
    unusable = ask(lab, lambda resolver: found(resolver, "unusable.good.test")).records
    assert sorted(str(record) for record in unusable.unusable) == [
        f"0 1 1 {'ab' * 32}",
        "3 1 1 00",
        f"3 1 7 {'ab' * 32}",
    ]
    crowd = ask(lab, lambda resolver: found(resolver, "crowd.good.test"))
    assert (len(crowd.records.usable), crowd.records.left_out) == (100, 400)


def test_a_resolver_that_explains_is_quoted(signed_dns: Callable[..., SignedDns]) -> None:
    lab = signed_dns({"forged": ZONES["forged"]}, explains=True)
    lookup = ask(lab, lambda resolver: found(resolver, "forged.test"))
    assert (lookup.status, lookup.bogus) == (TlsaStatus.FAILED, True)
    assert "SERVFAIL (DNSSEC_BOGUS" in lookup.detail


def test_who_cannot_be_asked_is_waited_for(signed_dns: Callable[..., SignedDns]) -> None:
    lab = signed_dns({"good": ZONES["good"]})

    async def attempt(resolver: Resolver) -> TlsaLookup:
        router = MailRouter(resolver, Random(1))  # noqa: S311 - an order, no secret
        addresses = await router.addresses("mx.good.test")
        lab.silence()
        return await TlsaFinder(resolver).find(addresses)

    lookup = ask(lab, attempt, seconds=5)
    assert (lookup.status, lookup.bogus) == (TlsaStatus.FAILED, False), lookup.detail
