"""Who issued whom, as far as the certificates at hand go."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from support.chains import server, sha1_signed
from support.rsa_keys import rsa_key
from support.status_authority import NOW, StatusAuthority

from gatepost.net.certificate import parse
from gatepost.net.path import climb, is_authority, issued, issuer_places, self_issued

ROOT = StatusAuthority("Root")
INTERMEDIATE = StatusAuthority("Intermediate", parent=ROOT)
STRANGER = StatusAuthority("Root")  # the same name, another key
LEAF, OTHER = server(INTERMEDIATE), server(INTERMEDIATE, "mx2.contoso.example")
TIME = NOW.timestamp()


def der(authority):
    return authority.certificate.public_bytes(Encoding.DER)


A, B, C, D = LEAF.der, der(INTERMEDIATE), der(ROOT), OTHER.der


@pytest.mark.parametrize(
    ("pool", "path"),
    [
        ([A, B, C], [A, B, C]),
        ([C, D, B], [A, B, C]),
        ([B], [A, B]),
        ([], [A]),
        ([B, der(STRANGER)], [A, B]),
    ],
)
def test_the_way_up(pool, path):
    assert climb(A, pool, TIME) == path


def test_of_two_certificates_of_an_authority_the_valid_one_is_taken():
    subject, key = INTERMEDIATE.certificate.subject, INTERMEDIATE.key
    constraint = [(x509.BasicConstraints(ca=True, path_length=None), True)]
    for days in ((-20, -10), (10, 20), (-10, 9)):
        second = ROOT.issue(subject, key, constraint, ca=True, days=days).public_bytes(Encoding.DER)
        assert climb(A, [second, B, C], TIME) == [A, B, C]
    longer = ROOT.issue(subject, key, constraint, ca=True, days=(-10, 400)).public_bytes(Encoding.DER)
    assert climb(A, [longer, B, C], TIME) == [A, longer, C]


def test_a_circle_has_an_end():
    one, two = StatusAuthority("One"), StatusAuthority("Two")
    constraint = [(x509.BasicConstraints(ca=True, path_length=None), True)]
    circle = [
        two.issue(one.name, one.key, constraint, ca=True).public_bytes(Encoding.DER),
        one.issue(two.name, two.key, constraint, ca=True).public_bytes(Encoding.DER),
    ]
    assert climb(server(one).der, circle, TIME)[1:] == circle


def test_a_long_path_is_cut_off():
    chain = [StatusAuthority("0")]
    for number in range(1, 15):
        chain.append(StatusAuthority(str(number), parent=chain[-1]))
    assert len(climb(server(chain[-1]).der, [der(one) for one in chain], TIME)) == 10


def test_signatures_that_prove_nothing_still_tell_the_issuer(tmp_path):
    leaf, issuer = map(parse, sha1_signed(tmp_path))
    assert issued(leaf, issuer)
    assert not issued(leaf, STRANGER.certificate)
    forged = StatusAuthority("Old").certificate
    assert not issued(leaf, forged)
    assert not issued(leaf, StatusAuthority("Old", key=rsa_key()).certificate)
    assert not issued(leaf, StatusAuthority("Old", key=ed25519.Ed25519PrivateKey.generate()).certificate)


def test_what_a_certificate_says_of_itself():
    places = ["http://aia.example/a.cer", "ldap://x", "HTTPS://aia.example/b.cer"]
    leaf = server(INTERMEDIATE, issuers=places).certificate
    assert issuer_places(leaf) == ("http://aia.example/a.cer", "HTTPS://aia.example/b.cer")
    assert issuer_places(ROOT.certificate) == ()
    assert [is_authority(one) for one in (leaf, ROOT.certificate)] == [False, True]
    assert [self_issued(one) for one in (leaf, INTERMEDIATE.certificate, ROOT.certificate)] == [False, False, True]
