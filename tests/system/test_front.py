"""Proves that behind a load balancer or a filter the true client counts, and that nobody else says who it is.

HAProxy passes connections on with the PROXY protocol, swaks says XCLIENT; raw clients lie.
"""

from __future__ import annotations

import socket
import ssl
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import tomlkit
from support.debian import need
from support.gateway import Gateway
from support.haproxy import HaProxy
from support.peers import Postfix
from support.raw import ClosedError, RawClient, RawReply
from support.scenes import message

from gatepost.testing.pki import Pki
from gatepost.testing.process import wait_until

BALANCER, FILTER = "127.0.9.9", "127.0.8.8"
CLOUD = "127.0.4.4"
OWN, STRANGER = "127.0.5.5", "127.0.6.6"
OUTSIDE = "someone@internet.example"
RESOURCES: dict[str, Any] = {
    "organization": {
        "o": {
            "accepted_domain": [{"name": "o.example"}],
            "mailbox": [{"address": "ann@o.example"}],
            "inbound_connector": [
                {"name": "hq", "connector_type": "on-premises", "sender_ip_addresses": ["127.0.5.0/24"]},
                {
                    "name": "cloud filter",
                    "sender_domains": ["*"],
                    "sender_ip_addresses": [CLOUD],
                    "require_tls": False,
                    "ef_skip_ips": ["198.51.100.0/24"],
                },
                {
                    "name": "bank",
                    "sender_domains": ["bank.example"],
                    "sender_ip_addresses": ["9.9.9.0/24"],
                    "restrict_domains_to_ip_addresses": True,
                    "require_tls": False,
                },
                {
                    "name": "by certificate",
                    "connector_type": "on-premises",
                    "tls_sender_certificate_name": "*.o.example",
                },
            ],
        }
    }
}
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def version_2(client: str, *, command: int = 0x21, family: int = 0x11, more: bytes = b"") -> bytes:
    """A header of version 2 over TCP4."""
    addresses = socket.inet_aton(client) + socket.inet_aton("127.0.0.1") + struct.pack("!HH", 4711, 25)
    return SIGNATURE + struct.pack("!BBH", command, family, len(addresses + more)) + addresses + more


@pytest.fixture(scope="module")
def mx(pki: Pki) -> Iterator[Gateway]:
    """Behind one load balancer and one filter, each known by its address."""
    gateway = Gateway(
        RESOURCES,
        certificates=[pki.leaf("mx1.contoso.example")],
        anchors=pki.root,
        listeners=("mx", "submissions"),
        settings={"limits": {"connections_per_source": 4}},
    )
    settings = tomlkit.parse(gateway.config.read_text())
    for listener in settings["listener"]:
        listener["proxy_protocol_from"] = [BALANCER]
    settings["listener"][0]["xclient_from"] = [FILTER]
    gateway.config.write_text(tomlkit.dumps(settings))
    with gateway:
        yield gateway


@pytest.fixture(scope="module")
def haproxy(mx: Gateway, pki: Pki) -> Iterator[HaProxy]:
    ways = {
        "v1": "send-proxy",
        "v2": "send-proxy-v2 check check-send-proxy inter 1s",
        "tls": "send-proxy-v2-ssl-cn",
    }
    with HaProxy(ways, mx.address, BALANCER, {"tls": pki.leaf("mx1.contoso.example")}) as running:
        yield running


def relay(client: RawClient, to: str = OUTSIDE) -> RawReply:
    """Whether a server of the organization may relay, as the client after its EHLO."""
    assert client.command("MAIL FROM:<x@o.example>").code == 250
    return client.command(f"RCPT TO:<{to}>")


def session_of(reply: RawReply) -> str:
    return reply.text.rpartition(" ")[2].rstrip("]")


def row_of(mx: Gateway, reply: RawReply) -> dict[str, Any]:
    event = "RECEIVE" if reply.code == 250 else "REFUSE"
    (row, *_) = mx.wait_trace(session=session_of(reply), event=event)
    return row


# HAProxy


@pytest.mark.parametrize("way", ["v1", "v2"])
def test_the_client_behind_haproxy_is_the_client(mx: Gateway, haproxy: HaProxy, way: str) -> None:
    with RawClient(haproxy.ports[way], source=OWN) as client:
        client.greet()
        assert relay(client).code == 250
        assert client.command("RSET").code == 250
        accepted = relay(client, "ann@o.example")
        content = message(way)
        client.send(f"BDAT {len(content)} LAST\r\n".encode() + content)
        assert client.reply().code == 250
    row = row_of(mx, accepted)
    assert (row["peer_address"], row["connector"]) == (OWN, "hq")
    assert row["detail"]["introduction"] == {"how": "PROXY", "by": BALANCER}
    wait_until(lambda: any(f"[{OWN}]" in mail.head.decode() for mail in mx.maildir("ann@o.example")), "its Received")
    with RawClient(haproxy.ports[way], source=STRANGER) as client:
        client.greet()
        refused = relay(client)
        assert refused.enhanced == "5.7.64"
    row = row_of(mx, refused)
    assert row["peer_address"] == STRANGER
    assert f"it comes from {STRANGER} (by PROXY of {BALANCER})" in " ".join(row["detail"]["reasons"])
    assert STRANGER in wait_until(
        lambda: next((line for line in mx.log().splitlines() if session_of(refused) in line), ""), "its line"
    )


