"""Proves that whoever runs a gateway learns in time what is wrong with its certificates, and that it is over."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.dnssec import SignedDns
from support.gateway import Gateway
from support.scenes import contoso

from gatepost.analysis.checks.certificate_alarms import Observed, TlsaState
from gatepost.analysis.checks.own_certificates import OwnCertificates
from gatepost.net.identity import ServerIdentity
from gatepost.net.lookups.dns import Resolver
from gatepost.net.lookups.nameservers import Nameservers
from gatepost.testing.name_server import DnsServer
from gatepost.testing.pki import Leaf, Pki
from gatepost.testing.process import wait_until
from gatepost.testing.signed_zone import Zone
from gatepost.testing.status_server import StatusServer

OWNER = "ann@contoso.example"
NAME = "mx1.contoso.example"
OWN, STALE, FORGED, PLAIN = (f"mx.{zone}.test" for zone in ("own", "stale", "forged", "plain"))


def renew(old: Leaf, new: Leaf) -> None:
    """As certbot does it: other content under the same names."""
    for before, after in ((old.key, new.key), (old.chain, new.chain)):
        fresh = before.with_suffix(".new")
        shutil.copy(after, fresh)
        fresh.replace(before)


def alarms(gateway: Gateway, *, expect: int | None = None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = gateway.cli("certificate", "alarms", json=True, expect=expect).data["alarms"]
    return found


def tlsa(leaf: Leaf) -> str:
    """The record 3 1 1 for its key, hexadecimal."""
    key = leaf.x509.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"030101{hashlib.sha256(key).hexdigest()}"


def openssl(folder: Path, words: str) -> None:
    subprocess.run(["openssl", *words.split()], cwd=folder, check=True, capture_output=True)


def chain_by_openssl(folder: Path, days: float) -> Leaf:
    """A certificate for 60 days below an intermediate that ends in so many."""
    begin, end = (time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + day * 86400)) for day in (-300, days))
    new = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    (folder / "ca.ext").write_text("basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign,cRLSign\n")
    (folder / "leaf.ext").write_text(f"subjectAltName=DNS:{NAME}\n")
    openssl(folder, f"req -x509 {new} -keyout root.key -subj /CN=Root -days 400 -out root.pem")
    openssl(folder, f"req {new} -keyout middle.key -subj /CN=Middle -out middle.csr")
    below = f"-CA root.pem -CAkey root.key -extfile ca.ext -not_before {begin} -not_after {end}"
    openssl(folder, f"x509 -req -in middle.csr {below} -out middle.pem")
    openssl(folder, f"req {new} -keyout leaf.key -subj /CN={NAME} -out leaf.csr")
    openssl(folder, "x509 -req -in leaf.csr -CA middle.pem -CAkey middle.key -extfile leaf.ext -days 60 -out leaf.pem")
    chain = folder / "chain.pem"
    chain.write_bytes((folder / "leaf.pem").read_bytes() + (folder / "middle.pem").read_bytes())
    return Leaf(NAME, chain=chain, certificate=folder / "leaf.pem", key=folder / "leaf.key")


def test_an_intermediate_that_ends_before_its_certificate(gateway: Callable[..., Gateway], tmp_path: Path) -> None:
    """Made by OpenSSL; the alarm is over once the file has a later one for the same key."""
    leaf = chain_by_openssl(tmp_path, 6.5)
    mx = gateway(contoso(), certificates=[leaf], anchors=tmp_path / "root.pem")
    wait_until(lambda: "chain-ends" in kinds(mx), "the alarm of the gateway", timeout=60)
    (alarm,) = [one for one in alarms(mx) if one["kind"] == "chain-ends"]
    assert (alarm["severity"], alarm["title"].endswith(f"for {NAME} expires in 6 days")) == ("error", True)
    assert alarm["lines"] == [f"gatepost check chain {leaf.chain}"]
    below = "-CA root.pem -CAkey root.key -extfile ca.ext -days 300"
    openssl(tmp_path, f"x509 -req -in middle.csr {below} -out middle.pem")
    fresh = tmp_path / "fresh.pem"
    fresh.write_bytes((tmp_path / "leaf.pem").read_bytes() + (tmp_path / "middle.pem").read_bytes())
    fresh.replace(leaf.chain)
    wait_until(lambda: "chain-ends" not in kinds(mx), "its end", timeout=60)
    assert (tmp_path / "middle.pem").read_text().strip() in presented(mx), "without a restart"


def presented(gateway: Gateway) -> str:
    words = ["openssl", "s_client", "-connect", f"127.0.0.1:{gateway.port}", "-starttls", "smtp", "-showcerts"]
    return subprocess.run(words, input=b"", check=False, capture_output=True).stdout.decode()


def kinds(gateway: Gateway) -> list[str]:
    return [one["kind"] for one in alarms(gateway)]


def test_a_certificate_that_ends_in_six_days_until_it_is_renewed(
    gateway: Callable[..., Gateway], dns_server: Callable[..., DnsServer], pki: Pki
) -> None:
    leaf = pki.leaf(NAME, days=(-84, 6.5))
    nameserver = dns_server({f"{NAME} A": ["127.0.0.1"]}, authentic=True)
    mx = gateway(
        contoso(),
        certificates=[leaf],
        anchors=pki.root,
        nameservers=[f"127.0.0.1:{nameserver.port}"],
        settings={"alarms": {"mail_to": [OWNER], "look": "1s"}},
    )
    found = alarms(mx, expect=1)
    assert [(one["kind"], one["severity"]) for one in found] == [("expiry", "error"), ("next-missing", "warning")]
    assert found[0]["title"].endswith(f"for {NAME} expires in 6 days")
    (mail,) = mx.wait_maildir(OWNER)
    assert any(" error " in line and "expires in 6 days. It ends" in line for line in mx.log().splitlines())
    assert b"Subject: [gatepost mx1.contoso.example] 1 error, 1 warning: " in mail.head
    assert b"Auto-Submitted: auto-generated\r\n" in mail.head
    assert b"Return-Path: <>\r\n" in mail.head
    assert b"What to do: Renew the files" in mail.body
    assert "1 error, 1 warning: the certificate" in mx.cli("status").stdout
    mx.stop()
    told = mx.log().count(": alarm: ")
    mx.start()
    renew(leaf, pki.leaf(NAME))
    wait_until(lambda: "alarm over: " in mx.log(), "the renewed certificate ends the alarms")
    assert (told, mx.log().count(": alarm: ")) == (2, 2), "a restart tells nothing twice"
    assert alarms(mx, expect=0) == []
    assert "no alarms" in mx.cli("status").stdout
    assert len(mx.maildir(OWNER)) == 1, "no more than one mail a day for what is not critical"


@pytest.mark.parametrize(
    ("language", "subject", "texts"),
    [
        ("sv", "1 fel, 1 varning: ", ("E-postgatewayen mx1.contoso.example rapporterar", "NYA", "Gör så här: ")),
        (
            "de",
            "1 Fehler, 1 Warnung: ",
            ("Das E-Mail-Gateway mx1.contoso.example meldet", "NEU", "Was zu tun ist: "),
        ),
    ],
)
def test_the_mail_is_in_the_language_of_the_settings(
    gateway: Callable[..., Gateway],
    dns_server: Callable[..., DnsServer],
    pki: Pki,
    language: str,
    subject: str,
    texts: tuple[str, ...],
) -> None:
    nameserver = dns_server({f"{NAME} A": ["127.0.0.1"]}, authentic=True)
    mx = gateway(
        contoso(),
        certificates=[pki.leaf(NAME, days=(-84, 6.5))],
        anchors=pki.root,
        nameservers=[f"127.0.0.1:{nameserver.port}"],
        settings={"alarms": {"mail_to": [OWNER], "language": language}, "admin": {"time_zone": "Asia/Kolkata"}},
    )
    (mail,) = mx.wait_maildir(OWNER)
    parsed = message_from_bytes(mail.raw, policy=policy.SMTP)
    assert str(parsed["Subject"]).startswith(f"[gatepost mx1.contoso.example] {subject}")
    assert parsed["Content-Language"] == language
    text = parsed.get_content()
    assert [part for part in texts if part not in text] == []
    assert "+05:30" in text
    assert "What to do" not in text
    assert " error " in mx.log(), "the log stays in English"


@pytest.mark.long
@pytest.mark.timeout(200)
def test_a_missing_key_is_told_while_the_nameservers_are_silent(gateway: Callable[..., Gateway], pki: Pki) -> None:
    leaf = pki.leaf(NAME)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:  # takes questions and never answers
        silent.bind(("127.0.0.1", 0))
        mx = gateway(
            contoso(),
            certificates=[leaf],
            anchors=pki.root,
            nameservers=[f"127.0.0.1:{silent.getsockname()[1]}"],
            settings={"alarms": {"mail_to": [OWNER]}},
        )
        leaf.key.rename(leaf.key.with_suffix(".gone"))
        # Something else to look at: the world is asked anew, and that takes as long as the nameservers are silent.
        mx.apply(contoso(domains=[{"name": "contoso.example"}, {"name": "second.example"}]))
        wait_until(lambda: "key of the certificate" in alarm_lines(mx), "the alarm", timeout=100)


def alarm_lines(gateway: Gateway) -> str:
    """The alarms that its log tells of."""
    return "\n".join(line for line in gateway.log().splitlines() if " alarm: " in line)


@pytest.fixture(scope="module")
def own(pki: Pki) -> dict[str, Leaf]:
    """The certificates whose keys the signed zones name, and "other", which none names."""
    return {"own": pki.leaf(OWN), "other": pki.leaf(OWN), "stale": pki.leaf(STALE), "rsa": pki.leaf(OWN, key="rsa")}


@pytest.fixture(scope="module")
def signed(signed_dns: Callable[..., SignedDns], own: dict[str, Leaf]) -> str:
    """The resolver's address."""
    host = ["@ MX 10 mx", "mx A 127.0.0.1"]
    zones = {
        "own": Zone([*host, f"_25._tcp.mx TLSA {tlsa(own['own'])}"]),
        "stale": Zone([*host, f"_25._tcp.mx TLSA 030101{'ab' * 32}"]),
        "forged": Zone([*host, f"_25._tcp.mx TLSA {tlsa(own['own'])}"], forged=["TLSA"]),
        "plain": Zone([*host, f"_25._tcp.mx TLSA 030101{'ab' * 32}"], unsigned=True),
        "third": Zone(["@ MX 10 mx.own.test.", "@ MX 20 away", "away A 127.0.0.9"]),
    }
    address: str = signed_dns(zones).address
    return address


