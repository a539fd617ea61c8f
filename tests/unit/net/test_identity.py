from __future__ import annotations

import ssl

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import x25519

from gatepost.net.identity import IdentityError, ServerIdentity, bearing, by_server_name, foremost, read_identity
from gatepost.pki.certificates.authority import Authority


def test_an_identity_is_read(pki):
    leaf = pki.leaf("mx.a.example")
    credentials = read_identity(leaf.identity())
    assert credentials.leaf.dns_names == ("mx.a.example",)
    assert credentials.key_family == "EC"


@pytest.mark.parametrize(
    ("chain", "key", "words"),
    [
        (b"", "own", "the certificate chain cannot be read"),
        (
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "own",
            "the certificate chain cannot be read",
        ),
        ("own", b"", r"the private key of CN=mx\.a\.example cannot be read"),
        ("own", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "cannot be read"),
        ("own", "other", r"the private key does not belong to the certificate CN=mx\.a\.example"),
        ("own", "unusable", "a kind of key that cannot be used"),
        ("own", "encrypted", "cannot be read"),
    ],
    ids=range(7),
)
def test_what_cannot_be_used_is_named(pki, chain, key, words):
    leaf = pki.leaf("mx.a.example")
    keys = {
        "own": leaf.key_pem,
        "other": pki.root.key_pem,
        "unusable": _pem(x25519.X25519PrivateKey.generate(), serialization.NoEncryption()),
        "encrypted": _pem(leaf.key, serialization.BestAvailableEncryption(b"secret")),
    }
    identity = ServerIdentity(leaf.pem if chain == "own" else chain, keys.get(key, key))
    with pytest.raises(IdentityError, match=words):
        read_identity(identity)


def test_a_chain_in_the_wrong_order_is_named(pki):
    leaf = pki.leaf("mx.a.example")
    with pytest.raises(IdentityError, match=r"to the first certificate of the file, .*, but to a later one: put that"):
        read_identity(ServerIdentity(pki.root.pem + leaf.pem, leaf.key_pem))


def test_a_version_that_there_is_not(pki):
    leaf = pki.leaf("mx.a.example")
    der = ssl.PEM_cert_to_DER_cert(leaf.pem.decode()).replace(b"\xa0\x03\2\1\2", b"\xa0\x03\2\1\x59", 1)
    with pytest.raises(IdentityError, match="the certificate chain cannot be read: 89 is not a valid X509 version"):
        read_identity(ServerIdentity(ssl.DER_cert_to_PEM_cert(der).encode(), leaf.key_pem))


def _pem(key, encryption):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def test_a_key_for_pss_alone_is_not_taken(pss_identity):
    with pytest.raises(IdentityError, match="a kind of key that cannot be used: RSA-PSS-2048"):
        read_identity(ServerIdentity(*pss_identity))


def test_a_key_is_not_printed(pki):
    identity = pki.leaf("mx.a.example").identity()
    assert "PRIVATE" not in repr(identity)
    assert "PrivateKey" not in repr(read_identity(identity))


def test_a_certificate_for_each_name_and_kind_of_key(pki):
    first, rsa, other, wild, second = (
        read_identity(leaf.identity())
        for leaf in (
            pki.leaf("mx.a.example", "a.example"),
            pki.leaf("mx.a.example", key="rsa2048"),
            pki.leaf("mx.b.example", key="rsa2048"),
            pki.leaf("*.c.example"),
            pki.leaf("mx.a.example", key="p384"),
        )
    )
    default, groups = by_server_name([first, rsa, other, wild, second])
    assert default == [first, rsa]
    assert groups == {
        "mx.a.example": [first, rsa],
        "a.example": [first],
        "mx.b.example": [other],
        "*.c.example": [wild],
    }


def test_a_certificate_without_names_serves_everybody(pki):
    nameless = read_identity(pki.leaf("only a CN", san=False).identity())
    assert by_server_name([nameless]) == ([nameless], {})


# names of the certificates in order -> which of them bear mta-sts.a.example
CASES = [
    ([["mx.a.example"], ["mta-sts.a.example"]], [1]),
    ([["*.a.example"], ["mta-sts.a.example", "x.example"]], [1]),
    ([["*.a.example"], ["*.example"], ["mx.a.example"]], [0]),
    ([["mta-sts.a.example"], ["mx.a.example", "mta-sts.a.example"]], [0, 1]),
    ([["mx.a.example"], ["mta-sts.b.example"], ["*.mta-sts.a.example"]], []),
    ([], []),
]


@pytest.fixture(scope="module")
def authority():
    return Authority("Bearing Root")


@pytest.mark.parametrize(("names", "expected"), CASES)
def test_which_bear_a_name(authority, names, expected):
    identities = [ServerIdentity(*authority.issue(each)) for each in names]
    assert [names.index(list(leaf.dns_names)) for leaf in bearing(identities, "mta-sts.a.example")] == expected


def test_what_cannot_be_read_is_an_error():
    with pytest.raises(IdentityError):
        bearing([ServerIdentity(b"", b"")], "a.example")


FOREMOST = [
    # names of the certificates in order -> the order in which they are presented
    ([["mta-sts.a.example"], ["mx.a.example"]], [1, 0]),
    ([["mx.a.example"], ["mta-sts.a.example"], ["mx.a.example", "b.example"]], [0, 2, 1]),
    ([["b.example"], ["*.a.example"]], [1, 0]),
    ([["b.example"], ["c.example"]], [0, 1]),
    ([], []),
]


@pytest.mark.parametrize(("names", "expected"), FOREMOST)
def test_who_bears_the_hostname_comes_first(authority, names, expected):
    identities = [ServerIdentity(*authority.issue(each)) for each in names]
    assert [identities.index(one) for one in foremost(identities, "mx.a.example")] == expected
