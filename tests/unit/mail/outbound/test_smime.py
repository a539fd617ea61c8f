"""The whole of an attempt, with a store of certificates and a server on loopback that must see nothing in clear."""

from __future__ import annotations

import asyncio
import datetime as dt
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from support.rsa_keys import rsa_key

import gatepost.mail.outbound.smime as step
from gatepost.mail.model.delivery_result import Disposition
from gatepost.mail.outbound.content import ContentSteps
from gatepost.mail.outbound.in_memory_transform import InMemoryTransform
from gatepost.mail.outbound.smime import SmimeProtection
from gatepost.pki.certificates.vault import Vault
from gatepost.pki.smime.decryption import Opener, decrypted
from gatepost.pki.smime.encryption import encrypted
from gatepost.pki.smime.store import SmimeStore
from gatepost.protocols.message.mime_entity import split
from gatepost.store.changes import ConfigStore

KEY = ec.generate_private_key(ec.SECP256R1())
RSA = rsa_key()
SECRET = b"the figures"
BODY = b"From: Ann <ann@contoso.example>\r\nTo: bob@b.example, eve@b.example\r\nSubject: x\r\n\r\n" + SECRET + b"\r\n"


def issued(key: Any, *, days: tuple[int, int] = (-1, 9)) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now + dt.timedelta(days=days[0]))
    return builder.not_valid_after(now + dt.timedelta(days=days[1])).sign(key, hashes.SHA256())


BOB, EVE, GATEWAY, OURS = (issued(key) for key in (KEY, RSA, KEY, RSA))


def opened(message: bytes, certificate: x509.Certificate) -> bytes:
    key = KEY if isinstance(certificate.public_key(), ec.EllipticCurvePublicKey) else RSA
    return decrypted(split(message).enveloped, [Opener(certificate, key)])[0]


class Scene:
    """A deliverer whose only step is the one under test."""

    def __init__(self, world: Any, kit: Any, folder: Path, config: ConfigStore) -> None:
        self.world, self.kit, self.config = world, kit, config
        self.folder = folder
        self.store = SmimeStore(config, Vault(b"k" * 32))
        self.most = 1 << 20
        self.peer = kit.Peer()
        domains = [{"name": "contoso.example"}, {"name": "pending.example", "verified": False}]
        world.resources["accepted_domain"] = domains
        self.fields: dict[str, Any] = {"encrypt": "smime"}
        self.message: dict[str, Any] = {}

    def add(self, owner: str, certificate: x509.Certificate) -> None:
        self.store.add_recipient("contoso", owner, [certificate], author="me")

    def own(self, owner: str) -> None:
        pem = RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.store.add_identity("contoso", owner, OURS.public_bytes(Encoding.PEM), pem, author="me")

    def deliver(self, *recipients: str, body: bytes = BODY) -> dict[str, Any]:
        """A result for each recipient."""
        protection = SmimeProtection(self.store, InMemoryTransform(self.folder / "made", self.most), time.time)

        async def run() -> Any:
            async with self.peer:
                self.world.connector(self.peer.port, **self.fields)
                self.world.settings["content"] = ContentSteps(protection, dividers=(protection,))
                given = self.kit.delivery(*recipients, body=body, size=len(body), **self.message)
                try:
                    return await self.world.build().deliver(given)
                finally:
                    self.world.pool.close()

        outcome = asyncio.run(run())
        assert not outcome.destination_failed
        return {result.recipient.address: result for result in outcome.results}

    def received(self) -> dict[str, bytes]:
        return {recipient: one.content for one in self.peer.messages for recipient in one.recipients}


@pytest.fixture
def scene(world: Any, kit: Any, tmp_path: Path) -> Iterator[Scene]:
    with closing(ConfigStore(tmp_path / "config.db")) as config:
        yield Scene(world, kit, tmp_path, config)


