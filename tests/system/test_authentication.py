"""Proves that mail of others is authenticated when it comes in, and sealed when it is passed on.

The DNS is signed: zones of the tests, served by NSD, validated by Unbound. dkimpy and rspamd sign what comes in and
verify what goes out; neither shares code with gatepost.
"""

from __future__ import annotations

import re
import smtplib
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any

import dkim
import dns.resolver
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from support.dnssec import SignedDns
from support.gateway import Gateway
from support.rspamd import AuthenticatingRspamd
from support.scenes import connector, contoso, send

from gatepost.testing.process import Folder, wait_until
from gatepost.testing.signed_zone import Zone
from gatepost.testing.sink import Sink

HOST = "mx1.contoso.example"
ANN = "ann@contoso.example"
FORWARDED = "fred@contoso.example"
OUTSIDE = "fred@elsewhere.example"


class Signer:
    """A key of somebody else, and its record."""

    def __init__(self, bits: int = 2048) -> None:
        key = rsa.generate_private_key(65537, bits)
        self.pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.record = f"v=DKIM1; k=rsa; p={b64encode(public).decode()}"

    def signed(self, content: bytes, domain: str, **options: Any) -> bytes:
        """A message with a signature of dkimpy's."""
        return dkim.sign(content, b"s1", domain.encode(), self.pem, **options) + content


SIGNER, SMALL, OURS = Signer(), Signer(1024), Signer()


def txt(owner: str, text: str) -> str:
    strings = " ".join(f'"{text[at : at + 200]}"' for at in range(0, len(text), 200))
    return f"{owner} TXT {strings}"


ZONES = {
    "good": Zone(
        [
            txt("@", "v=spf1 ip4:127.0.0.1 -all"),
            txt("s1._domainkey", SIGNER.record),
            txt("_dmarc", "v=DMARC1; p=reject; sp=quarantine"),
        ]
    ),
    "strict": Zone(
        [
            txt("@", "v=spf1 include:good.test -all"),
            txt("news", "v=spf1 ip4:127.0.0.1 -all"),
            txt("s1._domainkey", SIGNER.record),
            txt("_dmarc", "v=DMARC1; p=quarantine; adkim=s; aspf=s"),
        ]
    ),
    "closed": Zone([txt("@", "v=spf1 -all"), txt("_dmarc", "v=DMARC1; p=reject")]),
    "loop": Zone([txt("@", "v=spf1 include:loop.test -all")]),
    "forged": Zone([txt("@", "v=spf1 ip4:127.0.0.1 -all"), txt("s1._domainkey", SIGNER.record)], forged=["TXT"]),
    "ours": Zone([txt("o1._domainkey", OURS.record)]),
    "bare": Zone(["www A 127.0.0.1"]),
}


@pytest.fixture(scope="module")
def names() -> Iterator[SignedDns]:
    with SignedDns(ZONES) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(names: SignedDns, partner: Sink, folder: Folder) -> Iterator[Gateway]:
    key = folder.write("o1.pem", OURS.pem.decode())
    key.chmod(0o600)
    resources = contoso(
        domains=[
            {"name": "contoso.example"},
            {"name": "ours.test"},
            {"name": "inner.example", "type": "internal-relay"},
        ],
        inbound=[],
        outbound=[connector("elsewhere.example", partner.address), connector("inner.example", partner.address)],
        authentication_results="gateway",
        dkim_key=[{"name": "o1._domainkey.ours.test", "state": "current", "key_file": str(key)}],
    )
    organizations = resources["organization"]
    organizations["contoso"]["mailbox"].append({"address": FORWARDED, "forwarding_smtp_address": OUTSIDE})
    organizations["fabrikam"] = {
        "accepted_domain": [{"name": "fabrikam.example"}],
        "mailbox": [{"address": "joe@fabrikam.example"}],
    }
    with Gateway(resources, nameservers=[names.address]) as running:
        yield running


def written(subject: str, author: str, *before: str, body: str = "Hello.") -> bytes:
    lines = [*before, f"From: Author <{author}>", "To: ann@contoso.example", f"Subject: {subject}", "", body, ""]
    return "\r\n".join(lines).encode()


def arrived(gateway: Gateway, subject: str, to: str = ANN) -> bytes:
    line = f"Subject: {subject}\r\n".encode()
    return wait_until(lambda: [mail.raw for mail in gateway.maildir(to) if line in mail.raw], f"the message {subject}")[
        0
    ]


