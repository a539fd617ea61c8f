from __future__ import annotations

import pytest
from tests.unit.manage.calls import ANN, Forgetful, add_entry, run

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.access.records import AuditOutcome
from gatepost.manage.use_cases import changeover_steps as steps
from gatepost.manage.use_cases.certificate_removal import remove_certificate
from gatepost.manage.use_cases.context import Context
from gatepost.manage.use_cases.inventory import recorded_changes
from gatepost.manage.use_cases.refusal import Refusal

EVE = Principal("eve", frozenset({Scope.OWNER}))
NAME = "mx.gate.example"


class Kept:
    """Accounts whose audit is this list."""

    def __init__(self):
        self.events = []

    def record(self, actor, action, *, outcome, organization, subject, detail, begun):
        if outcome is not AuditOutcome.BEGUN:
            self.events.append((actor.name, action, str(outcome), organization, subject, detail))


@pytest.fixture
def context(sealed):
    return Context(sealed, ANN, Forgetful)


def detail_of(context):
    (record,) = context.audit.records
    return record.detail


def test_what_came_in(sealed, root, context):
    with recorded_changes(context):
        number = add_entry(sealed, root).id
    detail = detail_of(context)
    assert detail["before"] == {}
    assert detail["after"][f"{number} state"] == "current"
    assert detail["after"][f"{number} dns_names"] == [NAME]
    assert detail["after"][f"{number} added"].endswith("Z")


def test_several_steps_are_one_difference(sealed, root, context):
    """What was before the first of them, and what is after the last."""
    old, new = (add_entry(sealed, root).id for _ in range(2))
    with recorded_changes(context):
        run(sealed, steps.switch_certificate, certificate=new, force="a drill")
        run(sealed, steps.withdraw_certificate, certificate=old, force="stolen")
    detail = detail_of(context)
    assert (detail["before"][f"{old} state"], detail["after"][f"{old} state"]) == ("current", "retired")
    assert (detail["before"][f"{new} state"], detail["after"][f"{new} state"]) == ("next", "current")
    assert len(detail["versions"]) == 2


def test_what_went_is_before_alone(sealed, root, context):
    number = add_entry(sealed, root).id
    with recorded_changes(context):
        run(sealed, remove_certificate, certificate=number, force="x")
    assert detail_of(context)["before"][f"{number} state"] == "current"
    assert detail_of(context)["after"] == {}


def test_nothing_was_changed_or_by_somebody_else(sealed, root, context):
    with recorded_changes(context):
        add_entry(sealed, root, principal=EVE)
    assert detail_of(context) == {}
    with pytest.raises(Refusal), recorded_changes(context):
        run(sealed, remove_certificate, certificate="nothing")
    assert detail_of(context) == {}


def test_a_switch_and_a_refused_one_are_on_record_in_one_shape(sealed, root):
    old, new = (add_entry(sealed, root).id for _ in range(2))
    kept = Kept()
    with pytest.raises(Refusal):
        run(sealed, steps.switch_certificate, accounts=kept, certificate=new)
    run(sealed, steps.switch_certificate, accounts=kept, certificate=new, force="a drill")
    refused, done = kept.events
    assert refused[:5] == ("ann", "certificate-switch", "refused", "", new)
    assert refused[5]["why"].startswith("gates.")
    assert done[:5] == ("ann", "certificate-switch", "done", "", new)
    assert (done[5]["replaced"], done[5]["reason"], bool(done[5]["red"])) == ([old], "a drill", True)
    assert done[5]["after"][f"{old} state"] == "deprecated"
