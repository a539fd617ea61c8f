from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, cast

import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from support.clock import Clock

from gatepost.net.lookups.dns import DnsAnswer, DnssecFault, DnsStatus, Resolver, asking_for
from gatepost.net.lookups.evaluation import look_up
from gatepost.net.lookups.nameservers import Nameservers
from gatepost.net.lookups.question import DnsResponse, DnsTransport, LookupFailed, read_message
from gatepost.net.tasks import spawn
from gatepost.protocols.dns.lookups import Query

A = {("a.example", "A"): ["192.0.2.1"]}


def lookup[T](serving: Any, use: Callable[[Resolver, Any], Awaitable[T]], **settings: Any) -> T:
    async def run() -> T:
        async with serving as double:
            clock = {"clock": settings.pop("clock")} if "clock" in settings else {}
            asked = Nameservers([f"127.0.0.1:{double.port}"], **({"timeout": 20.0, "attempts": 1} | settings))
            resolver = Resolver(asked, **clock)
            try:
                return await use(resolver, double)
            finally:
                await resolver.close()

    return asyncio.run(run())


def query(serving: Any, name: str, rdtype: str, **settings: Any) -> DnsAnswer:
    return lookup(serving, lambda resolver, _: resolver.query(name, rdtype), **settings)


def texts(answer: DnsAnswer) -> list[str]:
    return [record.to_text() for record in answer.records]


@pytest.mark.parametrize(("hosts", "asked"), [(1, 1), (50, 2)])
def test_what_is_kept_counts_names_that_an_answer_abbreviates(
    nameserver: Callable[..., Any], hosts: int, asked: int
) -> None:
    end = ".".join([r"\001" * 60] * 3)

    async def ask_twice(resolver: Resolver, double: Any) -> int:
        for _ in range(2):
            assert len((await resolver.query("b.example", "MX")).records) == hosts
        return [transport for _, _, transport in double.asked].count("udp")

    table = {("b.example", "MX"): [f"{number} x{number}.{end}." for number in range(hosts)]}
    assert lookup(nameserver(table), ask_twice) == asked


def test_questions_are_counted_by_what_came_of_them(nameserver: Callable[..., Any]) -> None:
    async def ask(resolver: Resolver, _: Any) -> Resolver:
        for name in ("a.example", "a.example", "b.example"):
            await resolver.query(name, "A")
        with pytest.raises(LookupFailed):
            await resolver.query("sick.example", "A")
        return resolver

    found = lookup(nameserver(A, {"sick.example": "servfail"}), ask).counts
    assert {series[1:]: count for series, count in found.numbers.items()} == {
        ("A", "ok"): 1,
        ("A", "cached"): 1,
        ("A", "nxdomain"): 1,
        ("A", "failed"): 1,
    }
    (histogram,) = found.histograms.values()
    assert sum(histogram.counts) == 2, "of answers"


@pytest.mark.parametrize(("kind", "failing"), [("servfail", True), ("nxdomain", False)])
def test_whether_nothing_was_answered_since_a_failure_is_known(
    nameserver: Callable[..., Any], kind: str, failing: bool
) -> None:
    async def ask(resolver: Resolver, _: Any) -> list[bool]:
        found = [resolver.failing]
        for name in ("sick.example", "a.example"):
            with suppress(LookupFailed):
                await resolver.query(name, "A")
            found.append(resolver.failing)
        return found

    failures = {"sick.example": kind} if failing else {}
    assert lookup(nameserver(A, failures), ask) == [False, failing, False]


def test_records_are_returned_with_their_time_and_name(nameserver: Callable[..., Any]) -> None:
    answer = query(nameserver({("a.example", "MX"): ["10 mx.a.example."]}), "A.Example.", "MX")
    assert texts(answer) == ["10 mx.a.example."]
    assert (answer.status, answer.ttl, answer.names) == (DnsStatus.OK, 300, ("a.example",))


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("a.example", DnsStatus.NO_DATA),
        ("alias.example", DnsStatus.NO_DATA),
        ("b.example", DnsStatus.NXDOMAIN),
        ("dead.example", DnsStatus.NXDOMAIN),
    ],
)
def test_what_is_not_there(nameserver: Callable[..., Any], name: str, status: DnsStatus) -> None:
    records = A | {("alias.example", "CNAME"): ["a.example."], ("dead.example", "CNAME"): ["b.example."]}
    answer = query(nameserver(records), name, "MX")
    assert (answer.status, answer.records, answer.ttl) == (status, (), 60)


