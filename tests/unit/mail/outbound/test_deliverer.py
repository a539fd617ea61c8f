from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from gatepost.mail.model.delivery_result import DeliveryResult, Disposition, RecipientResult
from gatepost.mail.model.message import Delivery
from gatepost.mail.outbound.body import MessageBody
from gatepost.mail.outbound.content import ContentNotReady, ContentSteps
from gatepost.mail.queue.retry_decision import IN_DOUBT, UNTRIED
from gatepost.net.certificate import certificate_facts
from gatepost.net.identity import ServerIdentity
from gatepost.net.lookups.question import LookupFailed
from gatepost.net.tasks import spawn
from gatepost.policy.connectors.directory import Directory
from gatepost.protocols.message.dsn import build_dsn
from gatepost.protocols.message.dsn_report import DsnAction, DsnRecipient, DsnReport
from gatepost.protocols.smtp.client.client import Client
from gatepost.protocols.smtp.replies import Reply


def attempt(world: Any, peer: Any, given: Delivery, *, connector: dict[str, Any] | None = None) -> DeliveryResult:
    """One delivery to one peer, by a connector if there is one, else by MX."""

    async def run() -> DeliveryResult:
        async with peer:
            if connector is not None:
                world.connector(peer.port, **connector)
            deliverer = world.build(mx_port=peer.port)
            try:
                return await deliverer.deliver(given)
            finally:
                world.pool.close()

    return asyncio.run(run())


def only(outcome: DeliveryResult) -> RecipientResult:
    assert len(outcome.results) == 1
    return outcome.results[0]


def forced(**fields: Any) -> dict[str, Any]:
    return {"tls_settings": "encryption-only"} | fields


# --- an attempt is a short path


