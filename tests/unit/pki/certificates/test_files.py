from __future__ import annotations

import errno
import os
import time

import pytest

from gatepost.net.engine import server_context
from gatepost.net.identity import ServerIdentity, read_identity
from gatepost.net.named_files import open_to_read
from gatepost.pki.certificates import files
from gatepost.pki.certificates.authority import Authority
from gatepost.pki.certificates.files import (
    CertificateFileError,
    IdentityFiles,
    OtherCertificate,
    load_identities,
    load_identity,
    write_whole,
)
from gatepost.protocols.tls.profile import PROFILES


@pytest.fixture(scope="module")
def authority():
    return Authority("Files Root")


@pytest.fixture
def pair(tmp_path, authority):
    """Makes (chain file, key file)."""

    def make(name="mx.contoso.example", *, chain=None, key=None, mode=0o600):
        issued = authority.issue([name])
        paths = tmp_path / f"{name}.pem", tmp_path / f"{name}.key"
        paths[0].write_bytes(issued[0] if chain is None else chain)
        paths[1].write_bytes(issued[1] if key is None else key)
        paths[1].chmod(mode)
        return paths

    return make


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640, 0o440])
def test_a_pair_that_can_be_used(pair, mode):
    identity = load_identity(*pair(mode=mode))
    server_context([identity], PROFILES["default"], ask_client_certificate=True)


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o601, 0o660, 0o610, 0o777])
def test_a_key_that_others_may_use_is_refused_with_the_cure(pair, mode):
    chain, key = pair(mode=mode)
    with pytest.raises(CertificateFileError) as refused:
        load_identity(chain, key)
    assert str(refused.value) == f"private key {key}: mode {mode:04o} lets others use it; run: chmod 0600 {key}"


GARBAGE = b"-----BEGIN CERTIFICATE-----\nno base64 at all!\n-----END CERTIFICATE-----\n"
BROKEN = {
    "empty chain": ({"chain": b""}, "certificate {chain} with key {key}: the certificate chain cannot be read: "),
    "no certificate": (
        {"chain": GARBAGE},
        "certificate {chain} with key {key}: the certificate chain cannot be read: ",
    ),
    "empty key": ({"key": b""}, "certificate {chain} with key {key}: the private key of CN=mx.contoso.example cannot"),
    "no key": ({"key": GARBAGE}, "certificate {chain} with key {key}: the private key of CN=mx.contoso.example cannot"),
    "another's key": (
        {"key": Authority("x").issue(["x.example"])[1]},
        "certificate {chain} with key {key}: the private key does not belong to the certificate CN=mx.contoso.example",
    ),
}


@pytest.mark.parametrize(("made", "said"), BROKEN.values(), ids=BROKEN)
def test_what_cannot_be_used_is_refused_before_a_port_is_open(pair, made, said):
    chain, key = pair(**made)
    with pytest.raises(CertificateFileError) as refused:
        load_identity(chain, key)
    assert str(refused.value).startswith(said.format(chain=chain, key=key))


def test_a_file_that_is_not_there_is_named_with_what_it_was_for(pair, tmp_path):
    chain, key = pair()
    missing = tmp_path / "missing"
    with pytest.raises(CertificateFileError, match=f"^certificate chain {missing}: No such file or directory$"):
        load_identity(missing, key)
    with pytest.raises(CertificateFileError, match=f"^private key {missing}: No such file or directory$"):
        load_identity(chain, missing)
    with pytest.raises(CertificateFileError, match=f"^private key {tmp_path}: Is a directory$"):
        load_identity(chain, tmp_path)


def test_all_errors_of_all_pairs_are_named_at_once(pair, tmp_path):
    good = pair("a.example")
    bad = pair("b.example", mode=0o644), (tmp_path / "missing", tmp_path / "missing"), pair("c.example", chain=b"")
    with pytest.raises(CertificateFileError) as refused:
        load_identities([good, *bad])
    lines = str(refused.value).splitlines()
    assert len(lines) == 3
    for line, (chain, _) in zip(lines, bad, strict=True):
        assert chain.stem in line


def test_pairs_keep_their_order_and_none_is_no_error(pair):
    pairs = [pair("a.example"), pair("b.example")]
    assert [one.chain_pem for one in load_identities(pairs)] == [chain.read_bytes() for chain, _ in pairs]
    assert load_identities([]) == []


