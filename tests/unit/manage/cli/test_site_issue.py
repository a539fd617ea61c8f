from __future__ import annotations

import stat
import subprocess

import pytest
from cryptography import x509

NAME = "exch.gate.example"


@pytest.fixture
def site(home):
    key = home.path / "master.key"
    key.touch(0o600)
    key.write_bytes(bytes(32))
    home.settings(store={"master_key": f"file:{key}"})
    home.call("site", "init", "--domain", "gate.example")
    return home


def openssl(*words):
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("encryption", "shown"),
    [("3des", "pbeWithSHA1And3-KeyTripleDES-CBC"), ("aes256", "PBES2, PBKDF2, AES-256-CBC")],
)
def test_a_pfx_as_openssl_reads_it(site, encryption, shown):
    file = site.path / "exch.pfx"
    done = site.call("site", "issue", NAME, "--name", "gate.example", "--pfx", file, "--encryption", encryption)
    password = done.stdout.strip()
    assert len(password) == 28
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    info = openssl("pkcs12", "-in", file, "-passin", f"pass:{password}", "-info", "-noenc")
    assert shown in info
    assert info.count("BEGIN CERTIFICATE") == info.count("BEGIN PRIVATE KEY") == 1
    assert f"subject=CN={NAME}" in info.replace(" = ", "=")
    assert "invalid password" in openssl("pkcs12", "-in", file, "-passin", "pass:x", "-noout").lower()
    root = site.path / "exch.root.cer"
    (known,) = x509.load_pem_x509_certificates(site.call("site", "root").stdout.encode())
    assert x509.load_der_x509_certificate(root.read_bytes()) == known


@pytest.mark.parametrize("kind", ["rsa-2048", "rsa-3072", "ec-p256"])
def test_pem_files_fit_together(site, kind):
    folder = site.path / "exch"
    done = site.call("site", "issue", NAME, "--pem", folder, "--key-type", kind, "--days", "30")
    assert done.stdout == ""
    assert sorted(one.name for one in folder.iterdir()) == ["certificate.pem", "key.pem", "root.cer", "root.pem"]
    assert stat.S_IMODE((folder / "key.pem").stat().st_mode) == 0o600
    leaf = folder / "certificate.pem"
    assert openssl("verify", "-x509_strict", "-CAfile", folder / "root.pem", leaf) == f"{leaf}: OK\n"
    public = openssl("pkey", "-in", folder / "key.pem", "-pubout")
    assert openssl("x509", "-in", leaf, "-noout", "-pubkey") == public
    (issued,) = site.json("site", "status")["issued"]
    assert issued["names"] == [NAME]
    assert issued["not_after"] - issued["added"] == pytest.approx(30 * 86400, abs=2)
    sha1 = openssl("x509", "-in", leaf, "-noout", "-fingerprint", "-sha1").strip().rpartition("=")[2].replace(":", "")
    assert f"thumbprint (SHA-1) {sha1}" in done.stderr


def test_nothing_is_issued_that_cannot_be_written(site):
    (site.path / "exch.pfx").touch()
    cases = [
        (["--pfx", site.path / "exch.pfx"], "exists already"),
        (["--pfx", site.path / "no" / "exch.pfx"], "no such folder"),
        (["--pem", site.path / "exch.pfx"], "exch.pfx"),
        ([], "use either --pfx FILE or --pem FOLDER"),
        (["--pfx", site.path / "x.pfx", "--pem", site.path / "x"], "use either"),
        (["--pfx", site.path / "x.pfx", "--name", "a b"], "NAME: "),
        (["--pfx", site.path / "x.pfx", "--days", "826"], "--days"),
    ]
    for words, said in cases:
        assert said in site.call("site", "issue", NAME, *words, code=2).stderr
    said = site.call("site", "issue", "www.bank.example", "--pfx", site.path / "x.pfx", code=1).stderr
    assert "may issue only for names in gate.example" in said
    assert site.json("site", "status")["issued"] == []
    assert not (site.path / "x.pfx").exists()
