"""Proves that a message's way is one trace for OpenTelemetry, and that who receives traces never delays mail."""

from __future__ import annotations

import smtplib
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from support.gateway import Gateway
from support.otlp import ReceivedSpan, TraceReceiver
from support.scenes import ALICE, STRANGER, connector, contoso, message, send
from support.site_scene import KEY, KEY_VARIABLE, MX1, MX2, TwoNodes

from gatepost.testing.pki import Pki
from gatepost.testing.process import free_port, wait_until
from gatepost.testing.sink import Sink

ANN = "ann@contoso.example"
BOB = "bob@partner.example"
SERVER, CLIENT = 2, 3  # SpanKind of OTLP


def otel(url: str, **more: Any) -> dict[str, Any]:
    return {"otel": {"endpoint": url, **more}}


def identified(name: str) -> bytes:
    return f"Message-ID: <{name}@contoso.example>\r\n".encode() + message("the secret subject", "the secret body")


def wait_spans(receiver: TraceReceiver, name: str, count: int = 1) -> list[ReceivedSpan]:
    def there() -> list[ReceivedSpan] | None:
        found = receiver.named(name)
        return found if len(found) >= count else None

    found = wait_until(there, f"{count} spans {name}", timeout=40)
    assert len(found) == count
    return found


def test_each_message_is_a_trace_with_its_arrival_and_its_way(
    running: ExitStack, gateway: Callable[..., Gateway], sink: Callable[..., Sink], pki: Pki
) -> None:
    receiver = running.enter_context(TraceReceiver())
    leaf = pki.leaf("mx.partner.example")
    partner = sink(certificate=leaf)
    forced = connector(
        "partner.example", partner.address, tls_settings="domain-validation", tls_domain="mx.partner.example"
    )
    server = gateway(
        contoso(outbound=[forced]),
        anchors=pki.root,
        certificates=[pki.leaf("mx1.contoso.example")],
        settings=otel(receiver.url),
    )
    with smtplib.SMTP("127.0.0.1", server.port, timeout=30) as client:  # two messages of one session
        client.sendmail(ALICE, [BOB], identified("one"))
        client.sendmail(ALICE, [BOB, ANN], identified("two"))
    partner.wait_messages(2)
    sent, delivered = wait_spans(receiver, "smtp.send", 2), wait_spans(receiver, "mailbox.deliver")
    received = {one.trace: one for one in wait_spans(receiver, "smtp.receive", 2)}
    queued = wait_spans(receiver, "queue", 3)
    assert len(received) == 2
    assert {one.trace for one in sent} == set(received)
    for one in (*sent, *delivered, *queued):
        assert one.parent == received[one.trace].id
        assert one.start <= one.end
        assert not one.failed
        assert one.attributes["gatepost.queue_id"] == received[one.trace].attributes["gatepost.queue_id"]
    for one in received.values():
        assert (one.kind, one.parent, one.failed) == (SERVER, b"", False)
        assert one.attributes["client.address"] == "127.0.0.1"
        assert one.attributes["tls.established"] is False
        assert one.attributes["gatepost.connector"] == "own servers"
        assert one.resource["service.name"] == "gatepost"
        assert one.resource["host.name"] == "mx1.contoso.example"
    assert sorted(one.attributes["gatepost.recipient_count"] for one in received.values()) == [1, 2]
    (both,) = [one for one in received.values() if one.attributes["gatepost.recipient_count"] == 2]
    assert both.attributes["gatepost.recipients"] == [BOB, ANN]
    assert [one.trace for one in delivered] == [both.trace]
    for one in sent:
        assert one.kind == CLIENT
        found = one.attributes
        assert found["gatepost.organization"] == "contoso"
        assert found["gatepost.connector"] == "partner.example"
        assert found["gatepost.requirement"] == "authenticated(mx.partner.example)"
        assert found["gatepost.achieved"].endswith("authenticated")
        assert found["network.peer.address"] == "127.0.0.1"
        assert (found["tls.established"], found["tls.protocol.version"]) == (True, "1.3")
        assert found["tls.cipher"].startswith("TLS_")
        assert found["tls.curve"]
        assert len(found["tls.server.hash.sha256"]) == 64
    assert len({one.id for one in receiver.spans}) == len(receiver.spans) == 8
    assert b"secret" not in receiver.bodies


def test_what_fails_is_an_error_and_addresses_are_hidden_as_in_the_log(
    running: ExitStack, gateway: Callable[..., Gateway], sink: Callable[..., Sink]
) -> None:
    receiver = running.enter_context(TraceReceiver())
    plain = sink()
    forced = connector("partner.example", plain.address, tls_settings="encryption-only")
    server = gateway(
        contoso(outbound=[forced]),
        settings=otel(receiver.url, service_name="mail.contoso") | {"log": {"addresses": "none"}},
    )
    send(server.port, BOB, content=identified("one"))
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        send(server.port, "nobody@contoso.example", sender=STRANGER)
    deferred = wait_until(lambda: receiver.named("smtp.send"), "an attempt", timeout=40)[0]
    (refused,) = wait_spans(receiver, "smtp.refuse")
    assert deferred.failed
    assert deferred.attributes["gatepost.event"] == "defer"
    assert deferred.attributes["error.type"] == "starttls-not-supported"
    assert deferred.attributes["gatepost.requirement"] == "encrypted"
    assert deferred.said.startswith("4")
    assert refused.failed
    assert (refused.said, refused.attributes["error.type"]) == ("550 5.1.1", "5.1.1")
    assert refused.resource["service.name"] == "mail.contoso"
    for address in (b"alice", b"bob", b"nobody", b"mallory", b"elsewhere.example"):
        assert address not in receiver.bodies


