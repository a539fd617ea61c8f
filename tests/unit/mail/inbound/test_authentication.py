"""With a table in place of the DNS; tests/system/test_authentication.py has a real one, signed."""

from __future__ import annotations

import asyncio
import base64
import hashlib

import dkim
import dns.rdata
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from support.rsa_keys import rsa_key

from gatepost.mail.inbound import authentication
from gatepost.mail.inbound.authentication import MOST_SIGNATURES, Arrival, Authenticator
from gatepost.net.lookups.dns import DnsAnswer, DnsStatus
from gatepost.net.lookups.question import LookupFailed
from gatepost.protocols.dkim.verification import read_signature
from gatepost.protocols.smtp.grammar import parse_path

KEY = rsa_key()
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
PUBLIC = base64.b64encode(KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
RECORDS = {
    "b.example TXT": "v=spf1 ip4:192.0.2.7 -all",
    "s._domainkey.b.example TXT": f"v=DKIM1; p={PUBLIC}",
    "_dmarc.b.example TXT": "v=DMARC1; p=reject",
}
CONTENT = b"From: x@b.example\r\nSubject: s\r\n\r\nHello.\r\n"


class Table:
    """Stands where the resolver stands. silent: names without an answer, ever; failing: with a failure."""

    def __init__(self, silent=(), failing=()):
        self.silent, self.failing, self.asked = silent, failing, []

    async def query(self, name, kind, *, stranger):
        self.asked.append(f"{name} {kind}")
        if name in self.silent:
            await asyncio.Event().wait()
        if name in self.failing:
            raise LookupFailed("x")
        text = RECORDS.get(f"{name} {kind}")
        if text is None:
            return DnsAnswer(DnsStatus.NXDOMAIN, (), False, 0, (name,))
        pieces = " ".join(f'"{text[at : at + 200]}"' for at in range(0, len(text), 200))
        return DnsAnswer(DnsStatus.OK, (dns.rdata.from_text("IN", "TXT", pieces),), False, 0, (name,))


async def found(table, content=CONTENT, *, sender="x@b.example", ip="192.0.2.7", cut=7, **options):
    header, empty, _ = content.partition(b"\r\n\r\n")
    kept = b"Received: by us\r\n" + content

    async def chunks():
        for at in range(0, len(kept), cut):
            yield kept[at : at + cut]

    section = header + b"\r\n" if empty or header else b""
    arrival = Arrival(ip, "mx.b.example", parse_path(f"<{sender}>", smtputf8=True), section, chunks)
    result = await Authenticator(table, **options).authenticate(arrival)
    return {one.method: one.text for one in result.results}, result.chain


async def test_all_pass():
    signed = dkim.sign(CONTENT, b"s", b"b.example", PEM) + CONTENT
    results, chain = await found(Table(), signed)
    assert results["spf"] == "spf=pass smtp.mailfrom=x@b.example"
    assert results["dkim"].startswith(
        "dkim=pass header.d=b.example header.i=@b.example header.s=s header.a=rsa-sha256 "
    )
    assert results["dmarc"] == "dmarc=pass header.from=b.example policy.dmarc=reject"
    assert (results["arc"], chain) == ("arc=none smtp.remote-ip=192.0.2.7", "none")


@pytest.mark.parametrize("cut", [1, 16, 100_000])
@pytest.mark.parametrize("form", [b"simple", b"relaxed"])
@pytest.mark.parametrize("content", [CONTENT, b"From: x@b.example\r\n\r\n", CONTENT + b"a  b \r\n\r\n\r\n"])
async def test_bodies_are_hashed_however_they_are_cut(content, form, cut):
    signed = dkim.sign(content, b"s", b"b.example", PEM, canonicalize=(form, form)) + content
    assert (await found(Table(), signed, cut=cut))[0]["dkim"].startswith("dkim=pass")


async def test_a_message_that_is_nothing_but_header():
    results, _ = await found(
        Table(), b"DKIM-Signature: v=1; a=rsa-sha256; d=b.example; s=s; h=from; bh=AAAA; b=AAAA\r\n"
    )
    assert results["dkim"].startswith('dkim=fail reason="the body was changed" header.d=b.example')
    assert results["dmarc"].startswith("dmarc=permerror")


async def test_who_does_not_answer_is_not_waited_for():
    signed = dkim.sign(CONTENT, b"s", b"b.example", PEM) + CONTENT
    table = Table(silent={"b.example", "s._domainkey.b.example", "_dmarc.b.example"})
    results, _ = await found(table, signed, seconds=0.05)
    assert results["spf"].startswith('spf=temperror reason="no answer in time"')
    assert results["dkim"] == 'dkim=temperror reason="no answer in time"'
    assert results["dmarc"].startswith('dmarc=temperror reason="no answer in time"')


async def test_a_chain_that_cannot_be_told_has_no_result():
    tags = "a=rsa-sha256; d=b.example; s=s; b=AAAA"
    digest = base64.b64encode(hashlib.sha256(b"Hello.\r\n").digest()).decode()
    lines = [
        f"ARC-Seal: i=1; cv=none; {tags}",
        f"ARC-Message-Signature: i=1; {tags}; h=from; bh={digest}",
        "ARC-Authentication-Results: i=1; mx; none",
    ]
    content = "\r\n".join(lines).encode() + b"\r\n" + CONTENT
    results, chain = await found(Table(failing={"s._domainkey.b.example"}), content)
    assert ("arc" in results, chain) == (False, "")
    results, chain = await found(Table(), content)
    assert (results["arc"].partition(" ")[0], chain) == ("arc=fail", "fail")


async def test_signatures_are_not_verified_without_end():
    junk = b"DKIM-Signature: v=1; a=rsa-sha256; d=j.example; s=s; h=from; bh=%s; b=AAAA\r\n"
    digest = base64.b64encode(hashlib.sha256(b"Hello.\r\n").digest())
    table = Table()
    await found(table, junk % digest * 50 + CONTENT)
    assert table.asked.count("s._domainkey.j.example TXT") == MOST_SIGNATURES


async def test_signatures_that_are_not_verified_are_not_read(monkeypatch):
    read = []
    monkeypatch.setattr(authentication, "read_signature", lambda field, now: read.append(field) or own(field, now))
    own = read_signature
    junk = b"DKIM-Signature: v=1; a=rsa-sha256; d=j.example; s=s; h=from; bh=AAAA; b=AAAA\r\n"
    await found(Table(), junk * 500 + CONTENT)
    assert len(read) <= 2 * MOST_SIGNATURES + 2


@pytest.mark.parametrize(
    ("sender", "ip", "expected"),
    [
        ("", "192.0.2.7", "spf=none smtp.helo=mx.b.example"),
        ("x@b.example", "192.0.2.8", "spf=fail smtp.mailfrom=x@b.example"),
        ("x@b.example", "nowhere", 'spf=none reason="the client has no IP address" smtp.mailfrom=x@b.example'),
        ('"dkim=pass x"@b.example', "192.0.2.7", "spf=pass smtp.mailfrom=b.example"),
        ("x@[192.0.2.7]", "192.0.2.7", 'spf=none reason="the domain is not a domain name" smtp.mailfrom="?192.0.2.7?"'),
    ],
)
async def test_senders(sender, ip, expected):
    results, _ = await found(Table(), sender=sender, ip=ip)
    assert results["spf"].replace("x@?", "?") == expected


@pytest.mark.parametrize(
    "author", [b"", b"From: a@b.example, c@d.example\r\n", b"From: x\r\n", b"From: a@[192.0.2.1]\r\n"]
)
async def test_messages_without_one_author_have_no_policy(author):
    results, _ = await found(Table(), author + b"To: x\r\n\r\nHello.\r\n")
    assert results["dmarc"] == 'dmarc=permerror reason="the message does not have one author\'s domain"'


async def test_an_identity_that_looks_like_a_result_is_not_repeated():
    content = b"DKIM-Signature: v=1; a=rsa-sha256; d=b.example; s=s; h=from; bh=AAAA; b=AAAA; i=dkim=pass@b.example\r\n"
    results, _ = await found(Table(), content + CONTENT)
    assert "header.i=@b.example" in results["dkim"]
    assert "dkim=pass" not in results["dkim"]
