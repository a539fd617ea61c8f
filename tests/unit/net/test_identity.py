from __future__ import annotations

import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa, x25519
from support.rsa_keys import rsa_key

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


def rsa_identity(pki, key):
    """Of a key whose numbers nobody checked."""
    leaf = x509.load_pem_x509_certificate(pki.leaf("mx.a.example").pem)
    builder = x509.CertificateBuilder(leaf.issuer, leaf.subject, key.public_key(), 1)
    builder = builder.not_valid_before(leaf.not_valid_before_utc).not_valid_after(leaf.not_valid_after_utc)
    certificate = builder.sign(pki.root.key, hashes.SHA256())
    chain = certificate.public_bytes(serialization.Encoding.PEM)
    return ServerIdentity(chain, _pem(key, serialization.NoEncryption()))


def changed(**others):
    """The numbers of an RSA key, changed, as a key."""
    numbers = rsa_key().private_numbers()
    names = ("p", "q", "d", "dmp1", "dmq1", "iqmp")
    values = {name: getattr(numbers, name) + others.get(name, 0) for name in names}
    private = rsa.RSAPrivateNumbers(**values, public_numbers=numbers.public_numbers)
    return private.private_key(unsafe_skip_rsa_key_validation=True)


def test_an_rsa_key_must_sign_and_its_numbers_are_not_checked_on_the_event_loop(pki):
    odd = rsa_identity(pki, changed(dmp1=rsa_key().private_numbers().p - 1))  # signs, and is not as it should be
    with pytest.raises(ValueError, match="Invalid private key"):
        serialization.load_pem_private_key(odd.key_pem, None)
    assert read_identity(odd).leaf.key == "RSA-2048"
    with pytest.raises(IdentityError, match="it does not sign"):
        read_identity(rsa_identity(pki, changed(d=2, dmp1=2, dmq1=2)))


def test_an_rsa_key_that_makes_handshakes_slow_is_not_taken(pki):
    prime = (1 << 4200) + 1
    numbers = rsa.RSAPrivateNumbers(prime, prime, 1, 1, 1, 1, rsa.RSAPublicNumbers(3, prime**2))
    large = rsa_identity(pki, numbers.private_key(unsafe_skip_rsa_key_validation=True))
    with pytest.raises(IdentityError, match=r"the RSA key of .* has 8401 bits; at most 8192 are possible"):
        read_identity(large)


def test_a_chain_longer_than_clients_take_is_refused(pki):
    """As when all the roots that there are were appended: OpenSSL ends the handshake."""
    leaf = pki.leaf("mx.a.example")
    with pytest.raises(IdentityError, match=r"the chain of CN=mx\.a\.example.* bytes, more than clients take"):
        read_identity(ServerIdentity(leaf.pem + pki.root.pem * 300, leaf.key_pem))
    assert read_identity(ServerIdentity(leaf.pem + pki.root.pem * 30, leaf.key_pem))


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
