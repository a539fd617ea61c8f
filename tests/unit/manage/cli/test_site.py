from __future__ import annotations

import pytest

from gatepost.pki.site.records import Membership
from gatepost.pki.site.store import MEMBERSHIP, SiteStore
from gatepost.store.changes import ConfigStore


@pytest.fixture
def site(home):
    key = home.path / "master.key"
    key.touch(0o600)
    key.write_bytes(bytes(32))
    home.settings(store={"master_key": f"file:{key}"}, site={"address": "127.0.0.1:8444"})
    home.call("site", "init", "--name", "contoso-site")
    return home


def member(home, **fields):
    """Make the gateway a node of a site elsewhere, as far as its record goes."""
    usual = {"site": "b-site", "node": "mx.gate.example", "address": "h:8444", "sha256": "ab" * 32, "issued": 0.0}
    store = ConfigStore(home.data / "config.db")
    record = Membership(**{**usual, "not_after": 1e10, **fields})
    SiteStore(store, None).apply({(MEMBERSHIP, MEMBERSHIP): record}, author="test")
    store.close()


def test_who_is_in_no_site(home):
    done = home.call("site", "status", code=1)
    assert (done.stdout, "this gateway belongs to no site" in done.stderr) == ("", True)
    assert home.json("site", "status", code=1) == {
        "membership": None,
        "address": None,
        "authorities": [],
        "nodes": [],
        "tokens": [],
        "issued": [],
    }


def test_everything_where_the_authority_is(site):
    site.call("site", "token")
    site.call("site", "issue", "exch.gate.example", "--pem", site.path / "exch")
    shown = site.call("site", "status").stdout
    for text in (
        "node mx.gate.example of site contoso-site, whose authority is here",
        "nodes join at 127.0.0.1:8444",
        "\tsigns\t",
        "\nnodes\nnode\tcertificate\tvalid_until\trenewed\tjoined\nmx.gate.example\t",
        "\nopen tokens\ntoken\tfor\tvalid_until\tby\n",
        "\nissued for other servers\nnames\tserial\tcertificate\tvalid_until\nexch.gate.example\t",
    ):
        assert text in shown
    assert set(site.json("site", "status")) == {"membership", "address", "authorities", "nodes", "tokens", "issued"}


def test_a_node_of_a_site_elsewhere(home):
    member(home)
    shown = home.call("site", "status").stdout
    assert "node mx.gate.example of site b-site, whose authority is at h:8444" in shown
    assert "authorities" not in shown
    said = home.call("site", "init", code=2)
    assert "store.master_key is not set" in said.stderr
    home.call("site", "leave")
    home.call("site", "status", code=1)


def test_a_node_that_was_renamed(home):
    member(home, node="old.gate.example")
    assert "server.hostname is now mx.gate.example" in home.call("site", "status").stdout


def test_a_certificate_that_has_expired(home, site):
    member(home, not_after=1.0)
    assert "has expired; create a token for it at the site" in home.call("site", "status", code=1).stderr
    member(home, not_after=1.0, address="")
    assert "has expired; its authority is here" in home.call("site", "status", code=1).stderr


def test_nodes_are_removed(site):
    assert "is this gateway itself" in site.call("site", "nodes", "remove", "mx.gate.example", code=2).stderr
    assert (
        "there is no node 'x'; there are: mx.gate.example" in site.call("site", "nodes", "remove", "x", code=2).stderr
    )


def test_the_root_in_a_file(site):
    file = site.path / "root.cer"
    site.call("site", "root", "--der", "-o", file)
    assert file.read_bytes().startswith(b"\x30\x82")
    assert "exists already" in site.call("site", "root", "-o", file, code=2).stderr


def test_the_root_of_no_site(home):
    assert "this gateway belongs to no site" in home.call("site", "root", code=2).stderr


def test_who_did_what(site):
    site.call("site", "token")
    rows = site.table("site", "history")
    assert [row["what"] for row in rows] == ["token added", "membership added", "node added", "authority added"]
    assert [row["what"] for row in site.json("site", "history", "--limit", "2")] == ["token added", "membership added"]
    assert site.json("site", "history")[0].keys() == {"at", "author", "what", "name", "note"}