def test_those_who_have_a_certificate_get_it_and_the_others_wait(scene: Scene) -> None:
    scene.add("bob@b.example", BOB)
    scene.add("eve@b.example", EVE)
    results = scene.deliver("Bob@b.example", "eve@b.example", "zoe@b.example")
    assert [results[one].disposition for one in results] == [
        Disposition.DELIVERED,
        Disposition.DELIVERED,
        Disposition.DEFERRED,
    ]
    assert results["zoe@b.example"].reply.text.startswith("450 4.7.5 Encryption needed")
    assert (
        results["zoe@b.example"].detail["smime"]["waits_for"].endswith("add zoe@b.example FILE --organization contoso")
    )
    (message,) = scene.peer.messages  # one envelope for both
    assert SECRET not in message.content
    for certificate in (BOB, EVE):
        assert opened(message.content, certificate).endswith(SECRET + b"\r\n")
    told = results["eve@b.example"].detail["smime"]
    assert told["encrypted"] is True
    assert set(told["recipients"]) == {"bob@b.example", "eve@b.example"}
    assert message.mail.endswith("BODY=7BIT") or "BODY" not in message.mail


def test_who_is_hidden_is_named_in_no_envelope_of_others(scene: Scene) -> None:
    scene.add("bob@b.example", BOB)
    scene.add("hidden@b.example", EVE)
    scene.add("b.example", GATEWAY)
    results = scene.deliver("bob@b.example", "hidden@b.example", "x@b.example", "y@b.example")
    assert {result.disposition for result in results.values()} == {Disposition.DELIVERED}
    assert sorted(one.recipients for one in scene.peer.messages) == [
        ["bob@b.example"],
        ["hidden@b.example"],
        ["x@b.example", "y@b.example"],  # their gateway's envelope says of neither
    ]
    got = scene.received()
    assert opened(got["hidden@b.example"], EVE)
    assert opened(got["y@b.example"], GATEWAY)
    with pytest.raises(ValueError, match="not encrypted to any key"):
        opened(got["bob@b.example"], EVE)


def corrupt(scene: Scene) -> None:
    with closing(sqlite3.connect(scene.folder / "config.db")) as other:
        other.execute("UPDATE content SET data = 'x'")
        other.commit()


def gone(scene: Scene) -> None:
    scene.add("bob@b.example", BOB)
    scene.config.close()


def broken(*_: Any) -> Any:
    raise RuntimeError("the figures are secret")


FAILURES: dict[str, tuple[Any, str]] = {
    "no certificate": (lambda _: None, "450 4.7.5"),
    "expired": (lambda scene: scene.add("bob@b.example", issued(KEY, days=(-9, -1))), "450 4.7.5"),
    "not yet valid": (lambda scene: scene.add("bob@b.example", issued(KEY, days=(1, 9))), "450 4.7.5"),
    "expired for the domain": (lambda scene: scene.add("b.example", issued(KEY, days=(-9, -1))), "450 4.7.5"),
    "weak": (
        lambda scene: scene.add("bob@b.example", issued(rsa_key(1024))),
        "450 4.7.5",
    ),
    "corrupt": (lambda scene: (scene.add("bob@b.example", BOB), corrupt(scene)), "451 4.3.0"),
    "no store": (gone, "451 4.3.0"),
    "too large": (lambda scene: (scene.add("bob@b.example", BOB), setattr(scene, "most", 50)), "552 5.3.4"),
    "no disk": (
        lambda scene: (
            scene.add("bob@b.example", BOB),
            (scene.folder / "made").write_bytes(b""),
            scene.message.setdefault("large", True),
        ),
        "451 4.3.0",
    ),
}


@pytest.mark.parametrize("name", FAILURES)
@pytest.mark.parametrize("by", ["connector", "rule"])
def test_nothing_leaves_that_cannot_be_encrypted(scene: Scene, name: str, by: str) -> None:
    prepare, reply = FAILURES[name]
    prepare(scene)
    if by == "rule":
        scene.fields = {}
        scene.world.resources["mail_flow_rule"] = [{"name": "all", "encrypt": "smime"}]
    body = BODY + b"x" * 300_000 if scene.message.pop("large", False) else BODY
    result = scene.deliver("bob@b.example", body=body)["bob@b.example"]
    assert result.reply.text.startswith(reply)
    assert scene.peer.said("MAIL") == 0
    assert scene.peer.said("EHLO") == 0
    required = {"connector": "connector:out", "rule": "rule:all"}[by]
    assert result.detail["smime"]["encrypt"]["required_by"] == [required]


