from __future__ import annotations

import tomllib

import pytest

from gatepost.events.metrics.counts import Counts
from gatepost.mail.inbound import refusals
from gatepost.mail.inbound.failed_handshakes import FailedHandshakes
from gatepost.mail.inbound.service import CommitWaits
from gatepost.mail.inbound.source_limits import Rate, SourceLimits
from gatepost.net.listener import ConnectionQuota
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.model import parse
from gatepost.policy.decisions.load import RateLimit

ONE, OTHER = "203.0.113.9", "198.51.100.7"
MESSAGES = ("gatepost_limited_total", "messages")


def limits_of(clock, rates, *, connections=(100, 10), trusted=()):
    counts = Counts()
    rates = {limit: rates.get(limit, Rate()) for limit in RateLimit}
    return SourceLimits(rates, connections, counts, lambda host: host in trusted, clock), counts


def taken(limits, host, limit=RateLimit.MESSAGES, tries=1000):
    """How many are taken before one is refused."""
    return next((number for number in range(tries) if limits.take(limit, host) is not None), tries)


def test_a_source_may_do_ten_seconds_worth_at_once_and_its_rate_from_then_on(clock):
    limits, counts = limits_of(clock, {RateLimit.MESSAGES: Rate(60)})
    assert taken(limits, ONE) == 10
    assert taken(limits, OTHER) == 10, "each for itself"
    clock.now += 3.0
    assert taken(limits, ONE) == 3
    clock.now += 3600.0
    assert taken(limits, ONE) == 10, "nothing is saved up"
    assert counts.numbers == {(*MESSAGES, "source"): 4}


def test_all_sources_together(clock):
    limits, counts = limits_of(clock, {RateLimit.MESSAGES: Rate(0, 600)})
    assert sum(limits.take(RateLimit.MESSAGES, f"203.0.113.{number}") is None for number in range(100)) == 20
    reply = limits.take(RateLimit.MESSAGES, OTHER)
    assert reply.text == "450 4.7.0 Too many messages at the moment, try again later"
    assert counts.numbers == {(*MESSAGES, "all"): 81}
    clock.now += 0.5
    assert taken(limits, OTHER) == 5


def test_whoever_has_an_ipv6_network_is_not_as_many_strangers_as_it_has_subnets(clock):
    """A /48 is to be had for nothing, and has 65,536 sources."""
    limits, counts = limits_of(clock, {limit: Rate(60, 1200) for limit in (RateLimit.MESSAGES, RateLimit.REFUSALS)})
    subnets = [f"2001:db8:1:{number:x}::1" for number in range(40)]
    for _ in range(60):  # more than a minute, in which all strangers may have 1200
        clock.now += 2.0
        for host in subnets:
            limits.take(RateLimit.MESSAGES, host)
        assert taken(limits, "2001:db8:2::1", tries=2) == taken(limits, OTHER, tries=2) == 2
    assert taken(limits, "2001:db8:1:ff::1") == 0, "its other subnets, too"
    assert counts.numbers.get((*MESSAGES, "all"), 0) == 0
    rows = [limits.records(host, 1) for host in subnets for _ in range(60)]
    assert (sum(rows), limits.records(OTHER, 60)) == (5 * 60, True)


def test_a_refused_one_counts_for_nothing(clock):
    limits, _ = limits_of(clock, {RateLimit.MESSAGES: Rate(60, 6000)})
    assert taken(limits, ONE) == 10
    for _ in range(1000):
        assert limits.take(RateLimit.MESSAGES, ONE) is not None
    assert taken(limits, OTHER) == 10, "who is refused takes nothing from others"


def test_load_makes_limits_tighter_for_strangers_only(clock):
    limits, _ = limits_of(clock, {RateLimit.MESSAGES: Rate(960)}, connections=(100, 32))
    limits.recognize(OTHER)
    for share, most, quota in ((0.25, 40, (23, 8)), (0.0625, 10, (6, 2))):
        limits.share = share
        clock.now += 3600.0
        assert taken(limits, ONE) == most
        assert limits.connection(ONE) == ConnectionQuota(*quota, stranger=True)
        assert limits.connection(OTHER) == ConnectionQuota(100, 32)
        assert taken(limits, OTHER) == 1000


