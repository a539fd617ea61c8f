from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import dns.rcode
import pytest

from gatepost.lookup.dns import Answer, LookupFailed, Resolver, Status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

A = {("a.example", "A"): ["192.0.2.1"]}


def lookup[T](serving: Any, use: Callable[[Resolver, Any], Awaitable[T]], **settings: Any) -> T:
    async def run() -> T:
        async with serving as double:
            resolver = Resolver([f"127.0.0.1:{double.port}"], **({"timeout": 2.0, "attempts": 1} | settings))
            try:
                return await use(resolver, double)
            finally:
                await resolver.close()

    return asyncio.run(run())


def query(serving: Any, name: str, rdtype: str, **settings: Any) -> Answer:
    return lookup(serving, lambda resolver, _: resolver.query(name, rdtype), **settings)


def texts(answer: Answer) -> list[str]:
    return [record.to_text() for record in answer.records]


def test_records_are_returned_with_their_time_and_name(nameserver: Callable[..., Any]) -> None:
    answer = query(nameserver({("a.example", "MX"): ["10 mx.a.example."]}), "A.Example.", "MX")
    assert texts(answer) == ["10 mx.a.example."]
    assert (answer.status, answer.ttl, answer.names) == (Status.OK, 300, ("a.example",))


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("a.example", Status.NO_DATA),
        ("alias.example", Status.NO_DATA),
        ("b.example", Status.NXDOMAIN),
        ("dead.example", Status.NXDOMAIN),
    ],
)
def test_what_is_not_there(nameserver: Callable[..., Any], name: str, status: Status) -> None:
    records = A | {("alias.example", "CNAME"): ["a.example."], ("dead.example", "CNAME"): ["b.example."]}
    answer = query(nameserver(records), name, "MX")
    assert (answer.status, answer.records, answer.ttl) == (status, (), 60)


def test_cnames_are_followed_to_the_owner(nameserver: Callable[..., Any]) -> None:
    records = A | {("one.example", "CNAME"): ["two.example."], ("two.example", "CNAME"): ["A.example."]}
    answer = query(nameserver(records), "one.example", "A")
    assert texts(answer) == ["192.0.2.1"]
    assert (answer.names, answer.canonical) == (("one.example", "two.example", "a.example"), "a.example")


def test_a_ring_of_cnames_ends(nameserver: Callable[..., Any]) -> None:
    records = {("one.example", "CNAME"): ["two.example."], ("two.example", "CNAME"): ["one.example."]}
    with pytest.raises(LookupFailed, match="CNAMEs in a row") as caught:
        query(nameserver(records), "one.example", "A")
    assert caught.value.temporary


@pytest.mark.parametrize(("ttl", "kept"), [(0, 0), (30, 30), (86400, 3600)])
def test_times_are_bounded(nameserver: Callable[..., Any], ttl: int, kept: int) -> None:
    assert query(nameserver(A, ttl=ttl), "a.example", "A").ttl == kept


def test_an_answer_has_at_most_fifty_records_and_may_come_by_tcp(nameserver: Callable[..., Any]) -> None:
    many = {("a.example", "A"): [f"192.0.2.{number}" for number in range(200)]}
    assert len(query(nameserver(many, {"a.example": "truncated"}), "a.example", "A").records) == 50


@pytest.mark.parametrize(
    ("behaviour", "detail"),
    [("servfail", "a.example A: nameserver .* answered SERVFAIL"), ("silent", "did not answer within 0.1 s")],
)
def test_failures_are_temporary(nameserver: Callable[..., Any], behaviour: str, detail: str) -> None:
    with pytest.raises(LookupFailed, match=detail) as caught:
        query(nameserver(A, {"a.example": behaviour}), "a.example", "A", timeout=0.1)
    assert caught.value.temporary


@pytest.mark.parametrize(
    ("name", "rdtype"),
    [("a" * 64 + ".example", "A"), ("a..example", "A"), ("ä.example", "A"), ("a.example", "NOSUCHTYPE")],
)
def test_what_cannot_be_asked_is_permanent(name: str, rdtype: str) -> None:
    with pytest.raises(LookupFailed) as caught:
        asyncio.run(Resolver(["127.0.0.1:1"]).query(name, rdtype))
    assert not caught.value.temporary
    assert caught.value.detail.isascii()


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
    resolver = Resolver([nameserver_text], trust_ad=True, trusted=trusted)
    assert resolver.nameservers[0].trusted is expected


def test_tlsa_records_come_as_they_are_however_wrong(nameserver: Callable[..., Any]) -> None:
    published = ["3 1 1 " + "ab" * 32, "3 1 1 00", "3", "", "9 9 9"]
    answer = query(nameserver({("_25._tcp.a.example", "TLSA"): published}), "_25._tcp.a.example", "TLSA")
    found = [record.to_generic().data.hex() for record in answer.records]
    assert found == ["090909", "030101" + "ab" * 32, "03010100", "03", ""]
    assert (answer.status, answer.ttl, answer.left_out) == (Status.OK, 300, 0)


