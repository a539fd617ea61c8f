from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from gatepost.pki.certificates.evidence_key import evidence_signer, public_key_id, public_keys_in, signature_check
from gatepost.pki.certificates.files import CertificateFileError
from gatepost.pki.certificates.vault import Vault
from gatepost.store.evidence_files import kept_keys

VAULT = Vault(b"m" * 32)


@pytest.fixture
def evidence(tmp_path):
    return tmp_path / "evidence"


def signs(evidence, signer) -> bool:
    check = signature_check(kept_keys(evidence))
    return check(signer.key, b"message", signer.sign(b"message")) is True


def test_a_key_is_made_once_and_its_public_half_kept(evidence):
    first = evidence_signer(evidence, None)
    assert signs(evidence, first)
    assert evidence_signer(evidence, None).key == first.key
    assert [public_key_id(one) for one in kept_keys(evidence)] == [first.key]
    assert (evidence / "signing.key").stat().st_mode & 0o777 == 0o600


def test_of_several_processes_at_once_all_have_the_same_key(evidence):
    with ThreadPoolExecutor(8) as pool:
        keys = {one.key for one in pool.map(lambda _: evidence_signer(evidence, None), range(8))}
    assert len(keys) == 1


def test_a_key_is_sealed_where_there_is_a_master_key(evidence):
    first = evidence_signer(evidence, VAULT)
    assert not (evidence / "signing.key").exists()
    assert b"PRIVATE" not in (evidence / "signing.key.sealed").read_bytes()
    assert evidence_signer(evidence, VAULT).key == first.key


def test_a_key_in_the_open_is_sealed_later(evidence):
    first = evidence_signer(evidence, None)
    assert evidence_signer(evidence, VAULT).key == first.key
    assert not (evidence / "signing.key").exists()
    assert evidence_signer(evidence, VAULT).key == first.key


def test_several_processes_at_once_may_seal_it(evidence):
    for _ in range(5):
        first = evidence_signer(evidence, None)
        with ThreadPoolExecutor(8) as pool:
            keys = {one.key for one in pool.map(lambda _: evidence_signer(evidence, VAULT), range(8))}
        assert keys == {first.key}
        (evidence / "signing.key.sealed").unlink()


@pytest.mark.parametrize("vault", [None, Vault(b"x" * 32)])
def test_a_sealed_key_needs_its_master_key(evidence, vault):
    evidence_signer(evidence, VAULT)
    with pytest.raises(CertificateFileError, match="master"):
        evidence_signer(evidence, vault)


def test_a_key_that_others_may_read_is_refused(evidence):
    evidence_signer(evidence, None)
    (evidence / "signing.key").chmod(0o640)
    with pytest.raises(CertificateFileError, match="chmod 600"):
        evidence_signer(evidence, None)


def pem_of_another_kind():
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize("content", [b"", b"garbage", pem_of_another_kind()])
def test_what_is_no_such_key_is_refused(evidence, content):
    evidence_signer(evidence, None)
    (evidence / "signing.key").write_bytes(content)
    with pytest.raises(CertificateFileError, match="Ed25519"):
        evidence_signer(evidence, None)


def test_signatures_are_checked_by_the_keys_that_are_known(evidence):
    signer = evidence_signer(evidence, None)
    check = signature_check(kept_keys(evidence))
    assert check(signer.key, b"other", signer.sign(b"message")) is False
    assert check(signer.key, b"message", b"short") is False
    assert check("ab" * 32, b"message", signer.sign(b"message")) is None


@pytest.mark.parametrize(
    "pem",
    [
        b"garbage",
        ec.generate_private_key(ec.SECP256R1())
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    ],
)
def test_what_is_no_public_key_is_said(pem):
    with pytest.raises(ValueError, match="public key"):
        signature_check([pem])
    with pytest.raises(ValueError, match="public key"):
        public_key_id(pem)


def test_a_file_may_have_the_keys_of_several_nodes(tmp_path):
    signers = [evidence_signer(tmp_path / name, None) for name in ("one", "other")]
    pems = [pem for name in ("one", "other") for pem in kept_keys(tmp_path / name)]
    found = public_keys_in(b"key 1\n" + b"".join(pems).replace(b"\n", b"\r\n"))
    assert [public_key_id(pem) for pem in found] == [one.key for one in signers]
    assert public_keys_in(pems[0]) == pems[:1]
    assert public_keys_in(b"nothing") == [b"nothing"]