@pytest.fixture
def paths(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Our calls on the stack each time a transaction begins, outermost first.

    Counted are frames of gatepost.mail.outbound, coroutines among them, from `Deliverer.deliver` or its batch twin to
    the one that calls `Client.begin`, which writes MAIL.
    """
    found: list[list[str]] = []
    begin = Client.begin

    def watched(*args: Any, **options: Any) -> None:
        frame, path = inspect.currentframe(), []
        while frame is not None:
            if frame.f_globals["__name__"].startswith("gatepost.mail.outbound."):
                path.append(frame.f_code.co_qualname)
            frame = frame.f_back
        found.append(path[::-1])
        begin(*args, **options)

    monkeypatch.setattr(Client, "begin", watched)
    return found


@pytest.mark.parametrize(
    ("addresses", "call"),
    [
        (["bob@b.example"], "Deliverer.deliver"),
        (["bob@b.example"], "Deliverer.deliver_batch"),
        (["bob@b.example", "bob@c.example"], "Deliverer.deliver_batch"),
    ],
)
def test_an_attempt_is_at_most_four_calls_deep(
    world: Any, kit: Any, paths: list[list[str]], addresses: list[str], call: str
) -> None:
    """Over a new connection, and over a kept one."""
    peer = kit.Peer(tls=world.identity("mx.b.example"))

    async def run() -> list[DeliveryResult]:
        async with peer:
            world.connector(peer.port, recipient_domains=["b.example", "c.example"])
            deliverer, given = world.build(), [kit.delivery(address) for address in addresses]
            try:
                if call == "Deliverer.deliver":
                    return [await deliverer.deliver(given[0]) for _ in range(2)]
                return [one for _ in range(2) for one in await deliverer.deliver_batch(given, lambda *_: None)]
            finally:
                world.pool.close()

    assert {only(one).disposition for one in asyncio.run(run())} == {Disposition.DELIVERED}
    assert paths == [[call, "Deliverer._attempt", "TransactionRunner.run", "OutboundConnection.send"]] * 2
    assert len(peer.connections) == 1
    assert world.names.asked_for == {"contoso"}


# --- what is kept of a route


def test_what_one_message_demands_holds_though_others_went_the_same_route(world: Any, kit: Any) -> None:
    """The plan of smart hosts is kept for messages that ask for nothing: one with REQUIRETLS has its own."""
    peer = kit.Peer(tls=world.identity("mx.b.example"))
    demanding = kit.delivery(require_tls=True)

    async def run() -> list[DeliveryResult]:
        async with peer:
            world.connector(peer.port, **forced())
            deliverer = world.build()
            try:
                return [await deliverer.deliver(each) for each in (kit.delivery(), demanding, kit.delivery())]
            finally:
                world.pool.close()

    results = [only(outcome) for outcome in asyncio.run(run())]
    dispositions = [result.disposition is Disposition.DELIVERED for result in results]
    assert dispositions == [True, False, True]
    requirements = [result.detail["requirement"] for result in results]
    assert requirements == ["encrypted", "authenticated(mx.b.example) with requiretls", "encrypted"]
    assert len(peer.messages) == 2


def test_results_name_the_configuration_in_force(world: Any, kit: Any) -> None:
    peer = kit.Peer()

    async def run() -> list[DeliveryResult]:
        async with peer:
            world.connector(peer.port)
            deliverer = world.build()
            before = await deliverer.deliver(kit.delivery())
            world.connector(peer.port, name="other")
            deliverer.use(Directory(world.directory().resources, 5))
            try:
                return [before, await deliverer.deliver(kit.delivery())]
            finally:
                world.pool.close()

    details = [only(outcome).detail for outcome in asyncio.run(run())]
    assert [(detail["configuration"], detail["connector"]) for detail in details] == [(0, "out"), (5, "other")]


# --- a peer that ends its connections between transactions


def test_many_recipients_reach_a_peer_that_ends_each_connection(world: Any, kit: Any) -> None:
    """Before, those of the second transaction were a fault of ours, and those of the first got the message twice."""
    peer = kit.Peer({"END": "250 2.0.0 taken\r\n421 4.3.2 goodbye"})
    outcome = attempt(world, peer, kit.delivery(*(f"r{number}@b.example" for number in range(230))))
    assert {result.disposition for result in outcome.results} == {Disposition.DELIVERED}
    assert [len(one.recipients) for one in peer.messages] == [100, 100, 30]
    assert len(peer.connections) == 3


def test_a_failure_of_ours_repeats_nothing_that_was_sent(
    world: Any, kit: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In the second transaction to a host, and on a route beside that to a mailbox."""
    mailboxes(world)
    peer = kit.Peer()
    begin, begun = Client.begin, itertools.count(1)

    def failing(*args: Any, **options: Any) -> None:
        if next(begun) == 2:
            raise LookupError("ours")
        begin(*args, **options)

    monkeypatch.setattr(Client, "begin", failing)
    outcome = attempt(world, peer, kit.delivery("ann@contoso.example", *(f"r{n}@b.example" for n in range(150))))
    fates = {result.recipient.address: (result.disposition, result.reply.code) for result in outcome.results}
    assert fates.pop("ann@contoso.example") == (Disposition.DELIVERED, 250)
    assert Counter(fates.values()) == {(Disposition.DELIVERED, 250): 100, (Disposition.DEFERRED, 451): 50}
    assert "our own failure" in caplog.text


# --- what is achieved and recorded


def test_opportunistic_over_tls(world: Any, kit: Any) -> None:
    peer = kit.Peer(tls=world.identity("mx.b.example"))
    outcome = attempt(world, peer, kit.delivery())
    result = only(outcome)
    assert (result.disposition, result.reply.text, outcome.destination_failed) == (
        Disposition.DELIVERED,
        "250 2.0.0 taken",
        False,
    )
    received = peer.messages[0]
    assert (received.content, received.recipients) == (kit.BODY, ["bob@b.example"])
    assert received.mail.startswith("FROM:<ann@contoso.example> SIZE=")
    assert received.tls is not None
    assert received.tls.server_name == "mx.b.example"
    detail = result.detail
    assert (detail["host"], detail["address"]) == ("mx.b.example", f"127.0.0.1:{peer.port}")
    assert (detail["requirement"], detail["achieved"]) == ("opportunistic", "none/authenticated")
    assert (detail["tls"]["version"], detail["tls"]["chain"]) == ("TLSv1.3", "trusted")
    assert detail["dsn_passed_on"]
    assert peer.commands[:3] == ["EHLO gate.example", "STARTTLS", "EHLO gate.example"]


@pytest.mark.parametrize("held", [0, 1], ids=["before it begins", "before its end is sent"])
def test_a_message_that_another_process_may_have_by_now_is_not_sent(world: Any, kit: Any, held: int) -> None:
    """Neither to a host, nor to the next one, nor into a mailbox."""
    mailboxes(world)
    owned = [True] * held
    world.settings["owns"] = lambda _: bool(owned and owned.pop())

    async def main() -> tuple[Any, Any]:
        async with kit.Peer() as peer:
            world.connector(peer.port, "mx.b.example", "mx.b.example")
            world.host("mx.b.example", "127.0.0.1")
            delivery = kit.delivery("bob@b.example", "ann@contoso.example")
            return peer, await world.build(peer.port).deliver(delivery)

    peer, outcome = asyncio.run(main())
    assert {result.reply.text for result in outcome.results} == {"451 4.3.0 No attempt was made"}
    assert len(peer.connections) == held
    assert peer.messages == []


@pytest.mark.parametrize("need", ["SMTPUTF8", "SIZE 9"])
@pytest.mark.parametrize(
    "second", ["has it", "lacks it", "is away", "defers", "is the same, by an address that is away"]
)
def test_a_host_that_lacks_what_a_message_needs_leaves_it_to_the_others(
    world: Any, kit: Any, need: str, second: str
) -> None:
    """It fails only where all hosts lack it: one that is away may have it, and another address of the same host not."""
    lacking = ("8BITMIME", "SIZE 9") if need == "SIZE 9" else ("8BITMIME",)
    address = "zoë@b.example" if need == "SMTPUTF8" else "bob@b.example"
    says = {"RCPT": "450 4.2.1 later"} if second == "defers" else {}

    async def main() -> tuple[Any, Any]:
        extensions = lacking if second == "lacks it" else ("8BITMIME", "SMTPUTF8")
        async with kit.Peer(extensions=lacking) as first:
            other = kit.Peer(host="127.0.0.2", port=first.port, says=says, extensions=extensions)
            async with AsyncExitStack() as stack:
                if not second.endswith("is away"):
                    await stack.enter_async_context(other)
                if second.startswith("is the same"):
                    world.mx("10 mx.b.example.")
                    world.host("mx.b.example", "127.0.0.1")
                    world.names.table["mx.b.example", "AAAA"] = ["::1"]
                else:
                    world.mx("10 mx.b.example.", "20 mx2.b.example.")
                    world.host("mx.b.example", "127.0.0.1", "127.0.0.1")
                    world.host("mx2.b.example", "127.0.0.2")
                return first, await world.build(first.port).deliver(kit.delivery(address, smtputf8=True))

    first, outcome = asyncio.run(main())
    result = only(outcome)
    expected = {"has it": "2.0.0", "is away": "4.4.316", "defers": "4.2.1"}
    assert result.reply.enhanced == expected.get(second, "5.6.7" if need == "SMTPUTF8" else "5.3.4")
    assert not outcome.destination_failed
    assert (len(first.connections), first.said("MAIL")) == (1, 0)


def test_opportunistic_in_clear_where_nothing_is_offered(world: Any, kit: Any) -> None:
    peer = kit.Peer()
    result = only(attempt(world, peer, kit.delivery()))
    assert result.disposition is Disposition.DELIVERED
    assert (result.detail["achieved"], result.detail["tls"], result.detail["starttls_offered"]) == (
        "none/none",
        {},
        False,
    )
    assert len(peer.messages) == 1


def test_any_certificate_will_do_opportunistically(world: Any, kit: Any) -> None:
    from gatepost.pki.certificates.authority import Authority  # noqa: PLC0415 - only here

    world.authority, ours = Authority("Somebody else"), world.authority
    peer = kit.Peer(tls=world.identity("other.example"))
    world.authority = ours
    result = only(attempt(world, peer, kit.delivery()))
    assert (result.disposition, result.detail["achieved"]) == (Disposition.DELIVERED, "none/encrypted")
    assert result.detail["tls"]["chain"] == "chain-incomplete" or result.detail["tls"]["chain"] == "untrusted-root"


NOT_BELOW = [
    ("encryption-only", "", "450 4.4.317", "starttls-not-supported", "no STARTTLS"),
    ("certificate-validation", "", "450 4.4.317", "starttls-not-supported", "no STARTTLS"),
    (
        "domain-validation",
        "wrong.example",
        "450 4.7.320",
        "certificate-host-mismatch",
        "Expected Subject: mx.b.example",
    ),
    (
        "certificate-validation",
        "untrusted",
        "450 4.7.320",
        "certificate-not-trusted",
        "Presented Subject: CN=mx.b.example",
    ),
    ("domain-validation", "expired", "450 4.7.320", "certificate-expired", "Thumbprint"),
]


@pytest.mark.parametrize(("settings", "certificate", "code", "result_type", "says"), NOT_BELOW)
def test_a_message_is_never_sent_below_its_requirement(
    world: Any, kit: Any, settings: str, certificate: str, code: str, *, result_type: str, says: str
) -> None:
    peer = kit.Peer(tls=certificate_of(world, certificate))
    outcome = attempt(world, peer, kit.delivery(attempts=5), connector={"tls_settings": settings})
    result = only(outcome)
    assert (result.disposition, result.reply.text[:11], outcome.destination_failed) == (
        Disposition.DEFERRED,
        code,
        True,
    )
    assert f"[LastAttemptedServerName=mx.b.example] [LastAttemptedIP=127.0.0.1:{peer.port}]" in result.reply.text
    assert result.detail["result_type"] == result_type
    assert says in result.detail["detail"]
    assert result.detail["connector"] == "out"
    assert result.detail["transcript"][0] == "< 220 peer ESMTP"
    assert peer.said("MAIL") == 0
    assert peer.messages == []


def certificate_of(world: Any, which: str) -> Any:
    from datetime import UTC, datetime, timedelta  # noqa: PLC0415 - only here

    from gatepost.pki.certificates.authority import Authority  # noqa: PLC0415 - only here

    match which:
        case "":
            return None
        case "untrusted":
            ours, world.authority = world.authority, Authority("Somebody else")
            made = world.identity("mx.b.example")
            world.authority = ours
            return made
        case "expired":
            return world.identity("mx.b.example", not_before=datetime.now(UTC) - timedelta(days=200))
        case name:
            return world.identity(name)


@pytest.mark.parametrize("tls_domain", [None, "*.b.example"])
def test_domain_validation_met(world: Any, kit: Any, tls_domain: str | None) -> None:
    peer = kit.Peer(tls=world.identity("mx.b.example"))
    connector = {"tls_settings": "domain-validation"} | ({"tls_domain": tls_domain} if tls_domain else {})
    result = only(attempt(world, peer, kit.delivery(), connector=connector))
    expected = f"authenticated({tls_domain or 'mx.b.example'})"
    assert (result.disposition, result.detail["requirement"], result.detail["achieved"]) == (
        Disposition.DELIVERED,
        expected,
        "none/authenticated",
    )
    assert result.detail["requirement_sources"] == ["connector:out"]
    assert "matches recipient domain b.example exactly" in result.detail["reasons"][0]


def test_a_requirement_by_mx_expects_the_recipient_domain(world: Any, kit: Any) -> None:
    peer = kit.Peer(tls=world.identity("b.example"))
    world.resources["outbound_connector"] = [
        {"name": "out", "recipient_domains": ["b.example"], "tls_settings": "domain-validation"}
    ]
    result = only(attempt(world, peer, kit.delivery()))
    assert (result.disposition, result.detail["requirement"]) == (Disposition.DELIVERED, "authenticated(b.example)")


def test_an_authentic_mx_is_recorded(world: Any, kit: Any) -> None:
    world.names.authentic = True
    result = only(attempt(world, kit.Peer(tls=world.identity("mx.b.example")), kit.delivery()))
    assert result.detail["achieved"] == "dnssec/authenticated"


def test_a_rehearsal_is_judged_and_lets_pass(world: Any, kit: Any) -> None:
    peer = kit.Peer(tls=world.identity("other.example"))
    connector = {"tls_settings": "domain-validation", "mode": "rehearse"}
    result = only(attempt(world, peer, kit.delivery(), connector=connector))
    assert (result.disposition, result.detail["requirement"]) == (Disposition.DELIVERED, "opportunistic")
    rehearsal = result.detail["rehearsal"]
    assert (rehearsal["requirement"], rehearsal["passed"]) == ("authenticated(mx.b.example)", False)
    assert rehearsal["sources"] == ["connector:out"]
    assert (rehearsal["message"], rehearsal["result_type"]) == ("SubjectMismatch", "certificate-host-mismatch")


def test_our_certificate_is_presented(world: Any, kit: Any) -> None:
    chain, key = world.authority.issue(["gate.example"])
    (world.root / "chain.pem").write_bytes(chain)
    (world.root / "key.pem").write_bytes(key)
    ours = {"chain": str(world.root / "chain.pem"), "key": str(world.root / "key.pem")}
    peer = kit.Peer(tls=world.identity("mx.b.example"))
    only(attempt(world, peer, kit.delivery(), connector=forced(client_certificate=ours)))
    assert peer.messages[0].tls.peer_chain != ()


def test_our_certificate_is_presented_by_its_label(world: Any, kit: Any) -> None:
    asked = []

    def find(organization: str, label: str, now: float) -> ServerIdentity:
        asked.append((organization, label, now > 1e9))
        return ServerIdentity(*world.authority.issue([f"{label}.example"]))

    world.own = {"identity": find}
    peer = kit.Peer(tls=world.identity("mx.b.example"))
    only(attempt(world, peer, kit.delivery(), connector=forced(client_certificate={"label": "to-bank"})))
    assert asked == [("contoso", "to-bank", True)]
    (shown, *_) = peer.messages[0].tls.peer_chain
    assert certificate_facts(shown).dns_names == ("to-bank.example",)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (
            {"client_certificate": {"chain": "/nowhere/chain.pem", "key": "/nowhere/key.pem"}},
            "/nowhere/chain.pem with /nowhere/key.pem of connector 'out'",
        ),
        ({"client_certificate": {"label": "to-bank"}}, "client certificate 'to-bank' of connector 'out'"),
        (
            {"tls_settings": "certificate-validation", "trust_anchors": "/nowhere/anchors.pem"},
            "the trust anchors of connector:out cannot be read: /nowhere/anchors.pem",
        ),
    ],
)
def test_what_we_cannot_read_of_our_own_defers(
    world: Any, kit: Any, caplog: pytest.LogCaptureFixture, fields: dict[str, Any], says: str
) -> None:
    peer = kit.Peer(tls=world.identity("mx.b.example"))
    result = only(attempt(world, peer, kit.delivery(), connector=forced(**fields)))
    assert (result.disposition, result.reply.text[:11]) == (Disposition.DEFERRED, "450 4.3.5 S")
    assert says in result.detail["detail"]
    assert "cannot be used" in result.detail["detail"] or "/nowhere/anchors.pem" in caplog.text
    assert peer.messages == []


# --- broken handshakes never buy cleartext, but where that is configured, later


BREAKS = {
    "junk": {"STARTTLS": "!break"},
    "refused": {"STARTTLS": "454 4.7.0 not now"},
    "closed": {"STARTTLS": "!close"},
    "silent": {"STARTTLS": "!silent"},
}


@pytest.mark.parametrize("how", BREAKS)
@pytest.mark.parametrize(("attempts", "cleartext"), [(0, None), (3, None), (0, "after-failed-handshake")])
def test_a_broken_handshake_defers(world: Any, kit: Any, how: str, attempts: int, cleartext: str | None) -> None:
    peer = kit.Peer(says=BREAKS[how], tls=world.identity("mx.b.example"))
    world.timeouts = kit.times(BREAKS[how])
    connector = {"cleartext": cleartext} if cleartext else {}
    outcome = attempt(world, peer, kit.delivery(attempts=attempts), connector=connector)
    result = only(outcome)
    assert (result.disposition, result.reply.text[:11], outcome.destination_failed) == (
        Disposition.DEFERRED,
        "450 4.4.317",
        True,
    )
    assert result.detail["result_type"] == "validation-failure"
    assert result.detail["handshake_error"]
    assert "TlsHandshakeFailed" in result.reply.text
    assert (peer.messages, peer.said("MAIL")) == ([], 0)