def test_load_leaves_strangers_less_time_for_a_handshake(clock):
    limits, _ = limits_of(clock, {})
    limits.recognize(OTHER)
    assert (limits.handshake_seconds(ONE), limits.handshake_seconds(OTHER)) == (60.0, 60.0)
    limits.share = 0.25
    assert (limits.handshake_seconds(ONE), limits.handshake_seconds(OTHER)) == (15.0, 60.0)


def test_in_a_flood_most_are_not_even_told_why(clock):
    limits, _ = limits_of(clock, {RateLimit.CONNECTIONS: Rate(0, 60)})
    quotas = [limits.connection(f"10.0.{number >> 8}.{number & 255}") for number in range(1000)]
    assert sum(not quota.refusal for quota in quotas) == 2
    assert sum(bool(quota.refusal) and not quota.drops for quota in quotas) == 5
    clock.now += 0.5
    assert not limits.connection(ONE).drops


def test_known_clients(clock):
    limits, _ = limits_of(clock, {RateLimit.MESSAGES: Rate(60)}, trusted=("192.0.2.200",))
    organization = """
    [organization.contoso]
    accepted_domain = [{ name = "contoso.example" }]
    [[organization.contoso.inbound_connector]]
    name = "partner"
    sender_domains = ["partner.example"]
    sender_ip_addresses = ["192.0.2.0/28", "2001:db8:5::/48"]
    restrict_domains_to_ip_addresses = true
    [[organization.contoso.inbound_connector]]
    name = "off"
    enabled = false
    sender_domains = ["off.example"]
    sender_ip_addresses = ["192.0.2.99"]
    restrict_domains_to_ip_addresses = true
    """
    assert not limits.is_known("192.0.2.7")
    limits.use(Directory(parse(tomllib.loads(organization))))
    known = {"127.0.0.1", "::1", "192.0.2.7", "::ffff:192.0.2.7", "2001:db8:5:1::1", "192.0.2.200"}
    unknown = {"127.0.0.2", "192.0.2.16", "192.0.2.99", "2001:db8:6::1", "no address", ONE}
    assert {host for host in known | unknown if limits.is_known(host)} == known
    limits.use(Directory(parse({})))
    assert not limits.is_known("192.0.2.7"), "the connector is gone"


def test_a_client_is_recognized_for_a_day_with_its_network(clock):
    limits, _ = limits_of(clock, {})
    limits.recognize("2001:db8:1:2::3")
    assert limits.is_known("2001:db8:1:2::ffff")
    assert not limits.is_known("2001:db8:1:3::3")
    clock.now += 86399.0
    assert limits.is_known("2001:db8:1:2::3")
    clock.now += 2.0
    assert not limits.is_known("2001:db8:1:2::3")


def test_what_is_remembered_is_bounded(clock):
    limits, _ = limits_of(clock, {RateLimit.MESSAGES: Rate(60)})
    for number in range(25_000):
        host = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        limits.take(RateLimit.MESSAGES, host)
        limits.recognize(host)
    assert len(limits._sources[RateLimit.MESSAGES]._free_at) == len(limits._recognized) == 20_000
    assert not limits.is_known("10.0.0.1")
    assert limits.is_known(host)


@pytest.mark.parametrize(
    ("limit", "text"),
    [
        (RateLimit.HANDSHAKES, "421 4.7.0 Too many TLS handshakes from 203.0.113.9 in a minute, try again later"),
        (RateLimit.RECIPIENTS, "450 4.7.0 Too many recipients from 203.0.113.9 in a minute, try again later"),
        (RateLimit.ERRORS, "421 4.7.0 Too many errors from 203.0.113.9 in a minute, try again later"),
        (RateLimit.FAILED_LOGINS, "454 4.7.0 Too many failed log-ins from 203.0.113.9 in a minute, try again later"),
    ],
)
def test_replies(clock, limit, text):
    limits, _ = limits_of(clock, {limit: Rate(6)})
    assert limits.take(limit, ONE) is None
    assert limits.spent(limit, ONE).text == limits.take(limit, ONE).text == text


