"""Proves message encryption with OpenSSL at the other end: what leaves encrypted is read by those it is for, what is
signed verifies, what must be encrypted and cannot be never leaves, and what comes encrypted to us is decrypted.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from support import debian
from support.gateway import Gateway
from support.process import Script
from support.scenes import ALICE, STRANGER, connector, contoso, outcomes, send
from support.smime import MailAuthority, Person, cms, decrypted, verified

from gatepost.pki.smime import ber
from gatepost.store.storage import Storage
from gatepost.testing.mail import Mail
from gatepost.testing.process import wait_until
from gatepost.testing.sink import Sink

BOB, EVA = "bob@secret.test", "eva@secret.test"
HEADER = f"From: Alice <{ALICE}>\r\nTo: {BOB}, Eva <{EVA}>\r\nSubject: figures\r\n".encode()
BINARY = base64.encodebytes(bytes(range(256)) * 64).replace(b"\n", b"\r\n")

# What follows the message's own fields, and the entity that is to be found in the envelope ("" for the same).
CONTENTS: dict[str, tuple[bytes, bytes]] = {
    "no MIME field": (b"\r\nHello.\r\n", b"Content-Type: text/plain; charset=us-ascii\r\n\r\nHello.\r\n"),
    "8bit": (
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n",
        b"",
    ),
    "folded": (
        b'Content-Type: multipart/mixed;\r\n\tboundary="a b"\r\n\r\n--a b\r\n\r\n.dots\r\n..\r\n--a b--\r\n',
        b"",
    ),
    "nested": (
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n"
        b"Content-Type: multipart/alternative; boundary=y\r\n\r\n"
        b"--y\r\n\r\nplain \r\n--y\r\nContent-Type: text/html\r\n\r\n<p>html</p>\r\n--y--\r\n--x\r\n"
        b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + BINARY
        + b"\r\n--x--\r\n",
        b"",
    ),
    "no line end": (b"Content-Type: text/plain\r\n\r\nthe end\r\n\r\n\r\n", b""),
}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> MailAuthority:
    debian.need("openssl")
    return MailAuthority(tmp_path_factory.mktemp("mail"))


@pytest.fixture(scope="module")
def people(authority: MailAuthority) -> dict[str, Person]:
    """By address or domain."""
    return {
        BOB: authority.person(BOB),
        EVA: authority.person(EVA, key="ecdsa"),
        "expired@secret.test": authority.person("expired@secret.test", days=(-9, -1)),
        "usage@secret.test": authority.person("usage@secret.test", usages=["digital_signature"]),
        "server@secret.test": authority.person("server@secret.test", purpose="server"),
        "corrupt@secret.test": authority.person("corrupt@secret.test"),
        "gate.test": authority.person("gateway@gate.test"),
        ALICE: authority.person(ALICE),
        "contoso.example": authority.person("confidentiality@contoso.example", key="ecdsa"),
        "ann@contoso.example": authority.person("ann@contoso.example"),
    }


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    with Sink() as made:
        yield made


@pytest.fixture(scope="module")
def plain() -> Iterator[Sink]:
    """Where mail goes that nobody demands anything of."""
    with Sink() as made:
        yield made


def resources(sink: Sink, plain: Sink) -> dict[str, Any]:
    return contoso(
        outbound=[
            connector("secret.test", sink.address, encrypt="smime"),
            connector("gate.test", sink.address, encrypt="smime"),
            connector("signed.test", sink.address, sign="smime"),
            connector("both.test", sink.address, encrypt="smime", sign="smime"),
            connector("trial.test", plain.address, encrypt="smime", sign="smime", mode="rehearse"),
            connector("plain.test", plain.address),
        ],
        mailboxes=(ALICE, "ann@contoso.example", "ben@contoso.example"),
        mail_flow_rule=[
            {"name": "labelled", "header_name": "X-Label", "header_contains": ["secret"], "encrypt": "smime"},
        ],
        smime_decrypt=True,
    )


@pytest.fixture(scope="module")
def gateway(
    sink: Sink, plain: Sink, people: dict[str, Person], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    master = tmp_path_factory.mktemp("master") / "key"
    master.write_bytes(os.urandom(32))
    master.chmod(0o600)
    settings = {
        "store": {"master_key": f"file:{master}"},
        "smime": {"max_size": "40MB"},
        "limits": {"message_bytes": "60MB"},
        "queue": {"retry": ["1s"]},
    }
    with Gateway(resources(sink, plain), settings=settings) as made:
        prepare(made, people)
        yield made


# Several commands in one process: each alone takes most of its time to load.
_COMMANDS = """
import json, sys
from gatepost.manage.cli import main
for words in json.loads(sys.argv[1]):
    main(words, standalone_mode=False)