def sunk(partner: Sink, subject: str) -> bytes:
    line = f"Subject: {subject}\r\n".encode()
    return wait_until(
        lambda: [one.mail.raw for one in partner.wait_messages(0) if line in one.mail.raw], f"the message {subject}"
    )[0]


def fields(content: bytes, name: str) -> list[str]:
    """The unfolded values of the fields of a name, the first in the message first."""
    header = re.sub(rb"\r\n[ \t]+", b" ", content.partition(b"\r\n\r\n")[0] + b"\r\n").decode("utf-8", "replace")
    return re.findall(rf"(?im)^{name}[ \t]*: *(.*?)\r$", header)


def results(content: bytes) -> dict[str, str]:
    """What our field says, by method."""
    assert content.index(f"Authentication-Results: {HOST};".encode()) < content.index(b"Received:")
    (ours,) = [value for value in fields(content, "Authentication-Results") if value.startswith(HOST)]
    return {part.strip().partition("=")[0]: part.strip() for part in ours.split(";")[1:]}


CASES: dict[str, tuple[str, str, Callable[[bytes], bytes], dict[str, str]]] = {
    "all pass": (
        "a@good.test",
        "a@good.test",
        lambda content: SIGNER.signed(content, "good.test"),
        {
            "spf": "spf=pass smtp.mailfrom=a@good.test",
            "dkim": "dkim=pass header.d=good.test header.i=@good.test header.s=s1 header.a=rsa-sha256",
            "dmarc": "dmarc=pass header.from=good.test policy.dmarc=reject",
            "arc": "arc=none smtp.remote-ip=127.0.0.1",
        },
    ),
    "simple canonicalization": (
        "a@good.test",
        "a@good.test",
        lambda content: SIGNER.signed(content, "good.test", canonicalize=(b"simple", b"simple")),
        {"dkim": "dkim=pass"},
    ),
    "a changed body": (
        "a@closed.test",
        "a@good.test",
        lambda content: SIGNER.signed(content, "good.test").replace(b"Hello.", b"Hullo."),
        {
            "spf": "spf=fail smtp.mailfrom=a@closed.test",
            "dkim": 'dkim=fail reason="the body was changed"',
            "dmarc": 'dmarc=fail reason="neither SPF nor DKIM passes for the author\'s domain" header.from=good.test',
        },
    ),
    "a changed header": (
        "a@closed.test",
        "a@good.test",
        lambda content: SIGNER.signed(content, "good.test").replace(b"From: Author", b"From: Another"),
        {"dkim": 'dkim=fail reason="the signature does not match"'},
    ),
    "a subdomain": (
        "a@bare.test",
        "a@news.good.test",
        lambda content: SIGNER.signed(content, "good.test"),
        {
            "spf": "spf=none",
            "dkim": "dkim=pass",
            "dmarc": "dmarc=pass header.from=news.good.test policy.dmarc=quarantine",
        },
    ),
    "strict alignment": (
        "a@news.strict.test",
        "a@strict.test",
        bytes,
        {"spf": "spf=pass", "dkim": "dkim=none", "dmarc": "dmarc=fail"},
    ),
    "an include": ("a@strict.test", "a@strict.test", bytes, {"spf": "spf=pass", "dmarc": "dmarc=pass"}),
    "a loop of includes": (
        "a@loop.test",
        "a@loop.test",
        bytes,
        {"spf": 'spf=permerror reason="more than 10 terms need look-ups"', "dmarc": "dmarc=none"},
    ),
    "forged answers": (
        "a@forged.test",
        "a@forged.test",
        lambda content: SIGNER.signed(content, "forged.test"),
        {
            "spf": 'spf=temperror reason="TXT of forged.test: DNSSEC validation fails"',
            "dkim": 'dkim=temperror reason="TXT of s1._domainkey.forged.test: DNSSEC validation fails"',
        },
    ),
    "a part of the body": (
        "a@good.test",
        "a@good.test",
        lambda content: SIGNER.signed(content, "good.test", length=True) + b"More.\r\n",
        {"dkim": 'dkim=policy reason="only a part of the body is signed"', "dmarc": "dmarc=pass"},
    ),
    "two authors": ("a@good.test", "a@good.test>, <b@bare.test", bytes, {"dmarc": "dmarc=permerror"}),
}


