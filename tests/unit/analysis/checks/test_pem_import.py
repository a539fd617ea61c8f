from __future__ import annotations

from base64 import encodebytes
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs7,
    pkcs12,
)

from gatepost.analysis.checks.chain_file import ChainFileError
from gatepost.analysis.checks.pem_import import PasswordNeeded, PemSource, chain_pem_of, key_of, taken_in
from gatepost.net.anchors import TrustAnchors
from gatepost.pki.certificates.authority import Authority
from gatepost.pki.smime import ber

ROOT = Authority("Intake Root")
MIDDLE = Authority("Intake Middle", issuer=ROOT)
CHAIN, KEY = MIDDLE.issue(["mx.a.example"])
LEAF, ABOVE = x509.load_pem_x509_certificates(CHAIN)
TOP = x509.load_pem_x509_certificate(ROOT.certificate_pem)
OTHER, OTHER_KEY = MIDDLE.issue(["other.example"])
STRANGER = x509.load_pem_x509_certificates(OTHER)[0]
ANCHORS = TrustAnchors([TOP.public_bytes(Encoding.DER)], "the test's roots")
STRANGERS = TrustAnchors(
    [x509.load_pem_x509_certificate(Authority("x").certificate_pem).public_bytes(Encoding.DER)], "x"
)
NOW = datetime.now(UTC).timestamp()
WORD = b"geheim"
PRIVATE = load_pem_private_key(KEY, None)
SEALED = PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(WORD))


def pem(*certificates):
    return b"".join(one.public_bytes(Encoding.PEM) for one in certificates)


def ders(*certificates):
    return tuple(one.public_bytes(Encoding.DER) for one in certificates)


def p12(word=WORD, *, leaf=LEAF, above=(TOP, ABOVE), key=PRIVATE):
    sealing = BestAvailableEncryption(word) if word else NoEncryption()
    return pkcs12.serialize_key_and_certificates(b"x", key, leaf, above, sealing)


def take(content, key=KEY, *, password=None, **given):
    return taken_in(PemSource(content, "file.pem", key, password), now=NOW, **{"anchors": ANCHORS} | given)


@pytest.mark.parametrize(
    ("content", "key", "notes"),
    [
        (CHAIN, KEY, []),
        (CHAIN + KEY, b"", []),
        (p12(None), b"", ["left out: CN=Intake Root (a root, which partners must have themselves)"]),
        (pkcs7.serialize_certificates([ABOVE, LEAF], Encoding.PEM), KEY, None),
        (pem(ABOVE, LEAF), KEY, ["the certificates were not in order; they are now, the gateway's own first"]),
        (pem(LEAF, ABOVE, ABOVE), KEY, []),
        (pem(LEAF, STRANGER, ABOVE), KEY, ["left out: CN=other.example (it is not part of the chain)"]),
        (b"Bag Attributes: x\r\n" + CHAIN.replace(b"\n", b"\r\n"), KEY, []),
    ],
)
def test_what_comes_in_goes_out_in_order(content, key, notes):
    found = take(content, key)
    assert found.certificates == ders(LEAF, ABOVE)
    assert found.key_pem == KEY
    assert chain_pem_of(found.certificates) == CHAIN
    assert notes is None or list(found.notes) == notes
    assert found.warnings == ()


def test_a_chain_is_completed_from_what_is_known():
    found = take(LEAF.public_bytes(Encoding.DER), known=ders(STRANGER, ABOVE))
    assert found.certificates == ders(LEAF, ABOVE)
    assert found.notes == ("the chain was completed with CN=Intake Middle, which was known already",)


def test_without_a_key_the_leaf_is_found_all_the_same():
    found = take(pem(TOP, ABOVE, LEAF), b"")
    assert (found.certificates, found.key_pem) == (ders(LEAF, ABOVE), b"")