def test_a_key_that_no_tlsa_record_names_until_one_does(
    gateway: Callable[..., Gateway], signed: str, own: dict[str, Leaf], pki: Pki
) -> None:
    leaf = pki.leaf(OWN)
    mx = gateway(
        contoso(domains=[{"name": "contoso.example"}, {"name": "own.test"}]),
        hostname=OWN,
        certificates=[leaf],
        anchors=pki.root,
        nameservers=[signed],
        settings={"server": {"postmaster": OWNER}},
    )
    (mail,) = mx.wait_maildir(OWNER)
    assert b"1 critical: no TLSA record of mx.own.test" in mail.head.replace(b"\r\n\t", b" ")
    (found,) = alarms(mx, expect=1)
    assert (found["kind"], found["severity"], found["about"]) == ("tlsa-mismatch", "critical", OWN)
    assert found["lines"] == [f"_25._tcp.{OWN}. IN TLSA 3 1 1 {tlsa(leaf)[6:]}"]
    assert any(" critical " in line and "alarm: no TLSA record" in line for line in mx.log().splitlines())
    renew(leaf, own["own"])
    wait_until(lambda: f"alarm over: no TLSA record of {OWN}" in mx.log(), "the key that is named is presented")
    assert alarms(mx, expect=0) == []


# Gathering, without a gateway around it.


