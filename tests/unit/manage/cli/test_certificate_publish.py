from __future__ import annotations

import json
from contextlib import closing

import pytest

from gatepost.net.identity import ServerIdentity
from gatepost.pki.certificates.authority import Authority
from gatepost.pki.certificates.inventory import Inventory, entry_from
from gatepost.pki.certificates.vault import Vault
from gatepost.store.changes import ConfigStore

AUTHORITY = Authority("Publish Root")
MADE = ServerIdentity(*AUTHORITY.issue(["mx.gate.example"]))


@pytest.fixture
def stored(home):
    """A gateway with one staged certificate, whose root is among its anchors."""
    (home.path / "anchors.pem").write_bytes(AUTHORITY.certificate_pem)
    home.settings(tls={"trust_anchors": "anchors.pem"})
    add(home)
    return home


def add(home):
    with closing(ConfigStore(home.data / "config.db")) as store:
        inventory = Inventory(store, Vault(bytes(32)))
        entry = entry_from(MADE, now=1000.0)
        inventory.add(entry, MADE, author="ann")


def test_the_table_is_written_and_said_once(stored, tmp_path):
    out = tmp_path / "out"
    rows = stored.table("certificate", "publish", out)
    assert {row["file"] for row in rows} == {one.name for one in out.iterdir()}
    assert {row["state"] for row in rows} == {"written"}
    assert all((out / row["file"]).stat().st_size == int(row["size"]) for row in rows)
    found = stored.json("certificate", "publish", out, "--base-url", "https://tls.example/certs")
    assert [one["name"] for one in found["files"] if one["state"] == "written"] == ["certificates.atom"]
    assert 'href="https://tls.example/certs/certificates.atom"' in (out / "certificates.atom").read_text()
    document = json.loads((out / "certificates.json").read_text())
    assert (found["version"], found["changed"]) == (document["version"], document["changed"])
    assert (found["certificates"], found["page"]) == (1, str(out / "index.html"))
    assert document["certificates"][0]["root_issuer"] == "Publish Root"


def test_what_is_wrong_with_it_is_told_on_the_side(home, tmp_path):
    add(home)
    home.settings(certificate=[{"chain": "none.pem", "key": "none.key"}])
    result = home.call("certificate", "publish", tmp_path / "out", "--json")
    json.loads(result.stdout)
    assert "none.pem: No such file or directory" in result.stderr
    assert "its root was not found here (issuer CN=Publish Root)" in result.stderr


def test_without_certificates_nothing_is_written(home, tmp_path):
    result = home.call("certificate", "publish", tmp_path / "out", code=1)
    assert "nothing was written" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "url",
    ["tls.example", "ftp://tls.example/", "https://", "https://x/?q", "https://x/#f", "https://[x/", "https://x/ y"],
)
def test_a_base_url_must_be_one(stored, tmp_path, url):
    result = stored.call("certificate", "publish", tmp_path / "out", "--base-url", url, code=2)
    assert "write https://HOST/PATH/" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_directory_that_cannot_be_made_is_named(stored, tmp_path):
    (tmp_path / "file").touch()
    result = stored.call("certificate", "publish", tmp_path / "file" / "out", code=2)
    assert f"{tmp_path}/file/out: Not a directory; no file is incomplete" in result.stderr


def test_an_entry_of_another_version_is_not_guessed_at(stored, tmp_path):
    with closing(ConfigStore(stored.data / "config.db")) as store:
        store.apply({"certificate": {"00": {"leaf": {}}}}, author="ann")
    result = stored.call("certificate", "publish", tmp_path / "out", code=3)
    assert "is stored in a form that this version does not know" in result.stderr