def test_passwords():
    assert take(p12(), b"", password=WORD).key_pem == KEY
    for password in (None, b"wrong"):
        with pytest.raises(PasswordNeeded, match=r"file\.pem: PKCS#12: (it is encrypted|the password is not)"):
            take(p12(), b"", password=password)
    assert key_of(SEALED, "k.pem", WORD) == key_of(KEY, "k.pem", WORD) == KEY
    with pytest.raises(PasswordNeeded, match=r"k\.pem: the private key is encrypted; give its password"):
        key_of(SEALED, "k.pem")
    with pytest.raises(PasswordNeeded, match=r"k\.pem: the password is not the right one"):
        key_of(SEALED, "k.pem", b"wrong")
    assert take(CHAIN + SEALED, b"", password=WORD).key_pem == KEY


def test_a_wrong_password_that_seems_to_decrypt_is_a_wrong_password(monkeypatch):
    def garbled(*_, **__):
        raise ValueError("Could not deserialize key data.")

    monkeypatch.setattr("gatepost.analysis.checks.pem_import.load_pem_private_key", garbled)
    with pytest.raises(PasswordNeeded, match=r"k\.pem: the password is not the right one"):
        key_of(SEALED, "k.pem", b"wrong")
    with pytest.raises(
        ChainFileError, match=r"^k\.pem: the private key cannot be read; it must be a whole PEM or DER file"
    ) as told:
        key_of(KEY, "k.pem", b"wrong")
    assert "deserialize" not in str(told.value)


def test_a_key_in_der_and_in_older_forms():
    assert key_of(PRIVATE.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()), "k.der") == KEY
    old = PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    assert key_of(old, "k.pem") == KEY


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "the private key cannot be read"),
        (b"0" * 100, "the private key cannot be read"),
        (CHAIN, "no private key in it; name the file with -----BEGIN PRIVATE KEY-----"),
        (KEY.replace(b"M", b"N"), "the private key cannot be read"),
        (b"x" * (1024 * 1024 + 1), "larger than 1048576 bytes"),
    ],
)
def test_keys_that_are_none(content, why):
    with pytest.raises(ChainFileError, match=why):
        key_of(content, "k.pem")


