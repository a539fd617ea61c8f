from __future__ import annotations

import pytest

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.change import ChangeOptions
from gatepost.manage.use_cases.history import history
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.resource_actions import RevertResources, revert_resources
from gatepost.manage.use_cases.resources import apply_document

from .calls import call, document

OWNER = Principal("ann", frozenset({Scope.OWNER}))
TENANT = Principal("liz", frozenset({Scope.CONNECTORS, Scope.READ}), frozenset({"fabrikam"}))
STRANGER = Principal("eve", frozenset({Scope.CONNECTORS, Scope.READ}), frozenset())
ONE = {"outbound_connector": [{"name": "out", "recipient_domains": ["bank.example"]}]}


def organizations(gateway):
    return document(gateway, OWNER)[1]["organization"]


def apply(gateway, who, **named):
    return apply_document(gateway, who, {"organization": named}, ChangeOptions(who.name))


@pytest.fixture
def changed(gateway):
    """Version 2 is of the tenant, 3 of the owner, who adds an organization; 4 removes the first connector."""
    apply(gateway, OWNER, contoso=ONE, fabrikam={})
    apply(gateway, TENANT, fabrikam={"display_name": "F"})
    apply(gateway, OWNER, contoso=ONE | {"display_name": "C"}, late={})
    apply(gateway, OWNER, contoso={"display_name": "C2"})
    return gateway


def revert(gateway, who, version, options=None, **more):
    return call(gateway, who, revert_resources, RevertResources(version=version, **more), options or ChangeOptions(""))


def test_everything_is_again_what_it_was(changed):
    before = organizations(changed)
    planned = revert(changed, OWNER, 1, ChangeOptions("", dry_run=True))
    assert organizations(changed) == before
    assert [(one.version, one.author, one.organization) for one in planned.undone] == [
        (4, "ann", "contoso"), (3, "ann", "late"), (3, "ann", "contoso"), (2, "liz", "fabrikam"),
    ]  # fmt: skip
    done = revert(changed, OWNER, 1, ChangeOptions("", note="back"))
    assert done.version == 5
    assert done.changes == planned.changes
    assert [(one.version, one.organization) for one in done.undone] == [
        (one.version, one.organization) for one in planned.undone
    ]
    assert set(organizations(changed)) == {"contoso", "fabrikam"}
    assert organizations(changed)["contoso"]["outbound_connector"][0]["name"] == "out"
    assert {one.note for one in history(changed, OWNER, limit=3)} == {"back"}


def test_one_organization_alone(changed):
    revert(changed, OWNER, 3, organization="contoso")
    assert organizations(changed)["contoso"]["display_name"] == "C"
    assert organizations(changed)["fabrikam"]["display_name"] == "F"
    assert "late" in organizations(changed)


def test_a_tenant_takes_back_nothing_of_others_and_learns_nothing_of_them(changed):
    done = revert(changed, TENANT, 1)
    assert [str(change) for change in done.changes] == ['- organization.fabrikam.display_name: "F"']
    assert [one.organization for one in done.undone] == ["fabrikam"]
    assert organizations(changed)["contoso"] == {"display_name": "C2"}
    assert revert(changed, STRANGER, 1).changes == []
    with pytest.raises(Refusal) as refused:
        revert(changed, TENANT, 1, organization="contoso")
    assert refused.value.kind is RefusalKind.MISSING


def test_the_first_change_can_be_taken_back(changed):
    revert(changed, OWNER, 0)
    assert organizations(changed) == {}


def test_what_is_as_it_was_is_no_change(changed):
    assert revert(changed, OWNER, 4).changes == []
    assert len(history(changed, OWNER, limit=99)) == 6


def test_a_version_that_is_not_there_is_refused(changed):
    with pytest.raises(Refusal) as refused:
        revert(changed, OWNER, 5)
    assert [error.path for error in refused.value.errors] == ["version"]


def test_a_conflict_is_told(changed):
    with pytest.raises(Refusal) as refused:
        revert(changed, OWNER, 1, ChangeOptions("", expected=3))
    assert refused.value.kind is RefusalKind.CONFLICT
    assert organizations(changed)["contoso"] == {"display_name": "C2"}