def test_the_time_that_was_signed_is_told_beside_what_is_left_of_it(nameserver: Callable[..., Any]) -> None:
    """A nameserver that has had the records for a while gives less."""
    signature = "TLSA 13 2 86400 20270101000000 20260101000000 1 a.example. AAAA"
    tlsa = f"3 1 1 {'ab' * 32}"
    assert query(nameserver({("a.example", "TLSA"): [tlsa]}), "a.example", "TLSA").zone_ttl == 0
    reply = dns.message.make_response(dns.message.make_query("a.example", "TLSA"))
    reply.answer = [
        dns.rrset.from_text("a.example.", 40, "IN", "TLSA", tlsa),
        dns.rrset.from_text("a.example.", 40, "IN", "RRSIG", signature),
    ]
    message = read_message(reply.to_wire(), dns.rdatatype.TLSA)
    answer = asyncio.run(Resolver(_Says(message)).query("a.example", "TLSA"))
    assert (len(answer.records), answer.ttl, answer.zone_ttl) == (1, 40, 86400)


class _Says:
    """An asker with one answer."""

    validation, dane_off = "", ""

    def __init__(self, message: dns.message.Message) -> None:
        self._message = message

    def unproven(self, name: str) -> str:
        return name

    async def ask(self, question: object) -> DnsResponse:
        del question
        return DnsResponse(self._message, authentic=True)

    async def close(self) -> None:
        pass


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
    ("behaviour", "timeout", "detail"),
    [("servfail", 5, "a.example A: nameserver .* answered SERVFAIL"), ("silent", 0.1, "did not answer within 0.1 s")],
)
def test_failures_are_temporary(nameserver: Callable[..., Any], behaviour: str, timeout: float, detail: str) -> None:
    with pytest.raises(LookupFailed, match=detail) as caught:
        query(nameserver(A, {"a.example": behaviour}), "a.example", "A", timeout=timeout)
    assert caught.value.temporary


@pytest.mark.parametrize(
    ("name", "rdtype"),
    [("a" * 64 + ".example", "A"), ("a..example", "A"), ("ä.example", "A"), ("a.example", "NOSUCHTYPE")],
)
def test_what_cannot_be_asked_is_permanent(name: str, rdtype: str) -> None:
    with pytest.raises(LookupFailed) as caught:
        asyncio.run(Resolver(Nameservers(["127.0.0.1:1"])).query(name, rdtype))
    assert not caught.value.temporary
    assert caught.value.detail.isascii()


def test_tlsa_records_come_as_they_are_however_wrong(nameserver: Callable[..., Any]) -> None:
    published = ["3 1 1 " + "ab" * 32, "3 1 1 00", "3", "", "9 9 9"]
    answer = query(nameserver({("_25._tcp.a.example", "TLSA"): published}), "_25._tcp.a.example", "TLSA")
    found = [record.to_generic().data.hex() for record in answer.records]
    assert found == ["090909", "030101" + "ab" * 32, "03010100", "03", ""]
    assert (answer.status, answer.ttl, answer.left_out) == (DnsStatus.OK, 300, 0)


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
    ("name", "behaviour", "lives"), [("a.example", "", 300), ("b.example", "", 60), ("b.example", "no-soa", 0)]
)
def test_answers_are_remembered_for_their_time(
    nameserver: Callable[..., Any], name: str, behaviour: str, lives: int
) -> None:
    clock = Clock(0.0)

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
    async def use(resolver: Resolver, double: Any) -> DnsAnswer:
        with pytest.raises(LookupFailed):
            await resolver.query("a.example", "A")
        double.behaviour.clear()
        return await resolver.query("a.example", "A")

    assert lookup(nameserver(A, {"a.example": "servfail"}), use).status is DnsStatus.OK


def test_equal_questions_are_asked_once_and_giving_up_hurts_nobody(nameserver: Callable[..., Any]) -> None:
    async def use(resolver: Resolver, double: Any) -> int:
        waiting = [asyncio.ensure_future(resolver.query("a.example", "A")) for _ in range(5)]  # noqa: TID251 - awaited here
        await asyncio.sleep(0)
        waiting[0].cancel()
        assert [texts(await one) for one in waiting[1:]] == [["192.0.2.1"]] * 4
        return len(double.asked)

    assert lookup(nameserver(A), use) == 1


def silent(*names: str) -> dict[str, str]:
    return dict.fromkeys(names, "silent")


