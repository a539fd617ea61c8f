from __future__ import annotations

import json
import re
import time

import pytest

from gatepost.manage.cli import node as module
from gatepost.manage.use_cases.declaration import Items
from gatepost.manage.use_cases.nodes import node_status
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.settings.store_url import SQLITE
from gatepost.store.nodes import (
    CertificateObservation,
    ListenerObservation,
    Node,
    NodeFigures,
    NodeIdentity,
    NodeState,
    WorkerBeat,
)
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
    assert "1 active, 2 waiting, 3 held" in first
    assert "ab" * 8 in second
    assert [one["name"] for one in json.loads(home.call("node", "list", "--json").stdout)] == ["mx1", "mx2"]


def test_what_a_node_does_for_the_site_is_in_words_and_json_has_the_codes(home, site):
    with site._database.single() as connection:
        for name in ("report-import", "node mx1"):
            connection.execute(
                "INSERT INTO lease (name, node, holder, epoch, expires) VALUES (?, 'mx1', 'h', 1, ?)",
                (name, time.time() + 15),
            )
    assert home.call("node", "list").stdout.splitlines()[1].split("\t")[-2] == "imports TLS reports"
    assert "; imports TLS reports for the site" in home.call("status", code=1).stdout
    first, second = json.loads(home.call("node", "list", "--json").stdout)
    assert (first["leases"], second["leases"]) == (["node mx1", "report-import"], [])


def test_status_shows_them(home, site):
    shown = home.call("status", code=1).stdout
    assert "node mx1 " in shown
    assert re.search(r"active, gatepost 1\.0, configuration 1, heartbeat \d+ s ago", shown)


def test_a_node_is_drained(home, site, monkeypatch):
    assert home.call("node", "drain", "mx1").stdout == "mx1: draining, queue: 1 active, 2 waiting, 3 held\n"
    assert home.call("node", "drain", "mx1", "--undo").stdout.startswith("mx1: active")
    monkeypatch.setattr(
        module.time, "sleep", lambda _: site.beat(identity("mx1"), 0, 71, 1, NodeFigures(0, 0, 0, drained=True))
    )
    waited = home.call("node", "drain", "mx1", "--wait", "--json")
    assert json.loads(waited.stdout)["state"] == "drained"
    assert "there is no node 'mx9'; `gatepost node list`" in home.call("node", "drain", "mx9", code=2).stderr


@pytest.mark.parametrize(
    ("meanwhile", "said"),
    [
        (lambda site: site.drain("mx1", undo=True), "mx1 takes mail again: it started anew, or somebody undid this"),
        (lambda site: site.stop(identity("mx1")), "mx1 ended, or was silent for 15 seconds: other nodes take over"),
        (lambda site: (site.stop(identity("mx1")), site.remove("mx1")), "mx1 ended, or was silent"),
    ],
)
def test_nobody_waits_for_a_node_that_will_not_be_drained(home, site, monkeypatch, meanwhile, said):
    once = iter([meanwhile])
    monkeypatch.setattr(module.time, "sleep", lambda _: next(once)(site))
    assert said in home.call("node", "drain", "mx1", "--wait", code=1).stderr


def test_a_dead_node_is_removed(home, site):
    assert "runs" in home.call("node", "remove", "mx1", code=1).stderr
    site.stop(identity("mx1"))
    assert home.call("node", "remove", "mx1").stdout == "removed: mx1\n"
    assert "no node" in home.call("node", "remove", "mx1", code=2).stderr


