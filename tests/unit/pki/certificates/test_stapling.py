"""Responses over a real HTTP server, into real handshakes. Time is a parameter throughout."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from support.status_authority import NOW, StatusAuthority, places
from support.web import Web, ok

from gatepost.net.engine import client_context, server_context
from gatepost.net.identity import ServerIdentity
from gatepost.net.lookups.dns import Resolver
from gatepost.net.lookups.http import HttpClient
from gatepost.net.lookups.nameservers import Nameservers
from gatepost.net.revocation import RevocationError
from gatepost.pki.certificates.stapling import Stapler, check_staple, subject_of
from gatepost.protocols.tls.profile import PROFILES
from gatepost.store.changes import ConfigStore

TIME = NOW.timestamp()
HOUR = 3600.0
MUST = [(x509.TLSFeature([x509.TLSFeatureType.status_request]), False)]
ROOT = StatusAuthority("Stapling Root")
AUTHORITY = StatusAuthority("Stapling Intermediate", parent=ROOT)
STRANGER = StatusAuthority("Stranger")


def made(*urls: str, must: bool = False, chain: bool = True) -> tuple[ServerIdentity, x509.Certificate]:
    """An identity whose certificate names responders; without its chain nobody knows who issued it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mx.contoso.example")])
    names = x509.SubjectAlternativeName([x509.DNSName("mx.contoso.example")])
    leaf = AUTHORITY.issue(subject, key, [(names, False), *places([], urls), *(MUST if must else [])])
    above = [AUTHORITY.certificate] if chain else []
    pem = b"".join(one.public_bytes(Encoding.PEM) for one in (leaf, *above))
    return ServerIdentity(pem, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())), leaf


def play(act: Callable[[Web], Any]) -> Any:
    async def run() -> Any:
        async with Web() as web:
            return await act(web)

    return asyncio.run(run())


def client() -> HttpClient:
    return HttpClient(Resolver(Nameservers(["127.0.0.1:9"])))


def stapled(identities: list[ServerIdentity], responses: dict[str, bytes]) -> bytes:
    context = server_context(identities, PROFILES["default"], ask_client_certificate=True)
    context.stapled.replace(responses)
    ours, theirs = client_context(PROFILES["default"], ask_for_staple=True).engine(), context.engine()
    ours.start()
    for _ in range(4):
        theirs.feed(ours.take_output())
        ours.feed(theirs.take_output())
    assert ours.facts is not None
    return ours.facts.ocsp_response


def test_a_response_is_fetched_kept_and_stapled(store):
    async def act(web: Web) -> tuple[bytes, dict[str, bytes], list[ServerIdentity]]:
        identity, leaf = made(web.url("/ocsp"))
        der = AUTHORITY.response(leaf)
        web.answers["/ocsp"] = ok(der)
        assert await Stapler(store, client()).renew([identity], TIME)
        return der, Stapler(store, client()).kept([identity], TIME), [identity]  # another worker's

    der, responses, identities = play(act)
    assert list(responses.values()) == [der]
    assert stapled(identities, responses) == der
    assert stapled(identities, {}) == b""


