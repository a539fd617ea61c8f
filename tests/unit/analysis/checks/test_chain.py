"""The whole check over a real HTTP server: paths, missing issuers, stores, keys; judged against `openssl` elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from support.chains import CLIENT, pem, server, sha1_signed
from support.rsa_keys import rsa_key
from support.status_authority import NOW, StatusAuthority
from support.web import Web, ok, status

from gatepost.analysis.checks.chain import ChainChecker, ChainQuestion, public_key
from gatepost.analysis.checks.chain_facts import From, UrlStatus
from gatepost.analysis.checks.chain_file import ChainFileError, KeyFile, parse_file
from gatepost.analysis.checks.chain_report import ChainCheck, Part, Readiness
from gatepost.analysis.checks.chain_stores import RootStores
from gatepost.analysis.checks.partner_report import Mark
from gatepost.net.anchors import TrustAnchors
from gatepost.net.certificate import CertificateError
from gatepost.net.lookups.configured import configured_resolver
from gatepost.net.lookups.http import HttpClient
from gatepost.protocols.tls.facts import ChainStatus
from gatepost.settings.model import Dns

TIME = NOW.timestamp()
ROOT, STRANGER = StatusAuthority("Root"), StatusAuthority("Stranger")
PUBLIC = StatusAuthority("Public")


def stores(*roots: x509.Certificate, given: bool = True) -> RootStores:
    public = TrustAnchors([PUBLIC.certificate.public_bytes(Encoding.DER)], "system")
    anchors = TrustAnchors([one.public_bytes(Encoding.DER) for one in roots], "own") if roots else public
    return RootStores("own.pem" if given else "this machine's store", anchors, public, "not here")


def play(act: Callable[[Web], Any]) -> Any:
    async def run() -> Any:
        async with Web() as web:
            return await act(web)

    return asyncio.run(run())


async def check(
    content: bytes, roots: RootStores, *, private: bool = False, offline: bool = False, **asked: Any
) -> ChainCheck:
    question = ChainQuestion(parse_file(content, "chain.pem"), **asked)
    if offline:
        return await ChainChecker(None, roots).check(question, now=TIME)
    async with configured_resolver(Dns()) as resolver:
        checker = ChainChecker(HttpClient(resolver), roots, timeout=20, private=private)
        return await checker.check(question, now=TIME)


def marks(found: ChainCheck, part: Part) -> list[Mark]:
    return [one.verdict for one in found.findings if one.part is part]


def texts(found: ChainCheck, part: Part) -> str:
    return "\n".join(f"{one.text} {one.evidence} {one.fix}" for one in found.findings if one.part is part)


def published(web: Web) -> tuple[StatusAuthority, Any]:
    """An intermediate whose own status, and its leaf's, are on `web`."""
    authority = StatusAuthority("Intermediate", parent=ROOT, crl=[web.url("/root.crl")])
    web.answers["/root.crl"] = ok(ROOT.crl())
    web.answers["/crl"] = ok(authority.crl())
    web.answers["/ca.cer"] = ok(authority.certificate.public_bytes(Encoding.DER))
    leaf = server(authority, crl=[web.url("/crl")], ocsp=[web.url("/ocsp")], issuers=[web.url("/ca.cer")])
    web.answers["/ocsp"] = ok(authority.response(leaf.certificate))
    return authority, leaf


def test_everything_in_order():
    async def act(web: Web) -> Any:
        authority, leaf = published(web)
        key = KeyFile("key.pem", 0o600, public_key(leaf.certificate))
        content = pem(leaf.certificate, authority.certificate)
        found = await check(content, stores(ROOT.certificate), key=key, names=("mx1.contoso.example",), staple=True)
        return found, sorted(web.requests)

    found, requests = play(act)
    assert found.outcome is Readiness.READY, found.findings
    assert found.last_line == "verdict=ready chain=trusted days=29 key=EC-P-256 fails=0 warnings=0 unknown=0"
    assert requests == ["GET /ca.cer", "GET /crl", "GET /root.crl", "POST /ocsp"]
    assert [one.place for one in found.facts.path] == [From.FILE, From.FILE, From.STORE]
    assert [len(one.answers) for one in found.facts.path] == [3, 1, 0]
    assert marks(found, Part.STAPLING) == [Mark.PASS]
    assert marks(found, Part.REVOCATION) == [Mark.PASS] * 3


def test_a_missing_intermediate_is_found_where_the_certificate_says():
    async def act(web: Web) -> Any:
        _, leaf = published(web)
        return await check(leaf.pem, stores(ROOT.certificate), private=True), web.url("/ca.cer")

    found, url = play(act)
    assert found.facts.verdict.status is ChainStatus.INCOMPLETE
    assert found.facts.judged.trusted
    assert [one.place for one in found.facts.path] == [From.FILE, From.FETCHED, From.STORE]
    assert found.outcome is Readiness.NOT_READY
    assert marks(found, Part.CHAIN) == [Mark.FAIL]
    assert "the intermediate Intermediate is missing in the file" in texts(found, Part.CHAIN)
    assert f"Append it to the file. It is to be had at {url}." in texts(found, Part.CHAIN)
    assert marks(found, Part.REVOCATION) == [Mark.PASS] * 3, "the rest is looked at all the same"


