from __future__ import annotations

import base64
import hashlib
from typing import Any

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from support.rsa_keys import rsa_key

from gatepost.protocols.dkim.canonical import RelaxedBody, relaxed_field
from gatepost.protocols.dkim.fields import chosen_fields, field_list, split_fields
from gatepost.protocols.dkim.record import KeyRecord
from gatepost.protocols.dkim.signature import Signature

RSA = rsa_key()
ED25519 = Ed25519PrivateKey.generate()
SPKI = RSA.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
RECORDS = {
    "rsa-sha256": KeyRecord(base64.b64encode(SPKI).decode()),
    "ed25519-sha256": KeyRecord(base64.b64encode(ED25519.public_key().public_bytes_raw()).decode(), "ed25519"),
}


def sign(algorithm: str, octets: bytes) -> bytes:
    if algorithm == "rsa-sha256":
        return RSA.sign(octets, PKCS1v15(), SHA256())
    return ED25519.sign(hashlib.sha256(octets).digest())


def body_hash(body: bytes) -> bytes:
    digest = hashlib.sha256()
    canonical = RelaxedBody(digest.update)
    canonical.feed(body)
    canonical.finish()
    return digest.digest()


def signed(
    message: bytes, algorithm: str = "rsa-sha256", domain: str = "contoso.example", selector: str = "s"
) -> bytes:
    header, _, body = message.partition(b"\r\n\r\n")
    fields = split_fields(header + b"\r\n")
    made = Signature(algorithm, domain, selector, chosen_fields(fields), body_hash(body), 1_795_528_800.7)
    return made.completed(sign(algorithm, made.signed_octets(fields))) + message


def verified(message: bytes, algorithm: str = "rsa-sha256") -> bool:
    """Whether dkimpy, with our record in its DNS, says that it is."""

    def text(name: bytes, **_: Any) -> bytes:
        assert name == b"s._domainkey.contoso.example."
        return RECORDS[algorithm].text.encode()

    result: bool = dkim.verify(message, dnsfunc=text)
    return result


HEADER = (
    b"From: Ann <ann@contoso.example>\r\nTo: bob@b.example\r\nSubject: x\r\nDate: Tue, 24 Nov 2026 14:00:00 +0000\r\n"
)
LONG = b"References: " + b"\r\n ".join(b"<%030d@contoso.example>" % at for at in range(60)) + b"\r\n"

MESSAGES = {
    "plain": HEADER + b"\r\nHello.\r\n",
    "empty body": HEADER + b"\r\n",
    "empty lines alone": HEADER + b"\r\n\r\n\r\n",
    "no CRLF at the end": HEADER + b"\r\nHello.",
    "blanks at ends of lines": HEADER + b"\r\nHello. \t \r\n  x\ty  \r\n \r\n\r\n",
    "lines of dots": HEADER + b"\r\n.\r\n..\r\n.x\r\n",
    "8bit": HEADER.replace(b"Ann", "Änn".encode()) + b"\r\ngr\xfc\xdfe \xe2\x82\xac\r\n",
    "folded": HEADER
    + b"Cc:\r\n\tcarl@c.example,\r\n  dora@d.example\r\nContent-Type: text/plain;\r\n\tcharset=x\r\n\r\nx\r\n",
    "long": HEADER + LONG + b"\r\nx\r\n",
    "twice": HEADER
    + b"To: eve@e.example\r\nReceived: a\r\nTo: fay@f.example\r\nList-Id: <l>\r\nList-Id: <m>\r\n\r\nx\r\n",
    "blanks": HEADER.replace(b"Subject: x", b"SUBJECT:\t x  y ") + b"\r\nx\r\n",
    "no other field": b"From: ann@contoso.example\r\n\r\nx\r\n",
}


@pytest.mark.parametrize("algorithm", RECORDS)
@pytest.mark.parametrize("name", MESSAGES)
def test_dkimpy_verifies_every_kind_of_message(name: str, algorithm: str) -> None:
    message = signed(MESSAGES[name], algorithm)
    assert verified(message, algorithm)
    assert message.endswith(MESSAGES[name])
    lines = message.removesuffix(MESSAGES[name]).split(b"\r\n")
    assert max(map(len, lines)) <= 78
    assert lines[0].startswith(b"DKIM-Signature: v=1; a=" + algorithm.encode())