def test_what_files_held_before_counts_while_others_write_them(tmp_path, authority):
    old, new = (ServerIdentity(*authority.issue(["mx.a.example"])) for _ in range(2))
    wanted = read_identity(old).leaf.sha256[:16]
    chain, key = tmp_path / "c.pem", tmp_path / "k.pem"
    files = IdentityFiles()
    with pytest.raises(CertificateFileError, match="No such file"):
        files.read(chain, key, wanted)
    for path, content in ((chain, old.chain_pem), (key, old.key_pem)):
        path.write_bytes(content)
        path.chmod(0o600)
    assert files.read(chain, key, wanted) == old
    key.write_bytes(new.key_pem)
    assert files.read(chain, key, wanted) == files.read(chain, key) == old
    chain.write_bytes(new.chain_pem)
    assert files.read(chain, key, wanted) == old
    assert files.read(chain, key) == new
    with pytest.raises(OtherCertificate, match="another certificate is in it than") as other:
        files.read(chain, key, wanted)
    assert other.value.identity == new


def test_only_files_of_a_likely_size_are_read(pair, tmp_path):
    """A pipe that nobody writes to must not hold up a worker."""
    chain, key = pair()
    pipe, large = tmp_path / "pipe", tmp_path / "large"
    os.mkfifo(pipe, 0o600)
    large.write_bytes(chain.read_bytes() + b"#" * (1 << 20))
    for one, other, text in (
        (pipe, key, "it is not a regular file"),
        (chain, pipe, "it is not a regular file"),
        (tmp_path, key, "Is a directory"),
        (large, key, "it is larger than 1048576 bytes"),
    ):
        with pytest.raises(CertificateFileError, match=text):
            load_identity(one, other)


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    file = tmp_path / "key"
    file.write_bytes(b"before")
    owners = []
    write_whole(file, b"after", 0o640, lambda path: owners.append((path.read_bytes(), path.stat().st_mode & 0o777)))
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"after", 0o640)
    assert owners == [(b"after", 0o600)], "nobody else reads it before it is its owner's"

    def fails(_):
        raise PermissionError

    with pytest.raises(PermissionError):
        write_whole(file, b"never", own=fails)
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
    assert file.read_bytes() == b"after"


def test_files_that_are_as_they_were_are_not_opened_again(tmp_path, authority, monkeypatch):
    identities, opened, refuse = IdentityFiles(), [], []

    def watched(path):
        opened.append(path)
        if refuse:
            raise PermissionError(errno.EACCES, "denied")
        return open_to_read(path)

    monkeypatch.setattr(files, "open_to_read", watched)
    pair = tmp_path / "chain.pem", tmp_path / "key.pem"

    def renew():
        for path, content in zip(pair, authority.issue(["mx.gate.example"]), strict=True):
            path.touch(0o600)
            path.write_bytes(content)
        time.sleep(0.05)  # a file that was just written may be written again at the same time

    renew()
    first = identities.load(*pair)
    assert identities.load(*pair) == first
    assert (len(opened), identities.changed()) == (2, [])
    renew()
    assert identities.changed() == [pair]
    refuse.append(True)
    for _ in range(2):
        with pytest.raises(CertificateFileError, match="denied"):
            identities.load(*pair)
    assert (len(opened), identities.changed()) == (3, [pair]), "why it is not read is remembered for a moment"
    refuse.clear()
    assert identities.fetch(*pair) == identities.load(*pair) != first
    assert (len(opened), identities.changed()) == (5, [])


def test_a_pair_that_is_gone_and_that_nobody_wants_is_forgotten(tmp_path, authority):
    identities = IdentityFiles()
    kept, gone, wanted = ((tmp_path / f"{name}.pem", tmp_path / f"{name}.key") for name in ("kept", "gone", "wanted"))
    for pair in (kept, gone, wanted):
        for path, content in zip(pair, authority.issue(["mx.gate.example"]), strict=True):
            path.touch(0o600)
            path.write_bytes(content)
    time.sleep(0.05)
    for pair in (kept, gone, wanted):
        identities.read(*pair)
    identities.forget_gone()
    for path in (*gone, *wanted):
        path.unlink()
    identities.forget_gone()
    assert identities._fetched.keys() == {kept}, "they are not there, and nobody asked for them since"

    identities.read(*kept)
    for pair in (gone, wanted):
        with pytest.raises(CertificateFileError):
            identities.read(*pair)
    identities.forget_gone()
    assert identities.changed() == [gone, wanted], "who presents it has it read again by a thread"
    with pytest.raises(CertificateFileError):
        identities.read(*wanted)
    identities.forget_gone()
    assert identities.changed() == [wanted]
    assert identities._good.keys() == {kept}
