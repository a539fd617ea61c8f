from __future__ import annotations

import pytest

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.remote import ungranted
from gatepost.manage.use_cases import ungranted as here
from gatepost.manage.use_cases.change import Wish
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.manage.use_cases.resources import apply_document
from gatepost.manage.use_cases.ungranted import Value

from .conftest import OWNER

TENANT = Principal("liz", frozenset({Scope.READ, Scope.CONNECTORS}), frozenset({"newly"}))
HOST = Value("newly", "outbound_connector", "hq", "smart_hosts", "10.0.0.1")


@pytest.fixture
def written(there):
    gateway = there.api.gateway
    out = {"name": "hq", "recipient_domains": ["b.example"], "smart_hosts": ["10.0.0.1"]}
    apply_document(gateway, OWNER, {"organization": {"newly": {}}}, Wish("ann"))
    apply_document(gateway, TENANT, {"organization": {"newly": {"outbound_connector": [out]}}}, Wish("liz"))
    return there


def test_it_is_granted_there(written):
    found = ungranted.ungranted_values(written)
    assert found == here.ungranted_values(written.api.gateway, OWNER)
    assert len(found) == 1
    planned = ungranted.grant_value(written, HOST, Wish("ann", dry_run=True))
    assert planned == here.grant_value(written.api.gateway, OWNER, HOST, Wish("ann", dry_run=True))
    assert ungranted.grant_value(written, HOST, Wish("ann", "asked"))["version"] == planned["version"] + 1
    assert ungranted.ungranted_values(written) == []
    with pytest.raises(Refusal) as refused:
        ungranted.grant_value(written, HOST, Wish("ann"))
    assert refused.value.kind is Kind.MISSING