def test_an_alias_of_tlsa_records_is_followed(nameserver: Callable[..., Any]) -> None:
    records = {("_25._tcp.a.example", "CNAME"): ["tlsa.example."], ("tlsa.example", "TLSA"): ["3 1 1 00"]}
    answer = query(nameserver(records), "_25._tcp.a.example", "TLSA")
    assert (answer.canonical, len(answer.records)) == ("tlsa.example", 1)


def test_a_hundred_tlsa_records_are_kept_and_the_rest_counted(nameserver: Callable[..., Any]) -> None:
    many = {("a.example", "TLSA"): [f"3 1 1 {number:064x}" for number in range(500)]}
    answer = query(nameserver(many, {"a.example": "truncated"}), "a.example", "TLSA")
    assert (len(answer.records), answer.left_out) == (100, 400)


def test_a_damaged_answer_about_tlsa_is_no_answer(nameserver: Callable[..., Any]) -> None:
    with pytest.raises(LookupFailed, match="did not answer within"):
        query(
            nameserver({("a.example", "TLSA"): ["3 1 1"]}, {"a.example": "junk-only"}), "a.example", "TLSA", timeout=0.1
        )


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
    with pytest.raises(LookupFailed, match=words) as caught:
        query(double, "a.example", "A", trust_ad=trust_ad, timeout=0.2)
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
            resolver = Resolver(["192.0.2.1:53", f"127.0.0.1:{validating.port}"], trust_ad=True, timeout=0.5)
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
            "DANE is off: no nameserver is on this machine ([192.0.2.1]:53, [2001:db8::1]:53), and who",
        ),
    ],
)
def test_why_dane_is_off(nameservers: list[str], trust_ad: bool, words: str) -> None:
    told = Resolver(nameservers, trust_ad=trust_ad).dane_off
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
        Resolver([])


def test_questions_carry_ad_and_do(nameserver: Callable[..., Any]) -> None:
    async def use(resolver: Resolver, double: Any) -> list[tuple[bool, bool]]:
        await resolver.query("a.example", "A")
        return list(double.flags)

    assert lookup(nameserver(A), use) == [(True, True)]


def test_the_next_nameserver_is_asked_and_both_reasons_are_told(nameserver: Callable[..., Any]) -> None:
    async def run() -> None:
        async with nameserver(A, {"a.example": "servfail"}) as bad, nameserver(A) as good:
            names = [f"127.0.0.1:{bad.port}", f"127.0.0.1:{good.port}"]
            assert texts(await Resolver(names, attempts=1).query("a.example", "A")) == ["192.0.2.1"]
            good.behaviour["a.example"] = "servfail"
            with pytest.raises(LookupFailed, match=f"{bad.port} answered SERVFAIL; .*{good.port} answered SERVFAIL"):
                await Resolver(names, attempts=2).query("a.example", "A")
            assert len(bad.asked) == 3

    asyncio.run(run())


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("name", "behaviour", "lives"), [("a.example", "", 300), ("b.example", "", 60), ("b.example", "no-soa", 0)]
)
def test_answers_are_remembered_for_their_time(
    nameserver: Callable[..., Any], name: str, behaviour: str, lives: int
) -> None:
    clock = Clock()

    async def use(resolver: Resolver, double: Any) -> list[int]:
        counts = []
        for now in (0, lives - 1, lives):
            clock.now = max(now, 0)
            await resolver.query(name, "A")
            counts.append(len(double.asked))
        return counts

    expected = [1, 1, 2] if lives else [1, 2, 3]
    assert lookup(nameserver(A, {name: behaviour}), use, clock=clock) == expected


def test_failures_are_not_remembered(nameserver: Callable[..., Any]) -> None:
    async def use(resolver: Resolver, double: Any) -> Answer:
        with pytest.raises(LookupFailed):
            await resolver.query("a.example", "A")
        double.behaviour.clear()
        return await resolver.query("a.example", "A")

    assert lookup(nameserver(A, {"a.example": "servfail"}), use).status is Status.OK


def test_equal_questions_are_asked_once_and_giving_up_hurts_nobody(nameserver: Callable[..., Any]) -> None:
    async def use(resolver: Resolver, double: Any) -> int:
        waiting = [asyncio.ensure_future(resolver.query("a.example", "A")) for _ in range(5)]  # noqa: TID251 - awaited here
        await asyncio.sleep(0)
        waiting[0].cancel()
        assert [texts(await one) for one in waiting[1:]] == [["192.0.2.1"]] * 4
        return len(double.asked)

    assert lookup(nameserver(A), use) == 1


def test_close_ends_what_is_asked(nameserver: Callable[..., Any]) -> None:
    async def use(resolver: Resolver, _: Any) -> None:
        waiting = asyncio.ensure_future(resolver.query("a.example", "A"))  # noqa: TID251 - awaited here
        await asyncio.sleep(0.05)
        await resolver.close()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    lookup(nameserver(A, {"a.example": "silent"}), use, timeout=30)