def observed(
    address: str, hostname: str, pki: Pki, leaves: list[Leaf], domains: list[str], *, trust_ad: bool = True
) -> Observed:
    async def run() -> Observed:
        resolver = Resolver(Nameservers([address], trust_ad=trust_ad))
        try:
            world = OwnCertificates(resolver, hostname=hostname, anchors=str(pki.root))
            presented = [ServerIdentity(one.chain.read_bytes(), one.key.read_bytes()) for one in leaves]
            chains = {one.sha256[:16]: one.chain.read_bytes() for one in leaves}
            return await world.observe(chains, presented, domains, now=time.time())
        finally:
            await resolver.close()

    return asyncio.run(asyncio.wait_for(run(), 30))


# host name, certificates presented, state, which of them no record matches
HOSTS = [
    (OWN, ["own"], TlsaState.MATCHED, []),
    (OWN, ["other"], TlsaState.NOTHING, ["other"]),
    (OWN, ["own", "rsa"], TlsaState.PARTLY, ["rsa"]),
    (OWN, ["own", "stale"], TlsaState.MATCHED, []),  # that is shown under another name
    (STALE, ["stale"], TlsaState.NOTHING, ["stale"]),
    (FORGED, ["own"], TlsaState.BOGUS, []),
    (PLAIN, ["own"], TlsaState.ABSENT, []),
]