"""


def prepare(gateway: Gateway, people: dict[str, Person]) -> None:
    """Everybody's certificates; those that are of no use by force."""
    config = ["--config", str(gateway.config), "smime"]
    bob = str(people[BOB].certificate)
    commands = [
        [*config, "recipient", "add", one, bob, "--force", "bob has several addresses"]
        for one in ("x@both.test", "x@plain.test")
    ]
    for owner, person in people.items():
        if owner.endswith("contoso.example"):
            ours = ["identity", "add", owner, str(person.certificate), "--key", str(person.key)]
            commands.append([*config, *ours])
        else:
            forced = ["--force", "it is a test"] if owner.partition("@")[0] in {"expired", "usage", "server"} else []
            commands.append([*config, "recipient", "add", owner, str(person.certificate), *forced])
    assert Script(_COMMANDS, json.dumps(commands)).close(100) == 0
    with closing(Storage(gateway.store_url, gateway.data_dir).configuration()) as store:
        name = "smime_recipient/contoso/corrupt@secret.test"
        store.apply({}, author="test", content={name: b"-----BEGIN CERTIFICATE-----\nx"})
    gateway.wait_in_force()


def arrived(sink: Sink, recipient: str, after: int) -> Mail:
    """The one message for a recipient among those that the sink got since."""
    wait_until(
        lambda: any(recipient in one.recipients for one in sink.messages[after:]), f"mail for {recipient}", timeout=60
    )
    (found,) = [one for one in sink.messages[after:] if recipient in one.recipients]
    return found.mail


@pytest.mark.parametrize("name", CONTENTS)
def test_what_is_encrypted_is_read_by_everybody_it_is_for(
    name: str, gateway: Gateway, sink: Sink, people: dict[str, Person]
) -> None:
    content, entity = CONTENTS[name]
    after = len(sink.messages)
    send(gateway.port, [BOB, EVA], content=HEADER + b"MIME-Version: 1.0\r\n" * (name != "no MIME field") + content)
    mail = arrived(sink, BOB, after)
    assert mail.raw == arrived(sink, EVA, after).raw
    assert (mail.field("Subject"), mail.field("From")) == ("figures", f"Alice <{ALICE}>")
    assert mail.fields("MIME-Version") == ["1.0"]
    assert "enveloped-data" in mail.field("Content-Type")
    assert mail.raw.isascii()
    assert max(map(len, mail.raw.split(b"\r\n"))) <= 998
    for person in (people[BOB], people[EVA]):
        assert decrypted(mail.raw, person) == (entity or content)


def test_twenty_megabytes_arrive_and_what_is_too_large_is_returned(
    gateway: Gateway, sink: Sink, people: dict[str, Person]
) -> None:
    body = os.urandom(1 << 20).hex().encode()
    lines = b"".join(body[at : at + 76] + b"\r\n" for at in range(0, len(body), 76)) * 10
    content = b"Content-Type: text/plain\r\n\r\n" + lines
    assert len(content) > 20 << 20
    after = len(sink.messages)
    send(gateway.port, BOB, content=HEADER + content)
    mail = arrived(sink, BOB, after)
    assert decrypted(mail.raw, people[BOB]) == content
    send(gateway.port, BOB, content=HEADER + content + lines)
    row = gateway.wait_trace(timeout=60, recipient=BOB, event="FAIL")[0]
    assert row["reply"].startswith("552 5.3.4")
    assert [one.recipients for one in sink.messages[after:]].count((BOB,)) == 1
    assert not list((gateway.data_dir / "made").iterdir())


