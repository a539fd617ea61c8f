"""Which is the leaf, who issued whom, and what a certificate says of itself."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from support.chains import CLIENT, SERVER, server, sha1_signed
from support.status_authority import StatusAuthority
from tests.unit.net.test_path import INTERMEDIATE, OTHER, A, B, C, D

from gatepost.analysis.checks.chain import choose_leaf, link, public_key
from gatepost.analysis.checks.chain_facts import From
from gatepost.net.certificate import parse


@pytest.mark.parametrize(
    ("certificates", "public", "place"),
    [
        ([A, B, C], b"", 0),
        ([C, B, A], b"", 2),
        ([A, D, B], public_key(OTHER.certificate), 1),
        ([A, D, B], b"of another certificate", 0),
        ([C, B], b"", 1),
        ([C], b"", 0),
        ([A, A], b"", 0),
    ],
    ids=["first", "last", "whose key it is", "nobody's key", "an authority", "the root alone", "twice"],
)
def test_the_leaf(certificates, public, place):
    assert choose_leaf(certificates, public) == place


def test_a_signature_that_proves_nothing_is_told(tmp_path):
    found = link(parse(sha1_signed(tmp_path)[0]).public_bytes(Encoding.DER), From.FILE)
    assert (found.weak, found.signature) == ("SHA1", "SHA-1")


def test_what_a_certificate_says():
    made = server(
        INTERMEDIATE,
        crl=["http://crl.example/a", "ldap://x"],
        ocsp=["http://ocsp.example"],
        issuers=["http://aia.example/a.cer", "ldap://x", "HTTPS://aia.example/b.cer"],
        usages=(SERVER, CLIENT, x509.ObjectIdentifier("1.2.3")),
        more=[(x509.TLSFeature([x509.TLSFeatureType.status_request]), False)],
    )
    found = link(made.der, From.FETCHED)
    assert found.published.crl == ("http://crl.example/a",)
    assert found.published.ocsp == ("http://ocsp.example",)
    assert found.issuers == ("http://aia.example/a.cer", "HTTPS://aia.example/b.cer")
    assert found.usages == {"serverAuth", "clientAuth", "1.2.3"}
    assert (found.must_staple, found.authority, found.self_issued, found.weak) == (True, False, False, "")
    assert (found.signature, found.place) == ("SHA-256", From.FETCHED)


def test_what_an_authority_says():
    found = link(C, From.STORE)
    assert (found.authority, found.self_issued, found.usages, found.issuers) == (True, True, None, ())
    modern = StatusAuthority("Ed", key=ed25519.Ed25519PrivateKey.generate())
    assert link(server(modern).der, From.FILE).signature == ""


def test_extensions_that_cannot_be_read():
    def with_junk(oid):
        junk = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), b"junk")
        return link(server(INTERMEDIATE, usages=(), more=[(junk, False)]).der, From.FILE)

    assert with_junk("2.5.29.37").usages == frozenset()
    assert with_junk("1.3.6.1.5.5.7.1.1").issuers == ()
    assert with_junk("1.3.6.1.5.5.7.1.24").must_staple is False