@pytest.mark.parametrize("part", ["encrypted", "split", "opaque"])
def test_nothing_leaves_if_the_work_itself_fails(
    scene: Scene, part: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scene.add("bob@b.example", BOB)
    monkeypatch.setattr(step, part, broken)
    result = scene.deliver("bob@b.example")["bob@b.example"]
    assert result.reply.text.startswith("451 4.3.0")
    assert scene.peer.said("EHLO") == 0
    assert "figures" not in caplog.text + str(result.detail)
    assert "RuntimeError" in caplog.text


@pytest.mark.parametrize("mode", ["enforce", "rehearse"])
def test_a_rehearsal_only_tells(scene: Scene, mode: str) -> None:
    scene.fields |= {"mode": mode, "sign": "smime"}
    result = scene.deliver("bob@b.example")["bob@b.example"]
    if mode == "enforce":
        assert result.disposition is Disposition.DEFERRED
        return
    assert scene.received()["bob@b.example"] == BODY
    told = result.detail["smime"]
    assert told["encrypt"] == {"rehearsed_by": ["connector:out"]}
    assert told["rehearsal"]["encrypt"]["passed"] is False
    scene.fields |= {"encrypt": "none"}
    assert scene.deliver("bob@b.example")["bob@b.example"].detail["smime"]["rehearsal"] == {}


def test_where_nobody_asks_nothing_is_done(scene: Scene) -> None:
    scene.fields = {}
    result = scene.deliver("bob@b.example")["bob@b.example"]
    assert "smime" not in result.detail
    assert scene.received()["bob@b.example"] == BODY


def test_a_strange_list_of_recipients_keeps_nobody_waiting(scene: Scene) -> None:
    scene.add("bob@b.example", BOB)
    body = b"To: bob@b.example, " + b":" * 200_000 + b"\r\nSubject: x\r\n\r\n" + SECRET + b"\r\n"
    result = scene.deliver("bob@b.example", body=body)["bob@b.example"]
    assert result.disposition is Disposition.DELIVERED
    assert opened(scene.received()["bob@b.example"], BOB).endswith(SECRET + b"\r\n")


SMUGGLED = b"X: 1\n.\r\nMAIL FROM:<ceo@contoso.example>\r\nRCPT TO:<bob@b.example>\r\nDATA\r\nSubject: y\r\n"


@pytest.mark.parametrize("demand", ["encrypt", "sign"])
def test_a_header_that_only_binarymime_may_have_is_not_sent_as_text(scene: Scene, demand: str) -> None:
    """What is made of the content says nothing of the header that stays outside (SMTP smuggling)."""
    scene.fields = {demand: "smime"}
    scene.message = {"body_type": "BINARYMIME", "direction": "originating"}
    scene.add("bob@b.example", BOB)
    scene.own("contoso.example")
    body = b"From: ann@contoso.example\r\n" + SMUGGLED + b"\r\n" + SECRET + b"\r\n"
    result = scene.deliver("bob@b.example", body=body)["bob@b.example"]
    assert result.reply.text.startswith("554 5.6.3 Conversion required")
    assert scene.peer.messages == []


# signatures


@pytest.mark.parametrize(
    ("owner", "sender", "author", "signs"),
    [
        ("ann@contoso.example", "ann@contoso.example", "Ann <ANN@contoso.example>", True),
        ("contoso.example", "ann@contoso.example", "ann@contoso.example", True),
        ("contoso.example", "bounce+7@contoso.example", "news@contoso.example", True),
        ("ann@contoso.example", "bob@contoso.example", "ann@contoso.example", False),  # not Ann herself
        ("contoso.example", "ann@contoso.example", "ann@pending.example", False),
        ("pending.example", "ann@contoso.example", "ann@pending.example", False),  # it is not known to be contoso's
        ("sub.contoso.example", "ann@contoso.example", "ann@sub.contoso.example", True),
        ("contoso.example", "ann@contoso.example", "ann@contoso.example, bob@contoso.example", False),
        ("contoso.example", "ann@contoso.example", "nobody", False),
        # "Müller, Ann": decoded it would be a list of two.
        ("ann@contoso.example", "ann@contoso.example", "=?utf-8?q?M=C3=BCller=2C_Ann?= <ann@contoso.example>", True),
    ],
)
def test_who_signs(scene: Scene, owner: str, sender: str, author: str, signs: bool) -> None:
    scene.fields = {"sign": "smime"}
    scene.message = {"direction": "originating", "reverse_path": sender}
    scene.own(owner)
    body = f"From: {author}\r\nSubject: x\r\n\r\nHello.\r\n".encode()
    result = scene.deliver("bob@b.example", body=body)["bob@b.example"]
    if not signs:
        assert result.reply.text.startswith("450 4.7.5 Signature needed")
        foreign = author.endswith("pending.example")
        why = "is not a verified accepted domain of contoso" if foreign else "gatepost smime identity add"
        assert why in result.detail["detail"]
        assert scene.peer.said("EHLO") == 0
        return
    read = message_from_bytes(scene.received()["bob@b.example"])
    assert (read.get_content_type(), read["From"]) == ("multipart/signed", author)
    assert read.get_payload()[0].get_payload() == "Hello.\r\n"
    assert result.detail["smime"]["signed_by"] == scene.store.identities()[0].id


def test_what_others_wrote_is_not_signed(scene: Scene) -> None:
    """Mail that a mailbox forwards, and notices of our own."""
    scene.fields = {"sign": "smime"}
    for scene.message in (
        {"direction": "incoming"},
        {"direction": "originating", "inbound": {"notice_about": "x"}, "reverse_path": ""},
    ):
        result = scene.deliver("bob@b.example")["bob@b.example"]
        assert result.detail["smime"]["signed_by"] == ""
        assert scene.received()["bob@b.example"] == BODY


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"Hello.\r\n", "multipart/signed"),
        ("Grüße\r\n".encode(), "application/pkcs7-mime"),
        (b"bare\nline\r\n", "application/pkcs7-mime"),
        (b"x" * 1200 + b"\r\n", "application/pkcs7-mime"),
    ],
)
@pytest.mark.parametrize("hidden", [False, True])
def test_how_it_is_signed(scene: Scene, content: bytes, kind: str, hidden: bool) -> None:
    """Where it is encrypted too, nobody on the way can change it: readable, if only lines end in CRLF."""
    scene.fields = {"sign": "smime", "encrypt": "smime" if hidden else "none"}
    scene.message = {"direction": "originating", "body_type": "8BITMIME"}
    scene.own("contoso.example")
    scene.add("bob@b.example", BOB)
    head = b"From: ann@contoso.example\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
    scene.deliver("bob@b.example", body=head + content)
    got = scene.received()["bob@b.example"]
    assert got.isascii()
    inner = opened(got, BOB) if hidden else got
    wanted = "multipart/signed" if hidden and b"bare" not in content else kind
    assert message_from_bytes(inner).get_content_type() == wanted


# what is encrypted already


def enveloped(cms: bytes) -> bytes:
    fields, body = step.opaque(cms, "enveloped-data")
    return b"From: ann@contoso.example\r\nTo: bob@b.example\r\n" + fields + b"\r\n" + body


def test_what_its_author_encrypted_goes_as_it_is(scene: Scene) -> None:
    body = enveloped(encrypted(b"x", [EVE]))
    result = scene.deliver("bob@b.example", body=body)["bob@b.example"]
    assert scene.received()["bob@b.example"] == body
    assert result.detail["smime"]["encrypted_before"] is True


def test_a_claim_to_be_encrypted_is_not_enough(scene: Scene) -> None:
    body = enveloped(SECRET)
    assert scene.deliver("bob@b.example", body=body)["bob@b.example"].disposition is Disposition.DEFERRED
    scene.add("bob@b.example", BOB)
    scene.deliver("bob@b.example", body=body)
    assert b"pkcs7-mime" in opened(scene.received()["bob@b.example"], BOB)