def test_connections(clock):
    limits, _ = limits_of(clock, {RateLimit.CONNECTIONS: Rate(12), RateLimit.ERRORS: Rate(6)})
    assert limits.connection(ONE) == limits.connection(ONE) == ConnectionQuota(90, 10, stranger=True)
    assert limits.connection(ONE).refusal == "Too many connections from 203.0.113.9 in a minute"
    assert limits.take(RateLimit.ERRORS, OTHER) is None
    assert limits.connection(OTHER).refusal == "Too many errors from 198.51.100.7 in a minute"


# in a session


@pytest.fixture
def limited(gate, clock):
    """The service of a gate, with these limits a minute."""

    def apply(**rates):
        limits, _ = limits_of(clock, {RateLimit(name): rate for name, rate in rates.items()})
        gate.service.source_limits = limits
        limits.use(gate.service.directory)
        return limits

    return apply


ANN, STRANGER = "ann@contoso.example", "eve@elsewhere.example"


async def test_messages_and_recipients_of_a_session(gate, limited):
    async with gate.open():
        limited(messages=Rate(12), recipients=Rate(18))
        client = await gate.greeted()
        late = "450 4.7.0 Too many recipients from 203.0.113.9 in a minute, try again later"
        assert await client.say(f"MAIL FROM:<{STRANGER}>") == "250 2.1.0 Sender OK"
        replies = [await client.say(f"RCPT TO:<{ANN}>") for _ in range(5)]
        assert replies == ["250 2.1.5 Recipient OK"] * 3 + [late] * 2
        await client.say("RSET")
        assert await client.say(f"MAIL FROM:<{STRANGER}>") == "250 2.1.0 Sender OK"
        await client.say("RSET")
        late = "450 4.7.0 Too many messages from 203.0.113.9 in a minute, try again later"
        assert [await client.say(f"MAIL FROM:<{STRANGER}>") for _ in range(3)] == [late] * 3
        (row,) = gate.traced
        assert (row.event, row.recipient) == ("REFUSE", ANN)
        assert row.detail["reasons"] == ["too many recipients in a minute ([rates] recipients)"]
        known = await gate.greeted("192.0.2.7")
        assert [await known.say(f"RCPT TO:<{ANN}>") for _ in range(9)] == ["503 5.5.1 Send MAIL first"] * 9


async def test_handshakes_end_the_session_and_are_never_answered_by_going_on_without_tls(gate, limited):
    async with gate.open():
        limited(handshakes=Rate(1)).take(RateLimit.HANDSHAKES, ONE)
        client = await gate.greeted()
        assert (await client.say("STARTTLS")).startswith("421 4.7.0 Too many TLS handshakes from")
        await client.ends()


async def test_errors_end_the_session_and_keep_the_source_away(gate, limited):
    async with gate.open():
        limits = limited(errors=Rate(18))
        client = await gate.greeted()
        for _ in range(3):
            assert (await client.say("WHAT")).startswith("500 5.5.1")
        assert (await client.say("WHAT")).startswith("500 5.5.1")
        assert (await client.reply()).startswith("421 4.7.0 Too many errors from")
        await client.ends()
        assert limits.connection(ONE).refusal


async def test_a_client_is_known_once_its_mail_was_accepted_by_what_identifies_it(gate, limited):
    async with gate.open():
        limits = limited()
        for ip, known in ((ONE, False), ("192.0.2.7", True)):
            client = await gate.greeted(ip)
            await client.envelope(STRANGER if not known else ANN, ANN)
            assert (await client.say(b"Subject: x\r\n\r\nx\r\n.\r\n")).startswith("250 ")
            assert (ip in limits._recognized) is known


