"""Proves that what leaves is verified by others: dkimpy, with the keys that it finds in the DNS, behind a real Postfix.

Keys are made, published, rotated and lost with the commands, while two workers run.
"""

from __future__ import annotations

import os
import re
import signal
import smtplib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dkim
import dns.resolver
import pytest
from support.debian import need
from support.gateway import Gateway
from support.peers import Postfix
from support.scenes import ALICE, blind_context, connector, contoso, send
from support.smime import MailAuthority, decrypted

from gatepost.testing.gateway import CliRun
from gatepost.testing.mail import with_crlf
from gatepost.testing.name_server import DnsServer
from gatepost.testing.pki import Pki
from gatepost.testing.process import Folder, wait_until
from gatepost.testing.sink import Sink

HOST = "mx1.contoso.example"
ANN = "ann@contoso.example"
BOB = "bob@partner.example"
PAT = "pat@postfix.example"
WORD = "correct horse"
WORKERS = 2


@pytest.fixture(scope="module")
def zone() -> Iterator[DnsServer]:
    with DnsServer({}, ttl=0) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(pki: Pki, partner: Sink, zone: DnsServer, folder: Folder) -> Iterator[Gateway]:
    """With a current RSA and a current Ed25519 key, made and published as an administrator would."""
    master = folder.write("master.key", "m" * 32)
    master.chmod(0o600)
    settings: dict[str, Any] = {"store": {"master_key": f"file:{master}"}, "server": {"workers": WORKERS}}
    domains = [{"name": "contoso.example"}, {"name": "second.example"}]
    ways = [
        connector("partner.example", partner.address),
        connector("secret.example", partner.address, encrypt="smime"),
    ]
    resources = contoso(domains=domains, outbound=ways)
    running = Gateway(
        resources,
        certificates=[pki.leaf(HOST)],
        anchors=pki.root,
        listeners=("mx", "submission"),
        nameservers=[zone.address],
        settings=settings,
    )
    with running:
        add(running, zone, "r1")
        add(running, zone, "e1", "--algorithm", "ed25519-sha256")
        in_force(running, running.cli("dkim", "rotate", "contoso.example"))
        yield running


def add(gateway: Gateway, zone: DnsServer, selector: str, *words: str, domain: str = "contoso.example") -> CliRun:
    """Make a key and put the line that is printed into the zone."""
    made = gateway.cli("dkim", "add", domain, "--selector", selector, *words)
    publish(zone, made)
    return made


def publish(zone: DnsServer, made: CliRun) -> None:
    line = next(one for one in made.stdout.splitlines() if " IN TXT " in one)
    name, _, text = line.partition(". IN TXT ")
    zone.set(f"{name} TXT", text.removeprefix("( ").removesuffix(" )"))


def in_force(gateway: Gateway, change: CliRun) -> None:
    """Every worker has said that it took up what a command changed."""
    version = int(re.findall(r"applied as version (\d+)", change.stdout)[0])

    def taken_up() -> bool:
        lines = re.findall(r" (\d+) gatepost\.node\.snapshot: resources version (\d+) in force", gateway.log())
        return len({worker for worker, number in lines if int(number) >= version}) == WORKERS

    wait_until(taken_up, f"version {version} in every worker", timeout=60)


_count = iter(range(10_000))


def relayed(gateway: Gateway, partner: Sink, *, author: str) -> bytes:
    """A message of a server on the premises as the partner got it."""
    subject = f"relayed-{next(_count)}"
    send(gateway.port, BOB, content=f"From: Alice <{author}>\r\nSubject: {subject}\r\n\r\nHello.\r\n".encode())
    return arrived(partner, subject)


def arrived(partner: Sink, subject: str) -> bytes:
    line = f"Subject: {subject}\r\n".encode()
    return wait_until(
        lambda: [one.mail.raw for one in partner.wait_messages(0) if line in one.mail.raw], f"the message {subject}"
    )[0]


def sent(gateway: Gateway, subject: str) -> dict[str, Any]:
    """What the trace has of the message of that subject; rows come a moment after the message itself."""

    def found() -> list[dict[str, Any]]:
        rows = gateway.trace(event="SEND", limit="10000")
        return [row["detail"] for row in rows if row["subject"] == subject]

    return wait_until(found, f"the trace of {subject}")[0]


