"""Proves that a message arrives as it was sent: Postfix -> gatepost -> Postfix over verified TLS, byte for byte.

Only trace fields are added at the top. The corpus holds what mail servers like to break; one message of 50 MB shows
that the gateway's memory does not grow with it. What Postfix cannot carry (BINARYMIME, no final newline) is given to
gatepost by the raw client with BDAT and taken by a sink or a Maildir.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from support.debian import need
from support.gateway import Gateway
from support.peers import Postfix
from support.raw import RawClient
from support.scenes import ALICE, connector, contoso, message

from gatepost.testing.mail import Mail, with_crlf, without_trace
from gatepost.testing.pki import Pki
from gatepost.testing.process import resident, wait_until
from gatepost.testing.sink import EXTENSIONS, Behaviour, Sink

MEGABYTE = 1 << 20
HEAD = b"From: <alice@contoso.example>\r\nSubject: round trip\r\n"

CORPUS = {
    "plain": HEAD + b"\r\nHello.\r\n",
    "dots": HEAD + b"\r\n.\r\n..\r\n...\r\n.one\r\n. \r\n\r\n.\r\n",
    "only-a-dot": HEAD + b"\r\n.\r\n",
    "empty-body": HEAD + b"\r\n",
    "no-body": HEAD,
    "empty-header": b"\r\nOnly a body.\r\n",
    "blank-lines": HEAD + b"\r\n\r\n\r\n \r\n\t\r\n\r\n",
    "998": HEAD + b"\r\n" + b"x" * 998 + b"\r\n" + b"." * 997 + b"\r\nshort\r\n",
    "998-in-header": HEAD + b"X-Long: " + b"y" * 990 + b"\r\n\r\nbody\r\n",
    "folding": HEAD
    + b"X-Folded: first\r\n"
    + b"".join(b"\tpart %d of it\r\n" % i for i in range(500))
    + b"\r\nbody\r\n",
    "many-fields": HEAD + b"".join(b"X-Field-%d: value\r\n" % i for i in range(1000)) + b"\r\nbody\r\n",
    "utf-8": HEAD
    + b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    + "Grüße aus Zürich, 東京, \U0001f600\r\n".encode(),
    "latin-1": HEAD + b"Content-Type: text/plain; charset=iso-8859-1\r\n\r\n" + bytes(range(160, 256)) + b"\r\n",
    "8-bit-header": "Subject: Grüße\r\nFrom: Zoë <alice@contoso.example>\r\n\r\nbody\r\n".encode(),
    "latin-1-header": b"Subject: Gr\xfc\xdfe\r\n\r\nbody\r\n",
    "controls": HEAD + b"\r\n" + bytes(octet for octet in range(1, 32) if octet not in b"\r\n") + b"\x7f\r\n",
    "from-line": HEAD + b"\r\nFrom here on\r\n>From there\r\n",
    "multipart": HEAD
    + b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n\r\n.\r\n--b\r\nContent-Type: text/html\r\n\r\n'
    + b"<p>\r\n--b--\r\nepilogue\r\n",
    "trailing-space": HEAD + b"X-Space: value \t \r\n\r\ntrailing \r\n\t\r\n",
    "100-KB": HEAD + b"\r\n" + b"".join(b"line %d\r\n" % i for i in range(10_000)),
    "1-MB": HEAD + b"\r\n" + b"A" * 75 + b"\r\n" + (b".%s\r\n" % (b"B" * 74)) * 13_000,
}


@dataclass(slots=True)
class Chain:
    """relay -> gateway -> receiver, and what has arrived so far by file name."""

    relay: Postfix
    gateway: Gateway
    receiver: Postfix
    seen: set[str] = field(default_factory=set)
    mails: dict[str, bytes] = field(default_factory=dict)

    def arrived(self) -> dict[str, bytes]:
        """What came by now, by its recipient; each file is read once."""
        folder = self.receiver.mailbox / "new"
        for name in set(os.listdir(folder) if folder.exists() else ()) - self.seen:  # noqa: PTH208 - a thousand names, often
            mail = Mail(with_crlf((folder / name).read_bytes()))
            self.seen.add(name)
            self.mails.setdefault(mail.recipient, mail.raw)
        return self.mails

    def wait(self, recipient: str, *, timeout: float = 60) -> bytes:
        raw = wait_until(lambda: self.arrived().get(recipient), f"mail for {recipient}", timeout=timeout)
        assert Mail(raw).fields("Received")[1].find("by mx1.contoso.example") > 0
        return without_trace(raw)


@pytest.fixture(scope="module")
def chain(pki: Pki) -> Iterator[Chain]:
    need("root", "postfix")
    forced = {"tls_settings": "domain-validation", "tls_domain": "mx.partner.example", "trust_anchors": str(pki.root)}
    with Postfix(certificates=[pki.leaf("mx.partner.example")]) as receiver:
        rules = contoso(outbound=[connector("partner.example", receiver.address, **forced)])
        with (
            Gateway(rules, certificates=[pki.leaf("mx1.contoso.example")]) as gateway,
            Postfix(
                hostname="relay.contoso.example",
                next_hop=("127.0.0.1", gateway.port),
                tls="secure",
                anchors=pki.root,
                match=["mx1.contoso.example"],
            ) as relay,
        ):
            yield Chain(relay, gateway, receiver)


@pytest.mark.parametrize("name", CORPUS)
def test_the_corpus_arrives_byte_for_byte(chain: Chain, name: str) -> None:
    recipient = f"{name}@partner.example"
    _inject(chain.relay.port, [recipient], CORPUS[name])
    assert chain.wait(recipient) == CORPUS[name]


def test_utf8_addresses_arrive(chain: Chain) -> None:
    recipient = "päivi.ß@partner.example"
    _inject(chain.relay.port, [recipient], CORPUS["8-bit-header"], sender="zoë@contoso.example", options="SMTPUTF8")
    assert chain.wait(recipient) == CORPUS["8-bit-header"]
    raw = chain.arrived().get(recipient, b"")
    assert Mail(raw).field("Return-Path") == "<zoë@contoso.example>"
    assert "with UTF8SMTPS" in Mail(raw).fields("Received")[1]


@pytest.mark.timeout(300)
def test_a_thousand_recipients(chain: Chain) -> None:
    recipients = [f"r{number}@partner.example" for number in range(1000)]
    content = message("a thousand")
    _inject(chain.relay.port, recipients, content)
    wait_until(lambda: chain.arrived().keys() >= set(recipients), "every recipient", timeout=210)
    assert {without_trace(chain.mails[one]) for one in recipients} == {content}

    def sent() -> list[dict[str, Any]] | None:
        rows = chain.gateway.trace(recipient="@partner.example", event="SEND", limit="5000")
        return rows if {row["recipient"] for row in rows} >= set(recipients) else None

    rows = wait_until(sent, "a row of the trace for each")
    assert {row["achieved"] for row in rows} == {"none/authenticated"}


@pytest.mark.timeout(300)
def test_fifty_megabytes_in_little_memory(chain: Chain) -> None:
    line = b"." + bytes(range(33, 108)) + b"\r\n"
    content = HEAD + b"\r\n" + line * (50_000_000 // len(line))
    _inject(chain.relay.port, ["warm@partner.example"], CORPUS["1-MB"])
    chain.wait("warm@partner.example")
    with _memory(chain.gateway) as grown:
        _inject(chain.relay.port, ["big@partner.example"], content)
        arrived = chain.wait("big@partner.example", timeout=200)
    assert hashlib.sha256(arrived).digest() == hashlib.sha256(content).digest()
    assert max(grown) < 64 * MEGABYTE, f"{max(grown) / MEGABYTE:.0f} MB"


@pytest.mark.timeout(300)
def test_fifty_megabytes_to_a_mailbox_in_little_memory(gateway: Callable[..., Gateway]) -> None:
    content = HEAD + b"\r\n" + (b"x" * 70 + b"\r\n") * 690_000
    server = gateway(contoso())
    _inject(server.port, [ALICE], message())
    server.wait_maildir(ALICE)
    with _memory(server) as grown:
        _inject(server.port, ["ann@contoso.example"], content)
        (mail,) = server.wait_maildir("ann@contoso.example", timeout=150)
    assert mail.content == content
    assert max(grown) < 64 * MEGABYTE, f"{max(grown) / MEGABYTE:.0f} MB"


BINARY = HEAD + b"Content-Transfer-Encoding: binary\r\n\r\n" + bytes(range(256)) * 40 + b"\n\r.\r\n.\r\n\0\r"


def test_binarymime_by_bdat(gateway: Callable[..., Gateway], sink: Callable[..., Sink]) -> None:
    """Any octets, in chunks cut anywhere: whole to a mailbox and to a next hop that takes them, else back."""
    able = sink(behaviour=Behaviour(extensions=(*EXTENSIONS, "BINARYMIME")))
    unable = sink()
    server = gateway(
        contoso(outbound=[connector("able.example", able.address), connector("unable.example", unable.address)])
    )
    recipients = ["ann@contoso.example", "bob@able.example", "bob@unable.example"]
    for size in (7, 1000, len(BINARY)):
        _bdat(server.port, recipients, BINARY, size)
    assert [without_trace(one.data) for one in able.wait_messages(3)] == [BINARY] * 3
    assert "BODY=BINARYMIME" in able.messages[0].parameters[0]
    server.wait_maildir("ann@contoso.example", 3)
    stored = [path.read_bytes() for path in server.data_dir.rglob("new/*") if "ann" in path.parts]
    assert len(stored) == 3
    assert all(content.endswith(BINARY) for content in stored)
    failed = server.wait_trace(recipient="bob@unable.example", event="FAIL")
    assert all(" 5.6.3 " in event["reply"] for event in failed)
    assert unable.counts["message"] == 0


@pytest.mark.parametrize("extensions", [EXTENSIONS, ("PIPELINING", "8BITMIME")], ids=["BDAT", "DATA"])
def test_no_final_newline(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], extensions: tuple[str, ...]
) -> None:
    """A text body that ends without CRLF: as it is by BDAT; by DATA, which cannot say it, with a CRLF."""
    hop = sink(behaviour=Behaviour(extensions=extensions))
    server = gateway(contoso(outbound=[connector("partner.example", hop.address)]))
    content = HEAD + b"\r\nno newline"
    _bdat(server.port, ["bob@partner.example", "ann@contoso.example"], content, 5, body="8BITMIME")
    (received,) = hop.wait_messages(1)
    assert without_trace(received.data) == content + (b"" if "CHUNKING" in extensions else b"\r\n")
    (mail,) = server.wait_maildir("ann@contoso.example")
    assert mail.content in (content, content + b"\r\n")


def test_the_next_hop_without_8bitmime_gets_what_was_sent(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink]
) -> None:
    """As all servers do: 8-bit text is not rewritten. But UTF-8 addresses cannot be said, and fail."""
    hop = sink(behaviour=Behaviour(extensions=()))
    server = gateway(contoso(outbound=[connector("partner.example", hop.address)]))
    _inject(server.port, ["bob@partner.example"], CORPUS["utf-8"])
    (received,) = hop.wait_messages(1)
    assert without_trace(received.data) == CORPUS["utf-8"]
    _inject(server.port, ["zoë@partner.example"], CORPUS["plain"], options="SMTPUTF8")
    (event,) = server.wait_trace(recipient="zoë@partner.example", event="FAIL")
    assert " 5.6.7 " in event["reply"]


def _inject(port: int, recipients: list[str], content: bytes, *, sender: str = ALICE, options: str = "") -> None:
    """Say exactly these bytes with DATA, dots stuffed."""
    with RawClient(port, timeout=120) as client:
        client.greet()
        said = [f"MAIL FROM:<{sender}> BODY=8BITMIME {options}".rstrip(), *(f"RCPT TO:<{one}>" for one in recipients)]
        for start in range(0, len(said), 200):
            flight = said[start : start + 200]
            client.send("".join(f"{line}\r\n" for line in flight).encode())
            assert [client.reply().code for _ in flight] == [250] * len(flight)
        assert client.command("DATA").code == 354
        client.send((b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n")
        reply = client.reply()
        assert reply.code == 250, reply


def _bdat(port: int, recipients: list[str], content: bytes, size: int, *, body: str = "BINARYMIME") -> None:
    with RawClient(port) as client:
        client.greet()
        for line in (f"MAIL FROM:<{ALICE}> BODY={body}", *(f"RCPT TO:<{one}>" for one in recipients)):
            assert client.command(line).code == 250
        chunks = [content[start : start + size] for start in range(0, len(content), size)]
        for number, chunk in enumerate(chunks, 1):
            last = " LAST" if number == len(chunks) else ""
            client.send(f"BDAT {len(chunk)}{last}\r\n".encode() + chunk)
            assert client.reply().code == 250


@contextmanager
def _memory(gateway: Gateway) -> Iterator[list[int]]:
    """By how many bytes the memory of the gateway's processes of now had grown, looked at every 20 ms."""
    family = gateway.family()
    before, grown, over = resident(family), [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            grown.append(resident(family) - before)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield grown
    finally:
        over.set()
        thread.join()