def test_questions_about_senders_keep_no_other_waiting(nameserver: Callable[..., Any]) -> None:
    """Who sends mail chooses whose nameservers we ask, and they may keep silent."""
    names = [f"{number}.silent.example" for number in range(150)]

    async def use(resolver: Resolver, double: Any) -> int:
        by_strangers = [
            spawn(look_up(resolver, Query(name, "TXT"), stranger=True), "by a stranger")
            for name in (*names, "a.example")
        ]
        await asyncio.sleep(0.2)
        # Not even about a name that strangers ask for as well, and whose turn has not come.
        assert texts(await asyncio.wait_for(resolver.query("a.example", "A"), 20)) == ["192.0.2.1"]
        asked = len(double.asked)
        for task in by_strangers:
            task.cancel()
        return asked

    assert lookup(nameserver(A, silent(*names)), use, timeout=30) <= 51


def test_questions_for_one_organizations_mail_keep_no_others_waiting(nameserver: Callable[..., Any]) -> None:
    """Who sends mail chooses whose nameservers we ask."""
    names = [f"{number}.silent.example" for number in range(150)]

    async def use(resolver: Resolver, double: Any) -> list[int]:
        def ask(name: str, organization: str) -> asyncio.Task[DnsAnswer]:
            asking_for.set(organization)
            return spawn(resolver.query(name, "A"), "for an organization")

        waiting = [ask(name, "contoso") for name in (*names, "a.example")]
        while len(double.asked) < 75:  # noqa: ASYNC110 - a double that knows no event
            await asyncio.sleep(0.01)
        asked = []
        for organization in ("fabrikam", ""):
            await asyncio.sleep(0.1)
            asked.append(len(double.asked))
            # Not even about a name for which the other's turn has not come.
            assert texts(await asyncio.wait_for(ask("a.example", organization), 20)) == ["192.0.2.1"]
            resolver._cache.clear()
        for task in waiting:
            task.cancel()
        return asked

    assert lookup(nameserver(A, silent(*names)), use, timeout=30) == [75, 76]


def test_questions_for_two_organizations_keep_no_third_waiting(nameserver: Callable[..., Any]) -> None:
    names = [f"{number}.silent.example" for number in range(300)]

    async def use(resolver: Resolver, double: Any) -> int:
        def ask(name: str, organization: str) -> asyncio.Task[DnsAnswer]:
            asking_for.set(organization)
            return spawn(resolver.query(name, "A"), "for an organization")

        waiting = [ask(name, "contoso") for name in names[:150]]
        await asyncio.sleep(0)
        waiting += [ask(name, "fabrikam") for name in names[150:]]
        while len(double.asked) < 75 + 18:  # noqa: ASYNC110 - a double that knows no event
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        asked = len(double.asked)
        assert texts(await asyncio.wait_for(ask("a.example", "adatum"), 20)) == ["192.0.2.1"]
        for task in waiting:
            task.cancel()
        return asked

    assert lookup(nameserver(A, silent(*names)), use, timeout=30) == 75 + 18


def test_of_too_many_questions_about_senders_the_last_fail_at_once(nameserver: Callable[..., Any]) -> None:
    names = [f"{number}.silent.example" for number in range(1001)]

    async def use(resolver: Resolver, _: Any) -> list[str]:
        tasks = [spawn(look_up(resolver, Query(name, "TXT"), stranger=True), "by a stranger") for name in names]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        done, waiting = await asyncio.wait(tasks, timeout=1)
        for task in waiting:
            task.cancel()
        return [task.result().failure for task in done]

    assert lookup(nameserver(A, silent(*names)), use, timeout=30) == ["TXT of 1000.silent.example: no answer"]


def test_close_ends_what_is_asked(nameserver: Callable[..., Any]) -> None:
    async def use(resolver: Resolver, _: Any) -> None:
        waiting = asyncio.ensure_future(resolver.query("a.example", "A"))  # noqa: TID251 - awaited here
        await asyncio.sleep(0.05)
        await resolver.close()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    lookup(nameserver(A, {"a.example": "silent"}), use, timeout=30)


@pytest.mark.parametrize(
    ("refused", "trouble"),
    [
        ((), False),
        ((".",), False),
        (("mx.example",), False),
        ((".", "mx.example"), True),
    ],
)
def test_whether_anybody_answers(refused: tuple[str, ...], trouble: bool) -> None:
    """Where only names of one's own are served, the root fails; whatever is kept of it tells nothing of now."""

    class Picky:
        validation = dane_off = ""

        async def ask(self, question: Any) -> DnsResponse:
            if (question[0].to_text().rstrip(".") or ".") in refused:
                raise LookupFailed("nameserver [192.0.2.1]:53 answered REFUSED")
            return DnsResponse(dns.message.make_response(dns.message.make_query("x.", "A")), authentic=False)

    found = asyncio.run(Resolver(cast("DnsTransport", Picky())).trouble("mx.example"))
    assert found == ("nameserver [192.0.2.1]:53 answered REFUSED" if trouble else "")


