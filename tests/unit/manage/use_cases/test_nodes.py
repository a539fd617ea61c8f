from __future__ import annotations

import pytest

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.client import LocalClient, all_items
from gatepost.manage.use_cases.nodes import (
    DrainNode,
    ForgetNode,
    ListNodes,
    NodeQueue,
    drain_node,
    forget_node,
    in_force,
    list_nodes,
)
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.status import GetStatus, get_running
from gatepost.store.interface import StoreBusy
from gatepost.store.nodes import NodeFigures, NodeIdentity, NodeRegistry

OWNER = Principal("ann", frozenset(Scope))
READER = Principal("rea", frozenset({Scope.READ}))
TENANT = Principal("tim", frozenset(Scope), frozenset({"fabrikam"}))


@pytest.fixture
def site(gateway):
    """Two nodes; the second one has a worker that said nothing of its queue yet."""
    registry = gateway.storage.nodes()
    for name, version in (("mx1", 5), ("mx2", 4)):
        node = NodeIdentity(name, f"start of {name}", f"data of {name}", f"host of {name}", "1.0", ("mx 0.0.0.0:25",))
        registry.enter(node)
        registry.beat(node, 0, 71, version, NodeFigures(1, 2, 3, certificates=("aa" * 32,)))
        registry.beat(node, 1, 72, 5, NodeFigures(*((1, 1, 1) if name == "mx1" else ())))
    registry.close()
    return gateway


def call(gateway, case, request, principal=OWNER):
    return LocalClient(gateway, principal).call(case, request)


def listed(gateway, principal=READER):
    return list(all_items(LocalClient(gateway, principal).call, list_nodes, ListNodes(limit=1)))


def refused(kind, gateway, case, request, principal=OWNER):
    with pytest.raises(Refusal) as caught:
        call(gateway, case, request, principal)
    assert caught.value.kind is kind
    return caught.value.text


def test_nodes_are_listed_by_name_with_what_they_said(site):
    first, second = listed(site)
    assert (first.name, first.state, first.host, first.software, first.workers) == (
        "mx1",
        "active",
        "host of mx1",
        "1.0",
        2,
    )
    assert (first.configuration, second.configuration) == (5, 4)
    assert (first.queue, second.queue) == (NodeQueue(2, 3, 4), None)
    assert first.certificate == "aa" * 32
    assert first.leases == []
    assert [one.name for one in call(site, get_running, GetStatus()).nodes] == ["mx1", "mx2"]


def test_a_gateway_that_never_ran_has_none(gateway):
    assert listed(gateway) == []


def test_it_is_known_where_a_version_is_in_force(site):
    assert in_force(listed(site), 5) == (["mx1"], ["mx2"])
    assert in_force(listed(site), 4) == (["mx1", "mx2"], [])


def test_a_node_is_drained_and_takes_mail_again(site):
    assert call(site, drain_node, DrainNode(name="mx1")).state == "draining"
    assert [one.state for one in listed(site)] == ["draining", "active"]
    assert call(site, drain_node, DrainNode(name="mx1", undo=True)).state == "active"
    assert "no node 'mx9'" in refused(RefusalKind.MISSING, site, drain_node, DrainNode(name="mx9"))


def test_a_node_that_runs_is_not_removed_and_one_that_does_not_is_not_drained(site):
    assert "mx1 runs: its last" in refused(RefusalKind.CONFLICT, site, forget_node, ForgetNode(name="mx1"))
    registry = site.storage.nodes()
    registry.stop(NodeIdentity("mx1", "start of mx1", "", "", ""))
    registry.close()
    assert "does not run (stopped)" in refused(RefusalKind.CONFLICT, site, drain_node, DrainNode(name="mx1"))
    call(site, forget_node, ForgetNode(name="mx1"))
    assert [one.name for one in listed(site)] == ["mx2"]
    refused(RefusalKind.MISSING, site, forget_node, ForgetNode(name="mx1"))


@pytest.mark.parametrize("principal", [READER, TENANT])
def test_only_the_gateways_owner_drains_and_removes(site, principal):
    refused(RefusalKind.FORBIDDEN, site, drain_node, DrainNode(name="mx1"), principal)
    refused(RefusalKind.FORBIDDEN, site, forget_node, ForgetNode(name="mx1"), principal)
    assert [one.state for one in listed(site)] == ["active", "active"]


def test_nodes_are_nothing_for_tenants(site):
    refused(RefusalKind.FORBIDDEN, site, list_nodes, ListNodes(), TENANT)


@pytest.mark.parametrize(
    ("method", "case", "request_"),
    [
        ("nodes", list_nodes, ListNodes()),
        ("drain", drain_node, DrainNode(name="mx1")),
        ("remove", forget_node, ForgetNode(name="mx1")),
    ],
)
def test_a_database_that_is_away_is_said(site, monkeypatch, method, case, request_):
    def away(*_, **__):
        raise StoreBusy("the server is away")

    monkeypatch.setattr(NodeRegistry, method, away)
    assert "the server is away" in refused(RefusalKind.UNREADABLE, site, case, request_)
    if method == "nodes":
        assert call(site, get_running, GetStatus()).nodes == []


@pytest.mark.parametrize(
    ("told", "keys"),
    [
        ([{"rates.messages": "aa"}, {"rates.messages": "aa"}], [[], []]),
        ([{"rates.messages": "aa"}, {}], [["rates.messages"], ["rates.messages"]]),
        (
            [{"rates.messages": "aa"}, {"queue.retry": "bb"}, {"queue.retry": "bb"}],
            [["queue.retry", "rates.messages"], [], []],
        ),
        ([{"rates.messages": "aa"}, {"rates.messages": "bb"}, {}], [["rates.messages"]] * 3),
        ([{"rates.messages": "aa"}, None], [[], []]),  # an earlier release does not say it
        (
            [{"newer.key": "aa", "rates.\x1b[1m": "aa"}, {}],
            [[], []],
        ),  # of a newer release, or a worker that was taken over
    ],
)
def test_settings_that_most_nodes_have_otherwise_are_named(gateway, told, keys):
    registry = gateway.storage.nodes()
    for number, digests in enumerate(told):
        node = NodeIdentity(f"mx{number}", f"start {number}", f"data {number}", "host", "1.0")
        registry.enter(node)
        registry.beat(node, 0, 71, 5, NodeFigures(settings=digests))
        registry.beat(node, 1, 72, 5, NodeFigures())
    gone = NodeIdentity("mx9", "start", "data", "host", "1.0")
    registry.enter(gone)
    registry.beat(gone, 0, 73, 5, NodeFigures(settings={"rates.messages": "of one that was stopped"}))
    registry.stop(gone)
    registry.close()
    assert [node.other_settings for node in listed(gateway)][:-1] == keys
