"""Proves what becomes of mail that a partner does not take: deferred, or failed with a notice that machines can read.

4xx and network faults wait, 5xx fail; the notice is RFC 3464, goes to the sender's mailbox, obeys RFC 3461, and is not
sent for the null reverse-path. Delay and expiry are shown with short times in the settings.
"""

from __future__ import annotations

import email
import email.policy
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from email.message import Message
from typing import Any

import pytest
from support.gateway import Gateway
from support.raw import RawClient
from support.scenes import ALICE, connector, contoso, message, outcomes, send

from gatepost.testing.mail import Mail
from gatepost.testing.pki import Pki
from gatepost.testing.process import wait_until
from gatepost.testing.sink import Behaviour, Sink


@dataclass(frozen=True, slots=True)
class Fault:
    """behaviour: of the partner. event: DEFER or FAIL. code: how the trace's reply begins."""

    behaviour: Behaviour
    event: str
    code: str


FAULTS = {
    "greeting 421": Fault(Behaviour(replies={"CONNECT": "421 4.3.2 Busy"}), "DEFER", "421 4.3.2 Busy"),
    "greeting 554": Fault(
        Behaviour(replies={"CONNECT": "554 5.7.1 Go away"}),
        "DEFER",
        "450 4.7.1 The host refused to talk to us: 554 5.7.1",
    ),
    "greeting 521": Fault(Behaviour(replies={"CONNECT": "521 5.3.2 No mail"}), "FAIL", "521 5.3.2 No mail"),
    "EHLO 421": Fault(Behaviour(replies={"EHLO": "421 4.3.2 Busy"}), "DEFER", "421 4.3.2 Busy"),
    "MAIL 451": Fault(Behaviour(replies={"MAIL": "451 4.7.1 Greylisted"}), "DEFER", "451 4.7.1 Greylisted"),
    "MAIL 550": Fault(Behaviour(replies={"MAIL": "550 5.7.1 Not you"}), "FAIL", "550 5.7.1 Not you"),
    "RCPT 450": Fault(Behaviour(replies={"RCPT": "450 4.2.1 Later"}), "DEFER", "450 4.2.1 Later"),
    "RCPT 550": Fault(Behaviour(replies={"RCPT": "550 5.1.1 Unknown"}), "FAIL", "550 5.1.1 Unknown"),
    "RCPT 550 without a status": Fault(Behaviour(replies={"RCPT": "550 Unknown"}), "FAIL", "550"),
    "DATA 451": Fault(
        Behaviour(replies={"DATA": "451 4.3.0 Later"}, extensions=("PIPELINING",)), "DEFER", "451 4.3.0 Later"
    ),
    "DATA 554": Fault(Behaviour(replies={"DATA": "554 5.7.1 No"}, extensions=("8BITMIME",)), "FAIL", "554 5.7.1 No"),
    "end 452": Fault(Behaviour(replies={".": "452 4.3.1 Full"}), "DEFER", "452 4.3.1 Full"),
    "end 554": Fault(Behaviour(replies={".": "554 5.7.1 Spam"}), "FAIL", "554 5.7.1 Spam"),
    "cut at EHLO": Fault(Behaviour(drops=frozenset({"EHLO"})), "DEFER", "450 4.4.318"),
    "cut at MAIL": Fault(Behaviour(drops=frozenset({"MAIL"})), "DEFER", "450 4.4.318"),
    "cut at the end": Fault(Behaviour(drops=frozenset({"."})), "DEFER", "450 4.4.318"),
    "nobody there": Fault(Behaviour(), "DEFER", "450 4.4.316"),
}


@pytest.fixture(scope="module")
def faulty_gateway() -> Iterator[Gateway]:
    """A gateway with a connector for each partner of the table, and the partners."""
    with ExitStack() as stack:
        sinks = {name: stack.enter_context(Sink(behaviour=fault.behaviour)) for name, fault in FAULTS.items()}
        sinks["nobody there"].stop()
        connectors = [connector(_domain(name), sink.address) for name, sink in sinks.items()]
        yield stack.enter_context(Gateway(contoso(outbound=connectors)))


@pytest.fixture(scope="module")
def events(faulty_gateway: Gateway) -> dict[str, dict[str, Any]]:
    """Every case's message was sent: the row of the trace that tells its end, by recipient."""
    wanted = {f"bob@{_domain(name)}": fault.event for name, fault in FAULTS.items()}
    for recipient in wanted:
        send(faulty_gateway.port, recipient)
    return outcomes(faulty_gateway, wanted)