@pytest.mark.parametrize("how", BREAKS)
def test_a_later_attempt_may_go_in_clear_over_a_fresh_connection(
    world: Any, kit: Any, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    peer = kit.Peer(says=BREAKS[how], tls=world.identity("mx.b.example"))
    world.timeouts = kit.times(BREAKS[how])
    world.resources["cleartext"] = "after-failed-handshake"
    with caplog.at_level(logging.WARNING):
        result = only(attempt(world, peer, kit.delivery(attempts=1)))
    assert (result.disposition, result.detail["achieved"]) == (Disposition.DELIVERED, "none/none")
    assert result.detail["starttls_offered"]
    assert result.detail["handshake_error"]
    assert len(peer.connections) == 2
    assert "leaves unencrypted" in caplog.text
    assert len(world.pool) == 0


def test_tls_with_another_host_goes_before_cleartext(world: Any, kit: Any) -> None:
    async def run() -> tuple[RecipientResult, Any, Any]:
        async with AsyncExitStack() as stack:
            first = kit.Peer(says=BREAKS["junk"], tls=world.identity("mx.b.example"))
            broken = await stack.enter_async_context(first)
            second = kit.Peer(tls=world.identity("two.b.example"), host="127.0.0.2", port=broken.port)
            good = await stack.enter_async_context(second)
            world.mx("10 mx.b.example.", "20 two.b.example.")
            world.host("two.b.example", "127.0.0.2")
            world.resources["cleartext"] = "after-failed-handshake"
            outcome = await world.build(mx_port=broken.port).deliver(kit.delivery(attempts=1))
            world.pool.close()
            return only(outcome), broken, good

    result, broken, good = asyncio.run(run())
    assert world.names.asked_for == {"contoso"}
    assert (result.disposition, result.detail["host"]) == (Disposition.DELIVERED, "two.b.example")
    assert (len(broken.messages), len(good.messages)) == (0, 1)


def test_a_host_that_does_not_take_it_in_clear_either_defers(world: Any, kit: Any) -> None:
    says = BREAKS["junk"] | {"GREETING": ["220 peer", "450 4.3.2 busy"]}
    world.resources["cleartext"] = "after-failed-handshake"
    result = only(attempt(world, kit.Peer(says=says, tls=world.identity("mx.b.example")), kit.delivery(attempts=1)))
    assert (result.disposition, result.reply.enhanced) == (Disposition.DEFERRED, "4.4.317")
    assert [one["reply"][:11] for one in result.detail["tries"]] == ["450 4.4.317", "450 4.3.2 b"]


# --- which host is next, and what is final


def two_peers(
    world: Any, kit: Any, first: dict[str, Any], given: Delivery | None = None
) -> tuple[DeliveryResult, Any, Any]:
    async def run() -> tuple[DeliveryResult, Any, Any]:
        async with kit.Peer(**first) as one, kit.Peer(host="127.0.0.2", port=one.port) as two:
            world.mx("10 mx.b.example.", "20 two.b.example.")
            world.host("two.b.example", "127.0.0.2")
            deliverer = world.build(mx_port=one.port)
            outcome = await deliverer.deliver(given or kit.delivery())
            world.pool.close()
            return outcome, one, two

    return asyncio.run(run())


@pytest.mark.parametrize(
    "says",
    [
        {"GREETING": "421 4.3.2 closing"},
        {"GREETING": "450 4.3.2 busy"},
        {"GREETING": "554 5.3.2 no service"},
        {"GREETING": "!silent"},
        {"GREETING": "!close"},
        {"GREETING": "what is this"},
        {"EHLO": "421 4.3.2 closing"},
        {"EHLO": "450 4.3.2 busy"},
        {"EHLO": "!close"},
        {"MAIL": "421 4.3.2 closing"},
        {"MAIL": "!close"},
        {"MAIL": "!silent"},
        {"RCPT": "!close"},
        {"END": "!close"},
        {"END": "421 4.3.2 closing"},
        {"END": "nonsense"},
    ],
)
def test_the_next_host_is_tried(world: Any, kit: Any, says: dict[str, str]) -> None:
    world.timeouts = kit.times(says)
    outcome, _, two = two_peers(world, kit, {"says": says})
    result = only(outcome)
    assert (result.disposition, result.detail["host"]) == (Disposition.DELIVERED, "two.b.example")
    assert len(two.messages) == 1


@pytest.mark.parametrize(
    ("says", "disposition"),
    [
        ({"MAIL": "550 5.7.1 never"}, Disposition.FAILED),
        ({"RCPT": "550 5.1.1 unknown"}, Disposition.FAILED),
        ({"END": "554 5.6.0 bad"}, Disposition.FAILED),
    ],
)
def test_a_refusal_for_good_is_final(world: Any, kit: Any, says: dict[str, str], disposition: Disposition) -> None:
    outcome, _, two = two_peers(world, kit, {"says": says})
    result = only(outcome)
    assert (result.disposition, result.reply.text) == (disposition, next(iter(says.values())))
    assert not outcome.destination_failed
    assert two.connections == []


NO_CHUNKS = ("PIPELINING", "8BITMIME")
DEFERRALS = [
    ({"MAIL": "452 4.3.1 no room"}, ("PIPELINING", "CHUNKING")),
    ({"RCPT": "450 4.2.0 later"}, NO_CHUNKS),
    ({"RCPT": "450 4.2.0 later"}, ("PIPELINING", "CHUNKING")),
    ({"DATA": "451 4.3.0 not now"}, NO_CHUNKS),
    ({"END": "452 4.3.1 full"}, NO_CHUNKS),
    ({"END": "452 4.3.1 full"}, ("PIPELINING", "CHUNKING")),
]


@pytest.mark.parametrize("smart", [False, True])
@pytest.mark.parametrize(("says", "extensions"), DEFERRALS)
def test_the_next_host_is_tried_where_one_defers(
    world: Any, kit: Any, says: dict[str, str], extensions: tuple[str, ...], *, smart: bool
) -> None:
    """RFC 5321 section 5.1: of the message nothing was accepted."""

    async def run() -> tuple[DeliveryResult, Any, Any]:
        async with (
            kit.Peer(says=says, extensions=extensions) as one,
            kit.Peer(host="127.0.0.2", port=one.port) as two,
        ):
            world.mx("10 mx.b.example.", "20 two.b.example.")
            world.host("two.b.example", "127.0.0.2")
            if smart:
                world.connector(one.port, "mx.b.example", "two.b.example")
            outcome = await world.build(mx_port=one.port).deliver(kit.delivery())
            world.pool.close()
            return outcome, one, two

    outcome, one, two = asyncio.run(run())
    assert (only(outcome).disposition, only(outcome).detail["host"]) == (Disposition.DELIVERED, "two.b.example")
    assert (len(two.messages), len(one.connections)) == (1, 1)


@pytest.mark.parametrize(("order", "share"), [("listed", {20}), ("shuffled", set(range(2, 19)))])
def test_smart_hosts_share_the_load_if_they_are_shuffled(world: Any, kit: Any, order: str, share: set[int]) -> None:
    async def run() -> Any:
        async with kit.Peer() as one, kit.Peer(host="127.0.0.2", port=one.port) as two:
            world.host("two.b.example", "127.0.0.2")
            world.connector(one.port, "mx.b.example", "two.b.example", smart_host_order=order)
            deliverer = world.build(mx_port=one.port)
            for _ in range(20):
                await deliverer.deliver(kit.delivery())
            world.pool.close()
            return len(one.messages), len(two.messages)

    first, second = asyncio.run(run())
    assert first in share
    assert first + second == 20


def test_what_the_last_host_says_for_now_is_what_the_recipient_waits_for(world: Any, kit: Any) -> None:
    async def run() -> DeliveryResult:
        async with (
            kit.Peer(says={"MAIL": "452 4.3.1 no room"}) as one,
            kit.Peer(says={"RCPT": "450 4.2.1 busy"}, host="127.0.0.2", port=one.port),
        ):
            world.mx("10 mx.b.example.", "20 two.b.example.", "30 three.b.example.")
            world.host("two.b.example", "127.0.0.2")
            world.host("three.b.example", "127.0.0.3")
            outcome = await world.build(mx_port=one.port).deliver(kit.delivery())
            world.pool.close()
            return outcome

    outcome = asyncio.run(run())
    result = only(outcome)
    assert (result.disposition, result.reply.text, outcome.destination_failed) == (
        Disposition.DEFERRED,
        "450 4.2.1 busy",
        False,
    )
    assert result.detail["host"] == "two.b.example"
    assert [(one["host"], one["reply"][:9]) for one in result.detail["tries"]] == [
        ("mx.b.example", "452 4.3.1"),
        ("two.b.example", "450 4.2.1"),
        ("three.b.example", "450 4.4.3"),
    ]


def test_a_host_that_defers_is_not_asked_at_its_other_addresses(world: Any, kit: Any) -> None:
    async def run() -> tuple[DeliveryResult, Any, Any]:
        async with (
            kit.Peer(says={"MAIL": "452 4.3.1 no room"}, host="0.0.0.0") as one,
        ):
            world.host("mx.b.example", *(f"127.0.0.{number}" for number in range(1, 9)))
            outcome = await world.build(mx_port=one.port).deliver(kit.delivery())
            world.pool.close()
            return outcome, one, None

    outcome, one, _ = asyncio.run(run())
    assert only(outcome).reply.text == "452 4.3.1 no room"
    assert "tries" not in only(outcome).detail
    assert len(one.connections) == 1


def test_no_more_than_five_hosts_are_asked_to_be_deferred(world: Any, kit: Any) -> None:
    async def run() -> Any:
        async with kit.Peer(says={"MAIL": "452 4.3.1 no room"}) as one:
            world.mx(*(f"{number} mx{number}.b.example." for number in range(8)))
            for number in range(8):
                world.host(f"mx{number}.b.example", "127.0.0.1")
            outcome = await world.build(mx_port=one.port).deliver(kit.delivery())
            world.pool.close()
            return outcome, one

    outcome, one = asyncio.run(run())
    assert len(only(outcome).detail["tries"]) == one.said("MAIL") == 5


def test_many_dead_addresses_do_not_keep_mail_from_the_next_host(world: Any, kit: Any) -> None:
    async def run() -> Any:
        async with kit.Peer() as good:
            world.mx("10 mx.b.example.", "20 two.b.example.")
            world.host("mx.b.example", *(f"127.0.1.{number}" for number in range(1, 11)))
            world.host("two.b.example", "127.0.0.1")
            outcome = await world.build(mx_port=good.port).deliver(kit.delivery())
            world.pool.close()
            return outcome

    assert only(asyncio.run(run())).detail["host"] == "two.b.example"


def test_recipients_have_each_their_own_fate(world: Any, kit: Any) -> None:
    says = {"RCPT bad@b.example": "550 5.1.1 unknown", "RCPT later@b.example": "450 4.2.1 later"}
    given = kit.delivery("bob@b.example", "bad@b.example", "later@b.example", "eve@b.example")
    outcome, one, two = two_peers(world, kit, {"says": says}, given)
    sorts = {result.recipient.address.partition("@")[0]: result.disposition for result in outcome.results}
    assert sorts == {
        "bob": Disposition.DELIVERED,
        "bad": Disposition.FAILED,
        "later": Disposition.DELIVERED,
        "eve": Disposition.DELIVERED,
    }
    assert one.messages[0].recipients == ["bob@b.example", "eve@b.example"]
    assert two.messages[0].recipients == ["later@b.example"]


def test_recipients_are_deferred_each_for_its_own_reason(world: Any, kit: Any) -> None:
    says = {"RCPT later@b.example": "450 4.2.1 later", "RCPT full@b.example": "452 4.2.2 full"}
    given = kit.delivery("bob@b.example", "later@b.example", "full@b.example")
    outcome = attempt(world, kit.Peer(says=says), given)
    replies = {result.recipient.address.partition("@")[0]: result.reply.text for result in outcome.results}
    assert replies == {"bob": "250 2.0.0 taken", "later": "450 4.2.1 later", "full": "452 4.2.2 full"}
    assert not outcome.destination_failed


def test_552_to_a_recipient_is_for_now(world: Any, kit: Any) -> None:
    """RFC 5321 section 4.5.3.1.10: it may mean too many recipients."""
    says = {"RCPT eve@b.example": "552 5.5.3 Too many recipients"}
    results = attempt(world, kit.Peer(says=says), kit.delivery("bob@b.example", "eve@b.example")).results
    replies = {result.recipient.address: (result.disposition, result.reply.text) for result in results}
    assert replies["eve@b.example"] == (Disposition.DEFERRED, "452 4.5.3 Too many recipients")
    assert replies["bob@b.example"][0] is Disposition.DELIVERED


def test_552_to_the_message_is_for_good(world: Any, kit: Any) -> None:
    result = only(attempt(world, kit.Peer(says={"END": "552 5.3.4 Too big"}), kit.delivery()))
    assert (result.disposition, result.reply.text) == (Disposition.FAILED, "552 5.3.4 Too big")


@pytest.mark.parametrize("reply", ["250 2.1.5 ok", "550 5.1.1 unknown"])
def test_a_recipient_that_is_named_twice_gets_one_rcpt(world: Any, kit: Any, reply: str) -> None:
    peer = kit.Peer(says={"RCPT bob@b.example": reply})
    outcome = attempt(world, peer, kit.delivery("bob@b.example", "eve@b.example", "bob@b.example"))
    addresses = [command for command in peer.commands if command.startswith("RCPT")]
    assert addresses == ["RCPT TO:<bob@b.example>", "RCPT TO:<eve@b.example>"] or len(addresses) == 2
    expected = Disposition.DELIVERED if reply.startswith("2") else Disposition.FAILED
    assert [result.disposition for result in outcome.results if result.recipient.address == "bob@b.example"] == [
        expected
    ] * 2
    assert len(outcome.results) == 3


def test_who_was_refused_is_not_asked_for_again_at_the_next_host(world: Any, kit: Any) -> None:
    says = {"RCPT bad@b.example": "550 5.1.1 unknown", "END": "!close"}
    outcome, _, two = two_peers(world, kit, {"says": says}, kit.delivery("bob@b.example", "bad@b.example"))
    sorts = {result.recipient.address: result.disposition for result in outcome.results}
    assert sorts == {"bob@b.example": Disposition.DELIVERED, "bad@b.example": Disposition.FAILED}
    assert two.messages[0].recipients == ["bob@b.example"]


def test_a_refusal_tells_of_the_hosts_tried_before(world: Any, kit: Any) -> None:
    async def run() -> RecipientResult:
        async with (
            kit.Peer(says={"GREETING": "421 4.3.2 closing"}) as one,
            kit.Peer(says={"MAIL": "550 5.7.1 never"}, host="127.0.0.2", port=one.port),
        ):
            world.mx("10 mx.b.example.", "20 two.b.example.")
            world.host("two.b.example", "127.0.0.2")
            return only(await world.build(mx_port=one.port).deliver(kit.delivery()))

    result = asyncio.run(run())
    assert (result.disposition, result.detail["host"]) == (Disposition.FAILED, "two.b.example")
    assert [one["host"] for one in result.detail["tries"]] == ["mx.b.example"]


@pytest.mark.parametrize(
    ("says", "code", "words"),
    [
        ({"GREETING": "!silent"}, "450 4.4.315", "Connection timed out"),
        ({"GREETING": "!close"}, "450 4.4.318", "Connection was closed abruptly"),
        ({"EHLO": "!close"}, "450 4.4.318", "Connection was closed abruptly"),
        ({"MAIL": "!silent"}, "450 4.4.315", "while waiting for the reply to MAIL"),
        ({"GREETING": "rubbish"}, "450 4.5.0", "broke the protocol"),
        ({"GREETING": "421 4.3.2 closing"}, "421 4.3.2", "closing"),
    ],
)
def test_no_host_left_defers(world: Any, kit: Any, says: dict[str, str], code: str, words: str) -> None:
    world.timeouts = kit.times(says)
    outcome = attempt(world, kit.Peer(says=says), kit.delivery())
    result = only(outcome)
    assert (result.disposition, outcome.destination_failed) == (Disposition.DEFERRED, True)
    assert result.reply.text.startswith(code)
    assert words in result.reply.text
    assert result.detail["tries"][-1]["host"] == "mx.b.example"


@pytest.mark.parametrize("verb", ["GREETING", "EHLO"])
def test_mail_waits_for_a_host_that_refuses_to_talk(world: Any, kit: Any, verb: str) -> None:
    """It says nothing of the message; as Postfix does by default."""
    outcome = attempt(world, kit.Peer(says={verb: "554 5.7.1 go away", "HELO": "554 5.7.1 go away"}), kit.delivery())
    expected = "450 4.7.1 The host refused to talk to us: 554 5.7.1 go away"
    assert (only(outcome).disposition, only(outcome).reply.text) == (Disposition.DEFERRED, expected)
    assert outcome.destination_failed


def test_a_host_that_never_takes_mail_fails(world: Any, kit: Any) -> None:
    outcome = attempt(world, kit.Peer(says={"GREETING": "521 5.3.2 no mail here"}), kit.delivery())
    assert (only(outcome).disposition, only(outcome).reply.text) == (Disposition.FAILED, "521 5.3.2 no mail here")
    assert not outcome.destination_failed


def test_nobody_listens(world: Any, kit: Any) -> None:
    async def run() -> DeliveryResult:
        async with kit.Peer() as gone:
            port = gone.port
        outcome = await world.build(mx_port=port).deliver(kit.delivery())
        return outcome

    outcome = asyncio.run(run())
    result = only(outcome)
    assert (result.disposition, result.reply.enhanced, outcome.destination_failed) == (
        Disposition.DEFERRED,
        "4.4.316",
        True,
    )
    assert result.reply.text.startswith("450 4.4.316 Connection refused [LastAttemptedServerName=mx.b.example]")


def test_no_more_addresses_than_allowed(world: Any, kit: Any) -> None:
    world.host("mx.b.example", *[f"127.0.0.{number}" for number in range(10, 20)])
    world.settings["tries"] = 3

    async def run() -> DeliveryResult:
        async with kit.Peer() as gone:
            port = gone.port
        return await world.build(mx_port=port).deliver(kit.delivery())

    assert len(only(asyncio.run(run())).detail["tries"]) == 3


def test_no_further_address_once_patience_is_over(world: Any, kit: Any) -> None:
    now = [0.0]

    def clock() -> float:
        now[0] += 600
        return now[0]

    world.settings["clock"] = clock
    outcome, _, two = two_peers(world, kit, {"says": {"GREETING": "450 4.3.2 busy"}})
    assert only(outcome).disposition is Disposition.DEFERRED or two.messages
    now[0] = 0.0
    world.settings["patience"] = 1.0
    outcome, _, two = two_peers(world, kit, {"says": {"GREETING": "450 4.3.2 busy"}})
    assert (only(outcome).disposition, two.connections) == (Disposition.DEFERRED, [])


# --- names


@pytest.mark.parametrize(
    ("table", "reply", "disposition", "gate"),
    [
        ({("b.example", "MX"): LookupFailed("servfail")}, "450 4.4.312 DNS query failed", Disposition.DEFERRED, True),
        ({("b.example", "MX"): LookupFailed("bad", temporary=False)}, "550 5.1.2", Disposition.FAILED, False),
        ({("b.example", "MX"): [""]}, "550 5.1.2 The domain does not exist", Disposition.FAILED, False),
        ({("b.example", "MX"): ["0 ."]}, "556 5.1.10", Disposition.FAILED, False),
        ({("b.example", "MX"): ["1 gate.example."]}, "554 5.4.6", Disposition.FAILED, False),
        ({("b.example", "MX"): []}, "550 5.4.4", Disposition.FAILED, False),
        ({("mx.b.example", "A"): [""]}, "550 5.4.4", Disposition.FAILED, False),
        ({("mx.b.example", "A"): LookupFailed("time-out")}, "450 4.4.312 DNS query failed", Disposition.DEFERRED, True),
    ],
)
def test_names(world: Any, kit: Any, table: dict[Any, Any], reply: str, disposition: Disposition, gate: bool) -> None:
    world.names.table |= table
    outcome = attempt(world, kit.Peer(), kit.delivery())
    result = only(outcome)
    assert result.reply.text.startswith(reply)
    assert (result.disposition, outcome.destination_failed) == (disposition, gate)
    assert result.detail["detail"]
    assert result.detail["requirement"] == "opportunistic"


def loop(world: Any, kit: Any, *records: str) -> tuple[DeliveryResult, Any]:
    """Mail to b.example: its hosts `us` and `alias` have our address, `mx` and `low` that of a peer; `dead` is down."""

    async def run() -> tuple[DeliveryResult, Any]:
        async with kit.Peer(host="127.0.0.2") as peer:
            places = {"mx": "127.0.0.2", "low": "127.0.0.2", "us": "127.0.0.1", "dead": "127.0.0.3"}
            for name, address in places.items():
                world.host(f"{name}.b.example", address)
            world.host("alias.b.example", "127.0.0.2", "127.0.0.1")
            world.mx(*records)
            world.settings["is_ours"] = lambda address, port: (address, port) == ("127.0.0.1", peer.port)
            outcome = await world.build(mx_port=peer.port).deliver(kit.delivery())
            world.pool.close()
            return outcome, peer

    return asyncio.run(run())


@pytest.mark.parametrize(
    "records",
    [
        ["10 us.b.example."],
        ["0 localhost."],
        ["10 us.b.example.", "20 mx.b.example."],
        ["10 us.b.example.", "10 mx.b.example."],
        ["10 alias.b.example."],
    ],
)
def test_mail_is_not_sent_to_ourselves_nor_to_hosts_of_our_preference(world: Any, kit: Any, records: list[str]) -> None:
    """RFC 5321 section 5.1, by address."""
    outcome, peer = loop(world, kit, *records)
    result = only(outcome)
    assert (result.disposition, result.reply.text) == (
        Disposition.FAILED,
        "554 5.4.6 Mail for the domain loops back to us",
    )
    assert "is this gateway itself" in result.detail["detail"]
    assert peer.connections == []


def test_hosts_that_are_preferred_to_us_are_tried(world: Any, kit: Any) -> None:
    outcome, _ = loop(world, kit, "5 gone.b.example.", "10 mx.b.example.", "20 us.b.example.")
    assert (only(outcome).disposition, only(outcome).detail["host"]) == (Disposition.DELIVERED, "mx.b.example")


def test_mail_waits_for_hosts_that_are_preferred_to_us(world: Any, kit: Any) -> None:
    """And does not go to those that are less preferred, which would send it here."""
    outcome, peer = loop(world, kit, "5 dead.b.example.", "20 us.b.example.", "30 low.b.example.")
    result = only(outcome)
    assert (result.disposition, result.detail["host"]) == (Disposition.DEFERRED, "dead.b.example")
    assert "no host of its preference or beyond is tried" in result.detail["reasons"][-1]
    assert peer.connections == []


def test_a_smart_host_may_be_on_this_machine(world: Any, kit: Any) -> None:
    world.settings["is_ours"] = lambda _address, _port: True
    assert only(attempt(world, kit.Peer(), kit.delivery(), connector={})).disposition is Disposition.DELIVERED


@pytest.mark.parametrize("addresses", [[""], [], ["0.0.0.0"]])
def test_mail_waits_for_a_smart_host_without_address(world: Any, kit: Any, addresses: list[str]) -> None:
    """An administrator named it: a slip, or a gap in our own DNS, must not lose mail."""
    world.connector(25)
    world.names.table["mx.b.example", "A"] = addresses
    outcome = attempt(world, kit.Peer(), kit.delivery())
    result = only(outcome)
    assert (result.disposition, result.reply.enhanced, outcome.destination_failed) == (
        Disposition.DEFERRED,
        "4.4.312",
        True,
    )
    assert result.detail["detail"] == "mx.b.example has no usable address"


@pytest.mark.parametrize(("hosts", "code"), [(20, 550), (21, 450)])
def test_mail_waits_where_not_every_mx_host_was_tried(world: Any, kit: Any, hosts: int, code: int) -> None:
    world.mx(*(f"{number} gone{number}.b.example." for number in range(hosts)))
    world.names.table |= {(f"gone{number}.b.example", "A"): [""] for number in range(hosts)}
    assert only(attempt(world, kit.Peer(), kit.delivery())).reply.code == code


def test_a_dead_name_does_not_outweigh_a_silent_host(world: Any, kit: Any) -> None:
    world.mx("10 gone.b.example.", "20 mx.b.example.")
    world.names.table["gone.b.example", "A"] = [""]
    result = only(attempt(world, kit.Peer(says={"GREETING": "!close"}), kit.delivery()))
    assert (result.disposition, result.reply.enhanced) == (Disposition.DEFERRED, "4.4.318")


# --- kept connections


def several(world: Any, peer: Any, use: Callable[[Any, Any], Any], port: int | None = None) -> Any:
    async def run() -> Any:
        async with peer:
            world.connector(peer.port)
            deliverer = world.build(mx_port=port or peer.port)
            try:
                return await use(deliverer, peer)
            finally:
                world.pool.close()

    return asyncio.run(run())


def test_a_connection_serves_several_messages(world: Any, kit: Any) -> None:
    async def use(deliverer: Any, peer: Any) -> list[RecipientResult]:
        return [only(await deliverer.deliver(kit.delivery())) for _ in range(3)]

    peer = kit.Peer(tls=world.identity("mx.b.example"))
    results = several(world, peer, use)
    assert [result.disposition for result in results] == [Disposition.DELIVERED] * 3
    assert [result.detail["reused"] for result in results] == [False, True, True]
    assert (len(peer.connections), len(peer.messages)) == (1, 3)


def test_a_refused_recipient_does_not_cost_the_connection(world: Any, kit: Any) -> None:
    async def use(deliverer: Any, peer: Any) -> list[RecipientResult]:
        first = only(await deliverer.deliver(kit.delivery("bad@b.example")))
        return [first, only(await deliverer.deliver(kit.delivery()))]

    peer = kit.Peer(says={"RCPT bad@b.example": "550 5.1.1 unknown"})
    results = several(world, peer, use)
    assert [result.disposition for result in results] == [Disposition.FAILED, Disposition.DELIVERED]
    assert len(peer.connections) == 1
    assert peer.messages[0].recipients == ["bob@b.example"]


def test_a_new_configuration_gets_new_connections_and_resumes_no_old_session(world: Any, kit: Any) -> None:
    async def use(deliverer: Any, peer: Any) -> list[RecipientResult]:
        first = only(await deliverer.deliver(kit.delivery()))
        world.connector(peer.port, tls_settings="domain-validation", tls_domain="other.example")
        deliverer.use(world.directory())
        return [first, only(await deliverer.deliver(kit.delivery()))]

    peer = kit.Peer(tls=world.identity("mx.b.example"))
    results = several(world, peer, use)
    assert [result.disposition for result in results] == [Disposition.DELIVERED, Disposition.DEFERRED]
    assert results[1].detail["result_type"] == "certificate-host-mismatch"
    assert (len(peer.connections), len(peer.messages)) == (2, 1)


def test_a_connection_in_use_while_the_configuration_changes_is_not_kept(world: Any, kit: Any) -> None:
    async def use(deliverer: Any, peer: Any) -> RecipientResult:
        world.bodies.bodies[7] = kit.BODY * 5000
        task = asyncio.get_running_loop().create_task(deliverer.deliver(kit.delivery(body=None, size=1 << 20)))
        while not peer.said("RCPT"):  # noqa: ASYNC110 - the peer is a recording, it signals nothing
            await asyncio.sleep(0.001)
        deliverer.use(world.directory())
        result = only(await task)
        assert len(world.pool) == 0
        return result

    assert several(world, kit.Peer(), use).disposition is Disposition.DELIVERED


@pytest.mark.parametrize("how", ["closed", "421", "421 to MAIL"])
def test_a_kept_connection_that_has_died_is_replaced(world: Any, kit: Any, how: str) -> None:
    async def use(deliverer: Any, peer: Any) -> list[RecipientResult]:
        first = only(await deliverer.deliver(kit.delivery()))
        match how:
            case "closed":
                peer.connections[0].stream.close()
                await asyncio.sleep(0.05)
            case "421":
                peer.connections[0].stream.write(b"421 4.4.2 idle\r\n")
                await asyncio.sleep(0.05)
            case _:
                peer.says["MAIL"] = ["421 4.4.2 enough", "250 2.1.0 ok"]
        return [first, only(await deliverer.deliver(kit.delivery()))]

    peer = kit.Peer()
    results = several(world, peer, use)
    assert [result.disposition for result in results] == [Disposition.DELIVERED] * 2
    assert len(peer.connections) == 2
    assert "tries" not in results[1].detail


def test_a_kept_connection_that_ended_unnoticed_is_replaced(world: Any, kit: Any) -> None:
    async def use(deliverer: Any, peer: Any) -> list[RecipientResult]:
        first = only(await deliverer.deliver(kit.delivery()))
        next(iter(world.pool._order)).connection.abort("unnoticed by the pool")
        await asyncio.sleep(0.05)
        return [first, only(await deliverer.deliver(kit.delivery()))]

    peer = kit.Peer()
    assert [result.disposition for result in several(world, peer, use)] == [Disposition.DELIVERED] * 2
    assert len(peer.connections) == 2


PROOF = {"tls_settings": "domain-validation", "tls_domain": "mx.b.example", "mode": "rehearse"}


def test_mandatory_dane_of_a_domain_that_signs_nothing_is_told_as_what_it_is(world: Any, kit: Any) -> None:
    async def use(deliverer: Any, peer: Any) -> list[RecipientResult]:
        world.connector(peer.port, smtp_dane_mode="mandatory", smart_hosts=[], use_mx_record=True)
        deliverer.use(world.directory())
        return [only(await deliverer.deliver(kit.delivery()))]

    (result,) = several(world, kit.Peer(), use)
    assert result.disposition is Disposition.DEFERRED
    assert result.detail["requirement"] == "authenticated(dane)"
    assert result.detail["result_type"] == "dane-required"


@pytest.mark.usefixtures("one_period")
def test_sessions_are_resumed(world: Any, kit: Any) -> None:
    async def use(deliverer: Any, peer: Any) -> list[RecipientResult]:
        first = only(await deliverer.deliver(kit.delivery()))
        world.pool.close()
        await asyncio.sleep(0.05)
        return [first, only(await deliverer.deliver(kit.delivery()))]

    results = several(world, kit.Peer(tls=world.identity("mx.b.example")), use)
    assert [result.detail["tls"]["resumed"] for result in results] == [False, True]
    assert [result.detail["achieved"] for result in results] == ["none/authenticated"] * 2


def test_a_peer_that_must_prove_itself_shows_the_certificate_of_each_connection(world: Any, kit: Any) -> None:
    """Each way to be asked for a proof, be it for a report alone, has a full handshake."""

    async def use(deliverer: Any, peer: Any) -> list[RecipientResult]:
        results = []
        for fields in ({}, {"mode": "enforce"}):
            world.connector(peer.port, **(PROOF | fields))
            deliverer.use(world.directory())
            for _ in range(2):
                results.append(only(await deliverer.deliver(kit.delivery())))
                world.pool.close()
                await asyncio.sleep(0.05)
        return results

    peer = kit.Peer(tls=world.identity("mx.b.example"))
    results = several(world, peer, use)
    assert [result.disposition for result in results] == [Disposition.DELIVERED] * 4
    assert [result.detail["tls"]["resumed"] for result in results] == [False] * 4


# --- bodies


@pytest.mark.parametrize("extensions", [("PIPELINING", "CHUNKING"), ("PIPELINING",), ("",), ("CHUNKING",)])
@pytest.mark.parametrize("size", [3000, 60000])
def test_bodies_arrive_byte_for_byte(world: Any, kit: Any, extensions: tuple[str, ...], size: int) -> None:
    body = b"Subject: x\r\n\r\n" + b"..dots and more\r\n." * (size // 18) + b"\r\n"
    world.bodies.bodies[7] = body
    for given in (kit.delivery(body=body), kit.delivery(body=None, size=len(body))):
        peer = kit.Peer(extensions=extensions)
        assert only(attempt(world, peer, given)).disposition is Disposition.DELIVERED
        assert peer.messages[0].content == body


@pytest.mark.parametrize("extensions", [("PIPELINING", "CHUNKING"), ("PIPELINING",)])
def test_a_large_body_streams(world: Any, kit: Any, extensions: tuple[str, ...]) -> None:
    body = b"Subject: x\r\n\r\n" + b".x" * 499 + b"\r\n" + (b"y" * 998 + b"\r\n") * 5000
    world.bodies.bodies[7] = body
    peer = kit.Peer(tls=world.identity("mx.b.example"), extensions=extensions)
    assert only(attempt(world, peer, kit.delivery(body=None, size=len(body)))).disposition is Disposition.DELIVERED
    assert peer.messages[0].content == body


def test_a_large_body_in_memory(world: Any, kit: Any) -> None:
    body = b"Subject: x\r\n\r\n" + b"z" * 200_000 + b"\r\n"
    peer = kit.Peer()
    assert only(attempt(world, peer, kit.delivery(body=body))).disposition is Disposition.DELIVERED
    assert peer.messages[0].content == body


@pytest.mark.parametrize("size", [100, 1 << 20])
def test_a_body_that_cannot_be_read_defers_and_is_not_sent_in_part(world: Any, kit: Any, size: int) -> None:
    world.bodies.bodies[7] = LookupError("no such message")
    peer = kit.Peer()
    outcome = attempt(world, peer, kit.delivery(body=None, size=size))
    result = only(outcome)
    assert (result.disposition, result.reply.text) == (
        Disposition.DEFERRED,
        "451 4.3.0 The stored message cannot be read",
    )
    assert "message 7" in result.detail["detail"]
    assert not outcome.destination_failed
    assert peer.messages == []


@pytest.mark.parametrize(("limit", "batches"), [("", [100, 100, 50]), ("LIMITS RCPTMAX=200", [200, 50])])
def test_many_recipients_travel_in_batches(world: Any, kit: Any, limit: str, batches: list[int]) -> None:
    recipients = [f"r{number}@b.example" for number in range(250)]
    peer = kit.Peer(extensions=(*kit.EXTENSIONS, limit))
    outcome = attempt(world, peer, kit.delivery(*recipients))
    assert [result.disposition for result in outcome.results] == [Disposition.DELIVERED] * 250
    assert [len(message.recipients) for message in peer.messages] == batches
    assert len(peer.connections) == 1


@pytest.mark.parametrize(
    ("body", "disposition"),
    [
        (b"Subject: plain\r\n\r\n\xc3\xa4\r\n", Disposition.DELIVERED),
        (b"Subject: \xc3\xa4\r\n\r\n", Disposition.FAILED),
    ],
)
def test_smtputf8_is_needed_only_for_what_has_it(world: Any, kit: Any, body: bytes, disposition: Disposition) -> None:
    peer = kit.Peer(extensions=("PIPELINING", "8BITMIME"))
    result = only(attempt(world, peer, kit.delivery(body=body, smtputf8=True)))
    assert result.disposition is disposition
    assert result.reply.enhanced == ("2.0.0" if disposition is Disposition.DELIVERED else "5.6.7")


def test_an_address_that_would_become_a_command_fails(world: Any, kit: Any) -> None:
    peer = kit.Peer()
    result = only(attempt(world, peer, kit.delivery(reverse_path="a\r\nRSET")))
    assert (result.disposition, result.reply.enhanced) == (Disposition.FAILED, "5.1.3")
    assert peer.said("RSET") == 0


# --- mailboxes of ours


def mailboxes(world: Any, delivery: str = "maildir") -> None:
    world.resources["accepted_domain"] = [{"name": "contoso.example"}]
    world.resources["mailbox"] = [
        {"address": "ann@contoso.example", "delivery": delivery},
        {"address": "eve@contoso.example", "delivery": delivery},
    ]


def test_mailboxes_and_others_in_one_delivery(world: Any, kit: Any) -> None:
    mailboxes(world)
    peer = kit.Peer()
    given = kit.delivery("Ann@contoso.example", "nobody@contoso.example", "bob@b.example", "eve@contoso.example")
    outcome = attempt(world, peer, given)
    results = {result.recipient.address.partition("@")[0]: result for result in outcome.results}
    assert {name: result.disposition for name, result in results.items()} == {
        "Ann": Disposition.DELIVERED,
        "eve": Disposition.DELIVERED,
        "nobody": Disposition.FAILED,
        "bob": Disposition.DELIVERED,
    }
    assert results["nobody"].reply.text == "550 5.1.1 Mailbox unknown"
    assert results["Ann"].detail["mailbox"] == "ann@contoso.example"
    stored = list((world.root / "mail" / "contoso.example" / "ann" / "new").iterdir())
    assert [file.name for file in stored] == [results["Ann"].detail["file"]]
    assert stored[0].read_bytes().endswith(b"\n" + kit.BODY.replace(b"\r\n", b"\n"))


def test_who_is_addressed_by_two_names_has_one_copy(world: Any, kit: Any) -> None:
    mailboxes(world)
    world.resources["mailbox"][0]["aliases"] = ["info@contoso.example"]
    outcome = attempt(world, kit.Peer(), kit.delivery("ann@contoso.example", "info@contoso.example"))
    assert [result.disposition for result in outcome.results] == [Disposition.DELIVERED, Disposition.DELIVERED]
    assert len({result.detail["file"] for result in outcome.results}) == 1
    assert len(list((world.root / "mail" / "contoso.example" / "ann" / "new").iterdir())) == 1


def test_a_mailbox_that_cannot_be_written_defers_alone(world: Any, kit: Any) -> None:
    mailboxes(world)
    (world.root / "mail" / "contoso.example").mkdir(parents=True)
    (world.root / "mail" / "contoso.example" / "ann").write_text("in the way")
    outcome = attempt(world, kit.Peer(), kit.delivery("ann@contoso.example", "eve@contoso.example"))
    assert [result.disposition for result in outcome.results] == [Disposition.DEFERRED, Disposition.DELIVERED]
    assert outcome.results[0].reply.enhanced == "4.3.0"
    assert not outcome.destination_failed


def test_lmtp(world: Any, kit: Any) -> None:
    peer = kit.Peer(lmtp=True, says={"END eve@contoso.example": "452 4.2.2 mailbox full"})

    async def run() -> DeliveryResult:
        async with peer:
            mailboxes(world, f"lmtp:127.0.0.1:{peer.port}")
            outcome = await world.build().deliver(kit.delivery("ann@contoso.example", "eve@contoso.example"))
            world.pool.close()
            return outcome

    outcome = asyncio.run(run())
    assert [(result.disposition, result.reply.text) for result in outcome.results] == [
        (Disposition.DELIVERED, "250 2.0.0 taken"),
        (Disposition.DEFERRED, "452 4.2.2 mailbox full"),
    ]
    assert peer.commands[0] == "LHLO gate.example"
    assert outcome.results[0].detail["mailbox"] == f"lmtp:127.0.0.1:{peer.port}"


def test_an_lmtp_server_that_dies_among_its_answers(world: Any, kit: Any) -> None:
    peer = kit.Peer(lmtp=True, says={"END eve@contoso.example": "!close"})

    async def run() -> DeliveryResult:
        async with peer:
            mailboxes(world, f"lmtp:127.0.0.1:{peer.port}")
            outcome = await world.build().deliver(kit.delivery("ann@contoso.example", "eve@contoso.example"))
            world.pool.close()
            return outcome

    outcome = asyncio.run(run())
    results = {result.recipient.address.partition("@")[0]: result.disposition for result in outcome.results}
    assert results == {"ann": Disposition.DELIVERED, "eve": Disposition.DEFERRED}
    assert not outcome.destination_failed


def test_an_lmtp_server_behind_a_socket_is_told_the_mailbox(world: Any, kit: Any, tmp_path: Path) -> None:
    peer = kit.Peer(lmtp=True, path=str(tmp_path / "lmtp"))

    async def run() -> DeliveryResult:
        async with peer:
            mailboxes(world, f"lmtp:unix:{peer.path}")
            world.resources["mailbox"][0]["aliases"] = ["info@contoso.example"]
            outcome = await world.build().deliver(kit.delivery("info@contoso.example"))
            world.pool.close()
            return outcome

    (result,) = asyncio.run(run()).results
    assert (result.disposition, result.recipient.address) == (Disposition.DELIVERED, "info@contoso.example")
    assert result.detail["mailbox"] == f"lmtp:unix:{peer.path}"
    assert result.detail["address"] == f"unix:{peer.path}"
    assert any(command.startswith("RCPT TO:<ann@contoso.example>") for command in peer.commands)


def test_an_lmtp_socket_that_is_not_there_defers(world: Any, kit: Any, tmp_path: Path) -> None:
    mailboxes(world, f"lmtp:unix:{tmp_path}/lmtp")
    outcome = attempt(world, kit.Peer(), kit.delivery("ann@contoso.example"))
    assert [result.disposition for result in outcome.results] == [Disposition.DEFERRED]
    assert outcome.destination_failed


@pytest.mark.parametrize("in_memory", [True, False])
def test_forwarded_mail_has_its_own_reverse_path_and_is_marked(world: Any, kit: Any, *, in_memory: bool) -> None:
    peer = kit.Peer(extensions=("SIZE 1000000", "PIPELINING"))
    given = kit.delivery("bob@b.example", body=kit.BODY if in_memory else None, size=len(kit.BODY))
    world.bodies.bodies[given.message.id] = kit.BODY
    given.recipients[0].forwarded_by = "ann@contoso.example"
    given.recipients[0].return_path = "SRS0=x@contoso.example"
    (result,) = attempt(world, peer, given).results
    assert result.disposition is Disposition.DELIVERED
    assert result.detail["forwarded_by"] == "ann@contoso.example"
    assert result.detail["reverse_path"] == "SRS0=x@contoso.example"
    content = b"Delivered-To: ann@contoso.example\r\n" + kit.BODY
    assert peer.messages[0].content == content
    (mail,) = (command for command in peer.commands if command.startswith("MAIL"))
    assert mail.startswith(f"MAIL FROM:<SRS0=x@contoso.example> SIZE={len(content)}")


@pytest.mark.parametrize(
    ("fields", "reverse_path"),
    [
        ({}, "SRS0=x@contoso.example"),
        ({"connector_type": "on-premises"}, "eve@elsewhere.example"),
        ({"connector_type": "on-premises", "sender_rewriting_enabled": True}, "SRS0=x@contoso.example"),
    ],
)
def test_own_servers_see_who_sent_it(world: Any, kit: Any, fields: dict[str, Any], reverse_path: str) -> None:
    peer, given = kit.Peer(), kit.delivery("bob@b.example", reverse_path="eve@elsewhere.example")
    given.recipients[0].return_path = "SRS0=x@contoso.example"
    result = only(attempt(world, peer, given, connector=fields))
    assert (result.disposition, result.detail["reverse_path"]) == (Disposition.DELIVERED, reverse_path)
    assert "forwarded_by" not in result.detail
    assert peer.messages[0].mail.startswith(f"FROM:<{reverse_path}> ")


def test_an_organization_that_is_gone_defers(world: Any, kit: Any) -> None:
    given = kit.delivery()
    given.destination = "fabrikam/b.example"
    result = only(attempt(world, kit.Peer(), given))
    assert (result.disposition, result.reply.enhanced) == (Disposition.DEFERRED, "4.3.5")
    assert "fabrikam" in result.detail["detail"]


def test_a_notice_of_ours_goes_through_the_own_servers_though_none_of_them_brought_it(world: Any, kit: Any) -> None:
    """Else a notice, with what it returns of a message, leaves by an unprotected MX past centralised transport."""
    central = {"connector_type": "on-premises", "route_all_messages_via_on_premises": True, "recipient_domains": []}
    for inbound, connector in (({}, ""), ({"notice_about": "7"}, "out")):
        given = kit.delivery(reverse_path="", direction="originating", inbound=inbound)
        result = only(attempt(world, kit.Peer(), given, connector=central))
        assert (result.disposition, result.detail["connector"]) == (Disposition.DELIVERED, connector)


# --- mail flow rules


def ruled(world: Any, **fields: Any) -> None:
    world.resources["mail_flow_rule"] = [{"name": "secret", "require_tls": True, **fields}]


def test_a_rule_holds_a_message_back_that_would_have_left_in_clear(world: Any, kit: Any) -> None:
    """And no other mail to the domain: what the rule asks says nothing of the destination."""
    ruled(world, senders=["ann@contoso.example"])
    peer = kit.Peer()
    outcome = attempt(world, peer, kit.delivery(attempts=9))
    result = only(outcome)
    assert (result.disposition, result.reply.text[:11], outcome.destination_failed) == (
        Disposition.DEFERRED,
        "450 4.4.317",
        True,
    )
    assert (result.detail["requirement"], result.detail["requirement_sources"]) == ("encrypted", ["rule:secret"])
    assert "Cleartext is ruled out by rule 'secret'" in result.reply.text
    assert peer.messages == []
    other = kit.delivery(reverse_path="eve@contoso.example")
    result = only(attempt(world, kit.Peer(), other))
    assert (result.disposition, result.detail["achieved"]) == (Disposition.DELIVERED, "none/none")


HEADER = b"Subject: =?utf-8?q?Top_S=C3=A9?=\r\n =?utf-8?q?cret?=\r\nX-Label: a\r\n b\r\n\r\nX-Other: none\r\n"


@pytest.mark.parametrize(
    ("name", "words", "disposition"),
    [
        ("subject", ["top sécret"], Disposition.DEFERRED),
        ("X-LABEL", ["a b"], Disposition.DEFERRED),
        ("X-Label", [], Disposition.DEFERRED),
        ("Subject", ["x-label"], Disposition.DELIVERED),
        ("X-Other", [], Disposition.DELIVERED),
    ],
)
@pytest.mark.parametrize("stored", [False, True])
def test_a_rule_looks_into_the_header_of_the_message(
    world: Any, kit: Any, name: str, words: list[str], disposition: Disposition, *, stored: bool
) -> None:
    ruled(world, header_name=name, header_contains=words)
    world.bodies.bodies[7] = HEADER
    given = kit.delivery(body=None, size=len(HEADER)) if stored else kit.delivery(body=HEADER)
    assert only(attempt(world, kit.Peer(), given)).disposition is disposition


def test_a_message_whose_header_cannot_be_read_waits_for_everybody(world: Any, kit: Any) -> None:
    ruled(world, header_name="Subject")
    world.bodies.bodies[7] = OSError(5, "Input/output error")
    peer = kit.Peer()
    outcome = attempt(world, peer, kit.delivery("bob@b.example", "eve@b.example", body=None, size=9))
    assert [(result.disposition, result.reply.enhanced) for result in outcome.results] == [
        (Disposition.DEFERRED, "4.3.0")
    ] * 2
    assert outcome.results[0].detail["configuration"] == 0
    assert peer.connections == []


def test_a_disabled_connector_that_a_rule_names_makes_mail_wait(world: Any, kit: Any) -> None:
    ruled(world, route_via_connector="out", require_tls=False)
    peer = kit.Peer()
    outcome = attempt(world, peer, kit.delivery(), connector={"enabled": False})
    result = only(outcome)
    assert (result.disposition, result.reply.text[:9], outcome.destination_failed) == (
        Disposition.DEFERRED,
        "450 4.3.5",
        False,
    )
    assert "'out' of contoso is disabled" in result.detail["detail"]
    assert "rule 'secret'" in result.detail["reasons"][0]
    assert peer.connections == []


def test_what_a_choice_was_made_of_is_recorded(world: Any, kit: Any) -> None:
    async def run() -> DeliveryResult:
        async with kit.Peer() as peer:
            world.connector(peer.port)
            world.resources["outbound_connector"].append({"name": "all", "recipient_domains": ["*"]})
            outcome = await world.build(mx_port=peer.port).deliver(kit.delivery())
            world.pool.close()
            return outcome

    detail = only(asyncio.run(run())).detail
    assert (detail["connector"], detail["configuration"]) == ("out", 0)
    assert detail["passed_over"] == [
        {
            "connector": "connector 'all' of contoso",
            "why": "matches recipient domain b.example by '*', but 'out' is more specific",
        }
    ]


def test_a_rehearsing_rule_only_tells(world: Any, kit: Any) -> None:
    ruled(world, mode="rehearse")
    result = only(attempt(world, kit.Peer(), kit.delivery()))
    assert (result.disposition, result.detail["achieved"]) == (Disposition.DELIVERED, "none/none")
    assert {name: result.detail["rehearsal"][name] for name in ("requirement", "sources", "passed", "message")} == {
        "requirement": "encrypted",
        "sources": ["rule:secret"],
        "passed": False,
        "message": "STARTTLS is required to send mail",
    }


def test_cancelling_drops_the_connection(world: Any, kit: Any) -> None:
    async def run() -> None:
        async with AsyncExitStack() as stack:
            peer = await stack.enter_async_context(kit.Peer(says={"MAIL": "!silent"}, extensions=()))
            deliverer = world.build(mx_port=peer.port)
            delivering = asyncio.get_running_loop().create_task(deliverer.deliver(kit.delivery()))
            await peer.sees(lambda: peer.said("MAIL"))
            delivering.cancel()
            with pytest.raises(asyncio.CancelledError):
                await delivering
            await peer.sees(lambda: peer.connections[0].lost_by)

    asyncio.run(run())


async def _cancelled_in_its_second_batch(world: Any, kit: Any, peer: Any, seen: Callable[[], object]) -> Any:
    """The results, by address, of an attempt for 101 recipients that is cancelled once `seen`, and again after that."""
    recipients = [f"r{number}@b.example" for number in range(101)]
    async with peer:
        deliverer = world.build(mx_port=peer.port)
        delivering = spawn(deliverer.deliver(kit.delivery(*recipients)), "attempt")
        await peer.sees(seen)
        delivering.cancel()
        await asyncio.sleep(0.05)
        if not delivering.done():
            delivering.cancel()
        return {result.recipient.address: result for result in (await delivering).results}


@pytest.mark.parametrize(
    ("says", "reply"),
    [
        ({"MAIL": ["250 2.1.0 ok", "!silent"]}, UNTRIED),
        ({"END": ["250 2.0.0 taken", "!silent"]}, IN_DOUBT),
    ],
    ids=["before its end", "in doubt"],
)
def test_who_has_a_message_before_a_stop_does_not_get_it_again(
    world: Any, kit: Any, says: dict[str, Any], reply: Reply
) -> None:
    peer = kit.Peer(says=says, extensions=("8BITMIME",))
    verb = next(iter(says))
    seen = (lambda: peer.said("MAIL") == 2) if verb == "MAIL" else (lambda: len(peer.messages) == 2)
    results = asyncio.run(_cancelled_in_its_second_batch(world, kit, peer, seen))
    assert Counter(result.disposition for result in results.values()) == {
        Disposition.DELIVERED: 100,
        Disposition.DEFERRED: 1,
    }
    assert results["r100@b.example"].reply == reply


def test_a_stop_that_waited_for_a_reply_sends_no_other_batch(world: Any, kit: Any) -> None:
    async def run() -> Any:
        peer = kit.Peer(says={"END": "!silent"}, extensions=("8BITMIME",))
        recipients = [f"r{number}@b.example" for number in range(101)]
        async with peer:
            delivering = spawn(world.build(mx_port=peer.port).deliver(kit.delivery(*recipients)), "attempt")
            await peer.sees(lambda: peer.messages)
            delivering.cancel()
            await asyncio.sleep(0.02)
            peer.connections[0].stream.write(b"250 2.0.0 late\r\n")
            outcome = await asyncio.wait_for(delivering, 10)
            assert len(peer.connections) == 1
            return outcome

    replies = Counter(result.reply.text for result in asyncio.run(run()).results)
    assert replies == {"250 2.0.0 late": 100, UNTRIED.text: 1}


async def _stopped(delivering: asyncio.Task[DeliveryResult]) -> dict[str, Any]:
    """The results, by address, of an attempt that is cancelled twice, as the queue does."""
    for _ in range(2):
        delivering.cancel()
        await asyncio.sleep(0.05)
    return {result.recipient.address.partition("@")[0]: result for result in (await delivering).results}


def test_who_was_deferred_by_one_host_is_in_doubt_at_the_next(world: Any, kit: Any) -> None:
    """The first smart host takes bob and defers eve; the second one has her message, and says nothing."""
    world.host("other.b.example", "127.0.0.2")
    first = kit.Peer(says={"RCPT eve@b.example": "451 4.2.1 Later"})
    second = kit.Peer(host="127.0.0.2", says={"END": "!silent"})

    async def run() -> dict[str, Any]:
        async with first:
            second.port = first.port
            async with second:
                world.connector(first.port, "mx.b.example", "other.b.example", smart_host_order="listed")
                delivering = spawn(world.build().deliver(kit.delivery("bob@b.example", "eve@b.example")), "attempt")
                await second.sees(lambda: second.messages)
                return await _stopped(delivering)

    results = asyncio.run(run())
    assert results["bob"].disposition == Disposition.DELIVERED
    assert results["eve"].reply == IN_DOUBT


def test_batches_that_were_not_begun_are_not_in_doubt(world: Any, kit: Any) -> None:
    """Of three: one is taken, one is in doubt."""
    peer = kit.Peer(says={"END": ["250 2.0.0 taken", "!silent"]}, extensions=("8BITMIME",))

    async def run() -> dict[str, Any]:
        async with peer:
            recipients = [f"r{number}@b.example" for number in range(201)]
            delivering = spawn(world.build(mx_port=peer.port).deliver(kit.delivery(*recipients)), "attempt")
            await peer.sees(lambda: len(peer.messages) == 2)
            return await _stopped(delivering)

    replies = Counter(result.reply.text for result in asyncio.run(run()).values())
    assert replies == {"250 2.0.0 taken": 100, IN_DOUBT.text: 100, UNTRIED.text: 1}


def test_a_stop_that_waited_for_a_reply_begins_no_other_route(world: Any, kit: Any) -> None:
    peer, mailbox = kit.Peer(says={"END": "!silent"}), kit.Peer(lmtp=True)

    async def run() -> dict[str, Any]:
        async with peer, mailbox:
            mailboxes(world, f"lmtp:127.0.0.1:{mailbox.port}")
            given = kit.delivery("bob@b.example", "ann@contoso.example")
            delivering = spawn(world.build(mx_port=peer.port).deliver(given), "attempt")
            await peer.sees(lambda: peer.messages)
            delivering.cancel()
            await asyncio.sleep(0.02)
            peer.connections[0].stream.write(b"250 2.0.0 late\r\n")
            outcome = await asyncio.wait_for(delivering, 10)
            return {result.recipient.address.partition("@")[0]: result for result in outcome.results}

    results = asyncio.run(run())
    assert results["bob"].disposition == Disposition.DELIVERED
    assert results["ann"].reply == UNTRIED
    assert mailbox.messages == []


def test_a_stop_keeps_what_an_lmtp_server_said_of_some_recipients(world: Any, kit: Any) -> None:
    server = kit.Peer(lmtp=True, says={"END eve@contoso.example": "!silent"})

    async def run() -> dict[str, Any]:
        async with server:
            mailboxes(world, f"lmtp:127.0.0.1:{server.port}")
            given = kit.delivery("ann@contoso.example", "eve@contoso.example")
            delivering = spawn(world.build().deliver(given), "attempt")
            await server.sees(lambda: server.messages)
            await asyncio.sleep(0.05)
            return await _stopped(delivering)

    results = asyncio.run(run())
    assert results["ann"].disposition == Disposition.DELIVERED
    assert results["eve"].reply == IN_DOUBT


# --- notices of ours


def notice(**fields: Any) -> dict[str, Any]:
    recipient = DsnRecipient("bob@b.example", DsnAction.FAILED, "5.1.1")
    report = DsnReport(
        "ann@contoso.example", "gate.example", "postmaster@gate.example", 1.0, "1@gate.example", "b", (recipient,),
        ret="FULL", original=b"Subject: x\r\n\r\ngr\xfcn\r\n", original_complete=True,
    )  # fmt: skip
    inbound = {"notice_about": "1"}
    return {"body": build_dsn(report), "body_type": "8BITMIME", "reverse_path": "", "inbound": inbound} | fields


@pytest.mark.parametrize(
    ("extensions", "fields", "whole"),
    [
        (("8BITMIME",), {}, True),
        ((), {}, False),
        ((), {"inbound": {}}, True),  # mail of others is never converted
    ],
)
def test_a_notice_of_ours_goes_8_bit_where_that_is_offered(
    world: Any, kit: Any, extensions: tuple[str, ...], fields: dict[str, Any], whole: bool
) -> None:
    peer = kit.Peer(extensions=("PIPELINING", "SIZE 100000", *extensions))
    given = kit.delivery(**notice(**fields))
    result = only(attempt(world, peer, given))
    assert result.disposition is Disposition.DELIVERED
    (received,) = peer.messages
    assert received.content.isascii() is not whole
    assert ("BODY=8BITMIME" in received.mail) is bool(extensions)
    assert f" SIZE={len(received.content)}" in received.mail
    said = "the notice was converted to 7 bits: mx.b.example does not offer 8BITMIME"
    assert (said in result.detail.get("reasons", [])) is not whole
    assert given.body == notice()["body"]


def test_a_notice_of_ours_without_smtputf8(world: Any, kit: Any) -> None:
    given = notice(smtputf8=True)
    given["body"] = given["body"].replace(b"Subject: Und", b"Subject: \xc3\xbcnd")
    peer = kit.Peer(extensions=("8BITMIME",))
    result = only(attempt(world, peer, kit.delivery(**given)))
    assert result.disposition is Disposition.DELIVERED
    assert peer.messages[0].content.isascii()
    assert "SMTPUTF8" not in peer.messages[0].mail
    assert result.detail["reasons"][-1:] == ["the notice was converted to 7 bits: mx.b.example does not offer SMTPUTF8"]


class _Once:
    """A step that can do its work for the first body only."""

    def __init__(self) -> None:
        self.bodies: list[MessageBody] = []

    async def apply(self, _departure: Any, body: MessageBody) -> tuple[MessageBody, dict[str, Any]]:
        self.bodies.append(body)
        if len(self.bodies) > 1:
            raise ContentNotReady(Reply(451, "4.7.5", ("Not now",)), "no key")
        return body, {}


def test_where_the_converted_notice_cannot_be_made_it_waits_and_the_connection_stays(world: Any, kit: Any) -> None:
    step = _Once()
    world.settings["content"] = ContentSteps(step)
    peer = kit.Peer(extensions=("PIPELINING",))

    async def run() -> Any:
        async with peer:
            world.connector(peer.port)
            deliverer = world.build()
            first = await deliverer.deliver(kit.delivery(**notice()))
            step.bodies.clear()
            await deliverer.deliver(kit.delivery(reverse_path="x@b.example", body=b"Subject: x\r\n\r\n"))
            world.pool.close()
            return first

    result = only(asyncio.run(run()))
    assert (result.disposition, result.reply.text, result.detail["detail"]) == (
        Disposition.DEFERRED,
        "451 4.7.5 Not now",
        "no key",
    )
    assert len(peer.connections) == 1
    assert peer.said("MAIL") == 1
    assert [message.content for message in peer.messages] == [b"Subject: x\r\n\r\n"]


def test_a_new_configuration_counts_from_the_next_attempt(world: Any, kit: Any) -> None:
    """Everything that is asked of the directory is asked of the new one: routes, what holds mail, what steps see."""
    step = _Seen()
    world.settings["content"] = ContentSteps(step)

    async def run() -> tuple[Any, Any]:
        async with kit.Peer() as old, kit.Peer() as new:
            world.connector(old.port)
            deliverer = world.build()
            await deliverer.deliver(kit.delivery())
            world.connector(new.port)
            deliverer.use(directory := world.directory())
            await deliverer.deliver(kit.delivery())
            world.pool.close()
            return (len(old.messages), len(new.messages)), directory

    counts, directory = asyncio.run(run())
    assert counts == (1, 1)
    assert step.directories[0] is not directory
    assert step.directories[1] is directory


class _Seen:
    def __init__(self) -> None:
        self.directories: list[Any] = []

    async def apply(self, outgoing: Any, body: MessageBody) -> tuple[MessageBody, dict[str, Any]]:
        self.directories.append(outgoing.directory)
        return body, {}
