from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from gatepost.pki.certificates.evidence_key import (
    evidence_signer,
    prepare_evidence_key,
    public_key_id,
    public_keys_in,
    signature_check,
)
from gatepost.pki.certificates.files import CertificateFileError
from gatepost.pki.certificates.vault import Vault
from gatepost.store.evidence_keys import kept_keys, keys_directory

VAULT = Vault(b"m" * 32)


@pytest.fixture
def evidence(tmp_path):
    return tmp_path / "evidence"


@pytest.fixture
def keys(evidence):
    return keys_directory(evidence)


def made(evidence, vault=None):
    """As a gateway starts, and a worker of it."""
    prepare_evidence_key(evidence, vault)
    return evidence_signer(evidence, vault)


def signs(evidence, signer) -> bool:
    check = signature_check(kept_keys(evidence))
    return check(signer.key, b"message", signer.sign(b"message")) is True


def test_a_key_is_made_once_and_its_public_half_kept(evidence, keys):
    first = made(evidence)
    assert signs(evidence, first)
    assert made(evidence).key == first.key
    assert [public_key_id(one) for one in kept_keys(evidence)] == [first.key]
    assert (keys / "signing.key").stat().st_mode & 0o777 == 0o600


def test_no_key_lies_where_workers_write_and_workers_make_none(evidence, keys):
    with pytest.raises(FileNotFoundError):
        evidence_signer(evidence, None)
    signer = made(evidence)
    assert list(evidence.iterdir()) == []
    assert {path.name for path in keys.iterdir()} == {"signing.key", f"{signer.key[:16]}.pem"}


def of_an_earlier_version(evidence, vault=None):
    """A key where workers write, as earlier versions had it; its id."""
    signer = made(evidence, vault)
    keys_directory(evidence).rename(evidence / "keys")
    for path in (evidence / "keys").glob("signing.key*"):
        path.rename(evidence / path.name)
    return signer.key


@pytest.mark.parametrize(("before", "after"), [(None, None), (VAULT, VAULT), (None, VAULT)])
def test_the_key_of_an_earlier_version_signs_on_from_its_new_place(evidence, keys, before, after):
    key = of_an_earlier_version(evidence, before)
    assert [public_key_id(pem) for pem in kept_keys(evidence)] == [key], "also before the first start"
    signer = made(evidence, after)
    assert signer.key == key
    assert signs(evidence, signer)
    assert list(evidence.iterdir()) == []
    assert [path.name for path in keys.glob("signing.key*")] == ["signing.key.sealed" if after else "signing.key"]


@pytest.mark.parametrize("vault", [None, VAULT])
def test_a_key_that_lies_where_workers_write_later_is_not_used(evidence, vault):
    first = made(evidence, vault)
    other = evidence.parent / "other" / "evidence"
    made(other, vault)
    for path in keys_directory(other).iterdir():
        path.rename(evidence / path.name)
    assert [path.name for path in prepare_evidence_key(evidence, vault)] == [
        "signing.key.sealed" if vault else "signing.key"
    ]
    assert evidence_signer(evidence, vault).key == first.key
    assert [public_key_id(pem) for pem in kept_keys(evidence)] == [first.key]


def test_of_several_processes_at_once_all_have_the_same_key(evidence):
    with ThreadPoolExecutor(8) as pool:
        keys = {one.key for one in pool.map(lambda _: made(evidence), range(8))}
    assert len(keys) == 1


def test_a_key_is_sealed_where_there_is_a_master_key(evidence, keys):
    first = made(evidence, VAULT)
    assert not (keys / "signing.key").exists()
    assert b"PRIVATE" not in (keys / "signing.key.sealed").read_bytes()
    assert made(evidence, VAULT).key == first.key


def test_a_key_in_the_open_is_sealed_later(evidence, keys):
    first = made(evidence)
    assert made(evidence, VAULT).key == first.key
    assert not (keys / "signing.key").exists()
    assert made(evidence, VAULT).key == first.key


def test_several_processes_at_once_may_seal_it(evidence, keys):
    for _ in range(5):
        first = made(evidence)
        with ThreadPoolExecutor(8) as pool:
            signers = list(pool.map(lambda _: made(evidence, VAULT), range(8)))
        assert {signer.key for signer in signers} == {first.key}
        (keys / "signing.key.sealed").unlink()


@pytest.mark.parametrize("vault", [None, Vault(b"x" * 32)])
def test_a_sealed_key_needs_its_master_key(evidence, vault):
    made(evidence, VAULT)
    with pytest.raises(CertificateFileError, match="master"):
        made(evidence, vault)


def test_a_key_that_others_may_read_is_refused(evidence, keys):
    made(evidence)
    (keys / "signing.key").chmod(0o640)
    with pytest.raises(CertificateFileError, match="chmod 600"):
        made(evidence)


def pem_of_another_kind():
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize("content", [b"", b"garbage", pem_of_another_kind()])
def test_what_is_no_such_key_is_refused(evidence, keys, content):
    made(evidence)
    (keys / "signing.key").write_bytes(content)
    with pytest.raises(CertificateFileError, match="Ed25519"):
        made(evidence)


def test_signatures_are_checked_by_the_keys_that_are_known(evidence):
    signer = made(evidence)
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
    signers = [made(tmp_path / name / "evidence") for name in ("one", "other")]
    pems = [pem for name in ("one", "other") for pem in kept_keys(tmp_path / name / "evidence")]
    found = public_keys_in(b"key 1\n" + b"".join(pems).replace(b"\n", b"\r\n"))
    assert [public_key_id(pem) for pem in found] == [one.key for one in signers]
    assert public_keys_in(pems[0]) == pems[:1]
    assert public_keys_in(b"nothing") == [b"nothing"]
