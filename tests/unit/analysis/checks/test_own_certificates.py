"""What authorities and the DNS say of our own certificates, over a real HTTP server and a real nameserver.

A signed DNS and a validating resolver are in tests/system/test_certificate_alarms.py.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.chains import server
from support.status_authority import NOW, StatusAuthority
from support.web import Web, ok, status

from gatepost.analysis.checks import own_certificates
from gatepost.analysis.checks.certificate_alarms import ChainSeen, Endpoint, Observed, TlsaState
from gatepost.analysis.checks.own_certificates import OwnCertificates
from gatepost.net.identity import ServerIdentity
from gatepost.net.lookups.dns import Resolver
from gatepost.net.lookups.nameservers import Nameservers
from gatepost.pki.certificates.authority import Authority
from gatepost.testing.name_server import DnsServer

TIME = NOW.timestamp()
HOST = "mx1.contoso.example"
ROOT, STRANGER = StatusAuthority("Root"), StatusAuthority("Stranger")


async def observe(
    anchors: Path, chains: dict[str, bytes], *, nameserver: str = "127.0.0.1:9", **given: Any
) -> Observed:
    resolver = Resolver(Nameservers([nameserver], trust_ad=True, timeout=1, attempts=1))
    try:
        world = OwnCertificates(resolver, hostname=HOST, anchors=str(anchors))
        return await world.observe(chains, given.get("presented", []), given.get("domains", []), now=TIME)
    finally:
        await resolver.close()


@pytest.fixture
def anchors(tmp_path):
    file = tmp_path / "root.pem"
    file.write_bytes(ROOT.certificate.public_bytes(Encoding.PEM))
    return file


def seen(anchors: Path, make: Callable[[Web], tuple[Any, list[StatusAuthority]]]) -> tuple[ChainSeen, Web]:
    """The chain that `make` makes, with the certificates of these authorities in it."""

    async def run() -> tuple[ChainSeen, Web]:
        async with Web() as web:
            leaf, sent = make(web)
            content = [leaf.certificate, *(one.certificate for one in sent)]
            pem = b"".join(one.public_bytes(Encoding.PEM) for one in content)
            return (await observe(anchors, {"a": pem})).chains["a"], web

    return asyncio.run(run())


def intermediate(web: Web, **answers: Any) -> tuple[Any, list[StatusAuthority]]:
    """An intermediate and its leaf, whose addresses are on `web`; answers: of paths, instead of the right ones."""
    authority = StatusAuthority("Intermediate", parent=ROOT, crl=[web.url("/root.crl")])
    leaf = server(authority, crl=[web.url("/crl")], ocsp=[web.url("/ocsp")], issuers=[web.url("/ca.cer")])
    right = {
        "/root.crl": ok(ROOT.crl()),
        "/crl": ok(authority.crl()),
        "/ca.cer": ok(authority.certificate.public_bytes(Encoding.DER)),
        "/ocsp": ok(authority.response(leaf.certificate)),
    }
    web.answers.update(right | {f"/{name}": answer for name, answer in answers.items()})
    return leaf, [authority]


def test_a_chain_in_order(anchors):
    found, web = seen(anchors, intermediate)
    good = [(web.url("/crl"), "CRL"), (web.url("/ocsp"), "OCSP responder"), (web.url("/root.crl"), "CRL")]
    assert found == ChainSeen("CN=Root", "", "", tuple(Endpoint(*one) for one in good))


def test_an_intermediate_that_ends_before_its_certificate(anchors):
    def longer(web):
        authority = StatusAuthority("Intermediate", parent=ROOT)
        return server(authority, days=(-1, 60)), [authority]

    found, _ = seen(anchors, longer)
    assert (found.ending.subject, found.ending.not_after) == ("CN=Intermediate", TIME + 30 * 86400)


@pytest.mark.parametrize("later", [(), (25,), (15,)], ids=["alone", "beside a later one", "beside one that ends, too"])
def test_an_intermediate_that_ends_beside_a_later_one_for_the_same_key(anchors, later):
    """As when the later one was appended to the file, as the alarm asks for: partners take whichever is valid."""

    def make(web):
        authority = StatusAuthority("Intermediate", parent=ROOT)
        usual = (x509.BasicConstraints(ca=True, path_length=None), True)
        issued = [ROOT.issue(authority.name, authority.key, [usual], ca=True, days=(-1, days)) for days in (10, *later)]
        return server(authority, days=(-1, 20)), [SimpleNamespace(certificate=one) for one in issued]

    found, _ = seen(anchors, make)
    ends = {(): 10, (15,): 15}.get(later)
    assert (found.ending.not_after if found.ending else None) == (TIME + ends * 86400 if ends else None)


def test_an_intermediate_that_had_to_be_fetched_is_missing(anchors):
    found, _ = seen(anchors, lambda web: (intermediate(web)[0], []))
    assert (found.missing, found.root, found.revoked) == ("CN=Intermediate", "CN=Root", "")


def test_a_root_that_nobody_knows_is_no_reason_for_an_alarm(anchors):
    found, _ = seen(anchors, lambda _: (server(STRANGER), []))
    assert found == ChainSeen()


def test_an_answer_that_is_missing_leaves_it_open(anchors):
    found, web = seen(anchors, lambda web: intermediate(web, crl=status(500), ocsp=status(404)))
    assert found.revoked is None
    failures = {one.url: one.failure for one in found.endpoints}
    assert all(failures[web.url(path)] for path in ("/crl", "/ocsp"))
    assert failures[web.url("/root.crl")] == ""


def test_one_of_two_answers_is_enough(anchors):
    found, web = seen(anchors, lambda web: intermediate(web, crl=status(500)))
    assert found.revoked == ""
    assert [one.url for one in found.endpoints if one.failure] == [web.url("/crl")]


def test_the_word_of_one_is_enough(anchors):
    def make(web: Web) -> tuple[Any, list[StatusAuthority]]:
        leaf, sent = intermediate(web, ocsp=status(500))
        web.answers["/crl"] = ok(sent[0].crl({leaf.certificate.serial_number: None}))
        return leaf, sent

    found, web = seen(anchors, make)
    assert found.revoked is not None
    assert found.revoked.startswith("CN=")
    assert web.url("/crl") in found.revoked
    assert [one.failure for one in found.endpoints if one.url == web.url("/crl")] == [""]


def test_what_cannot_be_read_is_told(anchors):
    found = asyncio.run(observe(anchors, {"a": b"no certificate"}))
    assert found.chains == {}
    assert found.unknown[0].startswith("certificate a: ")
    found = asyncio.run(observe(anchors.with_name("nothing.pem"), {"a": b""}))
    assert "the trust anchors cannot be read" in found.unknown[0]


def test_no_more_than_twenty_chains_are_looked_at(anchors):
    found = asyncio.run(observe(anchors, {str(number): b"x" for number in range(30)}))
    assert len(found.unknown) == 20


def test_it_ends_though_nothing_answers(anchors, monkeypatch):
    monkeypatch.setattr(own_certificates, "_WHOLE", 0.05)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        nameserver = f"127.0.0.1:{silent.getsockname()[1]}"
        chain, key = Authority("CA").issue([HOST])
        found = asyncio.run(observe(anchors, {}, nameserver=nameserver, presented=[ServerIdentity(chain, key)]))
    assert found.tlsa == {}
    assert found.unknown[-1].startswith("the check timed out after")


# What TLSA records say of what is presented.

PRESENTED = {name: ServerIdentity(*Authority("CA").issue([name], key="ecdsa")) for name in (HOST, "other.example")}


def record(identity: ServerIdentity) -> str:
    from cryptography import x509  # noqa: PLC0415 - for this alone

    key = x509.load_pem_x509_certificates(identity.chain_pem)[0].public_key()
    return f"3 1 1 {hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()}"


OWN, OTHER = (record(one) for one in PRESENTED.values())
RECORDS = [
    ([], [HOST], TlsaState.ABSENT, 0),
    ([OWN], [HOST], TlsaState.MATCHED, 0),
    ([OWN, OTHER], [HOST], TlsaState.MATCHED, 0),
    ([OTHER], [HOST], TlsaState.NOTHING, 1),
    ([OTHER], ["other.example"], TlsaState.MATCHED, 0),  # the first is presented where none bears the name
    ([OTHER], ["other.example", HOST], TlsaState.NOTHING, 1),
    (["0 0 1 " + "ab" * 32], [HOST], TlsaState.UNUSABLE, 0),
    ([OWN], [], None, 0),
]


@pytest.mark.parametrize(("records", "names", "state", "unmatched"), RECORDS)
def test_what_records_say(anchors, records, names, state, unmatched):
    zone = {f"{HOST} A": ["127.0.0.1"], f"_25._tcp.{HOST} TLSA": records} if records else {f"{HOST} A": ["127.0.0.1"]}
    presented = [PRESENTED[name] for name in names]
    with DnsServer(zone, authentic=True) as nameserver:
        found = asyncio.run(observe(anchors, {}, nameserver=f"127.0.0.1:{nameserver.port}", presented=presented))
    assert [one.state for one in found.tlsa.values()] == ([] if state is None else [state])
    assert sum(len(one.unmatched) for one in found.tlsa.values()) == unmatched
    assert found.unknown == ()
