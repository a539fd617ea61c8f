from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from support.rsa_keys import rsa_key

import gatepost.mail.outbound.smime_decryption as step
from gatepost.mail.model.delivery_result import Disposition
from gatepost.mail.outbound.content import ContentSteps
from gatepost.mail.outbound.in_memory_transform import InMemoryTransform
from gatepost.mail.outbound.smime_decryption import SmimeDecryption
from gatepost.pki.certificates.vault import Vault
from gatepost.pki.smime.encryption import encrypted
from gatepost.pki.smime.store import SmimeStore
from gatepost.protocols.message.mime_entity import opaque
from gatepost.store.changes import ConfigStore

KEYS = {name: rsa_key(name=name) for name in ("ann", "domain")}
ENTITY = b"Content-Type: text/plain; charset=utf-8\r\nContent-ID: <x>\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n"
HEAD = b"From: x@elsewhere.example\r\nSubject: [...]\r\nMIME-Version: 1.0\r\n"


def issued(key: Any) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(days=9))
    return builder.not_valid_after(now - dt.timedelta(days=1)).sign(key, hashes.SHA256())  # what is old still opens


CERTIFICATES = {name: issued(key) for name, key in KEYS.items()}


def message(entity: bytes, to: str = "ann", head: bytes = HEAD) -> bytes:
    fields, body = opaque(encrypted(entity, [CERTIFICATES[to]]), "enveloped-data")
    return head + fields + b"\r\n" + body


class Scene:
    def __init__(self, world: Any, kit: Any, folder: Path, config: ConfigStore) -> None:
        self.world, self.kit, self.folder = world, kit, folder
        self.store = SmimeStore(config, Vault(b"k" * 32))
        self.most = 1 << 20
        world.resources |= {
            "accepted_domain": [{"name": "contoso.example"}],
            "mailbox": [
                {"address": "ann@contoso.example", "aliases": ["alias@contoso.example"]},
                {"address": "ben@contoso.example"},
                {"address": "cleo@contoso.example"},
            ],
            "smime_decrypt": True,
        }
        for owner, name in (("ann@contoso.example", "ann"), ("contoso.example", "domain")):
            pem = KEYS[name].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            self.store.add_identity("contoso", owner, CERTIFICATES[name].public_bytes(Encoding.PEM), pem, author="me")

    def deliver(
        self,
        *recipients: str,
        body: bytes,
        body_type: str = "7BIT",
        disposition: Disposition = Disposition.DELIVERED,
    ) -> dict[str, Any]:
        decryption = SmimeDecryption(self.store, InMemoryTransform(self.folder / "made", self.most), "gate.example")

        async def run() -> Any:
            self.world.settings["content"] = ContentSteps(decryption, dividers=(decryption,))
            given = self.kit.delivery(*recipients, body=body, reverse_path="x@elsewhere.example", body_type=body_type)
            return await self.world.build().deliver(given)

        results = {result.recipient.address: result for result in asyncio.run(run()).results}
        assert {result.disposition for result in results.values()} == {disposition}
        return results

    def stored(self, name: str) -> bytes:
        """The one message in a mailbox, with CRLF, without the fields of final delivery."""
        (file,) = (self.world.root / "mail" / "contoso.example" / name / "new").iterdir()
        return (
            file.read_bytes()
            .replace(b"\n", b"\r\n")
            .partition(b"Delivered-To: " + name.encode())[2]
            .partition(b"\r\n")[2]
        )


@pytest.fixture
def scene(world: Any, kit: Any, tmp_path: Path) -> Iterator[Scene]:
    with closing(ConfigStore(tmp_path / "config.db")) as config:
        yield Scene(world, kit, tmp_path, config)


@pytest.mark.parametrize(("to", "recipient"), [("ann", "ann"), ("ann", "alias"), ("domain", "ann"), ("domain", "ben")])
def test_it_is_decrypted_for_those_it_is_for(scene: Scene, to: str, recipient: str) -> None:
    results = scene.deliver(f"{recipient}@contoso.example", body=message(ENTITY, to))
    got = scene.stored("ben" if recipient == "ben" else "ann")
    said, _, rest = got.partition(b"From:")
    assert said.startswith(b"X-Gatepost-SMIME: decrypted by gate.example;\r\n key=")
    assert said.endswith(b"; signature=not-verified\r\n")
    assert b"From:" + rest == HEAD + ENTITY
    assert results[f"{recipient}@contoso.example"].detail["smime"]["decrypted"] is True


def test_it_waits_while_there_is_no_room_for_what_is_decrypted(scene: Scene) -> None:
    body = message(ENTITY + b"x" * 70 + b"\r\n" * 200_000)
    (scene.folder / "made").write_bytes(b"")
    result = scene.deliver("ann@contoso.example", body=body, disposition=Disposition.DEFERRED)["ann@contoso.example"]
    assert (result.reply.code, "cannot be kept" in result.detail["detail"]) == (451, True)
    (scene.folder / "made").unlink()
    scene.deliver("ann@contoso.example", body=body)
    assert ENTITY in scene.stored("ann")


def test_a_personal_key_opens_nothing_for_others(scene: Scene) -> None:
    body = message(ENTITY, "ann")
    addresses = [f"{name}@contoso.example" for name in ("ben", "ann", "cleo")]
    results = scene.deliver(*addresses, body=body)
    assert scene.stored("ann").endswith(ENTITY)
    assert scene.stored("ben") == scene.stored("cleo") == body
    assert {results[one].detail["smime"]["decrypted"] for one in addresses if "ann" not in one} == {False}