@pytest.mark.parametrize("name", CASES)
def test_mail_of_others_is_authenticated(gateway: Gateway, name: str) -> None:
    sender, author, change, expected = CASES[name]
    subject = f"case {name}"
    send(gateway.port, ANN, sender=sender, content=change(written(subject, author)))
    found = results(arrived(gateway, subject))
    for method, text in expected.items():
        assert found[method].startswith(text), found


def test_the_trace_has_what_was_found(gateway: Gateway) -> None:
    content = SIGNER.signed(written("traced", "a@good.test"), "good.test")
    send(gateway.port, ANN, sender="a@good.test", content=content)
    (row,) = wait_until(lambda: [one for one in gateway.trace(event="RECEIVE") if one["subject"] == "traced"], "a row")
    found = row["detail"]["authentication"]
    assert found["by"] == "gateway"
    assert found["results"][0] == "spf=pass smtp.mailfrom=a@good.test"
    assert [text.partition(" ")[0] for text in found["results"]] == ["spf=pass", "dkim=pass", "dmarc=pass", "arc=none"]
    said = gateway.cli("trace", "show", row["message"]).stdout
    assert "spf=pass smtp.mailfrom=a@good.test" in said


def test_the_null_reverse_path_is_judged_by_the_name_in_hello(gateway: Gateway) -> None:
    with smtplib.SMTP("127.0.0.1", gateway.port, local_hostname="good.test") as client:
        client.sendmail("", [ANN], written("bounce", "a@good.test"))
    found = results(arrived(gateway, "bounce"))
    assert found["spf"] == "spf=pass smtp.helo=good.test"
    assert found["dmarc"].startswith("dmarc=pass")


def test_a_large_body_is_hashed_as_it_is_read(gateway: Gateway) -> None:
    content = SIGNER.signed(written("large", "a@good.test", body="0123456789 abcdef\t\r\n" * 100_000), "good.test")
    send(gateway.port, ANN, sender="a@closed.test", content=content)
    assert results(arrived(gateway, "large"))["dkim"].startswith("dkim=pass")


FORGED = [
    f"Authentication-Results: {HOST}; dkim=pass header.d=bank.test",
    f"authentication-RESULTS : (me) {HOST.upper()}. 1;\r\n\tspf=pass",
    f'Authentication-Results:\r\n "{HOST}" ; dmarc=pass',
    "Authentication-Results: (not closed ; dkim=pass header.d=bank.test",
]


def test_forged_results_are_taken_out(gateway: Gateway) -> None:
    foreign = f"Authentication-Results: elsewhere.example; spf=pass smtp.helo={HOST}"
    send(gateway.port, ANN, sender="a@good.test", content=written("forged", "a@good.test", *FORGED, foreign))
    content = arrived(gateway, "forged")
    assert results(content)["dkim"] == "dkim=none"
    assert fields(content, "Authentication-Results")[1:] == [foreign.partition(": ")[2]]
    assert b"bank.test" not in content
    (row,) = wait_until(lambda: [one for one in gateway.trace(event="RECEIVE") if one["subject"] == "forged"], "a row")
    assert row["detail"]["forged_results"] == len(FORGED)


def test_another_organization_gets_its_mail_as_it_was(gateway: Gateway) -> None:
    content = written("untouched", "a@good.test", FORGED[0])
    send(gateway.port, "joe@fabrikam.example", sender="a@good.test", content=content)
    assert arrived(gateway, "untouched", "joe@fabrikam.example").endswith(content)


def test_recipients_who_differ_are_asked_for_apart(gateway: Gateway) -> None:
    content = written("apart", "a@good.test")
    refused = send(gateway.port, [ANN, "joe@fabrikam.example"], sender="a@good.test", content=content)
    assert [code for code, _ in refused.values()] == [452]
    assert results(arrived(gateway, "apart"))["spf"].startswith("spf=pass")


def arc_state(names: SignedDns, content: bytes) -> tuple[bytes, list[dict[str, Any]], str]:
    """The chain of a message as dkimpy judges it."""
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = ["127.0.0.1"], int(names.address.rpartition(":")[2])

    def text(name: bytes, **_: Any) -> bytes:
        (record,) = resolver.resolve(name.decode(), "TXT")
        return b"".join(record.strings)

    state: tuple[bytes, list[dict[str, Any]], str] = dkim.ARC(content).verify(dnsfunc=text)
    return state


