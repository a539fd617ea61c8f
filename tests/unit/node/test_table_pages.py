from __future__ import annotations

import asyncio
from contextlib import closing

import pytest

from gatepost.net.identity import ServerIdentity
from gatepost.node.table_pages import PATH, TablePages
from gatepost.pki.certificates.entry import State
from gatepost.pki.certificates.inventory import Inventory, entry_from
from gatepost.pki.certificates.vault import Vault
from gatepost.store.changes import ConfigStore
from gatepost.values import replace


@pytest.fixture
def store(home):
    with closing(ConfigStore(home.data / "config.db")) as store:
        yield store


@pytest.fixture
def inventory(store):
    return Inventory(store, Vault(bytes(32)))


def added(inventory, authority, **fields):
    identity = ServerIdentity(*authority.issue(["mx.gate.example"]))
    entry = replace(entry_from(identity, now=1000.0), **fields)
    inventory.add(entry, identity, author="ann")
    return entry


def test_pages_are_made_again_only_when_the_table_changes(home, inventory, authority):
    pages = TablePages(inventory, home.settings(certificate=[]))
    entry = added(inventory, authority)
    assert pages.refresh()
    before = dict(pages.pages)
    assert {PATH, "/certificates.json", "/certificates.atom", "/certificates.p7b"} <= set(before)
    assert "no-referrer" in dict(before[PATH].fields).values()
    lasting = {path for path, one in before.items() if "max-age=31536000" in dict(one.fields)["Cache-Control"]}
    assert all(path.endswith(".p7b") and path != "/certificates.p7b" for path in lasting)
    assert len(lasting) == 2
    inventory.change([replace(entry, told=("bank.example",))], author="ann")
    assert not pages.refresh()
    inventory.change([replace(entry, state=State.CURRENT)], author="ann")
    assert pages.refresh()
    assert pages.pages[PATH].etag != before[PATH].etag
    assert pages.pages["/certificates.p7b"] is not before["/certificates.p7b"]
    assert pages.pages["/certificates.p7b"] == before["/certificates.p7b"]  # with its date of before


def test_a_table_that_cannot_be_made_leaves_the_old_one(home, inventory, authority, store, caplog):
    pages = TablePages(inventory, home.settings(certificate=[]))
    added(inventory, authority)
    pages.refresh()
    before = pages.pages
    store.apply({"certificate": {"00": {"leaf": {}}}}, author="ann")
    assert not pages.refresh()
    assert pages.pages is before
    assert (
        "the certificate table stays as it was: certificate 00 is stored in a form that this version does not know"
        in caplog.text
    )


def test_trouble_is_told_once(home, inventory, authority, caplog):
    home.anchors.unlink()
    pages = TablePages(inventory, home.settings(certificate=[]))
    added(inventory, authority)
    pages.refresh()
    pages.refresh()
    assert caplog.text.count("anchors.pem: No such file or directory") == 1
    assert "not found" in pages.pages[PATH].body.decode()
    home.anchors.write_bytes(authority.certificate_pem)
    asyncio.run(pages.reload())
    assert "not found" not in pages.pages[PATH].body.decode()
    home.anchors.unlink()
    asyncio.run(pages.reload())
    assert "not found" not in pages.pages[PATH].body.decode(), "roots that cannot be read any more stay"
    assert "the roots of the certificate table stay as they were: " in caplog.text
