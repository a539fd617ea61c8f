"""The list of nodes, on SQLite; the same in PostgreSQL is in tests/system/test_nodes.py."""

from __future__ import annotations

import msgspec
import pytest

from gatepost.events.delivery_problems import UnsentNotice
from gatepost.settings.store_url import SQLITE
from gatepost.store.nodes import (
    CertificateObservation,
    ListenerObservation,
    NodeFigures,
    NodeIdentity,
    NodeNameTaken,
    NodeProblems,
    NodeState,
)
from gatepost.store.site_tables import SITE
from gatepost.store.sqlite.database import SqliteConnection
from gatepost.store.storage import Storage
from gatepost.values import replace

NODE = NodeIdentity("mx1", "start 1", "data 1", "host1", "1.0", ("mx 0.0.0.0:25",))
FIGURES = NodeFigures(
    1, 2, 3, certificates=("aa",), problems=NodeProblems(untold=(UnsentNotice("o", "m", "r", "why", 1.0),))
)


@pytest.fixture
def storage(tmp_path):
    return Storage(SQLITE, tmp_path)


@pytest.fixture
def registry(storage):
    made = storage.nodes()
    yield made
    made.close()


def silent(storage, seconds):
    """Let no node have been heard of for so long."""
    with storage.database(SITE).single() as connection:
        connection.execute("UPDATE node SET seen = seen - ?", (seconds,))
        connection.execute("UPDATE node_worker SET seen = seen - ?", (seconds,))


def test_a_node_is_listed_with_what_its_workers_say(registry):
    registry.enter(NODE)
    assert registry.nodes()[0].configuration == 0
    assert registry.beat(NODE, 0, 71, 5, FIGURES) is NodeState.ACTIVE
    registry.beat(NODE, 1, 72, 4, NodeFigures())
    registry.beat(NODE, 1, 72, 4, NodeFigures())
    (node,) = registry.nodes()
    assert (node.name, node.host, node.software, node.listeners) == ("mx1", "host1", "1.0", ("mx 0.0.0.0:25",))
    assert (node.state, node.configuration, node.leases) == (NodeState.ACTIVE, 4, ())
    assert node.age < 5
    first, second = node.workers
    assert (first.worker, first.pid, first.configuration, second.pid) == (0, 71, 5, 72)
    assert replace_offset(first.figures) == FIGURES
    assert abs(first.figures.offset) < 1


def replace_offset(figures):
    return NodeFigures(
        figures.active,
        figures.deferred,
        figures.held,
        figures.certificates,
        0.0,
        figures.drained,
        figures.problems,
    )


def test_the_latest_look_at_listeners_is_by_the_database_s_clock(registry):
    registry.enter(NODE)
    registry.beat(NODE, 0, 71, 5, NodeFigures())
    assert registry.nodes()[0].observed is None
    listeners = (ListenerObservation("mx :25", ("ab",)),)
    for worker, at in ((1, 900.0), (2, 1000.0), (3, 800.0)):
        registry.beat(NODE, worker, 71, 5, NodeFigures(observed=CertificateObservation(at, listeners)))
    (node,) = registry.nodes()
    assert node.observed.listeners == listeners
    assert node.observed.at == pytest.approx(1000.0, abs=1)
    ahead = replace(node.workers[2], figures=msgspec.structs.replace(node.workers[2].figures, offset=600.0))
    assert replace(node, workers=(ahead,)).observed.at == 400.0


def test_the_settings_of_a_node_are_those_that_one_of_its_workers_says(registry):
    registry.enter(NODE)
    registry.beat(NODE, 0, 71, 5, NodeFigures())
    assert registry.nodes()[0].settings is None
    registry.beat(NODE, 1, 72, 5, NodeFigures(settings={"limits.message_size": "ab"}))
    assert registry.nodes()[0].settings == {"limits.message_size": "ab"}


def test_a_second_node_of_a_name_that_lives_is_refused(registry):
    registry.enter(NODE)
    other = NodeIdentity("mx1", "start 2", "data 2", "host2", "1.0")
    with pytest.raises(NodeNameTaken, match=r"server\.node: another node named 'mx1' is running, on host1: give each"):
        registry.enter(other, sleep=lambda _: registry.beat(NODE, 0, 1, 1, NodeFigures()))
    assert registry.nodes()[0].host == "host1"


def test_the_name_of_a_dead_node_is_free_when_it_has_expired(storage, registry):
    registry.enter(NODE)
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        if len(waits) == 3:
            with storage.database(SITE).single() as connection:
                connection.execute("UPDATE node SET state = 'stopped'")

    registry.enter(NodeIdentity("mx1", "start 2", "data 2", "host2", "1.0"), sleep=sleep)
    assert registry.nodes()[0].host == "host2"
    assert len(waits) == 3


