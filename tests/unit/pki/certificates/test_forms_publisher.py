from __future__ import annotations

import stat

import pytest
import tomlkit

from gatepost.net.identity import ServerIdentity
from gatepost.pki.certificates.authority import Authority
from gatepost.pki.certificates.entry import State
from gatepost.pki.certificates.forms import File, Roots, current_table, forms, write_files
from gatepost.pki.certificates.inventory import Inventory, entry_from
from gatepost.pki.certificates.vault import Vault
from gatepost.settings.loader import load
from gatepost.store.changes import ConfigStore
from gatepost.values import replace

AUTHORITY = Authority("Publisher Root")
IDENTITY = ServerIdentity(*AUTHORITY.issue(["mx.gate.example"]))


@pytest.fixture
def settings(tmp_path):
    def make(anchors="anchors.pem", **sections):
        (tmp_path / "anchors.pem").write_bytes(AUTHORITY.certificate_pem)
        server = {"hostname": "mx.gate.example", "data_dir": "data"}
        document = {"server": server, "tls": {"trust_anchors": anchors}, **sections}
        (tmp_path / "gatepost.toml").write_text(tomlkit.dumps(document))
        return load(str(tmp_path / "gatepost.toml"), {})

    return make


@pytest.fixture
def inventory(tmp_path):
    store = ConfigStore(tmp_path / "data" / "config.db")
    yield Inventory(store, Vault(bytes(32)))
    store.close()


def test_the_table_is_of_the_inventory_and_of_files_that_are_not_in_it(settings, inventory, tmp_path):
    chain, key = AUTHORITY.issue(["mx.gate.example"], key="rsa")
    (tmp_path / "mx.pem").write_bytes(chain)
    (tmp_path / "mx.key").touch(0o600)
    (tmp_path / "mx.key").write_bytes(key)
    entry = entry_from(IDENTITY, now=5.0)
    inventory.add(entry, IDENTITY, author="ann")
    made = settings(certificate=[{"chain": "mx.pem", "key": "mx.key"}])
    table, trouble = current_table(inventory, made, Roots(made), now=6.0)
    rows = [(row.state, row.columns.key_text, row.root) for row in table.rows]
    assert rows == [
        (State.CURRENT, "RSA, 2048 bits", "Publisher Root"),
        (State.NEXT, "EC P-256, 256 bits", "Publisher Root"),
    ]
    assert trouble == ()
    assert [(one.state, one.sha256) for one in table.events] == [(State.NEXT, entry.leaf.sha256)]
    assert table.changed > 0
    (tmp_path / "mx.key").write_bytes(b"")
    table, trouble = current_table(inventory, made, Roots(made), now=6.0)
    assert (len(table.rows), len(trouble)) == (1, 1)


def test_the_table_is_the_same_until_something_changes(settings, inventory):
    made = settings()
    entry = entry_from(IDENTITY, now=5.0)
    inventory.add(entry, IDENTITY, author="ann")
    first, _ = current_table(inventory, made, Roots(made), now=6.0)
    assert current_table(inventory, made, Roots(made), now=7.0)[0] == first
    inventory.change([replace(entry, state=State.CURRENT)], author="ann")
    assert current_table(inventory, made, Roots(made), now=7.0)[0] != first


def test_anchors_that_cannot_be_read_are_told_and_the_rest_is_used(settings, tmp_path):
    roots = Roots(settings(anchors=str(tmp_path / "none.pem")))
    assert roots.trouble == f"{tmp_path}/none.pem: No such file or directory"
    assert AUTHORITY.certificate_pem not in roots.certificates
    assert Roots(settings()).trouble == ""


FILES = [File("certificates.json", "application/json", b"{}"), File("index.html", "text/html", b"<p>")]


def test_files_are_written_whole_and_only_if_they_say_something_new(tmp_path):
    folder = tmp_path / "www" / "tls"
    assert write_files(FILES, folder) == ["certificates.json", "index.html"]
    (folder / "robots.txt").write_text("not ours")
    before = (folder / "certificates.json").stat()
    assert write_files(FILES, folder) == []
    changed = [FILES[0], replace(FILES[1], body=b"<b>")]
    assert write_files(changed, folder) == ["index.html"]
    assert (folder / "index.html").read_bytes() == b"<b>"
    assert (folder / "certificates.json").stat().st_mtime_ns == before.st_mtime_ns
    assert sorted(one.name for one in folder.iterdir()) == ["certificates.json", "index.html", "robots.txt"]
    assert stat.S_IMODE((folder / "index.html").stat().st_mode) == 0o644


def test_what_cannot_be_written_leaves_everything_as_it_was(tmp_path):
    write_files(FILES, tmp_path)
    wrong = [File("index.html", "text/html", b"new"), File("a/b", "text/html", b"in no folder")]
    with pytest.raises(OSError, match="a/b"):
        write_files(wrong, tmp_path)
    assert (tmp_path / "index.html").read_bytes() == b"<p>"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["certificates.json", "index.html"]
    with pytest.raises(OSError, match="exists"):
        write_files(FILES, tmp_path / "index.html")


def test_bundles_of_before_stay(settings, inventory, tmp_path):
    made = settings()
    inventory.add(entry_from(IDENTITY, now=5.0), IDENTITY, author="ann")
    write_files(forms(current_table(inventory, made, Roots(made), now=6.0)[0]), tmp_path / "out")
    before = {one.name for one in (tmp_path / "out").glob("certificates-????????????????.p7b")}
    other = Authority("Second Root")
    (tmp_path / "second.pem").write_bytes(AUTHORITY.certificate_pem + other.certificate_pem)
    second = ServerIdentity(*other.issue(["mx.gate.example"]))
    inventory.add(entry_from(second, now=7.0), second, author="ann")
    made = settings(anchors=str(tmp_path / "second.pem"))
    write_files(forms(current_table(inventory, made, Roots(made), now=8.0)[0]), tmp_path / "out")
    after = {one.name for one in (tmp_path / "out").glob("certificates-????????????????.p7b")}
    assert (len(before), len(after), before < after) == (1, 2, True)
