"""The file of a private key."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from support.chains import server
from support.status_authority import StatusAuthority

from gatepost.analysis.checks.chain import public_key
from gatepost.analysis.checks.chain_file import ChainFileError, read_key

LEAF = server(StatusAuthority("Root"))


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_a_key(tmp_path, mode):
    file = tmp_path / "key.pem"
    file.write_bytes(b"some notes\n" + LEAF.key_pem)
    file.chmod(mode)
    key = read_key(file)
    assert (key.path, key.mode, key.public) == (str(file), mode, public_key(LEAF.certificate))


def test_older_forms(tmp_path):
    file = tmp_path / "key.pem"
    file.write_bytes(LEAF.key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    assert read_key(file).public == public_key(LEAF.certificate)


def test_a_key_beside_its_certificate(tmp_path):
    file = tmp_path / "both.pem"
    for content in (LEAF.pem + LEAF.key_pem, LEAF.key_pem + LEAF.pem):
        file.write_bytes(content)
        assert read_key(file).public == public_key(LEAF.certificate)


WRONG = [
    (b"", "no private key in PEM; make one of it: openssl pkey -in"),
    (LEAF.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()), "no private key in PEM"),
    (LEAF.pem, "no private key in it; name the file with -----BEGIN PRIVATE KEY-----"),
    (
        LEAF.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")),
        "the private key is encrypted, and a server cannot type its password; decrypt it",
    ),
    (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "a private key that cannot be read"),
]


@pytest.mark.parametrize(("content", "text"), WRONG)
def test_no_key(tmp_path, content, text):
    file = tmp_path / "key.pem"
    file.write_bytes(content)
    with pytest.raises(ChainFileError) as caught:
        read_key(file)
    assert str(caught.value).startswith(f"{file}: {text}")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ChainFileError, match="none: No such file"):
        read_key(tmp_path / "none")
    with pytest.raises(ChainFileError, match="Is a directory"):
        read_key(tmp_path)