def test_a_bcc_has_an_envelope_of_its_own(gateway: Gateway, sink: Sink, people: dict[str, Person]) -> None:
    after = len(sink.messages)
    send(gateway.port, [BOB, EVA], content=f"From: <{ALICE}>\r\nTo: <{BOB}>\r\nSubject: x\r\n\r\nHello.\r\n".encode())
    for_bob, for_eva = arrived(sink, BOB, after), arrived(sink, EVA, after)
    assert decrypted(for_bob.raw, people[BOB]).endswith(b"Hello.\r\n")
    assert decrypted(for_eva.raw, people[EVA]).endswith(b"Hello.\r\n")
    shown = cms("-cmsout", "-print", content=for_bob.raw)
    assert shown.count(b"d.ktri") == 1
    assert b"d.kari" not in shown


def test_a_domain_certificate_serves_everybody_there(gateway: Gateway, sink: Sink, people: dict[str, Person]) -> None:
    after = len(sink.messages)
    send(gateway.port, ["a@gate.test", "b@gate.test"])
    mail = arrived(sink, "a@gate.test", after)
    assert decrypted(mail.raw, people["gate.test"]).endswith(b"Hello.\r\n")
    row = gateway.wait_trace(timeout=60, recipient="a@gate.test", event="SEND")[0]
    number = people["gate.test"].number
    assert row["detail"]["smime"]["recipients"]["a@gate.test"] == [number]
    assert row["detail"]["smime"]["encrypt"] == {"required_by": ["connector:gate.test"]}


SIGNED: dict[str, tuple[bytes, str]] = {
    "7bit": (b"Content-Type: text/plain\r\n\r\nFrom here\r\n.\r\n", "multipart/signed"),
    "8bit": (
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n",
        "signed-data",
    ),
}


@pytest.mark.parametrize("name", SIGNED)
@pytest.mark.parametrize("author", ["author", "colleague"])
def test_what_is_signed_verifies(
    name: str, author: str, gateway: Gateway, sink: Sink, authority: MailAuthority, people: dict[str, Person]
) -> None:
    content, kind = SIGNED[name]
    sender, number = {
        "author": (ALICE, people[ALICE].number),
        "colleague": ("someone@contoso.example", people["contoso.example"].number),
    }[author]
    to, after = f"{name}-{author}@signed.test", len(sink.messages)
    header = f"From: <{sender}>\r\nSubject: x\r\nMIME-Version: 1.0\r\n".encode()
    send(gateway.port, to, sender=sender, content=header + content)
    mail = arrived(sink, to, after)
    assert kind in mail.field("Content-Type")
    assert mail.raw.isascii()
    assert verified(mail.raw, authority) == content
    assert gateway.wait_trace(timeout=60, recipient=to, event="SEND")[0]["detail"]["smime"]["signed_by"] == number


def test_signed_and_encrypted(
    gateway: Gateway, sink: Sink, authority: MailAuthority, people: dict[str, Person]
) -> None:
    content, after = SIGNED["8bit"][0], len(sink.messages)
    send(gateway.port, "x@both.test", content=HEADER + b"MIME-Version: 1.0\r\n" + content)
    inner = decrypted(arrived(sink, "x@both.test", after).raw, people[BOB])
    assert inner.startswith(b"Content-Type: multipart/signed")
    assert verified(inner, authority) == content


