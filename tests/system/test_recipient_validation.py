"""Proves that recipients of relayed domains are known before 250: by a list, by asking the server behind the gateway.

Postfix is the server behind. A stranger's mail to nobody is refused, so that no notice goes to a forged sender.
"""

from __future__ import annotations

import smtplib
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from support.gateway import Gateway
from support.peers import Postfix
from support.scenes import ALICE, STRANGER, connector, contoso, message, outcomes, send

from gatepost.testing.pki import Pki
from gatepost.testing.process import wait_until
from gatepost.testing.sink import Behaviour, Sink

type Start[T] = Callable[..., T]

KNOWN, NOBODY = "known@relay.example", "nobody@relay.example"


def relayed(address: str, /, how: str, **fields: Any) -> dict[str, Any]:
    """contoso, with relay.example on a server of its own behind the gateway."""
    domain = {"name": "relay.example", "type": "internal-relay", "recipient_validation": how} | fields
    return contoso(
        domains=[{"name": "contoso.example"}, domain],
        inbound=[],  # all clients are strangers
        outbound=[connector("relay.example", address, connector_type="on-premises")],
    )


def why_refused(gateway: Gateway, recipient: str) -> str:
    """Why a recipient was refused, by the trace."""
    return str(gateway.wait_trace(recipient=recipient, event="REFUSE")[0]["detail"]["why"])


def test_a_list_refuses_who_is_not_in_it_whoever_sends(gateway: Start[Gateway], postfix: Start[Postfix]) -> None:
    inner = postfix()
    server = gateway(relayed(inner.address, "list", recipients=["Known@relay.example"]))
    to = [KNOWN, "KNOWN@Relay.Example", NOBODY, ALICE]
    refused = send(server.port, to, sender=STRANGER, content=message("a stranger's"))
    assert refused == {NOBODY: refused[NOBODY]}
    code, text = refused[NOBODY]
    assert (code, text.startswith(b"5.1.1 Recipient address rejected: no such mailbox here [")) == (550, True)
    assert outcomes(server, {KNOWN: "SEND"})[KNOWN]["reply"].startswith("250")
    assert inner.wait_mails(1)[0].field("Subject") == "a stranger's"
    assert "is not in the recipient list of relay.example" in why_refused(server, NOBODY)
    # nobody wrote a notice: the only mail of the gateway's own is what ALICE got
    assert [mail.field("Subject") for mail in server.wait_maildir(ALICE)] == ["a stranger's"]

    explained = server.cli("explain", "--from", STRANGER, "--to", NOBODY, "--ip", "192.0.2.7", json=True, expect=None)
    assert explained.data["inbound"]["reply"].startswith("550 5.1.1")
    assert "recipient list of relay.example (configuration 1)" in explained.data["inbound"]["reasons"][-1]

    with smtplib.SMTP("127.0.0.1", server.port) as client:  # a message keeps the resources that it began with
        client.ehlo("client.example")
        client.mail(STRANGER)
        server.cli("domain", "set", "relay.example", "--organization", "contoso", f"recipients={NOBODY}")
        server.wait_in_force()
        assert client.rcpt(KNOWN)[0] == 250
        client.rset()
        client.mail(STRANGER)
        assert client.rcpt(KNOWN)[0] == 550
    wait_until(lambda: set(send(server.port, [KNOWN, NOBODY], sender=STRANGER)) == {KNOWN}, "the new list")