def test_tls_through_haproxy_is_the_clients_with_its_certificate(mx: Gateway, haproxy: HaProxy, pki: Pki) -> None:
    with RawClient(haproxy.ports["v2"], source=STRANGER) as client:
        client.greet()
        client.starttls(certificate=pki.client("mail.o.example"))
        client.command("EHLO client.example")
        assert relay(client).code == 250


def test_tls_that_haproxy_ends_is_told_and_not_trusted(mx: Gateway, haproxy: HaProxy, pki: Pki) -> None:
    client = RawClient(haproxy.ports["tls"], source=STRANGER)
    with client:
        client.handshake(certificate=pki.client("mail.o.example"))
        client.greet()
        refused = relay(client)
        assert refused.enhanced == "5.7.64"
    row = row_of(mx, refused)
    assert row["tls"] == {}
    assert row["detail"]["introduction"]["by"] == BALANCER
    assert row["detail"]["introduction"]["tls"]["version"] == "TLSv1.3"


def test_haproxys_health_checks_are_its_own(mx: Gateway, haproxy: HaProxy) -> None:
    before = len(mx.log())
    time.sleep(2.5)
    assert "v2/gateway is DOWN" not in haproxy.log()
    assert "must send a PROXY header" not in mx.log()[before:]


def test_connections_are_counted_by_their_client(mx: Gateway, haproxy: HaProxy) -> None:
    one, another = "127.0.5.77", "127.0.6.77"  # of which no connection of another test is still being closed
    clients = [RawClient(haproxy.ports["v2"], source=one) for _ in range(4)]
    clients += [RawClient(haproxy.ports["v2"], source=another) for _ in range(4)]
    try:
        assert [client.reply().code for client in clients] == [220] * 8
        with RawClient(haproxy.ports["v1"], source=another) as one_more:
            refused = one_more.reply()
            assert (refused.code, refused.lines[0][:20]) == (421, "4.7.0 too many conne")
            assert another in refused.text
    finally:
        for client in clients:
            client.close()


# What only a liar, or a broken proxy, sends


@pytest.mark.parametrize(
    "header", [f"PROXY TCP4 {OWN} 127.0.0.1 4711 25\r\n".encode(), version_2(OWN)], ids=["v1", "v2"]
)
def test_a_header_from_another_address_is_a_protocol_error(mx: Gateway, header: bytes) -> None:
    with RawClient(mx.port, source=STRANGER) as client:
        client.send(header + b"EHLO x\r\nMAIL FROM:<x@o.example>\r\nRCPT TO:<" + OUTSIDE.encode() + b">\r\nQUIT\r\n")
        answers = client.rest().splitlines()
    codes = [int(line[:3]) for line in answers]
    assert codes[0] == 220
    assert codes[1] in {421, 500}
    assert not [line for line in answers if line.startswith(b"250 2.1.5")]


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"EHLO client.example\r\n", "does not begin with a PROXY header"),
        (b"PROXY TCP4 127.0.5.5 127.0.0.1 x 25\r\n", "a port that is none"),
        (b"PROXY TCP6 127.0.5.5 ::1 1 25\r\n", "an address of the other family"),
        (b"PROXY " + b"x" * 200, "longer than 107 octets"),
        (SIGNATURE + b"\x21\x11\xff\xff", "announces 65535 octets"),
        (version_2(OWN, command=0x22), "which are not known"),
        (version_2(OWN, family=0x12), "which is no TCP"),
        (version_2(OWN, more=b"\x20\x00"), "a field that is cut off"),
    ],
)
def test_what_is_no_header_is_dropped_and_told_in_the_log(mx: Gateway, sent: bytes, why: str) -> None:
    with RawClient(mx.port, source=BALANCER) as client:
        client.send(sent)
        with pytest.raises((ClosedError, ConnectionResetError)):
            client.line()
    wait_until(lambda: f"{BALANCER}, which must send a PROXY header, is dropped: " in mx.log(), "its line")
    wait_until(lambda: why in mx.log(), why)