def test_a_node_of_the_same_data_directory_begins_at_once(registry):
    registry.enter(NODE)
    registry.beat(NODE, 0, 71, 5, FIGURES)
    registry.enter(replace(NODE, instance="start 2"), sleep=pytest.fail)
    assert registry.nodes()[0].workers == ()
    with pytest.raises(NodeNameTaken, match="another node is named 'mx1' by now"):
        registry.beat(NODE, 0, 71, 5, FIGURES)


def test_a_node_that_is_not_heard_of_is_dead_and_may_be_removed(storage, registry):
    registry.enter(NODE)
    registry.beat(NODE, 0, 71, 5, FIGURES)
    assert not registry.remove("mx1")
    silent(storage, 16)
    assert registry.nodes()[0].state is NodeState.DEAD
    assert not registry.nodes()[0].state.is_alive
    assert not registry.drain("mx1")
    assert registry.remove("mx1")
    assert registry.nodes() == []
    assert not registry.remove("mx1")


def test_at_the_moment_of_expiry_a_node_is_dead_for_everyone(registry, monkeypatch):
    monkeypatch.setattr(SqliteConnection, "clock", "1000.001")
    registry.enter(NODE)
    monkeypatch.setattr(SqliteConnection, "clock", "1015.001")
    assert registry.nodes()[0].state is NodeState.DEAD
    assert not registry.drain("mx1")
    registry.enter(replace(NODE, instance="start 2", origin="data 2"), sleep=pytest.fail)
    monkeypatch.setattr(SqliteConnection, "clock", "1030.001")
    assert registry.remove("mx1")


def test_a_node_that_was_removed_or_not_entered_enters_itself(registry):
    assert registry.beat(NODE, 0, 71, 5, FIGURES) is NodeState.ACTIVE
    assert registry.nodes()[0].name == "mx1"


def test_a_node_is_drained_when_all_its_workers_are(registry):
    registry.enter(NODE)
    assert registry.drain("mx1")
    assert not registry.drain("mx9")
    assert registry.nodes()[0].state is NodeState.DRAINING
    assert registry.beat(NODE, 0, 71, 5, NodeFigures(drained=True)) is NodeState.DRAINING
    registry.beat(NODE, 1, 72, 5, NodeFigures())
    assert registry.nodes()[0].state is NodeState.DRAINING
    registry.beat(NODE, 1, 72, 5, NodeFigures(drained=True))
    assert registry.nodes()[0].state is NodeState.DRAINED
    assert registry.drain("mx1", undo=True)
    assert registry.beat(NODE, 0, 71, 5, NodeFigures()) is NodeState.ACTIVE
    registry.drain("mx1")
    registry.enter(replace(NODE, instance="start 2"))
    assert registry.nodes()[0].state is NodeState.ACTIVE  # a start begins anew


def test_a_node_that_ended_in_order_is_stopped(registry):
    registry.enter(NODE)
    registry.stop(NODE)
    assert registry.nodes()[0].state is NodeState.STOPPED
    registry.enter(NodeIdentity("mx1", "start 2", "data 2", "host2", "1.0"), sleep=pytest.fail)


def test_nodes_of_long_ago_are_forgotten(storage, registry):
    registry.enter(NODE)
    registry.beat(NODE, 0, 71, 5, FIGURES)
    silent(storage, 31 * 86400)
    registry.enter(replace(NODE, name="mx2"))
    assert [node.name for node in registry.nodes()] == ["mx2"]
    with storage.database(SITE).reading() as connection:
        assert connection.value("SELECT count(*) FROM node_worker") == 0


def test_figures_of_another_version_are_none(storage, registry):
    registry.enter(NODE)
    registry.beat(NODE, 0, 71, 5, FIGURES)
    with storage.database(SITE).single() as connection:
        connection.execute("UPDATE node_worker SET figures = '[]'")
    assert registry.nodes()[0].workers[0].figures == NodeFigures()


def test_what_was_never_used_is_closed_at_once(storage):
    storage.nodes().close()
    assert not (storage._directory / "nodes.db").exists()


@pytest.mark.parametrize("listeners", ["", "null", "[1]"])
def test_listeners_that_are_none_hide_no_node(storage, registry, listeners):
    registry.enter(NODE)
    with storage.database(SITE).single() as connection:
        connection.execute("UPDATE node SET listeners = ?", (listeners,))
    assert [(node.name, node.listeners) for node in registry.nodes()] == [("mx1", ())]