def test_nothing_is_sent_of_what_is_not_sampled(running: ExitStack, gateway: Callable[..., Gateway]) -> None:
    receiver = running.enter_context(TraceReceiver())
    server = gateway(contoso(), settings=otel(receiver.url, sample=0))
    send(server.port, ANN, sender=STRANGER)
    server.wait_maildir(ANN)
    assert server.stop() == 0  # by then all that waits was sent
    assert receiver.headers == []


def test_all_that_waits_is_sent_at_the_end(running: ExitStack, gateway: Callable[..., Gateway]) -> None:
    receiver = running.enter_context(TraceReceiver())
    server = gateway(contoso(), settings=otel(receiver.url, sample=1000))
    send(server.port, ANN, sender=STRANGER)
    server.wait_maildir(ANN)
    assert server.stop() == 0
    assert sorted(one.name for one in receiver.spans) == ["mailbox.deliver", "queue", "smtp.receive"]
    assert len({one.trace for one in receiver.spans}) == 1


def test_mail_goes_on_while_the_receiver_is_down(running: ExitStack, gateway: Callable[..., Gateway]) -> None:
    port, numbers = free_port(), free_port()
    server = gateway(
        contoso(),
        settings=otel(f"http://127.0.0.1:{port}/v1/traces") | {"metrics": {"address": f"127.0.0.1:{numbers}"}},
    )
    for count in range(1, 4):
        send(server.port, ANN, sender=STRANGER)
        server.wait_maildir(ANN, count)
    wait_until(lambda: "traces cannot be sent" in server.log(), "the warning", timeout=40)
    receiver = running.enter_context(TraceReceiver(port=port))

    send(server.port, ANN, sender=STRANGER, content=identified("after"))
    wait_until(lambda: receiver.named("mailbox.deliver"), "spans", timeout=60)
    wait_until(lambda: " takes traces again" in server.log(), "the end of the outage", timeout=40)
    (said,) = [line for line in server.log().splitlines() if "traces cannot be sent" in line]
    assert f"127.0.0.1:{port}: no connection; mail is not concerned" in said
    assert server.stop() == 0
    figures = (server.data_dir / "workers" / "0.json").read_text()
    assert "gatepost_spans_dropped_total" in figures


def test_over_https_with_a_secret_and_by_the_trust_anchors(
    running: ExitStack, gateway: Callable[..., Gateway], pki: Pki, tmp_path: Path
) -> None:
    receiver = running.enter_context(TraceReceiver(pki.leaf("127.0.0.1")))
    secret = tmp_path / "secret"
    secret.touch(0o600)
    secret.write_text("Bearer the-token\n")
    settings = otel(receiver.url, secret=f"file:{secret}")
    server = gateway(contoso(), anchors=pki.root, settings=settings)
    send(server.port, ANN, sender=STRANGER)
    for name in ("smtp.receive", "queue", "mailbox.deliver"):  # nothing comes after these
        wait_spans(receiver, name)
    assert {one["authorization"] for one in receiver.headers} == {"Bearer the-token"}
    stranger = gateway(contoso(), settings=settings)  # which trusts the roots of the system alone
    taken = len(receiver.headers)
    send(stranger.port, ANN, sender=STRANGER)
    wait_until(lambda: "TLS failed; is its certificate by one of tls.trust_anchors" in stranger.log(), "", timeout=40)
    stranger.wait_maildir(ANN)
    assert len(receiver.headers) == taken
    assert "the-token" not in server.log() + stranger.log()


@pytest.mark.parametrize(
    ("status", "said"),
    [(302, "HTTP status 302, and redirections are not followed"), (401, "it answers with HTTP status 401")],
)
def test_who_does_not_take_traces_is_named(
    running: ExitStack, gateway: Callable[..., Gateway], status: int, said: str
) -> None:
    receiver = running.enter_context(TraceReceiver())
    receiver.status = status
    server = gateway(contoso(), settings=otel(receiver.url))
    send(server.port, ANN, sender=STRANGER)
    wait_until(lambda: said in server.log(), said, timeout=40)
    server.wait_maildir(ANN)
    assert receiver.spans == []


def test_on_two_nodes_it_is_one_trace(running: ExitStack, pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    receiver = running.enter_context(TraceReceiver())
    certificate = pki.leaf(MX1, names=[MX1, MX2])
    nodes = TwoNodes(running, certificates=[certificate], settings=otel(receiver.url))
    send(nodes.mx1.port, ANN, sender=STRANGER, content=identified("home"))
    (delivered,) = wait_spans(receiver, "mailbox.deliver")
    (sent,) = wait_spans(receiver, "smtp.send")
    first, second = sorted(wait_spans(receiver, "smtp.receive", 2), key=lambda one: one.parent)
    assert {one.resource["host.name"] for one in (first, sent)} == {MX1}
    assert {one.resource["host.name"] for one in (second, delivered)} == {MX2}
    assert first.parent == b""
    for one in (second, sent, delivered):
        assert (one.trace, one.parent) == (first.trace, first.id)
        assert one.attributes["gatepost.session"] == first.attributes["gatepost.session"]