def selectors_of(content: bytes) -> list[str]:
    """Of the signatures, the first one in the message first."""
    fields = re.findall(rb"DKIM-Signature:(?:[^\r]|\r\n[ \t])*", content.partition(b"\r\n\r\n")[0])
    return [one.decode() for field in fields for one in re.findall(rb"\bs=([\w.-]+);", field)]


def verified(zone: DnsServer, content: bytes) -> list[bool]:
    """Each signature as dkimpy judges it, with what the DNS says."""
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = ["127.0.0.1"], zone.port

    def text(name: bytes, **_: Any) -> bytes:
        (record,) = resolver.resolve(name.decode(), "TXT")
        return b"".join(record.strings)

    def one(at: int) -> bool:
        try:
            return bool(dkim.DKIM(content).verify(idx=at, dnsfunc=text))
        except dkim.ValidationError:
            return False

    return [one(at) for at in range(len(selectors_of(content)))]


def test_what_is_encrypted_is_signed_as_it_leaves(
    gateway: Gateway, partner: Sink, zone: DnsServer, tmp_path: Path
) -> None:
    """The order of what is done to content: fields of Exchange's own go, then it is encrypted, and last signed."""
    need("openssl")
    carol = MailAuthority(tmp_path).person("carol@secret.example")
    gateway.cli("smime", "recipient", "add", "carol@secret.example", str(carol.certificate))
    gateway.wait_in_force()
    header = f"From: Alice <{ALICE}>\r\nX-MS-Exchange-Organization-SCL: -1\r\nSubject: sealed\r\n\r\n".encode()
    send(gateway.port, "carol@secret.example", content=header + b"The figures.\r\n")
    content = arrived(partner, "sealed")
    assert selectors_of(content) == ["r1", "e1"]
    assert verified(zone, content) == [True, True]
    assert b"figures" not in content
    assert b"X-MS-Exchange" not in content
    assert b"The figures." in decrypted(content, carol)


CONTENTS = {
    "plain": b"Hello.\r\n",
    "empty": b"",
    "8bit": b"gr\xc3\xbc\xc3\x9fe \xff\r\n",
    "dots": b".\r\n..\r\n.x\r\n",
    "blanks": b"x  \t\r\n \r\n\ty \r\n\r\n\r\n",
    "large": b"0123456789 abcdef\t\r\n" * 100_000,
}


@pytest.mark.parametrize("name", CONTENTS)
def test_what_the_premises_relay_is_verified(gateway: Gateway, partner: Sink, zone: DnsServer, name: str) -> None:
    header = f"From: Alice\r\n\t<{ALICE}>\r\nTo: {BOB}\r\nTo:\r\n {PAT}\r\nSubject: relay-{name}\r\n\r\n".encode()
    send(gateway.port, BOB, content=header + CONTENTS[name], mail=["BODY=8BITMIME"])
    content = arrived(partner, f"relay-{name}")
    assert selectors_of(content) == ["r1", "e1"]
    assert verified(zone, content) == [True, True]
    assert verified(zone, content.replace(f"relay-{name}".encode(), b"changed")) == [False, False]
    assert sent(gateway, f"relay-{name}")["dkim"] == [
        "contoso.example/r1 rsa-sha256",
        "contoso.example/e1 ed25519-sha256",
    ]


def test_what_users_submit_is_verified(gateway: Gateway, partner: Sink, zone: DnsServer) -> None:
    gateway.cli("mailbox", "password", ANN, "--stdin", given=WORD)
    with smtplib.SMTP("127.0.0.1", gateway.ports["submission"], timeout=60) as client:
        client.starttls(context=blind_context())
        client.login(ANN, WORD)
        client.sendmail(ANN, [BOB], f"From: <{ANN}>\r\nSubject: submitted\r\n\r\nHello.\r\n".encode())
    content = arrived(partner, "submitted")
    assert verified(zone, content) == [True, True]


def test_postfix_passes_on_what_can_be_verified(gateway: Gateway, zone: DnsServer, partner: Sink) -> None:
    need("postfix")
    with Postfix() as postfix:
        route = f"smart_hosts={postfix.address}"
        words = ("connector", "add", "outbound", "postfix.example", "recipient_domains=postfix.example", route)
        in_force(gateway, gateway.cli(*words))
        for name, body in CONTENTS.items():
            header = f"From: <{ALICE}>\r\nTo: {PAT}\r\nSubject: postfix-{name}\r\n\r\n".encode()
            send(gateway.port, PAT, content=header + body, mail=["BODY=8BITMIME"])
        mails = wait_until(lambda: found if len(found := postfix.mails()) == len(CONTENTS) else None, "mail in Postfix")
        for mail in mails:
            assert verified(zone, with_crlf(mail.raw)) == [True, True], mail.field("Subject")


