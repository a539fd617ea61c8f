from __future__ import annotations

import json

import pytest

from gatepost.manage.cli import node as module
from gatepost.settings.store_url import SQLITE
from gatepost.store.nodes import NodeFigures, NodeIdentity
from gatepost.store.storage import Storage


def identity(name):
    return NodeIdentity(name, f"start of {name}", f"data of {name}", f"host of {name}", "1.0", ("mx 0.0.0.0:25",))


@pytest.fixture
def site(home):
    """Two nodes by version 1, before there is one."""
    registry = Storage(SQLITE, home.data).nodes()
    for name in ("mx1", "mx2"):
        registry.enter(identity(name))
        registry.beat(identity(name), 0, 71, 1, NodeFigures(1, 2, 3, certificates=("ab" * 32,)))
    yield registry
    registry.close()


def test_nodes_are_listed(home, site):
    header, first, second = home.call("node", "list").stdout.splitlines()
    assert header.startswith("name\tstate\tversion\tconfiguration")
    assert first.split("\t")[:4] == ["mx1", "active", "1.0", "1"]
    assert "1 active, 2 deferred, 3 held" in first
    assert "ab" * 8 in second
    assert [one["name"] for one in json.loads(home.call("node", "list", "--json").stdout)] == ["mx1", "mx2"]


def test_what_a_node_does_for_the_site_is_in_words_and_json_has_the_codes(home, site):
    with site._open().single() as connection:
        for name in ("report-import", "node mx1"):
            connection.execute(
                "INSERT INTO lease (name, node, holder, epoch, expires) VALUES (?, 'mx1', 'h', 1, 1e12)", (name,)
            )
    assert home.call("node", "list").stdout.splitlines()[1].split("\t")[-1] == "imports TLS reports"
    assert "; imports TLS reports for the site" in home.call("status", code=1).stdout
    first, second = json.loads(home.call("node", "list", "--json").stdout)
    assert (first["leases"], second["leases"]) == (["node mx1", "report-import"], [])


def test_status_shows_them(home, site):
    shown = home.call("status", code=1).stdout
    assert "node mx1 " in shown
    assert "active, gatepost 1.0, configuration 1, heartbeat 0 s ago" in shown


def test_a_node_is_drained(home, site, monkeypatch):
    assert home.call("node", "drain", "mx1").stdout == "mx1: draining, queue: 1 active, 2 deferred, 3 held\n"
    assert home.call("node", "drain", "mx1", "--undo").stdout.startswith("mx1: active")
    monkeypatch.setattr(
        module.time, "sleep", lambda _: site.beat(identity("mx1"), 0, 71, 1, NodeFigures(0, 0, 0, drained=True))
    )
    waited = home.call("node", "drain", "mx1", "--wait", "--json")
    assert json.loads(waited.stdout)["state"] == "drained"
    assert "There is no node 'mx9'. `gatepost node list`" in home.call("node", "drain", "mx9", code=1).stderr


def test_a_dead_node_is_removed(home, site):
    assert "runs" in home.call("node", "remove", "mx1", code=1).stderr
    site.stop(identity("mx1"))
    assert home.call("node", "remove", "mx1").stdout == "removed: mx1\n"
    assert "no node" in home.call("node", "remove", "mx1", code=1).stderr


def test_after_a_change_it_is_said_where_it_is_in_force(home, site, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_WAIT", 0.0)
    file = tmp_path / "resources.toml"
    file.write_text("[organization.contoso]\n")
    assert "version 1 is in force on mx1, mx2\n" in home.call("apply", "-f", str(file)).stderr
    file.write_text("[organization.fabrikam]\n")
    site.beat(identity("mx2"), 0, 71, 2, NodeFigures())
    assert "version 2 is in force on mx2; not yet on mx1\n" in home.call("apply", "-f", str(file)).stderr
    site.stop(identity("mx1"))
    file.write_text("[organization.third]\n")
    assert "in force" not in home.call("apply", "-f", str(file)).stderr
