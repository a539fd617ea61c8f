from __future__ import annotations

import errno

import pytest

from gatepost.mail.outbound import failure
from gatepost.mail.outbound.failure import HopFailed, HopFailure
from gatepost.net.lookups.question import LookupFailed
from gatepost.net.stream import Loss, LossKind
from gatepost.policy.decisions.destination_history import Drop
from gatepost.policy.decisions.facts import HopFacts
from gatepost.policy.decisions.outbound import judge
from gatepost.policy.decisions.requirement import Achieved, Encrypted, MxLevel, Opportunistic, TlsLevel
from gatepost.protocols.smtp.replies import Reply


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (failure.cannot_connect(TimeoutError("no connection")), "450 4.4.315"),
        (failure.cannot_connect(ConnectionRefusedError(111, "Connection refused")), "450 4.4.316"),
        (failure.cannot_connect(OSError(errno.ENETUNREACH, "Network is unreachable")), "450 4.4.317"),
        (failure.lookup_failed(LookupFailed("servfail")), "450 4.4.312"),
        (failure.lookup_failed(LookupFailed("no name", temporary=False)), "550 5.4.4"),
        (failure.lookup_failed(LookupFailed("no name", temporary=False), lasting=False), "450 4.4.312"),
        (failure.no_address("mx.b.example has none"), "550 5.4.4"),
        (failure.no_address("mx.b.example has none", lasting=False), "450 4.4.312"),
        (failure.local_fault("no key"), "450 4.3.5"),
        (failure.protocol_broken("rubbish"), "450 4.5.0"),
        (
            failure.refused(Reply(554, "5.7.1", ("go away",)), "EHLO"),
            "450 4.7.1 The host refused to talk to us: 554 5.7.1",
        ),
        (failure.refused(Reply(554, "", ("go away",)), "EHLO"), "450 4.3.2"),
        (failure.refused(Reply(521, "5.3.2", ("no mail",)), "EHLO"), "521 5.3.2 no mail"),
        *[(failure.connection_lost(Loss(kind)), "450 4.") for kind in LossKind],
        (
            failure.connection_lost(Loss(LossKind.HANDSHAKE)),
            "450 4.4.317 Cannot establish session with remote server [Message=TlsHandshakeFailed]",
        ),
    ],
)
def test_codes(found: HopFailure, code: str) -> None:
    assert found.reply.text.startswith(code)
    assert found.detail
    assert found.text.endswith(f"({found.detail})")
    assert str(HopFailed(found)) == found.text


def test_our_words_say_where_and_the_peers_stay_as_they_are() -> None:
    ours = failure.protocol_broken("rubbish").at("mx.b.example", "192.0.2.1:25", ("< 220 hi",))
    where = "[LastAttemptedServerName=mx.b.example] [LastAttemptedIP=192.0.2.1:25]"
    assert ours.reply.text == f"450 4.5.0 The next hop broke the protocol {where}"
    assert (ours.host, ours.address, ours.transcript) == ("mx.b.example", "192.0.2.1:25", ("< 220 hi",))
    for lasting in (True, False):
        assert failure.no_address("x", lasting=lasting).at("x", "").reply.text.endswith("[LastAttemptedServerName=x]")
    peers = failure.refused(Reply(450, "4.3.2", ("busy",)), "EHLO").at("mx.b.example", "192.0.2.1:25")
    assert peers.reply.text == "450 4.3.2 busy"


@pytest.mark.parametrize("awaiting", ["MAIL", ""])
def test_a_loss_in_a_transaction(awaiting: str) -> None:
    reply = failure.loss_reply(Loss(LossKind.RESET, "ECONNRESET"), awaiting)
    where = "waiting for the reply to MAIL" if awaiting else "sending the message"
    assert reply.text == f"450 4.4.318 Connection was closed abruptly while {where}"


def test_a_failure_without_detail_is_its_reply() -> None:
    assert HopFailure(Reply(450, "4.3.2", ("busy",)), "").text == "450 4.3.2 busy"


def test_a_shortfall_keeps_facts_and_verdict() -> None:
    facts = HopFacts("mx.b.example", "192.0.2.1:25")
    found = failure.fell_short(judge(Encrypted(()), facts), facts, ("< 220 hi",))
    assert (found.result_type, found.facts, found.host) == ("starttls-not-supported", facts, "mx.b.example")
    with pytest.raises(ValueError, match="nothing is missing"):
        failure.fell_short(judge(Opportunistic(()), facts), facts, ())


def test_a_host_that_must_not_be_used_waits_with_the_cause() -> None:
    found = failure.lookup_failed(LookupFailed("forged", bogus=True), "mx.b.example").at("mx.b.example", "")
    assert found.result_type == "dnssec-invalid"
    assert found.reply.text == (
        "450 4.7.324 dnssec-invalid: Destination domain returned invalid DNSSEC records "
        "[Message=DnssecInvalid forged.] [LastAttemptedServerName=mx.b.example]"
    )
    unanswered = failure.lookup_failed(LookupFailed("no answer"), "b.example")
    assert unanswered.reply.enhanced == "4.4.312"
    for failed, beginning in zip((unanswered, found), failure.NAMES_UNKNOWN, strict=True):
        assert failed.reply.text.startswith(beginning)


def test_a_drop_in_protection_reads_like_other_shortfalls_but_is_no_result_of_a_tls_report() -> None:
    was, now = Achieved(TlsLevel.AUTHENTICATED, MxLevel.DNSSEC), Achieved(TlsLevel.NONE)
    fallen = Drop("mx.b.example", was, 1_700_000_000.0, now, news=True)
    facts = HopFacts("mx.b.example", "192.0.2.1:25")
    found = failure.fell_below(fallen, facts, judge(Opportunistic(()), facts), ("> EHLO",))
    assert found.reply.text == (
        "450 4.4.317 Cannot establish session with remote server [Message=ProtectionDrop"
        " Expected: dnssec/authenticated, as seen since 2023-11-14 22:13Z. Presented: none/none by mx.b.example.]"
        " [LastAttemptedServerName=mx.b.example] [LastAttemptedIP=192.0.2.1:25]"
    )
    assert (found.drop, found.result_type, found.transcript) == (fallen, None, ("> EHLO",))


def test_between_nodes_a_refusal_for_good_waits_for_who_mends_it() -> None:
    stranger = failure.refused(Reply(521, "5.7.1", ("This port is for nodes",)), "the connection")
    found = failure.between_nodes(stranger)
    assert found.reply.text == "450 4.7.0 The node turned us away with: 521 5.7.1 This port is for nodes"
    busy = failure.refused(Reply(421, "4.3.2", ("later",)), "the connection")
    assert failure.between_nodes(busy) is busy


def test_a_failed_connection_is_told_in_the_words_of_the_system_without_its_number() -> None:
    assert failure.cannot_connect(ConnectionRefusedError(111, "Connection refused")).detail == "Connection refused"
    assert failure.cannot_connect(TimeoutError("no connection")).detail == "no connection"