def test_mail_of_others_goes_as_it_came(gateway: Gateway, partner: Sink) -> None:
    send(gateway.port, BOB, content=b"From: <eve@elsewhere.example>\r\nSubject: foreign\r\n\r\nHello.\r\n")
    assert selectors_of(arrived(partner, "foreign")) == []
    assert "elsewhere.example" in sent(gateway, "foreign")["dkim_unsigned"]


def _explained(gateway: Gateway, to: str, *words: str) -> Any:
    run = gateway.cli("explain", "--from", ALICE, "--to", to, "--ip", "127.0.0.1", *words, json=True, expect=None)
    return run.data


def test_explain_says_who_signs(gateway: Gateway) -> None:
    names = ["contoso.example/r1 rsa-sha256", "contoso.example/e1 ed25519-sha256"]
    assert _explained(gateway, BOB)["dkim"]["keys"] == names
    foreign = _explained(gateway, BOB, "--header", "From: eve@elsewhere.example")["dkim"]
    assert foreign["keys"] == []
    assert "no current DKIM key for elsewhere.example" in foreign["why"]
    text = gateway.cli("explain", "--from", ALICE, "--to", BOB, "--ip", "127.0.0.1").stdout
    assert "signed by contoso.example/r1 rsa-sha256" in " ".join(text.split())


def test_a_rotation_while_it_runs(gateway: Gateway, partner: Sink, zone: DnsServer) -> None:
    domain, author = "news.contoso.example", "alice@news.contoso.example"
    in_force(gateway, add(gateway, zone, "n1", "--current", domain=domain))
    before = relayed(gateway, partner, author=author)
    made = gateway.cli("dkim", "add", domain, "--selector", "n2")
    refused = gateway.cli("dkim", "rotate", domain, expect=1)
    assert "there is no TXT record at n2._domainkey.news.contoso.example" in refused.stderr
    publish(zone, made)
    in_force(gateway, gateway.cli("dkim", "rotate", domain))
    after = relayed(gateway, partner, author=author)
    assert (selectors_of(before), selectors_of(after)) == (["n1"], ["n2"])
    assert verified(zone, before) == verified(zone, after) == [True]


def test_a_key_that_breaks_signs_until_the_end_and_then_mail_waits(
    gateway: Gateway, partner: Sink, zone: DnsServer, folder: Folder
) -> None:
    key = folder.write("fabrikam.pem", "")
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", key], check=True, timeout=30)
    key.chmod(0o600)
    words = ("--key", str(key), "--leave-key", "--current")
    in_force(gateway, add(gateway, zone, "f1", *words, domain="second.example"))
    key.chmod(0o644)  # others may read it
    sender = "sam@second.example"
    os.kill(gateway.pid, signal.SIGHUP)
    wait_until(lambda: gateway.log().count("no file was read again") == WORKERS, "every worker keeps the key")
    kept = f"From: <{sender}>\r\nSubject: kept\r\n\r\nHello.\r\n".encode()
    send(gateway.port, BOB, sender=sender, content=kept)
    assert verified(zone, arrived(partner, "kept")) == [True]
    gateway.stop()
    gateway.start()
    content = f"From: <{sender}>\r\nSubject: waits\r\n\r\nHello.\r\n".encode()
    send(gateway.port, BOB, sender=sender, content=content)
    row = gateway.wait_trace(event="DEFER", sender=sender)[0]
    assert "451 4.7.5 The message cannot be signed now" in str(row)
    assert "chmod 0600" in row["detail"]["detail"]
    key.chmod(0o600)
    gateway_reload(gateway)
    gateway.cli("queue", "retry", "--sender", sender)
    content = arrived(partner, "waits")
    assert selectors_of(content) == ["f1"]
    assert verified(zone, content) == [True]


def gateway_reload(gateway: Gateway) -> None:
    """SIGHUP to the supervisor, and every worker has said that it read its files again."""
    line = "certificates and trust anchors were read again"
    before = gateway.log().count(line)
    os.kill(gateway.pid, signal.SIGHUP)
    wait_until(lambda: gateway.log().count(line) >= before + WORKERS, "every worker to reload")