def integer(number):
    return ber.write(ber.INTEGER, number.to_bytes(number.bit_length() // 8 + 1))


def parameters(name, *numbers, salt=b"saltsalt"):
    words = ber.write(ber.OCTET_STRING, salt), *map(integer, numbers)
    return ber.write(ber.SEQUENCE, ber.write(ber.OID, ber.oid(name)), ber.write(ber.SEQUENCE, *words))


def sealed_by(derivation, *, pbes2=True):
    """A private key that a password opens, as what is made of it says."""
    cipher = ber.write(ber.OID, ber.oid("2.16.840.1.101.3.4.1.42")) + ber.write(ber.OCTET_STRING, bytes(16))
    both = ber.write(ber.SEQUENCE, derivation, ber.write(ber.SEQUENCE, cipher))
    algorithm = ber.write(ber.SEQUENCE, ber.write(ber.OID, ber.oid("1.2.840.113549.1.5.13")), both)
    return ber.write(ber.SEQUENCE, algorithm if pbes2 else derivation, ber.write(ber.OCTET_STRING, bytes(64)))


PBKDF2, SCRYPT, LONG = "1.2.840.113549.1.5.12", "1.3.6.1.4.1.11591.4.11", 2**31 - 1
ABSURD = {
    "PBKDF2": sealed_by(parameters(PBKDF2, LONG, 32)),
    "scrypt": sealed_by(parameters(SCRYPT, 2**24, 8, 1)),
    "PKCS#5 of old": sealed_by(parameters("1.2.840.113549.1.5.10", LONG), pbes2=False),
    "PKCS#12": sealed_by(parameters("1.2.840.113549.1.12.1.3", LONG), pbes2=False),
}


@pytest.mark.parametrize("name", ABSURD)
def test_a_password_that_takes_minutes_to_try_is_not_tried(name):
    """The library holds all threads meanwhile."""
    der = ABSURD[name]
    pem_key = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n%b-----END ENCRYPTED PRIVATE KEY-----\n" % encodebytes(der)
    for content in (der, pem_key):
        with pytest.raises(ChainFileError, match=r"k\.pem: to try a password takes \d+ rounds, more than 10000000"):
            key_of(content, "k.pem", WORD)
    with pytest.raises(PasswordNeeded):
        key_of(pem_key, "k.pem")


def test_so_for_a_whole_pkcs12():
    sealing = PrivateFormat.PKCS12.encryption_builder().kdf_rounds(2000)
    made = pkcs12.serialize_key_and_certificates(b"x", PRIVATE, LEAF, None, sealing.build(WORD))
    assert made.count(integer(2000)) == 2
    slow = made.replace(integer(2000), b"\2\2\x7f\xff")
    assert take(made, b"", password=WORD).key_pem == KEY
    with pytest.raises(PasswordNeeded):
        take(slow, b"", password=b"wrong")  # 32,767 are usual
    parts = ber.read(made).parts
    mac = ber.write(ber.SEQUENCE, *(bytes(part.raw) for part in parts[2].parts[:2]), integer(LONG))
    with pytest.raises(ChainFileError, match="to try a password takes 2147487647 rounds"):
        take(ber.write(ber.SEQUENCE, bytes(parts[0].raw), bytes(parts[1].raw), mac), b"")
    with pytest.raises(ChainFileError, match="an encrypted key that cannot be read"):
        key_of(sealed_by(parameters(PBKDF2, LONG, 32, salt=bytes(1000))), "k.der", WORD)


def test_a_key_that_the_library_gives_up_on_is_told_so():
    with pytest.raises(PasswordNeeded):
        key_of(sealed_by(parameters(SCRYPT, 2, 2**20, 1)), "k.der", WORD)


@pytest.mark.parametrize(
    ("content", "key", "why"),
    [
        (CHAIN, OTHER_KEY, r"the private key does not belong to any of its 2 certificates; name the key"),
        (pem(LEAF), OTHER_KEY, r"does not belong to its certificate CN=mx\.a\.example"),
        (KEY, b"", "a private key without a certificate"),
        (b"", b"", "empty"),
        (CHAIN[:300], b"", "cut off"),
        (b"\x30\x82\x01\x00\x02\x01\x03\x00", b"", "PKCS#12 that cannot be read"),
        (p12(None, leaf=None, above=None), b"", "PKCS#12 without a certificate"),
        (p12(None, key=None), OTHER_KEY, "does not belong"),
    ],
)
def test_what_cannot_be_used(content, key, why):
    with pytest.raises(ChainFileError, match=rf"file\.pem: .*{why}|{why}"):
        take(content, key)


@pytest.mark.parametrize(
    ("chain", "anchors", "why"),
    [
        (
            pem(LEAF),
            ANCHORS,
            "the chain is incomplete: the certificate of CN=Intake Middle is missing; get it from its",
        ),
        (pem(TOP), ANCHORS, ""),
        (CHAIN, STRANGERS, "by x it is"),
        (ROOT.issue(["a"])[0] + pem(TOP), STRANGERS, "by x it is untrusted-root"),  # not the root that was left out
        (CHAIN, None, ""),
        (MIDDLE.issue(["a"], not_before=datetime.now(UTC) - timedelta(days=200))[0], ANCHORS, "it has expired"),
        (MIDDLE.issue(["a"], not_before=datetime.now(UTC) + timedelta(days=2))[0], ANCHORS, "it is not valid yet"),
    ],
)
def test_what_a_partner_would_stumble_over(chain, anchors, why):
    warnings = take(chain, b"", anchors=anchors).warnings
    assert (warnings == ()) == (why == "")
    assert all(why in one for one in warnings)


def test_an_encrypted_key_that_is_not_base64_is_refused() -> None:
    pem = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"
    with pytest.raises(ChainFileError):
        key_of(pem, "f", b"x")