def test_who_sends_no_header_or_sends_it_slowly_is_not_waited_for(mx: Gateway) -> None:
    began = time.monotonic()
    with RawClient(mx.port, source=BALANCER) as silent, RawClient(mx.port, source=BALANCER, timeout=0.5) as slow:
        for octet in b"PROXY TCP4 127.0.5.5 127.0.0.1 4711 25" + b"0" * 50:  # as long as one may be, in 45 seconds
            try:
                slow.send(bytes([octet]))
                slow.line()
            except TimeoutError:
                continue
            except (ClosedError, ConnectionError):
                break
        else:
            pytest.fail("each octet gave it more time")
        with pytest.raises((ClosedError, ConnectionResetError)):
            silent.line()
    assert time.monotonic() - began > 4


@pytest.mark.parametrize(
    "header",
    [f"PROXY TCP4 {OWN} 127.0.0.1 4711 25\r\n".encode(), version_2(OWN, more=b"\x04\x00\x03abc")],
    ids=["v1", "v2"],
)
def test_a_header_may_come_an_octet_at_a_time(mx: Gateway, header: bytes) -> None:
    with RawClient(mx.port, source=BALANCER) as client:
        for octet in header:
            client.send(bytes([octet]))
            time.sleep(0.005)
        client.greet()
        assert relay(client).code == 250


@pytest.mark.parametrize(
    "header", [b"PROXY UNKNOWN\r\n", version_2(OWN, command=0x20), version_2(OWN, family=0)], ids=["v1", "LOCAL", "v2"]
)
def test_a_connection_of_the_proxys_own_is_no_clients(mx: Gateway, header: bytes) -> None:
    with RawClient(mx.port, source=BALANCER) as client:
        client.send(header)
        client.greet()
        refused = relay(client)
        assert refused.enhanced == "5.7.64"
    assert row_of(mx, refused)["peer_address"] == BALANCER


def test_a_client_hello_may_stand_right_behind_the_header(mx: Gateway) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(incoming, outgoing)
    with RawClient(mx.ports["submissions"], source=BALANCER) as client:
        first, greeting = version_2(OWN), b""
        while not greeting:
            try:
                session.do_handshake()
                greeting = session.read(100)
            except ssl.SSLWantReadError:
                client.send(first + outgoing.read())
                first = b""
                incoming.write(client.socket.recv(65536))
    assert greeting.startswith(b"220 ")


# XCLIENT