@pytest.mark.parametrize("name", FAULTS)
def test_a_partners_refusal_decides_between_later_and_never(
    faulty_gateway: Gateway, events: dict[str, dict[str, Any]], name: str
) -> None:
    fault = FAULTS[name]
    recipient = f"bob@{_domain(name)}"
    assert events[recipient]["reply"].startswith(fault.code), events[recipient]["reply"]

    def entries() -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = faulty_gateway.cli("queue", "list", "--recipient", recipient, json=True).data
        return rows

    if fault.event == "DEFER":  # the trace may have an attempt a moment before the queue
        wait_until(lambda: [row for row in entries() if fault.code in row["last_error"]], "the queue to say why")
        assert len(entries()) == 1
        assert [mail for mail in faulty_gateway.maildir(ALICE) if recipient in mail.body.decode()] == []
        return
    wait_until(lambda: not entries(), "the queue to be rid of it")
    (notice,) = _notices(faulty_gateway, recipient)
    (fields,) = _recipients(notice)
    assert fields["Action"] == "failed"
    assert fields["Status"].startswith("5.")
    assert fault.code in fields["Diagnostic-Code"]


def test_a_failure_notice_is_rfc_3464(gateway: Callable[..., Gateway], sink: Callable[..., Sink]) -> None:
    """Two of three recipients are refused: one notice tells of them and of nobody else."""
    refusals = {"bob@partner.example": "550 5.1.1 No bob", "carol@partner.example": "550 5.2.1 Carol is away"}
    partner = sink(behaviour=Behaviour(recipients=refusals))
    server = gateway(contoso(outbound=[connector("partner.example", partner.address)]))
    content = message("the subject", "secret body")
    send(
        server.port,
        ["bob@partner.example", "carol@partner.example", "dave@partner.example"],
        content=content,
        mail=["RET=HDRS", "ENVID=case+2B7"],
        rcpt=["NOTIFY=FAILURE", "ORCPT=rfc822;first+2Bname@partner.example"],
    )
    partner.wait_messages(1)
    (mail,) = server.wait_maildir(ALICE)
    assert mail.field("Return-Path") == "<>"
    assert mail.field("To").strip("<>") == ALICE
    assert mail.field("Auto-Submitted") == "auto-replied"
    assert mail.field("Message-ID")
    assert mail.field("Date")
    assert b"\n" not in mail.raw.replace(b"\r\n", b"")
    parsed = _parsed(mail)
    assert parsed.get_content_type() == "multipart/report"
    assert parsed.get_param("report-type") == "delivery-status"
    text, status, returned = parsed.get_payload()
    assert text.get_content_type() == "text/plain"
    assert "No bob" in text.get_content()
    assert status.get_content_type() == "message/delivery-status"
    per_message, *per_recipient = status.get_payload()
    assert per_message["Reporting-MTA"] == "dns; mx1.contoso.example"
    assert per_message["Original-Envelope-Id"] == "case+7"
    assert {one["Final-Recipient"] for one in per_recipient} == {f"rfc822; {address}" for address in refusals}
    assert {one["Status"] for one in per_recipient} == {"5.1.1", "5.2.1"}
    assert {one["Action"] for one in per_recipient} == {"failed"}
    assert {one["Original-Recipient"] for one in per_recipient} == {"rfc822; first+name@partner.example"}
    assert all("smtp; 550 5." in one["Diagnostic-Code"] for one in per_recipient)
    assert returned.get_content_type() == "text/rfc822-headers"
    assert "the subject" in returned.as_string()
    assert "secret body" not in mail.raw.decode()
    wait_until(lambda: server.cli("queue", "list", json=True).data == [], "the queue to run empty")


@pytest.mark.parametrize(
    ("notify", "expected"), [("NEVER", 0), ("SUCCESS", 0), ("DELAY", 0), ("FAILURE", 1), ("SUCCESS,FAILURE", 1)]
)
def test_notify_decides_whether_a_failure_is_told(faulty_gateway: Gateway, notify: str, expected: int) -> None:
    recipient = f"{notify.lower().replace(',', '-')}@{_domain('RCPT 550')}"
    send(faulty_gateway.port, recipient, rcpt=[f"NOTIFY={notify}"])
    faulty_gateway.wait_trace(recipient=recipient, event="FAIL")
    # A notice is queued in the transaction that records the failure; one for a witness shows when it would be here.
    witness = f"witness-{recipient}"
    send(faulty_gateway.port, witness)
    _notices(faulty_gateway, witness)
    found = [mail for mail in faulty_gateway.maildir(ALICE) if f" {recipient}\r\n".encode() in mail.body]
    assert len(found) == expected


@pytest.mark.parametrize(
    ("recipient", "extensions", "action"),
    [
        ("ann@contoso.example", (), "delivered"),
        ("bob@partner.example", ("8BITMIME",), "relayed"),
        ("bob@partner.example", ("8BITMIME", "DSN"), ""),  # the next hop is told, and tells
    ],
    ids=["mailbox", "next hop without DSN", "next hop with DSN"],
)
def test_success_is_told_to_who_asked(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], recipient: str, extensions: tuple[str, ...], action: str
) -> None:
    partner = sink(behaviour=Behaviour(extensions=extensions))
    server = gateway(contoso(outbound=[connector("partner.example", partner.address)]))
    send(server.port, recipient, rcpt=["NOTIFY=SUCCESS"])
    if action:
        (notice,) = server.wait_maildir(ALICE)
        (fields,) = _recipients(notice)
        assert fields["Final-Recipient"] == f"rfc822; {recipient}"
        assert fields["Action"] == action
        assert fields["Status"].startswith("2.")
        return
    server.wait_trace(recipient=recipient, event="SEND")
    assert "NOTIFY=SUCCESS" in partner.messages[0].parameters
    assert server.maildir(ALICE) == []