def test_binary_content_that_only_claims_to_be_encrypted_stays_binary(scene: Scene) -> None:
    """Sent as text to an LMTP server, its dot alone on a line could end the message there."""
    head = b"From: x@elsewhere.example\r\nContent-Type: application/pkcs7-mime; smime-type=signed-data\r\n\r\n"
    body = head + b"one\n.\r\ntwo\n"
    scene.deliver("ann@contoso.example", body=body, body_type="BINARYMIME")
    (file,) = (scene.world.root / "mail" / "contoso.example" / "ann" / "new").iterdir()
    assert file.read_bytes().endswith(b"\n" + body)


@pytest.mark.parametrize(
    ("entity", "why"),
    [
        (b"no entity\r\n", "no MIME entity"),
        (b"Content-Type: text/plain\r\n\r\none\rtwo\r\n", "bare CR or LF"),
    ],
)
def test_what_no_mailbox_can_hold_stays_as_it_came(scene: Scene, entity: bytes, why: str) -> None:
    body = message(entity)
    result = scene.deliver("ann@contoso.example", body=body)["ann@contoso.example"]
    assert scene.stored("ann") == body
    assert why in result.detail["smime"]["why"]


def test_line_ends_of_some_programs_are_put_right(scene: Scene) -> None:
    scene.deliver("ann@contoso.example", body=message(ENTITY.replace(b"\r\n", b"\n")))
    assert scene.stored("ann").endswith(HEAD + ENTITY)


@pytest.mark.parametrize(("parameter", "subject"), [('; hp="cipher"', b"figures"), ("", b"[...]")])
def test_a_protected_subject_comes_out(scene: Scene, parameter: str, subject: bytes) -> None:
    """RFC 9788; other fields inside are copies."""
    entity = f"Content-Type: text/plain{parameter}\r\nFrom: y@z.example\r\nSubject: figures\r\n\r\nx\r\n".encode()
    scene.deliver("ann@contoso.example", body=message(entity))
    got = scene.stored("ann")
    assert got.count(b"Subject:") == 1
    assert b"Subject: " + subject + b"\r\n" in got
    assert b"y@z.example" not in got


@pytest.mark.parametrize("name", ["large", "broken", "another key", "no base64", "unsealed"])
def test_what_is_not_decrypted_is_delivered_as_it_came(
    scene: Scene, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    body = message(ENTITY, "ann" if name != "another key" else "domain")
    match name:
        case "large":
            scene.most = 10
        case "broken":

            def broken(*_: Any) -> Any:
                raise RuntimeError("the figures")

            monkeypatch.setattr(step, "decrypted", broken)
        case "another key":
            scene.store.remove_identity(
                next(one for one in scene.store.identities() if one.owner == "contoso.example"), author="me"
            )
        case "no base64":
            body = body.replace(b"base64", b"7bit")
        case _:
            scene.store._vault = None  # as if the master key could not be read
    result = scene.deliver("ann@contoso.example", body=body)["ann@contoso.example"]
    assert scene.stored("ann") == body
    assert result.detail.get("smime", {}).get("decrypted") in {False, None}
    assert ("smime" in result.detail) is (name != "no base64")
    assert "figures" not in caplog.text


def test_nobody_else_says_that_we_decrypted(scene: Scene) -> None:
    forged = b"x-gatepost-smime : decrypted by gate.example;\r\n key=1\r\n"
    plain = b"From: x@elsewhere.example\r\n" + forged + b"Subject: y\r\n\r\nHello.\r\n"
    scene.deliver("ben@contoso.example", body=plain)
    assert scene.stored("ben") == plain.replace(forged, b"")
    scene.deliver("ann@contoso.example", body=message(ENTITY, head=forged + HEAD))
    assert scene.stored("ann").lower().count(b"x-gatepost-smime") == 1


def test_where_it_is_not_wanted_nothing_is_touched(scene: Scene) -> None:
    scene.world.resources["smime_decrypt"] = False
    body = b"X-Gatepost-SMIME: x\r\n" + message(ENTITY)
    results = scene.deliver("ann@contoso.example", "ben@contoso.example", body=body)
    assert scene.stored("ann") == scene.stored("ben") == body
    assert all("smime" not in result.detail for result in results.values())


def test_a_server_behind_us_gets_it_decrypted_and_is_told_the_right_mailboxes(scene: Scene) -> None:
    """LMTP, where each recipient has its own place in the route."""
    peer = scene.kit.Peer(lmtp=True)
    decryption = SmimeDecryption(scene.store, InMemoryTransform(scene.folder / "made", scene.most), "gate.example")

    async def run() -> Any:
        async with peer:
            for box in scene.world.resources["mailbox"]:
                box["delivery"] = f"lmtp:127.0.0.1:{peer.port}"
            scene.world.settings["content"] = ContentSteps(decryption, dividers=(decryption,))
            names = ("ben@contoso.example", "alias@contoso.example")
            outcome = await scene.world.build().deliver(scene.kit.delivery(*names, body=message(ENTITY)))
            scene.world.pool.close()
            return outcome

    outcome = asyncio.run(run())
    assert {result.disposition for result in outcome.results} == {Disposition.DELIVERED}
    got = {recipient: one for one in peer.messages for recipient in one.recipients}
    assert set(got) == {"ben@contoso.example", "ann@contoso.example"}
    assert got["ann@contoso.example"].content.endswith(ENTITY)
    assert "BODY=8BITMIME" in got["ann@contoso.example"].mail
    assert b"pkcs7-mime" in got["ben@contoso.example"].content