def test_swaks_speaks_for_its_client(mx: Gateway) -> None:
    need("swaks")
    said = subprocess.run(
        ["swaks", "--server", mx.address, "--local-interface", FILTER, "--from", "x@o.example", "--to", OUTSIDE,
         "--xclient-addr", OWN, "--xclient-name", "pc.o.example", "--quit-after", "RCPT"],
        capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    assert f"XCLIENT ADDR={OWN}" in said.replace("NAME=pc.o.example ", "")
    assert "250 2.1.5" in said


def test_xclient_begins_the_session_anew_and_names_the_client(mx: Gateway) -> None:
    with RawClient(mx.port, source=FILTER) as client:
        assert "XCLIENT NAME ADDR PORT PROTO HELO DESTADDR DESTPORT" in client.greet().lines
        greeting = client.command(f"XCLIENT ADDR={OWN} PORT=4711 HELO=pc.o.example PROTO=ESMTP")
        assert (greeting.code, greeting.lines[0][:14]) == (220, "ESMTP gatepost")
        assert client.command("MAIL FROM:<x@o.example>").code == 503
        client.command("EHLO pc.o.example")
        assert relay(client).code == 250
    with RawClient(mx.port, source=FILTER) as client:
        client.greet()
        assert client.command(f"XCLIENT ADDR={STRANGER}").code == 220
        assert not [line for line in client.command("EHLO pc.example").lines if line.startswith("XCLIENT")]
        # As with Postfix: what the filter passes on unread is the stranger's, who names no server of the organization.
        assert client.command(f"XCLIENT ADDR={OWN}").enhanced == "5.7.0"
        refused = relay(client)
        assert refused.enhanced == "5.7.64"
    row = row_of(mx, refused)
    assert (row["peer_address"], row["detail"]["introduction"]) == (STRANGER, {"how": "XCLIENT", "by": FILTER})


def test_the_filters_certificate_is_not_its_clients(mx: Gateway, pki: Pki) -> None:
    certificate = pki.client("mail.o.example")
    for order in ("before", "behind"):
        with RawClient(mx.port, source=FILTER) as client:
            client.greet()
            if order == "before":
                client.command(f"XCLIENT ADDR={STRANGER}")
                client.command("EHLO pc.example")
            client.starttls(certificate=certificate)
            client.command("EHLO pc.example")
            if order == "behind":
                assert relay(client).code == 250
                client.command("RSET")
                assert client.command(f"XCLIENT ADDR={STRANGER}").code == 220
                assert "STARTTLS" not in client.command("EHLO pc.example").lines
            assert relay(client).enhanced == "5.7.64"


@pytest.mark.parametrize(
    "words",
    [
        "",
        "NAME=pc.example",
        "ADDR=[UNAVAILABLE]",
        f"ADDR={OWN} LOGIN=ann@o.example",
        "ADDR=x",
        f"ADDR={OWN} ADDR={OWN}",
    ],
)
def test_what_xclient_must_not_say(mx: Gateway, words: str) -> None:
    with RawClient(mx.port, source=FILTER) as client:
        client.greet()
        assert client.command(f"XCLIENT {words}").code == 501


def test_nobody_else_speaks_for_others(mx: Gateway) -> None:
    for source in (STRANGER, OWN):
        with RawClient(mx.port, source=source) as client:
            assert not [line for line in client.greet().lines if line.startswith("XCLIENT")]
            reply = client.command(f"XCLIENT ADDR={OWN}")
            assert (reply.code, reply.enhanced) == (550, "5.7.0")


def test_clients_named_by_xclient_are_counted_as_others_are(mx: Gateway) -> None:
    clients: list[RawClient] = []
    try:
        for code in (220, 220, 220, 220, 421):
            client = RawClient(mx.port, source=FILTER)
            clients.append(client)
            client.greet()
            assert client.command("XCLIENT ADDR=IPV6:2001:db8::7").code == code
    finally:
        for client in clients:
            client.close()


# A filter that sends mail again: enhanced filtering


def send(mx: Gateway, source: str, *received: str, sender: str = "x@bank.example") -> RawReply:
    """A message whose Received fields name these clients, the last hop first; the reply to it."""
    fields = "".join(f"Received: from x (r.example [{one}])\r\n\tby f.example; date\r\n" for one in received)
    content = fields.encode() + message("filtered")
    with RawClient(mx.port, source=source) as client:
        client.greet("filter.example")
        client.command(f"MAIL FROM:<{sender}>")
        reply = client.command("RCPT TO:<ann@o.example>")
        if reply.code == 250:
            client.send(f"BDAT {len(content)} LAST\r\n".encode() + content)
            reply = client.reply()
        return reply


@pytest.mark.parametrize(
    ("received", "answer", "client"),
    [
        (["9.9.9.7"], "2.0.0", "9.9.9.7"),
        (["198.51.100.1", "10.1.1.1", "9.9.9.7", "8.8.8.8"], "2.0.0", "9.9.9.7"),
        (["198.51.100.1", "8.8.8.8", "9.9.9.7"], "5.7.51", "8.8.8.8"),
        (["198.51.100.1", "?", "9.9.9.7"], "5.7.51", CLOUD),
        ([], "5.7.51", CLOUD),
    ],
)
def test_address_rules_judge_the_client_of_the_filter(
    mx: Gateway, received: list[str], answer: str, client: str
) -> None:
    reply = send(mx, CLOUD, *received)
    assert reply.enhanced == answer
    row = row_of(mx, reply)
    assert (row["peer_address"], row["connector"]) == (client, "bank")
    told = {"how": "Received", "by": CLOUD} if client != CLOUD else None
    assert row["detail"].get("introduction") == told


def test_what_others_write_into_received_fields_is_not_believed(mx: Gateway) -> None:
    reply = send(mx, STRANGER, "9.9.9.7")
    assert reply.enhanced == "5.7.51"
    assert row_of(mx, reply)["peer_address"] == STRANGER


def test_postfix_as_a_filter_writes_whom_it_had_the_message_from(mx: Gateway, postfix: Callable[..., Postfix]) -> None:
    relay = postfix(
        hostname="filter.example",
        next_hop=("127.0.0.1", mx.port),
        settings={
            "smtp_bind_address": CLOUD,
            "smtpd_authorized_xclient_hosts": "127.0.0.0/8",
            "mynetworks": "0.0.0.0/0",
        },
    )
    for client, sender in (("9.9.9.7", "ceo@bank.example"), ("8.8.8.8", "liar@bank.example")):
        with RawClient(relay.port) as session:
            session.greet()
            session.command(f"XCLIENT ADDR={client} NAME=[UNAVAILABLE]")
            session.command("EHLO [9.9.9.7]")
            session.command(f"MAIL FROM:<{sender}>")
            session.command("RCPT TO:<ann@o.example>")
            session.command("DATA")
            session.send(message("by postfix") + b".\r\n")
            assert session.reply().code == 250
    (accepted,) = mx.wait_trace(sender="ceo@bank.example", event="RECEIVE")
    assert accepted["peer_address"] == "9.9.9.7"
    (refused,) = mx.wait_trace(sender="liar@bank.example", event="REFUSE")
    assert (refused["peer_address"], refused["reply"][:10]) == ("8.8.8.8", "550 5.7.51")