def test_after_a_change_it_is_said_where_it_is_in_force(home, site, monkeypatch, tmp_path):
    monkeypatch.setattr("gatepost.manage.use_cases.nodes._PATIENCE", 0.0)
    file = tmp_path / "resources.toml"
    file.write_text("[organization.contoso]\n")
    assert "version 1 is in force on mx1, mx2\n" in home.call("apply", "-f", str(file)).stderr
    file.write_text("[organization.fabrikam]\n")
    site.beat(identity("mx2"), 0, 71, 2, NodeFigures())
    assert "version 2 is in force on mx2; not yet on mx1\n" in home.call("apply", "-f", str(file)).stderr
    site.stop(identity("mx1"))
    file.write_text("[organization.third]\n")
    assert "in force" not in home.call("apply", "-f", str(file)).stderr


class NodesOf:
    """A client that lists nodes, a round after the other."""

    def __init__(self, *rounds):
        self.rounds = list(rounds)

    def call(self, case, request):
        nodes = self.rounds.pop(0) if len(self.rounds) > 1 else self.rounds[0]
        if isinstance(nodes, Refusal):
            raise nodes
        return Items(items=nodes)


def presenting(*certificates, name="mx1"):
    look = CertificateObservation(1.0, (ListenerObservation("mx :25", certificates),))
    worker = WorkerBeat(0, 1, 0.0, 1, NodeFigures(observed=look))
    return node_status(Node(name, "host", "1.0", (), 0.0, 0.0, NodeState.ACTIVE, (worker,), ()))


OLD, NEW = "aa" * 32, "bb" * 32


@pytest.mark.parametrize(
    ("rounds", "text"),
    [
        (
            ([presenting(OLD), presenting(NEW, name="mx2")], [presenting(NEW), presenting(NEW, name="mx2")]),
            "mx1, mx2\n",
        ),
        (
            (Refusal(RefusalKind.UNREADABLE, "late"), [presenting(NEW), presenting(NEW, name="mx2")]),
            "mx1, mx2\n",
        ),
        (([presenting(OLD), presenting(OLD, NEW, name="mx2")],), "mx2; not seen yet on mx1\n"),
        (([presenting(OLD), presenting(name="mx2")],), "no node; not seen yet on mx1, mx2\n"),
    ],
)
def test_after_a_switch_each_node_is_named(rounds, text, monkeypatch, capsys):
    ticks = iter(range(100))
    monkeypatch.setattr(module.time, "monotonic", lambda: 10.0 * next(ticks))
    monkeypatch.setattr(module.time, "sleep", lambda _: None)
    module.say_presented(NodesOf(*rounds), NEW)
    assert capsys.readouterr().err == f"presented on {text}"


@pytest.mark.parametrize(
    "nodes",
    [
        [],
        [presenting(OLD)],
        Refusal(RefusalKind.FORBIDDEN, "not yours"),
        Refusal(RefusalKind.UNREADABLE, "never"),
    ],
)
def test_one_node_needs_no_line(nodes, monkeypatch, capsys):
    """Nor what cannot be read until the end."""
    ticks = iter(range(100))
    monkeypatch.setattr(module.time, "monotonic", lambda: 10.0 * next(ticks))
    monkeypatch.setattr(module.time, "sleep", lambda _: None)
    module.say_presented(NodesOf(nodes), NEW)
    assert capsys.readouterr().err == ""


def test_what_was_presented_is_listed_with_the_time_or_why_it_was_not_seen(home, site):
    look = CertificateObservation(
        1_795_528_800.5, (ListenerObservation("mx :25", (NEW,)), ListenerObservation("mx :26", (), "nobody answers"))
    )
    site.beat(identity("mx1"), 0, 71, 1, NodeFigures(certificates=(NEW,), observed=look))
    first, second = home.call("node", "list").stdout.splitlines()[1:]
    assert f"mx :26 not seen: nobody answers; {NEW[:16]} (presented 2026-11-24 14:00:0" in first
    assert "abababababababab (not checked yet)" in second
    shown = json.loads(home.call("node", "list", "--json").stdout)[0]
    assert shown["presented"][1] == {"listener": "mx :26", "certificates": [], "trouble": "nobody answers"}
    assert shown["checked"] == pytest.approx(1_795_528_800.0, abs=2)
