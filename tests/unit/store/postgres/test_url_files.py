from __future__ import annotations

import os
import re
from contextlib import nullcontext

import pytest

from gatepost.store.interface import StoreFailure
from gatepost.store.postgres.url_files import check_private_files, tls_file_fault, when_ended
from gatepost.testing.pki import Pki


@pytest.fixture(scope="module")
def pki():
    with Pki() as made:
        yield made


@pytest.fixture
def private(tmp_path):
    """A file of mode 0600."""

    def written(data: bytes, name: str = "file", mode: int = 0o600):
        path = tmp_path / name
        path.write_bytes(data)
        path.chmod(mode)
        return path

    return written


@pytest.mark.parametrize(
    "data",
    [b"", b"# comment\n\n*:*:*:*:s3cret\n", b"db1:5432:gate\\:post:role:a:b\\\\\n", "*:*:*:*:pässword\n".encode()],
)
def test_a_file_with_passwords_is_used(private, data):
    check_private_files(f"postgresql://db1/gatepost?passfile={private(data)}")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"*:*:*:*:s3cret\ns3cret\n", "line 2 of passfile {} is not HOST:PORT:DATABASE:ROLE:PASSWORD"),
        (b"db1\\:5432:gatepost:role:s3cret", "line 1 of passfile {} is not HOST:PORT:DATABASE:ROLE:PASSWORD"),
        (b"\xffs3cret", "passfile {} is not text in UTF-8"),
    ],
)
def test_a_file_with_something_else_is_named_and_not_shown(private, data, text):
    path = private(data)
    with pytest.raises(StoreFailure, match=re.escape(text.format(path))) as raised:
        check_private_files(f"postgresql://db1/gatepost?passfile={path}")
    assert "s3cret" not in str(raised.value)
    assert raised.value.summary == "a file that store.url names cannot be used"


@pytest.mark.parametrize(("name", "mode"), [("passfile", 0o640), ("sslkey", 0o604), ("sslkey", 0o660)])
def test_what_others_may_read_is_refused(private, name, mode):
    path = private(b"*:*:*:*:s3cret\n", mode=mode)
    text = f"{name} {path} has mode {mode:04o}, and others may read it; run: chmod 0600 {path}"
    with pytest.raises(StoreFailure, match=re.escape(text)):
        check_private_files(f"postgresql://db1/gatepost?{name}={path}")


@pytest.mark.parametrize(("owner", "is_taken"), [(0, True), (1000, False)])
def test_the_group_of_a_key_may_read_it_if_it_is_of_root(private, monkeypatch, owner, is_taken):
    path = private(b"", mode=0o640)
    words = list(path.stat())
    words[4] = owner
    monkeypatch.setattr("pathlib.Path.stat", lambda _path: os.stat_result(words))
    with nullcontext() if is_taken else pytest.raises(StoreFailure, match="has mode 0640, and others may read it"):
        check_private_files(f"postgresql://db1/gatepost?sslkey={path}")


def test_what_is_no_file_is_not_waited_for(tmp_path, private, monkeypatch):
    os.mkfifo(tmp_path / "fifo", 0o600)
    for path in (tmp_path, tmp_path / "fifo"):
        with pytest.raises(StoreFailure, match="is not a file; name the file with the password"):
            check_private_files(f"postgresql://db1/gatepost?passfile={path}")
    check_private_files(f"postgresql://db1/gatepost?passfile={tmp_path}/none")
    path = private(b"")

    def denied(*_words):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", denied)  # root may read all
    with pytest.raises(StoreFailure, match="cannot be read: Permission denied"):
        check_private_files(f"postgresql://db1/gatepost?passfile={path}")


def test_tls_files_are_named_with_what_helps(pki, tmp_path, private):
    ours, other = pki.leaf("gatepost"), pki.leaf("gatepost")
    text = private(b"hello")
    whole = {"sslrootcert": str(pki.root), "sslcert": str(ours.chain), "sslkey": str(ours.key)}
    both = private(ours.chain.read_bytes() + ours.key.read_bytes(), "both.pem")
    for named in ({}, whole, {"sslcert": str(both)}):
        assert tls_file_fault(named) == ""
    cases = [
        ({"sslrootcert": "/nowhere/ca.pem"}, "sslrootcert /nowhere/ca.pem: No such file or directory"),
        ({"sslkey": str(tmp_path)}, f"sslkey {tmp_path}: Is a directory"),
        ({"sslrootcert": str(text)}, f"sslrootcert {text} has no certificate of an authority in PEM"),
        ({"sslcrl": str(text)}, f"sslcrl {text} has no revocation list in PEM"),
        ({"sslkey": str(other.key)}, f"the key in sslkey {other.key} does not belong to the certificate in sslcert"),
        ({"sslkey": str(text)}, f"and sslkey {text} are not a certificate and its private key without a passphrase"),
    ]
    for changed, said in cases:
        assert said in tls_file_fault(whole | changed), said
    del whole["sslkey"]
    assert "add &sslkey=/PATH to store.url" in tls_file_fault(whole)


def test_an_end_is_told_where_it_has_come(pki, private):
    assert when_ended(str(pki.leaf("gatepost").chain)) == ""
    assert when_ended(str(pki.expired("gatepost").chain)).startswith("20")
    assert when_ended(str(private(b"hello"))) == when_ended("/nowhere/client.pem") == ""
