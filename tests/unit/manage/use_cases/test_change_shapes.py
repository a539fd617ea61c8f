from __future__ import annotations

import time

import pytest

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.change import ChangeResult
from gatepost.manage.use_cases.change_shapes import ChangeRequest, change_reply, options_of
from gatepost.manage.use_cases.context import Context
from gatepost.manage.use_cases.differences import FieldChange
from gatepost.manage.use_cases.refusal import Refusal
from gatepost.policy.connectors.resources import Resources
from gatepost.store.nodes import NodeFigures, NodeIdentity
from gatepost.values import replace

WHO = Principal("token t", frozenset(Scope))
TENANT = Principal("tim", frozenset(Scope), frozenset({"fabrikam"}))


def context(**more):
    return Context(None, WHO, lambda: None, **more)


def test_the_options_are_what_was_asked():
    found = options_of(context(expected=3), ChangeRequest(note="why"))
    assert (found.author, found.note, found.dry_run, found.expected) == ("token t", "why", False, 3)


@pytest.mark.parametrize(("since", "days"), [({}, 7), ({"since": "2d"}, 2)])
def test_a_dry_run_looks_back(since, days):
    before = time.time()
    found = options_of(context(dry_run=True), ChangeRequest(**since))
    assert found.dry_run
    assert before - days * 86400 <= found.since <= time.time() - days * 86400


def test_a_dry_run_may_look_at_no_mail():
    assert options_of(context(dry_run=True), ChangeRequest(since="")).since is None


def test_times_that_are_none():
    with pytest.raises(Refusal) as caught:
        options_of(context(dry_run=True), ChangeRequest(since="yesterday"))
    assert [error.path for error in caught.value.errors] == ["since"]


@pytest.mark.parametrize("dry_run", [True, False])
def test_what_a_dry_run_made_is_not_created(dry_run):
    outcome = ChangeResult(7, dry_run, [], ["w"], [], ["n"], Resources())
    reply = change_reply(context(), outcome, location="/x", created=True)
    assert (reply.version, reply.location, reply.created) == (7, "/x", not dry_run)
    assert (reply.value.warnings, reply.value.notes, reply.value.radius) == (["w"], ["n"], None)
    assert (reply.value.nodes, reply.value.places) == (None, "")


@pytest.mark.parametrize(
    ("beats", "is_dry", "places"),
    [
        ({"mx1": 7, "mx2": 7}, False, ", in force on mx1, mx2"),
        ({"mx1": 8, "mx2": 6}, False, ", in force on mx1; not yet on mx2"),
        ({"mx1": 6, "mx2": 6}, False, ", in force on no node; not yet on mx1, mx2"),
        ({"mx1": 7, "mx2": 7}, True, ""),
        ({"mx1": 7}, False, ""),
        ({}, False, ""),
    ],
)
def test_a_change_says_where_it_is_in_force(gateway, monkeypatch, beats, is_dry, places):
    monkeypatch.setattr("gatepost.manage.use_cases.nodes._PATIENCE", 0.0)
    registry = gateway.storage.nodes()
    for name, version in beats.items():
        node = NodeIdentity(name, f"start of {name}", f"data of {name}", "host", "1.0")
        registry.enter(node)
        registry.beat(node, 0, 71, version, NodeFigures())
    registry.close()
    outcome = ChangeResult(7, is_dry, [FieldChange("~", "a", 1, 2)], [], [], [], Resources())
    owner = Context(gateway, WHO, lambda: None)
    assert change_reply(owner, outcome).value.places == places
    assert change_reply(replace(owner, principal=TENANT), outcome).value.places == ""
    assert change_reply(owner, replace(outcome, changes=[])).value.places == ""