@pytest.mark.parametrize("to", [FORWARDED, "someone@inner.example"], ids=["forwarded", "relayed"])
def test_what_is_passed_on_is_sealed(gateway: Gateway, names: SignedDns, partner: Sink, to: str) -> None:
    subject = f"sealed for {to}"
    content = SIGNER.signed(written(subject, "a@good.test"), "good.test")
    send(gateway.port, to, sender="a@good.test", content=content)
    got = sunk(partner, subject)
    state, sets, why = arc_state(names, got)
    assert (state, why) == (b"pass", "success")
    assert [(one["instance"], one["cv"], one["as-domain"]) for one in sets] == [(1, b"none", b"ours.test")]
    (said,) = fields(got, "ARC-Authentication-Results")
    assert said.startswith(f"i=1; {HOST}; spf=pass smtp.mailfrom=a@good.test; dkim=pass header.d=good.test")
    assert arc_state(names, got.replace(b"Hello.", b"Hullo."))[0] == b"fail"
    row = wait_until(lambda: [one for one in gateway.trace(event="SEND") if one["subject"] == subject], "a row")[0]
    assert row["detail"]["arc"] == "i=1 cv=none ours.test/o1"


def resent(gateway: Gateway, partner: Sink, content: bytes, subject: str) -> bytes:
    """What comes out if that is sent in again, as another intermediary would; its Subject changed."""
    content = re.sub(rb"Subject: [^\r]*", f"Subject: {subject}".encode(), content)
    send(gateway.port, "someone@inner.example", sender="a@good.test", content=content)
    return sunk(partner, subject)


def test_a_chain_goes_on(gateway: Gateway, names: SignedDns, partner: Sink) -> None:
    subject = "chain"
    send(gateway.port, "someone@inner.example", sender="a@good.test", content=written(subject, "a@good.test"))
    first = sunk(partner, subject)
    send(gateway.port, "someone@inner.example", sender="a@good.test", content=first)

    def twice() -> list[bytes]:
        got = [one.mail.raw for one in partner.wait_messages(0)]
        return [raw for raw in got if b"Subject: chain\r\n" in raw and b"ARC-Seal: i=2" in raw]

    second = wait_until(twice, "the second set")[0]
    state, sets, _ = arc_state(names, second)
    assert state == b"pass"
    assert [(one["instance"], one["cv"]) for one in sets] == [(2, b"pass"), (1, b"none")]
    assert "arc=pass" in fields(second, "ARC-Authentication-Results")[0]
    # A chain that was broken on the way is sealed as such, once.
    third = resent(gateway, partner, second, "broken")
    assert "cv=fail" in fields(third, "ARC-Seal")[0]
    assert arc_state(names, third)[0] is None  # as dkimpy calls it if a seal says so itself
    assert "arc=fail" in fields(third, "ARC-Authentication-Results")[0]
    fourth = resent(gateway, partner, third, "broken again")
    assert len(fields(fourth, "ARC-Seal")) == 3


@pytest.fixture(scope="module")
def rspamd(names: SignedDns) -> Iterator[AuthenticatingRspamd]:
    with AuthenticatingRspamd(names.address, "good.test", "s1", SIGNER.pem) as running:
        yield running


USER = {"IP": "127.0.0.1", "From": "a@good.test", "User": "a@good.test"}
SERVER = {"IP": "127.0.0.1", "From": "a@good.test", "Helo": "good.test"}


def test_a_chain_of_rspamds_is_verified(gateway: Gateway, rspamd: AuthenticatingRspamd) -> None:
    content = rspamd.sealed(written("rspamd", "a@good.test"), **USER)
    send(gateway.port, ANN, sender="a@good.test", content=content)
    assert results(arrived(gateway, "rspamd"))["arc"] == "arc=pass smtp.remote-ip=127.0.0.1"
    changed = content.replace(b"Subject: rspamd", b"Subject: rsbamd")
    send(gateway.port, ANN, sender="a@good.test", content=changed)
    assert results(arrived(gateway, "rsbamd"))["arc"].startswith('arc=fail reason="the signature does not match"')