def test_the_server_behind_is_asked_once_for_each_recipient(gateway: Start[Gateway], postfix: Start[Postfix]) -> None:
    inner = postfix(settings={"virtual_mailbox_maps": f"inline:{{ {{ {KNOWN} = all/ }} }}"})
    server = gateway(relayed(inner.address, "callout"))
    for _ in range(2):
        refused = send(server.port, [KNOWN, NOBODY, ALICE], sender=STRANGER)
        assert refused[NOBODY][1].startswith(b"5.1.1 Recipient address rejected: no such mailbox here [")
        assert list(refused) == [NOBODY]
    inner.wait_mails(2)
    wait_until(lambda: inner.log().count("status=sent") == 2, "what came before the second mail in its log")
    assert inner.log().count("reject: RCPT from") == 1  # the second time the answer is remembered
    reason = why_refused(server, NOBODY)
    assert reason.startswith(f"{NOBODY} does not exist: callout to 127.0.0.1 [{inner.address}], which said 550 5.1.1")
    wait_until(lambda: len(server.trace(recipient=KNOWN, event="RECEIVE")) == 2, "both rows of the trace")
    (first, second) = sorted(server.trace(recipient=KNOWN, event="RECEIVE"), key=lambda row: row["at"])
    assert "exists: callout to 127.0.0.1" in first["detail"]["reasons"][-1]
    assert "which said 250 2.1.5" in second["detail"]["reasons"][-1]
    words = "explain", "--from", STRANGER, "--to", NOBODY, "--ip", "192.0.2.7"
    assert "INBOUND       accepted if the recipient exists: 250 " in server.cli(*words, expect=None).stdout
    explained = server.cli(*words, json=True, expect=None)
    assert explained.data["inbound"]["reasons"][-1].startswith(f"whether {NOBODY} exists is asked at RCPT TO (callout)")


def rcpt(server: Gateway, recipient: str, sender: str = STRANGER) -> bytes:
    """The reply to RCPT."""
    with smtplib.SMTP("127.0.0.1", server.port, local_hostname="client.example") as client:
        client.ehlo()
        client.mail(sender)
        code, text = client.rcpt(recipient)
        return b"%d %s" % (code, text.partition(b" [")[0])


def test_no_question_is_asked_for_a_null_reverse_path(gateway: Start[Gateway], sink: Start[Sink]) -> None:
    inner = sink(behaviour=Behaviour(recipients={NOBODY: "550 5.1.1 unknown"}))
    server = gateway(relayed(inner.address, "callout"))
    for number in range(30):
        assert rcpt(server, f"nobody{number}@relay.example", "").startswith(b"250")
    assert inner.counts["CONNECT"] == 0
    assert rcpt(server, NOBODY).startswith(b"550 5.1.1")
    assert rcpt(server, NOBODY, "").startswith(b"550 5.1.1"), "what is known counts for everybody"
    assert (inner.counts["CONNECT"], inner.counts["DATA"], inner.counts["BDAT"]) == (1, 0, 0)


def test_a_client_that_asks_much_holds_up_nobody_who_asks_about_the_same_recipient(
    gateway: Start[Gateway], sink: Start[Sink]
) -> None:
    inner = sink(behaviour=Behaviour(holds=frozenset({"RCPT"})))
    server = gateway(relayed(inner.address, "callout"))
    asking = [smtplib.SMTP("127.0.0.1", server.port, source_address=("127.0.0.2", 0)) for _ in range(5)]
    for number, client in enumerate(asking):
        client.ehlo()
        client.mail(STRANGER)
        client.putcmd(f"RCPT TO:<{f'nobody{number}@relay.example' if number < 4 else KNOWN}>")
        if number < 4:  # as many as one client may have under way
            wait_until(lambda count=number + 1: inner.counts["RCPT"] == count, "the question")
    with ThreadPoolExecutor(1) as other:
        answer = other.submit(rcpt, server, KNOWN)
        try:
            wait_until(lambda: inner.counts["RCPT"] == 5, "the question of another client", timeout=10)
        finally:
            inner.behaviour = Behaviour()
        assert answer.result().startswith(b"250")
    for client in asking:
        assert client.getreply()[0] == 250
        client.close()


def test_nothing_is_asked_below_the_requirement_of_the_connector(
    gateway: Start[Gateway], sink: Start[Sink], pki: Pki
) -> None:
    bare, wrong, right = (
        sink(),
        sink(certificate=pki.leaf("other.example")),
        sink(certificate=pki.leaf("inner.example")),
    )
    demand = {"tls_settings": "domain-validation", "tls_domain": "inner.example"}
    for inner, reply in ((bare, b"451 4.4.3"), (wrong, b"451 4.4.3"), (right, b"250")):
        resources = relayed(inner.address, "callout")
        resources["organization"]["contoso"]["outbound_connector"][0] |= demand
        server = gateway(resources, anchors=pki.root)
        assert rcpt(server, KNOWN).startswith(reply)
        assert inner.counts["RCPT"] == (inner is right)