def test_nothing_signed_can_be_changed_or_added() -> None:
    message = signed(MESSAGES["plain"])
    for before, after in [
        (b"Hello", b"hello"),
        (b"Subject: x", b"Subject: y"),
        (b"bob@b.example", b"eve@b.example"),
        (b"\r\n\r\nHello", b"\r\n\r\nHello more"),
    ]:
        assert not verified(message.replace(before, after)), before
    for added in (b"From", b"To", b"Cc", b"Subject", b"Reply-To", b"Date"):
        assert not verified(message.replace(b"\r\nTo: bob", b"\r\n%b: eve@e.example\r\nTo: bob" % added)), added
    assert verified(b"Received: by somebody\r\n" + message)
    assert verified(message.replace(b"Subject: x", b"Subject:\r\n\tx").replace(b"Hello.\r\n", b"Hello.  \r\n\r\n"))


NAMES = st.sampled_from(["From", "To", "Subject", "X-Any", "List-Id", "references", "DATE", "Message-ID", "Sender"])
VALUES = st.lists(st.text('ab<>@,; \t"=é', min_size=1, max_size=20).map(lambda one: f"{one}x"), max_size=4).map(
    "\r\n ".join
)
SECTIONS = st.lists(st.tuples(NAMES, VALUES).map(": ".join), max_size=8).map(
    lambda fields: ["From: a@contoso.example", *fields]
)
BODIES = st.lists(st.text("ab.é \t", max_size=8), max_size=8).map("\r\n".join)


@given(SECTIONS, BODIES, st.sampled_from(sorted(RECORDS)))
def test_any_message_is_verified(section: list[str], body: str, algorithm: str) -> None:
    content = "\r\n".join([*section, "", body, ""]).encode()
    assert verified(signed(content, algorithm), algorithm)


def test_a_domain_of_any_length_stands_in_the_field() -> None:
    domain = ".".join(["a" * 60] * 4)
    made = Signature("rsa-sha256", domain, "b" * 63, ("from",), b"\0" * 32, 0.0)
    field = made.completed(b"\1" * 256)
    assert domain.encode() in field
    assert b"h=from;" in field
    assert base64.b64decode(field.partition(b"\tb=")[2]) == b"\1" * 256


# RFC 8463 appendix A: one message, signed with both keys. The Ed25519 signature is deterministic, and so is RSA's.
RFC_8463 = b"""\
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game.  Are you hungry yet?

Joe.
""".replace(b"\n", b"\r\n")
RFC_8463_SEED = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="
RFC_8463_PUBLIC = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
RFC_8463_FIELD = (
    b"DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n"
    b" d=football.example.com; i=@football.example.com;\r\n"
    b" q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n subject : date : message-id : from : subject : date;\r\n"
    b" bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n"
    b" b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus\r\n Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==\r\n"
)


def test_the_example_of_rfc_8463_is_hashed_and_verified_as_it_says() -> None:
    header, _, body = RFC_8463.partition(b"\r\n\r\n")
    assert base64.b64encode(body_hash(body)).decode() in RFC_8463_FIELD.decode()
    names = ["from", "to", "subject", "date", "message-id", "from", "subject", "date"]
    unsigned = relaxed_field(RFC_8463_FIELD.partition(b" b=")[0] + b" b=")
    lines = [relaxed_field(field.octets) for field in field_list(split_fields(header), names)]
    octets = b"\r\n".join([*lines, unsigned])
    key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(RFC_8463_SEED))
    assert base64.b64encode(key.public_key().public_bytes_raw()).decode() == RFC_8463_PUBLIC
    signature = base64.b64decode(RFC_8463_FIELD.partition(b" b=")[2])
    assert key.sign(hashlib.sha256(octets).digest()) == signature
    record = KeyRecord(RFC_8463_PUBLIC, "ed25519").text.encode()
    assert dkim.verify(RFC_8463_FIELD + RFC_8463, dnsfunc=lambda _name, **_: record)
