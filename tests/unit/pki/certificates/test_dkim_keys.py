from __future__ import annotations

import hashlib
import logging
from base64 import b64decode, encodebytes
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateNumbers, RSAPublicKey, RSAPublicNumbers
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_public_key,
)
from support.clock import Clock

from gatepost.pki.certificates import dkim_keys
from gatepost.pki.certificates.dkim_keys import (
    DkimKeyError,
    DkimKeys,
    content_name,
    made_key,
    places,
    read_key,
    unusable_key,
)
from gatepost.pki.certificates.vault import Vault
from gatepost.pki.smime import ber
from gatepost.policy.connectors.dkim_key import DkimKey
from gatepost.policy.connectors.model import parse
from gatepost.policy.connectors.values import DkimAlgorithm
from gatepost.store.changes import ConfigStore

NAME = "s._domainkey.contoso.example"
RSA, ED25519 = DkimAlgorithm.RSA_SHA256, DkimAlgorithm.ED25519_SHA256
PEMS = {RSA: made_key(RSA), ED25519: made_key(ED25519)}


def pem(key: object, secret: bytes = b"") -> bytes:
    encryption = BestAvailableEncryption(secret) if secret else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)  # type: ignore[attr-defined,no-any-return]


@pytest.fixture
def clock() -> Clock:
    return Clock(0.0)


@pytest.fixture
def keys(store: ConfigStore, clock: Clock) -> DkimKeys:
    return DkimKeys(store, Vault(b"m" * 32), clock=clock)


def put(store: ConfigStore, keys: DkimKeys, content: bytes, name: str = NAME) -> None:
    store.apply({}, author="a", content=keys.sealed("contoso", name, content))


def test_both_kinds_sign_as_their_public_half_verifies() -> None:
    rsa, ed25519 = read_key(PEMS[RSA]), read_key(PEMS[ED25519])
    assert (rsa.algorithm, rsa.bits, ed25519.algorithm, ed25519.bits) == (RSA, 2048, ED25519, 256)
    public = load_der_public_key(b64decode(rsa.public_key))
    assert isinstance(public, RSAPublicKey)
    public.verify(rsa.sign(b"octets"), b"octets", PKCS1v15(), SHA256())
    other = Ed25519PublicKey.from_public_bytes(b64decode(ed25519.public_key))
    other.verify(ed25519.sign(b"octets"), hashlib.sha256(b"octets").digest())


def absurd_key() -> bytes:
    """Of Diffie-Hellman, with a prime that is none of 16,384 bits."""
    prime, two = b"\0" + b"\xff" * 2048, ber.write(ber.INTEGER, b"\2")
    kind = ber.write(ber.OID, ber.oid("1.2.840.113549.1.3.1"))
    algorithm = ber.write(ber.SEQUENCE, kind, ber.write(ber.SEQUENCE, ber.write(ber.INTEGER, prime), two))
    key = ber.write(ber.SEQUENCE, ber.write(ber.INTEGER, b"\0"), algorithm, ber.write(ber.OCTET_STRING, two))
    return b"-----BEGIN PRIVATE KEY-----\n" + encodebytes(key) + b"-----END PRIVATE KEY-----\n"