@pytest.mark.parametrize(
    ("private", "answer", "said"),
    [
        (False, None, "not fetched, as that is in a private network"),
        (True, status(404), "status 404"),
        (True, ok(STRANGER.certificate.public_bytes(Encoding.DER)), "did not issue"),
    ],
)
def test_a_missing_intermediate_that_cannot_be_had(private, answer, said):
    async def act(web: Web) -> Any:
        _, leaf = published(web)
        if answer is not None:
            web.answers["/ca.cer"] = answer
        return await check(leaf.pem, stores(ROOT.certificate), private=private)

    found = play(act)
    assert [one.place for one in found.facts.path] == [From.FILE]
    assert found.facts.completed is None
    assert said in texts(found, Part.CHAIN)
    assert marks(found, Part.REVOCATION) == [Mark.UNKNOWN] * 2
    assert (found.outcome, found.facts.verdict.status) == (Readiness.NOT_READY, "chain-incomplete")


def test_an_issuer_that_leads_nowhere_is_fetched_once():
    async def act(web: Web) -> Any:
        lost = StatusAuthority("Lost", parent=StatusAuthority("Nobody's"))
        web.answers["/ca.cer"] = ok(lost.certificate.public_bytes(Encoding.DER))
        leaf = server(lost, issuers=[web.url("/ca.cer")])
        return await check(leaf.pem, stores(ROOT.certificate), private=True), web.requests

    found, requests = play(act)
    assert [one.facts.common_name for one in found.facts.path] == ["mx1.contoso.example", "Lost"]
    assert requests.count("GET /ca.cer") == 2, "once for the path, once as an address of the leaf"
    assert marks(found, Part.CHAIN) == [Mark.FAIL, Mark.FAIL]


def test_private_addresses_of_a_public_authority():
    async def act(web: Web) -> Any:
        leaf = server(PUBLIC, crl=[web.url("/crl")])
        web.answers["/crl"] = ok(PUBLIC.crl())
        content = leaf.pem
        closed = await check(content, stores(given=False))
        return closed, list(web.requests), await check(content, stores(given=False), private=True)

    closed, requests, opened = play(act)
    assert requests == []
    assert (closed.outcome, opened.outcome) == (Readiness.UNKNOWN, Readiness.READY)
    assert closed.facts.path[0].answers[0].result is UrlStatus.FORBIDDEN


def test_offline_nothing_is_asked():
    async def act(web: Web) -> Any:
        authority, leaf = published(web)
        content = pem(leaf.certificate, authority.certificate)
        return await check(content, stores(ROOT.certificate), offline=True), web.requests

    found, requests = play(act)
    assert requests == []
    assert found.outcome is Readiness.READY
    assert {one.result for one in found.facts.path[0].answers} == {UrlStatus.SKIPPED}
    assert marks(found, Part.REVOCATION) == [Mark.INFO]


@pytest.mark.parametrize("where", ["crl", "ocsp", "above"])
def test_revoked(where):
    async def act(web: Web) -> Any:
        authority, leaf = published(web)
        number = leaf.certificate.serial_number
        match where:
            case "crl":
                web.answers["/crl"] = ok(authority.crl({number: None}))
            case "ocsp":
                web.answers["/ocsp"] = ok(authority.response(leaf.certificate, "revoked"))
            case _:
                web.answers["/root.crl"] = ok(ROOT.crl({authority.certificate.serial_number: None}))
        return await check(pem(leaf.certificate, authority.certificate), stores(ROOT.certificate))

    found = play(act)
    assert found.outcome is Readiness.NOT_READY
    assert marks(found, Part.REVOCATION).count(Mark.FAIL) == 1
    assert "was revoked on" in texts(found, Part.REVOCATION)


AUTHORITY = StatusAuthority("Intermediate", parent=ROOT)
GOOD = server(AUTHORITY)
ABOVE = AUTHORITY.certificate
CROSS = STRANGER.issue(
    AUTHORITY.name, AUTHORITY.key, [(x509.BasicConstraints(ca=True, path_length=None), True)], ca=True
)
OLD = StatusAuthority("Old", parent=ROOT)
EXPIRED_ABOVE = ROOT.issue(
    OLD.name, OLD.key, [(x509.BasicConstraints(ca=True, path_length=None), True)], ca=True, days=(-20, -10)
)
NO_CA = server(ROOT, "Not an authority")
BELOW_NO_CA = StatusAuthority("Not an authority", key=NO_CA.key)