# What the responder says -> whether it is stapled.
SAYS: dict[str, Callable[[x509.Certificate], bytes]] = {
    "revoked": lambda leaf: ok(AUTHORITY.response(leaf, "revoked")),
    "unknown": lambda leaf: ok(AUTHORITY.response(leaf, "unknown")),
    "expired": lambda leaf: ok(AUTHORITY.response(leaf, hours=(-9, -3))),
    "forged": lambda leaf: ok(AUTHORITY.response(leaf, forged=True)),
    "of another certificate": lambda _: ok(AUTHORITY.response(made()[1])),
    "of another authority": lambda leaf: ok(STRANGER.response(leaf)),
    "junk": lambda _: ok(b"<html>"),
    "nothing": lambda _: b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("case", SAYS)
def test_what_is_not_good_is_never_stapled(store, case, caplog):
    async def act(web: Web) -> tuple[bool, dict[str, bytes], list[str]]:
        identity, leaf = made(web.url("/ocsp"))
        web.answers["/ocsp"] = SAYS[case](leaf)
        stapler = Stapler(store, client())
        done = await stapler.renew([identity], TIME)
        await stapler.renew([identity], TIME + 299)  # not asked again yet
        return done, stapler.kept([identity], TIME), web.requests

    assert play(act) == (False, {}, ["POST /ocsp"])
    assert "no OCSP response to staple for CN=mx.contoso.example: http://127.0.0.1" in caplog.text


def test_the_next_responder_is_asked(store):
    async def act(web: Web) -> bool:
        identity, leaf = made(web.url("/dead"), web.url("/ocsp"))
        web.answers["/ocsp"] = ok(AUTHORITY.response(leaf))
        return await Stapler(store, client()).renew([identity], TIME)

    assert play(act) is True


def test_it_is_renewed_at_half_of_its_life_and_kept_to_its_end(store):
    async def act(web: Web) -> list[int]:
        identity, leaf = made(web.url("/ocsp"))
        web.answers["/ocsp"] = ok(AUTHORITY.response(leaf, hours=(-1, 9)))
        asked = []
        stapler = Stapler(store, client())
        for hours in (0.0, 4.0, 4.6, 5.0):
            await stapler.renew([identity], TIME + hours * HOUR)
            asked.append(len(web.requests))
            web.answers["/ocsp"] = ok(b"")  # the responder is down from now on
        assert stapler.kept([identity], TIME + 8.9 * HOUR)
        assert not stapler.kept([identity], TIME + 9.1 * HOUR)
        return asked

    assert play(act) == [1, 1, 2, 3]


def test_one_that_was_fetched_by_a_clock_that_was_ahead_is_fetched_again(store):
    async def act(web: Web) -> list[int]:
        identity, leaf = made(web.url("/ocsp"))
        web.answers["/ocsp"] = ok(AUTHORITY.response(leaf, hours=(-1, 9)))
        asked = []
        for ahead in (8.0, 0.0, 0.1):
            await Stapler(store, client()).renew([identity], TIME + ahead * HOUR)
            asked.append(len(web.requests))
        return asked

    assert play(act) == [1, 2, 2]


def test_a_response_without_an_end_does_not_live_for_ever(store):
    async def act(web: Web) -> tuple[bool, bool]:
        identity, leaf = made(web.url("/ocsp"))
        web.answers["/ocsp"] = ok(AUTHORITY.response(leaf, hours=(-1, None)))
        stapler = Stapler(store, client())
        assert await stapler.renew([identity], TIME)
        return bool(stapler.kept([identity], TIME + 1.9 * HOUR)), bool(stapler.kept([identity], TIME + 2.1 * HOUR))

    assert play(act) == (True, False)


@pytest.mark.parametrize(("urls", "chain"), [((), True), (("http://127.0.0.1:9/ocsp",), False)])
def test_nobody_is_asked_who_cannot_answer(store, urls, chain):
    identity, _ = made(*urls, chain=chain)
    assert asyncio.run(Stapler(store, client()).renew([identity], TIME)) is False
    assert Stapler(store, client()).kept([identity], TIME) == {}


def test_a_certificate_that_must_be_stapled_and_is_not_is_an_error(store, caplog):
    Stapler(store, client()).kept([made(must=True)[0], made()[0]], TIME)
    assert caplog.text.count("must be presented with an OCSP response, and there is none") == 1


def test_one_of_each_kind_of_key_has_its_own(store):
    """The thumbprint of the certificate presented decides, not that of the first."""
    identities, responses = [], {}
    for _ in range(2):
        identity, leaf = made("http://127.0.0.1:9/ocsp")
        identities.append(identity)
        responses[subject_of(identity).thumbprint] = AUTHORITY.response(leaf)
    first, second = (subject_of(one).thumbprint for one in identities)
    assert stapled(identities, responses) == responses[first]
    assert stapled(identities, {second: responses[second]}) == b""


def test_a_response_that_openssl_would_leave_out_is_told_before():
    identity, leaf = made()
    check_staple(identity, AUTHORITY.response(leaf))
    with pytest.raises(RevocationError, match="does not staple"):
        check_staple(identity, AUTHORITY.response(made()[1]))


def test_what_somebody_left_in_the_store_is_not_stapled(store):
    identity, _ = made("http://127.0.0.1:9/ocsp")
    place = f"certificate/{subject_of(identity).thumbprint[:16]}/staple"
    store.apply({}, author="eve", content={place: b"\xc1 junk"})
    assert Stapler(store, client()).kept([identity], TIME) == {}


def test_what_cannot_be_read_of_a_chain_stops_no_listener(store: ConfigStore) -> None:
    """OpenSSL does not mind a name that is a bit string: nothing is stapled, that is all."""
    identity, _ = made("http://ocsp.example/")
    leaf, above = x509.load_pem_x509_certificates(identity.chain_pem)
    good, bits = b"\x0c\x15Stapling Intermediate", b"\x03\x15\0tapling Intermediate"
    broken = [one.public_bytes(Encoding.DER).replace(good, bits) for one in (leaf, above)]
    pem = b"".join(x509.load_der_x509_certificate(one).public_bytes(Encoding.PEM) for one in broken)
    odd = ServerIdentity(pem, identity.key_pem)
    server_context([odd], PROFILES["default"], ask_client_certificate=False)
    assert subject_of(odd).issuer is None
    stapler = Stapler(store, client())
    assert stapler.kept([odd], TIME) == {}
    assert asyncio.run(stapler.renew([odd], TIME)) is False
