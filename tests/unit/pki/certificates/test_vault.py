from __future__ import annotations

import os

import pytest

from gatepost.pki.certificates.vault import Vault, VaultError

MASTER = b"0123456789abcdef0123456789abcdef"
VAULT = Vault(MASTER)


def test_what_is_sealed_opens_in_its_place_only():
    sealed = VAULT.seal(b"a private key", "certificate/ab/key")
    assert b"private" not in sealed
    assert VAULT.open(sealed, "certificate/ab/key") == b"a private key"
    with pytest.raises(VaultError, match="not the one"):
        VAULT.open(sealed, "certificate/cd/key")
    with pytest.raises(VaultError, match="not the one"):
        Vault(bytes(32)).open(sealed, "certificate/ab/key")


def test_the_same_secret_never_looks_the_same():
    assert len({VAULT.seal(b"secret", "place") for _ in range(20)}) == 20


def test_every_octet_counts():
    sealed = VAULT.seal(b"secret", "place")
    for at in range(len(sealed)):
        spoilt = bytes([*sealed[:at], sealed[at] ^ 1, *sealed[at + 1 :]])
        with pytest.raises(VaultError):
            VAULT.open(spoilt, "place")
    for length in range(len(sealed)):
        with pytest.raises(VaultError):
            VAULT.open(sealed[:length], "place")


def test_where_the_master_key_comes_from(tmp_path):
    file = tmp_path / "master"
    file.write_bytes(MASTER)
    file.chmod(0o600)
    sealed = VAULT.seal(b"secret", "place")
    for setting, environment in (
        (f"file:{file}", {}),
        ("env:MASTER", {"MASTER": MASTER.decode()}),
        ("credential:master", {"CREDENTIALS_DIRECTORY": str(tmp_path)}),
    ):
        vault = Vault.of(setting, environment)
        assert vault is not None
        assert vault.open(sealed, "place") == b"secret"
    assert Vault.of("") is None


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660, 0o602])
def test_a_master_key_that_others_may_use_is_refused(tmp_path, mode):
    file = tmp_path / "master"
    file.write_bytes(MASTER)
    file.chmod(mode)
    with pytest.raises(VaultError, match=f"mode {mode:04o} lets others use it; run: chmod 0600"):
        Vault.of(f"file:{file}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_who_may_not_read_the_master_key_is_not_told_to_make_another(tmp_path):
    file = tmp_path / "master"
    file.write_bytes(MASTER)
    file.chmod(0)
    with pytest.raises(
        VaultError, match=r"Permission denied; run this as root or as the gateway's account, which must be"
    ):
        Vault.of(f"file:{file}")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("file:/nowhere/master", "No such file or directory; restore the one that sealed .*, make one with"),
        ("env:NOBODY", "no such variable"),
        ("credential:master", "systemd gave no credentials"),
        ("pkcs11:x", "write file:PATH, env:NAME or credential:NAME"),
        ("env:SHORT", "has 5 bytes, 32 to 4096 are needed"),
        ("env:HUGE", "has 4097 bytes"),
    ],
)
def test_a_master_key_that_cannot_be_had_says_what_to_do(setting, words):
    with pytest.raises(VaultError, match=words):
        Vault.of(setting, {"SHORT": "short", "HUGE": "x" * 4097})
