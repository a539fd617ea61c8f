"""Asking addresses over a real HTTP server on loopback, right and wrong in every way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from support.chains import server
from support.status_authority import NOW, StatusAuthority
from support.web import Web, ok, status

from gatepost.analysis.checks.chain import link
from gatepost.analysis.checks.chain_facts import From, Kind, UrlResult, UrlStatus
from gatepost.analysis.checks.chain_urls import Question, UrlChecker
from gatepost.net.lookups.configured import configured_resolver
from gatepost.net.lookups.http import HttpClient
from gatepost.settings.model import Dns
from gatepost.testing.process import free_port

ROOT = StatusAuthority("Root")
AUTHORITY = StatusAuthority("Intermediate", parent=ROOT)
STRANGER = StatusAuthority("Stranger")
LEAF, OTHER = server(AUTHORITY), server(AUTHORITY, "mx2.contoso.example")
DER = AUTHORITY.certificate.public_bytes(Encoding.DER)
LINK, ISSUER = link(LEAF.der, From.FILE), link(DER, From.FILE)
SERIAL = LEAF.certificate.serial_number
KEY_COMPROMISE = x509.ReasonFlags.key_compromise
PAGE = ok(b"<!DOCTYPE html><title>Proxy</title>", headers="Content-Type: text/html\r\n")
WEB_PAGE = "the answer is a web page"


def ask(kind: Kind, answer: Any, *, path: str = "/x", **options: Any) -> UrlResult:
    """What comes of one address. answer: the whole of it, or what else to do with the server."""

    async def run() -> UrlResult:
        async with Web() as web:
            if isinstance(answer, bytes):
                web.answers[path] = answer
            else:
                getattr(web, answer).add(path)
            url = options.get("url") or web.url(path)
            return await asked(kind, url, **options)

    return asyncio.run(run())


async def asked(
    kind: Kind,
    url: str,
    *,
    patience: float = 5.0,
    whole: float = 9.0,
    issuer: Any = ISSUER,
    private: bool = True,
    **_: Any,
) -> UrlResult:
    async with configured_resolver(Dns()) as resolver:
        question = Question(LINK, issuer, private, NOW.timestamp())
        end = asyncio.get_running_loop().time() + whole
        return await UrlChecker(HttpClient(resolver), patience).ask(kind, url, question, end)


CRL: dict[str, tuple[Callable[[], bytes], UrlStatus, str]] = {
    "good": (lambda: ok(AUTHORITY.crl()), UrlStatus.GOOD, ""),
    "another is revoked": (lambda: ok(AUTHORITY.crl({SERIAL + 1: None})), UrlStatus.GOOD, ""),
    "revoked": (lambda: ok(AUTHORITY.crl({SERIAL: KEY_COMPROMISE})), UrlStatus.REVOKED, ", reason keyCompromise"),
    "revoked, no reason": (lambda: ok(AUTHORITY.crl({SERIAL: None})), UrlStatus.REVOKED, "revoked on 20"),
    "expired": (lambda: ok(AUTHORITY.crl(hours=(-9, -2))), UrlStatus.WRONG, "has expired on"),
    "of the future": (lambda: ok(AUTHORITY.crl(hours=(2, 9))), UrlStatus.WRONG, "is of the future"),
    "forged": (lambda: ok(AUTHORITY.crl(signer=STRANGER.key)), UrlStatus.WRONG, "its signature is not that of"),
    "of another": (lambda: ok(STRANGER.crl()), UrlStatus.WRONG, "the list is of another issuer"),
    "a page": (lambda: PAGE, UrlStatus.WRONG, WEB_PAGE),
    "a page without a type": (lambda: ok(b"\n <html>"), UrlStatus.WRONG, WEB_PAGE),
    "junk": (lambda: ok(b"junk"), UrlStatus.WRONG, "the list cannot be read"),
    "nothing": (lambda: ok(b""), UrlStatus.WRONG, "the list cannot be read"),
    "huge": (lambda: ok(b"x", length=40_000_000), UrlStatus.WRONG, "the answer is larger than 33554432 bytes"),
    "not there": (lambda: status(404), UrlStatus.WRONG, "status 404"),
    "moved": (lambda: status(302, "Location: http://b.example/\r\n"), UrlStatus.WRONG, "is not followed"),
    "trouble": (lambda: status(503), UrlStatus.UNREACHABLE, "status 503"),
}


@pytest.mark.parametrize("case", CRL)
def test_lists(case):
    content, result, detail = CRL[case]
    answer = ask(Kind.CRL, content())
    assert (answer.kind, answer.result) == (Kind.CRL, result)
    assert detail in answer.detail
    assert not answer.detail.startswith("http://"), "the address is shown already"
    assert answer.seconds > 0
    assert answer.status == {"not there": 404, "trouble": 503, "huge": 0, "moved": 0}.get(case, 200)


def test_how_fresh_and_how_long_a_list_is():
    der = AUTHORITY.crl(hours=(-2, 3))
    answer = ask(Kind.CRL, ok(der))
    now = NOW.timestamp()
    assert (answer.since, answer.until, answer.size) == (now - 7200, now + 10800, len(der))
    expired = ask(Kind.CRL, ok(AUTHORITY.crl(hours=(-9, -2))))
    assert (expired.since, expired.until) == (now - 9 * 3600, now - 2 * 3600)


OCSP: dict[str, tuple[Callable[[], bytes], UrlStatus, str]] = {
    "good": (lambda: ok(AUTHORITY.response(LEAF.certificate)), UrlStatus.GOOD, ""),
    "revoked": (lambda: ok(AUTHORITY.response(LEAF.certificate, "revoked")), UrlStatus.REVOKED, "revoked on 20"),
    "unknown": (lambda: ok(AUTHORITY.response(LEAF.certificate, "unknown")), UrlStatus.WRONG, "does not know"),
    "expired": (lambda: ok(AUTHORITY.response(LEAF.certificate, hours=(-9, -2))), UrlStatus.WRONG, "has expired on"),
    "forged": (lambda: ok(AUTHORITY.response(LEAF.certificate, forged=True)), UrlStatus.WRONG, "its signature"),
    "another's": (lambda: ok(AUTHORITY.response(OTHER.certificate)), UrlStatus.WRONG, "about other certificates"),
    "a page": (lambda: PAGE, UrlStatus.WRONG, WEB_PAGE),
    "huge": (lambda: ok(b"x" * 70_000), UrlStatus.WRONG, "larger than 65536"),
    "not there": (lambda: status(404), UrlStatus.WRONG, "status 404"),
}


@pytest.mark.parametrize("case", OCSP)
def test_responders(case):
    content, result, detail = OCSP[case]
    answer = ask(Kind.OCSP, content())
    assert answer.result == result
    assert detail in answer.detail
    told, now = case in {"good", "revoked", "unknown"}, NOW.timestamp()
    assert (answer.since, answer.until) == ((now - 3600, now + 3600) if told else (0, 0))


ISSUERS: dict[str, tuple[Callable[[], bytes], UrlStatus, str]] = {
    "DER": (lambda: ok(DER), UrlStatus.GOOD, ""),
    "PEM": (lambda: ok(AUTHORITY.certificate.public_bytes(Encoding.PEM)), UrlStatus.GOOD, ""),
    "PKCS#7": (
        lambda: ok(pkcs7.serialize_certificates([STRANGER.certificate, AUTHORITY.certificate], Encoding.DER)),
        UrlStatus.GOOD,
        "",
    ),
    "another": (
        lambda: ok(STRANGER.certificate.public_bytes(Encoding.DER)),
        UrlStatus.WRONG,
        "what is there did not issue the certificate",
    ),
    "a page": (lambda: PAGE, UrlStatus.WRONG, WEB_PAGE),
    "junk": (lambda: ok(b"0\x82junk"), UrlStatus.WRONG, "neither a certificate (DER) nor a PKCS#7 bundle"),
    "not there": (lambda: status(410), UrlStatus.WRONG, "status 410"),
}


@pytest.mark.parametrize("case", ISSUERS)
def test_issuers(case):
    content, result, detail = ISSUERS[case]
    answer = ask(Kind.ISSUER, content(), issuer=None)
    assert answer.result == result
    assert detail in answer.detail
    assert answer.certificates == ((DER,) if result is UrlStatus.GOOD else ())


@pytest.mark.parametrize("how", ["hanging", "dripping"])
@pytest.mark.parametrize("kind", Kind)
def test_a_server_that_keeps_one_waiting(kind, how):
    answer = ask(kind, how, patience=0.3)
    assert answer.result is UrlStatus.UNREACHABLE
    assert answer.detail == "no whole answer within 0.3 s"


def test_no_time_is_left():
    answer = ask(Kind.CRL, "hanging", whole=0.2)
    assert (answer.result, answer.detail) == (UrlStatus.UNREACHABLE, "no time was left for it")


def test_nobody_is_there():
    answer = asyncio.run(asked(Kind.CRL, f"http://127.0.0.1:{free_port()}/crl"))
    assert answer.result is UrlStatus.UNREACHABLE
    assert answer.detail.startswith("127.0.0.1 port ")


def test_private_addresses_are_not_called():
    answer = ask(Kind.CRL, ok(AUTHORITY.crl()), private=False)
    assert (answer.result, answer.size) == (UrlStatus.FORBIDDEN, 0)
    assert answer.detail == "127.0.0.1 is not a public address"


@pytest.mark.parametrize("kind", [Kind.CRL, Kind.OCSP])
def test_without_an_issuer_nothing_is_asked(kind):
    answer = ask(kind, ok(AUTHORITY.crl()), issuer=None)
    assert (answer.result, answer.seconds) == (UrlStatus.SKIPPED, 0)


@pytest.mark.parametrize("url", ["http://", "http://[::1", "http://x.example:99999/", "http:///x", "ftp://x.example/"])
def test_addresses_that_are_none(url):
    assert asyncio.run(asked(Kind.CRL, url)).result in {UrlStatus.WRONG, UrlStatus.UNREACHABLE}