# What is in the file -> status of the chain; parts that fail; parts that are warned of.
CASES: dict[str, tuple[bytes, str, set[Part], set[Part]]] = {
    "good": (pem(GOOD.certificate, ABOVE), "trusted", set(), set()),
    "with its root": (pem(GOOD.certificate, ABOVE, ROOT.certificate), "trusted", set(), set()),
    "in any order": (pem(GOOD.certificate, ROOT.certificate, ABOVE), "trusted", set(), set()),
    "reversed": (pem(ROOT.certificate, ABOVE, GOOD.certificate), "trusted", {Part.FILE}, set()),
    "twice": (pem(GOOD.certificate, ABOVE, ABOVE), "trusted", set(), set()),
    "with another": (pem(GOOD.certificate, ABOVE, STRANGER.certificate), "trusted", set(), {Part.FILE}),
    "cross-signed": (pem(GOOD.certificate, ABOVE, CROSS), "trusted", set(), set()),
    "no intermediate": (GOOD.pem, "chain-incomplete", {Part.CHAIN}, set()),
    "expired": (
        pem(server(AUTHORITY, days=(-20, -1)).certificate, ABOVE),
        "expired",
        {Part.DATES},
        set(),
    ),
    "not yet valid": (
        pem(server(AUTHORITY, days=(1, 29)).certificate, ABOVE),
        "not-yet-valid",
        {Part.DATES},
        set(),
    ),
    "ends soon": (pem(server(AUTHORITY, days=(-80, 9)).certificate, ABOVE), "trusted", set(), {Part.DATES}),
    "expired intermediate": (
        pem(server(OLD).certificate, EXPIRED_ABOVE),
        "expired",
        {Part.DATES},
        set(),
    ),
    "weak key": (
        pem(server(AUTHORITY, key=rsa_key(1024)).certificate, ABOVE),
        "weak-key",
        {Part.STRENGTH},
        set(),
    ),
    "for clients": (
        pem(server(AUTHORITY, usages=(CLIENT,)).certificate, ABOVE),
        "wrong-purpose",
        {Part.PURPOSE},
        set(),
    ),
    "no name": (pem(server(AUTHORITY, names=()).certificate, ABOVE), "trusted", {Part.NAMES}, set()),
    "untrusted root": (server(STRANGER).pem + pem(STRANGER.certificate), "untrusted-root", {Part.ROOT}, set()),
    "self-signed": (pem(STRANGER.certificate), "self-signed", {Part.ROOT, Part.NAMES}, {Part.PURPOSE}),
    "issued by no authority": (
        pem(server(BELOW_NO_CA).certificate, NO_CA.certificate),
        "invalid",
        {Part.CHAIN},
        set(),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_files(case):
    content, chain, fails, warns = CASES[case]
    found = asyncio.run(check(content, stores(ROOT.certificate), offline=True))
    assert found.facts.verdict.status == chain
    assert {one.part for one in found.findings if one.verdict is Mark.FAIL} == fails, found.findings
    assert {one.part for one in found.findings if one.verdict is Mark.WARN} == warns, found.findings
    assert found.outcome is (Readiness.NOT_READY if fails else Readiness.READY)


def test_sha1(tmp_path):
    leaf, issuer = sha1_signed(tmp_path)
    roots = RootStores("own.pem", TrustAnchors([issuer], "own"), "not here", "not here")
    content = b"".join(one.public_bytes(Encoding.PEM) for one in map(x509.load_der_x509_certificate, (leaf, issuer)))
    file = parse_file(content, "chain.pem")
    made = x509.load_der_x509_certificate(leaf)
    now = made.not_valid_before_utc.timestamp() + 3600
    found = asyncio.run(ChainChecker(None, roots).check(ChainQuestion(file), now=now))
    assert found.facts.verdict.status == "weak-signature"
    assert "is signed with SHA1, which no longer proves anything" in texts(found, Part.STRENGTH)
    assert len(found.facts.path) == 2


def test_a_key_of_another_certificate():
    key = KeyFile("key.pem", 0o600, public_key(ROOT.certificate))
    found = asyncio.run(check(pem(GOOD.certificate, ABOVE), stores(ROOT.certificate), offline=True, key=key))
    assert marks(found, Part.KEY) == [Mark.FAIL]
    assert found.outcome is Readiness.NOT_READY


def test_too_many_certificates():
    many = b"".join(server(ROOT, f"mx{number}.example").pem for number in range(51))
    with pytest.raises(
        ChainFileError, match="51 certificates are no chain; for a bundle of roots: gatepost check roots"
    ):
        asyncio.run(check(many, stores(ROOT.certificate), offline=True))


def test_a_certificate_that_turns_out_to_be_unreadable(monkeypatch):
    def fail(*_: Any) -> None:
        raise CertificateError("not this one")

    monkeypatch.setattr("gatepost.analysis.checks.chain.link", fail)
    with pytest.raises(ChainFileError, match=r"chain\.pem: a certificate that cannot be read: not this one"):
        asyncio.run(check(GOOD.pem, stores(ROOT.certificate), offline=True))


def test_a_pinned_certificate():
    found = asyncio.run(check(GOOD.pem, stores(GOOD.certificate), offline=True))
    assert found.facts.verdict.trusted
    assert [one.place for one in found.facts.path] == [From.FILE]
    assert found.outcome is Readiness.READY, found.findings
