from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import dns.rcode
import pytest

from gatepost.net.lookups.dns import DnsAnswer, Resolver
from gatepost.net.lookups.nameservers import Nameservers
from gatepost.net.lookups.question import LookupFailed

A = {("a.example", "A"): ["192.0.2.1"]}


def lookup[T](serving: Any, use: Callable[[Resolver, Any], Awaitable[T]], **settings: Any) -> T:
    async def run() -> T:
        async with serving as double:
            asked = Nameservers([f"127.0.0.1:{double.port}"], **({"timeout": 20.0, "attempts": 1} | settings))
            async with Resolver(asked) as resolver:
                return await use(resolver, double)

    return asyncio.run(run())


def query(serving: Any, name: str, rdtype: str, **settings: Any) -> DnsAnswer:
    return lookup(serving, lambda resolver, _: resolver.query(name, rdtype), **settings)


def texts(answer: DnsAnswer) -> list[str]:
    return [record.to_text() for record in answer.records]


@pytest.mark.parametrize(
    ("says", "trust_ad", "expected"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_authentic_needs_the_bit_and_the_setting(
    nameserver: Callable[..., Any], says: bool, trust_ad: bool, expected: bool
) -> None:
    assert query(nameserver(A, authentic=says), "a.example", "A", trust_ad=trust_ad).authentic is expected
    assert query(nameserver(A, authentic=says), "b.example", "A", trust_ad=trust_ad).authentic is expected


@pytest.mark.parametrize(
    ("nameserver_text", "trusted", "expected"),
    [
        ("127.0.0.53", (), True),
        ("[::1]:53", (), True),
        ("192.0.2.1", (), False),
        ("192.0.2.1:53", ("192.0.2.1",), True),
    ],
)
def test_only_near_or_listed_nameservers_are_trusted(
    nameserver_text: str, trusted: tuple[str, ...], expected: bool
) -> None:
    assert Nameservers([nameserver_text], trust_ad=True, trusted=trusted).all[0].trusted is expected


@pytest.mark.parametrize(
    ("behaviour", "trust_ad", "bogus", "words"),
    [
        ("bogus", True, True, "answered SERVFAIL; DNSSEC validation fails: the answer is forged or badly signed"),
        ("bogus", False, False, "answered SERVFAIL$"),  # who is not believed is not asked for more
        ("servfail", True, False, "answered SERVFAIL$"),
        (
            "explained",
            True,
            True,
            r"SERVFAIL \(SIGNATURE_EXPIRED signature expired\\n<a.example. A IN>\); DNSSEC validation fails",
        ),
        ("silent", True, False, "did not answer"),
    ],
)
def test_bogus_is_told_from_broken(
    nameserver: Callable[..., Any], behaviour: str, trust_ad: bool, bogus: bool, words: str
) -> None:
    double = nameserver(A, {"a.example": behaviour}, authentic=True)
    timeout = 0.2 if behaviour == "silent" else 5
    with pytest.raises(LookupFailed, match=words) as caught:
        query(double, "a.example", "A", trust_ad=trust_ad, timeout=timeout)
    assert (caught.value.temporary, caught.value.bogus) == (True, bogus)


def test_who_falls_silent_when_asked_again_says_nothing(nameserver: Callable[..., Any]) -> None:
    async def use(resolver: Resolver, double: Any) -> bool:
        answer = double._answer

        def once(asked: Any) -> Any:
            double.behaviour["a.example"] = "silent"
            return answer(asked)

        double.behaviour["a.example"] = "servfail"
        double._answer = lambda asked: _servfail(once(asked))
        with pytest.raises(LookupFailed) as caught:
            await resolver.query("a.example", "A")
        return caught.value.bogus

    assert lookup(nameserver(A), use, trust_ad=True, timeout=0.1) is False


def _servfail(message: Any) -> Any:
    message.set_rcode(dns.rcode.SERVFAIL)
    return message


def test_beside_a_believed_nameserver_no_other_is_asked(nameserver: Callable[..., Any]) -> None:
    """Else a name whose signatures are wrong would come from the other one as if it had none."""

    async def run() -> None:
        async with nameserver(A, {"a.example": "bogus"}) as validating:
            resolver = Resolver(Nameservers(["192.0.2.1:53", f"127.0.0.1:{validating.port}"], trust_ad=True, timeout=5))
            with pytest.raises(LookupFailed) as caught:
                await resolver.query("a.example", "A")
            assert "192.0.2.1" not in caught.value.detail
            assert caught.value.bogus

    asyncio.run(run())


@pytest.mark.parametrize(
    ("nameservers", "trust_ad", "words"),
    [
        (["127.0.0.1"], True, ""),
        (["192.0.2.1", "::1"], True, ""),
        (["127.0.0.1"], False, "DANE is off: dns.trust_ad is false"),
        (
            ["192.0.2.1", "2001:db8::1"],
            True,
            "DANE is off: no nameserver is on this machine ([192.0.2.1]:53, [2001:db8::1]:53), and an attacker",
        ),
    ],
)
def test_why_dane_is_off(nameservers: list[str], trust_ad: bool, words: str) -> None:
    told = Resolver(Nameservers(nameservers, trust_ad=trust_ad)).dane_off
    assert told.startswith(words)
    assert bool(told) is bool(words)


@pytest.mark.parametrize(
    ("authentic", "trust_ad", "words"),
    [
        (True, True, ""),
        (False, True, "does not say that 'signed.example' is authentic (AD); switch on its DNSSEC validation"),
        (True, False, "DANE is off: dns.trust_ad is false"),
    ],
)
def test_whether_dnssec_is_validated_is_tried(
    nameserver: Callable[..., Any], authentic: bool, trust_ad: bool, words: str
) -> None:
    soa = {("signed.example", "SOA"): ["ns.example. hostmaster.example. 1 2 3 4 5"]}
    serving = nameserver(soa, authentic=authentic)
    told = lookup(serving, lambda resolver, _: resolver.validation_missing("signed.example"), trust_ad=trust_ad)
    assert words in told
    assert bool(told) is bool(words)


def test_no_nameserver_is_refused() -> None:
    with pytest.raises(ValueError, match="no nameserver"):
        Resolver(Nameservers([]))


def test_questions_carry_ad_and_do(nameserver: Callable[..., Any]) -> None:
    async def use(resolver: Resolver, double: Any) -> list[tuple[bool, bool]]:
        await resolver.query("a.example", "A")
        return list(double.flags)

    assert lookup(nameserver(A), use) == [(True, True)]


def test_the_next_nameserver_is_asked_and_both_reasons_are_told(nameserver: Callable[..., Any]) -> None:
    async def run() -> None:
        async with nameserver(A, {"a.example": "servfail"}) as bad, nameserver(A) as good:
            names = [f"127.0.0.1:{bad.port}", f"127.0.0.1:{good.port}"]
            assert texts(await Resolver(Nameservers(names, attempts=1)).query("a.example", "A")) == ["192.0.2.1"]
            good.behaviour["a.example"] = "servfail"
            with pytest.raises(LookupFailed, match=f"{bad.port} answered SERVFAIL; .*{good.port} answered SERVFAIL"):
                await Resolver(Nameservers(names, attempts=2)).query("a.example", "A")
            assert len(bad.asked) == 3

    asyncio.run(run())


@pytest.mark.parametrize(
    ("nameservers", "trust_ad", "trusted", "words"),
    [
        (["127.0.0.1"], True, (), "DNSSEC: the gateway trusts the validation of [127.0.0.1]:53"),
        (["127.0.0.1"], False, (), "DNSSEC: the gateway trusts no nameserver's validation"),
        (
            ["192.0.2.1", "192.0.2.2"],
            True,
            ["192.0.2.1"],
            "DNSSEC: the gateway trusts the validation of [192.0.2.1]:53; an attacker on the way to [192.0",
        ),
    ],
)
def test_who_validates_is_told(nameservers: list[str], trust_ad: bool, trusted: list[str], words: str) -> None:
    assert Resolver(Nameservers(nameservers, trust_ad=trust_ad, trusted=trusted)).validation.startswith(words)