def test_rspamd_verifies_our_chain(gateway: Gateway, rspamd: AuthenticatingRspamd, partner: Sink) -> None:
    """Behind one set of its own: ours is the second."""
    content = rspamd.sealed(SIGNER.signed(written("two sets", "a@good.test"), "good.test"), **USER)
    send(gateway.port, "someone@inner.example", sender="a@good.test", content=content)
    got = sunk(partner, "two sets")
    symbols = rspamd.judged(got, **SERVER)["symbols"]
    assert "ARC_ALLOW" in symbols, sorted(symbols)
    assert symbols["ARC_ALLOW"]["options"] == ["ours.test:s=o1:i=2"]
    assert "ARC_REJECT" in rspamd.judged(got.replace(b"Hello.", b"Hullo."), **SERVER)["symbols"]


def test_rspamd_finds_the_same(gateway: Gateway, rspamd: AuthenticatingRspamd) -> None:
    """For each case its own judgement beside ours, where the two have the same words for it."""
    words = {"R_SPF_ALLOW": "spf=pass", "R_SPF_FAIL": "spf=fail", "R_SPF_NA": "spf=none"}
    words |= {"R_DKIM_ALLOW": "dkim=pass", "R_DKIM_NA": "dkim=none", "R_DKIM_REJECT": "dkim=fail"}
    words |= {"DMARC_NA": "dmarc=none"} | {f"DMARC_POLICY_{word}": "dmarc=fail" for word in ("REJECT", "QUARANTINE")}
    words |= {"DMARC_POLICY_ALLOW": "dmarc=pass"}
    compared = 0
    for name in ("all pass", "a changed body", "a subdomain", "strict alignment", "an include"):
        sender, author, change, _ = CASES[name]
        content = change(written(f"again {name}", author))
        fields = {"IP": "127.0.0.1", "From": sender, "Helo": "client.example"}
        theirs = {words[symbol] for symbol in rspamd.judged(content, **fields)["symbols"] if symbol in words}
        send(gateway.port, ANN, sender=sender, content=content)
        ours = {text.partition(" ")[0] for text in results(arrived(gateway, f"again {name}")).values()}
        assert len(theirs) == 3, theirs
        assert theirs <= ours, name
        compared += len(theirs)
    assert compared == 15


def test_results_of_rspamd_are_taken(rspamd: AuthenticatingRspamd) -> None:
    hook = {"name": "filter", "type": "rspamd", "address": rspamd.address, "direction": "inbound"}
    resources = contoso(inbound=[], authentication_results="rspamd", content_hook=[hook])
    with Gateway(resources) as running:
        content = SIGNER.signed(written("by rspamd", "a@good.test", FORGED[0], FORGED[2]), "good.test")
        send(running.port, ANN, sender="a@good.test", content=content)
        got = arrived(running, "by rspamd")
        (row,) = wait_until(lambda: running.trace(event="RECEIVE"), "a row")
    (field,) = fields(got, "Authentication-Results")
    assert field.startswith(f"{HOST}; dkim=pass header.d=good.test")
    assert b"bank.test" not in got
    assert row["detail"]["forged_results"] == 2
    assert row["detail"]["authentication"]["by"] == "rspamd"
    assert row["detail"]["authentication"]["results"][0].startswith("dkim=pass header.d=good.test")


def test_explain_says_who_authenticates(gateway: Gateway) -> None:
    said = gateway.cli("explain", "--from", "a@good.test", "--to", ANN, json=True).data
    assert said["inbound"]["authentication_results"] == "gateway"


def test_without_an_answer_mail_comes_in_all_the_same(folder: Folder) -> None:
    resources = contoso(inbound=[], authentication_results="gateway")
    settings = {"dns": {"nameservers": ["127.0.0.1:9"], "timeout": "1s", "attempts": 1}}
    with Gateway(resources, settings=settings) as running:
        begun = time.monotonic()
        content = SIGNER.signed(written("deaf", "a@good.test"), "good.test")
        send(running.port, ANN, sender="a@good.test", content=content)
        found = results(arrived(running, "deaf"))
        assert time.monotonic() - begun < 40
    assert found["spf"] == 'spf=temperror reason="TXT of good.test: no answer" smtp.mailfrom=a@good.test'
    assert found["dkim"].startswith("dkim=temperror")
    assert found["dmarc"].startswith("dmarc=temperror")