def test_ret_full_returns_the_whole_message(faulty_gateway: Gateway) -> None:
    recipient = f"full@{_domain('end 554')}"
    send(faulty_gateway.port, recipient, content=message("whole", "the very body"), mail=["RET=FULL"])
    (notice,) = _notices(faulty_gateway, recipient)
    returned = _parsed(notice).get_payload()[2]
    assert returned.get_content_type() == "message/rfc822"
    assert "the very body" in returned.as_string()


def test_no_notice_for_the_null_reverse_path(gateway: Callable[..., Gateway], sink: Callable[..., Sink]) -> None:
    partner = sink(behaviour=Behaviour(replies={"RCPT": "550 5.1.1 Unknown"}))
    relay = {"name": "relay.example", "type": "internal-relay"}
    server = gateway(
        contoso(domains=[{"name": "contoso.example"}, relay], outbound=[connector("relay.example", partner.address)])
    )
    send(server.port, "bob@relay.example", sender="")
    (event,) = server.wait_trace(recipient="bob@relay.example", event="FAIL")
    assert event.get("sender", "") == ""
    send(server.port, "ann@contoso.example", sender="")
    server.wait_trace(recipient="ann@contoso.example", event="DELIVER")
    wait_until(lambda: server.cli("queue", "list", json=True).data == [], "an empty queue")
    assert partner.counts["RCPT"] == 1
    assert {event["recipient"] for event in server.trace()} == {"bob@relay.example", "ann@contoso.example"}


def test_delay_and_expiry_are_told_and_say_what_was_missing(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], pki: Pki
) -> None:
    """A message under an unmet requirement: first a delay notice, at the end a failure that names the certificate."""
    partner = sink(certificate=pki.leaf("other.elsewhere.example"))
    forced = {"tls_settings": "domain-validation", "tls_domain": "mx.bank.example", "trust_anchors": str(pki.root)}
    server = gateway(
        contoso(outbound=[connector("bank.example", partner.address, **forced)], message_expiration="7s"),
        settings={"queue": {"retry": ["1s"], "delay_notice": "2s"}},
    )
    send(server.port, "bob@bank.example")
    delayed, failed = server.wait_maildir(ALICE, 2, timeout=30)
    if "Action: failed" in delayed.body.decode():
        delayed, failed = failed, delayed
    (delay,), (failure,) = _recipients(delayed), _recipients(failed)
    assert (delay["Action"], failure["Action"]) == ("delayed", "failed")
    assert delay["Status"] == "4.7.320"
    assert delay["Will-Retry-Until"]
    assert failure["Status"] == "5.7.320"
    for mail in (delayed, failed):
        assert "mx.bank.example" in mail.body.decode()
        assert "other.elsewhere.example" in mail.body.decode()
    assert server.wait_trace(recipient="bob@bank.example", event="EXPIRE")
    assert len(server.trace(recipient="bob@bank.example", event="DEFER")) >= 2
    assert partner.counts["MAIL"] == 0


def test_a_loop_ends_with_a_refusal(faulty_gateway: Gateway) -> None:
    loop = b"Received: from here\r\n by there; Mon, 1 Jan 2024 00:00:00 +0000\r\n" * 30 + message()
    with RawClient(faulty_gateway.port) as client:
        client.greet()
        client.send(f"MAIL FROM:<{ALICE}>\r\nRCPT TO:<ann@contoso.example>\r\nDATA\r\n".encode())
        assert [client.reply().code for _ in range(3)] == [250, 250, 354]
        client.send(loop + b".\r\n")
        reply = client.reply()
    assert (reply.code, reply.enhanced) == (554, "5.4.6")
    assert faulty_gateway.maildir("ann@contoso.example") == []


def _domain(name: str) -> str:
    return f"{name.lower().replace(' ', '-')}.example"


def _notices(gateway: Gateway, recipient: str) -> list[Mail]:
    """Notices that name a recipient, once there is one."""
    wanted = f" {recipient}\r\n".encode()
    count = len(gateway.maildir(ALICE))
    while not (found := [mail for mail in gateway.maildir(ALICE) if wanted in mail.body]):
        gateway.wait_maildir(ALICE, count + 1)
        count += 1
    return found


def _parsed(mail: Mail) -> Message:
    return email.message_from_bytes(mail.content, policy=email.policy.default)


def _recipients(mail: Mail) -> list[Message]:
    """The per-recipient parts of a delivery status."""
    return _parsed(mail).get_payload()[1].get_payload()[1:]
