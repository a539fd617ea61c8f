from __future__ import annotations

import pytest

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.change import ChangeOptions
from gatepost.manage.use_cases.client import LocalClient
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.resource_cases import (
    ExportResources,
    RemoveOrganization,
    export_resources,
    remove_organization,
)
from gatepost.manage.use_cases.resources import apply_document

OWNER = Principal("ann", frozenset({Scope.OWNER}))
TENANT = Principal("liz", frozenset({Scope.READ}), frozenset({"fabrikam"}))
ONE = {"outbound_connector": [{"name": "out", "recipient_domains": ["bank.example"]}]}


@pytest.fixture
def changed(gateway):
    """Version 2 is of fabrikam, 3 adds an organization, 4 removes fabrikam."""
    for step in (
        {"contoso": ONE, "fabrikam": {}},
        {"fabrikam": {"display_name": "F"}},
        {"contoso": {"display_name": "C"}, "late": {}},
    ):
        apply_document(gateway, OWNER, {"organization": step}, ChangeOptions("ann"))
    client = LocalClient(gateway, OWNER)
    client.call(remove_organization, RemoveOrganization(organization="fabrikam"))
    return gateway


def exported(gateway, who, version):
    return LocalClient(gateway, who).call(export_resources, ExportResources(version=version))


@pytest.mark.parametrize(
    ("version", "owners", "tenants"),
    [
        (1, {"contoso": ONE, "fabrikam": {}}, {"fabrikam": {}}),
        (2, {"contoso": ONE, "fabrikam": {"display_name": "F"}}, {"fabrikam": {"display_name": "F"}}),
        (4, {"contoso": {"display_name": "C"}, "late": {}}, {}),
    ],
)
def test_the_resources_are_shown_as_they_were(changed, version, owners, tenants):
    assert exported(changed, OWNER, version).value == {"organization": owners}
    assert exported(changed, TENANT, version).value == {"organization": tenants}
    assert exported(changed, OWNER, version).version == version


def test_without_a_version_they_are_as_now(changed):
    assert exported(changed, OWNER, 0) == exported(changed, OWNER, 4)


def test_a_version_that_is_not_there_yet(changed):
    with pytest.raises(Refusal) as refused:
        exported(changed, OWNER, 5)
    assert refused.value.kind is RefusalKind.INPUT
    assert [(error.path, error.message) for error in refused.value.errors] == [
        ("version", "there is no version 5 yet; the newest is 4")
    ]
