from __future__ import annotations

import time

import pytest

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.change import ChangeResult
from gatepost.manage.use_cases.change_shapes import ChangeRequest, change_reply, options_of
from gatepost.manage.use_cases.context import Context
from gatepost.manage.use_cases.refusal import Refusal
from gatepost.policy.connectors.model import Resources

WHO = Principal("token t", frozenset(Scope))


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
    reply = change_reply(outcome, location="/x", created=True)
    assert (reply.version, reply.location, reply.created) == (7, "/x", not dry_run)
    assert (reply.value.warnings, reply.value.notes, reply.value.radius) == (["w"], ["n"], None)