BAD = {
    "no PEM": (b"hello", "there is no private key in PEM form"),
    "a key that the library gives up on": (absurd_key(), "there is no private key in PEM form"),
    "another kind": (pem(ec.generate_private_key(ec.SECP256R1())), "RSA or Ed25519"),
    "a pass phrase": (pem(ec.generate_private_key(ec.SECP256R1()), b"secret"), "openssl pkey"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_key_to_sign_with(name: str) -> None:
    content, why = BAD[name]
    with pytest.raises(DkimKeyError, match=why) as refused:
        read_key(content)
    assert "PRIVATE" not in str(refused.value).replace("-----BEGIN PRIVATE KEY-----", "")


def test_a_key_larger_than_verifiers_take_is_refused_before_its_numbers_are_checked() -> None:
    """The library holds all threads for that: half a minute for primes of 8192 bits."""
    no_prime = (1 << 8191) + 3
    numbers = RSAPrivateNumbers(no_prime, no_prime, 1, 1, 1, 1, RSAPublicNumbers(3, no_prime**2))
    large = numbers.private_key(unsafe_skip_rsa_key_validation=True)
    with pytest.raises(DkimKeyError, match=r"16383 bits; verifiers take 1024 to 4096 \(RFC 8301\)"):
        read_key(pem(large))


@pytest.mark.parametrize("algorithm", [RSA, ED25519])
def test_a_sealed_key_is_opened_for_its_own_organization_alone(
    store: ConfigStore, keys: DkimKeys, algorithm: DkimAlgorithm
) -> None:
    put(store, keys, PEMS[algorithm])
    expected = read_key(PEMS[algorithm]).public_key
    key = DkimKey(name=NAME, algorithm=algorithm, public_key=expected)
    found = keys.signer("contoso", key)
    assert found.public_key == expected
    assert keys.signer("contoso", key) is found
    assert (keys.has_key("contoso", NAME), keys.has_key("fabrikam", NAME)) == (True, False)
    with pytest.raises(DkimKeyError, match="gatepost dkim import"):
        keys.signer("fabrikam", key)
    assert b"PRIVATE" not in (store.content(content_name("contoso", NAME)) or b"PRIVATE")


def test_a_key_in_a_file_must_be_its_owners_alone(keys: DkimKeys, tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(PEMS[RSA])
    file.chmod(0o600)
    key = DkimKey(name=NAME, key_file=str(file))
    assert keys.signer("contoso", key).algorithm is RSA
    file.chmod(0o644)
    assert keys.signer("contoso", key).algorithm is RSA  # as it was read
    keys.forget()
    with pytest.raises(DkimKeyError, match=r"mode 0644 lets others use it; run: chmod 0600"):
        keys.signer("contoso", key)


def test_why_the_content_of_a_file_cannot_be_used() -> None:
    key = DkimKey(name=NAME, key_file="/key.pem")
    assert "there is no private key in PEM form" in unusable_key(b"", key)
    assert unusable_key(PEMS[RSA], key) == ""
    assert unusable_key(PEMS[RSA], key.model_copy(update={"public_key": read_key(PEMS[RSA]).public_key})) == ""
    assert "not the counterpart" in unusable_key(PEMS[RSA], key.model_copy(update={"public_key": "QUJD"}))
    assert "one for rsa-sha256" in unusable_key(PEMS[RSA], key.model_copy(update={"algorithm": ED25519}))


def test_what_does_not_fit_the_resource_is_not_used(store: ConfigStore, keys: DkimKeys) -> None:
    put(store, keys, PEMS[RSA])
    with pytest.raises(DkimKeyError, match="its private key is one for rsa-sha256"):
        keys.signer("contoso", DkimKey(name=NAME, algorithm=ED25519))
    with pytest.raises(DkimKeyError, match="not the counterpart of public_key"):
        keys.signer("contoso", DkimKey(name=NAME, public_key="QUJD"))


def test_without_the_master_key_nothing_is_sealed_or_opened(store: ConfigStore, keys: DkimKeys) -> None:
    put(store, keys, PEMS[RSA])
    key = DkimKey(name=NAME)
    with pytest.raises(DkimKeyError, match=r"store\.master_key not set"):
        DkimKeys(store, None).signer("contoso", key)
    with pytest.raises(DkimKeyError, match=r"set store\.master_key"):
        DkimKeys(store, None).sealed("contoso", NAME, PEMS[RSA])
    with pytest.raises(DkimKeyError, match="the master key is not the one"):
        DkimKeys(store, Vault(b"n" * 32)).signer("contoso", key)


def test_what_failed_is_tried_again_later_and_logged_once(
    store: ConfigStore, keys: DkimKeys, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    key = DkimKey(name=NAME)
    with caplog.at_level(logging.ERROR):
        for now in (0.0, 5.0, 10.0, 15.0):
            clock.now = now
            with pytest.raises(DkimKeyError):
                keys.signer("contoso", key)
    assert len(caplog.records) == 1
    put(store, keys, PEMS[RSA])
    with pytest.raises(DkimKeyError):
        keys.signer("contoso", key)
    clock.now = 20.0
    assert keys.signer("contoso", key).algorithm is RSA


def test_private_halves_are_found_by_their_keys() -> None:
    assert places("a", {"dkim_key": [{"name": "x"}, {"name": "y"}]}) == {"dkim/a/x", "dkim/a/y"}
    assert places("a", None) == set()


def test_another_master_key_than_before_is_noticed(store: ConfigStore, keys: DkimKeys) -> None:
    other = "t._domainkey.contoso.example"
    document = [{"name": name} for name in (NAME, other, "u._domainkey.contoso.example")]
    domains = [{"name": "contoso.example"}]
    organizations = parse(
        {"organization": {"contoso": {"accepted_domain": domains, "dkim_key": document}}}
    ).organizations
    wrong = DkimKeys(store, Vault(b"n" * 32))
    wrong.check_master_key(organizations)  # nothing was sealed yet
    put(store, keys, PEMS[RSA])
    keys.check_master_key(organizations)
    DkimKeys(store, None).check_master_key(organizations)
    with pytest.raises(DkimKeyError, match=f"is not the one that {NAME} was sealed with"):
        wrong.check_master_key(organizations)
    put(store, wrong, PEMS[RSA], other)
    wrong.check_master_key(organizations)


def test_a_key_that_stayed_the_same_is_not_checked_anew(
    keys: DkimKeys, store: ConfigStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.apply({}, author="test", content=keys.sealed("contoso", NAME, PEMS[RSA]))
    key = DkimKey(name=NAME)
    first = keys.signer("contoso", key)
    monkeypatch.setattr(dkim_keys, "read_key", None)
    for _ in range(3):
        keys.forget()
        keys.forget()
        assert keys.signer("contoso", key) is first