def test_a_rule_demands_it_whatever_the_connector(gateway: Gateway, plain: Sink, people: dict[str, Person]) -> None:
    labelled = b"X-Label: secret\r\nSubject: x\r\n\r\nHello.\r\n"
    after = len(plain.messages)
    send(gateway.port, ["x@plain.test", "nobody@plain.test"], content=labelled)
    assert decrypted(arrived(plain, "x@plain.test", after).raw, people[BOB]).endswith(b"Hello.\r\n")
    row = gateway.wait_trace(timeout=60, recipient="nobody@plain.test", event="DEFER")[0]
    assert row["detail"]["smime"]["encrypt"] == {"required_by": ["rule:labelled"]}
    assert [one.recipients for one in plain.messages[after:]] == [("x@plain.test",)]


def test_rehearsal_only_says_it(gateway: Gateway, plain: Sink) -> None:
    after = len(plain.messages)
    send(gateway.port, "trial@trial.test")
    assert arrived(plain, "trial@trial.test", after).body == b"Hello.\r\n"
    said = gateway.wait_trace(timeout=60, recipient="trial@trial.test", event="SEND")[0]["detail"]["smime"]
    assert said["encrypt"] == {"rehearsed_by": ["connector:trial.test"]}
    assert not said["rehearsal"]["encrypt"]["passed"]
    assert "gatepost smime recipient add trial@trial.test" in said["rehearsal"]["encrypt"]["missing"][0]


# Recipient, sender -> what the reply begins with, and words of the reason.
HELD: dict[tuple[str, str], tuple[str, str]] = {
    ("nobody@secret.test", ALICE): ("450 4.7.5", "no certificate for nobody@secret.test"),
    ("expired@secret.test", ALICE): ("450 4.7.5", "expired on"),
    ("usage@secret.test", ALICE): ("450 4.7.5", "is not for encryption"),
    ("server@secret.test", ALICE): ("450 4.7.5", "is not for mail"),
    ("corrupt@secret.test", ALICE): ("451 4.3.0", "cannot be read from the store"),
    ("nobody@both.test", ALICE): ("450 4.7.5", "no certificate for nobody@both.test"),
}


def test_what_cannot_be_encrypted_waits_and_never_leaves(
    gateway: Gateway, sink: Sink, people: dict[str, Person]
) -> None:
    """Each of them, together with somebody who gets it all the same."""
    after = len(sink.messages)
    for recipient, sender in HELD:
        send(gateway.port, [recipient, BOB], sender=sender)
    rows = outcomes(gateway, dict.fromkeys((recipient for recipient, _ in HELD), "DEFER"))
    for (recipient, _), (reply, why) in HELD.items():
        assert rows[recipient]["reply"].startswith(reply), recipient
        assert why in rows[recipient]["detail"]["detail"], recipient
        assert rows[recipient]["detail"]["smime"]["waits_for"], recipient
    wait_until(lambda: len(sink.messages) >= after + len(HELD), "the mail for bob", timeout=60)
    for received in sink.messages[after:]:
        assert received.recipients == (BOB,)
        assert b"Hello" not in received.data
        assert decrypted(received.data, people[BOB]).endswith(b"Hello.\r\n")


def test_what_cannot_be_signed_waits(gateway: Gateway, sink: Sink) -> None:
    """Without a single author, and with a key that the master key does not open any more."""
    after = len(sink.messages)
    send(gateway.port, "two@signed.test", content=f"From: {ALICE}, b@contoso.example\r\n\r\nHello.\r\n".encode())
    row = gateway.wait_trace(timeout=60, recipient="two@signed.test", event="DEFER")[0]
    assert "does not name a single one" in row["detail"]["detail"]
    with closing(Storage(gateway.store_url, gateway.data_dir).configuration()) as store:
        before = store.contents("smime_identity/", "/key")
        assert before
        store.apply({}, author="test", content={name: key[:40] for name, key in before.items()})
        try:
            gateway.cli("organization", "set", "contoso", "display_name=Contoso")
            gateway.wait_in_force()  # keys are opened again
            send(gateway.port, "locked@signed.test")
            row = gateway.wait_trace(timeout=60, recipient="locked@signed.test", event="DEFER")[0]
            assert row["reply"].startswith("451 4.3.0")
            assert "S/MIME identity" in row["detail"]["detail"]
            gateway.cli(
                "queue", "drop", "--recipient", "locked@signed.test", "--reason", "x"
            )  # else it leaves once the key is back
        finally:
            store.apply({}, author="test", content=before)
    tried = {recipient for one in sink.messages[after:] for recipient in one.recipients}
    assert not tried & {"two@signed.test", "locked@signed.test"}