async def test_of_a_client_with_many_refusals_some_have_a_row(gate, limited, monkeypatch):
    monkeypatch.setattr(refusals, "_left_out", FailedHandshakes())
    counted = []
    async with gate.open():
        gate.service.tell = counted.extend
        limits = limited(refusals=Rate(3, 5))
        for ip in (ONE, OTHER):
            client = await gate.greeted(ip)
            await client.say(f"MAIL FROM:<{STRANGER}>")
            for number in range(5):
                assert (await client.say(f"RCPT TO:<nobody{number}@contoso.example>")).startswith("550 5.1.1")
    rows = gate.trace_rows(event="REFUSE")
    texts = [f"{row.peer_address[-1]}{row.recipient[6]}" for row in rows]
    assert sorted(texts) == ["70", "71", "72", "90", "91", "92", "93"]
    said = [text for text, row in zip(texts, rows, strict=True) if "[rates] refusals" in str(row.detail["reasons"])]
    assert sorted(said) == ["72", "93"]
    assert [event.recipient[6] for event in counted] == ["4", "3", "4"]
    assert limits._counts.numbers[("gatepost_refusals_left_out_total",)] == 5


async def test_strangers_do_not_use_up_the_rows_of_who_shows_a_certificate(gate, limited, monkeypatch):
    monkeypatch.setattr(refusals, "_left_out", FailedHandshakes())
    async with gate.open():
        limits = limited(refusals=Rate(3, 3))
        assert limits.records(ONE, 3)
        assert not limits.records("203.0.113.77", 1)
        client = await gate.greeted(OTHER)
        await client.starttls(gate.identity("mail.contoso.example"))
        await client.say("EHLO client.example")
        await client.say(f"MAIL FROM:<{ANN}>")
        for number in range(2):
            assert (await client.say(f"RCPT TO:<nobody{number}@contoso.example>")).startswith("550 5.1.1")
        assert not limits.is_known(OTHER), "none of its mail was accepted"
    rows = gate.trace_rows(event="REFUSE")
    assert sorted(row.recipient[6] for row in rows) == ["0", "1"]


def test_refusals_that_are_recorded(clock):
    limits, _ = limits_of(clock, {RateLimit.REFUSALS: Rate(3, 5)})
    limits._recognized[OTHER] = clock.now + 60
    assert [limits.records(ONE, 1) for _ in range(4)] == [True, True, True, False]
    assert limits.records(OTHER, 29)
    assert [limits.records(OTHER, 1) for _ in range(2)] == [True, False]
    assert all(limits.records("127.0.0.1", 1000) for _ in range(9))
    clock.now += 20
    assert [limits.records(ONE, 1) for _ in range(2)] == [True, False]
    limits.share = 0.02
    clock.now += 60
    assert [limits.records(ONE, 1) for _ in range(2)] == [True, False]
    clock.now += 600
    limits.share = 1.0
    assert not limits.records(ONE, 4)  # the recipients of one message have rows, or none of them
    assert limits.records(ONE, 3)
    assert limits.records("198.51.100.9", 2), "one message of a stranger takes no more than its own limit"
    assert not limits.records("198.51.100.10", 1), "the limit of all"


async def test_how_long_messages_wait_to_be_stored(gate):
    async with gate.open():
        client = await gate.greeted()
        await client.envelope(STRANGER, ANN)
        with gate.busy_disk():
            client.send(b"Subject: x\r\n\r\nx\r\n.\r\n")
            await gate.until(lambda: client.session._committing)
            gate.now += 5.0
            assert gate.registry.commits.longest(gate.now) == 5.0
        assert (await client.reply()).startswith("250 ")
        assert gate.registry.commits.longest(gate.now) == 5.0, "of the one that ended"
        assert gate.registry.commits.longest(gate.now) == 0.0


def test_the_longest_wait():
    waits = CommitWaits()
    waits.began("a", 1.0)
    waits.began("b", 2.0)
    assert waits.longest(4.0) == 3.0
    waits.ended("a", 5.0)
    assert waits.longest(5.0) == 4.0
    waits.ended("b", 5.5)
    assert [waits.longest(9.0), waits.longest(9.0)] == [3.5, 0.0]