@pytest.mark.parametrize("row", HOSTS, ids=lambda row: f"{row[0]} {'+'.join(row[1])}")
def test_what_senders_with_dane_find(
    signed: str, pki: Pki, own: dict[str, Leaf], row: tuple[str, list[str], TlsaState, list[str]]
) -> None:
    host, presented, state, unmatched = row
    seen = observed(signed, host, pki, [own[name] for name in presented], [])
    assert list(seen.tlsa) == [host]
    assert seen.tlsa[host].state is state
    assert seen.tlsa[host].unmatched == tuple(own[name].sha256[:16] for name in unmatched)
    assert seen.unknown == ()


# host name, state, which of "own" no record matches: what a resolver cannot prove is compared all the same
UNPROVEN = [(OWN, TlsaState.MATCHED, 0), (STALE, TlsaState.NOTHING, 1), ("nothing.own.test", TlsaState.ABSENT, 0)]


@pytest.mark.parametrize(("host", "state", "unmatched"), UNPROVEN)
def test_without_a_resolver_that_validates(
    signed: str, pki: Pki, own: dict[str, Leaf], host: str, state: TlsaState, unmatched: int
) -> None:
    seen = observed(signed, host, pki, [own["own"]], [], trust_ad=False).tlsa[host]
    assert (seen.state, len(seen.unmatched), seen.proven) == (state, unmatched, not unmatched)


def test_mx_hosts_count_that_have_an_address_of_ours(signed: str, pki: Pki, own: dict[str, Leaf]) -> None:
    seen = observed(signed, STALE, pki, [own["stale"]], ["third.test", "*.own.test", "nowhere.test"])
    assert {host: one.state for host, one in seen.tlsa.items()} == {
        STALE: TlsaState.NOTHING,
        OWN: TlsaState.NOTHING,
    }


def test_a_dns_that_says_nothing_leaves_it_open(
    dns_server: Callable[..., DnsServer], pki: Pki, own: dict[str, Leaf]
) -> None:
    nameserver = dns_server({}, failures={OWN: "SERVFAIL"})
    seen = observed(f"127.0.0.1:{nameserver.port}", OWN, pki, [own["own"]], [])
    assert seen.tlsa == {}
    assert [one.partition(" cannot")[0] for one in seen.unknown] == [f"the TLSA records of {OWN}"]


def test_what_authorities_answer(dns_server: Callable[..., DnsServer], pki: Pki, status_server: StatusServer) -> None:
    nameserver = dns_server({})
    good, bad = (pki.leaf(NAME, crl=status_server.crl, ocsp=status_server.ocsp) for _ in range(2))
    silent = pki.leaf(NAME)
    pki.revoke(bad)
    seen = observed(f"127.0.0.1:{nameserver.port}", NAME, pki, [good, bad, silent], []).chains
    assert [seen[one.sha256[:16]].revoked for one in (good, silent)] == ["", ""]
    assert "revoked" in (seen[bad.sha256[:16]].revoked or "")
    assert {one.root for one in seen.values()} == {"CN=Gatepost tests root,O=Gatepost tests"}
    assert [(one.word, one.failure) for one in seen[good.sha256[:16]].endpoints] == [
        ("CRL", ""),
        ("OCSP responder", ""),
    ]
    status_server.stop()
    later = observed(f"127.0.0.1:{nameserver.port}", NAME, pki, [good], []).chains[good.sha256[:16]]
    assert later.revoked is None
    assert [bool(one.failure) for one in later.endpoints] == [True, True]


def test_a_chain_that_cannot_be_read_is_told(pki: Pki, tmp_path: object) -> None:
    async def run() -> Observed:
        resolver = Resolver(Nameservers(["127.0.0.1:9"]))
        try:
            world = OwnCertificates(resolver, hostname=NAME, anchors=f"{tmp_path}/nothing.pem")
            broken = OwnCertificates(resolver, hostname=NAME, anchors=str(pki.root))
            first = await world.observe({"00": b"x"}, [], [], now=time.time())
            second = await broken.observe({"00": b"x"}, [], [], now=time.time())
            assert "trust anchors cannot be read" in first.unknown[0]
            return second
        finally:
            await resolver.close()

    seen = asyncio.run(run())
    assert (seen.chains, seen.tlsa) == ({}, {})
    assert seen.unknown[0].startswith("certificate 00: ")