def test_what_a_sender_encrypted_goes_as_it_is_and_a_claim_does_not_do(
    gateway: Gateway, sink: Sink, people: dict[str, Person]
) -> None:
    own = cms("-encrypt", "-aes-256-cbc", people[EVA].certificate, content=b"\r\nfor eva\r\n").replace(b"\n", b"\r\n")
    header = f"From: <{ALICE}>\r\nTo: <nobody@secret.test>\r\nSubject: mine\r\n".encode()
    after = len(sink.messages)
    send(gateway.port, "nobody@secret.test", content=header + own.replace(b"\r\r\n", b"\r\n"))
    mail = arrived(sink, "nobody@secret.test", after)
    assert decrypted(mail.raw, people[EVA]) == b"\r\nfor eva\r\n"
    claim = (
        b"Content-Type: application/pkcs7-mime; smime-type=enveloped-data\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    )
    send(gateway.port, BOB, content=header + claim + base64.b64encode(b"not at all") + b"\r\n")
    assert decrypted(arrived(sink, BOB, after).raw, people[BOB]).startswith(b"Content-Type: application/pkcs7-mime")


# Options of `openssl cms -encrypt`, after which comes the certificate.
WAYS: dict[str, tuple[str, ...]] = {
    "cbc": ("-aes-256-cbc",),
    "stream": ("-aes-128-cbc", "-stream"),
    "gcm": ("-aes-256-gcm",),
    "key identifier": ("-aes-256-cbc", "-keyid"),
}


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("owner", ["ann@contoso.example", "contoso.example"])
def test_what_comes_encrypted_to_us_is_decrypted(
    name: str, owner: str, gateway: Gateway, people: dict[str, Person]
) -> None:
    inner = b"Content-Type: text/plain; charset=utf-8\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n"
    der = cms("-encrypt", "-binary", "-outform", "DER", *WAYS[name], "-recip", people[owner].certificate, content=inner)
    subject = f"{name} {owner}"
    send(gateway.port, "ann@contoso.example", sender=STRANGER, content=enveloped(der, subject))
    mail = wait_until(
        lambda: next((one for one in gateway.maildir("ann@contoso.example") if one.field("Subject") == subject), None),
        "the mail for ann",
        timeout=60,
    )
    assert mail.body == "Grüße\r\n".encode()
    assert mail.field("Content-Type") == "text/plain; charset=utf-8"
    (said,) = mail.fields("X-Gatepost-SMIME")
    assert said.startswith("decrypted by mx1.contoso.example;")
    assert people[owner].number in said


def enveloped(der: bytes, subject: str) -> bytes:
    """A message from outside, with a forged word of ours."""
    return (
        f"From: <{STRANGER}>\r\nX-Gatepost-SMIME: decrypted by me\r\nSubject: {subject}\r\nMIME-Version: 1.0\r\n"
        "Content-Type: application/x-pkcs7-mime;\r\n smime-type=enveloped-data; name=smime.p7m\r\n"
        "Content-Transfer-Encoding: base64\r\n\r\n"
    ).encode() + base64.encodebytes(der).replace(b"\n", b"\r\n")


def test_a_key_opens_mail_for_its_owner_alone(gateway: Gateway, people: dict[str, Person]) -> None:
    """Who sends ann's secret to ben as well makes the gateway tell ben nothing."""
    der = cms("-encrypt", "-binary", "-outform", "DER", "-aes-256-cbc", people["ann@contoso.example"].certificate,
              content=b"\r\nfor ann\r\n")  # fmt: skip
    send(gateway.port, ["ann@contoso.example", "ben@contoso.example"], sender=STRANGER, content=enveloped(der, "whose"))
    (mail,) = gateway.wait_maildir("ben@contoso.example", timeout=60)
    assert "pkcs7-mime" in mail.field("Content-Type")
    assert mail.fields("X-Gatepost-SMIME") == []
    own = wait_until(
        lambda: next((one for one in gateway.maildir("ann@contoso.example") if one.field("Subject") == "whose"), None),
        "the mail for ann",
        timeout=60,
    )
    assert own.body == b"for ann\r\n"
    row = gateway.wait_trace(timeout=60, recipient="ben@contoso.example", event="DELIVER")[0]
    assert row["detail"]["smime"]["decrypted"] is False


def test_what_expires_is_returned_without_its_content(sink: Sink) -> None:
    """The sender learns who must act and by which command, and nobody what was in the message."""
    held = contoso(outbound=[connector("secret.test", sink.address, encrypt="smime")], message_expiration="2s")
    with Gateway(held, settings={"queue": {"retry": ["1s"]}}) as gateway:
        after = len(sink.messages)
        content = f"From: <{ALICE}>\r\nSubject: figures\r\n\r\nThe figures are 4 and 2.\r\n".encode()
        send(gateway.port, "nobody@secret.test", content=content, mail=["RET=FULL"])
        (notice,) = gateway.wait_maildir(ALICE, timeout=60)
        text = " ".join(notice.raw.decode().split())
        assert "Status: 5.7.5" in text
        assert "may leave only encrypted" in text
        assert "gatepost smime recipient add nobody@secret.test FILE --organization contoso" in text
        assert "Subject: figures" in text
        assert "4 and 2" not in text
        assert len(sink.messages) == after


def test_explain_knows_whether_it_will_leave(gateway: Gateway) -> None:
    words = ("explain", "--from", ALICE, "--ip", "127.0.0.1", "--to")
    ready = gateway.cli(*words, BOB, json=True).data
    assert ready["outbound"]["smime"] == {"encrypt": {"required_by": ["connector:secret.test"]}}
    assert BOB in ready["certificates"]["found"]
    waiting = gateway.cli(*words, "nobody@secret.test", json=True, expect=1).data
    assert waiting["certificates"]["missing"].startswith("there is no certificate for nobody@secret.test")


def test_what_has_more_elements_than_a_mail_program_writes_is_delivered_as_it_came(
    gateway: Gateway, people: dict[str, Person]
) -> None:
    """Whoever sends it would else keep a worker busy for a second with each megabyte."""
    der = cms("-encrypt", "-binary", "-outform", "DER", "-aes-256-cbc", people["ann@contoso.example"].certificate,
              content=b"\r\nfor ann\r\n")  # fmt: skip
    info = ber.read(der)
    data = info.part(1, ber.context(0)).part(0, ber.SEQUENCE)
    content = data.part(2, ber.SEQUENCE)
    pieces = ber.write(ber.context(0), b"\x04\x00" * 480_000)
    many = ber.write(ber.SEQUENCE, bytes(content.parts[0].raw), bytes(content.parts[1].raw), pieces)
    data_octets = ber.write(ber.SEQUENCE, bytes(data.parts[0].raw), bytes(data.parts[1].raw), many)
    der = ber.write(ber.SEQUENCE, bytes(info.parts[0].raw), ber.write(ber.context(0), data_octets))
    send(gateway.port, "ann@contoso.example", sender=STRANGER, content=enveloped(der, "many elements"))
    mail = wait_until(
        lambda: next(
            (one for one in gateway.maildir("ann@contoso.example") if one.field("Subject") == "many elements"), None
        ),
        "the mail for ann",
        timeout=60,
    )
    assert "pkcs7-mime" in mail.field("Content-Type")
    (row,) = wait_until(
        lambda: [row for row in gateway.trace(event="DELIVER") if row["subject"] == "many elements"],
        "the row",
        timeout=60,
    )
    assert row["detail"]["smime"]["decrypted"] is False
    assert "or too many" in row["detail"]["smime"]["why"]