def test_a_forged_answer_is_an_answer_and_a_fault_is_none() -> None:
    def asker(error: Exception) -> Any:
        async def ask(_: Any) -> DnsResponse:
            raise error

        return cast("DnsTransport", SimpleNamespace(ask=ask))

    assert asyncio.run(Resolver(asker(LookupFailed("forged", bogus=True))).trouble("mx.example")) == ""
    with pytest.raises(ZeroDivisionError):
        asyncio.run(Resolver(asker(ZeroDivisionError())).trouble("mx.example"))


class _Root:
    """Answers about the root and MX records. authentic: whether it calls them so. root: how it answers of the root."""

    validation = dane_off = ""

    def __init__(self, root: str = "authentic") -> None:
        self.root, self.authentic = root, False

    def unproven(self, name: str) -> str:
        return f"{name} is not proven"

    async def close(self) -> None:
        """Nothing to close."""

    async def ask(self, question: Any) -> DnsResponse:
        name, kind = question
        is_root = name == dns.name.root
        if is_root and self.root in {"bogus", "silent"}:
            raise LookupFailed(f"{self.root} answer", bogus=self.root == "bogus")
        response = dns.message.make_response(dns.message.make_query(name, kind))
        if is_root and self.root == "missing":
            response.set_rcode(dns.rcode.NXDOMAIN)
        else:
            data = ". . 1 2 3 4 5" if is_root else "10 mx.example."
            response.answer.append(dns.rrset.from_text(name, 60, "IN", kind, data))
        message = dns.message.from_wire(response.to_wire())
        return DnsResponse(message, self.root == "authentic" if is_root else self.authentic)


@pytest.mark.parametrize(
    ("root", "fault"),
    [
        ("authentic", None),
        ("missing", None),  # a resolver for local names alone
        ("silent", None),
        ("plain", DnssecFault(". is not proven", stops_mail=False)),
        ("bogus", DnssecFault("bogus answer", stops_mail=True)),
    ],
)
def test_the_root_shows_whether_dnssec_validation_works(root: str, fault: DnssecFault | None) -> None:
    resolver = Resolver(cast("DnsTransport", _Root(root)))
    assert asyncio.run(resolver.dnssec_fault()) == fault
    assert resolver.in_doubt is (fault is not None)


def test_where_nobody_is_believed_nothing_is_lost() -> None:
    asker = _Root("plain")
    asker.dane_off = "DANE is off"
    assert asyncio.run(Resolver(cast("DnsTransport", asker)).dnssec_fault()) is None


def test_what_was_answered_without_validation_is_forgotten() -> None:
    asker, forgotten = _Root("plain"), []

    async def use() -> None:
        resolver = Resolver(cast("DnsTransport", asker))
        resolver.on_forget.append(lambda: forgotten.append(1))
        assert not (await resolver.query("b.example", "MX")).authentic
        assert await resolver.dnssec_fault() is not None
        asker.root, asker.authentic = "authentic", True
        assert not (await resolver.query("b.example", "MX")).authentic
        assert await resolver.dnssec_fault() is None
        assert (await resolver.query("b.example", "MX")).authentic
        await resolver.close()

    asyncio.run(use())
    assert forgotten == [1]


def test_a_fault_that_nobody_noticed_is_seen_by_the_records_of_a_domain() -> None:
    asker = _Root()

    async def use() -> None:
        resolver = Resolver(cast("DnsTransport", asker))
        assert not (await resolver.query("b.example", "MX")).authentic
        assert await resolver.dnssec_fault("b.example") is None, "it is the domain's own doing"
        asker.authentic = True
        assert not (await resolver.query("b.example", "MX")).authentic
        assert await resolver.dnssec_fault("b.example") is not None
        assert (await resolver.query("b.example", "MX")).authentic
        await resolver.close()

    asyncio.run(use())


@pytest.mark.parametrize(("root", "bogus"), [("authentic", True), ("silent", True), ("bogus", False)])
def test_a_zone_is_not_to_blame_where_the_root_is_refused_as_well(root: str, bogus: bool) -> None:
    class Refusing(_Root):
        async def ask(self, question: Any) -> DnsResponse:
            if question[0] != dns.name.root:
                raise LookupFailed("b.example MX: SERVFAIL", bogus=True)
            return await super().ask(question)

    async def use() -> LookupFailed:
        with pytest.raises(LookupFailed) as caught:
            await Resolver(cast("DnsTransport", Refusing(root))).query("b.example", "MX")
        return caught.value

    failure = asyncio.run(use())
    assert (failure.bogus, failure.temporary, "resolver is at fault" in failure.detail) == (bogus, True, not bogus)