@pytest.mark.parametrize(("choice", "reply"), [("defer", b"451 4.4.3"), ("accept", b"250")])
def test_a_server_that_is_down_is_left_alone_and_who_was_known_stays_known(
    gateway: Start[Gateway], sink: Start[Sink], choice: str, reply: bytes
) -> None:
    inner = sink()
    server = gateway(relayed(inner.address, "callout", recipient_validation_unavailable=choice))
    assert rcpt(server, KNOWN).startswith(b"250")
    inner.stop()
    assert rcpt(server, KNOWN).startswith(b"250")
    assert rcpt(server, NOBODY).startswith(reply)
    if choice == "defer":
        assert "it is not known whether nobody@relay.example exists: callout without an answer" in why_refused(
            server, NOBODY
        )


def test_many_who_ask_about_one_recipient_cause_one_question(gateway: Start[Gateway], sink: Start[Sink]) -> None:
    inner = sink(behaviour=Behaviour(delays={"RCPT": 1.0}, recipients={NOBODY: "550 5.1.1 unknown"}))
    server = gateway(relayed(inner.address, "callout"))
    with ThreadPoolExecutor(12) as threads:
        replies = list(threads.map(lambda _: rcpt(server, NOBODY), range(12)))
    assert all(text.startswith(b"550 5.1.1") for text in replies)
    assert inner.counts["RCPT"] == 1


def test_a_client_that_hangs_up_meanwhile_leaves_nothing(gateway: Start[Gateway], sink: Start[Sink]) -> None:
    inner = sink(behaviour=Behaviour(delays={"RCPT": 1.0}))
    server = gateway(relayed(inner.address, "callout"))
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(f"EHLO c\r\nMAIL FROM:<{STRANGER}>\r\nRCPT TO:<{KNOWN}>\r\n".encode())
        wait_until(lambda: inner.counts["RCPT"], "the question")
    assert rcpt(server, KNOWN).startswith(b"250")
    assert inner.counts["RCPT"] == 1
    assert "Traceback" not in server.log()


def test_a_harvester_is_sent_away(gateway: Start[Gateway]) -> None:
    settings = {"limits": {"unknown_recipients": 3}}
    server = gateway(relayed("127.0.0.1:9", "list", recipients=[KNOWN]), settings=settings)
    with smtplib.SMTP("127.0.0.1", server.port, local_hostname="client.example") as client:
        client.ehlo()
        client.mail(STRANGER)
        assert [client.rcpt(f"x{number}@relay.example")[0] for number in range(3)] == [550] * 3
        assert client.rcpt(KNOWN)[0] == 250
        code, text = client.rcpt(NOBODY)
        assert (code, text.startswith(b"4.7.0 Too many unknown recipients")) == (421, True)


@pytest.mark.parametrize(("choice", "notices"), [("send", 5), ("limited", 3), ("withheld", 0)])
def test_notices_to_strangers_are_limited_or_withheld_and_the_trace_says_so(
    gateway: Start[Gateway], sink: Start[Sink], choice: str, notices: int
) -> None:
    inner = sink(behaviour=Behaviour(recipients={NOBODY: "550 5.1.1 unknown"}))
    elsewhere = sink()
    resources = relayed(inner.address, "none")
    resources["organization"]["contoso"]["notices_to_strangers"] = choice
    resources["organization"]["contoso"]["outbound_connector"].append(connector("elsewhere.example", elsewhere.address))
    server = gateway(resources)
    for _ in range(5):
        assert send(server.port, NOBODY, sender=STRANGER, mail=["RET=FULL"]) == {}
    wait_until(lambda: len(server.trace(recipient=NOBODY, event="FAIL")) == 5, "five failures")
    wait_until(lambda: len(elsewhere.messages) == notices, "the notices")
    said = [row["detail"].get("notice", "") for row in server.trace(recipient=NOBODY, event="FAIL")]
    assert sum(text.startswith("withheld: ") for text in said) == 5 - notices
    assert all((b"Hello." in notice.data) is (choice == "send") for notice in elsewhere.messages)
